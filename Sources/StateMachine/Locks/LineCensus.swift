/// How many lines there are and how long the longest is, kept with each step of a place so that nobody walks over them.
package struct LineCensus: Equatable {
    /// How many lines have a length; the place in the list is the length. As long as the longest line ever was.
    private var lengths: [Int] = [0]
    package private(set) var lines = 0
    package private(set) var places = 0
    package private(set) var longest = 0
    /// Places that hold.
    package var holders = 0

    package init() {}

    /// A line got one place more.
    package mutating func grew(to length: Int) {
        if length == lengths.count { lengths.append(0) }
        lengths[length] += 1
        if length > 1 { lengths[length - 1] -= 1 } else { lines += 1 }
        places += 1
        longest = max(longest, length)
    }

    /// A line lost a place.
    package mutating func shrank(from length: Int) {
        lengths[length] -= 1
        if length > 1 { lengths[length - 1] += 1 } else { lines -= 1 }
        places -= 1
        // A line loses one place at a time, so the longest is never shorter by more than one.
        if longest == length, lengths[length] == 0 { longest -= 1 }
    }
}
