//! What one message costs: decoding a PIN change with every field checked, writing its answer. No allocation in either.
#![expect(clippy::expect_used, reason = "a benchmark that cannot go on says where")]

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pinion::iso8583::{Builder, Dialect, Layout, decode};

/// A PIN change of fourteen fields in `dialect`.
fn pin_change(dialect: &Dialect) -> BytesMut {
    let mut out = BytesMut::new();
    let mut builder = Builder::new(dialect, *b"0600", &mut out);
    let text: [(u8, &[u8]); 14] = [
        (2, b"4761739001010119"),
        (3, b"920000"),
        (4, b"000000000000"),
        (7, b"1122043722"),
        (11, b"000123"),
        (12, b"043722"),
        (13, b"1122"),
        (32, b"12345678901"),
        (35, b"4761739001010119=22122011758928889"),
        (37, b"000000000123"),
        (41, b"TERM0001"),
        (42, b"MERCHANT0000001"),
        (43, b"PINION TEST TERMINAL   LONDON          GB"),
        (49, b"840"),
    ];
    for (n, value) in text {
        let value = if n == 43 { &value[..40] } else { value };
        builder.text(n, value).expect("fits");
    }
    builder.binary(52, &[0x5A; 8]).expect("fits");
    if dialect.name() == "postilion" {
        builder.binary(53, &[&[0x5A; 8][..], &[0; 40]].concat()).expect("fits");
    } else {
        builder.binary(125, &[0xA5; 8]).expect("fits");
    }
    builder.finish();
    out
}

const ECHO: [u8; 7] = [2, 3, 4, 7, 11, 12, 13];
const ECHO_AFTER_32: [u8; 2] = [32, 37];

fn codec(criterion: &mut Criterion) {
    for name in ["iso87-ascii", "iso87-bcd", "postilion", "mastercard"] {
        let dialect = Dialect::builtin(name).expect("built in");
        let wire = pin_change(&dialect);
        let mut layout = Layout::new();
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(wire.len() as u64));
        group.bench_function("decode", |bencher| {
            bencher.iter(|| {
                let message = decode(&dialect, black_box(&wire), &mut layout).expect("decodes");
                message.present().len()
            });
        });
        let mut kept = Layout::new();
        let message = decode(&dialect, &wire, &mut kept).expect("decodes");
        let mut out = BytesMut::with_capacity(1024);
        group.bench_function("answer", |bencher| {
            bencher.iter(|| {
                out.clear();
                let mut builder = Builder::new(&dialect, *b"0610", &mut out);
                for n in ECHO.into_iter().chain(ECHO_AFTER_32) {
                    builder.copy(black_box(&message), n).expect("fits");
                }
                builder.text(39, b"00").expect("fits");
                for n in [41, 42, 49] {
                    builder.copy(black_box(&message), n).expect("fits");
                }
                builder.finish();
                out.len()
            });
        });
        group.finish();
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
