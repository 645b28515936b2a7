//! Two switches over one PostgreSQL: what one promises, both keep, whoever dies (design, "Stores").
//!
//! Four scenarios: the same requests to both switches; a switch killed while hosts swallow answers; the primary of the
//! database killed and its synchronous standby promoted; a database that stands still. Each but the last runs
//! `PINION_TEST_ROUNDS` rounds; a few by default, `tests/active-active.sh 20` for the whole. **Never here:** a look
//! into the database's tables: what holds is seen from outside, and in the audit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::caller::{CALLERS, Caller, Line, PIN};
use crate::support::database::{GUARDED, Network, make};
use crate::support::message::{Client, Message, change, pans, verify};
use crate::support::node::{Node, PINS, WRONG};
use crate::support::pair::Pair;
use crate::support::peers::{BIN, Peers, SEED};
use crate::support::postgres::{Cluster, Order};
use crate::support::{PATIENCE, Random, compare, eventually, let_pass, poll};

const CLIENTS: usize = 4;
/// Cards whose PINs are changed, and behind them cards at which wrong guesses are made.
const CARDS: usize = 80;
const GUESSED: usize = 8;

/// How often a scenario is run: `few` unless the environment says otherwise.
fn rounds(few: usize) -> usize {
    let given = std::env::var("PINION_TEST_ROUNDS").ok();
    given.map_or(few, |text| text.parse().expect("PINION_TEST_ROUNDS is a number"))
}

/// Sends one request to both switches at once and gives what each says in the end: while one works on it, the other
/// says that it is in progress, and is asked again.
#[track_caller]
fn ask_both(clients: &mut [Client; 2], request: &Message) -> [String; 2] {
    for client in clients.iter_mut() {
        client.write(&request.framed()).expect("written");
    }
    let repeat = request.clone().under("0101");
    clients.each_mut().map(|client| {
        let mut code = client.read().expect("an answer").code().to_owned();
        let mut left = 2000;
        while code == "94" && 0 < left {
            let_pass(Duration::from_millis(2));
            code = client.code(&repeat);
            left -= 1;
        }
        code
    })
}

/// The same requests to both switches: one change each, whatever both say at first, and never more than three guesses.
#[test]
fn the_same_requests_to_both_switches() {
    let cluster = Cluster::start(&[]);
    for round in 0..rounds(2) {
        let name = format!("both_{round}");
        cluster.create(&name, "template0");
        let mut pair = Pair::new(&cluster.url(&name), (CARDS + GUESSED) as u64, |_| String::new());
        pair.start();
        for node in &pair.nodes {
            let (code, told, said) = node.attempt(&["check", "--against-store"]);
            assert_eq!(code, Some(0), "{said}");
            assert!(told.contains("agrees   yes with faults (node "), "{told}");
        }
        let (all, guessed) = pair.nodes[0].pans.split_at(CARDS);
        let (mut told, mut wrong) = (0, BTreeMap::<&str, u64>::new());
        std::thread::scope(|scope| {
            let pair = &pair;
            let parts = all.chunks(CARDS / CLIENTS);
            let changers: Vec<_> =
                parts.map(|cards| scope.spawn(move || change_on_both(pair, cards))).collect();
            let guessers: Vec<_> =
                (0..2).map(|_| scope.spawn(move || guess_on_both(pair, guessed))).collect();
            told = changers.into_iter().map(|changer| changer.join().expect("answers")).sum();
            for pan in guessers.into_iter().flat_map(|guesser| guesser.join().expect("answers")) {
                *wrong.entry(pan).or_default() += 1;
            }
        });
        assert_eq!(wrong.len(), GUESSED, "every card was guessed at");
        assert!(wrong.values().all(|wrong| *wrong == 3), "{wrong:?}");
        pair.stop();
        let tries = pair.nodes[0].tries();
        assert!(tries[CARDS..].iter().all(|tries| *tries == 3), "{:?}", &tries[CARDS..]);
        assert_eq!(changes_in(&pair.nodes[0]), told, "one record of each change, on one node");
        pair.nodes[0].audit();
        cluster.remove(&name);
    }
}

/// Changes the PINs of these cards, each by one request to both. Returns how many.
fn change_on_both(pair: &Pair, cards: &[String]) -> usize {
    const CHANGES: usize = 60;
    let mut clients = pair.nodes.each_ref().map(|node| Client::connect(node.atm));
    let mut pins = vec![0; cards.len()];
    for step in 0..CHANGES {
        let at = step % cards.len();
        let (from, to) = (PINS[pins[at]], PINS[1 - pins[at]]);
        let request = change(&cards[at], from, to, pair.number());
        let codes = ask_both(&mut clients, &request);
        assert_eq!(codes, ["00", "00"], "a change sent to both");
        pins[at] = 1 - pins[at];
    }
    // Both know the PIN, and not the other one.
    for (at, pan) in cards.iter().enumerate() {
        for client in &mut clients {
            let code = client.code(&verify(pan, PINS[pins[at]], pair.number()));
            assert_eq!(code, "00", "the PIN told last");
        }
    }
    CHANGES
}

/// Guesses at each of these cards, more often than it has tries. Returns the card of each guess that was told wrong.
fn guess_on_both<'a>(pair: &Pair, cards: &'a [String]) -> Vec<&'a str> {
    let mut clients = pair.nodes.each_ref().map(|node| Client::connect(node.atm));
    let mut wrong = Vec::new();
    for pan in (0..5).flat_map(|_| cards) {
        let codes = ask_both(&mut clients, &verify(pan, WRONG, pair.number()));
        assert_eq!(codes[0], codes[1], "one answer a request");
        match codes[0].as_str() {
            "55" => wrong.push(pan.as_str()),
            "75" => {}
            code => panic!("a guess is answered {code}"),
        }
    }
    wrong
}

/// Approved changes in the audit of all nodes. No key is there twice.
#[track_caller]
pub(crate) fn changes_in(node: &Node) -> usize {
    let exported = node.command(&["audit", "export"]);
    let mut keys: Vec<String> = exported
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .filter(|line| line["kind"] == "request" && line["outcome"] == "approved")
        .filter(|line| line["operation"] == "change")
        .map(|line| line["key"].as_str().expect("a key").to_owned())
        .collect();
    let all = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), all, "a change is in the audit twice");
    all
}

/// One switch dies under load while hosts swallow answers; the other goes on and takes its reversals over. Both books
/// agree, as in `ledger`.
#[test]
fn a_switch_dies_and_the_other_takes_its_reversals_over() {
    const FORWARDED: usize = 160;
    let mut random = Random::new("a_switch_dies_and_the_other_takes_its_reversals_over");
    let seed = random.next();
    let cluster = Cluster::start(&[]);
    cluster.create("taken_over", "template0");
    let peers = Peers::start(FORWARDED, PIN, seed);
    let more = |stans: &str| peers.section(stans);
    let mut pair = Pair::new(&cluster.url("taken_over"), 1, more);
    let all = pans(BIN, SEED, FORWARDED as u64);
    for node in &mut pair.nodes {
        for pan in &all {
            node.secrets.card(pan, PIN);
        }
    }
    pair.start();
    for node in &pair.nodes {
        eventually("the hosts are up", || (node.metric("pinion_hosts_up", &[]) == 2).then_some(()));
    }
    let (stop, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut ledger: Vec<Vec<Line>> = Vec::new();
    let mut children = pair.nodes.each_mut().map(|node| Some(node.take_child()));
    let mut taken_over = 0;
    std::thread::scope(|scope| {
        let mut callers = Vec::new();
        for which in 0..CALLERS {
            let caller = Caller::new(&pair.ports(), &all, which, random.next(), &answers);
            callers.push(scope.spawn(|| caller.run(&stop)));
        }
        for round in 0..rounds(2) {
            peers.tell("/faults", &swallowing(seed.wrapping_add(round as u64)));
            let before = answers.load(Ordering::Relaxed);
            eventually("answers come", || {
                let failed = callers.iter().any(std::thread::ScopedJoinHandle::is_finished);
                (failed || before + 80 <= answers.load(Ordering::Relaxed)).then_some(())
            });
            let_pass(Duration::from_millis(u64::try_from(random.below(300)).expect("small")));
            let dying = round % 2;
            let mut child = children[dying].take().expect("running");
            child.kill().expect("killed");
            child.wait().expect("ended");
            // What waited there for its reversal is reversed by the one that lives, which has its own and the dead
            // one's. What was in flight is the dead one's until it is back, or its time is over.
            peers.tell("/faults", &json!({}));
            let living = &pair.nodes[1 - dying];
            // It may have been started a moment ago.
            let left = eventually("the one that lives says", || {
                Some(unsettled(living)).filter(|left| *left != usize::MAX)
            });
            let sent = poll(PATIENCE, || (unsettled(living) == 0).then_some(()));
            assert!(sent.is_some(), "{} changes are not taken over", unsettled(living));
            taken_over += left;
            children[dying] = Some(pair.nodes[dying].spawn());
        }
        stop.store(true, Ordering::Relaxed);
        for caller in callers {
            ledger.push(caller.join().expect("a caller that ends well"));
        }
    });
    for (node, child) in pair.nodes.iter_mut().zip(children) {
        node.give_child(child.expect("running"));
        eventually("everything is settled", || (unsettled(node) == 0).then_some(()));
    }
    let state = peers.state();
    let counts = compare::books(&state, &all, &ledger);
    eprintln!("told: {counts:?}; {} answers; {taken_over} taken over", answers.into_inner());
    for needed in ["00", "68"] {
        assert!(0 < counts.get(needed).copied().unwrap_or(0), "no request was told {needed}");
    }
    assert!(0 < taken_over, "no change was taken over");
    pair.stop();
    pair.nodes[0].audit();
    compare::journals(&state, &pair.nodes[0].command(&["audit", "export"]));
}

/// Hosts that do what they are asked and often do not say so, to requests and to reversals.
fn swallowing(seed: u64) -> Value {
    json!({ "seed": seed, "faults": {
        "delay": { "share": 0.05, "reversals": 0.05, "ms": 60 },
        "drop_answer": { "share": 0.15, "reversals": 0.60 },
        "answer_late": { "share": 0.02, "reversals": 0.05, "ms": 900 },
        "close_after": { "share": 0.01, "reversals": 0.05 },
    }})
}

/// How many changes wait for their reversal, on both switches: asked of the database, since what /status counts may
/// be a second old.
fn unsettled(node: &Node) -> usize {
    let page = node.page("/admin/unsettled");
    let listed = page.and_then(|(_, page)| serde_json::from_str::<Value>(&page).ok());
    listed.and_then(|listed| Some(listed["unsettled"].as_array()?.len())).unwrap_or(usize::MAX)
}

/// What one card's holder was told.
struct Card {
    pan: String,
    /// Which of [`PINS`] was acknowledged last.
    pin: usize,
    /// A change that was not acknowledged: it was done or was not.
    doubt: Option<Message>,
}

/// How far one load is.
#[derive(Default)]
struct Progress {
    acknowledged: AtomicUsize,
    refused: AtomicUsize,
}

/// What each of them has in a count.
fn counts(all: &[Progress], of: fn(&Progress) -> &AtomicUsize) -> Vec<usize> {
    all.iter().map(|progress| of(progress).load(Ordering::Relaxed)).collect()
}

/// Changes the PINs of these cards over one of the links until told to stop. What is not told 00 stays in doubt. The
/// switches live, so every request has its answer.
fn load(pair: &Pair, port: u16, cards: &mut [Card], stop: &AtomicBool, progress: &Progress) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut client) = Client::try_connect(port) else {
            let_pass(Duration::from_millis(5));
            continue;
        };
        for card in &mut *cards {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            // A request in doubt is asked again, until it is known.
            let request = card.doubt.take().map_or_else(
                || change(&card.pan, PINS[card.pin], PINS[1 - card.pin], pair.number()),
                |doubted| doubted.under("0101"),
            );
            card.doubt = Some(request.clone());
            match client.code(&request).as_str() {
                "00" => {
                    card.doubt = None;
                    card.pin = 1 - card.pin;
                    progress.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                // The database is away: refused, or nobody knows yet.
                "91" | "94" | "96" => {
                    progress.refused.fetch_add(1, Ordering::Relaxed);
                    let_pass(Duration::from_millis(2));
                }
                code => panic!("a change is answered {code}"),
            }
        }
    }
}

/// The primary dies under load, and its synchronous standby takes over: whatever was acknowledged is there.
#[test]
fn the_primary_dies_and_its_standby_has_everything() {
    const STANDBY: &str = "pinion_standby";
    let mut random = Random::new("the_primary_dies_and_its_standby_has_everything");
    let mut primary = Cluster::start(&[]);
    primary.create("promoted", "template0");
    let mut standby = primary.standby(STANDBY, None);
    let mut pair =
        Pair::new(&primary.url_with(&standby, "promoted"), CARDS as u64, |_| String::new());
    let card = |pan: &String| Card { pan: pan.clone(), pin: 0, doubt: None };
    let mut cards: Vec<Card> = pair.nodes[0].pans.iter().map(card).collect();
    pair.start();
    let (progress, mut doubted) = (<[Progress; CLIENTS]>::default(), 0);
    for _ in 0..rounds(2) {
        let named = format!("ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'");
        primary.psql("postgres", &named);
        primary.psql("postgres", "SELECT pg_reload_conf()");
        eventually("the standby is synchronous", || {
            let sync = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
            (primary.psql("postgres", sync) == "1").then_some(())
        });
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (pair, stop, links) = (&pair, &stop, pair.ports());
            let parts = cards.chunks_mut(CARDS / CLIENTS).zip(links).zip(&progress);
            for ((part, port), progress) in parts {
                scope.spawn(move || load(pair, port, part, stop, progress));
            }
            let_pass(Duration::from_millis(u64::try_from(300 + random.below(700)).expect("small")));
            primary.order(Order::Vanish);
            assert_eq!(standby.psql("postgres", "SELECT pg_promote(true, 60)"), "t", "promoted");
            // Both find the new primary by themselves, and work goes on.
            for node in &pair.nodes {
                eventually("the switch is ready again", || {
                    node.page("/ready").filter(|(status, _)| *status == 200)
                });
            }
            let_pass(Duration::from_millis(200));
            stop.store(true, Ordering::Relaxed);
        });
        doubted += settle(&pair, &mut cards);
        // The next standby stands where the dead primary stood, so that the switches find it.
        let port = primary.port();
        let next = standby.standby(STANDBY, Some(port));
        primary = std::mem::replace(&mut standby, next);
    }
    let acknowledged: usize = counts(&progress, |p| &p.acknowledged).iter().sum();
    eprintln!("{acknowledged} acknowledged, {doubted} in doubt at the end of their load");
    assert!(100 < acknowledged, "the load was none");
    pair.stop();
    pair.nodes[0].audit();
}

/// The network to the database stands still, first while nothing happens, then under load. Connections stay, and
/// nothing comes back. Everybody is answered meanwhile, and `/ready` tells; both switches go on by themselves, and what
/// nobody knew is known then.
#[test]
fn a_database_that_stands_still_leaves_nobody_without_an_answer() {
    let cluster = &*GUARDED;
    make(cluster, "still", "pinion");
    let network = Network::to(cluster.port());
    let url = format!("postgresql://pinion@127.0.0.1:{}/still", network.port);
    let mut pair = Pair::new(&url, CARDS as u64, |_| String::new());
    let card = |pan: &String| Card { pan: pan.clone(), pin: 0, doubt: None };
    let mut cards: Vec<Card> = pair.nodes[0].pans.iter().map(card).collect();
    pair.start();
    let until_ready_says = |status: u16| {
        for node in &pair.nodes {
            eventually("/ready says it", || node.page("/ready").filter(|page| page.0 == status));
        }
    };
    // Nothing is written, so nobody but who asks can find out.
    network.stand_still(true);
    let mut clients = pair.nodes.each_ref().map(|node| Client::connect(node.atm));
    let question = verify(&cards[0].pan, PINS[0], pair.number());
    for client in &mut clients {
        client.write(&question.framed()).expect("written");
    }
    let told = clients.each_mut().map(|client| client.read().expect("an answer").code().to_owned());
    assert_eq!(told, ["96", "96"], "nothing can be asked");
    until_ready_says(503);
    let why = pair.nodes.each_ref().map(|node| node.page("/ready").expect("a page").1);
    assert!(why.iter().all(|why| why.contains("in time")), "{why:?}");
    network.stand_still(false);
    until_ready_says(200);

    let (stop, progress) = (AtomicBool::new(false), <[Progress; CLIENTS]>::default());
    let more = |of: fn(&Progress) -> &AtomicUsize| {
        let before = counts(&progress, of);
        eventually("each load goes on", || {
            let all = counts(&progress, of).into_iter().zip(&before);
            all.into_iter().all(|(now, before)| before + 20 <= now).then_some(())
        });
    };
    std::thread::scope(|scope| {
        let (pair, stop) = (&pair, &stop);
        let parts = cards.chunks_mut(CARDS / CLIENTS).zip(pair.ports()).zip(&progress);
        for ((part, port), progress) in parts {
            scope.spawn(move || load(pair, port, part, stop, progress));
        }
        more(|p| &p.acknowledged);
        network.stand_still(true);
        more(|p| &p.refused);
        until_ready_says(503);
        network.stand_still(false);
        until_ready_says(200);
        more(|p| &p.acknowledged);
        stop.store(true, Ordering::Relaxed);
    });
    let doubted = settle(&pair, &mut cards);
    pair.stop();
    let acknowledged: usize = counts(&progress, |p| &p.acknowledged).iter().sum();
    assert_eq!(changes_in(&pair.nodes[0]), acknowledged + doubted, "each request is one change");
    pair.nodes[0].audit();
}

/// Asks again for each change in doubt, then compares every card on both switches. Returns how many were in doubt.
#[track_caller]
fn settle(pair: &Pair, cards: &mut [Card]) -> usize {
    let mut clients = pair.nodes.each_ref().map(|node| Client::connect(node.atm));
    let mut doubted = 0;
    for (at, card) in cards.iter_mut().enumerate() {
        if let Some(request) = card.doubt.take() {
            doubted += 1;
            let [code, _] = ask_both(&mut clients, &request.under("0101"));
            assert_eq!(code, "00", "card {at}: the repeat of a request in doubt");
            card.pin = 1 - card.pin;
        }
        for client in &mut clients {
            let code = client.code(&verify(&card.pan, PINS[card.pin], pair.number()));
            assert_eq!(code, "00", "card {at}: the PIN that was acknowledged last");
        }
    }
    doubted
}
