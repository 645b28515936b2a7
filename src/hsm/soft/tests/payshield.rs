//! The payShield vectors (`tests/vectors/payshield.json`) as commands of the software HSM.

use serde_json::Value;

use crate::domain::pan::Account12;
use crate::domain::pin::{BlockFormat, KeyId, Method, Reference, ZonePin};
use crate::hsm::key::{Algorithm, KeyType};
use crate::hsm::lmk::Lmk;
use crate::hsm::soft::SoftHsm;
use crate::hsm::soft::tests::{account, any_rules, clock, key, now, pvv};
use crate::hsm::{Change, ChangeVerdict, Hsm, HsmError, Verdict};

/// CA, CC, DC, EC, FW, CU, M6 and M8 of the payShield set, as commands here. Blocks have 16 hex digits, keys 33.
#[test]
fn payshield_vectors() {
    let file: Value =
        serde_json::from_str(include_str!("../../../../tests/vectors/payshield.json")).unwrap();
    let types = [
        ("TPK", KeyType::Zpk),
        ("ZPK1", KeyType::Zpk),
        ("ZPK2", KeyType::Zpk),
        ("PVK", KeyType::Pvk),
        ("TAK", KeyType::Zak),
    ];
    let keys = types.map(|(name, key_type)| {
        let clear = file["meta"]["clear_keys"][name].as_str().unwrap();
        let made = key(&name.to_lowercase(), key_type, Algorithm::Tdes, clear);
        assert_eq!(hex::encode_upper(made.check_value()), file["meta"]["kcv"][name]);
        made
    });
    let hsm = SoftHsm::from_clear(keys, &Lmk::demo(), clock()).unwrap();
    let by_token = |token: &str| {
        let sealed = file["meta"]["keys_under_LMK"].as_object().unwrap();
        let name = sealed.iter().find(|(_, under_lmk)| *under_lmk == token)?.0;
        hsm.key(&name.trim_end_matches("70D").to_lowercase())
    };
    let mut checked = 0;
    for vector in file["vectors"].as_array().unwrap() {
        let name = vector["name"].as_str().unwrap();
        let request = vector["request"].as_str().unwrap();
        let response = vector["response"].as_str().unwrap();
        let got = match &request[..2] {
            "CA" | "CC" => translated(&hsm, &by_token, &request[2..]),
            "DC" | "EC" => verified(&hsm, &by_token, &request[2..]),
            "FW" => derived(&hsm, &by_token, &request[5..]),
            "CU" => changed(&hsm, &by_token, &request[5..]),
            "M6" | "M8" => maced(&hsm, &by_token, request),
            _ => continue,
        };
        let Some(got) = got else { continue };
        assert_eq!(got, response[2..], "{name}");
        checked += 1;
    }
    assert_eq!(checked, 16, "the others use what this module does not speak");
}

type ByToken<'a> = &'a dyn Fn(&str) -> Option<KeyId>;

fn of_twelve(twelve: &str) -> Account12 {
    account(&format!("476{twelve}0"))
}

fn format_of(code: &str) -> BlockFormat {
    // Formats 01 and 03 of the vectors: 03 is Diebold, which we do not speak.
    assert_eq!(code, "01");
    BlockFormat::Iso0
}

fn zone(key: KeyId, hex: &str, format: &str) -> ZonePin {
    ZonePin::new(&hex::decode(hex).unwrap(), format_of(format), key).unwrap()
}

fn code(error: HsmError) -> String {
    match error {
        HsmError::NoPinInBlock => "20",
        other => panic!("{other}"),
    }
    .to_owned()
}

fn translated(hsm: &SoftHsm, key: ByToken<'_>, body: &str) -> Option<String> {
    let (from, to) = (key(&body[..33])?, key(&body[33..66])?);
    let (formats, account) = (&body[84..88], of_twelve(&body[88..100]));
    if formats != "0101" {
        return None;
    }
    let given = zone(from, &body[68..84], "01");
    Some(match now(hsm.translate(&given, to, BlockFormat::Iso0, &account)) {
        Ok(made) => format!("0004{}01", hex::encode_upper(made.block())),
        Err(error) => code(error),
    })
}

fn verified(hsm: &SoftHsm, key: ByToken<'_>, body: &str) -> Option<String> {
    let (zpk, pvk) = (key(&body[..33])?, key(&body[33..66])?);
    let given = zone(zpk, &body[66..82], &body[82..84]);
    let method = Method::VisaPvv { pvk, pvki: body.as_bytes()[96] };
    let account = of_twelve(&body[84..96]);
    let got = now(hsm.verify(&given.into(), &account, &method, &pvv(&body[97..101])));
    Some(if got.unwrap() == Verdict::Right { "00".into() } else { "01".into() })
}

fn derived(hsm: &SoftHsm, key: ByToken<'_>, body: &str) -> Option<String> {
    let (zpk, pvk) = (key(&body[..33])?, key(&body[33..66])?);
    let account = of_twelve(&body[84..96]);
    let new = zone(zpk, &body[66..82], &body[82..84]).into();
    let method = Method::VisaPvv { pvk, pvki: body.as_bytes()[96] };
    match now(hsm.derive(&new, &account, &method, &any_rules(), &Reference::None)).unwrap() {
        Reference::Pvv(value) => Some(format!("00{}", std::str::from_utf8(&value).unwrap())),
        other => panic!("{other:?}"),
    }
}

fn changed(hsm: &SoftHsm, key: ByToken<'_>, body: &str) -> Option<String> {
    let (zpk, pvk) = (key(&body[..33])?, key(&body[33..66])?);
    let account = of_twelve(&body[84..96]);
    let change = Change {
        current: &zone(zpk, &body[66..82], &body[82..84]).into(),
        new: &zone(zpk, &body[101..117], &body[82..84]).into(),
        account: &account,
        method: &Method::VisaPvv { pvk, pvki: body.as_bytes()[96] },
        reference: &pvv(&body[97..101]),
        rules: &any_rules(),
    };
    Some(match now(hsm.verify_and_derive(&change)).unwrap() {
        ChangeVerdict::Right(Reference::Pvv(value)) => {
            format!("00{}", std::str::from_utf8(&value).unwrap())
        }
        ChangeVerdict::Wrong => "01".into(),
        other => panic!("{other:?}"),
    })
}

/// Mode, input format, MAC size, algorithm, padding, key type 3, key 33, length 4, message, [MAC].
fn maced(hsm: &SoftHsm, key: ByToken<'_>, request: &str) -> Option<String> {
    let body = &request[2..];
    if &body[4..5] != "1" {
        return None;
    }
    let key = key(&body[8..41])?;
    let length = usize::from_str_radix(&body[41..45], 16).unwrap();
    let (message, mac) = body[45..].split_at(length);
    let message = hex::decode(message).unwrap();
    if request.starts_with("M6") {
        let mac = now(hsm.mac(key, &message)).unwrap();
        return Some(format!("00{}", hex::encode_upper(&mac[..4])));
    }
    let verdict = now(hsm.verify_mac(key, &message, &hex::decode(mac).unwrap())).unwrap();
    Some(if verdict == Verdict::Right { "00".into() } else { "01".into() })
}
