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

#[test]
fn a_reversal_puts_the_old_pin_back() {
    for (mti, answer) in [("0400", "0410"), ("0401", "0410"), ("0420", "0430"), ("0421", "0430")] {
        let mut sim = Sim::new();
        sim.check(&Ask::change("000001", P1111, P2222), "00");
        let reversal = Ask::reversal(mti, "000001");
        let got = sim.ask(2, &reversal);
        assert_eq!((got[&0].as_str(), got[&39].as_str()), (answer, "00"));
        sim.check_pin("1111");
        assert_eq!(sim.ask(1, &reversal)[&39], "00", "again");
        // The original's repeat is told what it was told, and the PIN stays.
        sim.check(&Ask::change("000001", P1111, P2222).repeat(), "00");
        sim.check_pin("1111");
        assert_eq!(sim.card()["changes"][0]["state"], "reversed");
    }
}

#[test]
fn the_original_key_finds_the_original() {
    let mut sim = Sim::new();
    sim.check(&Ask::change("000001", P1111, P2222).keyed("KEY1"), "00");
    let bare = Ask::reversal("0420", "000001").without(90);
    assert_eq!(sim.ask(1, &bare)[&39], "30", "names nothing");
    // The data fit, the key is another's.
    sim.check(&Ask::reversal("0420", "000001").of_key("KEY2"), "25");
    sim.check_pin("2222");
    sim.check(&Ask::reversal("0420", "000001").of_key("KEY1").keyed("REV1"), "00");
    sim.check(&bare.of_key("KEY1").keyed("REV2"), "00");
    sim.check_pin("1111");
}

#[test]
fn a_reversal_of_a_decline_or_of_a_superseded_change() {
    let mut sim = Sim::new();
    sim.check(&Ask::change("000001", P3333, P2222), "55");
    sim.check(&Ask::reversal("0420", "000001"), "00");
    sim.check(&Ask::change("000002", P1111, P2222), "00");
    sim.check(&Ask::change("000003", P2222, P3333), "00");
    sim.check(&Ask::reversal("0420", "000002"), "25");
    sim.check_pin("3333");
    sim.check(&Ask::reversal("0420", "000003"), "00");
    sim.check_pin("2222");
    // It is the card's last change again, but it was told 25 and stays told so.
    sim.check(&Ask::reversal("0421", "000002"), "25");
    sim.check_pin("2222");
}

#[test]
fn reversals_unwind_in_order() {
    let mut sim = Sim::new();
    sim.check(&Ask::change("000001", P1111, P2222), "00");
    sim.check(&Ask::change("000002", P2222, P3333), "00");
    sim.check(&Ask::reversal("0420", "000002"), "00");
    sim.check(&Ask::reversal("0420", "000001"), "00");
    sim.check_pin("1111");
}

#[test]
fn a_reversal_before_its_original_keeps_it_out() {
    for keyed in [false, true] {
        let mut sim = Sim::new();
        let (mut reversal, mut change) =
            (Ask::reversal("0420", "000001"), Ask::change("000001", P1111, P2222));
        if keyed {
            reversal = reversal.without(90).of_key("KEY1");
            change = change.keyed("KEY1");
        }
        sim.check(&reversal, "25");
        assert_eq!(sim.ask(2, &change)[&39], "94");
        assert_eq!(sim.ask(2, &change.clone().repeat())[&39], "94");
        sim.check(&reversal, "25");
        sim.check_pin("1111");
        sim.check(&Ask::change("000002", P1111, P2222), "00");
        let remembered: Vec<_> = sim.core.book.remembered().collect();
        assert_eq!(remembered.len(), 1);
        assert_eq!((remembered[0].received, remembered[0].refused), (2, 1));
    }
}

#[test]
fn sessions() {
    let mut sim = Sim::not_signed_on(true);
    let network = |code| Ask::new("0800", &[(7, "1122093000"), (11, "000042"), (70, code)]);
    sim.check(&Ask::change("000001", P1111, P2222), "91");
    sim.check(&Ask::reversal("0420", "000001"), "91");
    let want = [(0, "0810"), (7, "1122093000"), (11, "000042"), (39, "00"), (70, "301")];
    let want: Answer = want.into_iter().map(|(n, v)| (n, v.to_owned())).collect();
    assert_eq!(sim.ask(1, &network("301")), want);
    sim.check(&network("001"), "00");
    sim.check(&Ask::change("000001", P1111, P2222), "00");
    sim.check(&network("002"), "00");
    sim.check(&Ask::change("000002", P2222, P3333), "91");
    sim.check(&network("999"), "12");
    sim.tell(r#"{"faults":{"refuse_sign_on":{"share":1}}}"#);
    sim.check(&network("001"), "91");
    sim.check(&Ask::change("000002", P2222, P3333), "91");
    let mut free = Sim::not_signed_on(false);
    free.check(&Ask::change("000001", P1111, P2222), "00");
    free.check(&Ask::new("0200", &[(11, "000001")]), "12");
}

/// The old key is good until the new one has been used; blocks under both are psec's.
#[test]
fn a_new_key_takes_over_at_its_first_good_use() {
    let mut sim = Sim::new();
    let key = ZoneKey::new(&hex::decode(NEW_KEY).unwrap()).unwrap();
    // 16 bytes under zmk.partner and the check value, as psec has them, and zeros.
    let field = hex::encode_upper(sim.core.field_53(&key, false));
    assert_eq!(field, format!("499D9EC521977731EFB153378BA4DB11BE1789{}", "0".repeat(58)));
    let wrong = hex::encode_upper(sim.core.field_53(&key, true));
    assert_ne!(&wrong[32..38], "BE1789");
    sim.check(&Ask::change("000001", NEW_1111, NEW_2222), "81");
    sim.core.take_key(key);
    sim.check(&Ask::change("000002", P1111, P2222), "00");
    sim.check(&Ask::change("000003", NEW_2222, NEW_3333), "00");
    sim.check(&Ask::change("000004", P3333, P4444), "81");
    sim.check_pin("3333");
    let (uses, retired) = sim.core.keys.counts();
    assert_eq!((uses.newest, uses.older, retired), (1, 1, 1));
}

#[test]
fn a_key_is_handed_out_on_request() {
    for code in ["101", "161"] {
        let mut sim = Sim::new();
        let request = Ask::new("0800", &[(7, "1122093000"), (11, "000042"), (70, code)]);
        let one = sim.ask(1, &request);
        let other = sim.ask(2, &request);
        assert_eq!((one[&39].as_str(), one[&53].len()), ("00", 96));
        assert_ne!(one[&53], other[&53]);
        assert_eq!(&one[&53][38..], "0".repeat(58));
        assert_eq!(sim.core.keys.check_values().count(), 3);
        let last = sim.core.keys.check_values().last().unwrap();
        assert_eq!(other[&53][32..38], hex::encode_upper(last));
        sim.tell(r#"{"faults":{"wrong_check_value":{"share":1}}}"#);
        assert_eq!(sim.ask(1, &request)[&39], "00");
        assert_eq!(sim.core.keys.check_values().count(), 3, "not taken");
    }
}

#[test]
fn a_pushed_key_counts_once_the_peer_accepts_it() {
    for (code, keys) in [("00", 2), ("88", 1)] {
        let mut sim = Sim::new();
        let (done, mut pushed) = tokio::sync::oneshot::channel();
        let mut out = BytesMut::new();
        sim.sessions[0].push(&mut sim.core, Push { wrong_check_value: false, done }, &mut out);
        let asked = read(&mut out).unwrap();
        assert_eq!(
            (asked[&0].as_str(), asked[&70].as_str(), asked[&53].len()),
            ("0800", "101", 96)
        );
        assert_eq!(sim.core.keys.check_values().count(), 1);
        let fields = [(7, asked[&7].as_str()), (11, &asked[&11]), (39, code), (70, "101")];
        let mut input = BytesMut::new();
        Ask::new("0810", &fields).write(&mut input);
        let (_, out) = sim.turn(1, &mut input);
        assert!(out.is_empty());
        let pushed = pushed.try_recv().unwrap();
        assert_eq!(pushed.code.0.as_str(), code);
        assert_eq!(hex::encode_upper(pushed.check_value), asked[&53][32..38]);
        assert_eq!(sim.core.keys.check_values().count(), keys);
    }
}

/// What each fault leaves on the wire and in the book.
#[test]
fn faults() {
    let change = Ask::change("000001", P1111, P2222);
    for (fault, pin, answers, closes) in [
        (r#""answer_late":{"share":1,"ms":600000}"#, "2222", 0, false),
        (r#""close_after":{"share":1}"#, "2222", 0, true),
        (r#""close_before":{"share":1}"#, "1111", 0, true),
        (r#""delay":{"share":1,"ms":600000}"#, "1111", 0, false),
        (r#""drop_answer":{"share":1}"#, "2222", 0, false),
        (r#""duplicate_answer":{"share":1}"#, "2222", 2, false),
        (r#""drop_answer":{"reversals":1}"#, "2222", 1, false),
    ] {
        let mut sim = Sim::new();
        sim.tell(&format!("{{\"faults\":{{{fault}}}}}"));
        let mut input = BytesMut::new();
        change.write(&mut input);
        let (step, mut out) = sim.turn(1, &mut input);
        assert_eq!(matches!(step, Step::Close), closes, "{fault}");
        let got = std::iter::from_fn(|| read(&mut out)).inspect(|a| assert_eq!(a[&39], "00"));
        assert_eq!(got.count(), answers, "{fault}");
        assert!(out.is_empty());
        sim.check_pin(pin);
        assert_eq!(sim.sessions[0].next_due().is_some(), fault.contains("600000"), "{fault}");
    }
}

#[test]
fn faults_of_the_answer_itself() {
    let change = Ask::change("000001", P1111, P2222);
    let with = |fault: &str| {
        let mut sim = Sim::new();
        sim.tell(&format!("{{\"faults\":{{{fault}}}}}"));
        let mut input = BytesMut::new();
        change.write(&mut input);
        let (step, out) = sim.turn(1, &mut input);
        (sim, step, out)
    };
    let (sim, _, mut out) = with(r#""wrong_stan":{"share":1}"#);
    let answer = read(&mut out).unwrap();
    assert_eq!((answer[&11].as_str(), answer[&39].as_str()), ("500001", "00"));
    sim.check_pin("2222");
    let (mut sim, _, mut out) = with(r#""fixed_code":{"share":1,"code":"C1"}"#);
    assert_eq!(read(&mut out).unwrap()[&39], "C1");
    sim.check_pin("1111");
    sim.tell("{}");
    sim.check(&change.clone().repeat(), "00");
    let (sim, step, out) = with(r#""slow_bytes":{"share":1,"ms":100}"#);
    let Step::Slow { mut bytes, ms: 100 } = step else { panic!("{step:?}") };
    assert!(out.is_empty());
    assert_eq!(read(&mut bytes).unwrap()[&39], "00");
    sim.check_pin("2222");
    let (_, _, out) = with(r#""garbage_bytes":{"share":1}"#);
    // A length of 65535 is past every limit.
    assert_eq!((out.len(), &out[..2]), (34, &[0xFF, 0xFF][..]));
    let (sim, _, out) = with(r#""garbage_frame":{"share":1}"#);
    assert_eq!((out.len(), &out[..2]), (34, &[0, 32][..]));
    let dialect = Dialect::builtin("postilion").unwrap();
    assert!(decode(&dialect, &out[2..], &mut Layout::new()).is_err());
    sim.check_pin("2222");
}

/// Several frames of one read are answered into one buffer; a fault in the middle keeps the answers before it.
#[test]
fn many_frames_one_buffer() {
    let mut sim = Sim::new();
    let mut input = BytesMut::new();
    Ask::change("000001", P1111, P2222).write(&mut input);
    Ask::change("000002", P2222, P3333).write(&mut input);
    Ask::reversal("0420", "000002").write(&mut input);
    let (_, mut out) = sim.turn(1, &mut input);
    let codes: Vec<_> = std::iter::from_fn(|| read(&mut out)).map(|a| a[&39].clone()).collect();
    assert_eq!(codes, ["00", "00", "00"]);
    sim.check_pin("2222");
    sim.tell(r#"{"faults":{"close_before":{"reversals":1}}}"#);
    Ask::change("000003", P2222, P4444).write(&mut input);
    Ask::reversal("0420", "000003").write(&mut input);
    Ask::change("000004", P4444, P1111).write(&mut input);
    let (step, mut out) = sim.turn(1, &mut input);
    assert!(matches!(step, Step::Close));
    assert_eq!(read(&mut out).unwrap()[&39], "00");
    assert!(out.is_empty());
    sim.check_pin("4444");
}

/// With a capacity of 1 the second request waits for the second second.
#[test]
fn requests_past_the_capacity_wait() {
    let mut sim = Sim::new();
    sim.tell(r#"{"node":1,"capacity":1}"#);
    let mut input = BytesMut::new();
    for stan in ["000001", "000002", "000003"] {
        Ask::change(stan, P3333, P2222).write(&mut input);
    }
    let (_, mut out) = sim.turn(1, &mut input);
    assert_eq!(std::iter::from_fn(|| read(&mut out)).count(), 1);
    let wait = sim.sessions[0].next_due().unwrap().saturating_sub(sim.core.now());
    assert!(wait.as_secs_f64() <= 1.0, "{wait:?}");
    assert_eq!(sim.ask(2, &Ask::change("000009", P3333, P2222))[&39], "55", "node 2 has no bound");
}

#[test]
fn what_is_no_message_ends_the_connection() {
    for bytes in [&b"\x00\x04abcd"[..], b"\xFF\xFFab", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut sim = Sim::new();
        let (step, out) = sim.turn(1, &mut BytesMut::from(bytes));
        assert!(matches!(step, Step::Close), "{bytes:?}");
        assert!(out.is_empty());
        assert_eq!(sim.core.nodes[0].counters.bad, 1);
    }
}
