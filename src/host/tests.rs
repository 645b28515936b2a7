//! Nodes against a scripted peer on a real socket: what a request ends as, whatever the peer does.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::timeout;

use crate::domain::forward::Stan;
use crate::domain::outcome::{HostCode, Reason};
use crate::host::testing::{Peer, Request, Talk, settings, world};
use crate::host::{
    Asked, BreakerState, HostAnswer, Hosts, KeyTaker, NewKeyError, NoHost, Nodes, Refused, Running,
    Settings,
};

/// Longer than any request waits here, shorter than a reader's patience.
const LONG: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(50);

fn start(settings: Settings) -> (Arc<Nodes>, Running) {
    let (clock, taker) = world();
    Nodes::start(settings, clock, taker, Some(Stan(41))).unwrap()
}

/// One node, signed on.
async fn one(change: impl FnOnce(&mut Settings)) -> (Arc<Nodes>, Running, Peer, Talk) {
    let peer = Peer::listen().await;
    let mut settings = settings(std::slice::from_ref(&peer.address));
    change(&mut settings);
    let (nodes, running) = start(settings);
    let talk = peer.signed_on().await;
    until(&nodes, |nodes| nodes.status()[0].signed_on == 1).await;
    (nodes, running, peer, talk)
}

/// Two nodes, signed on.
async fn two(change: impl FnOnce(&mut Settings)) -> (Arc<Nodes>, Running, [Peer; 2], [Talk; 2]) {
    let peers = [Peer::listen().await, Peer::listen().await];
    let mut settings = settings(&[peers[0].address.clone(), peers[1].address.clone()]);
    change(&mut settings);
    let (nodes, running) = start(settings);
    let talks = [peers[0].signed_on().await, peers[1].signed_on().await];
    until(&nodes, |nodes| nodes.status().iter().all(|node| node.signed_on == 1)).await;
    (nodes, running, peers, talks)
}

/// Waits until the nodes look as wanted.
async fn until(nodes: &Nodes, wanted: impl Fn(&Nodes) -> bool) {
    let seen = timeout(LONG, async {
        while !wanted(nodes) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(seen.await.is_ok(), "never as wanted: {:?}", nodes.status());
}

/// Books a place and asks in a task of its own.
fn ask(nodes: &Arc<Nodes>, key: u8) -> tokio::task::JoinHandle<Asked> {
    let place = nodes.reserve().unwrap();
    ask_at(nodes, place, key)
}

fn ask_at(
    nodes: &Arc<Nodes>,
    place: <Nodes as Hosts>::Place,
    key: u8,
) -> tokio::task::JoinHandle<Asked> {
    let nodes = Arc::clone(nodes);
    tokio::spawn(async move {
        let request = Request::new(key, nodes.booking(&place));
        nodes.ask(place, &request.forward(), Duration::from_hours(1)).await
    })
}

#[track_caller]
fn answered(asked: Asked) -> HostAnswer {
    match asked {
        Asked::Answered(answer) => answer,
        other => panic!("not answered: {other:?}"),
    }
}

#[tokio::test]
async fn a_change_is_answered_and_its_code_comes_through() {
    let (nodes, _running, _peer, mut talk) = one(|_| {}).await;
    for (code, reason) in
        [("00", None), ("55", Some(Reason::WrongPin)), ("C1", Some(Reason::HostDeclined))]
    {
        let asked = ask(&nodes, 1);
        let request = talk.read().await;
        assert_eq!((&request[..4], talk.text(&request, 3).as_str()), (&b"0600"[..], "920000"));
        talk.answer(&request, code).await;
        let answer = answered(asked.await.unwrap());
        assert_eq!(answer.code, HostCode::new(code.as_bytes()).unwrap());
        assert_eq!(answer.declined.map(|declined| declined.reason), reason);
    }
    assert_eq!(nodes.status()[0].outstanding, 0);
}

#[tokio::test]
async fn trace_numbers_go_on_and_answers_come_in_any_order() {
    let (nodes, _running, _peer, mut talk) = one(|_| {}).await;
    let first = ask(&nodes, 1);
    let second = ask(&nodes, 2);
    let requests = [talk.read().await, talk.read().await];
    let mut stans = requests.each_ref().map(|request| talk.text(request, 11));
    stans.sort();
    let from: u32 = stans[0].parse().unwrap();
    assert!(42 < from, "one was the sign-on's");
    assert_eq!(stans[1].parse::<u32>().unwrap(), from + 1);
    let code = |request: &[u8]| if request.windows(4).any(|w| w == b"0101") { "00" } else { "55" };
    for request in requests.iter().rev() {
        talk.answer(request, code(request)).await;
    }
    assert_eq!(answered(first.await.unwrap()).declined, None);
    assert!(answered(second.await.unwrap()).declined.is_some());
}

#[tokio::test]
async fn a_connection_that_breaks_after_sending_leaves_the_outcome_unknown() {
    let (nodes, _running, peer, mut talk) = one(|_| {}).await;
    let asked = ask(&nodes, 1);
    let request = talk.read().await;
    let answer = talk.answer_to(&request, "00", &[]);
    talk.raw(&u16::try_from(answer.len()).unwrap().to_be_bytes()).await;
    talk.raw(&answer[..answer.len() / 2]).await;
    drop(talk);
    assert!(matches!(asked.await.unwrap(), Asked::Unknown(_)));
    // It comes back, and nothing is sent again.
    let mut talk = peer.signed_on().await;
    assert!(!talk.hears(SHORT).await);
}

#[tokio::test]
async fn what_was_not_sent_goes_to_the_other_node_exactly_once() {
    let (nodes, _running, [first, _second], [talk, mut other]) = two(|_| {}).await;
    let place = nodes.reserve().unwrap();
    assert_eq!(nodes.booking(&place).host.0, 0, "the first node's turn");
    let stan = nodes.booking(&place).stan;
    drop((talk, first));
    until(&nodes, |nodes| nodes.status()[0].connections == 0).await;
    let asked = ask_at(&nodes, place, 1);
    let request = other.read().await;
    assert_eq!(other.text(&request, 11).as_bytes(), stan.digits());
    other.answer(&request, "00").await;
    let answer = answered(asked.await.unwrap());
    assert_eq!(answer.host.0, 1);
    assert!(!other.hears(SHORT).await);
    let outstanding = nodes.status().iter().map(|node| node.outstanding).sum::<usize>();
    assert_eq!(outstanding, 0);
}

#[tokio::test]
async fn no_answer_is_unknown_and_a_late_one_disturbs_nobody() {
    let (nodes, _running, _peer, mut talk) = one(|_| {}).await;
    let asked = ask(&nodes, 1);
    let late = talk.read().await;
    assert!(matches!(asked.await.unwrap(), Asked::Unknown(_)));
    let asked = ask(&nodes, 2);
    let request = talk.read().await;
    talk.answer(&late, "00").await;
    talk.answer(&late, "00").await;
    talk.answer(&request, "55").await;
    assert!(answered(asked.await.unwrap()).declined.is_some());
    assert_eq!(nodes.status()[0].connections, 1);
}

#[tokio::test]
async fn answers_with_another_number_or_switch_key_are_not_taken() {
    let (nodes, _running, _peer, mut talk) = one(|_| {}).await;
    let asked = ask(&nodes, 1);
    let request = talk.read().await;
    for others in [&[(11, "999998")][..], &[(41, "ATM00043")]] {
        let wrong = talk.answer_to(&request, "00", others);
        talk.write(&wrong).await;
    }
    let mut wrong = talk.answer_to(&request, "00", &[]);
    let at = wrong.windows(4).rposition(|window| window == b"0101").unwrap();
    wrong[at] = b'9';
    talk.write(&wrong).await;
    let no_code = talk.answer_to(&request, "", &[]);
    talk.write(&no_code).await;
    talk.answer(&request, "55").await;
    talk.answer(&request, "00").await;
    assert_eq!(answered(asked.await.unwrap()).code.as_str(), "55");
}

#[tokio::test]
async fn garbage_in_a_frame_is_dropped_and_a_lost_place_closes() {
    let (nodes, _running, peer, mut talk) = one(|_| {}).await;
    let asked = ask(&nodes, 1);
    let request = talk.read().await;
    talk.write(b"0610 is no message").await;
    talk.write(&request).await;
    talk.answer(&request, "00").await;
    assert_eq!(answered(asked.await.unwrap()).declined, None);

    let asked = ask(&nodes, 2);
    talk.read().await;
    talk.raw(&[0xFF; 40]).await;
    assert!(matches!(asked.await.unwrap(), Asked::Unknown(_)));
    assert_eq!(talk.try_read().await, None);
    let _again = peer.signed_on().await;
    let why = nodes.status()[0].last_error.clone().unwrap();
    assert!(why.contains("longer than the limit"), "{why}");
}

#[tokio::test]
async fn a_refused_sign_on_takes_no_requests_and_is_tried_again() {
    let peer = Peer::listen().await;
    let (nodes, _running) = start(settings(std::slice::from_ref(&peer.address)));
    for _ in 0..2 {
        let mut talk = peer.accept().await;
        let sign_on = talk.read().await;
        assert_eq!(nodes.reserve().unwrap_err(), NoHost::Down);
        talk.answer(&sign_on, "91").await;
        assert_eq!(talk.try_read().await, None, "closed");
    }
    let _talk = peer.signed_on().await;
    until(&nodes, |nodes| nodes.reserve().is_ok()).await;
}

#[tokio::test]
async fn with_every_node_down_nothing_is_booked() {
    let peers = [Peer::listen().await, Peer::listen().await];
    let addresses = peers.each_ref().map(|peer| peer.address.clone());
    drop(peers);
    let (nodes, running) = start(settings(&addresses));
    until(&nodes, |nodes| nodes.status().iter().all(|node| node.last_error.is_some())).await;
    assert_eq!(nodes.reserve().unwrap_err(), NoHost::Down);
    timeout(LONG, running.stop()).await.expect("stops while it backs off");
    let (nodes, _running) = start(settings(&[]));
    assert_eq!((nodes.reserve().unwrap_err(), nodes.zone()), (NoHost::None, None));
}

#[tokio::test]
async fn the_peers_0800_is_answered_at_any_time() {
    let (nodes, _running, _peer, mut talk) = one(|_| {}).await;
    for (code, want) in [("301", "00"), ("001", "00"), ("201", "12"), ("101", "12"), ("002", "00")]
    {
        let message = talk.network(code, None);
        talk.write(&message).await;
        let answer = talk.read().await;
        assert_eq!(&answer[..4], b"0810");
        let given = [7, 11, 39, 70].map(|field| talk.text(&answer, field));
        assert_eq!(given.each_ref().map(String::as_str), ["1122073801", "654321", want, code]);
    }
    assert_eq!(nodes.reserve().unwrap_err(), NoHost::Down, "the node has signed off");
    let message = talk.network("001", None);
    talk.write(&message).await;
    talk.read().await;
    assert!(nodes.reserve().is_ok());
}

#[tokio::test]
async fn keys_are_pushed_and_asked_for() {
    let (nodes, _running, _peer, mut talk) = one(|_| {}).await;
    for (first, want) in [(0x4B, "00"), (0x00, "88")] {
        let message = talk.network("101", Some(&[first; 48]));
        talk.write(&message).await;
        let answer = talk.read().await;
        assert_eq!(talk.text(&answer, 39), want);
    }
    for (first, want) in [(0x4B, Ok(())), (0, Err(NewKeyError::ByUs(Refused { code: *b"88" })))] {
        let asking = tokio::spawn({
            let nodes = nodes.clone();
            async move { nodes.request_key("node-1").await }
        });
        let wish = talk.read().await;
        assert_eq!((&wish[..4], talk.text(&wish, 70).as_str()), (&b"0800"[..], "101"));
        let given = talk.key_answer(&wish, &[first; 48]);
        talk.write(&given).await;
        assert_eq!(asking.await.unwrap(), want);
    }
    assert_eq!(nodes.request_key("node-9").await, Err(NewKeyError::NoSuchNode));
}

#[tokio::test]
async fn silence_is_broken_by_an_echo() {
    let (_nodes, _running, peer, mut talk) = one(|settings| {
        settings.timers.echo = Duration::from_millis(60);
        settings.timers.answer = Duration::from_millis(60);
    })
    .await;
    for _ in 0..2 {
        let echo = talk.read().await;
        assert_eq!((&echo[..4], talk.text(&echo, 70).as_str()), (&b"0800"[..], "301"));
        talk.answer(&echo, "00").await;
    }
    talk.read().await;
    assert_eq!(talk.try_read().await, None, "an echo without an answer ends the connection");
    let _again = peer.signed_on().await;
}

#[tokio::test]
async fn a_reversal_goes_to_the_node_of_its_original_else_to_another() {
    let (nodes, _running, peers, [mut first, mut second]) = two(|_| {}).await;
    let place = nodes.reserve().unwrap();
    let request = Request::new(7, nodes.booking(&place));
    drop(place);
    let reverse = |repeat| {
        let (nodes, booking) = (nodes.clone(), request.forwarded.clone());
        tokio::spawn(async move {
            let mut request =
                Request::new(7, crate::host::Booking { host: booking.host, stan: booking.stan });
            request.forwarded = booking;
            let deadline = Duration::from_hours(1);
            timeout(LONG, nodes.reverse(&request.advice(repeat), deadline)).await
        })
    };
    let asked = reverse(false);
    let advice = first.read().await;
    assert_eq!(&advice[..4], b"0420");
    first.answer(&advice, "91").await;
    assert!(answered(asked.await.unwrap().unwrap()).later);

    drop((first, peers));
    until(&nodes, |nodes| nodes.status()[0].connections == 0).await;
    let asked = reverse(true);
    let repeat = second.read().await;
    assert_eq!(&repeat[..4], b"0421");
    assert_eq!(second.text(&repeat, 11).as_bytes(), request.forwarded.stan.digits());
    second.answer(&repeat, "00").await;
    let answer = answered(asked.await.unwrap().unwrap());
    assert_eq!((answer.host.0, answer.later, answer.declined), (1, false, None));
}

#[tokio::test]
async fn nodes_take_turns_and_a_full_one_is_busy() {
    let (nodes, _running, _peers, _talks) = two(|settings| settings.in_flight = 2).await;
    let places: Vec<_> = (0..4).map(|_| nodes.reserve().unwrap()).collect();
    let hosts: Vec<_> = places.iter().map(|place| nodes.booking(place).host.0).collect();
    assert_eq!(hosts, [0, 1, 0, 1]);
    assert_eq!(nodes.reserve().unwrap_err(), NoHost::Busy);
    drop(places);
    assert!(nodes.reserve().is_ok());
}

#[tokio::test]
async fn an_operator_takes_a_node_out_and_puts_it_back() {
    let (nodes, _running, _peers, _talks) = two(|_| {}).await;
    nodes.drain("node-1").unwrap();
    let hosts = || nodes.booking(&nodes.reserve().unwrap()).host.0;
    assert_eq!([hosts(), hosts()], [1, 1]);
    nodes.drain("node-2").unwrap();
    assert_eq!(nodes.reserve().unwrap_err(), NoHost::Down);
    nodes.resume("node-1").unwrap();
    assert_eq!(nodes.booking(&nodes.reserve().unwrap()).host.0, 0);
    assert!(nodes.drain("node-3").is_err());
    assert!(nodes.status()[1].drained);
}

#[tokio::test]
async fn a_node_that_swallows_requests_is_left_alone_and_probed() {
    let (nodes, _running, _peer, mut talk) = one(|settings| {
        settings.request_time = Duration::from_millis(20);
        settings.breaker.failures = 2;
        settings.breaker.open = Duration::from_millis(100);
    })
    .await;
    for key in 0..2 {
        assert!(matches!(ask(&nodes, key).await.unwrap(), Asked::Unknown(_)));
        talk.read().await;
    }
    assert_eq!(nodes.status()[0].breaker, BreakerState::Open);
    assert_eq!(nodes.reserve().unwrap_err(), NoHost::Down);
    until(&nodes, |nodes| nodes.status()[0].breaker == BreakerState::HalfOpen).await;
    let probe = ask(&nodes, 9);
    assert_eq!(nodes.reserve().unwrap_err(), NoHost::Down, "one at a time");
    let request = talk.read().await;
    talk.answer(&request, "00").await;
    assert_eq!(answered(probe.await.unwrap()).declined, None);
    assert_eq!(nodes.status()[0].breaker, BreakerState::Closed);
}

#[tokio::test]
async fn stopping_waits_for_answers_and_signs_off() {
    let (nodes, running, _peer, mut talk) = one(|_| {}).await;
    let asked = ask(&nodes, 1);
    let request = talk.read().await;
    let stopping = tokio::spawn(running.stop());
    until(&nodes, |nodes| nodes.reserve().is_err()).await;
    talk.answer(&request, "00").await;
    assert_eq!(answered(asked.await.unwrap()).declined, None);
    let sign_off = talk.read().await;
    assert_eq!(talk.text(&sign_off, 70), "002");
    talk.answer(&sign_off, "00").await;
    assert_eq!(talk.try_read().await, None);
    timeout(LONG, stopping).await.expect("stopped").unwrap();
}

/// A fault inside a connection ends that connection, is told as unknown to whoever waits, and the loop goes on.
#[tokio::test]
async fn a_panic_ends_one_connection_and_not_the_loop() {
    struct Faulty;
    impl KeyTaker for Faulty {
        fn take(&self, _field: &[u8]) -> BoxFuture<'_, Result<(), Refused>> {
            panic!("a fault in a test")
        }
    }
    let peer = Peer::listen().await;
    let (clock, _) = world();
    let settings = settings(std::slice::from_ref(&peer.address));
    let (nodes, _running) = Nodes::start(settings, clock, Arc::new(Faulty), None).unwrap();
    let mut talk = peer.signed_on().await;
    until(&nodes, |nodes| nodes.status()[0].signed_on == 1).await;
    let asked = ask(&nodes, 1);
    talk.read().await;
    let push = talk.network("101", Some(&[0x4B; 48]));
    talk.write(&push).await;
    assert!(matches!(asked.await.unwrap(), Asked::Unknown(_)));
    let mut talk = peer.signed_on().await;
    until(&nodes, |nodes| nodes.status()[0].signed_on == 1).await;
    let asked = ask(&nodes, 2);
    let request = talk.read().await;
    talk.answer(&request, "00").await;
    assert_eq!(answered(asked.await.unwrap()).declined, None);
}
