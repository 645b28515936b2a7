//! Messages against the contract's table, and through the codec of every built-in dialect.

use bytes::BytesMut;
use jiff::civil::date;

use super::*;
use crate::domain::pin::BlockFormat;
use crate::iso8583::{Dialect, Layout, decode};
use crate::sim::pin_pad::{MacPad, PinPad, TypedPin};
use crate::sim::world::World;

fn stamp(stan: u64) -> Stamp {
    Stamp {
        stan,
        rrn: 632_609_000_123,
        utc: date(2026, 11, 22).at(4, 5, 6, 0),
        local: date(2026, 11, 22).at(7, 5, 6, 0),
    }
}

fn card() -> Card {
    let pan = Pan::parse(b"4761739001010010").unwrap();
    Card { pan, expiry: Some(3012), sequence: Some(1) }
}

fn terminal(dialect: &str) -> Terminal {
    Terminal::new(dialect, "ATM00001", "BRANCH 7", "00970").unwrap()
}

/// The blocks 1234 and 5678 of the demo's card under `zpk.atm`.
fn blocks() -> (PinBlock, PinBlock) {
    let world = World::embedded().unwrap();
    let pad = PinPad::new(world.clear_key("zpk.atm").unwrap(), BlockFormat::Iso0).unwrap();
    let block = |pin: &[u8]| pad.block(&TypedPin::new(pin).unwrap(), &card().pan, [0; 16]);
    (block(b"1234"), block(b"5678"))
}

fn change(dialect: &str) -> Request {
    let (current, new) = blocks();
    terminal(dialect)
        .ask(Operation::Change, &stamp(4711), &card(), Some(&current), Some(&new))
        .unwrap()
}

fn show(request: &Request, number: u8) -> String {
    request.get(number).map_or_else(String::new, |value| {
        if value.is_text() {
            String::from_utf8(value.as_bytes().to_vec()).unwrap()
        } else {
            hex::encode_upper(value.as_bytes())
        }
    })
}

#[track_caller]
fn check_change(dialect: &str, mti: [u8; 4], code: &str, new: (u8, Option<u32>), value: &str) {
    let request = change(dialect);
    assert_eq!(request.mti(), mti, "{dialect}");
    assert_eq!(show(&request, 3), format!("{code}0000"), "{dialect}");
    assert_eq!(show(&request, 52), "6773584E4C616F77", "{dialect}");
    let field = request.fields().iter().find(|f| f.number == new.0).unwrap();
    assert_eq!(field.sub, new.1, "{dialect}");
    assert_eq!(hex::encode_upper(field.value.as_bytes()), value, "{dialect}");
    let numbers: Vec<_> = request.fields().iter().map(|f| f.number).collect();
    assert!(
        numbers.is_sorted() && (!numbers.contains(&53) || dialect == "postilion"),
        "{numbers:?}"
    );
}

/// The contract's table: request, DE 3, place of the new PIN. Blocks as `psec` made them.
#[test]
fn changes_as_the_contract_has_them() {
    let block = "09AC44C7E013D0A9";
    for dialect in ["iso87-ascii", "iso87-ascii-hex", "iso87-bcd", "mastercard"] {
        check_change(dialect, *b"0100", "92", (125, None), block);
    }
    check_change("postilion", *b"0600", "92", (53, None), &format!("{}{block}", "00".repeat(40)));
    check_change("iso93-ascii", *b"1100", "92", (125, None), block);
    check_change("iso93-bcd", *b"1100", "92", (125, None), block);
    check_change("cmf", *b"2600", "70", (113, Some(52)), block);
    check_change("visa", *b"0100", "70", (152, None), block);
}

#[test]
fn dates_follow_the_edition() {
    let dates = |dialect| {
        let request = change(dialect);
        [7, 11, 12, 13, 37].map(|n| show(&request, n)).join(" ")
    };
    assert_eq!(dates("iso87-ascii"), "1122040506 004711 070506 1122 632609000123");
    assert_eq!(dates("iso93-ascii"), "1122040506 004711 261122070506  632609000123");
    assert_eq!(dates("cmf"), "1122040506 000000004711 20261122070506  632609000123");
}

#[test]
fn other_requests() {
    let (current, new) = blocks();
    let ask = |dialect, operation, pins: (Option<&PinBlock>, Option<&PinBlock>)| {
        terminal(dialect).ask(operation, &stamp(1), &card(), pins.0, pins.1)
    };
    let verify = ask("iso87-ascii", Operation::Verify, (Some(&current), None)).unwrap();
    assert_eq!((show(&verify, 3), show(&verify, 125)), ("900000".to_owned(), String::new()));
    let unblock = ask("visa", Operation::Unblock, (None, None)).unwrap();
    assert_eq!((show(&unblock, 3), show(&unblock, 52)), ("720000".to_owned(), String::new()));

    let refused = |dialect, operation, pins| ask(dialect, operation, pins).unwrap_err().to_string();
    assert_eq!(
        refused("cmf", Operation::Verify, (Some(&current), None)),
        "dialect cmf has no message for verify"
    );
    assert_eq!(
        refused("iso87-ascii", Operation::Change, (None, Some(&new))),
        "change needs the current PIN"
    );
    assert_eq!(
        refused("iso87-ascii", Operation::Change, (Some(&current), None)),
        "change needs the new PIN"
    );
    assert!(Terminal::new("iso87", "", "", "").is_none());
}

#[test]
fn repeats_and_reversals_name_the_original() {
    let mut request = change("iso87-ascii");
    request.repeat();
    assert_eq!(request.mti(), *b"0101");
    let reversal = terminal("iso87-ascii").reverse(&stamp(4712), &request).unwrap();
    assert_eq!(reversal.mti(), *b"0420");
    assert_eq!(show(&reversal, 90), "0100004711112204050600000000970000000 00000".replace(' ', ""));
    assert_eq!(
        [11, 12, 13, 37].map(|n| show(&reversal, n)).join(" "),
        "004712 070506 1122 632609000123"
    );
    assert_eq!((show(&reversal, 52), show(&reversal, 125)), (String::new(), String::new()));

    let reversal = terminal("cmf").reverse(&stamp(4712), &change("cmf")).unwrap();
    assert_eq!(reversal.mti(), *b"2420");
    assert_eq!(show(&reversal, 56), "2600000000004711202611220705060500970");
    let echo = terminal("iso87-ascii").network(Network::Echo, &stamp(1));
    let refused = terminal("iso87-ascii").reverse(&stamp(2), &Request::new(echo.mti()));
    assert_eq!(refused, Err(AskError::NotReversible { field: 11 }));
}

#[test]
fn session_messages() {
    let seen = |dialect, what| {
        let request = terminal(dialect).network(what, &stamp(1));
        let mti = String::from_utf8(request.mti().to_vec()).unwrap();
        format!("{mti} {}{}", show(&request, 70), show(&request, 24))
    };
    assert_eq!(seen("postilion", Network::SignOn), "0800 001");
    assert_eq!(seen("iso87-bcd", Network::SignOff), "0800 002");
    assert_eq!(seen("visa", Network::Echo), "0800 301");
    assert_eq!(seen("iso93-ascii", Network::SignOn), "1804 801");
    assert_eq!(seen("cmf", Network::Echo), "2804 831");
}

/// Every message of every built-in dialect passes the codec, with and without a MAC, and shows the same values.
#[test]
fn every_dialect_can_write_them() {
    let world = World::embedded().unwrap();
    let mac = MacPad::new(world.clear_key("zak.acquirer").unwrap()).unwrap();
    let mut tried = 0;
    for name in Dialect::builtin_names().filter(|name| Terminal::dialects().any(|d| d == *name)) {
        let dialect = Dialect::builtin(name).unwrap();
        let terminal = terminal(name);
        let change = change(name);
        let mut repeat = change.clone();
        repeat.repeat();
        let reversal = terminal.reverse(&stamp(9), &change).unwrap();
        let echo = terminal.network(Network::Echo, &stamp(10));
        for request in [&change, &repeat, &reversal, &echo] {
            for pad in [None, Some(&mac)] {
                // DE 128 would have to stand before Visa's new PIN: such a message has no MAC.
                if pad.is_some() && request.get(152).is_some() {
                    assert!(request.write(&dialect, pad, &mut BytesMut::new()).is_err());
                    continue;
                }
                let mut wire = BytesMut::new();
                request.write(&dialect, pad, &mut wire).unwrap_or_else(|e| panic!("{name}: {e}"));
                let mut layout = Layout::new();
                let message =
                    decode(&dialect, &wire, &mut layout).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert_eq!(message.mti(), request.mti());
                for field in request.fields().iter().filter(|f| f.sub.is_none()) {
                    let got = if field.value.is_text() {
                        message.text(field.number)
                    } else {
                        message.binary(field.number)
                    };
                    let got = got.unwrap_or_else(|| panic!("{name}: DE {}", field.number));
                    let got = got.as_bytes().trim_ascii_end();
                    assert!(
                        got.ends_with(field.value.as_bytes().trim_ascii_end()),
                        "{name}: DE {}",
                        field.number
                    );
                }
                let seen = message.mac().map(|seen| (mac.mac(seen.covered), seen.value));
                assert_eq!(seen.is_some(), pad.is_some(), "{name}");
                if let Some((want, got)) = seen {
                    assert!(
                        4 <= got.as_bytes().len() && want.starts_with(got.as_bytes()),
                        "{name}"
                    );
                }
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 9 * 4 * 2 - 2, "every dialect, every message, with and without a MAC");
}

/// EMV Book 3, annex A: counter 9F36 of two bytes, cryptogram 9F26 of eight; in Visa's field 55 within data set 01.
#[test]
fn chip_data_are_where_each_dialect_has_them() {
    let chip = ChipData { counter: [0x01, 0x2C], cryptogram: *b"\x0F\x1E\x2D\x3C\x4B\x5A\x69\x78" };
    for name in ["iso87-ascii", "iso87-bcd", "iso93-ascii", "cmf", "mastercard", "visa"] {
        let mut request = change(name);
        terminal(name).add_chip(&mut request, &chip);
        let dialect = Dialect::builtin(name).unwrap();
        let mut bytes = BytesMut::new();
        request.write(&dialect, None, &mut bytes).unwrap();
        let mut layout = Layout::new();
        let message = decode(&dialect, &bytes, &mut layout).unwrap();
        for (tag, want) in [(0x9F36, &chip.counter[..]), (0x9F26, &chip.cryptogram)] {
            let path = if name == "visa" { vec![1, tag] } else { vec![tag] };
            let found = message.sub(55, &path).unwrap_or_else(|| panic!("{name}: no {tag:X}"));
            assert_eq!(found.value(), want, "{name}");
        }
    }
}
