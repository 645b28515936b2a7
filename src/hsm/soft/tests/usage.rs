//! Which type of key each command takes: the whole table, every other pair is refused.

use super::*;
use crate::domain::chip::{Chip, ScriptRules, ScriptScheme, ScriptTemplate};
use crate::domain::pin::{Ksn, RsaPadding};
use crate::hsm::ImportRefused;
use crate::hsm::script::Script;

/// Every type in every algorithm it has, a name each.
const KEYS: [(&str, KeyType, Algorithm); 17] = [
    ("audit", KeyType::Audit, Algorithm::Hmac),
    ("bdk.aes", KeyType::Bdk, Algorithm::Aes),
    ("bdk.tdes", KeyType::Bdk, Algorithm::Tdes),
    ("mk-ac", KeyType::MkAc, Algorithm::Tdes),
    ("mk-smc", KeyType::MkSmc, Algorithm::Tdes),
    ("mk-smi", KeyType::MkSmi, Algorithm::Tdes),
    ("pan-hash", KeyType::PanHash, Algorithm::Hmac),
    ("pan-seal", KeyType::PanSeal, Algorithm::Aes),
    ("pvk.tdes", KeyType::Pvk, Algorithm::Tdes),
    ("rsa.one", KeyType::Rsa, Algorithm::Rsa),
    ("signature", KeyType::Signature, Algorithm::Hmac),
    ("zak.aes", KeyType::Zak, Algorithm::Aes),
    ("zak.tdes", KeyType::Zak, Algorithm::Tdes),
    ("zmk.aes", KeyType::Zmk, Algorithm::Aes),
    ("zmk.tdes", KeyType::Zmk, Algorithm::Tdes),
    ("zpk.aes", KeyType::Zpk, Algorithm::Aes),
    ("zpk.tdes", KeyType::Zpk, Algorithm::Tdes),
];

fn module() -> SoftHsm {
    let make = |(name, key_type, algorithm)| match algorithm {
        Algorithm::Rsa => ClearKey::generate_rsa(name, key_type, 2048).unwrap(),
        _ => ClearKey::generate(name, key_type, algorithm).unwrap(),
    };
    SoftHsm::from_clear(KEYS.map(make), &Lmk::demo(), clock()).unwrap()
}

/// The commands that name a key, and the keys each takes.
#[rustfmt::skip]
const COMMANDS: [(&str, &[&str]); 21] = [
    ("to_lmk 0", &["zpk.tdes"]),
    ("to_lmk 4", &["zpk.aes"]),
    ("to_lmk 0 ksn 10", &["bdk.tdes"]),
    ("to_lmk 4 ksn 12", &["bdk.aes"]),
    ("to_lmk 0 ksn 12", &[]),
    ("to_lmk 4 ksn 10", &[]),
    ("translate from", &["zpk.tdes"]),
    ("translate from ksn", &["bdk.tdes"]),
    ("translate to 0", &["zpk.tdes"]),
    ("translate to 4", &["zpk.aes"]),
    ("from_lmk", &["zpk.tdes"]),
    ("verify under", &["zpk.tdes"]),
    ("pvv", &["pvk.tdes"]),
    ("offset", &["pvk.tdes"]),
    ("mac", &["zak.aes", "zak.tdes"]),
    ("verify_hmac", &["signature"]),
    ("decrypt_pin", &["rsa.one"]),
    ("script integrity", &["mk-smi"]),
    ("script confidentiality", &["mk-smc"]),
    ("script cryptograms", &["mk-ac"]),
    ("script PIN", &["zpk.tdes"]),
];

/// Whether the module let `command` use the key, whatever came of it.
fn let_in(hsm: &SoftHsm, command: &str, id: KeyId) -> bool {
    let pan = account(PLAIN);
    let (iso_0, iso_4) = (BlockFormat::Iso0, BlockFormat::Iso4);
    let zpk = hsm.key("zpk.tdes").unwrap();
    let pin = |format: BlockFormat, key| {
        ZonePin::new(&[0x5A; 16][..format.block_bytes()], format, key).unwrap()
    };
    let ksn = |len: usize| Ksn::new(&[1; 12][..len]).unwrap();
    let lmk = now(hsm.encrypt_pin(Zeroizing::new(b"2580".to_vec()), &pan)).unwrap();
    // A block that opens, so that a refusal is about the other key.
    let good = now(hsm.from_lmk(&lmk, zpk, iso_0, &pan)).unwrap();
    let derive = |method: &Method| {
        let rules = any_rules();
        now(hsm.derive(&lmk.into(), &pan, method, &rules, &Reference::None)).err()
    };
    let error = match command {
        "to_lmk 0" => now(hsm.to_lmk(&pin(iso_0, id), &pan)).err(),
        "to_lmk 4" => now(hsm.to_lmk(&pin(iso_4, id), &pan)).err(),
        "to_lmk 0 ksn 10" => now(hsm.to_lmk(&pin(iso_0, id).derived(ksn(10)), &pan)).err(),
        "to_lmk 4 ksn 12" => now(hsm.to_lmk(&pin(iso_4, id).derived(ksn(12)), &pan)).err(),
        "to_lmk 0 ksn 12" => now(hsm.to_lmk(&pin(iso_0, id).derived(ksn(12)), &pan)).err(),
        "to_lmk 4 ksn 10" => now(hsm.to_lmk(&pin(iso_4, id).derived(ksn(10)), &pan)).err(),
        "translate from" => now(hsm.translate(&pin(iso_0, id), zpk, iso_0, &pan)).err(),
        "translate from ksn" => {
            now(hsm.translate(&pin(iso_0, id).derived(ksn(10)), zpk, iso_0, &pan)).err()
        }
        "translate to 0" => now(hsm.translate(&good, id, iso_0, &pan)).err(),
        "translate to 4" => now(hsm.translate(&good, id, iso_4, &pan)).err(),
        "from_lmk" => now(hsm.from_lmk(&lmk, id, iso_0, &pan)).err(),
        "verify under" => {
            let stored = Reference::Lmk(lmk);
            now(hsm.verify(&pin(iso_0, id).into(), &pan, &Method::LmkPin, &stored)).err()
        }
        "pvv" => derive(&Method::VisaPvv { pvk: id, pvki: b'1' }),
        "offset" => derive(&Method::Ibm3624 {
            pvk: id,
            decimalization_table: *b"0123456789012345",
            validation_start: 3,
            validation_length: 12,
            validation_pad: b'F',
        }),
        "mac" => {
            let made = now(hsm.mac(id, b"message"));
            let verified = now(hsm.verify_mac(id, b"message", &[0; 8]));
            assert_eq!(made.is_ok(), verified.is_ok(), "made and verified by the same keys");
            made.err()
        }
        "verify_hmac" => now(hsm.verify_hmac(id, b"message", &[0; 32])).err(),
        "decrypt_pin" => now(hsm.decrypt_pin(id, &[1; 256], RsaPadding::OaepSha256, &pan)).err(),
        "script PIN" => sealing(hsm, command, id, pin(iso_0, id)),
        script if script.starts_with("script ") => sealing(hsm, script, id, good),
        _ => panic!("{command} is none of the commands"),
    };
    match error {
        Some(HsmError::KeyUnusable) => false,
        None | Some(HsmError::NoPinInBlock) => true,
        Some(other) => panic!("{command}: {other}"),
    }
}

/// Why no script is sealed where the key that `command` names is this one.
fn sealing(hsm: &SoftHsm, command: &str, id: KeyId, new: ZonePin) -> Option<HsmError> {
    let named =
        |of: &str, own: &str| if command.ends_with(of) { id } else { hsm.key(own).unwrap() };
    let rules = ScriptRules {
        scheme: ScriptScheme::Visa { cryptograms: named("cryptograms", "mk-ac") },
        integrity: named("integrity", "mk-smi"),
        confidentiality: named("confidentiality", "mk-smc"),
        template: ScriptTemplate::AfterFinal,
        required: false,
    };
    let chip = Chip { counter: [1; 2], cryptogram: [2; 8], sequence: None };
    let (account, new) = (account(PLAIN), new.into());
    let (pin, sequence) = (Some(&new), 0);
    let script = Script { rules: &rules, chip: &chip, account: &account, sequence, pin };
    now(hsm.issuer_script(&script)).err()
}

#[test]
fn each_key_does_its_own_work_only() {
    let hsm = module();
    for (command, takes) in COMMANDS {
        for (name, ..) in KEYS {
            let got = let_in(&hsm, command, hsm.key(name).unwrap());
            assert_eq!(got, takes.contains(&name), "{command} with {name}");
        }
    }
    // Every type that a command uses at all is let in somewhere; the others serve vault and exchange.
    let used = |name: &&str| COMMANDS.iter().any(|(_, takes)| takes.contains(name));
    let idle: Vec<_> = KEYS.map(|(name, ..)| name).into_iter().filter(|name| !used(name)).collect();
    assert_eq!(idle, ["audit", "pan-hash", "pan-seal", "zmk.aes", "zmk.tdes"]);
}

/// Only zone keys change hands at run time, and only under a ZMK. Neither is reached here without files.
#[test]
fn exchanges_of_other_keys_are_refused() {
    let hsm = module();
    let zmk = hsm.key("zmk.tdes").unwrap();
    for (name, key_type, _) in KEYS {
        let id = hsm.key(name).unwrap();
        let got = now(hsm.import_key(id, zmk, &[1; 16], None, Duration::ZERO)).unwrap_err();
        let zone = matches!(key_type, KeyType::Zpk | KeyType::Zak);
        match got {
            ImportRefused::NotZoneKey { .. } => assert!(!zone, "{name}"),
            ImportRefused::File(_) => assert!(zone, "{name}"),
            other => panic!("{name}: {other}"),
        }
    }
}
