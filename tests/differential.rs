//! Four judges of the same PIN changes: the software HSM, the simulated device through the client, psec, and OpenSSL
//! beneath psec. Random cards, PINs of 4 to 12 digits, every format and method.
//!
//! A thousand cases; ten thousand with `PINION_TEST_LONG=1`. The seed is printed, and `PINION_TEST_SEED` repeats a run.
//! **Never here:** an expected value of ours.

#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a test: what is not there fails it")]

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use pinion::domain::clock::{Clock, SystemClock};
use pinion::domain::pan::{Account12, Pan};
use pinion::domain::pin::{BlockFormat, KeyId, Method, PinRules, PresentedPin, Reference, ZonePin};
use pinion::hsm::key::{Algorithm, ClearKey, TestKeys, check_value};
use pinion::hsm::lmk::Lmk;
use pinion::hsm::payshield::client::{
    DeviceSettings, KeyKind, KeyPlan, KeySettings, PayShield, Settings, Token,
};
use pinion::hsm::payshield::simulator::{self, Kind, Options};
use pinion::hsm::payshield::wire::key::KeyType;
use pinion::hsm::soft::SoftHsm;
use pinion::hsm::{Change, ChangeVerdict, Hsm, Verdict};
use pinion::peer::breaker::BreakerRule;
use serde_json::Value;
use zeroize::Zeroizing;

/// As in `differential/cases.py`; the last two are for comparisons, and no block of a case is under them.
const KEYS: &[(&str, KeyKind, &[u8; 2], Algorithm, &str)] = &[
    ("zpk", KeyKind::Zpk, b"P0", Algorithm::Tdes, "C7152C20BC2C830EA7EC9E8334ABE3FE"),
    ("zpk.aes", KeyKind::Zpk, b"P0", Algorithm::Aes, "00112233445566778899AABBCCDDEEFF"),
    ("pvk.visa", KeyKind::Pvk, b"V2", Algorithm::Tdes, "C8199237EA5857BC40EF9DA2B5E96BBF"),
    ("pvk.ibm", KeyKind::Pvk, b"V1", Algorithm::Tdes, "54A1521FDA7083E9C83E9EC4263786EC"),
    ("zpk.transit", KeyKind::Zpk, b"P0", Algorithm::Tdes, "98519E45CBB9291F49EFAD4AFEFDDC79"),
];

fn bytes(hex: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(hex::decode(hex).expect("hex"))
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::start())
}

/// Keys that a device with this LMK can hold: AES ones only under key blocks.
fn held(
    lmk: Kind,
) -> impl Iterator<Item = &'static (&'static str, KeyKind, &'static [u8; 2], Algorithm, &'static str)>
{
    KEYS.iter().filter(move |key| key.3 == Algorithm::Tdes || lmk == Kind::AesBlock)
}

async fn client(lmk: Kind) -> (Arc<PayShield>, impl Drop, simulator::Running) {
    let mut options = Options::new(vec![(Ipv4Addr::LOCALHOST, 0).into()]);
    options.setup.lmks = vec![lmk];
    options.setup.authorised = true;
    let device = simulator::start(options).await.expect("a device");
    let keys = held(lmk).map(|(name, kind, usage, algorithm, hex)| {
        let any = Token::parse(b"0123456789ABCDEF").expect("a token");
        let KeyType(code) = kind.code(&any);
        let aes = *algorithm == Algorithm::Aes;
        let text =
            simulator::token(lmk, KeyType(code), **usage, aes, &bytes(hex)).expect("a token");
        KeySettings {
            name: (*name).into(),
            kind: *kind,
            token: Token::parse(text.as_bytes()).expect("a token"),
            check_value: check_value(*algorithm, &bytes(hex)),
        }
    });
    let plan =
        KeyPlan { keys: keys.collect(), transit_zpk: Some("zpk.transit".into()), policy_pvk: None };
    let mut lmk_check_value = [0; 3];
    hex::decode_to_slice(&lmk.check_value()[..6], &mut lmk_check_value).expect("hex");
    let settings = Settings {
        devices: vec![DeviceSettings {
            name: "hsm".into(),
            address: device.ports()[0].to_string().into(),
            tls: None,
            lmk: None,
            header: 4,
            connections: 1,
            window: 64,
            in_flight: 256,
            timeout: Duration::from_secs(5),
            connect_time: Duration::from_secs(5),
            breaker: BreakerRule { failures: 5, open: Duration::from_secs(1), eject_share: 1.0 },
        }],
        lmk_check_value,
        firmware: Vec::new(),
        pin_digits: 13,
        health: Duration::from_secs(5),
        reconnect: Duration::from_millis(10),
        reconnect_max: Duration::from_millis(100),
        tables: Vec::new(),
        state: None,
    };
    let vault = SoftHsm::from_clear([], &Lmk::demo(), clock()).expect("a vault");
    let hsm = Arc::new(PayShield::open(settings, &plan, vault, clock()).expect("a client"));
    let running = Held(Some(hsm.start().await.expect("the keys pass")));
    (hsm, running, device)
}

/// Ends the client's tasks with the test.
struct Held(Option<pinion::hsm::payshield::client::Running>);

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

fn cases(seed: u64, count: usize) -> Vec<Value> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python3");
    let python = if python.exists() { python } else { "python3".into() };
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/differential/cases.py"))
        .args([seed.to_string(), count.to_string()])
        .output()
        .expect("python: `make test` installs psec");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// One case with one module.
struct Judge<'a, H> {
    name: String,
    hsm: &'a H,
    case: &'a Value,
    account: Account12,
}

const ANY_LENGTH: PinRules = PinRules {
    lengths: 0b1_1111_1111_0000,
    not_one_digit_repeated: false,
    not_a_run: false,
    not_the_current: false,
    refused: Vec::new(),
};

fn offset(digits: &str) -> Reference {
    let mut kept = [0; 12];
    kept.iter_mut().zip(digits.bytes()).for_each(|(to, from)| *to = from - b'0');
    Reference::Offset { digits: kept, len: u8::try_from(digits.len()).expect("short") }
}

impl<H: Hsm> Judge<'_, H> {
    fn key(&self, name: &str) -> KeyId {
        self.hsm.key(name).expect("a key")
    }

    fn text(&self, what: &str, which: usize) -> &str {
        self.case[what][which].as_str().expect("text")
    }

    fn block(&self, format: BlockFormat, which: usize) -> PresentedPin {
        let (place, key) = match format {
            BlockFormat::Iso0 => ("0", "zpk"),
            BlockFormat::Iso1 => ("1", "zpk"),
            BlockFormat::Iso3 => ("3", "zpk"),
            BlockFormat::Iso4 => ("4", "zpk.aes"),
        };
        let hex = self.case["blocks"][place][which].as_str().expect("a block");
        ZonePin::new(&bytes(hex), format, self.key(key)).expect("a block").into()
    }

    async fn all(&self, formats: &[BlockFormat]) {
        let visa = Method::VisaPvv { pvk: self.key("pvk.visa"), pvki: b'1' };
        let ibm = Method::Ibm3624 {
            pvk: self.key("pvk.ibm"),
            decimalization_table: *b"0123456789012345",
            validation_start: 3,
            validation_length: 10,
            validation_pad: b'F',
        };
        let pvv = [0, 1].map(|which| {
            Reference::Pvv(self.text("pvv", which).as_bytes().try_into().expect("four digits"))
        });
        let offsets = [0, 1].map(|which| offset(self.text("offset", which)));
        let right = |verdict: &ChangeVerdict, of: &Reference| *verdict == ChangeVerdict::Right(*of);
        for format in formats {
            for (method, references) in [(&visa, &pvv), (&ibm, &offsets)] {
                let blocks = [self.block(*format, 0), self.block(*format, 1)];
                let at = format!("{} {format:?} {method:?}", self.name);
                let verdict = self.change(method, &references[0], &blocks).await;
                assert!(right(&verdict, &references[1]), "{at}: {verdict:?}");
                // The other way round: the new PIN is not the current one.
                if references[0] != references[1] {
                    let verdict =
                        self.change(method, &references[0], &[blocks[1], blocks[0]]).await;
                    assert_eq!(verdict, ChangeVerdict::Wrong, "{at}");
                    let wrong = self.hsm.verify(&blocks[1], &self.account, method, &references[0]);
                    assert_eq!(wrong.await, Ok(Verdict::Wrong), "{at}");
                }
                let verified = self.hsm.verify(&blocks[0], &self.account, method, &references[0]);
                assert_eq!(verified.await, Ok(Verdict::Right), "{at}");
                let derived = self
                    .hsm
                    .derive(&blocks[1], &self.account, method, &ANY_LENGTH, &Reference::None)
                    .await;
                assert_eq!(derived, Ok(references[1]), "{at}");
            }
            self.comparison(*format).await;
        }
    }

    async fn change(
        &self,
        method: &Method,
        reference: &Reference,
        blocks: &[PresentedPin; 2],
    ) -> ChangeVerdict {
        let change = Change {
            current: &blocks[0],
            new: &blocks[1],
            account: &self.account,
            method,
            reference,
            rules: &ANY_LENGTH,
        };
        self.hsm.verify_and_derive(&change).await.expect("a verdict")
    }

    /// A PIN that is kept: the clear digits come out again.
    async fn comparison(&self, format: BlockFormat) {
        let (current, new) = (self.block(format, 0), self.block(format, 1));
        let digits =
            Zeroizing::new(self.case["current"].as_str().expect("a PIN").as_bytes().to_vec());
        let kept = self.hsm.encrypt_pin(digits, &self.account).await.expect("a PIN");
        let verdict = self.change(&Method::LmkPin, &Reference::Lmk(kept), &[current, new]).await;
        let ChangeVerdict::Right(Reference::Lmk(made)) = verdict else { panic!("{verdict:?}") };
        let shown = self.hsm.reveal(&made, &self.account).await.expect("a PIN");
        assert_eq!(&**shown, self.case["new"].as_str().expect("a PIN").as_bytes(), "{}", self.name);
        let same = self.case["current"] == self.case["new"];
        let reference = Reference::Lmk(kept);
        let verdict = self.hsm.verify(&new, &self.account, &Method::LmkPin, &reference).await;
        let want = if same { Verdict::Right } else { Verdict::Wrong };
        assert_eq!(verdict, Ok(want), "{}", self.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn software_and_devices_agree_with_psec() {
    let long = std::env::var_os("PINION_TEST_LONG").is_some();
    let given = std::env::var("PINION_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    eprintln!("software_and_devices_agree_with_psec: PINION_TEST_SEED={seed}");
    let cases = cases(seed, if long { 10_000 } else { 1_000 });
    let keys = KEYS.iter().map(|(name, kind, _, algorithm, hex)| {
        let (test, bytes) = (TestKeys::Allowed, bytes(hex));
        ClearKey::new(name, kind.key_type(), *algorithm, bytes, test).expect("a key")
    });
    let soft = SoftHsm::from_clear(keys, &Lmk::demo(), clock()).expect("a module");
    let tdes = [BlockFormat::Iso0, BlockFormat::Iso1, BlockFormat::Iso3];
    let all = [BlockFormat::Iso0, BlockFormat::Iso1, BlockFormat::Iso3, BlockFormat::Iso4];
    let (variant, _variant, _device_1) = client(Kind::Variant).await;
    let (blocks, _blocks, _device_2) = client(Kind::TdesBlock).await;
    let (aes, _aes, _device_3) = client(Kind::AesBlock).await;
    for (number, case) in cases.iter().enumerate() {
        let account = || {
            let pan = Pan::parse(case["pan"].as_str().expect("a number").as_bytes());
            pan.expect("a card number").account12()
        };
        let name = |module: &str| format!("case {number} of seed {seed}, {module}");
        let judge = Judge { name: name("software"), hsm: &soft, case, account: account() };
        judge.all(&all).await;
        for (hsm, module, formats) in [
            (&variant, "variant LMK", &tdes[..]),
            (&blocks, "TDES key block LMK", &tdes),
            (&aes, "AES key block LMK", &all),
        ] {
            Judge { name: name(module), hsm: &**hsm, case, account: account() }.all(formats).await;
        }
    }
}
