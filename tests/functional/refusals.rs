//! Every reason a request is refused for, once: which code, and that nothing was changed.

use crate::changes::check_echo;
use crate::support::iso::{ISO87_ASCII, ISO87_BCD, ISO93_ASCII, Message, POSTILION};
use crate::support::node::{Node, Place, world_links};
use crate::support::request::{Terminal, bare};
use crate::support::vectors::{
    CHIP, OFFSET, PLAIN, VERVE, block, no_pin_block, reference, unknown_card,
};
use crate::support::wire::framed;

const ATM: Terminal = Terminal::new(&ISO87_ASCII, "zpk.atm");
const ACQUIRER: Terminal = Terminal::new(&ISO87_BCD, "zpk.acquirer");
const POST: Terminal = Terminal::new(&POSTILION, "zpk.atm");
const NINETY_THREE: Terminal = Terminal::new(&ISO93_ASCII, "zpk.atm");

/// Sends a request on a link and checks type, echo and code of the answer.
#[track_caller]
fn check(node: &Node, what: &str, link: &str, request: &Message, code: &str) {
    let answer = node.connect(link).ask(request);
    assert_eq!(answer.code(), code, "{what}");
    let mut mti = request.mti.clone().into_bytes();
    mti[2] += 1;
    mti[3] = b'0';
    assert_eq!(answer.mti.as_bytes()[..3], mti[..3], "{what}");
    check_echo(request, &answer);
}

/// Cards of the world, each refused for what is wrong with it.
#[test]
fn for_what_is_wrong_with_the_card() {
    let node = Node::world();
    for (what, card, pin, code) in [
        ("blocked", "4761739001010028", "4321", "62"),
        ("expired", "4761739001010036", "1234", "54"),
        ("not activated", "4761739001010044", "1234", "62"),
        ("PIN suppressed", "4761739001010051", "1234", "57"),
        ("tries exceeded", "4761739001010069", "1234", "75"),
        ("account blocked", "4761739001010077", "1234", "57"),
        ("account type", "4761739001010085", "1234", "57"),
        ("closed", "4761739001010093", "1234", "56"),
        ("lost", "4761739001010101", "1234", "41"),
        ("stolen", "4761739001010119", "1234", "43"),
        ("unknown", &unknown_card(), "1234", "14"),
    ] {
        check(&node, what, "atm-1", &ATM.change(card, pin, "2580"), code);
        check(&node, what, "atm-1", &ATM.verify(card, pin), code);
    }
    let at_postilion = "at Postilion, with no host configured";
    check(&node, at_postilion, "atm-1", &ATM.change(VERVE, "1234", "2580"), "91");
    check(&node, "no operation of Postilion", "atm-1", &ATM.verify(VERVE, "1234"), "12");
    let short = ATM.change(PLAIN, "1234", "2580").with(2, "476173900101");
    check(&node, "a number of twelve digits", "atm-1", &short, "14");
}

/// The same reasons in the codes of 1993.
#[test]
fn in_the_codes_of_1993() {
    let node = Node::world();
    for (what, card, pin, new, code) in [
        ("blocked", "4761739001010028", "4321", "2580", "104"),
        ("expired", "4761739001010036", "1234", "2580", "101"),
        ("PIN suppressed", "4761739001010051", "1234", "2580", "119"),
        ("tries exceeded", "4761739001010069", "1234", "2580", "106"),
        ("closed", "4761739001010093", "1234", "2580", "118"),
        ("lost", "4761739001010101", "1234", "2580", "208"),
        ("stolen", "4761739001010119", "1234", "2580", "209"),
        ("unknown", &unknown_card(), "1234", "2580", "111"),
        ("at Postilion", VERVE, "1234", "2580", "912"),
        ("current PIN wrong", PLAIN, "4321", "2580", "117"),
        ("new PIN unacceptable", PLAIN, "1234", "7777", "182"),
    ] {
        check(&node, what, "iso93", &NINETY_THREE.change(card, pin, new), code);
    }
}

/// A new PIN that breaks a rule of the product; the current one is right and stays.
#[test]
fn for_the_new_pin() {
    let mut node = Node::world();
    for (what, card, current, new) in [
        ("a run up", PLAIN, "1234", "5678"),
        ("a run down", PLAIN, "1234", "9876"),
        ("one digit repeated", PLAIN, "1234", "7777"),
        ("the current one", PLAIN, "1234", "1234"),
        ("too long for the product", PLAIN, "1234", "24680"),
        ("the current one under the LMK", CHIP, "2580", "2580"),
        ("seven digits where six are the most", CHIP, "2580", "4826157"),
        ("the current one with an offset", OFFSET, "13579", "13579"),
    ] {
        check(&node, what, "atm-1", &ATM.change(card, current, new), "89");
        check(&node, what, "atm-1", &ATM.verify(card, current), "00");
    }
    check(&node, "Postilion's code", "postilion-in", &POST.change(PLAIN, "1234", "7777"), "C0");
    // Wrong first: the rules are told only to who knows the current PIN.
    check(&node, "both wrong", "atm-1", &ATM.change(PLAIN, "4321", "7777"), "55");
    let stored = node.cards();
    assert_eq!(stored[PLAIN]["pvv"], reference(PLAIN, "1234"));
    assert_eq!(stored[OFFSET]["offset"], reference(OFFSET, "13579"));
}

/// Where the cardholder stands, and what the link may ask for.
#[test]
fn for_the_channel_and_the_rights() {
    let node = Node::world();
    for (what, link, request, code) in [
        ("chip card by voice", "vcr-1", ATM.change(CHIP, "2580", "1379"), "58"),
        ("verify a chip card by voice", "vcr-1", ATM.verify(CHIP, "2580"), "00"),
        ("plain card by voice", "vcr-1", ATM.change(PLAIN, "1234", "2580"), "00"),
        ("unblock without the right", "acquirer-1", ACQUIRER.unblock(PLAIN), "58"),
        ("unblock by voice", "vcr-1", ATM.unblock(PLAIN), "58"),
    ] {
        let answer = node.connect(link).ask(&request);
        assert_eq!(answer.code(), code, "{what}");
        check_echo(&request, &answer);
    }
}

/// Blocks that hold no PIN for this card.
#[test]
fn for_the_blocks() {
    let node = Node::world();
    let current = block("zpk.atm", PLAIN, "1234");
    let new = block("zpk.atm", PLAIN, "2580");
    let garbage = no_pin_block("zpk.atm");
    let of_another_card = block("zpk.atm", OFFSET, "1234");
    let of_another_zone = block("zpk.acquirer", PLAIN, "1234");
    for (what, current, new) in [
        ("garbage as the current PIN", &garbage, &new),
        ("garbage as the new PIN", &current, &garbage),
        ("the current PIN of another card", &of_another_card, &new),
        ("the current PIN under another zone's key", &of_another_zone, &new),
    ] {
        check(&node, what, "atm-1", &ATM.change_blocks(PLAIN, current, new), "81");
    }
    let verify = bare(&ISO87_ASCII, "0100", "900000", PLAIN).with(52, &garbage);
    check(&node, "garbage to verify", "atm-1", &verify, "81");
    check(&node, "no try was counted", "atm-1", &ATM.verify(PLAIN, "1234"), "00");
}

/// Messages that lack something or break a rule of their dialect.
#[test]
fn for_the_form() {
    let node = Node::world();
    let whole = || ATM.change(PLAIN, "1234", "2580");
    let post = || POST.change(PLAIN, "1234", "2580");
    let (first, zeros) = (block("zpk.atm", PLAIN, "2580"), [0_u8; 40]);
    for (what, link, request, code) in [
        ("no number and no track 2", "atm-1", whole().without(2), "30"),
        ("an empty number", "atm-1", whole().with(2, ""), "30"),
        ("no processing code", "atm-1", whole().without(3), "30"),
        ("no trace number", "atm-1", whole().without(11), "30"),
        ("no current PIN", "atm-1", whole().without(52), "30"),
        ("no new PIN", "atm-1", whole().without(125), "30"),
        ("a new PIN of seven bytes", "atm-1", whole().with(125, &first[1..]), "30"),
        ("no current PIN to verify", "atm-1", ATM.verify(PLAIN, "1234").without(52), "30"),
        ("letters in the number", "atm-1", whole().with(2, "47617390010100AB"), "30"),
        ("letters in the amount", "atm-1", whole().with(4, "00000000000A"), "30"),
        ("no new PIN for Postilion", "postilion-in", post().without(53), "30"),
        ("a new PIN of zeros", "postilion-in", post().with(53, [0; 48]), "30"),
        (
            "a new PIN amid the field",
            "postilion-in",
            post().with(53, [&zeros[..8], &first[..], &zeros[..32]].concat()),
            "30",
        ),
        ("track 2 without a separator", "atm-1", whole().without(2).with(35, PLAIN), "30"),
        (
            "no trace number in a reversal",
            "atm-1",
            ATM.reversal("0400", &whole()).without(11),
            "30",
        ),
        ("an operation nobody knows", "atm-1", whole().with(3, "500000"), "12"),
        ("a purchase", "atm-1", whole().as_mti("0200"), "12"),
        ("an authorization to Postilion's link", "postilion-in", post().as_mti("0100"), "12"),
        ("a verification in 1993", "iso93", NINETY_THREE.verify(PLAIN, "1234"), "902"),
        ("an unblock in 1993", "iso93", NINETY_THREE.unblock(PLAIN), "902"),
        ("a verification for Postilion", "postilion-in", POST.verify(PLAIN, "1234"), "12"),
    ] {
        let answer = node.connect(link).ask(&request);
        assert_eq!(answer.code(), code, "{what}");
        // What came before the element that broke comes back; what came behind it cannot.
        for (field, value) in answer.fields.iter().filter(|(n, _)| **n != 39) {
            assert_eq!(request.fields.get(field), Some(value), "{what}: field {field}");
        }
    }
    check(&node, "nothing was changed", "atm-1", &ATM.verify(PLAIN, "1234"), "00");
}

/// Bytes that no dialect can read to their end are answered too, as far as they can be read.
#[test]
fn for_what_cannot_be_read_to_its_end() {
    let node = Node::world();
    let whole = ISO87_ASCII.encode(&ATM.change(PLAIN, "1234", "2580"));
    // The number's length stands behind the type and two bitmaps.
    let mut too_long = whole.clone();
    too_long[20..22].copy_from_slice(b"25");
    let mut unknown_field = whole.clone();
    unknown_field[4 + 64 / 8] |= 0x80;
    for (what, bytes) in [
        ("a number of 25 digits", too_long),
        ("the new PIN cut short", whole[..whole.len() - 3].to_vec()),
        ("bytes behind the last field", [&whole[..], b"00"].concat()),
        ("a bit without a field", unknown_field),
    ] {
        let mut atm = node.connect("atm-1");
        atm.send_bytes(&framed(&bytes));
        let answer = atm.receive();
        assert_eq!((answer.mti.as_str(), answer.code().as_str()), ("0110", "30"), "{what}");
        assert_eq!(atm.code(&ATM.verify(PLAIN, "1234")), "00", "{what}: the link goes on");
    }
}

/// What is no message at all ends the connection and is counted; the next one is served.
#[test]
fn for_what_is_no_message() {
    let node = Node::world();
    for (what, bytes) in [
        ("letters for a type", framed(b"ABCD01234567890123456789")),
        ("two bytes", framed(b"01")),
        ("a web browser", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("a frame beyond the limit", [0xFF, 0xFF, b'0', b'1'].to_vec()),
    ] {
        let before = node.metric("pinion_frames_rejected_total", &[("link", "atm-1")]);
        let mut atm = node.connect("atm-1");
        atm.send_bytes(&bytes);
        assert!(atm.is_closed(), "{what}");
        let after = node.metric("pinion_frames_rejected_total", &[("link", "atm-1")]);
        assert!(before < after, "{what}: counted");
    }
    // An answer that nobody waits for is counted, and the connection goes on.
    let mut atm = node.connect("atm-1");
    atm.send(&ATM.verify(PLAIN, "1234").as_mti("0110"));
    assert_eq!(atm.code(&ATM.verify(PLAIN, "1234")), "00");
    let unexpected = [("link", "atm-1"), ("why", "unexpected")];
    assert_eq!(node.metric("pinion_frames_rejected_total", &unexpected), 1);
}

/// Changes a day are bounded where the product says so; verifications and refused changes do not count.
#[test]
fn for_too_many_changes_a_day() {
    let place = Place::new(world_links());
    place.replace("bin = \"476173\"", "bin = \"476173\"\nchanges_per_day = 2");
    let node = place.start();
    for (what, request, code) in [
        ("the first", ATM.change(PLAIN, "1234", "2580"), "00"),
        ("refused", ATM.change(PLAIN, "2580", "7777"), "89"),
        ("the second", ATM.change(PLAIN, "2580", "1379"), "00"),
        ("the third", ATM.change(PLAIN, "1379", "4826"), "65"),
        ("a verification", ATM.verify(PLAIN, "1379"), "00"),
    ] {
        check(&node, what, "atm-1", &request, code);
    }
}

/// More in flight than the link may have: the rest is refused at once, and of those nothing was done.
#[test]
fn for_too_much_in_flight() {
    let mut links = world_links();
    links[0] = links[0].clone().with("in_flight = 1");
    let node = Place::new(links).start();
    let mut atm = node.connect("atm-1");
    // Wrong PINs, so that each one served leaves a trace: the count.
    let requests: Vec<_> = (0..30).map(|_| ATM.unblock(PLAIN)).collect();
    let bytes: Vec<u8> = requests.iter().flat_map(|r| framed(&atm.bytes(r))).collect();
    atm.send_bytes(&bytes);
    let codes: Vec<_> = requests.iter().map(|_| atm.receive().code()).collect();
    let count = |code: &str| codes.iter().filter(|c| *c == code).count();
    assert!(0 < count("00") && 0 < count("91"), "{codes:?}");
    assert_eq!(count("00") + count("91"), codes.len(), "{codes:?}");
    let shed = node.metric("pinion_shed_total", &[("link", "atm-1")]);
    assert_eq!(usize::try_from(shed), Ok(count("91")));
    assert_eq!(atm.code(&ATM.verify(PLAIN, "1234")), "00");
}
