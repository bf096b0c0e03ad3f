package import Store

/// What a member does wrong on purpose, so that a rig can show that it notices. Nothing of it is on by itself, and only
/// `berth-faulty`, which is no product, turns any of it on.
package struct PlantedFaults: Sendable {
    /// The log is truncated at a checkpoint without waiting for base to hold what it drops.
    package var truncatesBeforeFlush = false
    /// In which transaction a flush commits the applied index.
    package var appliedIndexCommit = AppliedIndexCommit.withData
}
