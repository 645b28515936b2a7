//! Messages to a node against bytes composed by hand.

use super::*;
use crate::domain::forward::{Details, HostId, Stan};
use crate::domain::pin::BlockFormat;
use crate::domain::request::Text;
use crate::host::Booking;
use crate::host::testing::{Request, fixed, settings};

// Composed by hand (a script of forty lines that knows nothing of this code) from the layout of
// `domain/iso8583.md` chapters 2 and 3.2.
const CHANGE_SPARE: &str = "\
    30363030e238060188801800000000001000000231393530363039393030303030303031353130303239323030303031\
    313232303733383031303030303432303733383031313132323031313030313036313131313131303632323232323236\
    333236303730303037373741544d3030303432c1c1c1c1c1c1c1c1a2a2a2a2a2a2a2a200000000000000000000000000\
    000000000000000000000000000000000000000000000000000000303636333630393230303030343240000000000000\
    0033323131313131313131313131313131313131313131313131313131313131313131";
const CHANGE_FULL: &str = "\
    30363030f23c068188c09800000000001600002231393530363039393030303030303031353130303239323130323030\
    303030303030303030303031313232303733383031303030303432323335393539313132313330313230353130303132\
    363036343435353636303632323232323231313232303730303030343250494e494f4e30314252414e43482037202020\
    20202020353636c1c1c1c1c1c1c1c1000000000000000000000000000000000000000000000000000000000000000000\
    00000000000000a2a2a2a2a2a2a2a2303636333630393231303030313233343536373830354143432032303135323131\
    343031323133333434303032303030303937601000000000000033323131313131313131313131313131313131313131\
    313131313131313131313131535243202020202020202020534e4b202020202020202020303030303432303030303432\
    47525020202020202020202030354f574e4552";
const REVERSAL: &str = "\
    30343230e238060188800100000000401000000231393530363039393030303030303031353130303239323030303031\
    313232303733383035303030303432303733383031313132323031313030313036313131313131303632323232323236\
    333236303730303037373741544d30303034323030343430323130363030303030303432313132323037333830313030\
    303030313131313131303030303032323232323230363633363039323030303037364020000000000000333232636161\
    393962646462363031366462383033383238383134643661323030393332313131313131313131313131313131313131\
    3131313131313131313131313131";

fn request() -> Request {
    Request::new(0x11, Booking { host: HostId(0), stan: Stan(42) })
}

#[test]
fn a_change_has_the_bytes_of_the_chapter() {
    let form = Form::new(&settings(&[])).unwrap();
    let message = form.change(&request().forward()).unwrap();
    assert_eq!(hex::encode(&message), CHANGE_SPARE);
    assert!(message.capacity() == MESSAGE_BYTES, "one allocation");
}

#[test]
fn a_change_carries_what_the_request_and_the_configuration_have() {
    let mut settings = settings(&[]);
    settings.new_pin = Side::Last;
    settings.fields = vec![
        fixed("127.12", "OWNER"),
        fixed("127.3", "SRC         SNK         000042000042GRP         "),
        fixed("123", "211401213344002"),
        fixed("4", "000000000000"),
        fixed("22", "011"),
    ];
    let mut request = request();
    request.trace = Trace::default();
    request.forwarded.details = Details {
        account_types: Some(*b"1020"),
        expiry: Some(*b"3012"),
        time: Some(*b"235959"),
        date: Some(*b"1121"),
        entry_mode: Some(*b"051"),
        condition: Some(*b"26"),
        currency: Some(*b"566"),
        acquirer: Tag::new(b"445566"),
        acceptor: Tag::new(b"BRANCH 7"),
        accounts: [Text::new(b"0012345678"), Text::new(b"ACC 2")],
    };
    let message = Form::new(&settings).unwrap().change(&request.forward()).unwrap();
    assert_eq!(hex::encode(&message), CHANGE_FULL);
}

/// The trace number is the original's in the repeat too, and so is the switch key; no PIN block is in either.
#[test]
fn a_reversal_has_the_bytes_of_the_chapter_and_its_repeat_is_one() {
    let form = Form::new(&settings(&[])).unwrap();
    let request = request();
    let first = form.reversal(&request.advice(false)).unwrap();
    assert_eq!(hex::encode(&first), REVERSAL);
    let repeat = form.reversal(&request.advice(true)).unwrap();
    assert_eq!((&repeat[..4], &repeat[4..]), (&b"0421"[..], &first[4..]));
    for block in [request.current.block(), request.new.block()] {
        assert!(!first.windows(8).any(|window| window == block));
    }
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Settings), want: &str) {
    let mut settings = settings(&[]);
    change(&mut settings);
    let error = settings.check().unwrap_err().to_string();
    assert!(error.contains(want), "{error}");
}

#[test]
fn what_cannot_be_written_is_refused_at_start() {
    let with = |key: &'static str, text: &'static str| {
        move |settings: &mut Settings| settings.fields.push(fixed(key, text))
    };
    for own in ["2", "7", "11", "37", "52", "53", "90", "127.2", "127.11", "127"] {
        refused(with(own, "1"), &format!("fields.{own}: the switch fills this element"));
    }
    refused(with("22", "11"), "fields.22: not the length");
    refused(with("127.3", "short"), "fields.127.3: not the length");
    refused(with("127.41", "x"), "fields.127.41: the dialect does not define this field");
    refused(with("18", "shop"), "fields.18: a character");
    refused(|settings| settings.zone.format = BlockFormat::Iso4, "element 52 of the PIN change");
    refused(|settings| settings.match_fields = vec![41], "it lacks DE 11");
    refused(|settings| settings.match_fields = vec![11, 200], "does not know element 200");
    // Its DE 53 has 16 digits.
    let other = |settings: &mut Settings| {
        settings.dialect = Dialect::builtin("iso87-ascii").unwrap();
        settings.fields.clear();
    };
    refused(other, "element 53 of the PIN change");
}

#[test]
fn a_reference_number_is_kept_or_made() {
    let (sent, stan) = (b"1122073801", *b"000042");
    for (given, want) in [
        ("632607000777", "632607000777"),
        ("ABC123", "000000ABC123"),
        ("", "112207000042"),
        ("1234567890123", "112207000042"),
        ("A.B", "112207000042"),
    ] {
        assert_eq!(reference(given, sent, stan), want.as_bytes(), "{given:?}");
    }
}
