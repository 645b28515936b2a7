//! The ledger: callers that change PINs, hosts that fail in every way, and a switch that is killed over and over.
//!
//! Callers keep what they sent and what they were told. Each request has a terminal id of its own, by which it is
//! found in what the simulated hosts believe. At the end the two are compared, card by card: who was told 00 finds
//! the change at the host, who was told anything else does not, and nothing was done twice. `PINION_TEST_SEED` repeats
//! the decisions of callers and faults. **Never here:** a look into the switch's own files.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::message::{Client, Message, change, pans, reversal};
use crate::support::node::{Node, Setup};
use crate::support::peers::{BIN, Peers, SEED};
use crate::support::{Random, eventually, let_pass};

const KILLS: usize = 30;
const CALLERS: usize = 4;
const CARDS: usize = 240;
/// Requests one caller has on its way at a time, each for another card.
const WINDOW: usize = 8;
const PIN: &str = "917364";

/// One request with what became of it.
struct Line {
    card: usize,
    terminal: String,
    from: String,
    to: String,
    request: Message,
    told: String,
    /// Its reversal and what that was told.
    reversal: Option<(Message, String)>,
}

/// What a caller waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    Change,
    Reversal,
}

/// One caller: its cards, its book, its connection.
struct Caller<'a> {
    node: &'a Node,
    random: Random,
    pans: Vec<String>,
    /// The PIN of each card, as far as the caller was told.
    pins: Vec<String>,
    lines: Vec<Line>,
    /// By trace number: the line, and which of its two messages.
    waiting: BTreeMap<u32, (usize, Waits)>,
    answers: &'a AtomicUsize,
    client: Option<Client>,
}

impl Caller<'_> {
    fn run(mut self, stop: &AtomicBool) -> Vec<Line> {
        loop {
            let stopping = stop.load(Ordering::Relaxed);
            if stopping && self.waiting.is_empty() {
                return self.lines;
            }
            if self.client.is_none() {
                self.connect();
            }
            while !stopping && self.waiting.len() < WINDOW {
                self.ask();
            }
            let Some(client) = &mut self.client else { continue };
            match client.read() {
                Ok(answer) => self.take(&answer),
                // The switch was killed, most likely.
                Err(_) => self.client = None,
            }
        }
    }

    /// Connects to one of the links, and repeats there what is not answered.
    fn connect(&mut self) {
        let port = if self.random.below(2) == 0 { self.node.atm } else { self.node.other };
        let Ok(mut client) = Client::try_connect(port) else {
            return let_pass(Duration::from_millis(5));
        };
        let repeats = self.waiting.values().map(|(line, waits)| match waits {
            Waits::Change => self.lines[*line].request.clone().under("0101"),
            Waits::Reversal => {
                let (message, _) = self.lines[*line].reversal.as_ref().expect("a reversal");
                message.clone().under("0421")
            }
        });
        let bytes: Vec<u8> = repeats.flat_map(|message| message.framed()).collect();
        if client.write(&bytes).is_ok() {
            self.client = Some(client);
        }
    }

    fn send(&mut self, message: &Message) {
        if let Some(client) = &mut self.client
            && client.write(&message.framed()).is_err()
        {
            self.client = None;
        }
    }

    /// A change of a card that is not under way, from the PIN it must have.
    fn ask(&mut self) {
        let busy = |card| self.waiting.values().any(|(line, _)| self.lines[*line].card == card);
        let first = self.random.below(self.pans.len());
        let free = (first..first + self.pans.len()).map(|card| card % self.pans.len());
        let card = free.into_iter().find(|card| !busy(*card)).expect("more cards than places");
        let number = self.node.number();
        let from = self.pins[card].clone();
        let to = format!("{:06}", 100_000 + self.random.below(900_000));
        let terminal = format!("L{number:07}");
        let request = change(&self.pans[card], &from, &to, number).with(41, &terminal);
        self.waiting.insert(number, (self.lines.len(), Waits::Change));
        self.send(&request);
        let told = String::new();
        self.lines.push(Line { card, terminal, from, to, request, told, reversal: None });
    }

    fn take(&mut self, answer: &Message) {
        let (line, waits) = self.waiting[&answer.stan()];
        let code = answer.code();
        if code == "94" {
            // The first of the two is still being worked on: ask again.
            let again = match waits {
                Waits::Change => self.lines[line].request.clone().under("0101"),
                Waits::Reversal => {
                    self.lines[line].reversal.as_ref().expect("a reversal").0.clone().under("0421")
                }
            };
            let_pass(Duration::from_millis(3));
            return self.send(&again);
        }
        if code == "91" {
            // Nothing was sent: no node is there, or the card waits for its reversal.
            let_pass(Duration::from_millis(2));
        } else {
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
        self.waiting.remove(&answer.stan());
        match waits {
            Waits::Change => self.told(line, code),
            Waits::Reversal => {
                // A switch that stops or is full says 91; then the reversal is asked for again.
                if code == "91" {
                    let message = self.lines[line].reversal.as_ref().expect("a reversal").0.clone();
                    self.waiting.insert(message.stan(), (line, Waits::Reversal));
                    let_pass(Duration::from_millis(3));
                    return self.send(&message.under("0421"));
                }
                assert_eq!(code, "00", "the reversal of a change that was told 00");
                let line = &mut self.lines[line];
                line.reversal.as_mut().expect("a reversal").1 = code.to_owned();
                self.pins[line.card].clone_from(&line.from);
            }
        }
    }

    fn told(&mut self, at: usize, code: &str) {
        let line = &mut self.lines[at];
        line.told = code.to_owned();
        match code {
            "00" => {
                self.pins[line.card].clone_from(&line.to);
                match self.random.below(20) {
                    // Takes it back.
                    0 | 1 => {
                        let number = self.node.number();
                        let message = reversal(&line.request, number).with(41, &line.terminal);
                        line.reversal = Some((message.clone(), String::new()));
                        self.waiting.insert(number, (at, Waits::Reversal));
                        self.send(&message);
                    }
                    // Asks again: the stored answer.
                    2 => {
                        let again = line.request.clone().under("0101");
                        self.waiting.insert(again.stan(), (at, Waits::Change));
                        line.told.clear();
                        self.send(&again);
                    }
                    _ => {}
                }
            }
            // Unknown: it will be taken back. Nothing sent. Declined by a fault of the host.
            "68" | "91" | "C1" => {}
            _ => panic!("a change from the PIN that the card must have is answered {code}"),
        }
    }
}

/// What hosts do wrong, of every kind.
fn faults(seed: u64) -> Value {
    json!({ "seed": seed, "faults": {
        "delay": { "share": 0.02, "reversals": 0.05, "ms": 60 },
        "drop_answer": { "share": 0.006, "reversals": 0.10 },
        "answer_late": { "share": 0.006, "reversals": 0.05, "ms": 900 },
        "close_before": { "share": 0.004, "reversals": 0.05 },
        "close_after": { "share": 0.004, "reversals": 0.05 },
        "duplicate_answer": { "share": 0.02, "reversals": 0.05 },
        "wrong_stan": { "share": 0.006, "reversals": 0.03 },
        "garbage_frame": { "share": 0.004, "reversals": 0.03 },
        "garbage_bytes": { "share": 0.004, "reversals": 0.02 },
        "slow_bytes": { "share": 0.004, "reversals": 0.02, "ms": 60 },
        "fixed_code": { "share": 0.02, "code": "C1" },
        "refuse_sign_on": { "share": 0.05 },
    }})
}

#[test]
fn thirty_kills_with_faulty_hosts_and_both_ledgers_agree() {
    let mut random = Random::new("thirty_kills_with_faulty_hosts_and_both_ledgers_agree");
    let seed = random.next();
    let peers = Peers::start(CARDS, PIN, seed);
    let setup = Setup { level: "info", more: &peers.section(""), ..Setup::DEFAULT };
    let mut node = Node::new(&setup);
    let all = pans(BIN, SEED, CARDS as u64);
    for pan in &all {
        node.secrets.card(pan, PIN);
    }
    node.start();
    eventually("both nodes are up", || (node.metric("pinion_hosts_up", &[]) == 2).then_some(()));
    peers.tell("/faults", &faults(seed));

    let (stop, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut ledger: Vec<(usize, Vec<Line>)> = Vec::new();
    // Callers hold the node's ports and numbers while it dies and lives: the part that changes is the child.
    let child = node.take_child();
    let child = std::thread::scope(|scope| {
        let mut callers = Vec::new();
        for caller in 0..CALLERS {
            let part: Vec<String> = all.iter().skip(caller).step_by(CALLERS).cloned().collect();
            let caller_random = Random::seeded(random.next());
            let (node, answers, stop) = (&node, &answers, &stop);
            callers.push(scope.spawn(move || {
                let caller = Caller {
                    node,
                    random: caller_random,
                    pins: vec![PIN.to_owned(); part.len()],
                    pans: part,
                    lines: Vec::new(),
                    waiting: BTreeMap::new(),
                    answers,
                    client: None,
                };
                caller.run(stop)
            }));
        }
        let mut child = child;
        for _ in 0..KILLS {
            // Answers first, so that no life of the switch is spent on starting alone.
            let before = answers.load(Ordering::Relaxed);
            eventually("answers come", || {
                let failed = callers.iter().any(std::thread::ScopedJoinHandle::is_finished);
                (failed || before + 60 <= answers.load(Ordering::Relaxed)).then_some(())
            });
            let_pass(Duration::from_millis(u64::try_from(random.below(400)).expect("small")));
            child.kill().expect("killed");
            child.wait().expect("ended");
            child = node.spawn();
        }
        peers.tell("/faults", &json!({}));
        stop.store(true, Ordering::Relaxed);
        for (part, caller) in callers.into_iter().enumerate() {
            ledger.push((part, caller.join().expect("a caller that ends well")));
        }
        child
    });
    node.give_child(child);

    eventually("everything is settled", || {
        let (_, status) = node.page("/status")?;
        let status: Value = serde_json::from_str(&status).ok()?;
        (status["unsettled"] == 0).then_some(())
    });
    let state = peers.state();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (part, lines) in &ledger {
        let pans: Vec<&String> = all.iter().skip(*part).step_by(CALLERS).collect();
        compare(&state, &pans, lines, &mut counts);
    }
    eprintln!("told: {counts:?}; {} answers", answers.load(Ordering::Relaxed));
    for needed in ["00", "68"] {
        assert!(0 < counts.get(needed).copied().unwrap_or(0), "no request was told {needed}");
    }
    node.stop();
    node.audit();
    compare_journals(&state, &node.command(&["audit", "export"]));
}

/// What the switch's journal says of one forwarded change.
#[derive(Debug, Default)]
struct Journaled {
    outcome: String,
    host_code: bool,
    reopened: bool,
    settled: bool,
}

/// The switch's journal and the hosts' agree on every change, by its key.
#[track_caller]
fn compare_journals(state: &Value, exported: &str) {
    let mut journal: BTreeMap<String, Journaled> = BTreeMap::new();
    for line in exported.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        match line["kind"].as_str() {
            Some("intent") => journal.entry(text("key")).or_default().outcome = text("outcome"),
            Some("request") if !line["intent"].is_null() => {
                let change = journal.get_mut(&text("key")).expect("an intent before its outcome");
                change.outcome = text("outcome");
                change.host_code = !line["host_code"].is_null();
            }
            Some("request") if !line["reopens"].is_null() => {
                journal.get_mut(&text("reopens")).expect("a forwarded change").reopened = true;
            }
            Some("settled") => journal.get_mut(&text("key")).expect("a change").settled = true,
            _ => {}
        }
    }
    let mut at_host: BTreeMap<String, String> = BTreeMap::new();
    for change in state["cards"]
        .as_array()
        .expect("cards")
        .iter()
        .flat_map(|card| card["changes"].as_array().expect("changes"))
    {
        let key = change["switch_key"].as_str().expect("a key").to_lowercase();
        let state = change["state"].as_str().expect("a state").to_owned();
        assert!(journal.contains_key(&key), "{key}: a host has a change that the journal has not");
        assert_eq!(at_host.insert(key, state), None, "one change, one key");
    }
    for (key, change) in &journal {
        let state = at_host.get(key).map_or("absent", String::as_str);
        let taken_back = change.reopened || change.outcome == "outcome_unknown";
        let allowed: &[&str] = match (change.outcome.as_str(), taken_back) {
            (_, true) => &["absent", "declined", "reversed"],
            ("approved", false) => &["applied", "superseded"],
            ("not_sent", false) => &["absent"],
            (_, false) => &["absent", "declined"],
        };
        assert!(allowed.contains(&state), "{key}: {change:?}, but the host has it {state}");
        assert_eq!(
            taken_back, change.settled,
            "{key}: {change:?} is settled when it is taken back"
        );
        assert!(change.outcome != "host_declined" || change.host_code, "{key}: without its code");
    }
    assert!(500 < journal.len(), "only {} changes were forwarded", journal.len());
}

/// Compares one caller's book with what the hosts believe.
#[track_caller]
fn compare<'l>(
    state: &Value,
    pans: &[&String],
    lines: &'l [Line],
    counts: &mut BTreeMap<&'l str, usize>,
) {
    let cards = state["cards"].as_array().expect("cards");
    for (at, pan) in pans.iter().enumerate() {
        let mine: Vec<&Line> = lines.iter().filter(|line| line.card == at).collect();
        let Some(card) = cards.iter().find(|card| card["pan"] == pan.as_str()) else {
            assert!(
                mine.iter().all(|line| line.told != "00"),
                "a change told 00 is not at the host"
            );
            continue;
        };
        let changes = card["changes"].as_array().expect("changes");
        for line in &mine {
            *counts.entry(&line.told).or_default() += 1;
            let at_host: Vec<&Value> = changes
                .iter()
                .filter(|change| change["terminal"] == line.terminal.as_str())
                .collect();
            assert!(at_host.len() <= 1, "{}: two changes for one request", line.terminal);
            let state = at_host
                .first()
                .map_or("absent", |change| change["state"].as_str().expect("a state"));
            let processed = at_host
                .first()
                .map_or(0, |change| change["times_processed"].as_u64().expect("a count"));
            assert!(processed <= 1, "{}: applied {processed} times", line.terminal);
            let taken_back = line.reversal.as_ref().is_some_and(|(_, told)| told == "00");
            let allowed: &[&str] = match (line.told.as_str(), taken_back) {
                ("00", false) => &["applied", "superseded"],
                (_, true) => &["reversed"],
                (_, false) => &["absent", "declined", "reversed"],
            };
            assert!(
                allowed.contains(&state),
                "{}: told {}, reversed {taken_back}, but the host has it {state}",
                line.terminal,
                line.told
            );
        }
        let last = mine.iter().rev().find(|line| line.told == "00" && line.reversal.is_none());
        let want = last.map_or(PIN, |line| &line.to);
        assert_eq!(card["pin"], want, "the PIN of card {at} is not the last one told 00");
    }
}
