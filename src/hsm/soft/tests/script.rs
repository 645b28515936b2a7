//! Issuer scripts: every command of `tests/vectors/chip.json`, which the Python package pyemv computed.

use super::*;
use crate::domain::chip::{Chip, ScriptRules, ScriptScheme, ScriptTemplate};
use crate::hsm::script::{Script, card_name};
use crate::pin::emv::card_key;
use crate::pin::tdes::Tdes;

const ZPK: &str = "C7152C20BC2C830EA7EC9E8334ABE3FE";

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../../tests/vectors/chip.json")).unwrap()
}

fn module() -> SoftHsm {
    let vectors = vectors();
    let keys = vectors["keys"].as_object().unwrap().iter().map(|(name, described)| {
        let key_type = described["type"].as_str().unwrap().parse().unwrap();
        key(name, key_type, Algorithm::Tdes, described["clear"].as_str().unwrap())
    });
    let zpk = key("zpk", KeyType::Zpk, Algorithm::Tdes, ZPK);
    SoftHsm::from_clear(keys.chain([zpk]), &Lmk::demo(), clock()).unwrap()
}

fn rules(hsm: &SoftHsm, scheme: &str) -> ScriptRules {
    let key = |name| hsm.key(name).unwrap();
    ScriptRules {
        scheme: match scheme {
            "emv-common" => ScriptScheme::EmvCommon,
            "mastercard" => ScriptScheme::Mastercard,
            _ => ScriptScheme::Visa { cryptograms: key("ac.chip") },
        },
        integrity: key("smi.chip"),
        confidentiality: key("smc.chip"),
        template: ScriptTemplate::AfterFinal,
        required: false,
    }
}

/// A PIN under the LMK and the same one under a zone key.
fn presented(hsm: &SoftHsm, pin: &str, account: &Account12) -> [PresentedPin; 2] {
    let digits = Zeroizing::new(pin.as_bytes().to_vec());
    let sealed = now(hsm.encrypt_pin(digits, account)).unwrap();
    let zpk = hsm.key("zpk").unwrap();
    let block = now(hsm.from_lmk(&sealed, zpk, BlockFormat::Iso3, account)).unwrap();
    [sealed.into(), block.into()]
}

fn chip(case: &Value) -> Chip {
    let mut chip = Chip { counter: [0; 2], cryptogram: [0; 8], sequence: None };
    hex::decode_to_slice(case["counter"].as_str().unwrap(), &mut chip.counter).unwrap();
    hex::decode_to_slice(case["cryptogram"].as_str().unwrap(), &mut chip.cryptogram).unwrap();
    chip
}

#[test]
fn scripts_as_pyemv_makes_them() {
    let hsm = module();
    let vectors = vectors();
    let cases = vectors["scripts"].as_array().unwrap();
    for case in cases {
        let account = account(case["pan"].as_str().unwrap());
        let rules = rules(&hsm, case["scheme"].as_str().unwrap());
        let sequence = u8::try_from(case["sequence"].as_u64().unwrap()).unwrap();
        let chip = chip(case);
        let pins = match case["pin"].as_str() {
            Some(pin) => presented(&hsm, pin, &account).map(Some),
            None => [None, None],
        };
        for pin in &pins {
            let pin = pin.as_ref();
            let script = Script { rules: &rules, chip: &chip, account: &account, sequence, pin };
            let made = now(hsm.issuer_script(&script)).unwrap();
            assert_eq!(hex::encode_upper(made.as_bytes()), case["command"], "{case}");
        }
    }
    assert_eq!(cases.len(), 186);
}

#[test]
fn what_cannot_be_sealed() {
    let hsm = module();
    let account = account(PLAIN);
    let chip = Chip { counter: [0, 1], cryptogram: [2; 8], sequence: None };
    let [_, good] = presented(&hsm, "2580", &account);
    let seal = |rules: &ScriptRules, pin: Option<&PresentedPin>| {
        let script = Script { rules, chip: &chip, account: &account, sequence: 0, pin };
        now(hsm.issuer_script(&script)).map(drop)
    };
    let unknown = KeyId(999);
    for scheme in ["emv-common", "mastercard", "visa"] {
        let rules = rules(&hsm, scheme);
        assert_eq!(seal(&rules, Some(&good)), Ok(()));
        let no_pin = block(&hsm, "zpk", BlockFormat::Iso0, "0000000000000000").into();
        assert_eq!(seal(&rules, Some(&no_pin)), Err(HsmError::NoPinInBlock));
        let gone = ScriptRules { integrity: unknown, ..rules };
        assert_eq!(seal(&gone, Some(&good)), Err(HsmError::KeyUnknown));
        let gone = ScriptRules { confidentiality: unknown, ..rules };
        assert_eq!(seal(&gone, Some(&good)), Err(HsmError::KeyUnknown));
        assert_eq!(seal(&gone, None), Ok(()), "nothing is encrypted");
    }
}

/// Made by pyemv 1.5.0, the first is the example of its documentation. The hashes of the last two have fewer than
/// sixteen decimal digits.
const LONG_ACCOUNTS: &[(&str, &str)] = &[
    ("01234567890123456701", "AD406D7F6D7570916D75E5DCAB8CF737"),
    ("12345678901234567800", "C43446BAC7C71C267A3768EF4F8A5DAB"),
    ("0123456789012345678999", "FED30819B36BFB62294379A4087358BC"),
    ("0541333008960411112302", "F2DC1AAD46525452949BD691E504734A"),
    ("0541333000000000000201", "076B8C52BC6D15A2524601972583D929"),
    ("0541333000000000144801", "B53DA297672F087C2C078C706B911C29"),
];

#[test]
fn cards_with_long_accounts() {
    let master = hex::decode("0123456789ABCDEFFEDCBA9876543210").unwrap();
    let master = Tdes::double(&master.try_into().unwrap());
    for (account, want) in LONG_ACCOUNTS {
        let name = card_name(&hex::decode(account).unwrap());
        assert_eq!(hex::encode_upper(*card_key(&master, name)), *want);
    }
    // Sixteen digits and two: option A.
    let short = hex::decode("123456789012345601").unwrap();
    assert_eq!(card_name(&short), [0x34, 0x56, 0x78, 0x90, 0x12, 0x34, 0x56, 0x01]);
    assert_eq!(card_name(&[0x12, 0x34]), [0, 0, 0, 0, 0, 0, 0x12, 0x34]);
}
