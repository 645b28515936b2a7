//! Issuer scripts through devices: the commands of `tests/vectors/chip.json`, which the Python package pyemv computed.

use serde_json::Value;
use zeroize::Zeroizing;

use crate::domain::chip::{Chip, ScriptRules, ScriptScheme, ScriptTemplate};
use crate::domain::pan::{Account12, Pan};
use crate::domain::pin::{BlockFormat, Ksn, PresentedPin, ZonePin};
use crate::hsm::payshield::client::tests::bench::*;
use crate::hsm::payshield::simulator::Kind;
use crate::hsm::script::Script;
use crate::hsm::soft::SoftHsm;
use crate::hsm::{Hsm, HsmError};

fn rules(hsm: &impl Hsm, scheme: &str) -> ScriptRules {
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

/// A block of the PIN under a zone key of both.
async fn block_of(hsm: &impl Hsm, soft: &SoftHsm, pin: &str, account: &Account12) -> ZonePin {
    let sealed = soft.encrypt_pin(Zeroizing::new(pin.as_bytes().to_vec()), account).await.unwrap();
    let zpk = soft.key("zpk.a").unwrap();
    let made = soft.from_lmk(&sealed, zpk, BlockFormat::Iso0, account).await.unwrap();
    as_of(hsm, soft, &made)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_of_devices_are_those_of_pyemv() {
    let file: Value =
        serde_json::from_str(include_str!("../../../../../tests/vectors/chip.json")).unwrap();
    let soft = soft();
    for lmk in [Kind::Variant, Kind::TdesBlock] {
        let (client, _device) = one(lmk).await;
        let hsm = &client.hsm;
        for case in file["scripts"].as_array().unwrap() {
            let text = |name: &str| case[name].as_str().unwrap_or_default();
            let account = Pan::parse(text("pan").as_bytes()).unwrap().account12();
            let rules = rules(hsm, text("scheme"));
            let mut chip = Chip { counter: [0; 2], cryptogram: [0; 8], sequence: None };
            hex::decode_to_slice(text("counter"), &mut chip.counter).unwrap();
            hex::decode_to_slice(text("cryptogram"), &mut chip.cryptogram).unwrap();
            let sequence = u8::try_from(case["sequence"].as_u64().unwrap()).unwrap();
            let mut pins = vec![None];
            if !text("pin").is_empty() {
                // As it comes over a link, and as it is kept.
                let zone = block_of(&**hsm, &soft, text("pin"), &account).await;
                let kept = hsm.to_lmk(&zone, &account).await.unwrap();
                pins = vec![Some(PresentedPin::Zone(zone)), Some(PresentedPin::Lmk(kept))];
            }
            for pin in &pins {
                let pin = pin.as_ref();
                let script =
                    Script { rules: &rules, chip: &chip, account: &account, sequence, pin };
                let made = hsm.issuer_script(&script).await.unwrap();
                assert_eq!(hex::encode_upper(made.as_bytes()), case["command"], "{lmk:?} {case}");
            }
        }
        client.running.stop().await;
    }
}

/// A block under DUKPT goes through the transit key; without one there is no script, and nothing else happens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_of_a_dukpt_terminal() {
    let lmk = Kind::Variant;
    let (soft, device) = (soft(), device(lmk).await);
    let account = Pan::parse(b"6000000000000").unwrap().account12();
    // `shared/domain/hsm.md` 5.3, of a device: PIN 340367 of this account under the BDK of the bench.
    let bytes = hex::decode("741311DA9D5D6C32").unwrap();
    let ksn = Ksn::new(&hex::decode("FFFF000001315240003A").unwrap()).unwrap();
    let chip = Chip { counter: [0, 7], cryptogram: [9; 8], sequence: None };
    for with_transit in [true, false] {
        let mut plan = plan(lmk);
        plan.transit_zpk = plan.transit_zpk.filter(|_| with_transit);
        let client = start(settings(device.ports(), lmk), &plan).await.unwrap();
        let hsm = &client.hsm;
        for scheme in ["emv-common", "mastercard", "visa"] {
            let bdk = hsm.key("bdk").unwrap();
            let derived = ZonePin::new(&bytes, BlockFormat::Iso0, bdk).unwrap().derived(ksn);
            let by_zone = block_of(&**hsm, &soft, "340367", &account).await;
            let mut made = Vec::new();
            for pin in [derived, by_zone].map(PresentedPin::Zone) {
                let (rules, pin) = (rules(hsm, scheme), Some(&pin));
                let script =
                    Script { rules: &rules, chip: &chip, account: &account, sequence: 0, pin };
                made.push(hsm.issuer_script(&script).await);
            }
            assert!(made[1].is_ok(), "{scheme}");
            let want = if with_transit { made[1] } else { Err(HsmError::KeyUnknown) };
            assert_eq!(made[0], want, "{scheme}");
        }
        client.running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_other_types_seal_nothing() {
    let (client, _device) = one(Kind::Variant).await;
    let (hsm, soft) = (&client.hsm, soft());
    let pin = PresentedPin::Zone(block_of(&**hsm, &soft, "2580", &account()).await);
    let chip = Chip { counter: [0, 7], cryptogram: [9; 8], sequence: None };
    let good = rules(hsm, "visa");
    let seal = async |rules: &ScriptRules| {
        let pin = Some(&pin);
        let script = Script { rules, chip: &chip, account: &account(), sequence: 0, pin };
        hsm.issuer_script(&script).await.map(drop)
    };
    assert_eq!(seal(&good).await, Ok(()));
    for name in ["ac.chip", "smc.chip", "smi.chip", "zpk.a", "pvk.visa", "zak", "zmk", "bdk"] {
        let key = hsm.key(name).unwrap();
        let verdict = |own: &str| if name == own { Ok(()) } else { Err(HsmError::KeyUnusable) };
        let with = ScriptRules { integrity: key, ..good };
        assert_eq!(seal(&with).await, verdict("smi.chip"), "{name}");
        let with = ScriptRules { confidentiality: key, ..good };
        assert_eq!(seal(&with).await, verdict("smc.chip"), "{name}");
        let with = ScriptRules { scheme: ScriptScheme::Visa { cryptograms: key }, ..good };
        assert_eq!(seal(&with).await, verdict("ac.chip"), "{name}");
    }
}
