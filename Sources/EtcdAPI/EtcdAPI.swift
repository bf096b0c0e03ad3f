/// etcd's v3 API as bytes and types: the generated messages, hand-made readers and writers of the messages on the hot
/// paths, and the errors clients know by their text. It must never decide anything: what a request means is the state
/// machine's business, how it travels is the transport's.
///
/// The hand-made half exists for speed. Readers borrow the request's own memory, writers copy the store's encoded
/// key-values as they are; tests hold both equal to the generated half. Messages off the hot paths use the generated
/// types in `Generated`, which `tools/generate` makes from `protos`.

/// No bytes: what an unset `bytes` field reads as.
var noBytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: nil, count: 0) }
