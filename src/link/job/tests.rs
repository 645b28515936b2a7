//! A panic in one request: that request is answered 96, its neighbours on the connection as ever.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;

use std::sync::Arc;

use super::*;
use crate::card::CardRecord;
use crate::card::embedded::{EmbeddedStore, StoreOptions};
use crate::card::product::{Product, Products};
use crate::card::record::{AccountStatus, AccountType, CardStatus, ProductKey};
use crate::domain::clock::SystemClock;
use crate::domain::pan::Pan;
use crate::domain::pin::{BlockFormat, Method, PinRules, PresentedPin, Reference};
use crate::domain::request::{Channel, LinkId, Rights};
use crate::domain::vault::Vault;
use crate::host::Nodes;
use crate::hsm::key::{Algorithm, ClearKey, KeyType, TestKeys};
use crate::hsm::lmk::Lmk;
use crate::hsm::soft::SoftHsm;
use crate::hsm::testing::{Asked, Hooked};
use crate::iso8583::Dialect;
use crate::link::session::Timers;
use crate::link::{Codes, PinKey, PinMap, Wish, connection};
use crate::route::Table;
use crate::switch::{Parts, Rules, Switch, World};

const PAN: &str = "4761739001010010";
/// The demo world's card: PIN 1234 under `zpk.atm`, and its PVV, computed by the Python package psec.
const PIN_1234: [u8; 8] = [0x67, 0x73, 0x58, 0x4E, 0x4C, 0x61, 0x6F, 0x77];
const PVV_1234: [u8; 4] = *b"8034";
/// A block at which the HSM below panics.
const TRIGGER: [u8; 8] = [0xEE; 8];

enum Test {}

impl Parts for Test {
    type Clock = SystemClock;
    type Hosts = Option<Arc<Nodes>>;
    type Hsm = Hooked;
    type Store = EmbeddedStore;
}

/// The software HSM with two bugs.
fn panicking(inner: Arc<SoftHsm>) -> Hooked {
    Hooked::new(inner, |asked| {
        match asked {
            Asked::Verify(PresentedPin::Zone(pin)) => {
                assert!(pin.block() != TRIGGER, "a bug that one PIN block meets");
            }
            Asked::Mac(message) => {
                let sealed_96 = message.windows(14).any(|part| part == b"00000000000296");
                assert!(!sealed_96, "a bug that the MAC of one answer meets");
            }
            Asked::Verify(PresentedPin::Lmk(_)) | Asked::IssuerScript => {}
        }
        Ok(())
    })
}

fn link(mac: bool) -> (Arc<Link<Test>>, tempfile::TempDir) {
    let clock = SystemClock::start();
    let key = |name, key_type, hex: &str| {
        let bytes = zeroize::Zeroizing::new(hex::decode(hex).unwrap());
        ClearKey::new(name, key_type, Algorithm::Tdes, bytes, TestKeys::Allowed).unwrap()
    };
    let keys = [
        key("zpk.atm", KeyType::Zpk, "2315208C9110AD40A8B6C7D5E5F20210"),
        key("zak.acquirer", KeyType::Zak, "9B8A7C6D5E4F31201A2A3D4C5E6E7080"),
        key("pvk.visa", KeyType::Pvk, "0123456789ABCDEFFEDCBA9876543210"),
    ];
    let hsm = Arc::new(SoftHsm::from_clear(keys, &Lmk::demo(), Arc::new(clock)).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions::new(Arc::new(clock));
    let mut store = EmbeddedStore::open(directory.path(), hsm.clone(), options).unwrap();
    let mut bulk = store.bulk("test").unwrap();
    bulk.put(card(&hsm), false).unwrap();
    bulk.finish().unwrap();
    let rules = Rules { products: Products::new([product(&hsm)]), routes: Table::default() };
    let settings = settings(&hsm, mac);
    let parts = World { clock, hosts: None, hsm: panicking(hsm.clone()), store, vault: hsm };
    let switch = Switch::new(parts, rules);
    (Arc::new(Link::new(settings, Arc::new(switch))), directory)
}

pub(in crate::link) fn product(hsm: &SoftHsm) -> Product {
    Product {
        name: "visa-debit".into(),
        key: ProductKey { organization: 600, logo: 1 },
        bin: "476173".into(),
        chip: false,
        issuer_script: None,
        method: Method::VisaPvv { pvk: hsm.key("pvk.visa").unwrap(), pvki: b'1' },
        rules: PinRules { lengths: 1 << 4, ..PinRules::default() },
        tries_max: 3,
        changes_per_day_max: None,
        allow_set: false,
        recoverable: false,
    }
}

pub(in crate::link) fn card(hsm: &SoftHsm) -> CardRecord {
    let pan = Pan::parse(PAN.as_bytes()).unwrap();
    CardRecord {
        pan_hash: hsm.pan_hash(&pan),
        sequence: 0,
        version: 0,
        sealed_pan: hsm.seal_pan(&pan).unwrap(),
        expiry: 9912,
        product: ProductKey { organization: 600, logo: 1 },
        status: CardStatus::Active,
        account_status: AccountStatus::Active,
        account_type: AccountType::Ordinary,
        pin_suppressed: false,
        pin_tries_used: 0,
        changes: 0,
        changes_day: 0,
        reference: Reference::Pvv(PVV_1234),
        undo: None,
        identities: None,
    }
}

pub(in crate::link) fn settings(hsm: &SoftHsm, mac: bool) -> Settings {
    let dialect = Dialect::builtin("iso87-ascii").unwrap();
    let key = hsm.key("zak.acquirer").unwrap();
    Settings {
        id: LinkId(0),
        name: "test".into(),
        listen: "127.0.0.1:0".parse().unwrap(),
        map: Arc::new(PinMap::of(&dialect).unwrap()),
        codes: Arc::new(Codes::of_dialect(&dialect).unwrap()),
        dialect,
        framing: "be2".parse().unwrap(),
        pin_key: PinKey::Zone(hsm.key("zpk.atm").unwrap()),
        pin_block_format: BlockFormat::Iso0,
        channel: Channel::Atm,
        rights: Rights {
            change: true,
            reverse: true,
            unblock: true,
            verify: true,
            ..Rights::default()
        },
        institution: Tag::default(),
        wish: Wish::Fixed(None),
        mac: mac.then_some(MacRule { key, required: false, bytes: 8 }),
        in_flight_max: 100,
        connections_max: 10,
        timers: Timers::from_seconds(30, 10),
        request_time: Duration::from_secs(5),
        require_sign_on: false,
        allow: Vec::new(),
        tls: None,
        slow_request: Duration::from_secs(5),
        key_exchange: None,
    }
}

/// A framed verification of the current PIN: fields 2, 3, 11, 37, 41 and 52.
fn verification(number: u32, block: [u8; 8]) -> Vec<u8> {
    let text = format!("16{PAN}900000{number:06}{number:012}TERM0001");
    let bits = [0x60, 0x20, 0, 0, 0x08, 0x80, 0x10, 0];
    let message = [b"0100", &bits[..], text.as_bytes(), &block].concat();
    [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat()
}

/// Trace number and response code of the next answer: fields 2, 3, 11, 37, 39, 41, and 64 where there is a MAC.
async fn answer(peer: &mut DuplexStream) -> (u32, String) {
    let length = peer.read_u16().await.unwrap();
    let mut frame = vec![0; usize::from(length)];
    peer.read_exact(&mut frame).await.unwrap();
    let text = |at: std::ops::Range<usize>| String::from_utf8(frame[at].to_vec()).unwrap();
    // MTI 4, bitmap 8, field 2 with its length 18, field 3; field 37 before field 39.
    (text(36..42).parse().unwrap(), text(54..56))
}

/// Sends verifications with these blocks in one write, and returns the answers until `count` came.
async fn ask(mac: bool, blocks: &[[u8; 8]], count: usize) -> Vec<(u32, String)> {
    let (link, _directory) = link(mac);
    let (mut peer, own) = tokio::io::duplex(1 << 16);
    let (_drain, drained) = watch::channel(false);
    let served = tokio::spawn(connection::run(link.clone(), own, drained));
    let numbered = (1..).zip(blocks);
    let bytes: Vec<u8> = numbered.flat_map(|(n, block)| verification(n, *block)).collect();
    peer.write_all(&bytes).await.unwrap();
    let mut answers = Vec::new();
    for _ in 0..count {
        answers.push(answer(&mut peer).await);
    }
    // The connection lives: one more is served.
    peer.write_all(&verification(1000, PIN_1234)).await.unwrap();
    assert_eq!(answer(&mut peer).await, (1000, "00".to_owned()));
    drop(peer);
    served.await.expect("the connection's task did not panic");
    assert_eq!(link.in_flight(), 0, "the place of a request that panicked is free");
    answers.sort();
    answers
}

#[tokio::test]
async fn a_request_that_panics_is_answered_96_and_its_neighbours_as_ever() {
    let answers = ask(false, &[PIN_1234, TRIGGER, PIN_1234], 3).await;
    let want = [(1, "00".to_owned()), (2, "96".to_owned()), (3, "00".to_owned())];
    assert_eq!(answers, want);
}

#[tokio::test]
async fn an_answer_whose_mac_panics_is_not_sent_and_its_neighbours_are() {
    let answers = ask(true, &[PIN_1234, TRIGGER, PIN_1234], 2).await;
    assert_eq!(answers, [(1, "00".to_owned()), (3, "00".to_owned())]);
}
