//! Sets, reveals, generated PINs, PINs under an RSA key.

use super::*;

#[tokio::test]
async fn a_set_needs_no_current_pin_and_takes_back_the_tries() {
    let world = world();
    for key in 1..=3 {
        let wrong = PinRequest {
            current: Some(sealed(&world.hsm, VISA, "9999").into()),
            ..ask(key, Operation::Verify, visa_card())
        };
        assert_eq!(world.told(&wrong).await, Some(Reason::WrongPin));
    }
    assert_eq!(world.told(&world.change(4, "1234", "5678")).await, Some(Reason::TriesExceeded));
    assert_eq!(world.told(&world.set(5, visa_card(), VISA, "5678")).await, None);
    let card = world.card(VISA);
    assert_eq!(card.reference, Reference::Pvv(PVV_5678), "what psec computes");
    assert_eq!((card.pin_tries_used, card.changes), (0, 1));

    // By number as well, and undone like a change.
    let pan = CardName::Pan { pan: Pan::parse(VISA).unwrap(), sequence: None };
    assert_eq!(world.told(&world.set(6, pan, VISA, "1234")).await, None);
    assert_eq!(world.card(VISA).reference, Reference::Pvv(PVV_1234));
    assert_eq!(world.told(&plain::World::reverse(7, 6)).await, None);
    assert_eq!(world.card(VISA).reference, Reference::Pvv(PVV_5678));
}

#[tokio::test]
async fn a_set_is_refused_without_right_rule_or_pin() {
    let world = world();
    let set = |key, digits| world.set(key, virtual_card(), VIRTUAL, digits);
    let no_right = Rights { set: false, ..set(1, "1357").rights };
    let refused = PinRequest { rights: no_right, ..set(1, "1357") };
    assert_eq!(world.told(&refused).await, Some(Reason::ChannelNotAllowed));
    assert_eq!(world.told(&set(2, "7268")).await, Some(Reason::NewPinUnacceptable), "the current");
    assert_eq!(world.told(&set(3, "13579")).await, Some(Reason::NewPinUnacceptable), "length");
    let none = PinRequest { new: None, ..set(4, "1357") };
    assert_eq!(world.told(&none).await, Some(Reason::FormatError));
    let mut rules = rules(&world.hsm);
    let forbid = rules.products.iter().map(|p| Product { allow_set: false, ..(**p).clone() });
    rules.products = Products::new(forbid.collect::<Vec<_>>());
    world.switch.reload(rules);
    assert_eq!(world.told(&set(5, "1357")).await, Some(Reason::NotSupported));
    assert!(world.has_pin(VIRTUAL, "7268").await);
}

#[tokio::test]
async fn a_reveal_is_in_the_journal_before_the_pin_is_seen_and_again_on_a_repeat() {
    let world = world();
    let reveal = ask(1, Operation::Reveal, virtual_card());
    let before = world.switch.store().status().last_sequence;
    let answer = world.answer(&reveal).await;
    assert_eq!(shown(&answer), Some("7268"));
    let Outcome::Approved(receipt) = answer.outcome else { panic!("{answer:?}") };
    assert_eq!(receipt.sequence(), before + 1);
    assert!(!format!("{answer:?}").contains("7268"));

    let again = world.answer(&reveal).await;
    assert!(again.repeated);
    assert_eq!(shown(&again), Some("7268"));
    assert_eq!(world.switch.store().status().last_sequence, before + 2, "noted");
    assert_eq!(world.told(&world.set(2, virtual_card(), VIRTUAL, "1357")).await, None);
    assert_eq!(shown(&world.answer(&reveal).await), Some("1357"), "the PIN it has then");

    let no_right = Rights { reveal: false, ..reveal.rights };
    let refused = world.answer(&PinRequest { rights: no_right, ..reveal.clone() }).await;
    assert_eq!(refused.outcome.reason(), Some(Reason::ChannelNotAllowed));
    assert_eq!(refused.pin, None, "not on a repeat either");
    let other = Some(Box::new(Owner { person_id: Some("p-2".into()), ..Owner::default() }));
    let refused = world.answer(&PinRequest { owner: other, ..reveal.clone() }).await;
    assert_eq!((refused.outcome.reason(), refused.pin), (Some(Reason::CardUnknown), None));

    let kept_as_pvv = world.answer(&ask(3, Operation::Reveal, visa_card())).await;
    assert_eq!(kept_as_pvv.outcome.reason(), Some(Reason::NotRecoverable));
    assert_eq!(kept_as_pvv.pin, None);
}

#[tokio::test]
async fn a_generated_pin_is_told_and_told_again_while_it_is_the_cards() {
    let world = world();
    let request = generate(1, virtual_card());
    let first = world.answer(&request).await;
    let pin = shown(&first).unwrap().to_owned();
    assert_eq!(pin.len(), 4);
    assert!(world.has_pin(VIRTUAL, &pin).await);
    let version = world.card(VIRTUAL).version;
    let again = world.answer(&request).await;
    assert!(again.repeated);
    assert_eq!(shown(&again), Some(&*pin));
    assert_eq!(world.card(VIRTUAL).version, version, "a repeat changes nothing");

    let other = if pin == "1357" { "2468" } else { "1357" };
    assert_eq!(world.told(&world.set(2, virtual_card(), VIRTUAL, other)).await, None);
    let late = world.answer(&request).await;
    assert!(matches!(late.outcome, Outcome::Approved(_)));
    assert_eq!(late.pin, None, "the card has another one by now");
    assert!(world.has_pin(VIRTUAL, other).await);

    // A product that keeps a PVV tells it once.
    let request = generate(3, visa_card());
    let first = world.answer(&request).await;
    assert!(world.has_pin(VISA, shown(&first).unwrap()).await);
    let again = world.answer(&request).await;
    assert!(matches!(again.outcome, Outcome::Approved(_)) && again.repeated);
    assert_eq!(again.pin, None);
    let long = PinRequest { new: Some(NewPin::Generate { digits: 6 }), ..generate(4, visa_card()) };
    assert_eq!(world.told(&long).await, Some(Reason::NewPinUnacceptable));
}

/// RSA ciphertexts of the Python package cryptography, through the switch.
#[tokio::test]
async fn an_rsa_encrypted_pin_is_taken_in_or_refused_in_one_way() {
    let world = world();
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../../tests/vectors/rsa.json")).unwrap();
    let account = world.switch.account_of(&visa_card()).await.unwrap();
    let key = world.hsm.key("rsa.demo").unwrap();
    let mut cases = 0;
    for case in vectors["cases"].as_array().unwrap() {
        if case["key"] != "demo" || case["padding"] != "oaep-sha256" {
            continue;
        }
        let cipher = hex::decode(case["cipher"].as_str().unwrap()).unwrap();
        let padding = RsaPadding::OaepSha256;
        let pin = ArrivedPin::Rsa { key, cipher: &cipher, padding };
        let taken = world.switch.take_pin(&account, pin).await;
        match case["pin"].as_str() {
            Some(_) => assert!(taken.is_ok()),
            None => assert_eq!(taken, Err(Reason::NoPinInBlock)),
        }
        cases += 1;
    }
    assert_eq!(cases, 25);
}
