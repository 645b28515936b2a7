//! Each command's errors, provoked.
//!
//! Codes are those of the manuals' lists. **Never here:** answers that succeed (`mod`, `blocks`).

use crate::hsm::payshield::simulator::lmk::key_of;
use crate::hsm::payshield::simulator::tests::{answered, ask};
use crate::hsm::payshield::simulator::{Device, Setup};
use crate::hsm::payshield::wire::key::KeyType;
use crate::hsm::payshield::wire::message::answer_code;
use crate::hsm::payshield::wire::{ErrorCode, has_data};
use crate::pin::tdes::Tdes;

/// Keys of the vectors, by a letter in braces; `{X}` has wrong parity under every type.
pub(super) const NAMES: &[(&str, &str)] = &[
    ("{T}", "U1750CDFB0757D3B3994430636DBB281B"),
    ("{Z}", "U1EF828AA8F6B80EB83E19FBC373F3A85"),
    ("{Y}", "UE7EF2FB6BA695C63F43BB490CF74D327"),
    ("{P}", "U8463435FC4B4DAA0C49025272C29B12C"),
    ("{S}", "0406FBB23A5214DF"),
    ("{K}", "U19D25F349FD03CC3556BB05F65283CA1"),
    ("{B}", "U8E3D3E2FD5919657F05A1AA90D32A014"),
    ("{M}", "U1457FF6ADF6250C66C368416B4C9D383"),
    ("{I}", "U352796B7EF432BE016CA35D48F4A0483"),
    ("{C}", "U8430868258D18395C1AD55F2F9F1A090"),
    ("{A}", "U7475636CC30B93B493CF5EA53799EBCC"),
    ("{X}", "U00000000000000000000000000000000"),
    ("{R}", "S00072P0TB00E0001EA421618B34F5FA1A77F7CF6480111B97CF0FAE7BD77D589EC921EF9"),
    ("{acct}", "173900101001"),
    ("{old}", "7A68167FDAA0CC84"),
    ("{new}", "AD5EB96DDF77CC51"),
    ("{told}", "621F91F5470F2CFE"),
    ("{ibm}", "012345678901234512345678901N"),
    ("{bad}", "000011112222333312345678901N"),
    ("{ksn}", "605FFFF9876543210E00001"),
    ("{dukpt}", "950A4B38E1A9B36F"),
];

fn under(key: &str, clear: &str) -> String {
    let key = hex::decode(key).unwrap().try_into().unwrap();
    let mut block = hex::decode(clear).unwrap().try_into().unwrap();
    Tdes::double(&key).encrypt(&mut block);
    hex::encode_upper(block)
}

/// Replaces names. Values that no list has are computed: PIN 123, of three digits, in the account's format 0, under
/// each kind of PIN key, and a BDK of single length.
pub(super) fn filled(template: &str, pin: &str) -> String {
    const SHORT: &str = "031223C6FFEFEFFE";
    let named =
        NAMES.iter().fold(template.to_owned(), |text, (name, value)| text.replace(name, value));
    let bdk = key_of(KeyType(*b"009")).unwrap();
    named
        .replace("{short}", &under("C7152C20BC2C830EA7EC9E8334ABE3FE", SHORT))
        .replace("{tshort}", &under("0123456789ABCDEFFEDCBA9876543210", SHORT))
        .replace("{dshort}", &under("042666B49184CF5C68DE9628D0397B36", SHORT))
        .replace("{D}", &under(&hex::encode(bdk), "0123456789ABCDEF"))
        .replace("{pin}", pin)
}

/// Commands that the default device answers with this error.
pub(super) const REFUSED: &[(&str, &str)] = &[
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
    ("A00FFFS", "15"),
    ("A01001U;0{X}X", "10"),
    ("A6FF1{M}XEDF0622763F428A3E97C9205623A1D26U", "04"),
    ("A6001{M}X00000000000000000000000000000000U", "01"),
    ("A6001{M}", "15"),
    ("A8001{M}{Y}", "15"),
    ("BA12", "15"),
    ("NG", "15"),
    ("BC{T}{told}01{acct}", "15"),
    ("BC{T}{told}99{acct}{pin}", "23"),
    ("BC{T}{told}01999999999999{pin}", "20"),
    ("BC{T}{tshort}01{acct}{pin}", "24"),
    ("BC{T}{told}01{acct}{other}", "01"),
    ("BE{X}{old}01{acct}{pin}", "10"),
    ("BE{Z}{old}99{acct}{pin}", "23"),
    ("BE{Z}{short}01{acct}{pin}", "24"),
    ("BE{Z}{old}01{acct}AAAAAAAAAAAAA", "14"),
    ("BE{Z}{old}01{acct}", "15"),
    ("BK001{Z}{P}{new}0104{acct}{ibm}", "02"),
    ("BK001{Z}{S}{new}0104999999999999{ibm}", "20"),
    ("BK001{Z}{S}{new}9904{acct}{ibm}", "23"),
    ("BK001{Z}{S}{short}0104{acct}{ibm}", "24"),
    ("BK001{Z}{S}{new}0104{acct}{bad}", "25"),
    ("BK001{Z}{S}{new}0104{acct}", "15"),
    ("BU01", "15"),
    ("BU01Q{Z}", "05"),
    ("CA{T}{Z}12{told}0148476173900101;", "22"),
    ("CA{T}{Z}12{tshort}0101{acct}", "24"),
    ("CA{T}{Z}12{told}01484761739001010010;", "27"),
    ("CC{Z}{Y}12{old}0101999999999999", "20"),
    ("CC{Z}{Y}12{old}0148476173900101;", "22"),
    ("CC{Z}{Y}12{old}0199{acct}", "23"),
    ("CU001{Z}{P}{old}01{acct}19616{new}*02041234", "03"),
    ("CU001{Z}{P}{old}01{acct}19616", "15"),
    ("CU001{Z}{P}{old}0199999999999919616{new}", "20"),
    ("CU001{Z}{P}{old}99{acct}19616{new}", "23"),
    ("DA{T}{S}12{told}0104{acct}{ibm}0198FFFFFFFF", "01"),
    ("DA{T}{P}12{told}0104{acct}{ibm}{poff}", "02"),
    ("DA{T}{S}12{told}0104999999999999{ibm}0199FFFFFFFF", "20"),
    ("DA{T}{S}12{told}9904{acct}{ibm}0199FFFFFFFF", "23"),
    ("DA{T}{S}12{told}0104{acct}{bad}0199FFFFFFFF", "25"),
    ("DA{T}{S}12{told}0104{acct}{ibm}", "15"),
    ("DC{T}{P}{told}01{acct}19617", "01"),
    ("DC{T}{P}{told}0199999999999919616", "20"),
    ("DC{T}{P}{told}99{acct}19616", "23"),
    ("DC{T}{P}{tshort}01{acct}19616", "24"),
    ("DC{T}{S}{told}01{acct}19616", "27"),
    ("DE{P}{pin}04{acct}{ibm}", "02"),
    ("DE{S}{pin}05{acct}{ibm}", "24"),
    ("DE{S}{pin}04{acct}{bad}", "25"),
    ("DE{S}{pin}04{acct}{ibm}*010512345", "81"),
    ("DE{S}{pin}04{acct}", "15"),
    ("DG{P}{pin}{acct}1*02041234", "03"),
    ("DG{P}AAAAAAAAAAAAA{acct}1", "14"),
    ("DG{P}{pin}{acct}", "15"),
    ("DU001{Z}{P}{old}0104{acct}{ibm}{poff}{new}", "02"),
    ("DU001{Z}{S}{old}0104{acct}{ibm}0199FFFFFFFF{new}*02044315", "03"),
    ("DU003{Z}{S}{old}0104{acct}{ibm}0199FFFFFFFF{new}", "04"),
    ("DU001{Z}{S}{old}0104{acct}{ibm}0199FFFFFFFF", "15"),
    ("DU001{Z}{S}{old}0104999999999999{ibm}0199FFFFFFFF{new}", "20"),
    ("DU001{Z}{S}{old}9904{acct}{ibm}0199FFFFFFFF{new}", "23"),
    ("DU001{Z}{S}{old}0104{acct}{ibm}0199FFFFFFFF{short}", "24"),
    ("DU001{Z}{S}{old}0104{acct}{ibm}0199FFFFFFFF{new}*010512345", "81"),
    ("EA{X}{S}12{old}0104{acct}{ibm}0199FFFFFFFF", "10"),
    ("EA{Z}{X}12{old}0104{acct}{ibm}0199FFFFFFFF", "11"),
    ("EA{Z}{P}12{old}0104{acct}{ibm}{poff}", "02"),
    ("EA{Z}{S}12{old}0104999999999999{ibm}0199FFFFFFFF", "20"),
    ("EA{Z}{S}12{old}9904{acct}{ibm}0199FFFFFFFF", "23"),
    ("EA{Z}{S}12{short}0104{acct}{ibm}0199FFFFFFFF", "24"),
    ("EC{X}{P}{old}01{acct}19616", "10"),
    ("EC{Z}{X}{old}01{acct}19616", "11"),
    ("EC{Z}{P}{old}0199999999999919616", "20"),
    ("EC{Z}{P}{old}99{acct}19616", "23"),
    ("EC{Z}{P}{short}01{acct}19616", "24"),
    ("EC{Z}{P}{old}01{acct}1961", "15"),
    ("EE{P}0199FFFFFFFF04{acct}{ibm}", "02"),
    ("EE{S}0199FFFFFFFF04{acct}{ibm}*02041234", "03"),
    ("EE{S}0199FFFFFFFF04{acct}{bad}", "25"),
    ("EE{S}0199FFFFFFFF04{acct}{ibm}*010512345", "81"),
    ("EE{S}0199FFFFFFFF04{acct}{ibm}*01041234", "86"),
    ("EE{S}0199FFFFFFFF04{acct}", "15"),
    ("FA{M}X00000000000000000000000000000000", "01"),
    ("FA{M}", "15"),
    ("FW003{Z}{P}{new}01{acct}1", "04"),
    ("FW001{Z}{P}{new}019999999999991", "20"),
    ("FW001{Z}{P}{new}99{acct}1", "23"),
    ("FW001{Z}{P}{short}01{acct}1", "24"),
    ("FW001{Z}{P}{new}01{acct}1*010512345", "81"),
    ("FW001{Z}{P}{new}01{acct}", "15"),
    ("G0{B}{Z}{ksn}{dukpt}0148{acct}", "22"),
    ("G0{B}{Z}{ksn}{dukpt}0199{acct}", "23"),
    ("G0{B}{Z}{ksn}{dshort}0101{acct}", "24"),
    ("G0{D}{Z}{ksn}{dukpt}0101{acct}", "27"),
    ("GO0{B}{P}{ksn}{dukpt}0104{acct}{ibm}{poff}", "02"),
    ("GO0{B}{X}{ksn}{dukpt}0104{acct}{ibm}0199FFFFFFFF", "11"),
    ("GO0{B}{S}{ksn}{dukpt}0104999999999999{ibm}0199FFFFFFFF", "20"),
    ("GO0{B}{S}{ksn}{dukpt}9904{acct}{ibm}0199FFFFFFFF", "23"),
    ("GO0{B}{S}{ksn}{dshort}0104{acct}{ibm}0199FFFFFFFF", "24"),
    ("GO0{B}{S}{ksn}{dukpt}0104{acct}{bad}0199FFFFFFFF", "25"),
    ("GO0{D}{S}{ksn}{dukpt}0104{acct}{ibm}0199FFFFFFFF", "27"),
    ("GO1{B}{S}{ksn}{dukpt}0104{acct}{ibm}0199FFFFFFFF", "15"),
    ("GQ0{X}{P}{ksn}{dukpt}01{acct}19616", "10"),
    ("GQ0{B}{P}{ksn}{dukpt}0199999999999919616", "20"),
    ("GQ0{B}{P}{ksn}{dukpt}99{acct}19616", "23"),
    ("GQ0{B}{P}{ksn}{dshort}01{acct}19616", "24"),
    ("GQ1{B}{P}{ksn}{dukpt}01{acct}19616", "15"),
    ("GW4A{D}{ksn}0004ABCD", "27"),
    ("GW4A{B}{ksn}0009ABCD", "80"),
    ("GW4A{B}", "15"),
    ("JA{acct}04*02041234", "03"),
    ("JA476173900101;", "22"),
    ("JC{T}{told}01999999999999", "20"),
    ("JC{T}{tshort}01{acct}", "24"),
    ("JC{T}{told}01", "15"),
    ("JE{Z}{old}99{acct}", "23"),
    ("JE{Z}{old}01", "15"),
    ("KU02", "05"),
    ("KU00{I}CARDCARDSESSIONS0005PLAIN;X", "15"),
    ("KU31{I}CARDCARDSESSIONS0005PLAIN;SESSIONS00060008{raw};0{Z}0134{acct}", "06"),
    ("KU31{I}CARDCARDSESSIONS0005PLAIN;SESSIONS00050008{rawshort};0{Z}0134{acct}", "24"),
    ("KU31{I}CARDCARDSESSIONS0005PLAIN;SESSIONS00050008{raw};0{Z}0199{acct}", "23"),
    ("KY00{I}CARDCARDSESSIONS0005PLAIN;X", "15"),
    ("KY40{I}CARDCARDSESSIONS0005PLAIN;{C}00060008{raw};0{Z}0134{acct}", "06"),
    ("KY40{I}CARDCARDSESSIONS0005PLAIN;{C}00050008{raw};0{Z}0199{acct}", "23"),
    ("KY40{I}CARDCARDSESSIONS0005PLAIN;{C}00050008{rawshort};0{Z}0134{acct}", "24"),
    ("KY00{I}CARDCARDSESSIONS0009PLAIN;", "80"),
    ("KY00{I}CARDCARDSESSIONS0000;", "81"),
    ("M601031003{K}", "15"),
    ("M841031003{K}0004ABCD00000000", "02"),
    ("M804031003{K}0004ABCD00000000", "03"),
    ("M801041003{K}0004ABCD00000000", "04"),
    ("M80103A003{K}0004ABCD00000000", "09"),
    ("M801031004{K}0004ABCD00000000", "05"),
    ("M801031003{K}0005ABCDE00000000", "06"),
    ("M801031003{X}0004ABCD00000000", "10"),
    ("ZX", "68"),
    ("QK", "68"),
];

/// Commands with PINs of the default device's own LMK, and blocks as bytes.
pub(super) struct Forms {
    pin: String,
    other: String,
    offset: String,
}

impl Forms {
    pub(super) fn new(device: &Device) -> Self {
        let run = |template: &str, pin: &str| ask(device, &filled(template, pin));
        let pin = run("JE{Z}{old}01{acct}", "")[4..].to_owned();
        let other = run("JE{Z}{new}01{acct}", "")[4..].to_owned();
        let offset = run("DE{P}{pin}04{acct}{ibm}", &pin)[4..].to_owned();
        Self { pin, other, offset }
    }

    pub(super) fn filled(&self, template: &str) -> Vec<u8> {
        let text = template.replace("{other}", &self.other).replace("{poff}", &self.offset);
        let mut bytes = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("{raw") {
            bytes.extend(filled(before, &self.pin).into_bytes());
            let (kind, after) = after.split_once('}').unwrap();
            let name = if kind == "short" { "{short}" } else { "{old}" };
            bytes.extend(hex::decode(filled(name, "")).unwrap());
            rest = after;
        }
        bytes.extend(filled(rest, &self.pin).into_bytes());
        bytes
    }
}

#[test]
fn every_command_refuses_what_its_table_says() {
    let device = Device::new(&Setup::default());
    let forms = Forms::new(&device);
    let mut wrong = Vec::new();
    for (template, want) in REFUSED {
        let answer = answered(&device, &forms.filled(template));
        let command = [template.as_bytes()[0], template.as_bytes()[1]];
        let code = ErrorCode(want.as_bytes().try_into().unwrap());
        let begins = [&answer_code(command)[..], &code.0].concat();
        let fits = answer.starts_with(&begins)
            && (answer.len() == 4 || has_data(command, code) && template.len() > 4);
        if !fits {
            wrong.push(format!("{template}: {}, not {want}", answer.escape_ascii()));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
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

/// With a seed a device makes the same keys and PINs again.
#[test]
fn a_seeded_device_repeats_itself() {
    let run = |seed| {
        let device = Device::new(&Setup { random_seed: Some(seed), ..Setup::default() });
        ["JA{acct}06", "A00001U", "N0016"]
            .map(|command| answered(&device, filled(command, "").as_bytes()))
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
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
