//! What devices cost: PIN changes (CU) by the client of payShield devices, against the simulated one in this process.
//!
//! `cargo bench --bench payshield -- [closed|rate|one] [N]`. `closed` is a closed loop of N callers (512), five
//! seconds; `rate` sends at half of what `closed` found, or N a second, and counts latency from the moment a change
//! should have begun; `one` does N changes on one thread against the device at `PINION_BENCH_DEVICE`, for callgrind:
//! `pinion sim payshield --listen 127.0.0.1:15001`, then twice `valgrind --tool=callgrind` with N = 2000 and 4000; the
//! difference of instructions by 2000 is what a change costs the client. **Never here:** a claim; only numbers of this
//! machine, whose simulator computes beside the client.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::disallowed_methods, reason = "it measures real time")]
#![expect(clippy::unwrap_used, reason = "a bench that fails has no better way to say so")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use pinion::domain::clock::{Clock, SystemClock};
use pinion::domain::pan::{Account12, Pan};
use pinion::domain::pin::{BlockFormat, Method, PinRules, PresentedPin, Reference, ZonePin};
use pinion::hsm::key::{Algorithm, check_value};
use pinion::hsm::lmk::Lmk;
use pinion::hsm::payshield::client::{
    DeviceSettings, KeyKind, KeyPlan, KeySettings, PayShield, Running, Settings, Token,
};
use pinion::hsm::payshield::simulator::{self, Kind, Options};
use pinion::hsm::payshield::wire::key::KeyType;
use pinion::hsm::soft::SoftHsm;
use pinion::hsm::{Change, ChangeVerdict, Hsm};
use pinion::iso8583::Charset;
use pinion::peer::breaker::BreakerRule;

/// Key and PVK of `tests/differential/cases.py`.
const ZPK: &str = "C7152C20BC2C830EA7EC9E8334ABE3FE";
const PVK: &str = "C8199237EA5857BC40EF9DA2B5E96BBF";
const SPAN: Duration = Duration::from_secs(5);

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::start())
}

fn key(name: &str, kind: KeyKind, hex: &str) -> KeySettings {
    let clear = hex::decode(hex).unwrap();
    let KeyType(code) = kind.code(&Token::parse(b"0123456789ABCDEF").unwrap());
    let token = simulator::token(Kind::Variant, KeyType(code), *b"P0", false, &clear).unwrap();
    KeySettings {
        name: name.into(),
        kind,
        token: Token::parse(token.as_bytes()).unwrap(),
        check_value: check_value(Algorithm::Tdes, &clear),
    }
}

async fn client(address: SocketAddr) -> (Arc<PayShield>, Running) {
    let settings = Settings {
        devices: vec![DeviceSettings {
            name: "bench".into(),
            address: address.to_string().into(),
            tls: None,
            lmk: None,
            header: 4,
            charset: Charset::Ascii,
            connections: 2,
            window: 512,
            in_flight: 8192,
            timeout: Duration::from_secs(10),
            connect_time: Duration::from_secs(10),
            breaker: BreakerRule { failures: 5, open: Duration::from_secs(1), eject_share: 1.0 },
        }],
        lmk_check_value: [0x26, 0x86, 0x04],
        firmware: Vec::new(),
        pin_digits: 13,
        health: Duration::from_mins(5),
        reconnect: Duration::from_millis(100),
        reconnect_max: Duration::from_secs(1),
        tables: Vec::new(),
        state: None,
    };
    let keys = vec![key("zpk", KeyKind::Zpk, ZPK), key("pvk", KeyKind::Pvk, PVK)];
    let plan = KeyPlan { keys, transit_zpk: None, policy_pvk: None };
    let vault = SoftHsm::from_clear([], &Lmk::demo(), clock()).unwrap();
    let hsm = Arc::new(PayShield::open(settings, &plan, vault, clock()).unwrap());
    let running = hsm.start().await.unwrap();
    (hsm, running)
}

/// One change, always the same: a right PIN and a good new one, with a table of excluded PINs.
#[derive(Clone)]
struct Deed {
    hsm: Arc<PayShield>,
    account: Account12,
    method: Method,
    reference: Reference,
    rules: PinRules,
    blocks: [PresentedPin; 2],
}

impl Deed {
    async fn new(hsm: Arc<PayShield>) -> Self {
        let account = Pan::parse(b"4761739001010010").unwrap().account12();
        let method = Method::VisaPvv { pvk: hsm.key("pvk").unwrap(), pvki: b'1' };
        let zpk = hsm.key("zpk").unwrap();
        // By psec: PINs 7268 and 4915 of this card in format 0.
        let blocks = BLOCKS.map(|hex| {
            let block = hex::decode(hex).unwrap();
            PresentedPin::Zone(ZonePin::new(&block, BlockFormat::Iso0, zpk).unwrap())
        });
        let rules = PinRules {
            lengths: 1 << 4,
            not_one_digit_repeated: true,
            not_a_run: true,
            not_the_current: true,
            refused: Vec::new(),
        };
        let derived = hsm.derive(&blocks[0], &account, &method, &rules, &Reference::None).await;
        Self { hsm, account, method, reference: derived.unwrap(), rules, blocks }
    }

    async fn once(&self) {
        let Self { hsm, account, method, reference, rules, blocks } = self;
        let [current, new] = blocks;
        let change = Change { current, new, account, method, reference, rules };
        let verdict = hsm.verify_and_derive(&change).await.unwrap();
        assert!(matches!(verdict, ChangeVerdict::Right(_)));
    }
}

const BLOCKS: [&str; 2] = ["489E3BC8013EB960", "ADAEEEE758D58315"];

/// Changes a second of so many callers.
async fn closed(deed: &Deed, callers: usize) -> u64 {
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let (deed, stop) = (deed.clone(), Arc::clone(&stop));
        tasks.spawn(async move {
            let mut count = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                deed.once().await;
                count += 1;
            }
            count
        });
    }
    tokio::time::sleep(SPAN).await;
    stop.store(true, Ordering::Relaxed);
    let done: u64 = tasks.join_all().await.iter().sum();
    let rate = done / SPAN.as_secs();
    println!("closed loop, {callers} callers: {rate} CU/s");
    rate
}

/// Latencies at a fixed rate. The sender is a thread of its own: the runtime's timers are too coarse for it.
async fn rate(deed: &Deed, per_second: u64) {
    let (deed, runtime) = (deed.clone(), tokio::runtime::Handle::current());
    let sender = move || {
        let begun = Instant::now();
        let mut tasks = Vec::new();
        while begun.elapsed() < SPAN {
            let due = u64::try_from(begun.elapsed().as_micros()).unwrap() * per_second / 1_000_000;
            for sent in tasks.len() as u64..due {
                let at = begun + Duration::from_nanos(sent * 1_000_000_000 / per_second);
                let deed = deed.clone();
                tasks.push(runtime.spawn(async move {
                    deed.once().await;
                    at.elapsed()
                }));
            }
            std::thread::park_timeout(Duration::from_micros(50));
        }
        tasks
    };
    let tasks = tokio::task::spawn_blocking(sender).await.unwrap();
    let mut histogram = Histogram::<u64>::new(3).unwrap();
    for task in tasks {
        let latency = task.await.unwrap();
        histogram.record(u64::try_from(latency.as_micros()).unwrap()).unwrap();
    }
    let at = |quantile| histogram.value_at_quantile(quantile);
    println!("{per_second} CU/s: p50 {} us, p99 {} us, p99.9 {} us", at(0.5), at(0.99), at(0.999));
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|text| text != "--bench").collect();
    let mode = arguments.first().map_or("", String::as_str);
    let number: Option<u64> = arguments.get(1).map(|text| text.parse().unwrap());
    if mode == "one" {
        let device = std::env::var("PINION_BENCH_DEVICE").unwrap().parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (hsm, _running) = client(device).await;
            let deed = Deed::new(hsm).await;
            for _ in 0..number.unwrap_or(2000) {
                deed.once().await;
            }
        });
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = Options::new(vec![(Ipv4Addr::LOCALHOST, 0).into()]);
        let device = simulator::start(options).await.unwrap();
        let (hsm, _running) = client(device.ports()[0]).await;
        let deed = Deed::new(hsm).await;
        let callers = number.filter(|_| mode == "closed").unwrap_or(512);
        if let ("rate", Some(per_second)) = (mode, number) {
            return rate(&deed, per_second).await;
        }
        let most = closed(&deed, usize::try_from(callers).unwrap()).await;
        if mode != "closed" {
            rate(&deed, most / 2).await;
        }
    });
}
