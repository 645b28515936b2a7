//! The simulator message by message, without sockets. PIN blocks are psec's: those of `world.json`, and further ones
//! made for the Verve card in the same way.

use std::collections::BTreeMap;

use bytes::BytesMut;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::iso8583::frame::{FrameCodec, Framing};
use crate::iso8583::{Builder, Dialect, Layout, decode};
use crate::sim::postilion::core::{Core, Push};
use crate::sim::postilion::fault::FaultRules;
use crate::sim::postilion::turn::{Session, Step};
use crate::sim::postilion::zone::ZoneKey;
use crate::sim::postilion::{Options, core_of, view};
use crate::sim::world::World;

mod faults;
mod keys;
mod reversals;
mod wire;

/// The Verve card of the world.
const PAN: &str = "5060990000000151002";
/// Blocks of its PINs under `zpk.postilion`. The first two are those of the world.
const P1111: &str = "D2EC1630723AE273";
const P2222: &str = "B0EB0452876F95BD";
const P3333: &str = "2968B2EBBE3EDAC5";
const P4444: &str = "A48B5AC8FF382501";
const P123: &str = "F1226F64869CAF81";
const P13_DIGITS: &str = "BB52BDF103D5F670";
const FORMAT_1: &str = "DAE97996C94D4388";
/// A further zone key, and blocks under it.
const NEW_KEY: &str = "E0DCC8B3A1918676F2CE7A5B3D1F0E43";
const NEW_1111: &str = "158AF72742BD9F5C";
const NEW_2222: &str = "8EF2B487EAC89B0B";
const NEW_3333: &str = "82298E458E4094B8";

/// Fields of an answer: text as it is, bytes in hex.
type Answer = BTreeMap<u8, String>;

/// A message to be.
#[derive(Clone)]
struct Ask {
    mti: [u8; 4],
    fields: BTreeMap<u8, String>,
    switch_key: Option<String>,
    original_key: Option<String>,
}

impl Ask {
    fn new(mti: &str, fields: &[(u8, &str)]) -> Self {
        let fields = fields.iter().map(|(n, value)| (*n, (*value).to_owned())).collect();
        let mti = mti.as_bytes().try_into().unwrap();
        Self { mti, fields, switch_key: None, original_key: None }
    }

    /// A change of the Verve card, the new block last in DE 53.
    fn change(stan: &str, current: &str, new: &str) -> Self {
        Self::new(
            "0600",
            &[
                (2, PAN),
                (3, "920000"),
                (4, "000000000000"),
                (7, "1122093000"),
                (11, stan),
                (12, "103000"),
                (13, "1122"),
                (32, "12345"),
                (37, "000000000001"),
                (41, "ATM00001"),
                (42, "ACCEPTOR0000001"),
                (49, "566"),
                (52, current),
                (53, &format!("{}{new}", "0".repeat(80))),
                (100, "777"),
                (102, "0123456789"),
                (103, "9876543210"),
            ],
        )
    }

    /// The reversal of a change of [`Self::change`], named in DE 90.
    fn reversal(mti: &str, original: &str) -> Self {
        let data = format!("0600{original}1122093000{:0>11}{:0>11}", "12345", "");
        let stan = format!("9{}", &original[1..]);
        Self::new(
            mti,
            &[
                (2, PAN),
                (3, "920000"),
                (7, "1122093100"),
                (11, &stan),
                (41, "ATM00001"),
                (90, &data),
            ],
        )
    }

    fn set(mut self, field: u8, value: &str) -> Self {
        self.fields.insert(field, value.to_owned());
        self
    }

    fn without(mut self, field: u8) -> Self {
        self.fields.remove(&field);
        self
    }

    fn keyed(mut self, key: &str) -> Self {
        self.switch_key = Some(key.to_owned());
        self
    }

    fn of_key(mut self, key: &str) -> Self {
        self.original_key = Some(key.to_owned());
        self
    }

    fn repeat(mut self) -> Self {
        self.mti[3] = b'1';
        self
    }

    fn write(&self, out: &mut BytesMut) {
        let dialect = Dialect::builtin("postilion").unwrap();
        let codec = FrameCodec::new(Framing::BE2);
        let mark = codec.begin(out, None);
        let mut builder = Builder::new(&dialect, self.mti, out);
        for (field, value) in &self.fields {
            if matches!(field, 52 | 53) {
                builder.binary(*field, &hex::decode(value).unwrap()).unwrap();
            } else {
                builder.text(*field, value.as_bytes()).unwrap();
            }
        }
        let keys = [(2, &self.switch_key), (11, &self.original_key)];
        if keys.iter().any(|(_, key)| key.is_some()) {
            let put = builder.composite(127, |inner| {
                for (sub, key) in keys {
                    if let Some(key) = key {
                        inner.text(sub, key.as_bytes())?;
                    }
                }
                Ok(())
            });
            put.unwrap();
        }
        builder.finish();
        codec.end(out, mark).unwrap();
    }
}

/// Takes one message off a buffer. Field 0 is its type, field 127 its switch key.
fn read(bytes: &mut BytesMut) -> Option<Answer> {
    let length = bytes.first_chunk::<2>().map(|prefix| usize::from(u16::from_be_bytes(*prefix)))?;
    if bytes.len() < 2 + length {
        return None;
    }
    let frame = bytes.split_to(2 + length);
    let dialect = Dialect::builtin("postilion").unwrap();
    let mut layout = Layout::new();
    let message = decode(&dialect, &frame[2..], &mut layout).expect("an answer of the dialect");
    let mut answer = Answer::from([(0, String::from_utf8(message.mti().to_vec()).unwrap())]);
    for (field, _) in message.fields() {
        let text = message.text(field).map(|text| text.as_str().unwrap().to_owned());
        let bytes = || message.binary(field).map(|bytes| hex::encode_upper(&bytes[..]));
        let key = || Some(message.sub(127, &[2])?.text()?.as_str()?.to_owned());
        let value = if field == 127 { key() } else { text.or_else(bytes) };
        answer.insert(field, value.unwrap());
    }
    Some(answer)
}

/// Two nodes and a connection to each, without sockets.
struct Sim {
    core: Core,
    sessions: Vec<Session<'static>>,
    layout: Layout,
}

impl Sim {
    fn new() -> Self {
        let mut sim = Self::not_signed_on(true);
        for node in [1, 2] {
            let sign_on = Ask::new("0800", &[(7, "1122093000"), (11, "000001"), (70, "001")]);
            assert_eq!(sim.ask(node, &sign_on)[&39], "00");
        }
        sim
    }

    fn not_signed_on(sign_on_needed: bool) -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        let options = Options { sign_on_needed, ..Options::new(vec![any, any], None) };
        let core = core_of(&options).unwrap();
        // A test may keep a dialect for ever.
        let dialect: &'static Dialect = Box::leak(Box::new(Dialect::builtin("postilion").unwrap()));
        let session = |node| {
            let (pushes, _) = mpsc::channel(1);
            Session::new(dialect, FrameCodec::new(Framing::BE2), node, 7, pushes)
        };
        Self { core, sessions: vec![session(0), session(1)], layout: Layout::new() }
    }

    fn turn(&mut self, node: usize, input: &mut BytesMut) -> (Step, BytesMut) {
        let mut out = BytesMut::new();
        let session = &mut self.sessions[node - 1];
        let step = session.turn(&mut self.core, &mut self.layout, input, &mut out);
        (step, out)
    }

    fn ask(&mut self, node: usize, ask: &Ask) -> Answer {
        let mut input = BytesMut::new();
        ask.write(&mut input);
        let (step, mut out) = self.turn(node, &mut input);
        assert!(matches!(step, Step::Wait), "{step:?}");
        let answer = read(&mut out).expect("an answer");
        assert!(out.is_empty(), "one answer");
        answer
    }

    #[track_caller]
    fn check(&mut self, ask: &Ask, code: &str) {
        assert_eq!(self.ask(1, ask)[&39], code);
    }

    fn card(&self) -> Value {
        view::card(&self.core.book, self.core.book.card(PAN).unwrap())
    }

    #[track_caller]
    fn check_pin(&self, pin: &str) {
        assert_eq!(self.card()["pin"], pin);
    }

    fn tell(&mut self, rules: &str) {
        let rules: FaultRules = serde_json::from_str(rules).unwrap();
        self.core.tell(&rules).unwrap();
    }
}

/// The world's sample of the Verve card: 1111 becomes 2222, as the world has its blocks.
#[test]
fn a_change_is_made_and_its_answer_repeats_what_it_should() {
    let world = World::embedded().unwrap();
    let sample = world.pin_block_samples.iter().find(|s| s.zpk == "zpk.postilion").unwrap();
    let block = |block: &[u8]| hex::encode_upper(block);
    assert_eq!(block(sample.current_block.expose_bytes()), P1111);
    assert_eq!(block(sample.new_block.expose_bytes()), P2222);
    let mut sim = Sim::new();
    let ask = Ask::change("000001", P1111, P2222).keyed("KEY1");
    let answer = sim.ask(1, &ask);
    let mut want = ask.fields.clone();
    want.retain(|field, _| !matches!(field, 52 | 53));
    want.insert(0, "0610".into());
    want.insert(39, "00".into());
    want.insert(127, "KEY1".into());
    assert_eq!(answer, want);
    sim.check_pin("2222");
    let first = format!("{P3333}{}", "0".repeat(80));
    let ask = Ask::change("000002", P2222, "").set(53, &first).without(2);
    sim.check(&ask.set(35, &format!("{PAN}=3012")), "00");
    sim.check_pin("3333");
}

#[test]
fn codes() {
    let base = || Ask::change("000001", P1111, P2222);
    for (what, ask, code) in [
        ("card", base().set(2, "5060990000000151010"), "14"),
        ("wrong PIN", base().set(52, P3333), "55"),
        ("same PIN", Ask::change("000001", P1111, P1111), "C0"),
        ("three digits", Ask::change("000001", P1111, P123), "C0"),
        ("thirteen digits", Ask::change("000001", P1111, P13_DIGITS), "C0"),
        ("current block", base().set(52, FORMAT_1), "81"),
        ("current of three digits", base().set(52, P123), "81"),
        ("new block", Ask::change("000001", P1111, FORMAT_1), "81"),
        ("new block all zeros", Ask::change("000001", P1111, &"0".repeat(16)), "81"),
        ("two new blocks", base().set(53, &format!("{P2222}{}{P2222}", "0".repeat(64))), "30"),
        ("no PAN", base().without(2), "30"),
        ("no DE 3", base().without(3), "30"),
        ("no DE 7", base().without(7), "30"),
        ("no terminal", base().without(41), "30"),
        ("no current", base().without(52), "30"),
        ("no new", base().without(53), "30"),
        ("unblock", base().set(3, "910000"), "12"),
        ("all well", base(), "00"),
    ] {
        let mut sim = Sim::new();
        assert_eq!(sim.ask(1, &ask)[&39], code, "{what}");
        sim.check_pin(if code == "00" { "2222" } else { "1111" });
    }
}

#[test]
fn three_wrong_pins_and_no_more() {
    let mut sim = Sim::new();
    sim.check(&Ask::change("000001", P3333, P2222), "55");
    sim.check(&Ask::change("000002", P3333, P2222), "55");
    assert_eq!(sim.card()["tries"], 2);
    sim.check(&Ask::change("000003", P1111, P2222), "00");
    assert_eq!(sim.card()["tries"], 0, "the right PIN resets");
    for stan in ["000004", "000005", "000006"] {
        sim.check(&Ask::change(stan, P1111, P3333), "55");
    }
    sim.check(&Ask::change("000007", P2222, P3333), "75");
    sim.check(&Ask::change("000004", P1111, P3333).repeat(), "55");
    sim.check_pin("2222");
}

#[test]
fn a_repeat_gets_the_first_answer_and_changes_nothing() {
    let mut sim = Sim::new();
    let keyed = Ask::change("000001", P1111, P2222).keyed("KEY1");
    sim.check(&keyed, "00");
    assert_eq!(sim.ask(2, &keyed.clone().repeat())[&39], "00");
    // The switch key alone tells: numbers may be others.
    assert_eq!(sim.ask(2, &keyed.clone().set(11, "000009").repeat())[&39], "00");
    let plain = Ask::change("000002", P2222, P3333);
    sim.check(&plain, "00");
    sim.check(&plain.clone().repeat(), "00");
    sim.check(&plain, "00");
    // Another transmission is another change, and its current PIN is no longer right.
    sim.check(&plain.set(7, "1122093001"), "55");
    sim.check_pin("3333");
    let card = sim.card();
    let changes = card["changes"].as_array().unwrap();
    let times = |at: usize, what: &str| changes[at][what].as_u64().unwrap();
    assert_eq!(changes.len(), 3);
    assert_eq!((times(0, "times_processed"), times(0, "times_received")), (1, 3));
    assert_eq!((times(1, "times_processed"), times(1, "times_received")), (1, 3));
    assert_eq!((times(2, "times_processed"), times(2, "times_received")), (0, 1));
    assert_eq!(changes[0]["state"], "superseded");
    assert_eq!(changes[1]["state"], "applied");
    assert_eq!((&changes[1]["from"], &changes[1]["to"]), (&"2222".into(), &"3333".into()));
}
