//! Kills under load, over and over on one directory: what was acknowledged is there, nothing is half there.
//!
//! Clients keep a ledger of what they sent and what was acknowledged. After each start the ledger is compared with
//! the node: the acknowledged PIN is right; a request in doubt was done or was not, and its repeat is approved
//! either way. **Never here:** a look into the store's files.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::message::{Client, Message, change, verify};
use crate::support::node::{Node, PINS, Setup, WRONG};
use crate::support::{Random, let_pass};

const KILLS: usize = 30;
const CLIENTS: usize = 4;
const WINDOW: usize = 12;
/// Cards whose PINs are changed, and behind them cards at which wrong guesses are made.
const CARDS: usize = 160;
const GUESSED: usize = 40;

/// The ledger of one card.
struct Card {
    pan: String,
    /// Which of [`PINS`] was acknowledged last.
    pin: usize,
    /// A change that was sent and not answered.
    doubt: Option<Message>,
}

/// The ledger of a card that is guessed at.
#[derive(Default)]
struct Guessed {
    told: u64,
    exceeded: bool,
}

fn cards(node: &Node, count: usize) -> Vec<Card> {
    let card = |pan: &String| Card { pan: pan.clone(), pin: 0, doubt: None };
    node.pans.iter().take(count).map(card).collect()
}

/// Changes PINs until the connection breaks, a window of requests at a time. Returns how many were acknowledged.
fn load(node: &Node, cards: &mut [Card], patient: bool) -> usize {
    let Ok(mut client) = Client::try_connect(node.atm) else { return 0 };
    let (mut sent, mut acknowledged, mut next) = (BTreeMap::new(), 0, 0);
    loop {
        while sent.len() < WINDOW {
            let card = &mut cards[next];
            let (current, new) = (PINS[card.pin], PINS[1 - card.pin]);
            let number = node.number();
            let request = change(&card.pan, current, new, number);
            let framed = request.framed();
            card.doubt = Some(request);
            sent.insert(number, next);
            next = (next + 1) % cards.len();
            if client.write(&framed).is_err() {
                break;
            }
        }
        let Ok(answer) = client.read() else { return acknowledged };
        let at = sent.remove(&answer.stan()).expect("an answer to one of the requests");
        match answer.code() {
            "00" => {
                cards[at].pin = 1 - cards[at].pin;
                acknowledged += 1;
            }
            // Read while the switch was stopping: refused, and so not done.
            "91" if patient => {}
            code => panic!("a change is answered {code}"),
        }
        cards[at].doubt = None;
    }
}

/// Guesses until the connection breaks or a handful is made.
fn guess(node: &Node, guessed: &mut [Guessed], first: usize) {
    let Ok(mut client) = Client::try_connect(node.other) else { return };
    for step in 0..6 {
        let at = (first + step) % guessed.len();
        let message = verify(&node.pans[CARDS + at], WRONG, node.number());
        if client.write(&message.framed()).is_err() {
            return;
        }
        let Ok(answer) = client.read() else { return };
        match answer.code() {
            "55" => {
                assert!(!guessed[at].exceeded, "a guess is judged after the tries were exceeded");
                guessed[at].told += 1;
                assert!(guessed[at].told <= 3, "a fourth guess at card {at} is judged");
            }
            "75" => guessed[at].exceeded = true,
            code => panic!("a guess is answered {code}"),
        }
    }
}

/// Finds out what became of each request in doubt, then compares every card. Returns how many had been done.
#[track_caller]
fn settle(node: &Node, cards: &mut [Card]) -> usize {
    let mut client = Client::connect(node.atm);
    let mut done = 0;
    for (at, card) in cards.iter_mut().enumerate() {
        let Some(request) = card.doubt.take() else { continue };
        let (old, new) = (PINS[card.pin], PINS[1 - card.pin]);
        // Of every other card the state is looked at first: one of the two PINs is right, never neither.
        if at % 2 == 0 {
            match client.code(&verify(&card.pan, new, node.number())).as_str() {
                "00" => done += 1,
                "55" => {
                    let code = client.code(&verify(&card.pan, old, node.number()));
                    assert_eq!(code, "00", "card {at}: neither the old nor the new PIN is right");
                }
                code => panic!("card {at}: the new PIN is answered {code}"),
            }
        }
        // Done before the kill: the stored answer. Not done: it is done now.
        let repeat = client.code(&request.under("0101"));
        assert_eq!(repeat, "00", "card {at}: the repeat of a request in doubt");
        card.pin = 1 - card.pin;
    }
    compare(&mut client, node, cards);
    done
}

#[track_caller]
fn compare(client: &mut Client, node: &Node, cards: &[Card]) {
    let right = |card: &Card| verify(&card.pan, PINS[card.pin], node.number());
    let requests: Vec<_> = cards.iter().map(right).collect();
    let wrong: Vec<_> =
        client.codes(&requests).into_iter().enumerate().filter(|(_, code)| code != "00").collect();
    assert!(wrong.is_empty(), "acknowledged PINs that are not right: {wrong:?}");
}

#[test]
fn thirty_kills_under_load_lose_nothing_acknowledged() {
    let mut random = Random::new("thirty_kills_under_load_lose_nothing_acknowledged");
    let count = (CARDS + GUESSED) as u64;
    let mut node = Node::new(&Setup { cards: count, level: "info", ..Setup::DEFAULT });
    let mut cards = cards(&node, CARDS);
    let mut guessed: Vec<Guessed> = (0..GUESSED).map(|_| Guessed::default()).collect();
    let mut tries = node.tries();
    let (mut acknowledged, mut doubted, mut done) = (0, 0, 0);
    for round in 0..KILLS {
        node.start();
        done += settle(&node, &mut cards);
        let span = Duration::from_millis(u64::try_from(5 + random.below(295)).expect("small"));
        let part = CARDS / CLIENTS;
        std::thread::scope(|scope| {
            let node = &node;
            let loads: Vec<_> = cards
                .chunks_mut(part)
                .map(|part| scope.spawn(|| load(node, part, false)))
                .collect();
            let attempts = scope.spawn(|| guess(node, &mut guessed, round * 2));
            let_pass(span);
            node.signal(Signal::KILL);
            for load in loads {
                acknowledged += load.join().expect("a load without refusals");
            }
            attempts.join().expect("guesses");
        });
        node.kill();
        doubted += cards.iter().filter(|card| card.doubt.is_some()).count();
        // Of three starts one finds the directory as the kill left it.
        match round % 3 {
            0 => node.audit(),
            1 => check_tries(&node, &guessed, &mut tries),
            _ => {}
        }
    }
    node.start();
    done += settle(&node, &mut cards);
    node.stop();
    node.audit();
    check_tries(&node, &guessed, &mut tries);
    eprintln!("{acknowledged} acknowledged, {doubted} in doubt, of which {done} seen done");
    assert!(KILLS < acknowledged, "the load was none");
}

/// No card has fewer wrong guesses counted than were told, nor fewer than before.
#[track_caller]
fn check_tries(node: &Node, guessed: &[Guessed], before: &mut Vec<u64>) {
    let after = node.tries();
    for (at, guessed) in guessed.iter().enumerate() {
        let (was, is) = (before[CARDS + at], after[CARDS + at]);
        assert!(was <= is, "tries of card {at} went from {was} to {is}");
        assert!(guessed.told <= is && is <= 3, "card {at}: told {}, counted {is}", guessed.told);
    }
    *before = after;
}

/// SIGTERM: what was read is answered, and what was answered is durable. What was not answered was not done.
#[test]
fn a_stop_under_load_answers_what_it_read() {
    let mut random = Random::new("a_stop_under_load_answers_what_it_read");
    let mut node = Node::new(&Setup { cards: CARDS as u64, level: "info", ..Setup::DEFAULT });
    let mut cards = cards(&node, CARDS);
    for _ in 0..5 {
        node.start();
        let span = Duration::from_millis(u64::try_from(20 + random.below(150)).expect("small"));
        let part = CARDS / CLIENTS;
        let acknowledged = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for part in cards.chunks_mut(part) {
                scope.spawn(|| acknowledged.fetch_add(load(&node, part, true), Ordering::Relaxed));
            }
            let_pass(span);
            node.signal(Signal::TERM);
        });
        let status = node.ended();
        assert!(status.success(), "{status}");
        node.start();
        let mut client = Client::connect(node.atm);
        for (at, card) in cards.iter_mut().enumerate() {
            if card.doubt.take().is_some() {
                let code = client.code(&verify(&card.pan, PINS[card.pin], node.number()));
                assert_eq!(code, "00", "card {at}: a change that was not answered was done");
            }
        }
        compare(&mut client, &node, &cards);
        drop(client);
        node.stop();
        assert!(0 < acknowledged.load(Ordering::Relaxed), "the load was none");
    }
    node.audit();
}
