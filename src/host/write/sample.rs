//! One request with everything in it, to try a dialect with before the first real one. **Never here:** real cards.

use crate::domain::clock::WallMillis;
use crate::domain::forward::{Details, Forwarded, HostId, Stan};
use crate::domain::pan::{Pan, SealedPan};
use crate::domain::pin::{BlockFormat, KeyId, ZonePin};
use crate::domain::request::{Tag, Text, Trace, TransactionKey};

/// One of everything, to try a dialect with.
pub(super) struct Sample {
    pub(super) key: TransactionKey,
    pub(super) pan: Pan,
    pub(super) block: ZonePin,
    pub(super) trace: Trace,
    pub(super) forwarded: Forwarded,
}

impl Sample {
    #[expect(clippy::expect_used, reason = "constants, at start")]
    pub(super) fn new(format: BlockFormat) -> Self {
        let key = KeyId(0);
        let details = Details {
            account_types: Some(*b"0000"),
            expiry: Some(*b"3001"),
            time: Some(*b"000000"),
            date: Some(*b"0101"),
            entry_mode: Some(*b"011"),
            condition: Some(*b"00"),
            currency: Some(*b"566"),
            acquirer: Tag::new(b"11111111111"),
            acceptor: Tag::new(b"ACCEPTOR0000001"),
            accounts: [Text::new(b"1"), Text::new(b"2")],
        };
        Self {
            key: TransactionKey([0; 16]),
            pan: Pan::parse(b"0000000000000000").expect("sixteen digits"),
            block: ZonePin::new(&[0; 16][..format.block_bytes()], format, key).expect("fits"),
            trace: Trace::default(),
            forwarded: Forwarded {
                host: HostId(0),
                stan: Stan(1),
                transmitted: WallMillis(0),
                pan: SealedPan([0; SealedPan::BYTES]),
                sequence: Some(0),
                institution: Tag::new(b"1"),
                details,
            },
        }
    }
}
