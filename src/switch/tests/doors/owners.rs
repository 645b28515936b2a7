//! Cards of owners, and cards by another identity than their number.

use super::*;

#[tokio::test]
async fn a_card_of_another_owner_is_a_card_unknown() {
    let world = world();
    let text = |text: &str| Some(Box::from(text));
    let right = Owner {
        external_user_id: text("u-1"),
        account_id: text("a-1"),
        person_id: text("p-1"),
        organization: Some(602),
        limits: Some(Arc::new(ClientLimits {
            organizations: Some([600, 602].into()),
            bins: Some(["476174".into()].into()),
        })),
    };
    let limits = |organizations: &[u16], bin: &str| {
        let bins = Some([Box::from(bin)].into());
        Some(Arc::new(ClientLimits { organizations: Some(organizations.into()), bins }))
    };
    let wrong = [
        Owner { external_user_id: text("u-2"), ..right.clone() },
        Owner { account_id: text(""), ..right.clone() },
        Owner { person_id: text("P-1"), ..right.clone() },
        Owner { organization: Some(600), ..right.clone() },
        Owner { limits: limits(&[600], "476174"), ..right.clone() },
        Owner { limits: limits(&[602], "476173"), ..right.clone() },
    ];
    let pan = CardName::Pan { pan: Pan::parse(VIRTUAL).unwrap(), sequence: None };
    let mut key = 100;
    for name in [virtual_card(), pan] {
        for owner in &wrong {
            key += 1;
            let owner = Some(Box::new(owner.clone()));
            let request = PinRequest { owner, ..world.set(key, name.clone(), VIRTUAL, "1357") };
            let sequence = world.switch.store().status().last_sequence;
            assert_eq!(world.told(&request).await, Some(Reason::CardUnknown));
            assert_eq!(world.switch.store().status().last_sequence, sequence + 1, "durable");
            assert!(world.answer(&request).await.repeated);
        }
        key += 1;
        let owner = Some(Box::new(right.clone()));
        let reveal = PinRequest { owner, ..ask(key, Operation::Reveal, name) };
        assert_eq!(shown(&world.answer(&reveal).await), Some("7268"), "untouched");
    }
    // Not there at all: the same answer, and as durable.
    for card in [by(IdentityKind::CardId, "c-9"), by(IdentityKind::PanToken, "c-1")] {
        key += 1;
        let account = world.switch.account_of(&card).await.unwrap();
        let clear = ArrivedPin::Clear(Zeroizing::new(b"1357".to_vec()));
        let pin = world.switch.take_pin(&account, clear).await.unwrap();
        let request = PinRequest { new: Some(pin.into()), ..ask(key, Operation::Set, card) };
        assert_eq!(world.told(&request).await, Some(Reason::CardUnknown));
        assert!(world.answer(&request).await.repeated);
    }
    // A number of Postilion without a record: its BIN tells the organization, and nobody can own it.
    let beyond = |key, owner| PinRequest {
        owner: Some(Box::new(owner)),
        card: CardName::Pan { pan: Pan::parse(b"5060990000000999999").unwrap(), sequence: None },
        ..world.change(key, "1234", "5678")
    };
    let organization =
        |organization| Owner { organization: Some(organization), ..Owner::default() };
    assert_eq!(world.told(&beyond(1, organization(600))).await, Some(Reason::CardUnknown));
    let person = Owner { person_id: text("p-1"), ..Owner::default() };
    assert_eq!(world.told(&beyond(2, person)).await, Some(Reason::CardUnknown));
    assert!(world.sent.try_recv().is_err(), "nothing was sent");
}

/// A card beyond us, named by payment instrument: the node gets number, sequence number and expiry of the record, and
/// blocks under its own zone key that hold the PINs.
#[tokio::test]
async fn a_card_by_identity_is_forwarded_with_its_number() {
    let world = world();
    let account = world.switch.account_of(&verve_card()).await.unwrap();
    let take = async |digits: &[u8]| {
        let clear = ArrivedPin::Clear(Zeroizing::new(digits.to_vec()));
        world.switch.take_pin(&account, clear).await.unwrap()
    };
    let (current, new) = (take(b"1234").await, take(b"2580").await);
    let change = PinRequest {
        current: Some(current.into()),
        new: Some(new.into()),
        ..ask(1, Operation::Change, verve_card())
    };
    let answer = world.answer(&change).await;
    assert_eq!(answer.outcome.reason(), None);
    assert_eq!(answer.route, Some(Route::Postilion));
    let sent = world.sent.try_recv().unwrap();
    assert_eq!(sent.pan.expose_digits(), VERVE);
    assert_eq!((sent.sequence, sent.expiry), (Some(1), Some(*b"5004")));
    let zpk = world.hsm.key("zpk.postilion").unwrap();
    assert_eq!((sent.current.key(), sent.new.key()), (zpk, zpk));
    for (block, pin) in [(sent.current, current), (sent.new, new)] {
        let (block, reference) = (PresentedPin::Zone(block), Reference::Lmk(pin));
        let same = world.hsm.verify(&block, &account, &Method::LmkPin, &reference).await;
        assert_eq!(same, Ok(Verdict::Right));
    }
    let forwarded = world.switch.store().forwarded(change.key, None).await.unwrap().unwrap();
    let hash = world.hsm.pan_hash(&Pan::parse(VERVE).unwrap());
    assert_eq!(forwarded.entry.pan_hash, Some(hash), "its reversal is found by card");

    for (request, want) in [
        (PinRequest { current: None, ..change.clone() }, Reason::FormatError),
        (world.set(0, verve_card(), VERVE, "2580"), Reason::NotSupported),
        (ask(0, Operation::Reveal, verve_card()), Reason::NotSupported),
        (
            PinRequest { new: Some(NewPin::Generate { digits: 4 }), ..change.clone() },
            Reason::NotSupported,
        ),
    ] {
        let request = PinRequest { key: plain::key_of(9), fingerprint: Some(7), ..request };
        let key =
            plain::key_of(900 + u64::from(want.code()) * 10 + u64::from(request.operation.code()));
        assert_eq!(world.told(&PinRequest { key, ..request }).await, Some(want));
    }
    assert!(world.sent.try_recv().is_err(), "nothing more was sent");
}
