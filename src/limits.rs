//! Every bound in the program, in one file, with the relations between them checked at compile time.
//!
//! Each says what happens when it is reached. A number that a configuration may set is the largest it may set.

/// Largest frame a link accepts, length prefix excluded. A longer one is counted and the connection closed.
pub const FRAME_BYTES_MAX: usize = 8192;
/// Room a connection makes before it reads: some twenty PIN changes.
pub const READ_BYTES: usize = 8192;
/// Answers a peer may leave untaken before we stop reading from it. It is closed if it takes none in time.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Requests one link may have in flight. Further ones are shed at once: 91.
pub const IN_FLIGHT_PER_LINK_MAX: usize = 4096;
/// Connections one listener may hold. Further ones are closed at once and counted.
pub const CONNECTIONS_PER_LINK_MAX: usize = 4096;
/// Listeners one switch may have. Configuration refuses more.
pub const LINKS_MAX: usize = 256;
/// Keys one HSM may hold. The key file refuses more.
pub const KEYS_MAX: usize = 1024;
/// Most records one group commit takes; the rest waits for the next.
pub const COMMIT_BATCH_MAX: usize = 512;
/// Commits that may wait for the committer. Further ones are refused: the request is shed with 91.
pub const COMMIT_QUEUE_MAX: usize = 8192;
/// Times one request reads its card again after another request changed it. Then it is shed: 91.
pub const CONFLICT_RETRIES_MAX: usize = 64;
/// Transaction keys of the retention window held in memory. When full, new requests are shed: 91.
pub const TRANSACTION_KEYS_MAX: usize = 64_000_000;
/// Bytes of one journal record.
pub const RECORD_BYTES_MAX: usize = 1024;

const _: () = {
    assert!(FRAME_BYTES_MAX <= u16::MAX as usize, "spans of a message are 16 bits");
    assert!(COMMIT_BATCH_MAX <= COMMIT_QUEUE_MAX, "a batch cannot outgrow its queue");
    assert!(IN_FLIGHT_PER_LINK_MAX <= COMMIT_QUEUE_MAX, "one link's work fits the commit queue");
};
