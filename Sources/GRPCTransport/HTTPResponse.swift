/// A whole answer to a plain HTTP request.
public struct HTTPResponse: Sendable {
    /// The status number, such as 200.
    public var status: Int
    /// Further headers; the content length is added. HTTP/2 sends the names in lower case.
    public var headers: [(name: String, value: String)]
    /// The body.
    public var body: [UInt8]

    /// A response.
    public init(status: Int, headers: [(name: String, value: String)] = [], body: [UInt8] = []) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// A line for people, as Go's `http.Error` sends it: with a line's end, and never to be taken for a page.
    public static func text(_ status: Int, _ text: String) -> HTTPResponse {
        HTTPResponse(
            status: status,
            headers: [
                (name: "Content-Type", value: "text/plain; charset=utf-8"),
                (name: "X-Content-Type-Options", value: "nosniff"),
            ], body: Array(text.utf8))
    }
}
