//! Four judges of the same PIN changes: psec (which computes with OpenSSL), AWS-LC with arithmetic of its own, the
//! software HSM, and simulated devices through the client. Random cards, PINs of 4 to 12 digits and parameters, every
//! format and method, pairs of unlike formats.
//!
//! AWS-LC opens the blocks of psec and computes the references anew; both must agree before Pinion is asked. It also
//! opens what Pinion encrypts. Keys of DUKPT terminals are derived by pydukpt.
//!
//! 2,500 cases; ten thousand with `PINION_TEST_LONG=1`. The seed is printed, and `PINION_TEST_SEED` repeats a run.
//! **Never here:** an expected value of ours.

#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a test: what is not there fails it")]

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use pinion::domain::clock::{Clock, SystemClock};
use pinion::domain::pan::{Account12, Pan};
use pinion::domain::pin::{
    BlockFormat, KeyId, Ksn, LmkPin, Method, PinRules, PresentedPin, Reference, ZonePin,
};
use pinion::hsm::key::{Algorithm, ClearKey, TestKeys};
use pinion::hsm::lmk::Lmk;
use pinion::hsm::payshield::client::KeyKind;
use pinion::hsm::payshield::simulator::Kind;
use pinion::hsm::soft::SoftHsm;
use pinion::hsm::{Change, ChangeVerdict, Hsm, Verdict};
use zeroize::Zeroizing;

#[path = "differential/aws_lc.rs"]
mod aws_lc;
#[path = "differential/device.rs"]
mod device;

/// As in `differential/cases.py`; no block of a case is under the last one.
const KEYS: &[(&str, KeyKind, &[u8; 2], Algorithm, &str)] = &[
    ("zpk", KeyKind::Zpk, b"P0", Algorithm::Tdes, "C7152C20BC2C830EA7EC9E8334ABE3FE"),
    ("zpk.aes", KeyKind::Zpk, b"P0", Algorithm::Aes, "00112233445566778899AABBCCDDEEFF"),
    ("pvk.visa", KeyKind::Pvk, b"V2", Algorithm::Tdes, "C8199237EA5857BC40EF9DA2B5E96BBF"),
    ("pvk.ibm", KeyKind::Pvk, b"V1", Algorithm::Tdes, "54A1521FDA7083E9C83E9EC4263786EC"),
    ("bdk", KeyKind::Bdk, b"B0", Algorithm::Tdes, "C8A16DABB957C1761652C1A49E836294"),
    ("zpk.transit", KeyKind::Zpk, b"P0", Algorithm::Tdes, "98519E45CBB9291F49EFAD4AFEFDDC79"),
];

/// Formats in the order of a case's blocks, and their digit. Those before the last are under triple DES.
const FORMATS: [(BlockFormat, char); 4] = [
    (BlockFormat::Iso0, '0'),
    (BlockFormat::Iso1, '1'),
    (BlockFormat::Iso3, '3'),
    (BlockFormat::Iso4, '4'),
];

const ANY_LENGTH: PinRules = PinRules {
    lengths: 0b1_1111_1111_0000,
    not_one_digit_repeated: false,
    not_a_run: false,
    not_the_current: false,
    refused: Vec::new(),
};

/// What psec says of one PIN change: of each two things the first is of the current PIN.
#[derive(serde::Deserialize)]
struct Case {
    pan: String,
    pins: [String; 2],
    blocks: [[String; 2]; 4],
    dukpt: Dukpt,
    pvki: char,
    pvvs: [String; 2],
    ibm: aws_lc::Ibm,
    offsets: [String; 2],
}

/// The same PINs from a terminal: its serial number, the key of this one transaction, blocks of formats 0, 1, 3.
#[derive(serde::Deserialize)]
struct Dukpt {
    ksn: String,
    key: String,
    blocks: [[String; 2]; 3],
}

fn bytes(hex: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(hex::decode(hex).expect("hex"))
}

fn clear_key(name: &str) -> &'static str {
    KEYS.iter().find(|key| key.0 == name).expect("a key").4
}

/// The key of a case's blocks of this format.
fn zpk(format: BlockFormat) -> &'static str {
    if format == BlockFormat::Iso4 { "zpk.aes" } else { "zpk" }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::start())
}

fn cases(seed: u64, count: usize) -> Vec<Case> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python3");
    let python = if python.exists() { python } else { "python3".into() };
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/differential/cases.py"))
        .args([seed.to_string(), count.to_string()])
        .output()
        .expect("python: `make test` installs psec");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let cases: Vec<_> =
        text.lines().map(|line| serde_json::from_str(line).expect("a case")).collect();
    assert_eq!(cases.len(), count);
    cases
}

impl Case {
    /// psec and AWS-LC agree: on the PIN in every block, and on its references.
    fn agree(&self, at: &str) {
        for which in [0, 1] {
            for ((format, digit), blocks) in FORMATS.iter().zip(&self.blocks) {
                let pin = aws_lc::open(*digit, clear_key(zpk(*format)), &blocks[which], &self.pan);
                let pin = pin.unwrap_or_else(|| panic!("{at}: no PIN in the block of {format:?}"));
                assert_eq!(pin, self.pins[which], "{at}, {format:?}");
                let derived = FORMATS.iter().position(|(each, _)| each == format);
                if let Some(blocks) = derived.and_then(|at| self.dukpt.blocks.get(at)) {
                    let pin = aws_lc::open(*digit, &self.dukpt.key, &blocks[which], &self.pan);
                    assert_eq!(pin.as_ref(), Some(&self.pins[which]), "{at}, DUKPT, {format:?}");
                }
                let pvv = aws_lc::pvv(clear_key("pvk.visa"), self.pvki, &pin, &self.pan);
                assert_eq!(pvv, self.pvvs[which], "{at}, PVV");
                let offset = aws_lc::offset(clear_key("pvk.ibm"), &self.ibm, &pin, &self.pan);
                assert_eq!(offset, self.offsets[which], "{at}, offset");
            }
        }
    }
}

/// One case with one module.
struct Judge<'a, H> {
    at: String,
    hsm: &'a H,
    case: &'a Case,
    account: Account12,
}

fn offset(digits: &str) -> Reference {
    let mut kept = [0; 12];
    kept.iter_mut().zip(digits.bytes()).for_each(|(to, from)| *to = from - b'0');
    Reference::Offset { digits: kept, len: u8::try_from(digits.len()).expect("short") }
}

fn pvv(digits: &str) -> Reference {
    Reference::Pvv(digits.as_bytes().try_into().expect("four digits"))
}

impl<H: Hsm> Judge<'_, H> {
    fn key(&self, name: &str) -> KeyId {
        self.hsm.key(name).expect("a key")
    }

    /// The current PIN (0) or the new one (1) in a format.
    fn block(&self, format: BlockFormat, which: usize) -> ZonePin {
        let place = FORMATS.iter().position(|(each, _)| *each == format).expect("a format");
        let hex = &self.case.blocks[place][which];
        ZonePin::new(&bytes(hex), format, self.key(zpk(format))).expect("a block")
    }

    /// The same from the terminal, in one of its formats.
    fn derived_block(&self, place: usize, which: usize) -> ZonePin {
        let Dukpt { ksn, blocks, .. } = &self.case.dukpt;
        let ksn = Ksn::new(&bytes(ksn)).expect("a serial number");
        let block = ZonePin::new(&bytes(&blocks[place][which]), FORMATS[place].0, self.key("bdk"));
        block.expect("a block").derived(ksn)
    }

    /// Everything about a current PIN in one format and a new one in another.
    async fn pair(&self, formats: [BlockFormat; 2]) {
        let blocks = [0, 1].map(|which| self.block(formats[which], which));
        self.both(&format!("{formats:?}"), blocks).await;
    }

    /// Everything about a current PIN and a new one.
    async fn both(&self, what: &str, blocks: [ZonePin; 2]) {
        let Case { pvki, ibm, pvvs, offsets, .. } = self.case;
        let visa = Method::VisaPvv {
            pvk: self.key("pvk.visa"),
            pvki: u8::try_from(*pvki).expect("a digit"),
        };
        let ibm = Method::Ibm3624 {
            pvk: self.key("pvk.ibm"),
            decimalization_table: ibm.table.as_bytes().try_into().expect("sixteen digits"),
            validation_start: ibm.start,
            validation_length: ibm.length,
            validation_pad: u8::try_from(ibm.pad).expect("a digit"),
        };
        for (method, references) in
            [(visa, [0, 1].map(|it| pvv(&pvvs[it]))), (ibm, [0, 1].map(|it| offset(&offsets[it])))]
        {
            self.change_and_parts(&format!("{what} {method:?}"), &method, &references, blocks)
                .await;
        }
        self.comparison(blocks).await;
        self.translation(blocks[0], blocks[1].format()).await;
    }

    /// The change as one command, what it is made of, and the change by somebody who guesses.
    async fn change_and_parts(
        &self,
        what: &str,
        method: &Method,
        references: &[Reference; 2],
        blocks: [ZonePin; 2],
    ) {
        let at = format!("{} {what}", self.at);
        let [current, new] = blocks.map(PresentedPin::from);
        let verdict = self.change(method, &references[0], [&current, &new]).await;
        // Debug of a reference shows no digits.
        assert!(verdict == ChangeVerdict::Right(references[1]), "{at}: {verdict:?}");
        let verified = self.hsm.verify(&current, &self.account, method, &references[0]).await;
        assert_eq!(verified, Ok(Verdict::Right), "{at}");
        let derived =
            self.hsm.derive(&new, &self.account, method, &ANY_LENGTH, &Reference::None).await;
        assert!(derived == Ok(references[1]), "{at}: {derived:?}");
        if references[0] != references[1] {
            let verdict = self.change(method, &references[0], [&new, &current]).await;
            assert_eq!(verdict, ChangeVerdict::Wrong, "{at}");
            let wrong = self.hsm.verify(&new, &self.account, method, &references[0]).await;
            assert_eq!(wrong, Ok(Verdict::Wrong), "{at}");
        }
    }

    async fn change(
        &self,
        method: &Method,
        reference: &Reference,
        [current, new]: [&PresentedPin; 2],
    ) -> ChangeVerdict {
        let change =
            Change { current, new, account: &self.account, method, reference, rules: &ANY_LENGTH };
        let verdict = self.hsm.verify_and_derive(&change).await;
        verdict.unwrap_or_else(|error| panic!("{}: {error}", self.at))
    }

    /// A PIN that is kept: the clear digits come out again, and in a block.
    async fn comparison(&self, blocks: [ZonePin; 2]) {
        let [current, new] = blocks.map(PresentedPin::from);
        let digits = Zeroizing::new(self.case.pins[0].as_bytes().to_vec());
        let kept = self.hsm.encrypt_pin(digits, &self.account).await.expect("a PIN");
        let verdict = self.change(&Method::LmkPin, &Reference::Lmk(kept), [&current, &new]).await;
        let ChangeVerdict::Right(Reference::Lmk(made)) = verdict else {
            panic!("{}: {verdict:?}", self.at)
        };
        let shown = self.hsm.reveal(&made, &self.account).await.expect("a PIN");
        assert_eq!(&**shown, self.case.pins[1].as_bytes(), "{}", self.at);
        self.sent_on(&made, blocks[1].format()).await;
        let same = self.case.pins[0] == self.case.pins[1];
        let reference = Reference::Lmk(kept);
        let verdict = self.hsm.verify(&new, &self.account, &Method::LmkPin, &reference).await;
        let want = if same { Verdict::Right } else { Verdict::Wrong };
        assert_eq!(verdict, Ok(want), "{}", self.at);
    }

    /// AWS-LC opens the block of a kept PIN. Format 1 is bound to no account, so no kept PIN may become one.
    async fn sent_on(&self, kept: &LmkPin, format: BlockFormat) {
        let format = if format == BlockFormat::Iso1 { BlockFormat::Iso0 } else { format };
        let sent = self.hsm.from_lmk(kept, self.key(zpk(format)), format, &self.account).await;
        self.opens(&sent.expect("a block"), zpk(format), 1);
    }

    /// AWS-LC opens what a block under one key becomes under another, as on the way to a host.
    async fn translation(&self, current: ZonePin, to: BlockFormat) {
        if !current.format().may_become(to) {
            return;
        }
        let name = if to == BlockFormat::Iso4 { "zpk.aes" } else { "zpk.transit" };
        let block = self.hsm.translate(&current, self.key(name), to, &self.account).await;
        self.opens(&block.expect("a block"), name, 0);
    }

    fn opens(&self, block: &ZonePin, key: &str, which: usize) {
        let (_, digit) = FORMATS.iter().find(|(each, _)| *each == block.format()).expect("one");
        let hex = hex::encode_upper(block.block());
        let pin = aws_lc::open(*digit, clear_key(key), &hex, &self.case.pan);
        assert_eq!(pin.as_ref(), Some(&self.case.pins[which]), "{} {block:?}", self.at);
    }
}

/// All cases with one module: each format, and in each case one pair more, which goes round over all pairs.
async fn judge(module: &str, hsm: &impl Hsm, formats: usize, cases: &[Case], seed: u64) {
    let judged =
        stream::iter(cases.iter().enumerate()).for_each_concurrent(16, |(number, case)| {
            let at = format!("case {number} of seed {seed}, {module}");
            let account = Pan::parse(case.pan.as_bytes()).expect("a card number").account12();
            let judge = Judge { at, hsm, case, account };
            async move {
                for (format, _) in &FORMATS[..formats] {
                    judge.pair([*format; 2]).await;
                }
                let derived = [0, 1].map(|which| judge.derived_block(number % 3, which));
                judge.both("DUKPT", derived).await;
                let (one, other) = (number % formats, number / formats % formats);
                if one != other {
                    judge.pair([FORMATS[one].0, FORMATS[other].0]).await;
                }
            }
        });
    judged.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psec_aws_lc_software_and_devices_agree() {
    let long = std::env::var_os("PINION_TEST_LONG").is_some();
    let given = std::env::var("PINION_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    eprintln!("psec_aws_lc_software_and_devices_agree: PINION_TEST_SEED={seed}");
    let cases = cases(seed, if long { 10_000 } else { 2_500 });
    for (number, case) in cases.iter().enumerate() {
        case.agree(&format!("case {number} of seed {seed}, psec and AWS-LC"));
    }
    let keys = KEYS.iter().map(|(name, kind, _, algorithm, hex)| {
        let (test, bytes) = (TestKeys::Allowed, bytes(hex));
        ClearKey::new(name, kind.key_type(), *algorithm, bytes, test).expect("a key")
    });
    let soft = SoftHsm::from_clear(keys, &Lmk::demo(), clock()).expect("a module");
    let (variant, _variant, _device_1) = device::client(Kind::Variant).await;
    let (blocks, _blocks, _device_2) = device::client(Kind::TdesBlock).await;
    let (aes, _aes, _device_3) = device::client(Kind::AesBlock).await;
    tokio::join!(
        judge("software", &soft, 4, &cases, seed),
        judge("variant LMK", &*variant, 3, &cases, seed),
        judge("TDES key block LMK", &*blocks, 3, &cases, seed),
        judge("AES key block LMK", &*aes, 4, &cases, seed),
    );
}
