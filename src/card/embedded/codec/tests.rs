//! Property tests of the layouts: what is written comes back, and no bytes panic.

use proptest::prelude::*;

use super::*;
use crate::card::Fingerprint;
use crate::card::record::{AccountStatus, AccountType, CardStatus, Identities, ProductKey, Undo};
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

fn an_entry() -> impl Strategy<Value = Entry> {
    let keys = (any::<[u8; 16]>(), any::<Option<[u8; 16]>>(), any::<Option<[u8; 16]>>());
    let tags = proptest::array::uniform3("[ -~]{0,16}");
    let outcome = (0..Operation::ALL.len(), 0..=Reason::ALL.len());
    (keys, any::<(u64, u64, u16)>(), outcome, tags).prop_map(
        |((key, hash, original), (fingerprint, at, link), (operation, reason), tags)| {
            let [stan, rrn, terminal] = tags.map(|t| Tag::new(t.as_bytes()));
            Entry {
                key: TransactionKey(key),
                fingerprint: Fingerprint(fingerprint),
                operation: Operation::ALL[operation],
                pan_hash: hash.map(PanHash),
                declined: Reason::ALL.get(reason).copied().map(Into::into),
                at: WallMillis(at),
                link: LinkId(link),
                trace: Trace { stan, rrn, terminal },
                original: original.map(TransactionKey),
                overridden: false,
            }
        },
    )
}

fn plain<'a>(entry: &'a Entry, card: Option<&'a CardRecord>) -> Change<'a> {
    Change { entry, intent: None, reopens: None, card }
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
