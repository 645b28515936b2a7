//! Wrong guesses at a PIN: three, however many are made, however parallel, and whatever dies in between (design,
//! rule 2).
//!
//! **Never here:** the right PIN, which would set the count back.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::message::{Client, Message, verify};
use crate::support::node::{Node, Setup, WRONG};
use crate::support::{Random, let_pass};

#[test]
fn a_thousand_guesses_over_fifty_connections_buy_exactly_three() {
    let link = "in_flight = 2000";
    let node = Node::started(&Setup { link, cards: 1, ..Setup::DEFAULT });
    let (node, pan) = (&node, node.pans[0].as_str());
    let told: Vec<String> = std::thread::scope(|scope| {
        let guess = || {
            let mut client = Client::connect(node.atm);
            let guesses: Vec<_> = (0..20).map(|_| verify(pan, WRONG, node.number())).collect();
            client.codes(&guesses)
        };
        let guessers: Vec<_> = (0..50).map(|_| scope.spawn(guess)).collect();
        guessers.into_iter().flat_map(|guesser| guesser.join().expect("answers")).collect()
    });
    let count = |code: &str| told.iter().filter(|told| *told == code).count();
    assert_eq!((count("55"), count("75")), (3, 997));
}

/// What was told about one card, over all lives of the node.
#[derive(Debug, Default)]
struct Told {
    wrong: u64,
    exceeded: bool,
}

/// Four lives a group of cards, three groups: a kill comes somewhere around a guess at each of eight cards.
#[test]
fn kills_between_guesses_buy_none() {
    const CARDS: usize = 8;
    const LIVES: usize = 5;
    let mut random = Random::new("kills_between_guesses_buy_none");
    let mut node = Node::new(&Setup { cards: 3 * CARDS as u64, ..Setup::DEFAULT });
    let pans = node.pans.clone();
    let mut told: BTreeMap<&str, Told> = BTreeMap::new();
    let mut before = node.tries();
    for group in pans.chunks(CARDS) {
        for life in 0..LIVES {
            node.start();
            let mut client = Client::connect(node.atm);
            let guesses: BTreeMap<u32, &str> =
                group.iter().map(|pan| (node.number(), pan.as_str())).collect();
            let bytes: Vec<u8> =
                guesses.iter().flat_map(|(n, pan)| verify(pan, WRONG, *n).framed()).collect();
            client.write(&bytes).expect("written");
            // The last life is left to answer.
            if life + 1 < LIVES {
                let span = u64::try_from(random.below(4000)).expect("small");
                let_pass(Duration::from_micros(span));
                node.kill();
            }
            for _ in 0..CARDS {
                let Ok(answer) = client.read() else { break };
                note(&mut told, guesses[&answer.stan()], &answer);
            }
            if life + 1 == LIVES {
                node.stop();
            }
            let after = node.tries();
            for (at, pan) in pans.iter().enumerate() {
                let (was, is) = (before[at], after[at]);
                assert!(was <= is, "tries of card {at} went from {was} to {is}");
                let told = told.get(pan.as_str()).map_or(0, |told| told.wrong);
                assert!(told <= is, "card {at}: told {told}, counted {is}");
            }
            before = after;
        }
    }
    let most = told.values().map(|told| told.wrong).max();
    assert!(told.values().all(|told| told.wrong <= 3), "{told:?}");
    assert!(before.iter().all(|tries| *tries <= 3), "{before:?}");
    assert!(most.is_some_and(|most| 0 < most), "nothing was told at all: {told:?}");
    node.audit();
}

#[track_caller]
fn note<'a>(told: &mut BTreeMap<&'a str, Told>, pan: &'a str, answer: &Message) {
    let told = told.entry(pan).or_default();
    match answer.code() {
        "55" => {
            assert!(!told.exceeded, "a guess is judged after the tries were exceeded");
            told.wrong += 1;
        }
        "75" => told.exceeded = true,
        code => panic!("a guess is answered {code}"),
    }
}
