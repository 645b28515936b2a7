//! What one PIN command of the software HSM costs, beside the cipher's own time for the same number of blocks.
//!
//! Run with `cargo bench --bench pin`. The target is in `BENCHMARKS.md`: PIN work within ten per cent of the cipher.
//! **Never here:** anything but the module: no store, no link.
#![expect(clippy::unwrap_used, reason = "a bench that cannot start may stop")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use des::TdesEde3;
use des::cipher::{BlockCipherEncrypt, KeyInit};
use futures_util::FutureExt;
use pinion::domain::clock::SystemClock;
use pinion::domain::pan::Pan;
use pinion::domain::pin::{BlockFormat, Method, PinRules, Reference, ZonePin};
use pinion::domain::vault::Vault;
use pinion::hsm::key::{Algorithm, ClearKey, KeyType, TestKeys};
use pinion::hsm::lmk::Lmk;
use pinion::hsm::soft::SoftHsm;
use pinion::hsm::{Change, Hsm};
use zeroize::Zeroizing;

fn key(name: &str, key_type: KeyType, hex: &str) -> ClearKey {
    let bytes = Zeroizing::new(hex::decode(hex).unwrap());
    ClearKey::new(name, key_type, Algorithm::Tdes, bytes, TestKeys::Allowed).unwrap()
}

fn ready<T, E: std::fmt::Debug>(command: impl Future<Output = Result<T, E>>) -> T {
    command.now_or_never().unwrap().unwrap()
}

fn pin(criterion: &mut Criterion) {
    let keys = [
        key("zpk.atm", KeyType::Zpk, "2315208C9110AD40A8B6C7D5E5F20210"),
        key("zpk.postilion", KeyType::Zpk, "1F2F3D4C5B6B79890123456789ABCDEF"),
        key("pvk.visa", KeyType::Pvk, "0123456789ABCDEFFEDCBA9876543210"),
        key("zak", KeyType::Zak, "9B8A7C6D5E4F31201A2A3D4C5E6E7080"),
    ];
    let hsm = SoftHsm::from_clear(keys, &Lmk::demo(), Arc::new(SystemClock::start())).unwrap();
    let id = |name: &str| hsm.key(name).unwrap();
    let (atm, postilion, zak) = (id("zpk.atm"), id("zpk.postilion"), id("zak"));
    let block =
        |hex: &str| ZonePin::new(&hex::decode(hex).unwrap(), BlockFormat::Iso0, atm).unwrap();
    let (current, new) = (block("6773584E4C616F77"), block("09AC44C7E013D0A9"));
    let pan = Pan::parse(b"4761739001010010").unwrap();
    let account = pan.account12();
    let method = Method::VisaPvv { pvk: id("pvk.visa"), pvki: b'1' };
    let reference = Reference::Pvv(*b"8034");
    let rules = PinRules {
        lengths: 1 << 4,
        not_one_digit_repeated: true,
        not_a_run: false,
        not_the_current: true,
        refused: Vec::new(),
    };
    let message = [0x5A; 208];

    let cipher = TdesEde3::new(&[0x5B; 24].into());
    criterion.bench_function("cipher alone, 4 triple-DES blocks", |b| {
        b.iter(|| {
            let mut block = black_box([0x11; 8]);
            for _ in 0..4 {
                cipher.encrypt_block((&mut block).into());
            }
            block
        });
    });
    criterion.bench_function("PVV change: verify_and_derive", |b| {
        b.iter(|| {
            let change = Change {
                current: &current.into(),
                new: &black_box(new).into(),
                account: &account,
                method: &method,
                reference: &reference,
                rules: &rules,
            };
            ready(hsm.verify_and_derive(&change))
        });
    });
    criterion.bench_function("to_lmk", |b| b.iter(|| ready(hsm.to_lmk(black_box(&new), &account))));
    criterion.bench_function("verify", |b| {
        b.iter(|| ready(hsm.verify(black_box(&current.into()), &account, &method, &reference)));
    });
    criterion.bench_function("translate format 0 to 0", |b| {
        b.iter(|| {
            ready(hsm.translate(black_box(&current), postilion, BlockFormat::Iso0, &account))
        });
    });
    criterion.bench_function("MAC of 208 bytes", |b| {
        b.iter(|| ready(hsm.mac(zak, black_box(&message))));
    });
    criterion.bench_function("PAN hash", |b| b.iter(|| hsm.pan_hash(black_box(&pan))));
    criterion.bench_function("audit link of 300 bytes", |b| {
        b.iter(|| hsm.chain(&[0; 32], black_box(&[0x5A; 300])));
    });
}

criterion_group!(benches, pin);
criterion_main!(benches);
