//! Vectors of public sources for every algorithm, and properties over every layout.

use proptest::prelude::*;
use serde_json::Value;

use crate::domain::pan::{Account12, Pan};
use crate::domain::pin::PinRules;
use crate::pin::block::{self, NoPin};
use crate::pin::clear::ClearPin;
use crate::pin::ibm3624::{DecimalizationTable, Ibm3624Error, ValidationData, offset};
use crate::pin::policy::accepts;
use crate::pin::pvv::pvv;
use crate::pin::tdes::Tdes;

fn pin(digits: &str) -> ClearPin {
    ClearPin::from_ascii(digits.as_bytes()).unwrap()
}

fn text(pin: &ClearPin) -> String {
    let digits = pin.expose_digits();
    digits[..usize::from(pin.digit_count())].iter().map(|d| char::from(b'0' + d)).collect()
}

fn account(pan: &str) -> Account12 {
    Pan::parse(pan.as_bytes()).unwrap().account12()
}

/// An account whose twelve digits are these: the digits around them are not theirs.
fn of_twelve(twelve: &str) -> Account12 {
    account(&format!("476{twelve}0"))
}

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    hex::decode(hex).unwrap().try_into().unwrap()
}

/// A key of eight, sixteen or twenty-four bytes; single DES is triple DES with one key.
fn key(hex: &str) -> Tdes {
    match hex.len() {
        16 => Tdes::double(&bytes(&hex.repeat(2))),
        32 => Tdes::double(&bytes(hex)),
        _ => Tdes::triple(&bytes(hex)),
    }
}

fn payshield() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/payshield.json")).unwrap()
}

fn world() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/world.json")).unwrap()
}

/// Formats 0 and 3 by the tables of the payShield manuals and the package psec; format 4 by openemv/pinblock.
#[test]
fn clear_blocks_of_public_vectors() {
    let block = block::encode_0(&pin("1234"), &of_twelve("550000025321"));
    assert_eq!(hex::encode_upper(*block), "041261FFFFFDACDE");
    let block = block::encode_0(&pin("1234"), &of_twelve("173900101001"));
    assert_eq!(hex::encode_upper(*block), "041223C6FFEFEFFE");

    let long = account("1234567890123456789");
    assert_eq!(
        hex::encode_upper(*block::account_field_4(&long)),
        "71234567890123456789000000000000"
    );
    assert_eq!(
        hex::encode_upper(*block::account_field_4(&account("4111111111111111"))),
        "44111111111111111000000000000000"
    );
    let field = block::pin_field_4(&pin("1234"), [0xFF; 8]);
    assert_eq!(hex::encode_upper(*field), "441234AAAAAAAAAAFFFFFFFFFFFFFFFF");
}

/// Blocks that are wrong in one place each.
#[test]
fn what_is_no_pin() {
    #[track_caller]
    fn check(clear: &str, want: Result<&str, NoPin>) {
        // With an account of zeros the block is its own fields.
        let zeros = of_twelve("000000000000");
        let block = bytes(clear);
        let got = match clear.as_bytes()[0] {
            b'1' => block::decode_1(&block),
            b'3' => block::decode_3(&block, &zeros),
            _ => block::decode_0(&block, &zeros),
        };
        assert_eq!(got.map(|p| text(&p)).as_deref(), want.as_ref().map(|s| *s), "{clear}");
    }
    check("041234FFFFFFFFFF", Ok("1234"));
    check("0C123456789012FF", Ok("123456789012"));
    check("041234FFFFFFFFF0", Err(NoPin));
    check("041234FFFFFFFFFE", Err(NoPin));
    check("04123AFFFFFFFFFF", Err(NoPin));
    check("03123FFFFFFFFFFF", Err(NoPin));
    check("0D1234567890123F", Err(NoPin));
    check("00FFFFFFFFFFFFFF", Err(NoPin));
    check("241234FFFFFFFFFF", Err(NoPin));
    check("0000000000000000", Err(NoPin));
    check("FFFFFFFFFFFFFFFF", Err(NoPin));
    check("1412340000000000", Ok("1234"));
    check("1412349F3A51B2C7", Ok("1234"));
    check("14123B9F3A51B2C7", Err(NoPin));
    check("1D12345678901234", Err(NoPin));
    check("341234AFBECDFEDC", Ok("1234"));
    check("3412349FBECDFEDC", Err(NoPin));
}

/// PVVs of the payShield manuals, its simulators' tests and a device's traces.
#[test]
fn pvv_of_public_vectors() {
    #[track_caller]
    fn check(pvk: &str, twelve: &str, digits: &str, want: &str) {
        let got = pvv(&key(pvk), &of_twelve(twelve), 1, &pin(digits));
        assert_eq!(std::str::from_utf8(&got).unwrap(), want);
    }
    check("C8199237EA5857BC40EF9DA2B5E96BBF", "550000025321", "1234", "4402");
    check("D3DCC7EA9BCB755D254620B376B3D007", "173900101001", "1234", "9616");
    check("D3DCC7EA9BCB755D254620B376B3D007", "173900101001", "4315", "5215");
    check("0B169746643829CD0489A8AB8A268016", "600000000000", "340367", "2194");
}

/// Every PVV and offset of the demo world, which the package psec computed.
#[test]
fn references_of_the_demo_world() {
    let world = world();
    let clear = |name: &str| key(world["keys"][name]["clear"].as_str().unwrap());
    let reference = |pan: &str, digits: &str| {
        let account = account(pan);
        let product = world["products"]
            .as_object()
            .unwrap()
            .values()
            .find(|p| pan.starts_with(p["bin"].as_str().unwrap()))
            .unwrap();
        if product["pin_method"] == "visa-pvv" {
            let pvk = clear(product["pvk"].as_str().unwrap());
            let value = pvv(&pvk, &account, 1, &pin(digits));
            return String::from_utf8(value.to_vec()).unwrap();
        }
        let table: &[u8] = product["decimalization_table"].as_str().unwrap().as_bytes();
        let table = DecimalizationTable::new(table.try_into().unwrap()).unwrap();
        let part =
            |name: &str| u8::try_from(product["validation"][name].as_u64().unwrap()).unwrap();
        let data = ValidationData::new(&account, part("start"), part("length"), b'F').unwrap();
        let offset = offset(&clear("pvk.ibm"), &table, &data, &pin(digits));
        offset[..digits.len()].iter().map(|d| char::from(b'0' + d)).collect()
    };
    let mut checked = 0;
    for card in world["cards"].as_array().unwrap() {
        let Some(want) = card.get("pvv").or_else(|| card.get("offset")) else { continue };
        let pan = card["pan"].as_str().unwrap();
        assert_eq!(reference(pan, card["pin_for_tests"].as_str().unwrap()), *want, "{pan}");
        checked += 1;
    }
    for sample in world["pin_block_samples"].as_array().unwrap() {
        let pan = sample["pan"].as_str().unwrap();
        let new = &sample["new_reference"];
        let want = new.get("pvv").or_else(|| new.get("offset")).unwrap();
        assert_eq!(reference(pan, sample["new"].as_str().unwrap()), *want, "{pan}");
        checked += 1;
    }
    assert_eq!(checked, 18, "13 cards with a PVV or an offset, five samples");
}

/// Natural PINs and offsets of the IBM, CCA and psec documents and a device's traces. A natural PIN shows as the
/// offset of a PIN of zeros: ten less each digit.
#[test]
fn ibm_3624_of_public_vectors() {
    #[track_caller]
    fn check(pvk: &str, data: &str, table: &str, digits: &str, want: &str) {
        let table = DecimalizationTable::new(table.as_bytes().try_into().unwrap()).unwrap();
        let got = offset(&key(pvk), &table, &ValidationData::from_bytes(bytes(data)), &pin(digits));
        let got: String = got[..digits.len()].iter().map(|d| char::from(b'0' + d)).collect();
        assert_eq!(got, want);
    }
    let table = "0123456789012345";
    check("1313131313131313", "1234567890123456", table, "643085", "000000");
    check("0123456789ABCDEF", "1234567890123445", table, "1234", "2298");
    check("0123456789ABCDEF", "1234567890123445", table, "9046", "0000");
    let psec = "0123456789ABCDEFFEDCBA9876543210";
    check(psec, "1122334455667788", "1234567890123456", "1234", "7710");
    check("0B681FC20E62C734", "1234567890101001", table, "1234", "0199");
    check("0B681FC20E62C734", "1234567890101001", table, "4315", "3270");
    let device = "54A1521FDA7083E9C83E9EC4263786EC";
    check(device, "1234560000000000", table, "373757", "093636");
}

#[test]
fn decimalization_tables() {
    #[track_caller]
    fn check(table: &[u8; 16], want: Result<(), Ibm3624Error>) {
        assert_eq!(DecimalizationTable::new(table).map(|_| ()), want);
    }
    check(b"0123456789012345", Ok(()));
    check(b"8351296477461538", Ok(()));
    check(b"0000111122345678", Ok(()));
    check(b"0000011223456789", Err(Ibm3624Error::TableLopsided));
    check(b"0000000000000000", Err(Ibm3624Error::TableLopsided));
    check(b"0011223344556600", Err(Ibm3624Error::TableLopsided));
    check(b"012345678901234F", Err(Ibm3624Error::TableNotDigits));
}

#[test]
fn validation_data_stays_inside_the_account_number() {
    #[track_caller]
    fn check(start: u8, length: u8, pad: u8, want: Result<(), Ibm3624Error>) {
        let account = account("5413340089010011");
        assert_eq!(ValidationData::new(&account, start, length, pad).map(|_| ()), want);
    }
    check(3, 12, b'F', Ok(()));
    check(0, 16, b'0', Ok(()));
    check(5, 12, b'F', Err(Ibm3624Error::ValidationRange));
    check(255, 255, b'F', Err(Ibm3624Error::ValidationRange));
    check(0, 12, b'G', Err(Ibm3624Error::ValidationPad));
}

/// The single-length PVK of the payShield set, which no key file may hold: commands DA, EA, BK and DU.
#[test]
fn ibm_commands_of_payshield() {
    let file = payshield();
    let clear = &file["meta"]["clear_keys"];
    let by_token = |token: &str| {
        let names = file["meta"]["keys_under_LMK"].as_object().unwrap();
        let name = names.iter().find(|(_, sealed)| *sealed == token).unwrap().0;
        key(clear[name.trim_end_matches("70D")].as_str().unwrap())
    };
    let account = of_twelve("173900101001");
    let open = |zone: &str, block: &str| {
        let mut clear = bytes(block);
        by_token(zone).decrypt(&mut clear);
        block::decode_0(&clear, &account).unwrap()
    };
    let mut checked = 0;
    for vector in file["vectors"].as_array().unwrap() {
        let request = vector["request"].as_str().unwrap();
        let response = vector["response"].as_str().unwrap();
        // DA, EA: key, PVK, 12, block, format, check length, account, table, data, offset.
        // BK, DU: key type, key, PVK, block, format, check length, account, table, data, offset, new block.
        let (zone, rest) = match &request[..2] {
            "DA" | "EA" => request[2..].split_at(33),
            "BK" | "DU" => request[5..].split_at(33),
            _ => continue,
        };
        let (pvk, rest) = rest.split_at(if rest.starts_with('U') { 33 } else { 16 });
        let rest = if matches!(&request[..2], "DA" | "EA") { &rest[2..] } else { rest };
        let presented = open(zone, &rest[..16]);
        let table = DecimalizationTable::new(rest.as_bytes()[32..48].try_into().unwrap());
        let Ok(table) = table else {
            assert_eq!(&response[2..4], "25", "{}", vector["name"]);
            checked += 1;
            continue;
        };
        // `12345678901N`: N stands for the last five digits of the account.
        let data = ValidationData::from_bytes(bytes("1234567890101001"));
        let digits = |pin: &ClearPin| {
            let offset = offset(&by_token(pvk), &table, &data, pin);
            offset[..4].iter().map(|d| char::from(b'0' + d)).collect::<String>()
        };
        let made = digits(&presented);
        match (&request[..2], &response[2..4]) {
            ("BK", _) => assert_eq!(made, response[4..8], "{}", vector["name"]),
            ("DU", "00") => {
                assert_eq!(made, rest[60..64]);
                assert_eq!(digits(&open(zone, &rest[72..88])), response[4..8]);
            }
            (_, "00") => assert_eq!(made, rest[60..64], "{}", vector["name"]),
            (_, _) => assert_ne!(made, rest[60..64], "{}", vector["name"]),
        }
        checked += 1;
    }
    assert_eq!(checked, 8);
}

#[test]
fn rules_for_new_pins() {
    #[track_caller]
    fn check(rules: &PinRules, new: &str, current: Option<&str>, want: bool) {
        let current = current.map(pin);
        assert_eq!(accepts(rules, &pin(new), current.as_ref()), want, "{new}");
    }
    let all = PinRules {
        lengths: 1 << 4 | 1 << 6,
        not_one_digit_repeated: true,
        not_a_run: true,
        not_the_current: true,
        refused: vec![b"1900".as_slice().into(), b"2580".as_slice().into()],
    };
    check(&all, "5678", Some("1234"), false);
    check(&all, "5670", Some("1234"), true);
    check(&all, "5670", Some("5670"), false);
    check(&all, "5670", Some("567000"), true);
    check(&all, "5670", None, true);
    check(&all, "1111", None, false);
    check(&all, "111111", None, false);
    check(&all, "1112", None, true);
    check(&all, "9876", None, false);
    check(&all, "8901", None, true);
    check(&all, "1098", None, true);
    check(&all, "13579", None, false);
    check(&all, "2580", None, false);
    check(&all, "1900", None, false);
    check(&all, "190000", None, true);
    let only_length = PinRules { lengths: 1 << 4, ..PinRules::default() };
    check(&only_length, "1111", Some("1111"), true);
    check(&only_length, "1234", None, true);
    check(&PinRules::default(), "5670", None, false);
}

#[test]
fn a_clear_pin_does_not_print() {
    assert_eq!(format!("{:?}", pin("1234")), "ClearPin(****)");
    for refused in ["123", "1234567890123", "12a4", "", "12 4"] {
        assert!(ClearPin::from_ascii(refused.as_bytes()).is_none(), "{refused:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn encoded_blocks_decode(
        digits in "[0-9]{4,12}",
        pan in "[0-9]{13,19}",
        random in any::<[u8; 16]>(),
    ) {
        let (clear, account) = (pin(&digits), account(&pan));
        let half = *random.first_chunk().unwrap();
        let zero = block::encode_0(&clear, &account);
        let one = block::encode_1(&clear, half);
        let three = block::encode_3(&clear, &account, random);
        let four = block::pin_field_4(&clear, half);
        for read in [
            block::decode_0(&zero, &account),
            block::decode_1(&one),
            block::decode_3(&three, &account),
            block::read_pin_field_4(&four),
        ] {
            prop_assert_eq!(text(&read.unwrap()), digits.clone());
        }
    }

    #[test]
    fn any_bytes_decode_without_panic(bytes in any::<[u8; 16]>(), pan in "[0-9]{13,19}") {
        let account = account(&pan);
        let half = bytes.first_chunk().unwrap();
        let reads = [
            block::decode_0(half, &account),
            block::decode_1(half),
            block::decode_3(half, &account),
            block::read_pin_field_4(&bytes),
        ];
        for read in reads.into_iter().flatten() {
            prop_assert!((4..=12).contains(&read.digit_count()));
            prop_assert!(read.expose_digits().iter().all(|d| *d <= 9));
        }
    }

    #[test]
    fn packing_keeps_every_digit(digits in "[0-9]{8}") {
        let ascii = digits.as_bytes().try_into().unwrap();
        prop_assert_eq!(format!("{:08X}", crate::pin::pack(ascii)), digits);
    }

    #[test]
    fn letters_are_what_exceeds_nine(nibbles in any::<u64>()) {
        let want = crate::pin::unpack(nibbles).map(|n| u8::from(n > 9));
        prop_assert_eq!(crate::pin::unpack(crate::pin::letters(nibbles)), want);
    }
}
