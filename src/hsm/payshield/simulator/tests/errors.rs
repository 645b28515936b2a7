//! Each command's errors, provoked.
//!
//! Codes are those of the manuals' lists. **Never here:** answers that succeed (`mod`, `blocks`).

use std::collections::BTreeSet;

use crate::hsm::payshield::simulator::tests::ask;
use crate::hsm::payshield::simulator::{Device, Setup};
use crate::hsm::payshield::wire::Request;
use crate::pin::tdes::Tdes;

/// Keys of the vectors, by a letter in braces; `{X}` has wrong parity under every type.
const NAMES: &[(&str, &str)] = &[
    ("{T}", "U1750CDFB0757D3B3994430636DBB281B"),
    ("{Z}", "U1EF828AA8F6B80EB83E19FBC373F3A85"),
    ("{Y}", "UE7EF2FB6BA695C63F43BB490CF74D327"),
    ("{P}", "U8463435FC4B4DAA0C49025272C29B12C"),
    ("{S}", "0406FBB23A5214DF"),
    ("{K}", "U19D25F349FD03CC3556BB05F65283CA1"),
    ("{B}", "U8E3D3E2FD5919657F05A1AA90D32A014"),
    ("{M}", "U1457FF6ADF6250C66C368416B4C9D383"),
    ("{X}", "U00000000000000000000000000000000"),
    ("{R}", "S00072P0TB00E0001EA421618B34F5FA1A77F7CF6480111B97CF0FAE7BD77D589EC921EF9"),
    ("{I}", "U352796B7EF432BE016CA35D48F4A0483"),
    ("{C}", "U8430868258D18395C1AD55F2F9F1A090"),
    ("{A}", "U7475636CC30B93B493CF5EA53799EBCC"),
    ("{acct}", "173900101001"),
    ("{old}", "7A68167FDAA0CC84"),
    ("{new}", "AD5EB96DDF77CC51"),
    ("{told}", "621F91F5470F2CFE"),
    ("{ibm}", "012345678901234512345678901N"),
    ("{ksn}", "605FFFF9876543210E00001"),
    ("{dukpt}", "950A4B38E1A9B36F"),
];

/// A clear block under the key `{Z}`.
fn under_zpk(clear: &str) -> String {
    let key = hex::decode("C7152C20BC2C830EA7EC9E8334ABE3FE").unwrap().try_into().unwrap();
    let mut block = hex::decode(clear).unwrap().try_into().unwrap();
    Tdes::double(&key).encrypt(&mut block);
    hex::encode_upper(block)
}

fn filled(template: &str, pin: &str) -> String {
    let named =
        NAMES.iter().fold(template.to_owned(), |text, (name, value)| text.replace(name, value));
    // PIN 123, of three digits, in the account's format 0.
    named.replace("{short}", &under_zpk("031223C6FFEFEFFE")).replace("{pin}", pin)
}

/// Commands that the default device answers with this error.
const REFUSED: &[(&str, &str)] = &[
    ("NC%07", "13"),
    ("NCX", "15"),
    ("NO02", "15"),
    ("NO0", "15"),
    ("B20008PING", "80"),
    ("B20002PING", "15"),
    ("N0ABC", "15"),
    ("BA1234FFFFFFFFF{acct}", "17"),
    ("NG{acct}{pin}", "17"),
    ("CA{X}{Z}12{told}0101{acct}", "10"),
    ("CA{T}{X}12{told}0101{acct}", "11"),
    ("CA{T}{Z}12{told}9901{acct}", "23"),
    ("CA{T}{Z}12{told}0101999999999999", "20"),
    ("CA{T}{Z}11{told}0101{acct}", "15"),
    ("CA{T}K00112{told}0101{acct}", "12"),
    ("CA{T}{R}12{told}0101{acct}", "A1"),
    ("CC{Z}{Y}12{short}0101{acct}", "24"),
    ("CC{Z}{Y}12{old}0148{acct}", "15"),
    ("CC{Z}{Y}12{old}01484761739001010010;", "27"),
    ("CC{X}{Y}12{old}0101{acct}", "10"),
    ("CC{Z}{X}12{old}0101{acct}", "11"),
    ("CC{Z}{Y}12{old}0101{acct}%05", "13"),
    ("JC{X}{told}01{acct}", "10"),
    ("JC{T}{told}99{acct}", "23"),
    ("JE{X}{old}01{acct}", "10"),
    ("JE{Z}{old}01999999999999", "20"),
    ("JE{Z}{short}01{acct}", "24"),
    ("JG{X}01{acct}{pin}", "11"),
    ("JG{Z}01{acct}AAAAAAAAAAAAA", "14"),
    ("JG{Z}99{acct}{pin}", "23"),
    ("JG{Z}01{acct}12345", "15"),
    ("JA{acct}03", "81"),
    ("JA{acct}04*0105{acct}", "15"),
    ("JA{acct}04*010512345", "81"),
    ("BC{X}{told}01{acct}{pin}", "10"),
    ("BC{T}{told}01{acct}AAAAAAAAAAAAA", "14"),
    ("BE{Z}{new}01{acct}{pin}", "01"),
    ("BE{Z}{old}01999999999999{pin}", "20"),
    ("DA{X}{S}12{told}0104{acct}{ibm}0199FFFFFFFF", "10"),
    ("DA{T}{X}12{told}0104{acct}{ibm}0199FFFFFFFF", "11"),
    ("DA{T}{S}12{told}0105{acct}{ibm}0199FFFFFFFF", "24"),
    ("EA{Z}{S}12{old}0104{acct}{ibm}0198FFFFFFFF", "01"),
    ("EA{Z}{S}12{old}0104{acct}K00112345678901N0199FFFFFFFF", "25"),
    ("EA{Z}{S}12{old}0104{acct}01234567890123451234567890120199FFFFFFFF", "15"),
    ("DC{X}{P}{told}01{acct}19616", "10"),
    ("DC{T}{X}{told}01{acct}19616", "11"),
    ("DC{T}{P}{told}01{acct}1961", "15"),
    ("EC{Z}{S}{old}01{acct}19616", "27"),
    ("EC{Z}{P}{old}01{acct}19617", "01"),
    ("DE{X}{pin}04{acct}{ibm}", "10"),
    ("DE{S}AAAAAAAAAAAAA04{acct}{ibm}", "14"),
    ("DE{S}{pin}04{acct}{ibm}*01041234", "86"),
    ("DE{S}{pin}04{acct}{ibm}*02041234", "03"),
    ("DG{X}{pin}{acct}1", "10"),
    ("DG{S}{pin}{acct}1", "27"),
    ("DG{P}{pin}{acct}1*01041234", "86"),
    ("DG{P}{pin}{acct}1*010512345", "81"),
    ("EE{X}0199FFFFFFFF04{acct}{ibm}", "10"),
    ("EE{S}0199FFFFFFFF05{acct}{ibm}", "24"),
    ("BK001{X}{S}{new}0104{acct}{ibm}", "10"),
    ("BK001{Z}{X}{new}0104{acct}{ibm}", "11"),
    ("BK003{Z}{S}{new}0104{acct}{ibm}", "04"),
    ("BK001{Z}{S}{new}0104{acct}{ibm}*02041111", "03"),
    ("BK001{Z}{S}{new}0104{acct}{ibm}*020411114315", "86"),
    ("BK001{Z}{S}{new}0104{acct}{ibm}*010511111", "81"),
    ("FW001{X}{P}{new}01{acct}1", "10"),
    ("FW001{Z}{X}{new}01{acct}1", "11"),
    ("FW001{Z}{S}{new}01{acct}1", "27"),
    ("FW001{Z}{P}{new}01{acct}1*01044315", "86"),
    ("FW001{Z}{P}{new}01{acct}1*02044315", "03"),
    ("CU001{X}{P}{old}01{acct}19616{new}", "10"),
    ("CU001{Z}{X}{old}01{acct}19616{new}", "11"),
    ("CU001{Z}{S}{old}01{acct}19616{new}", "27"),
    ("CUFFF{Z}{P}{old}01{acct}19616{new}", "04"),
    ("CU001{Z}{P}{old}01{acct}19617{new}*01044315", "01"),
    ("CU001{Z}{P}{old}01{acct}19616{new}*01044315", "86"),
    ("CU001{Z}{P}{old}01{acct}19616{new}*0106431500", "81"),
    ("CU001{Z}{P}{old}01{acct}19616{short}", "24"),
    ("DU001{X}{S}{old}0104{acct}{ibm}0199FFFFFFFF{new}", "10"),
    ("DU001{Z}{X}{old}0104{acct}{ibm}0199FFFFFFFF{new}", "11"),
    ("DU001{Z}{S}{old}0104{acct}{ibm}0198FFFFFFFF{new}", "01"),
    ("DU001{Z}{S}{old}0104{acct}{ibm}0199FFFFFFFF{new}*01044315", "86"),
    ("DU001{Z}{S}{old}0104{acct}000011112222333312345678901N0199FFFFFFFF{new}", "25"),
    ("G0{X}{Z}{ksn}{dukpt}0101{acct}", "10"),
    ("G0{B}{X}{ksn}{dukpt}0101{acct}", "11"),
    ("G0{B}{Z}{ksn}{dukpt}0101999999999999", "20"),
    ("G0{B}{Z}FFFFFFF9876543210E00001{dukpt}0101{acct}", "15"),
    ("GO0{X}{S}{ksn}{dukpt}0104{acct}{ibm}0199FFFFFFFF", "10"),
    ("GO0{B}{S}{ksn}{dukpt}0104{acct}{ibm}0198FFFFFFFF", "01"),
    ("GQ0{B}{X}{ksn}{dukpt}01{acct}19616", "11"),
    ("GQ0{B}{P}{ksn}{dukpt}01{acct}19617", "01"),
    ("GQ0{B}{S}{ksn}{dukpt}01{acct}19616", "27"),
    ("GW9A{B}{ksn}0004ABCD", "02"),
    ("GW1A{B}{ksn}00000000000000000004ABCD", "01"),
    ("GW4A{X}{ksn}0004ABCD", "10"),
    ("KU90{I}CARDCARDSESSIONS0005PLAIN;", "04"),
    ("KU02{I}CARDCARDSESSIONS0005PLAIN;", "05"),
    ("KU00{X}CARDCARDSESSIONS0005PLAIN;", "10"),
    ("KU00{I}CARDCARDSESSIONS0000;", "81"),
    ("KU00{I}CARDCARDSESSIONS0009PLAIN;", "80"),
    ("KU10{I}CARDCARDSESSIONS0005PLAIN;{X}SESSIONS00050008ENCIPHER;", "11"),
    ("KU31{I}CARDCARDSESSIONS0005PLAIN;SESSIONS00060008DAMAGED!;0{Z}0134{acct}", "20"),
    ("KU31{I}CARDCARDSESSIONS0005PLAIN;SESSIONS00050008DAMAGED!;0{X}0134{acct}", "11"),
    ("KU31{I}CARDCARDSESSIONS0005PLAIN;SESSIONS00050008DAMAGED!;0{Z}9934{acct}", "23"),
    ("KU31{I}CARDCARDSESSIONS0005PLAIN;SESSIONS00050007DAMAGED;0{Z}0134{acct}", "80"),
    ("KU31{I}CARDCARDSESSIONS0005PLAIN;SESSIONS00050008DAMAGED!;9{Z}0134{acct}", "15"),
    ("KU00{I}CARDCARDSESSIONS0005PLAIN", "80"),
    ("KY10{I}CARDCARDSESSIONS0005PLAIN;", "04"),
    ("KY05{I}CARDCARDSESSIONS0005PLAIN;", "05"),
    ("KY00{I}CARDCARD9AT0005PLAIN;", "52"),
    ("KY00{X}CARDCARD0AT0005PLAIN;", "10"),
    ("KY40{I}CARDCARD0AT0005PLAIN;{X}00050008DAMAGED!;0{Z}0134{acct}", "11"),
    ("KY40{I}CARDCARDSESSIONS0005PLAIN;{C}00050008DAMAGED!;0{Z}0134{acct}", "20"),
    ("M641031003{K}0004ABCD", "02"),
    ("M604031003{K}0004ABCD", "03"),
    ("M601041003{K}0004ABCD", "04"),
    ("M60103A003{K}0004ABCD", "09"),
    ("M601031004{K}0004ABCD", "05"),
    ("M601031003{K}0005ABCDE", "06"),
    ("M601031003{X}0004ABCD", "10"),
    ("M8010310030004", "15"),
    ("M801031003{K}0004ABCD00000000", "01"),
    ("A02001U", "15"),
    ("A00001Q", "26"),
    ("A00F01U", "04"),
    ("A6001{X}XEDF0622763F428A3E97C9205623A1D26U", "10"),
    ("A6001{M}XEDF0622763F428A3E97C9205623A1D26Q", "26"),
    ("A8001{X}{Y}X", "10"),
    ("A8001{M}{X}X", "11"),
    ("A8001{M}{Y}Y", "26"),
    ("FA{X}XEDF0622763F428A3E97C9205623A1D26", "10"),
    ("BU011{X};001", "10"),
    ("BU010{Z};001", "05"),
    ("BUFF1{Z}", "04"),
    ("BU0F1{Z}", "04"),
    ("BU011{R};001", "A1"),
    ("ZX", "68"),
    ("QK", "68"),
];

#[test]
fn every_command_refuses_what_its_table_says() {
    let device = Device::new(&Setup::default());
    let pin = ask(&device, &filled("JE{Z}{old}01{acct}", ""));
    let pin = pin.strip_prefix("JF00").unwrap();
    let (mut wrong, mut provoked) = (Vec::new(), BTreeSet::new());
    for (template, want) in REFUSED {
        let answer = ask(&device, &filled(template, pin));
        let code = [
            template.as_bytes()[0],
            template.as_bytes()[1] + 1,
            want.as_bytes()[0],
            want.as_bytes()[1],
        ];
        if answer.as_bytes() != code {
            wrong.push(format!("{template}: {answer}, not {want}"));
        }
        provoked.insert(&template[..2]);
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    for code in Request::CODES {
        assert!(provoked.contains(str::from_utf8(code).unwrap()), "{}", code.escape_ascii());
    }
}

/// What only the authorised state shows, and what only PCI-HSM mode forbids.
#[test]
fn states_of_the_device() {
    let authorised = Device::new(&Setup { authorised: true, ..Setup::default() });
    let sealed = ask(&authorised, &filled("BA1234FFFFFFFFF{acct}", ""));
    let pin = sealed.strip_prefix("BB00").unwrap();
    assert_eq!(ask(&authorised, &filled("NG{acct}{pin}", pin)), "NH001234FFFFFFFFF173900101001");
    assert_eq!(ask(&authorised, &filled("NG{acct}AAAAAAAAAAAAA", pin)), "NH14");
    assert_eq!(ask(&authorised, &filled("BA123FFFFFFFFFF{acct}", "")), "BB24");
    let pci = Device::new(&Setup { pci: true, ..Setup::default() });
    assert_eq!(ask(&pci, &filled("CC{Z}{Y}12{old}0103{acct}", "")), "CD23");
    assert_eq!(ask(&pci, &filled("CC{Z}{Y}12{old}0105{acct}", "")), "CD23");
    assert_eq!(ask(&pci, &filled("BU011{Z}", "")), "BV17");
    assert_eq!(ask(&pci, "NO01"), "NP001");
    assert!(ask(&pci, &filled("CC{Z}{Y}12{old}0147{acct}", "")).starts_with("CD0004"));
}

/// The chain of commands for PINs kept under the LMK, and 02 with a PVK of double length.
#[test]
fn pins_under_the_lmk() {
    let device = Device::new(&Setup::default());
    let run = |template: &str, pin: &str| ask(&device, &filled(template, pin));
    let terminal = run("JC{T}{told}01{acct}", "");
    assert_eq!(terminal, run("JE{Z}{old}01{acct}", "").replace("JF", "JD"));
    let pin = &terminal[4..];
    assert_eq!(run("BE{Z}{old}01{acct}{pin}", pin), "BF00");
    assert_eq!(run("BC{T}{told}01{acct}{pin}", pin), "BD00");
    assert_eq!(run("JG{Z}01{acct}{pin}", pin), "JH007A68167FDAA0CC84");
    assert_eq!(run("DG{P}{pin}{acct}1", pin), "DH009616");
    assert_eq!(run("DE{S}{pin}04{acct}{ibm}", pin), "DF000199FFFFFFFF");
    assert_eq!(run("EE{S}0199FFFFFFFF04{acct}{ibm}", pin), format!("EF00{pin}"));
    let offset = run("DE{P}{pin}04{acct}{ibm}", pin);
    let offset = offset.strip_prefix("DF02").unwrap();
    assert_eq!(run(&format!("EA{{Z}}{{P}}12{{old}}0104{{acct}}{{ibm}}{offset}"), ""), "EB02");
    assert_eq!(run("GQ0{B}{P}{ksn}{dukpt}01{acct}19616", ""), "GR00");
    assert_eq!(run("GO0{B}{S}{ksn}{dukpt}0104{acct}{ibm}0199FFFFFFFF", ""), "GP00");
    let drawn = run("JA{acct}06", "");
    assert!(run("JG{Z}03{acct}{pin}", &drawn[4..]).starts_with("JH00"), "{drawn}");
}

/// A message in pieces has the MAC of the whole.
#[test]
fn macs_in_pieces() {
    let device = Device::new(&Setup::default());
    for algorithm in ["1", "3", "6"] {
        let run = |text: &str| ask(&device, &filled(&text.replace('a', algorithm), ""));
        let whole = run("M6011a1003{K}0030112233445566778899AABBCCDDEEFF00123456789ABCDEF0");
        let first = run("M6111a1003{K}00101122334455667788");
        let middle = run(&format!("M6211a1003{{K}}{}001099AABBCCDDEEFF00", &first[4..]));
        let last = run(&format!("M6311a1003{{K}}{}0010123456789ABCDEF0", &middle[4..]));
        assert_eq!(last, whole, "{algorithm}");
        assert_eq!(whole.len(), 20);
    }
}

/// Keys made here are keys here.
#[test]
fn keys_are_generated_imported_and_exported() {
    let device = Device::new(&Setup::default());
    let run = |text: &str| ask(&device, &filled(text, ""));
    let made = run("A01001U;0{M}X");
    let (lmk, rest) = made.strip_prefix("A100").unwrap().split_at(33);
    let (zmk, check) = rest.split_at(33);
    assert_eq!(run(&format!("A6001{{M}}{zmk}U")), format!("A700{lmk}{check}"));
    assert_eq!(run(&format!("A8001{{M}}{lmk}X")), format!("A900{zmk}{check}"));
    assert_eq!(run(&format!("FA{{M}}{zmk};XU1")), format!("FB00{lmk}{check}"));
    assert_eq!(run(&format!("BU011{lmk};001")), format!("BV00{check}"));
    assert_eq!(run("A00001Z").len(), 4 + 16 + 6);
    assert_eq!(run("A00001T").len(), 4 + 49 + 6);
}
