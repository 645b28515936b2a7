//! Property tests of the layouts: what is written comes back, and no bytes panic.

use proptest::prelude::*;

use super::*;
use crate::card::Fingerprint;
use crate::card::record::{AccountStatus, AccountType, CardStatus, Identities, ProductKey, Undo};
use crate::domain::forward::{Details, HostId, Stan};
use crate::domain::outcome::{Declined, HostCode, Reason};
use crate::domain::pan::{PanHash, SealedPan};
use crate::domain::pin::{LmkPin, Reference};
use crate::domain::request::{LinkId, Operation, Tag, Text, Trace};

fn reference() -> impl Strategy<Value = Reference> {
    prop_oneof![
        Just(Reference::None),
        any::<[u8; 4]>().prop_map(Reference::Pvv),
        any::<[u8; 16]>().prop_map(|b| Reference::Lmk(LmkPin(b))),
        (any::<[u8; 12]>(), 4..=12_u8).prop_map(|(digits, len)| Reference::Offset { digits, len }),
    ]
}

fn identities() -> impl Strategy<Value = Option<Box<Identities>>> {
    let text = || proptest::option::of("[ -~]{0,60}é?".prop_map(String::into_boxed_str));
    let all = (text(), text(), text(), text(), text(), text());
    proptest::option::of(all.prop_map(|(a, b, c, d, e, f)| {
        Box::new(Identities {
            pan_token: a,
            payment_instrument: b,
            card_id: c,
            external_user_id: d,
            account_id: e,
            person_id: f,
        })
    }))
}

fn a_card() -> impl Strategy<Value = CardRecord> {
    let numbers = any::<(u16, u32, u16, u16, u16, u8, u8, u32)>();
    let kinds = (1..=6_u8, 1..=3_u8, 1..=2_u8, any::<bool>());
    let undo = proptest::option::of((any::<[u8; 16]>(), reference()));
    let bytes = (any::<[u8; 16]>(), proptest::array::uniform32(any::<u8>()));
    (numbers, kinds, bytes, reference(), undo, identities()).prop_map(
        |(n, (status, account, kind, pin_suppressed), (hash, sealed), reference, undo, ids)| {
            let mut sealed_pan = [0x5A; SealedPan::BYTES];
            sealed_pan[..32].copy_from_slice(&sealed);
            CardRecord {
                pan_hash: PanHash(hash),
                sequence: n.0,
                version: n.1,
                sealed_pan: SealedPan(sealed_pan),
                expiry: n.2,
                product: ProductKey { organization: n.3, logo: n.4 },
                status: [
                    CardStatus::Active,
                    CardStatus::Blocked,
                    CardStatus::Closed,
                    CardStatus::Lost,
                    CardStatus::NotActivated,
                    CardStatus::Stolen,
                ][usize::from(status - 1)],
                account_status: [
                    AccountStatus::Active,
                    AccountStatus::Blocked,
                    AccountStatus::NotAllowed,
                ][usize::from(account - 1)],
                account_type: [AccountType::Ordinary, AccountType::NotAllowed]
                    [usize::from(kind - 1)],
                pin_suppressed,
                pin_tries_used: n.5,
                changes: n.6,
                changes_day: n.7,
                reference,
                undo: undo.map(|(key, reference)| Undo { key: TransactionKey(key), reference }),
                identities: ids,
            }
        },
    )
}

fn host_code() -> impl Strategy<Value = Option<HostCode>> {
    proptest::option::of(
        "[0-9A-Za-z]{2,4}".prop_map(|code| HostCode::new(code.as_bytes()).unwrap()),
    )
}

fn declined() -> impl Strategy<Value = Option<Declined>> {
    let reason = (0..Reason::ALL.len()).prop_map(|at| Reason::ALL[at]);
    proptest::option::of((reason, host_code()).prop_map(|(reason, host)| Declined { reason, host }))
}

fn what_was_sent() -> impl Strategy<Value = Forwarded> {
    let numbers = any::<(u16, u64, Option<u16>)>();
    let stan = 0..=Stan::MAX.0;
    let elements = any::<(
        Option<[u8; 4]>,
        Option<[u8; 4]>,
        Option<[u8; 6]>,
        Option<[u8; 4]>,
        Option<[u8; 3]>,
        Option<[u8; 2]>,
        Option<[u8; 3]>,
    )>();
    let tags = proptest::array::uniform3("[ -~]{0,16}");
    let accounts = proptest::array::uniform2("[ -~]{0,28}");
    let sealed = proptest::array::uniform32(any::<u8>());
    (numbers, stan, elements, tags, accounts, sealed).prop_map(
        |((host, at, sequence), stan, elements, tags, accounts, sealed)| {
            let [institution, acquirer, acceptor] = tags.map(|t| Tag::new(t.as_bytes()));
            let mut pan = [0xA5; SealedPan::BYTES];
            pan[..32].copy_from_slice(&sealed);
            let (account_types, expiry, time, date, entry_mode, condition, currency) = elements;
            let details = Details {
                account_types,
                expiry,
                time,
                date,
                entry_mode,
                condition,
                currency,
                acquirer,
                acceptor,
                accounts: accounts.map(|text| Text::new(text.as_bytes())),
            };
            Forwarded {
                host: HostId(host),
                stan: Stan(stan),
                transmitted: WallMillis(at),
                pan: SealedPan(pan),
                sequence,
                institution,
                details,
            }
        },
    )
}

fn a_forwarded_change() -> impl Strategy<Value = Unsettled> {
    (any::<u64>(), an_entry(), what_was_sent()).prop_map(|(sequence, entry, forwarded)| Unsettled {
        sequence,
        entry,
        forwarded,
    })
}

fn a_settlement() -> impl Strategy<Value = Settlement> {
    let by_hand = "[ -~é]{0,100}".prop_map(|reason| Settled::ByHand { reason: reason.into() });
    let reversed = (any::<u16>(), host_code())
        .prop_map(|(host, code)| Settled::Reversed { host: HostId(host), code });
    (any::<u64>(), prop_oneof![by_hand, reversed])
        .prop_map(|(at, how)| Settlement { at: WallMillis(at), how })
}

/// Any record.
fn a_record() -> impl Strategy<Value = Record> {
    let change = (
        an_entry(),
        any::<Option<u64>>(),
        proptest::option::of(a_forwarded_change()),
        proptest::option::of(a_card()),
    );
    let change = change.prop_map(|(entry, intent, reopens, card)| {
        (entry.at, Body::Change { entry, intent, reopens: reopens.map(Box::new), card })
    });
    let intent = a_forwarded_change().prop_map(|c| (c.entry.at, Body::Intent(Box::new(c))));
    let settled = (any::<[u8; 16]>(), a_settlement()).prop_map(|(key, settlement)| {
        (settlement.at, Body::Settled { key: TransactionKey(key), settlement })
    });
    let note = (any::<u64>(), "[ -~é]{0,100}")
        .prop_map(|(at, text)| (WallMillis(at), Body::Note(text.into())));
    let bodies = prop_oneof![3 => change, 2 => intent, 1 => settled, 1 => note];
    (any::<u64>(), bodies, any::<[u8; 32]>()).prop_map(|(sequence, (at, mut body), mac)| {
        if let Body::Intent(change) = &mut body {
            change.sequence = sequence;
        }
        Record { sequence, at, body, mac }
    })
}

fn written(record: &Record) -> Vec<u8> {
    let (mut out, sequence) = (Vec::new(), record.sequence);
    match &record.body {
        Body::Bulk(note) => encode_bulk(&mut out, sequence, record.at, note),
        Body::Change { entry, intent, reopens, card } => {
            let (intent, reopens, card) = (*intent, reopens.as_deref(), card.as_ref());
            encode_change(&mut out, sequence, Change { entry, intent, reopens, card })
        }
        Body::Intent(change) => encode_intent(&mut out, sequence, &change.entry, &change.forwarded),
        Body::Note(text) => encode_note(&mut out, sequence, record.at, text),
        Body::Settled { key, settlement } => {
            encode_settled(&mut out, sequence, *key, settlement.at, &settlement.how)
        }
    }
    .unwrap();
    out.extend_from_slice(&record.mac);
    out
}

fn an_entry() -> impl Strategy<Value = Entry> {
    let keys = (any::<[u8; 16]>(), any::<Option<[u8; 16]>>(), any::<Option<[u8; 16]>>());
    let tags = proptest::array::uniform3("[ -~]{0,16}");
    let outcome = (0..Operation::ALL.len(), declined(), any::<bool>());
    (keys, any::<(u64, u64, u16)>(), outcome, tags).prop_map(
        |(
            (key, hash, original),
            (fingerprint, at, link),
            (operation, declined, overridden),
            tags,
        )| {
            let [stan, rrn, terminal] = tags.map(|t| Tag::new(t.as_bytes()));
            Entry {
                key: TransactionKey(key),
                fingerprint: Fingerprint(fingerprint),
                operation: Operation::ALL[operation],
                pan_hash: hash.map(PanHash),
                declined,
                at: WallMillis(at),
                link: LinkId(link),
                trace: Trace { stan, rrn, terminal },
                original: original.map(TransactionKey),
                overridden,
            }
        },
    )
}

fn plain<'a>(entry: &'a Entry, card: Option<&'a CardRecord>) -> Change<'a> {
    Change { entry, intent: None, reopens: None, card }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Not one bit may change and leave the same record.
    #[test]
    fn every_changed_bit_is_seen(record in a_record()) {
        let mut bytes = written(&record);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(decode_record(&bytes), Ok(record.clone()), "bit {}", bit);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_change_comes_back(
        sequence in any::<u64>(),
        entry in an_entry(),
        card in proptest::option::of(a_card()),
        mac in any::<[u8; 32]>(),
    ) {
        let mut bytes = Vec::new();
        encode_change(&mut bytes, sequence, plain(&entry, card.as_ref())).unwrap();
        bytes.extend_from_slice(&mac);
        prop_assert!(bytes.len() <= CHANGE_BYTES_MAX);
        let at = entry.at;
        let want = Record { sequence, at, body: Body::Change { entry, intent: None, reopens: None, card }, mac };
        prop_assert_eq!(decode_record(&bytes).unwrap(), want);
        for cut in 0..bytes.len() {
            prop_assert!(decode_record(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn every_record_comes_back_and_no_part_of_it_does(record in a_record()) {
        let bytes = written(&record);
        prop_assert!(bytes.len() <= RECORD_BYTES_MAX);
        prop_assert_eq!(decode_record(&bytes).unwrap(), record);
        for cut in 0..bytes.len() {
            prop_assert!(decode_record(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn a_row_of_an_open_change_comes_back(change in a_forwarded_change()) {
        let mut bytes = Vec::new();
        encode_open(&mut bytes, &change).unwrap();
        prop_assert!(bytes.len() <= 1 + COPY_BYTES_MAX);
        prop_assert_eq!(decode_open(&bytes).unwrap(), change);
        for cut in 0..bytes.len() {
            prop_assert!(decode_open(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn a_long_note_is_cut_at_a_character(text in "[a-zé€😀]{0,300}") {
        let mut bytes = Vec::new();
        encode_note(&mut bytes, 7, WallMillis(9), &text).unwrap();
        bytes.extend_from_slice(&[0; MAC_BYTES]);
        let Body::Note(back) = decode_record(&bytes).unwrap().body else { panic!("a note") };
        prop_assert!(text.starts_with(&*back) && back.len() <= NOTE_BYTES_MAX);
        prop_assert!(back.len() == text.len() || NOTE_BYTES_MAX - 4 < back.len());
    }

    #[test]
    fn a_card_row_comes_back(card in a_card()) {
        let mut bytes = Vec::new();
        encode_card(&mut bytes, &card).unwrap();
        prop_assert!(bytes.len() <= CARD_BYTES_MAX);
        prop_assert_eq!(decode_card(&bytes).unwrap(), card);
    }

    #[test]
    fn a_note_comes_back(source in ".{0,300}", cards in any::<u64>(), complete in any::<bool>()) {
        let mut bytes = Vec::new();
        let note = BulkNote { complete, cards, source: source.into() };
        encode_bulk(&mut bytes, 7, WallMillis(9), &note).unwrap();
        bytes.extend_from_slice(&[0; MAC_BYTES]);
        match decode_record(&bytes).unwrap().body {
            Body::Bulk(back) => {
                prop_assert!(note.source.ends_with(&*back.source));
                prop_assert_eq!((back.cards, back.complete), (cards, complete));
            }
            _ => prop_assert!(false),
        }
    }

    /// Bytes that were changed anywhere decode to something else or to an error, and never panic.
    #[test]
    fn any_bytes_are_an_error_or_a_record(
        entry in an_entry(),
        card in a_card(),
        at in any::<proptest::sample::Index>(),
        value in any::<u8>(),
        noise in proptest::collection::vec(any::<u8>(), 0..700),
    ) {
        let _ = decode_record(&noise);
        let _ = decode_card(&noise);
        let mut bytes = Vec::new();
        encode_change(&mut bytes, 1, plain(&entry, Some(&card))).unwrap();
        bytes.extend_from_slice(&[0; MAC_BYTES]);
        let at = at.index(bytes.len());
        bytes[at] = value;
        let _ = decode_record(&bytes);
    }
}

/// What ARCHITECTURE says a forwarded change costs.
#[test]
fn a_typical_intent_and_its_outcome_have_the_size_that_is_told() {
    let entry = Entry {
        trace: Trace {
            stan: Tag::new(b"123456"),
            rrn: Tag::new(b"123456789012"),
            terminal: Tag::new(b"ATM00001"),
        },
        pan_hash: Some(PanHash([1; 16])),
        ..crate::card::embedded::tests::entry(1)
    };
    let forwarded = Forwarded {
        host: HostId(1),
        stan: Stan(1),
        transmitted: WallMillis(1),
        pan: SealedPan([1; SealedPan::BYTES]),
        sequence: None,
        institution: Tag::new(b"476173"),
        details: Details {
            account_types: Some(*b"0000"),
            expiry: Some(*b"4912"),
            time: Some(*b"120000"),
            date: Some(*b"1122"),
            entry_mode: Some(*b"051"),
            condition: Some(*b"00"),
            currency: Some(*b"710"),
            acquirer: Tag::new(b"12345678901"),
            acceptor: Tag::new(b"TERMID0000000ZA"),
            ..Details::default()
        },
    };
    let mut out = Vec::new();
    encode_intent(&mut out, 1, &entry, &forwarded).unwrap();
    assert_eq!(out.len() + MAC_BYTES, 252);
    out.clear();
    encode_change(&mut out, 1, Change { intent: Some(1), ..plain(&entry, None) }).unwrap();
    assert_eq!(out.len() + MAC_BYTES, 134);
    let change = Unsettled { sequence: 1, entry, forwarded };
    assert_eq!(size_of_val(&change), 344, "in memory while it is open");
}

/// Bytes as the first version of the program wrote them: the layout of a change, written out by hand.
#[test]
fn a_change_of_the_first_version_is_read() {
    let mut bytes = vec![1, 1, 0, 0];
    bytes.extend_from_slice(&9_u64.to_le_bytes());
    bytes.extend_from_slice(&1_795_305_600_000_u64.to_le_bytes());
    bytes.extend_from_slice(&[0x11; 16]);
    bytes.extend_from_slice(&0x22_u64.to_le_bytes());
    // Reverse, original not found; PAN hash and original; link 3.
    bytes.extend_from_slice(&[2, 27, 3, 3, 0]);
    bytes.extend_from_slice(b"\x06123456\x00\x04ATM1");
    bytes.extend_from_slice(&[0x33; 16]);
    bytes.extend_from_slice(&[0x44; 16]);
    bytes.extend_from_slice(&[0x55; 32]);
    bytes[2] = u8::try_from(bytes.len()).unwrap();
    let entry = Entry {
        key: TransactionKey([0x11; 16]),
        fingerprint: Fingerprint(0x22),
        operation: Operation::Reverse,
        pan_hash: Some(PanHash([0x33; 16])),
        declined: Some(Reason::OriginalNotFound.into()),
        at: WallMillis(1_795_305_600_000),
        link: LinkId(3),
        trace: Trace {
            stan: Tag::new(b"123456"),
            rrn: Tag::default(),
            terminal: Tag::new(b"ATM1"),
        },
        original: Some(TransactionKey([0x44; 16])),
        overridden: false,
    };
    let record = Record {
        sequence: 9,
        at: entry.at,
        body: Body::Change { entry, intent: None, reopens: None, card: None },
        mac: [0x55; 32],
    };
    assert_eq!(decode_record(&bytes).unwrap(), record);
    assert_eq!(written(&record), bytes, "and written the same");
}

#[test]
fn texts_past_their_bound_are_refused() {
    let long = |bytes| {
        let identities =
            Identities { card_id: Some("x".repeat(bytes).into()), ..Identities::default() };
        CardRecord {
            identities: Some(Box::new(identities)),
            ..crate::card::embedded::tests::card(1, 0)
        }
    };
    let mut out = Vec::new();
    encode_card(&mut out, &long(IDENTITY_BYTES_MAX)).unwrap();
    let refused = encode_card(&mut out, &long(IDENTITY_BYTES_MAX + 1));
    assert_eq!(refused, Err(CodecError::TooLong("identity")));
}
