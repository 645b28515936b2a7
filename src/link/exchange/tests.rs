//! A peer changes its zone key over a connection. Key, wrapping and blocks are psec's (`tests/vectors/make.py`).

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::*;
use crate::card::embedded::{EmbeddedStore, StoreOptions};
use crate::card::product::Products;
use crate::domain::clock::SystemClock;
use crate::host::Nodes;
use crate::hsm::Hsm;
use crate::hsm::key::{Algorithm, ClearKey, KeyType, TestKeys};
use crate::hsm::keyfile::KeyFile;
use crate::hsm::lmk::Lmk;
use crate::hsm::soft::SoftHsm;
use crate::iso8583::{Builder, Dialect, Layout, decode};
use crate::link::job::tests::{card, product, settings};
use crate::link::settings::{KeyExchange, MacRule};
use crate::link::{Codes, PinMap, connection};
use crate::route::Table;
use crate::switch::{Rules, Switch, World};

const PAN: &str = "4761739001010010";

struct Test;

impl Parts for Test {
    type Clock = SystemClock;
    type Hosts = Option<Arc<Nodes>>;
    type Hsm = Arc<SoftHsm>;
    type Store = EmbeddedStore;
}

/// One link in one dialect, a connection to it, and the keys it works with.
struct Peer {
    dialect: Arc<Dialect>,
    stream: DuplexStream,
    hsm: Arc<SoftHsm>,
    vectors: Value,
    mac: bool,
    stan: u32,
    _directory: tempfile::TempDir,
    _drain: watch::Sender<bool>,
}

impl Peer {
    fn connect(dialect: &str, change: impl FnOnce(&mut Settings, &SoftHsm)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (keys, lmk) = (directory.path().join("keys"), directory.path().join("lmk"));
        let mut file = KeyFile::empty();
        for (name, key_type, hex) in [
            ("zpk.atm", KeyType::Zpk, "2315208C9110AD40A8B6C7D5E5F20210"),
            ("zak.acquirer", KeyType::Zak, "9B8A7C6D5E4F31201A2A3D4C5E6E7080"),
            ("pvk.visa", KeyType::Pvk, "0123456789ABCDEFFEDCBA9876543210"),
            ("zmk.partner", KeyType::Zmk, "C1D0F8FB4958670DBA40AB1F3752EF0D"),
        ] {
            let bytes = Zeroizing::new(hex::decode(hex).unwrap());
            let key = ClearKey::new(name, key_type, Algorithm::Tdes, bytes, TestKeys::Allowed);
            file.add(key.unwrap()).unwrap();
        }
        for (key_type, name) in KeyType::DATA {
            let algorithm = key_type.algorithms()[0];
            file.add(ClearKey::generate(name, key_type, algorithm).unwrap()).unwrap();
        }
        Lmk::demo().create_file(&lmk).unwrap();
        file.write(&keys, &Lmk::demo()).unwrap();
        let clock = SystemClock::start();
        let hsm = SoftHsm::open(&keys, &lmk, TestKeys::Allowed, Arc::new(clock)).unwrap();
        let hsm = Arc::new(hsm);
        let options = StoreOptions::new(Arc::new(clock));
        let cards = directory.path().join("store");
        let mut store = EmbeddedStore::open(&cards, hsm.clone(), options).unwrap();
        let mut bulk = store.bulk("test").unwrap();
        bulk.put(card(&hsm), false).unwrap();
        bulk.finish().unwrap();
        let dialect = Dialect::builtin(dialect).unwrap();
        let mut settings = settings(&hsm, false);
        settings.map = Arc::new(PinMap::of(&dialect).unwrap());
        settings.codes = Arc::new(Codes::of_dialect(&dialect).unwrap());
        settings.dialect = dialect.clone();
        let zmk = hsm.key("zmk.partner").unwrap();
        settings.key_exchange = Some(KeyExchange { zmk, grace: Duration::from_hours(1) });
        change(&mut settings, &hsm);
        let mac = settings.mac.is_some();
        let rules = Rules { products: Products::new([product(&hsm)]), routes: Table::default() };
        let vault = hsm.clone();
        let parts = World::<Test> { clock, hosts: None, hsm: hsm.clone(), store, vault };
        let link = Arc::new(Link::new(settings, Arc::new(Switch::new(parts, rules))));
        let (stream, own) = tokio::io::duplex(1 << 16);
        let (drain, drained) = watch::channel(false);
        tokio::spawn(connection::run(link, own, drained));
        let vectors = include_str!("../../../tests/vectors/pin_changes.json");
        let vectors = serde_json::from_str(vectors).unwrap();
        Self { dialect, stream, hsm, vectors, mac, stan: 0, _directory: directory, _drain: drain }
    }

    fn of(&self, name: &str) -> Vec<u8> {
        hex::decode(self.vectors["exchange"][name].as_str().unwrap()).unwrap()
    }

    /// A block under the old key or the new one.
    fn block(&self, new: bool, pin: &str) -> Vec<u8> {
        let old = &self.vectors["cards"][PAN]["blocks"]["zpk.atm"][pin];
        let new = if new { &self.vectors["exchange"]["blocks"][pin] } else { old };
        hex::decode(new.as_str().unwrap()).unwrap()
    }

    /// The new key, its check value, zeros to the end of the field.
    fn wrapped(&self) -> Vec<u8> {
        [self.of("wrapped"), self.of("check_value"), vec![0; 29]].concat()
    }

    /// Sends a message of these fields and gives the answer's code and fields.
    async fn ask(&mut self, mti: &[u8; 4], fields: &[(u8, &[u8])]) -> (String, Vec<u8>) {
        let mac = self.mac;
        self.ask_with(mti, fields, mac).await
    }

    async fn ask_with(
        &mut self,
        mti: &[u8; 4],
        fields: &[(u8, &[u8])],
        mac: bool,
    ) -> (String, Vec<u8>) {
        self.stan += 1;
        let stan = format!("{:06}", self.stan);
        let mut message = BytesMut::new();
        let mut builder = Builder::new(&self.dialect, *mti, &mut message);
        let mut fields = fields.to_vec();
        fields.push((11, stan.as_bytes()));
        fields.sort_unstable();
        for (field, value) in fields {
            let binary = [52, 53, 96, 125].contains(&field);
            let put =
                if binary { builder.binary(field, value) } else { builder.text(field, value) };
            put.unwrap();
        }
        if mac {
            let covered = builder.begin_mac().unwrap();
            let zak = self.hsm.key("zak.acquirer").unwrap();
            let mac = self.hsm.mac(zak, covered).await.unwrap();
            builder.finish_with_mac(&mac).unwrap();
        } else {
            builder.finish();
        }
        self.stream.write_u16(message.len().try_into().unwrap()).await.unwrap();
        self.stream.write_all(&message).await.unwrap();
        let mut answer = vec![0; usize::from(self.stream.read_u16().await.unwrap())];
        self.stream.read_exact(&mut answer).await.unwrap();
        let mut layout = Layout::new();
        let answer = decode(&self.dialect, &answer, &mut layout).unwrap();
        let code = String::from_utf8(answer.text(39).unwrap().as_bytes().to_vec()).unwrap();
        (code, answer.present().iter().collect())
    }

    /// A change of the PIN by the postilion dialect.
    async fn change(&mut self, new_key: bool, from: &str, to: &str) -> String {
        let current = self.block(new_key, from);
        let new = [self.block(new_key, to), vec![0; 40]].concat();
        let fields: &[(u8, &[u8])] =
            &[(2, PAN.as_bytes()), (3, b"920000"), (52, &current), (53, &new)];
        self.ask(b"0600", fields).await.0
    }

    async fn key_in_force(&self) -> Vec<u8> {
        let zpk = self.hsm.key("zpk.atm").unwrap();
        self.hsm.check_value(zpk).await.unwrap().to_vec()
    }
}

#[tokio::test]
async fn a_change_under_the_new_key_and_one_under_the_old() {
    for code in [b"101", b"161"] {
        let mut peer = Peer::connect("postilion", |_, _| {});
        // No PIN in the block: 63 would be a MAC's, 86 an HSM's.
        let no_pin = peer.change(true, "1234", "1379").await;
        assert_ne!(no_pin, "00");
        let wrapped = peer.wrapped();
        let (answered, fields) = peer.ask(b"0800", &[(53, &wrapped), (70, code)]).await;
        assert_eq!(answered, "00");
        assert_eq!(fields, [11, 39, 70], "the key is not given back");
        assert_eq!(peer.key_in_force().await, peer.of("check_value"));
        assert_eq!(peer.change(true, "1234", "1379").await, "00");
        assert_eq!(peer.change(false, "1379", "2580").await, "00");
        assert_eq!(peer.change(true, "2580", "1379").await, "00");
        // The same push again is accepted and changes nothing.
        assert_eq!(peer.ask(b"0800", &[(53, &wrapped), (70, code)]).await.0, "00");
    }
}

#[tokio::test]
async fn what_is_refused() {
    let mut peer = Peer::connect("postilion", |_, _| {});
    let old = peer.of("check_value_old");
    let right = peer.wrapped();
    let mut wrong_value = right.clone();
    wrong_value[18] ^= 1;
    let mut not_zero = right.clone();
    not_zero[47] = 1;
    let even = [peer.of("wrapped_even_parity"), vec![0; 32]].concat();
    for (what, field, want) in [
        ("check value", &wrong_value, "88"),
        ("parity", &even, "88"),
        ("something behind it", &not_zero, "30"),
        ("no key", &vec![0; 48], "30"),
    ] {
        assert_eq!(peer.ask(b"0800", &[(53, field), (70, b"161")]).await.0, want, "{what}");
        assert_eq!(peer.key_in_force().await, old, "{what}");
    }
    assert_eq!(peer.ask(b"0800", &[(70, b"161")]).await.0, "30", "no field");
    assert_eq!(peer.change(false, "1234", "1379").await, "00");
    let mut closed = Peer::connect("postilion", |settings, _| settings.key_exchange = None);
    assert_eq!(closed.ask(b"0800", &[(53, &right), (70, b"161")]).await.0, "58");
    assert_eq!(closed.key_in_force().await, old);
}

#[tokio::test]
async fn sign_on_comes_first_where_it_is_required() {
    let mut peer = Peer::connect("postilion", |settings, _| settings.require_sign_on = true);
    let wrapped = peer.wrapped();
    let key = (53, &wrapped[..]);
    assert_eq!(peer.ask(b"0800", &[key, (70, b"161")]).await.0, "91");
    assert_eq!(peer.key_in_force().await, peer.of("check_value_old"));
    assert_eq!(peer.ask(b"0800", &[(70, b"001")]).await.0, "00");
    assert_eq!(peer.ask(b"0800", &[key, (70, b"161")]).await.0, "00");
    assert_eq!(peer.key_in_force().await, peer.of("check_value"));
}

/// The key's MAC decides, also where other messages may come without one.
#[tokio::test]
async fn a_mac_is_wanted_where_the_link_has_a_key_for_it() {
    let mut peer = Peer::connect("postilion", |settings, hsm| {
        let key = hsm.key("zak.acquirer").unwrap();
        settings.mac = Some(MacRule { key, required: false, bytes: 8 });
    });
    let wrapped = peer.wrapped();
    let message: &[(u8, &[u8])] = &[(53, &wrapped), (70, b"161")];
    let (code, _) = peer.ask_with(b"0800", message, false).await;
    assert_eq!(code, "D1", "no MAC");
    assert_eq!(peer.key_in_force().await, peer.of("check_value_old"));
    let (code, _) = peer.ask_with(b"0800", message, true).await;
    assert_eq!(code, "00");
    assert_eq!(peer.key_in_force().await, peer.of("check_value"));
}

/// Where the field is text it carries hexadecimal digits; field 96 of 1993 and 2003 carries bytes.
#[tokio::test]
async fn the_field_of_every_dialect() {
    for (dialect, mti, field, code_field, code, want) in [
        ("iso87-ascii", b"0800", 48, 70, &b"161"[..], "00"),
        ("iso87-ascii-hex", b"0800", 48, 70, b"101", "00"),
        ("iso87-bcd", b"0800", 48, 70, b"161", "00"),
        ("visa", b"0800", 48, 70, b"161", "00"),
        ("iso93-ascii", b"1804", 96, 24, b"811", "800"),
    ] {
        let mut peer = Peer::connect(dialect, |_, _| {});
        let bytes = [peer.of("wrapped"), peer.of("check_value")].concat();
        let digits = hex::encode_upper(&bytes).into_bytes();
        let value = if field == 96 { &bytes } else { &digits };
        let (answered, fields) = peer.ask(mti, &[(field, value), (code_field, code)]).await;
        assert_eq!(answered, want, "{dialect}");
        assert!(!fields.contains(&field), "{dialect}");
        assert_eq!(peer.key_in_force().await, peer.of("check_value"), "{dialect}");
        let odd = &digits[..digits.len() - 1];
        if field == 48 {
            let (answered, _) = peer.ask(mti, &[(field, odd), (code_field, code)]).await;
            assert_eq!(answered, "30", "{dialect}: half a byte");
        }
    }
}
