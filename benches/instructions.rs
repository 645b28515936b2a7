//! Instructions of the pieces of the path, counted by callgrind: numbers that do not depend on what else the machine
//! does.
//!
//! `cargo bench --bench instructions`. Each piece runs N and 2N times under valgrind; the difference over N is one of
//! it, start-up and set-up left out. `BENCHMARKS.md` says how to read them. **Never here:** time.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::unwrap_used, reason = "a bench that fails has no better way to say so")]

use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::FutureExt;
use pinion::domain::clock::SystemClock;
use pinion::domain::pan::Pan;
use pinion::domain::pin::{BlockFormat, Method, PinRules, Reference, ZonePin};
use pinion::hsm::key::{Algorithm, ClearKey, KeyType, TestKeys};
use pinion::hsm::lmk::Lmk;
use pinion::hsm::payshield::simulator::{Device, Setup};
use pinion::hsm::payshield::wire::frame;
use pinion::hsm::soft::SoftHsm;
use pinion::hsm::{Change, ChangeVerdict, Hsm};
use pinion::iso8583::{Builder, Dialect, Layout, decode};
use zeroize::Zeroizing;

const TIMES: u64 = 1000;
/// A piece of the path, and what runs it so many times.
type Piece = (&'static str, fn(u64));

const PIECES: [Piece; 6] = [
    ("decode", decode_change),
    ("answer", write_answer),
    ("change", pin_change),
    ("mac", retail_mac),
    ("chain", audit_chain),
    ("sim-cu", simulated_change),
];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if let [piece, times] = arguments.as_slice() {
        let (_, run) = PIECES.iter().find(|(name, _)| name == piece).unwrap();
        run(times.parse().unwrap());
        return;
    }
    println!("{:<8} instructions", "");
    for (name, _) in PIECES {
        let one = counted(name, 2 * TIMES).abs_diff(counted(name, TIMES)) / TIMES;
        println!("{name:<8} {one:>12}");
    }
}

/// Instructions of this program running one piece so many times.
fn counted(piece: &str, times: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args([piece, &times.to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find_map(|line| line.split_once("Collected :"));
    assert!(output.status.success() && line.is_some(), "valgrind: {text}");
    line.unwrap().1.trim().parse().unwrap()
}

/// A PIN change of 19 fields, 200 bytes.
fn message(dialect: &Dialect) -> BytesMut {
    let mut out = BytesMut::new();
    let mut builder = Builder::new(dialect, *b"0100", &mut out);
    let fields: [(u8, &[u8]); 17] = [
        (2, b"4761739001010010"),
        (3, b"920000"),
        (4, b"000000000000"),
        (7, b"1122043722"),
        (11, b"000123"),
        (12, b"043722"),
        (13, b"1122"),
        (14, b"4912"),
        (18, b"6011"),
        (22, b"011"),
        (25, b"00"),
        (32, b"400001"),
        (37, b"000000000123"),
        (41, b"TERM0001"),
        (42, b"MERCHANT0000001"),
        (43, b"PINION TEST TERMINAL   LONDON         GB"),
        (49, b"978"),
    ];
    for (number, value) in fields {
        builder.text(number, value).unwrap();
    }
    builder.binary(52, &[0x5A; 8]).unwrap();
    builder.binary(125, &[0xA5; 8]).unwrap();
    builder.finish();
    out
}

fn decode_change(times: u64) {
    let dialect = Dialect::builtin("iso87-ascii").unwrap();
    let wire = message(&dialect);
    let mut layout = Layout::new();
    for _ in 0..times {
        black_box(decode(&dialect, black_box(&wire), &mut layout).unwrap().present());
    }
}

fn write_answer(times: u64) {
    let dialect = Dialect::builtin("iso87-ascii").unwrap();
    let wire = message(&dialect);
    let mut layout = Layout::new();
    let request = decode(&dialect, &wire, &mut layout).unwrap();
    let mut out = BytesMut::with_capacity(512);
    for _ in 0..times {
        out.clear();
        let mut answer = Builder::new(&dialect, *b"0110", &mut out);
        for field in [2, 3, 4, 7, 11, 12, 13, 32, 37] {
            answer.copy(black_box(&request), field).unwrap();
        }
        answer.text(39, b"00").unwrap();
        answer.copy(&request, 41).unwrap();
        answer.copy(&request, 42).unwrap();
        answer.finish();
        black_box(&out);
    }
}

fn module() -> SoftHsm {
    let key = |name: &str, key_type, hex: &str| {
        let bytes = Zeroizing::new(hex::decode(hex).unwrap());
        ClearKey::new(name, key_type, Algorithm::Tdes, bytes, TestKeys::Allowed).unwrap()
    };
    let keys = [
        key("zpk", KeyType::Zpk, "2315208C9110AD40A8B6C7D5E5F20210"),
        key("pvk", KeyType::Pvk, "0123456789ABCDEFFEDCBA9876543210"),
        key("zak", KeyType::Zak, "9B8A7C6D5E4F31201A2A3D4C5E6E7080"),
    ];
    SoftHsm::from_clear(keys, &Lmk::demo(), Arc::new(SystemClock::start())).unwrap()
}

/// A sample of the demo world: 1234 to 8642, reference 8034.
fn pin_change(times: u64) {
    let hsm = module();
    let zpk = hsm.key("zpk").unwrap();
    let block =
        |hex: &str| ZonePin::new(&hex::decode(hex).unwrap(), BlockFormat::Iso0, zpk).unwrap();
    let (current, new) = (block("6773584E4C616F77"), block("09AC44C7E013D0A9"));
    let account = Pan::parse(b"4761739001010010").unwrap().account12();
    let method = Method::VisaPvv { pvk: hsm.key("pvk").unwrap(), pvki: b'1' };
    let rules = PinRules {
        lengths: 1 << 4,
        not_one_digit_repeated: true,
        not_a_run: false,
        not_the_current: true,
        refused: Vec::new(),
    };
    for _ in 0..times {
        let change = Change {
            current: &current.into(),
            new: &black_box(new).into(),
            account: &account,
            method: &method,
            reference: &Reference::Pvv(*b"8034"),
            rules: &rules,
        };
        let verdict = hsm.verify_and_derive(&change).now_or_never().unwrap();
        assert!(matches!(verdict, Ok(ChangeVerdict::Right(_))));
    }
}

fn retail_mac(times: u64) {
    let hsm = module();
    let zak = hsm.key("zak").unwrap();
    for _ in 0..times {
        black_box(hsm.mac(zak, black_box(&[0x5A; 208])).now_or_never().unwrap().unwrap());
    }
}

fn audit_chain(times: u64) {
    use pinion::domain::vault::Vault;
    let hsm = module();
    let mut head = [0; 32];
    for _ in 0..times {
        head = hsm.chain(&head, black_box(&[0x5A; 300]));
    }
    black_box(head);
}

/// A frame with CU in, the frame of its answer out, by the simulated payShield.
fn simulated_change(times: u64) {
    let device = Device::new(&Setup::default());
    let mut body =
        b"0001CU001U1EF828AA8F6B80EB83E19FBC373F3A85U8463435FC4B4DAA0C49025272C29B12C".to_vec();
    body.extend_from_slice(b"7A68167FDAA0CC8401173900101001" as &[u8]);
    body.extend_from_slice(b"19616AD5EB96DDF77CC51" as &[u8]);
    let mut framed = BytesMut::new();
    frame::put(&mut framed, |out| out.extend_from_slice(&body)).unwrap();
    let (mut stream, mut out) = (BytesMut::new(), BytesMut::new());
    for _ in 0..times {
        stream.extend_from_slice(black_box(&framed));
        let body = frame::take(&mut stream).unwrap();
        out.clear();
        frame::put(&mut out, |out| device.answer(0, &body, out)).unwrap();
        assert_eq!(&out[2..], b"0001CV005215");
    }
}
