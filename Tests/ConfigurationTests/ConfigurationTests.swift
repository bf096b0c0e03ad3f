import Configuration
import Testing

/// A small table with a setting of every kind.
private struct Machine {
    var name = "none"
    var isLoud = false
    var speed: Int64 = 0
    var pause = Duration.zero
    var crew: [String] = []
}

private let table = SettingTable<Machine>(
    [
        SettingGroup(
            "All",
            [
                Setting("name", .text, "name", standard: "none", "Its name.", .used { $0.name = $1.text }),
                Setting(
                    "be-loud", .boolean, standard: "false", blockKey: .init("sound", "loud"), "Loud.",
                    .used { $0.isLoud = try $1.boolean() }),
                Setting(
                    "speed", .integer, "n", standard: "0", otherNames: ["experimental-speed"], "Speed.",
                    .used { $0.speed = try $1.integer(in: 0...100) }),
                Setting("pause", .duration, "time", "Pause.", .used { $0.pause = try $1.duration() }),
                Setting("crew", .list, "names", origin: .own, "Crew.", .used { $0.crew = $1.list() }),
                Setting("old", .integer, "n", standard: "5", "", .withoutEffect("it is gone")),
                Setting("danger", .boolean, standard: "false", "", .refused(unless: ["false"], "it would burn")),
                Setting("file", .text, "file", reach: .outsideFiles, "File.", .used { _, _ in }),
                Setting("help", .boolean, reach: .commandLine, "Help.", .used { _, _ in }),
            ])
    ], prefix: "MY_", isOthersVariable: { $0.hasPrefix("MY_CLIENT_") })

private struct Missing: Error, CustomStringConvertible { let description = "no such file" }

private func given(
    _ arguments: [String] = [], _ variables: [String: String] = [:], file: String? = nil
) throws -> GivenSettings<Machine> {
    try GivenSettings(
        table, arguments: (file == nil ? [] : ["--file", "a.yml"]) + arguments, variables: variables,
        readFile: { _ in
            guard let file else { throw Missing() }
            return file
        })
}

private func machine(
    _ arguments: [String] = [], _ variables: [String: String] = [:], file: String? = nil
) throws -> Machine {
    var given = try given(arguments, variables, file: file)
    var machine = Machine()
    try given.apply(to: &machine)
    return machine
}

/// What the settings are refused with, or what was taken instead.
private func refusal(
    _ arguments: [String] = [], _ variables: [String: String] = [:], file: String? = nil
) -> String {
    do {
        return "taken: \(try machine(arguments, variables, file: file))"
    } catch {
        return "\(error)"
    }
}

@Suite struct CommandLineTests {
    @Test func `flags are read as Go reads them`() throws {
        let machine = try machine(["--name", "a=b", "-speed=7", "--be-loud", "--pause=1h30m", "--crew", "x, y,,z"])
        #expect(machine.name == "a=b")
        #expect(machine.speed == 7)
        #expect(machine.isLoud)
        #expect(machine.pause == .seconds(5400))
        #expect(machine.crew == ["x", "y", "z"])
    }

    @Test(arguments: [("=false", false), ("=0", false), ("=T", true), ("", true)])
    func `a boolean's value stands after an equals sign`(value: String, isLoud: Bool) throws {
        #expect(try machine(["--be-loud\(value)"]).isLoud == isLoud)
    }

    @Test func `negative numbers are values`() {
        #expect(refusal(["--speed", "-1"]) == "--speed is -1; expected 0 to 100")
    }

    @Test(arguments: [
        (["--nmae", "x"], "unknown flag --nmae; did you mean --name?"),
        (["--zzzzzzzzz"], "unknown flag --zzzzzzzzz"),
        (["--name"], "--name has no value; expected --name NAME"),
        (["--name", "--be-loud"], "--name has no value; expected --name NAME"),
        (["--be-loud", "false"], "'false' is not a flag; expected --NAME or --NAME=VALUE, such as --be-loud=false"),
        (["--"], "'--' is not a flag; expected --NAME or --NAME=VALUE"),
        (["--speed", "fast"], "--speed is 'fast'; expected a whole number"),
        (["--speed", "010"], "--speed is '010'; expected a whole number"),
        (["--experimental-speed", "fast"], "--speed is 'fast' (--experimental-speed); expected a whole number"),
        (["--be-loud=maybe"], "--be-loud is 'maybe'; expected true or false"),
        (["--danger"], "--danger cannot be used: it would burn"),
    ])
    func `what cannot be used is named`(arguments: [String], message: String) {
        #expect(refusal(arguments) == message)
    }

    @Test func `help answers whatever else is wrong`() throws {
        #expect(try given(["--help", "--speed", "fast"], ["MY_NOTHING": "x"])["help"]?.text == "true")
    }
}

@Suite struct MergeTests {
    @Test func `a flag wins over a variable, a variable over the file`() throws {
        var all = try given(
            ["--name", "flag"], ["MY_NAME": "variable", "MY_SPEED": "2"], file: "name: f\nspeed: 3\npause: 4s")
        var machine = Machine()
        try all.apply(to: &machine)
        #expect(machine.name == "flag")
        #expect(machine.speed == 2)
        #expect(machine.pause == .seconds(4))
        #expect(
            all.notices.map(\.text) == [
                "--name: 'flag' (--name) is used, not 'variable' (MY_NAME)",
                "--name: 'flag' (--name) is used, not 'f' (a.yml, line 1)",
                "--speed: '2' (MY_SPEED) is used, not '3' (a.yml, line 2)",
            ])
    }

    @Test(arguments: [
        (["--speed", "1", "--speed", "2"], [:]), (["--speed", "1", "--experimental-speed=2"], [:]),
        ([], ["MY_SPEED": "1", "ETCD_SPEED": "2"]), (["--speed", "1"], ["MY_SPEED": "1", "ETCD_SPEED": "2"]),
        (["--speed", "1"], ["ETCD_SPEED": "2"]), ([], ["MY_SPEED": "1", "MY_EXPERIMENTAL_SPEED": "2"]),
    ])
    func `what contradicts is refused with both places`(arguments: [String], variables: [String: String]) {
        let message = refusal(arguments, variables)
        #expect(message.hasPrefix("--speed is given twice and differently: "))
        #expect(message.contains("'1' (") && message.contains("'2' (") && message.hasSuffix("; leave one out"))
    }

    @Test func `the same value twice is no contradiction, however it is spelt`() throws {
        let arguments = ["--pause", "60s", "--be-loud=1", "--be-loud", "--speed=0x10"]
        let variables = ["ETCD_PAUSE": "1m", "MY_PAUSE": "1m0s", "ETCD_BE_LOUD": "true", "ETCD_SPEED": "16"]
        #expect(try machine(arguments, variables).pause == .seconds(60))
        #expect(try given(arguments, variables).notices.isEmpty)
    }

    @Test func `ETCD_ variables are read where the meaning is the same`() throws {
        #expect(try machine([], ["ETCD_NAME": "a", "ETCD_SPEED": ""]).name == "a")
        let own = try given([], ["ETCD_CREW": "x", "ETCD_NONSENSE": "1", "ETCDCTL_API": "3"])
        #expect(own["crew"] == nil)
        #expect(
            own.notices == [
                .init(isWarning: true, text: "ETCD_CREW is not known and has no effect"),
                .init(isWarning: true, text: "ETCD_NONSENSE is not known and has no effect"),
            ])
    }

    @Test func `beside a file ETCD_ variables are not read, and named`() throws {
        let all = try given([], ["ETCD_NAME": "a", "MY_SPEED": "2"], file: "name: b")
        #expect(all["name"]?.text == "b")
        #expect(all["speed"]?.text == "2")
        #expect(all.notices.map(\.text) == ["not read, as there is a config file: ETCD_NAME; MY_ variables are"])
    }

    @Test func `unknown variables of one's own are refused, those of others passed over`() throws {
        #expect(
            refusal([], ["MY_SPEDE": "1"]) == "unknown environment variable MY_SPEDE; did you mean MY_SPEED?")
        #expect(refusal([], ["MY_HELP": "1"]).hasPrefix("unknown environment variable MY_HELP"))
        #expect(try machine([], ["MY_CLIENT_X": "1", "PATH": "/"]).name == "none")
    }

    @Test func `a variable's mistake names the flag and the variable`() {
        #expect(refusal([], ["MY_SPEED": "x"]) == "--speed is 'x' (MY_SPEED); expected a whole number")
        #expect(refusal([], ["ETCD_DANGER": "true"]) == "--danger (ETCD_DANGER) cannot be used: it would burn")
    }

    @Test func `what has no effect is told unless it is the default, and must be well formed`() throws {
        var all = try given(["--old", "6", "--danger=false"])
        var machine = Machine()
        try all.apply(to: &machine)
        #expect(all.notices.map(\.text) == ["--old has no effect: it is gone"])
        all = try given(["--old", "0x5"])
        try all.apply(to: &machine)
        #expect(all.notices.isEmpty)
        #expect(refusal(["--old", "x"]) == "--old is 'x'; expected a whole number")
    }

    @Test func `a mistake found later is given its places`() throws {
        let all = try given(["--name", "x"], ["MY_SPEED": "1"])
        #expect(
            "\(all.placed("--speed is below --name; expected more"))"
                == "--speed is below --name; expected more (--speed is from MY_SPEED)")
    }

    @Test func `the effective settings name their sources`() throws {
        let effective = try given(["--speed", "1"], file: "\nname: x").effective
        #expect(
            effective.map { "\($0.value.name) \($0.value.text) \($0.value.source)" } == [
                "name x a.yml, line 2", "be-loud false default", "speed 1 --speed", "pause  default", "crew  default",
            ])
    }
}

@Suite struct FileTests {
    @Test func `values come as numbers, booleans, lists and texts`() throws {
        let read = try machine(
            file: """
                # A comment
                name: '007'
                speed: 12
                be-loud: yes
                pause: 1m
                crew: [a, "b"]
                old:
                """)
        #expect(read.name == "007")
        #expect(read.speed == 12)
        #expect(read.isLoud)
        #expect(read.pause == .seconds(60))
        #expect(read.crew == ["a", "b"])
        #expect(try machine(file: "crew: a,b").crew == ["a", "b"])
    }

    @Test func `a bare number is nanoseconds for a time span, as in etcd's file`() throws {
        #expect(try machine(file: "pause: 1500000000").pause == .milliseconds(1500))
        #expect(try machine(file: "pause: 0").pause == .zero)
    }

    @Test func `blocks hold settings under shorter names`() throws {
        #expect(try machine(file: "sound:\n  loud: true").isLoud)
        #expect(try machine(file: "sound:\n  be-loud: true").isLoud)
        #expect(try machine(file: "sound:\nname: x").name == "x")
    }

    @Test(arguments: ["", "# nothing\n", "---\n", "null"])
    func `a file may be empty`(text: String) throws {
        #expect(try machine(file: text).name == "none")
    }

    @Test(arguments: [
        ("name: x\nspede: 1", "a.yml, line 2: unknown setting: spede; did you mean speed?"),
        ("help: true", "a.yml, line 1: unknown setting: help"),
        ("file: b.yml", "a.yml, line 1: unknown setting: file"),
        ("sound:\n  lout: true", "a.yml, line 2: unknown key in sound: lout; did you mean loud?"),
        ("sound: true", "a.yml, line 1: sound is no block of settings; expected indented lines below it"),
        ("name: [a, b]", "a.yml, line 1: name has another shape; expected one value"),
        ("crew: [[a]]", "a.yml, line 1: crew has another shape; expected a list of texts"),
        ("name: x\n\nspeed: fast", "--speed is 'fast' (a.yml, line 3); expected a whole number"),
        ("name: x\nname: y", "a.yml, line 1: name stands there twice; leave one"),
        (
            "be-loud: true\nsound:\n  loud: false",
            "--be-loud is given twice and differently: 'true' (a.yml, line 1) and 'false' (a.yml, line 3); leave one out"
        ),
        ("danger:\n  a: b", "--danger (a.yml, line 2) cannot be used: it would burn"),
        ("- name", "a.yml holds no settings; expected lines such as name: default"),
        ("name: x\n  speed: 1", "a.yml, line 2: not YAML: mapping values are not allowed in this context"),
        ("[a]: b", "a.yml, line 1: a key is no text; expected a setting's name"),
    ])
    func `what cannot be read is told with its line`(text: String, message: String) {
        #expect(refusal(file: text) == message)
    }

    @Test func `a file that cannot be opened is named`() {
        #expect(refusal(["--file", "gone.yml"]) == "--file: cannot read 'gone.yml': no such file")
        #expect(refusal([], ["ETCD_FILE": "gone.yml"]) == "--file (ETCD_FILE): cannot read 'gone.yml': no such file")
    }

    @Test func `a file that is far too long is refused`() {
        let text = String(repeating: "# comment\n", count: 110_000)
        #expect(refusal(file: text) == "a.yml is longer than 1048576 bytes; expected a file of settings")
    }

    @Test func `no text makes the reader crash`() {
        var random = SystemRandomNumberGenerator()
        let pieces = [
            "name", "speed", ":", " ", "\n", "  ", "- ", "[", "]", "{", "}", "\"", "'", "&a", "*a", "!!", "|", ">", "#",
            "\t", "1", "~", "%", "\u{0}", "é", "<<", "?", ",",
        ]
        for _ in 0..<2_000 {
            let text = (0..<Int.random(in: 0..<24, using: &random)).map { _ in
                pieces.randomElement(using: &random) ?? ""
            }
            _ = refusal(file: text.joined())
        }
    }
}

@Suite struct DurationTests {
    @Test(arguments: [
        ("0", Duration.zero), ("1h30m", .seconds(5400)), ("1.5s", .milliseconds(1500)), ("10ms", .milliseconds(10)),
        ("5us", .microseconds(5)), ("5µs", .microseconds(5)), ("7ns", .nanoseconds(7)), (".5s", .milliseconds(500)),
    ])
    func `Go's time spans are read`(text: String, duration: Duration) {
        #expect(GoDuration.parse(text) == duration)
    }

    @Test(arguments: ["", "10", "s", "-1s", "1x", "1 s", ".s", "1..5s", "300000h1h9999999h", "1e3s", "١s"])
    func `anything else is not`(text: String) {
        #expect(GoDuration.parse(text) == nil)
    }
}

@Suite struct TextTests {
    @Test func `help and tables name every setting`() {
        #expect(
            table.helpText.hasPrefix(
                "All:\n  --name <name>\n      Its name. (default: none)\n  --be-loud\n      Loud. (default: false)\n"))
        #expect(table.helpText.contains("  --old, --danger\n"))
        #expect(
            table.markdown.contains(
                "| `--speed <n>` | `0` | yes | Speed. Also `--experimental-speed`. |\n| `--pause <time>` |  | yes | Pause. |\n"
            ))
        #expect(table.markdown.contains("| `--crew <names>` |  |  | Crew. |"))
    }
}
