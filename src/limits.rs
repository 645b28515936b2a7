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
/// Exchanges of keys that one HSM may have under way. Further ones are refused as if it were unavailable.
pub const KEY_EXCHANGES_MAX: usize = 16;
/// Keys one HSM may hold. The key file refuses more.
pub const KEYS_MAX: usize = 1024;
/// Milliseconds for which a key that a reload did not find any more still serves what was under way with it: longer
/// than a connection keeps its old settings, and than a request lives.
pub const KEY_LEAVES_MS: u64 = 60_000;
/// Bytes of the configuration file. A longer one is refused.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;
/// Bytes of a configured name: a link, a product, the node. Names are metric labels. Configuration refuses longer ones.
pub const NAME_BYTES_MAX: usize = 32;
/// Custodians of one key ceremony. More are refused.
pub const CUSTODIANS_MAX: usize = 9;
/// Bytes of a custodian's name. A longer one is refused.
pub const CUSTODIAN_BYTES_MAX: usize = 64;
/// Card products. Configuration refuses more.
pub const PRODUCTS_MAX: usize = 1024;
/// Networks one allow list may name. Configuration refuses more.
pub const ALLOWED_NETWORKS_MAX: usize = 64;
/// Rules of the routing table. Configuration refuses more.
pub const ROUTE_RULES_MAX: usize = 256;
/// Values one condition of a rule may list. Configuration refuses more.
pub const ROUTE_VALUES_MAX: usize = 1024;
/// Postilion nodes. Configuration refuses more.
pub const HOST_NODES_MAX: usize = 16;
/// Connections to one node that may be configured.
pub const HOST_CONNECTIONS_MAX: usize = 64;
/// Requests one node may have unanswered. Further ones go to another node; where there is none they are shed: 91.
pub const IN_FLIGHT_PER_NODE_MAX: usize = 16_384;
/// Requests a node may have unanswered whatever it did before. Beyond it, it has at most what it lately answered in
/// half of the time an answer is waited for: further ones go to another node, or are shed: 91.
pub const IN_FLIGHT_PER_NODE_FREE: usize = 128;
/// Elements that may pair an answer with its request. Configuration refuses more.
pub const MATCH_FIELDS_MAX: usize = 8;
/// Response codes one list or map of the hosts' codes may name. Configuration refuses more.
pub const HOST_CODES_MAX: usize = 1024;
/// Fixed elements of requests to the hosts. Configuration refuses more.
pub const HOST_FIELDS_MAX: usize = 64;
/// Bytes of one fixed element. Configuration refuses longer ones.
pub const HOST_FIELD_BYTES_MAX: usize = 255;
/// Longest silence on a host connection before an echo may be due.
pub const ECHO_SECONDS_MAX: u64 = 3600;
/// Longest time a connection to a host may take to be made. Then it is given up and tried again.
pub const CONNECT_MS_MAX: u64 = 60_000;
/// Longest pause between two tries to connect to a host.
pub const RECONNECT_MS_MAX: u64 = 600_000;
/// Unanswered requests in a row that a breaker may be told to bear.
pub const BREAKER_FAILURES_MAX: u32 = 1000;
/// Longest time a breaker may stay open.
pub const BREAKER_OPEN_MS_MAX: u64 = 600_000;
/// Longest pause before a reversal or its repeat is sent.
pub const REVERSAL_WAIT_MS_MAX: u64 = 3_600_000;
/// Longest time a change may be unsettled before that is an alarm.
pub const UNSETTLED_ALARM_SECONDS_MAX: u64 = 604_800;
/// Longest time an old zone key may be accepted after a new one came.
pub const KEY_GRACE_SECONDS_MAX: u64 = 86_400;
/// Longest time between two key exchanges that we ask for.
pub const KEY_EXCHANGE_HOURS_MAX: u32 = 8760;
/// PINs one product may list as refused. Configuration refuses more.
pub const REFUSED_PINS_MAX: usize = 1024;
/// Digits of the shortest PIN (ISO 9564-1, 8.1).
pub const PIN_DIGITS_MIN: usize = 4;
/// Digits of the longest PIN (ISO 9564-1, 8.1).
pub const PIN_DIGITS_MAX: usize = 12;
/// Wrong PINs in a row that a product may allow.
pub const PIN_TRIES_MAX: u8 = 15;
/// Wrong PINs an hour the software HSM may be told to allow for one account.
pub const WRONG_PINS_PER_HOUR_MAX: u32 = 1_000_000;
/// Longest deadline of a request. Past it its work is not started; what is under way is still answered.
pub const REQUEST_MS_MAX: u64 = 60_000;
/// Longest silence a connection may be allowed before it is closed.
pub const IDLE_SECONDS_MAX: u64 = 86_400;
/// Longest time a frame may take from its first byte to its last. Then the connection is closed.
pub const FRAME_SECONDS_MAX: u64 = 300;
/// Longest time a stopping switch waits for requests in flight. Then it stops without them.
pub const DRAIN_SECONDS_MAX: u64 = 300;
/// Longest time the store may be told to remember transaction keys.
pub const RETENTION_HOURS_MAX: u32 = 168;
/// Worker threads.
pub const WORKERS_MAX: usize = 256;
/// Log lines that may wait for stderr. Further ones are dropped and counted.
pub const LOG_LINES_MAX: usize = 8192;
/// Bytes of one log line. A longer one is dropped and counted.
pub const LOG_LINE_BYTES_MAX: usize = 4096;
/// Connections the admin listener may hold. Further ones are closed at once.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Bytes of an admin answer that a command reads. A longer one is an error.
pub const ADMIN_ANSWER_BYTES_MAX: usize = 64 << 20;
/// Bytes of an admin request's body. A longer one is refused: 413.
pub const ADMIN_BODY_BYTES_MAX: usize = 4096;
/// Silence after which an admin connection is closed.
pub const ADMIN_IDLE_SECONDS: u64 = 60;
/// Bytes of the body of a request to an HTTP door. A longer one is refused: 413.
pub const HTTP_BODY_BYTES_MAX: usize = 16 * 1024;
/// Bytes of the head of a request to an HTTP door. A longer one is refused: 431.
pub const HTTP_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header lines of a request to an HTTP door. More are refused: 431.
pub const HTTP_HEADERS_MAX: usize = 64;
/// Time the body of a request to an HTTP door may take. Then it is refused: 408.
pub const HTTP_BODY_SECONDS: u64 = 10;
/// Requests one HTTP/2 connection may have open. The peer waits with further ones.
pub const HTTP_STREAMS_MAX: u32 = 128;
/// Clients of the HTTP doors. Configuration refuses more.
pub const HTTP_CLIENTS_MAX: usize = 1024;
/// Key associations, organizations or BINs of one client. Configuration refuses more.
pub const HTTP_CLIENT_VALUES_MAX: usize = 256;
/// Requests a second a client may be granted.
pub const HTTP_RATE_MAX: u32 = 1_000_000;
/// Characters of an `Idempotency-Key`. A longer one is refused as not valid.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 64;
/// Changes the simulated Postilion remembers, about 300 bytes each. Past it the oldest is forgotten and counted.
pub const SIM_CHANGES_MAX: usize = 1 << 20;
/// Reversals of originals it never saw that the simulated Postilion remembers. Past it the oldest is forgotten.
pub const SIM_REVERSALS_MAX: usize = 1 << 16;
/// Requests whose attempts the simulated Postilion counts while it has faults to do. Past it counting begins again.
pub const SIM_ATTEMPTS_MAX: usize = 1 << 18;
/// Zone keys the simulated Postilion accepts at a time. Past it the oldest goes.
pub const SIM_ZONE_KEYS_MAX: usize = 4;
/// Devices one payShield family may have. Configuration refuses more.
pub const HSM_DEVICES_MAX: usize = 16;
/// Connections to one device that may be configured: older ones take no more.
pub const HSM_CONNECTIONS_MAX: usize = 64;
/// Commands under way on one connection that may be configured. Further ones wait for a place.
pub const HSM_WINDOW_MAX: usize = 1024;
/// Commands one device may have under way or waiting. Further ones go to another device, or are refused: 86.
pub const HSM_IN_FLIGHT_MAX: usize = 16_384;
/// Longest time a command to a device may take. Then another device is asked, once.
pub const HSM_TIMEOUT_MS_MAX: u64 = 10_000;
/// Longest time between two questions whether a device is well.
pub const HSM_HEALTH_SECONDS_MAX: u64 = 300;
/// Bytes of commands a connection to a device gathers before it writes them.
pub const HSM_BATCH_BYTES: usize = 32 * 1024;
/// Bytes of commands a device may leave untaken. Further ones go to another device, or are refused: 86.
pub const HSM_UNWRITTEN_MAX: usize = 256 * 1024;
/// Decimalization tables that may be given as devices take them. Configuration refuses more.
pub const HSM_TABLES_MAX: usize = 64;
/// Keys whose check values one device is asked for at a time.
pub const HSM_CHECKS_AT_ONCE: usize = 16;
/// Bytes of a message whose MAC a device is asked for: two bytes of a frame say how long it is.
pub const HSM_MESSAGE_BYTES_MAX: usize = 32 * 1024;
/// Answers of the simulated payShield that may wait on one connection. Then it reads no more until some have left.
pub const SIM_ANSWERS_MAX: usize = 1024;
/// Bytes of answers the simulated payShield keeps for a peer that does not read. Then it reads no more until some left.
pub const SIM_OUTPUT_BYTES_MAX: usize = 1 << 20;
/// Keys the simulated payShield keeps open for each LMK, about 1 KiB each. Past it all are opened anew.
pub const SIM_KEYS_MAX: usize = 4096;
/// Nodes of a simulated Postilion. More are refused.
pub const SIM_NODES_MAX: usize = 16;
/// Requests and answers one connection of a simulated node holds back. Then it reads no more until some have left.
pub const SIM_HELD_MAX: usize = 1 << 16;
/// Longest time a simulated node holds anything back. A longer one is refused.
pub const SIM_HELD_MS_MAX: u64 = 600_000;

const _: () = {
    assert!(FRAME_SECONDS_MAX <= IDLE_SECONDS_MAX, "a frame begun is not idle");
    assert!(REQUEST_MS_MAX <= DRAIN_SECONDS_MAX * 1000, "a drain can outlast every request");
    assert!(PRODUCTS_MAX <= u16::MAX as usize, "rules name products by 16 bits");
    assert!(LINKS_MAX <= u16::MAX as usize, "rules name links by 16 bits");
    assert!(HOST_NODES_MAX * IN_FLIGHT_PER_NODE_MAX < 1_000_000, "trace numbers have six digits");
    assert!(IN_FLIGHT_PER_NODE_FREE <= IN_FLIGHT_PER_NODE_MAX, "what is free is allowed");
    assert!(PIN_DIGITS_MIN < PIN_DIGITS_MAX && PIN_DIGITS_MAX < 16, "lengths are bits of a u16");
};

/// Most records one group commit takes; the rest waits for the next.
pub const COMMIT_BATCH_MAX: usize = 512;
/// Commits that may wait for the committer. Further ones are refused: the request is shed with 91.
pub const COMMIT_QUEUE_MAX: usize = 8192;
/// Times one request reads its card again after another request changed it. Then it is shed: 91.
pub const CONFLICT_RETRIES_MAX: usize = 64;
/// Transaction keys of the retention window held in memory. When full, new requests are shed: 91.
pub const TRANSACTION_KEYS_MAX: usize = 64_000_000;
/// Changes at a host that may be without a known outcome at once, those in flight included. Then nothing more is
/// forwarded: 91.
pub const UNSETTLED_MAX: usize = 65_536;
/// Unsettled changes a worker takes from the store at a time. The rest is for its next look.
pub const REVERSALS_A_LOOK: usize = 256;
/// Bytes of requests a connection to a node gathers before it writes them.
pub const HOST_BATCH_BYTES: usize = 64 * 1024;
/// Bytes of requests a node may leave untaken. Further requests go to another node, or are refused: 91.
pub const HOST_UNWRITTEN_MAX: usize = 256 * 1024;
/// Requests of one connection that were given up and are still known, to tell their late answers. The oldest is
/// forgotten first: its answer is then a stranger's.
pub const HOST_LATE_MAX: usize = 4096;
/// Bytes of the class and the elements an answer is matched by. A message with more is not sent, or dropped.
pub const MATCH_KEY_BYTES_MAX: usize = 64;
/// Bytes of the reason an operator gives for settling a change by hand. A longer one is refused.
pub const SETTLE_REASON_BYTES_MAX: usize = 200;
/// Bytes of a note in the audit. A longer one is cut.
pub const NOTE_BYTES_MAX: usize = 200;
/// PINs drawn before a product's rules are taken for ones that no PIN meets: the request is declined.
pub const PIN_DRAWS_MAX: usize = 64;
/// Switches that may share one database. Configuration refuses a higher number.
pub const STORE_NODES_MAX: u16 = 255;
/// The number that commands such as `pinion cards` have, so that they work while the switches run: no switch has it.
pub const STORE_COMMANDS_NODE: u16 = STORE_NODES_MAX;
/// Connections one switch needs to its database: to write, to read, and for chores.
pub const STORE_CONNECTIONS_MIN: usize = 3;
/// Connections one switch may have to its database. Configuration refuses more.
pub const STORE_CONNECTIONS_MAX: usize = 64;
/// Questions that may wait for one of these connections. Further ones are refused: the request is shed with 91.
pub const STORE_READ_QUEUE_MAX: usize = 4096;
/// Questions one connection asks at a time; the rest waits for its next.
pub const STORE_READ_BATCH_MAX: usize = 256;
/// Least time from the beginning of one round of questions to the database to the next one's, microseconds.
pub const STORE_PACE_MICROS: u64 = 1000;
/// Longest time a connection to the database may take to be made, for each of its hosts. Then it is tried again.
pub const STORE_CONNECT_SECONDS: u64 = 2;
/// Longest time the database may take to answer a question. Then it counts as gone, and is connected to anew.
pub const STORE_READ_SECONDS: u64 = 4;
/// Longest time a statement waits for a row that another switch works on. Then its batch is refused.
pub const STORE_LOCK_SECONDS: u64 = 3;
/// Longest time the database may take for one round of a batch. Then it counts as gone, and is connected to anew.
pub const STORE_WRITE_SECONDS: u64 = 5;
/// Longest time a batch waits to learn whether it was committed when its connection broke. Then its callers are told
/// that nobody knows, and their keys stay taken until it is known.
pub const STORE_DOUBT_SECONDS: u64 = 5;
/// Time after which a forwarded change is reversed by whoever is there: its switch must have ended it by then.
pub const STORE_FLIGHT_SECONDS: u64 = 80;
/// Time for which a switch may send the reversals of a host, unless it renews that.
pub const STORE_LEASE_SECONDS: u64 = 5;
/// Longest pause between two tries to connect to the database.
pub const STORE_RECONNECT_MS_MAX: u64 = 1000;
/// Cards of one statement of an import.
pub const STORE_IMPORT_ROWS: usize = 1024;
/// Bytes of one journal record.
pub const RECORD_BYTES_MAX: usize = 1280;

const _: () = {
    assert!(FRAME_BYTES_MAX <= u16::MAX as usize, "spans of a message are 16 bits");
    assert!(COMMIT_BATCH_MAX <= COMMIT_QUEUE_MAX, "a batch cannot outgrow its queue");
    assert!(STORE_READ_BATCH_MAX <= STORE_READ_QUEUE_MAX, "nor can a question's");
    assert!(
        REQUEST_MS_MAX + 3 * STORE_WRITE_SECONDS * 1000 < STORE_FLIGHT_SECONDS * 1000,
        "a request ends, and its outcome is written, before anybody else may reverse it"
    );
    assert!(STORE_LOCK_SECONDS < STORE_WRITE_SECONDS, "a lock is given up before its session is");
    assert!(IN_FLIGHT_PER_LINK_MAX <= COMMIT_QUEUE_MAX, "one link's work fits the commit queue");
    assert!(HOST_BATCH_BYTES < HOST_UNWRITTEN_MAX, "a batch is written before it is too much");
    assert!(MATCH_KEY_BYTES_MAX <= u8::MAX as usize, "its length is one byte");
};
