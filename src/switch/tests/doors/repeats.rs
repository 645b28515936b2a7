//! The same request twice, and a door and a link at once on one card.

use super::*;

#[tokio::test]
async fn the_digest_of_a_body_tells_a_repeat_from_a_duplicate() {
    let world = world();
    let with = |digest, pin| PinRequest {
        fingerprint: Some(digest),
        ..world.set(1, virtual_card(), VIRTUAL, pin)
    };
    assert_eq!(world.told(&with(10, "1357")).await, None);
    assert!(world.answer(&with(10, "1357")).await.repeated);
    assert_eq!(world.told(&with(11, "2468")).await, Some(Reason::Duplicate));
    // Without one, another identity under the same key is another request.
    let set = world.set(2, virtual_card(), VIRTUAL, "2468");
    assert_eq!(world.told(&set).await, None);
    let other = PinRequest { card: by(IdentityKind::CardId, "c-2"), ..set };
    assert_eq!(world.told(&other).await, Some(Reason::Duplicate));
    assert!(world.has_pin(VIRTUAL, "2468").await);
}

#[tokio::test]
async fn a_memo_is_in_the_audit_before_the_result() {
    let world = world();
    let before = world.switch.store().status().last_sequence;
    let memo = Memo::new("BIOMETRIC_FACE");
    let reveal = PinRequest { memo, ..ask(1, Operation::Reveal, virtual_card()) };
    let answer = world.answer(&reveal).await;
    let Outcome::Approved(receipt) = answer.outcome else { panic!("{answer:?}") };
    assert_eq!(receipt.sequence(), before + 2, "the memo's note came first");
    let report = world.switch.store().verify_audit(|_| ()).unwrap();
    assert_eq!(report.last, before + 2);
}

/// A door and a link at once on one card: one winner, and the card has the winner's PIN.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_door_and_a_link_at_once_on_one_card() {
    let world = world();
    let (mut door_won, mut link_won) = (0, 0);
    for round in 0..200 {
        let key = 10 * round + 10;
        let requests =
            [world.change(key, "1234", "2580"), world.by_link(key + 1, PIN_1234, PIN_5678)];
        let [door, link] = requests.map(|request| {
            let switch = Arc::clone(&world.switch);
            tokio::spawn(async move { switch.handle(&request).await.outcome.reason() })
        });
        let told = [door.await.unwrap(), link.await.unwrap()];
        check_counts(&told, &[(None, 1), (Some(Reason::WrongPin), 1)]);
        let (new, won) =
            if told[0].is_none() { ("2580", &mut door_won) } else { ("5678", &mut link_won) };
        *won += 1;
        assert!(world.has_pin(VISA, new).await, "round {round}: {told:?}");
        // The loser's try is taken back with it.
        assert_eq!(world.told(&world.set(key + 2, visa_card(), VISA, "1234")).await, None);
    }
    assert_eq!(world.card(VISA).version, 600, "three commits a round, none lost");
    assert_eq!(door_won + link_won, 200);
}

/// The same request by many tasks at once: one change, whatever door it came by.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_idempotency_key_at_once_is_one_set() {
    let world = world();
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (switch, request) = (Arc::clone(&world.switch), generate(1, virtual_card()));
            tokio::spawn(async move { switch.handle(&request).await })
        })
        .collect();
    let mut seen = std::collections::HashSet::new();
    for task in tasks {
        let answer = task.await.unwrap();
        match answer.outcome.reason() {
            None => drop(seen.insert(shown(&answer).unwrap().to_owned())),
            reason => assert_eq!(reason, Some(Reason::InProgress)),
        }
    }
    assert_eq!(seen.len(), 1, "one PIN");
    assert_eq!(world.card(VIRTUAL).version, 1);
}
