//! What the path of a request allocates, counted: nothing in each of its pieces, a known few for the whole of it.
//!
//! The allocator of this test binary counts on the thread that allocates. The pieces (decode, answer, route, PIN work,
//! MAC) run on the test's own thread. For the whole path a switch with its embedded store runs in this process; its
//! runtime threads have a counter of their own, and what is left (committer, chores, the store's engine) another.
//! **Never here:** time.
#![expect(unsafe_code, reason = "an allocator cannot be written without it")]
#![expect(clippy::unwrap_used, reason = "a test without its world has nothing to say")]

use std::alloc::{GlobalAlloc, Layout as Memory, System};
use std::cell::Cell;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt;
use pinion::card::embedded::{EmbeddedStore, StoreOptions};
use pinion::card::generate;
use pinion::card::product::{Product, Products};
use pinion::card::record::ProductKey;
use pinion::domain::clock::SystemClock;
use pinion::domain::pan::Pan;
use pinion::domain::pin::{BlockFormat, Method, PinRules, Reference, ZonePin};
use pinion::domain::request::{Channel, LinkId, Operation, Rights, Tag};
use pinion::host::Nodes;
use pinion::hsm::key::{Algorithm, ClearKey, KeyType, TestKeys};
use pinion::hsm::lmk::Lmk;
use pinion::hsm::module::Module;
use pinion::hsm::soft::SoftHsm;
use pinion::hsm::{Change, ChangeVerdict, Hsm, Verdict};
use pinion::iso8583::frame::Framing;
use pinion::iso8583::{Builder, Dialect, Layout, decode};
use pinion::link::session::Timers;
use pinion::link::{Codes, Link, PinKey, PinMap, Settings, Wish};
use pinion::route::{Fallback, Plan, Policy, ProductRoute, Question, Route, Rule, Table, Target};
use pinion::sim::pin_pad::{PinPad, TypedPin};
use pinion::sim::terminal::{Card, Stamp, Terminal};
use pinion::switch::{Parts, Rules, Switch};
use tokio::sync::watch;
use zeroize::Zeroizing;

/// Allocations of threads that nobody claimed: committer, chores, the store's engine.
const OTHERS: usize = 0;
/// Of the test's own thread.
const TEST: usize = 1;
/// Of the runtime's threads.
const RUNTIME: usize = 2;

static COUNTS: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

thread_local! {
    static WHOSE: Cell<usize> = const { Cell::new(OTHERS) };
}

struct Counting;

fn count() {
    // A thread that is ending has no cell any more.
    let whose = WHOSE.try_with(Cell::get).unwrap_or(OTHERS);
    COUNTS[whose].fetch_add(1, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, memory: Memory) -> *mut u8 {
        count();
        // SAFETY: as the caller promised.
        unsafe { System.alloc(memory) }
    }

    unsafe fn alloc_zeroed(&self, memory: Memory) -> *mut u8 {
        count();
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(memory) }
    }

    unsafe fn realloc(&self, at: *mut u8, memory: Memory, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promised.
        unsafe { System.realloc(at, memory, bytes) }
    }

    unsafe fn dealloc(&self, at: *mut u8, memory: Memory) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(at, memory) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Runs `work` once to warm up, then counts what it allocates.
#[track_caller]
fn check<T>(what: &str, mut work: impl FnMut() -> T) {
    WHOSE.set(TEST);
    black_box(work());
    let before = COUNTS[TEST].load(Ordering::Relaxed);
    for _ in 0..10 {
        black_box(work());
    }
    let after = COUNTS[TEST].load(Ordering::Relaxed);
    WHOSE.set(OTHERS);
    assert_eq!(after - before, 0, "allocations of ten times {what}");
}

/// Keys, a product and its cards: what every part of this test needs.
enum Node {}

impl Parts for Node {
    type Clock = SystemClock;
    type Hosts = Option<Arc<Nodes>>;
    type Hsm = Arc<Module>;
    type Store = EmbeddedStore;
}

struct World {
    hsm: Arc<Module>,
    dialect: Arc<Dialect>,
    product: Product,
    pad: PinPad,
    terminal: Terminal,
}

const ZPK: &str = "2315208C9110AD40A8B6C7D5E5F20210";
const PVK: &str = "0123456789ABCDEFFEDCBA9876543210";
const ZAK: &str = "9B8A7C6D5E4F31201A2A3D4C5E6E7080";
const BIN: &str = "476173";
const FIRST: &[u8] = b"1357";
const SECOND: &[u8] = b"2468";

impl World {
    fn new() -> Self {
        let key = |name: &str, key_type, hex: &str| {
            let bytes = Zeroizing::new(hex::decode(hex).unwrap());
            ClearKey::new(name, key_type, Algorithm::Tdes, bytes, TestKeys::Allowed).unwrap()
        };
        let keys = [
            key("zpk", KeyType::Zpk, ZPK),
            key("pvk", KeyType::Pvk, PVK),
            key("zak", KeyType::Zak, ZAK),
        ];
        let clock = Arc::new(SystemClock::start());
        let soft = SoftHsm::from_clear(keys, &Lmk::demo(), clock).unwrap();
        let hsm = Arc::new(Module::Soft(Arc::new(soft)));
        let product = Product {
            name: "visa-debit".into(),
            key: ProductKey { organization: 600, logo: 1 },
            bin: BIN.into(),
            chip: false,
            issuer_script: None,
            method: Method::VisaPvv { pvk: hsm.key("pvk").unwrap(), pvki: b'1' },
            rules: PinRules {
                lengths: 1 << 4,
                not_one_digit_repeated: true,
                not_a_run: true,
                not_the_current: true,
                refused: Vec::new(),
            },
            tries_max: 3,
            changes_per_day_max: None,
            allow_set: false,
            recoverable: false,
        };
        Self {
            hsm,
            dialect: Dialect::builtin("iso87-ascii").unwrap(),
            product,
            pad: PinPad::new(&hex::decode(ZPK).unwrap(), BlockFormat::Iso0).unwrap(),
            terminal: Terminal::new("iso87-ascii", "TERM0001", "ACCEPTOR", "400001").unwrap(),
        }
    }

    fn zone_pin(&self, pin: &[u8], pan: &Pan) -> ZonePin {
        let block = self.pad.block(&TypedPin::new(pin).unwrap(), pan, [0; 16]);
        ZonePin::new(block.as_bytes(), BlockFormat::Iso0, self.hsm.key("zpk").unwrap()).unwrap()
    }

    /// The reference of [`FIRST`].
    fn reference(&self, pan: &Pan) -> Reference {
        let account = pan.account12();
        let new = self.zone_pin(FIRST, pan).into();
        let method = &self.product.method;
        let made = self.hsm.derive(&new, &account, method, &self.product.rules, &Reference::None);
        made.now_or_never().unwrap().unwrap()
    }

    /// A change of card `number` as a frame: from [`FIRST`] to [`SECOND`].
    fn frame(&self, number: u64, stan: u64) -> Vec<u8> {
        let card = Card {
            pan: generate::pan(BIN, 1, number).unwrap(),
            expiry: Some(4912),
            sequence: None,
        };
        let at = jiff::civil::date(2026, 11, 22).at(4, 37, 22, 0);
        let stamp = Stamp { stan, rrn: stan, utc: at, local: at };
        let block = |pin: &[u8]| self.pad.block(&TypedPin::new(pin).unwrap(), &card.pan, [0; 16]);
        let request = self.terminal.ask(
            Operation::Change,
            &stamp,
            &card,
            Some(&block(FIRST)),
            Some(&block(SECOND)),
        );
        let mut message = BytesMut::new();
        request.unwrap().write(&self.dialect, None, &mut message).unwrap();
        let length = u16::try_from(message.len()).unwrap().to_be_bytes();
        [&length[..], &message[..]].concat()
    }
}

/// Routes with a rule whose every condition is looked at; the last fails, because the policy turns the wish round.
fn routes() -> Table {
    let product = |bin: &str, route| ProductRoute { name: bin.into(), bin: bin.into(), route };
    let rule = Rule {
        name: "all-but-the-wish".into(),
        bins: vec!["99".into(), BIN.into()],
        institutions: vec!["627629".into()],
        links: vec![LinkId(0)],
        products: vec![0],
        wish: Some(false),
        to: Target::None,
    };
    Table::new(Plan {
        policy: Policy::ForceActive,
        rules: vec![rule],
        fallback: Fallback::Product,
        products: vec![product(BIN, Route::Cms), product("5413", Route::Postilion)],
        links: vec!["atm-1".into()],
    })
}

#[test]
fn the_pieces_of_the_path_allocate_nothing() {
    let world = World::new();
    let frame = world.frame(7, 123);
    let message = &frame[2..];
    let mut layout = Layout::new();
    check("decoding a PIN change", || {
        decode(&world.dialect, message, &mut layout).map(|m| m.present().len()).unwrap()
    });

    let mut kept = Layout::new();
    let request = decode(&world.dialect, message, &mut kept).unwrap();
    let mut out = BytesMut::with_capacity(1024);
    check("writing its answer", || {
        out.clear();
        let mut answer = Builder::new(&world.dialect, *b"0110", &mut out);
        for field in [2, 3, 4, 7, 11, 12, 13, 32, 37] {
            answer.copy(&request, field).unwrap();
        }
        answer.text(39, b"00").unwrap();
        answer.copy(&request, 41).unwrap();
        answer.finish();
    });

    let pan = generate::pan(BIN, 1, 7).unwrap();
    let table = routes();
    let institution = Some(Tag::new(b"627629"));
    let question = Question { pan: &pan, wish: Some(false), institution, link: Some(LinkId(0)) };
    check("choosing a route", || table.decide(question));

    let hsm = &*world.hsm;
    let (current, new) = (world.zone_pin(FIRST, &pan), world.zone_pin(SECOND, &pan));
    let (account, reference) = (pan.account12(), world.reference(&pan));
    check("the PIN work of a change", || {
        let change = Change {
            current: &current.into(),
            new: &new.into(),
            account: &account,
            method: &world.product.method,
            reference: &reference,
            rules: &world.product.rules,
        };
        let verdict = hsm.verify_and_derive(&change).now_or_never().unwrap();
        assert!(matches!(verdict, Ok(ChangeVerdict::Right(_))));
    });

    let zak = hsm.key("zak").unwrap();
    let mac = hsm.mac(zak, message).now_or_never().unwrap().unwrap();
    check("checking and making a MAC", || {
        let right = hsm.verify_mac(zak, message, &mac).now_or_never().unwrap();
        assert_eq!(right, Ok(Verdict::Right));
        hsm.mac(zak, message).now_or_never().unwrap().unwrap()
    });
}

/// Connections and requests of the whole-path test: enough of each that what is not per request fades.
const CONNECTIONS: u64 = 4;
const IN_FLIGHT: u64 = 32;
const ROUNDS: u64 = 40;
const WARM_UP_ROUNDS: u64 = 10;
/// The four of a request on the runtime's threads: its key's entry at the claim, the card's after-image, the slot it
/// waits for its commit in, and its part of what several share: the buffer one read fills (a request keeps its frame),
/// a block of the commit queue (one for 32), tables that grow.
const RUNTIME_MAX: f64 = 4.0;
/// Of committer and engine: key and value of the record, the engine's copies of them, the index's node, and parts.
const OTHERS_MAX: f64 = 8.0;

#[test]
fn the_whole_path_allocates_a_known_few() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(|| WHOSE.set(RUNTIME))
        .build()
        .unwrap();
    let (drain, drained) = watch::channel(false);
    let (address, serving) = serve(&world, &runtime, dir.path(), drained);

    let each = IN_FLIGHT * (WARM_UP_ROUNDS + ROUNDS);
    let mut clients: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let first = number * each;
            let frames = (first..first + each).map(|n| world.frame(n, n)).collect();
            Client { stream: TcpStream::connect(address).unwrap(), frames, sent: 0 }
        })
        .collect();
    let mut rounds = |count: u64| {
        for _ in 0..count {
            clients.iter_mut().for_each(Client::send);
            clients.iter_mut().for_each(Client::receive);
        }
    };
    WHOSE.set(TEST);
    rounds(WARM_UP_ROUNDS);
    let before = COUNTS.each_ref().map(|count| count.load(Ordering::Relaxed));
    rounds(ROUNDS);
    let after = COUNTS.each_ref().map(|count| count.load(Ordering::Relaxed));
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let per_request = |whose: usize| {
        (after[whose] - before[whose]) as f64 / (CONNECTIONS * IN_FLIGHT * ROUNDS) as f64
    };
    let (on_runtime, others) = (per_request(RUNTIME), per_request(OTHERS));
    assert!(on_runtime <= RUNTIME_MAX, "{on_runtime} on the runtime's threads, {others} beside");
    assert!(others <= OTHERS_MAX, "{others} beside the runtime's threads, {on_runtime} on them");

    drop(clients);
    drain.send(true).unwrap();
    runtime.block_on(serving).unwrap();
}

struct Client {
    stream: TcpStream,
    frames: Vec<Vec<u8>>,
    sent: usize,
}

impl Client {
    /// One write for all that are in flight at once, as a busy peer sends them.
    fn send(&mut self) {
        let end = self.sent + usize::try_from(IN_FLIGHT).unwrap();
        self.stream.write_all(&self.frames[self.sent..end].concat()).unwrap();
        self.sent = end;
    }

    fn receive(&mut self) {
        for _ in 0..IN_FLIGHT {
            let mut length = [0; 2];
            self.stream.read_exact(&mut length).unwrap();
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            self.stream.read_exact(&mut answer).unwrap();
            let dialect = Dialect::builtin("iso87-ascii").unwrap();
            let mut layout = Layout::new();
            let message = decode(&dialect, &answer, &mut layout).unwrap();
            assert_eq!(message.value(39), Some(&b"00"[..]));
        }
    }
}

/// A switch with one link, listening.
fn serve(
    world: &World,
    runtime: &tokio::runtime::Runtime,
    dir: &std::path::Path,
    drained: watch::Receiver<bool>,
) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let clock = SystemClock::start();
    let hsm = Arc::clone(&world.hsm);
    let options = StoreOptions::new(Arc::new(clock));
    let mut store = EmbeddedStore::open(dir, hsm.clone(), options).unwrap();
    let count = CONNECTIONS * IN_FLIGHT * (WARM_UP_ROUNDS + ROUNDS);
    generate::generate(
        &mut store,
        &*hsm,
        &world.product,
        1,
        count,
        |pan| Ok(world.reference(pan)),
        |_| {},
    )
    .unwrap();
    let rules = Rules { products: Products::new([world.product.clone()]), routes: routes() };
    let parts =
        pinion::switch::World { clock, hosts: None, hsm: hsm.clone(), store, vault: hsm.clone() };
    let switch = Arc::new(Switch::<Node>::new(parts, rules));
    let settings = Settings {
        id: LinkId(0),
        name: "atm-1".into(),
        listen: "127.0.0.1:0".parse().unwrap(),
        dialect: world.dialect.clone(),
        map: Arc::new(PinMap::of(&world.dialect).unwrap()),
        codes: Arc::new(Codes::of_dialect(&world.dialect).unwrap()),
        framing: Framing::BE2,
        pin_key: PinKey::Zone(hsm.key("zpk").unwrap()),
        pin_block_format: BlockFormat::Iso0,
        channel: Channel::Atm,
        rights: Rights { change: true, ..Rights::default() },
        institution: Tag::default(),
        wish: Wish::Fixed(None),
        mac: None,
        in_flight_max: 4096,
        connections_max: 16,
        timers: Timers::from_seconds(300, 10),
        request_time: Duration::from_secs(30),
        require_sign_on: false,
        allow: Vec::new(),
        tls: None,
        slow_request: Duration::from_secs(30),
        key_exchange: None,
    };
    let _runtime = runtime.enter();
    let listener = pinion::link::bind(settings.listen).unwrap();
    let address = listener.local_addr().unwrap();
    let link = Arc::new(Link::new(settings, switch));
    (address, runtime.spawn(pinion::link::serve(link, listener, drained)))
}
