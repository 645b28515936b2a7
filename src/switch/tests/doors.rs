//! What HTTP doors ask for: sets, reveals, generated PINs, owners, cards by another identity, and both kinds of request
//! at once on one card.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use zeroize::Zeroizing;

use crate::card::embedded::{EmbeddedStore, StoreOptions};
use crate::card::product::{Product, Products};
use crate::card::record::{Identities, ProductKey};
use crate::card::{CardKey, CardRecord, Store};
use crate::domain::clock::{Now, SystemClock};
use crate::domain::forward::{HostId, Stan};
use crate::domain::memo::Memo;
use crate::domain::outcome::{HostCode, Outcome, Reason};
use crate::domain::owner::{ClientLimits, Owner};
use crate::domain::pan::Pan;
use crate::domain::pin::{
    BlockFormat, LmkPin, Method, NewPin, PinRules, PresentedPin, Reference, RevealedPin,
    RsaPadding, ZonePin,
};
use crate::domain::request::{CardName, IdentityKind, Operation, PinRequest, Rights};
use crate::domain::vault::Vault;
use crate::host::{Advice, Asked, Booking, Forward, HostAnswer, Hosts, NoHost, Zone};
use crate::hsm::key::{Algorithm, ClearKey, KeyType, TestKeys};
use crate::hsm::lmk::Lmk;
use crate::hsm::soft::SoftHsm;
use crate::hsm::{Hsm, Verdict};
use crate::route::{ProductRoute, Route, Table};
use crate::switch::tests as plain;
use crate::switch::tests::{PIN_1234, PIN_5678, PVV_1234, PVV_5678, check_counts};
use crate::switch::{Answer, ArrivedPin, Parts, Rules, Switch};

const VISA: &[u8] = plain::PAN;
const VIRTUAL: &[u8] = b"4761741111111111";
const VERVE: &[u8] = b"5060990000000151002";

enum Doors {}

impl Parts for Doors {
    type Clock = SystemClock;
    type Hosts = Nodes;
    type Hsm = Arc<SoftHsm>;
    type Store = EmbeddedStore;
}

/// Nodes that approve everything and tell what they were sent.
struct Nodes {
    zone: Zone,
    told: Sender<Sent>,
}

#[derive(Debug)]
struct Sent {
    pan: Pan,
    sequence: Option<u16>,
    expiry: Option<[u8; 4]>,
    current: ZonePin,
    new: ZonePin,
}

impl Hosts for Nodes {
    type Place = ();

    fn zone(&self) -> Option<Zone> {
        Some(self.zone)
    }

    fn reserve(&self) -> Result<(), NoHost> {
        Ok(())
    }

    fn booking(&self, (): &()) -> Booking {
        Booking { host: HostId(0), stan: Stan(1) }
    }

    async fn ask(&self, (): (), forward: &Forward<'_>, _deadline: Now) -> Asked {
        let sent = Sent {
            pan: forward.pan.clone(),
            sequence: forward.forwarded.sequence,
            expiry: forward.forwarded.details.expiry,
            current: *forward.current,
            new: *forward.new,
        };
        self.told.send(sent).unwrap();
        let code = HostCode::new(b"00").unwrap();
        Asked::Answered(HostAnswer { host: HostId(0), code, declined: None, later: false })
    }

    async fn reverse(&self, _advice: &Advice<'_>, _deadline: Now) -> Asked {
        Asked::NotSent(NoHost::Down)
    }
}

struct World {
    switch: Arc<Switch<Doors>>,
    hsm: Arc<SoftHsm>,
    sent: Receiver<Sent>,
    _directory: tempfile::TempDir,
}

fn world() -> World {
    let clock = SystemClock::start();
    let key = |name, key_type, hex: &str| {
        let bytes = Zeroizing::new(hex::decode(hex).unwrap());
        ClearKey::new(name, key_type, Algorithm::Tdes, bytes, TestKeys::Allowed).unwrap()
    };
    let rsa: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/vectors/rsa.json")).unwrap();
    let pkcs8 = hex::decode(rsa["keys"]["demo"]["pkcs8"].as_str().unwrap()).unwrap();
    let pair = Zeroizing::new(pkcs8);
    let keys = [
        key("zpk.atm", KeyType::Zpk, "2315208C9110AD40A8B6C7D5E5F20210"),
        key("zpk.postilion", KeyType::Zpk, "1F2F3D4C5B6B79890123456789ABCDEF"),
        key("pvk.visa", KeyType::Pvk, "0123456789ABCDEFFEDCBA9876543210"),
        ClearKey::new("rsa.demo", KeyType::Rsa, Algorithm::Rsa, pair, TestKeys::Allowed).unwrap(),
    ];
    let hsm = Arc::new(SoftHsm::from_clear(keys, &Lmk::demo(), Arc::new(clock)).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions::new(Arc::new(clock));
    let mut store = EmbeddedStore::open(directory.path(), hsm.clone(), options).unwrap();
    let mut bulk = store.bulk("test").unwrap();
    for card in cards(&hsm) {
        bulk.put(card, false).unwrap();
    }
    bulk.finish().unwrap();
    let (told, sent) = channel();
    let zone = Zone { key: hsm.key("zpk.postilion").unwrap(), format: BlockFormat::Iso0 };
    let hosts = Nodes { zone, told };
    let parts = crate::switch::World { clock, hosts, hsm: hsm.clone(), store, vault: hsm.clone() };
    let switch = Arc::new(Switch::new(parts, rules(&hsm)));
    World { switch, hsm, sent, _directory: directory }
}

fn rules(hsm: &SoftHsm) -> Rules {
    let visa = Product { allow_set: true, ..plain::product(hsm) };
    let no_current = PinRules { not_the_current: true, ..visa.rules.clone() };
    let virtuals = Product {
        name: "virtual".into(),
        key: ProductKey { organization: 602, logo: 1 },
        bin: "476174".into(),
        method: Method::LmkPin,
        rules: no_current,
        recoverable: true,
        ..visa
    };
    let verve = Product {
        name: "verve".into(),
        key: ProductKey { organization: 601, logo: 1 },
        bin: "506099".into(),
        ..visa.clone()
    };
    let route = |product: &Product, route| ProductRoute {
        name: product.name.clone(),
        bin: product.bin.clone(),
        route,
    };
    let routes =
        [route(&visa, Route::Cms), route(&virtuals, Route::Cms), route(&verve, Route::Postilion)];
    Rules { products: Products::new([visa, virtuals, verve]), routes: Table::of_products(routes) }
}

fn cards(hsm: &SoftHsm) -> [CardRecord; 3] {
    let of = |digits: &[u8], organization, identities| {
        let pan = Pan::parse(digits).unwrap();
        CardRecord {
            pan_hash: hsm.pan_hash(&pan),
            sealed_pan: hsm.seal_pan(&pan).unwrap(),
            product: ProductKey { organization, logo: 1 },
            identities: Some(Box::new(identities)),
            ..plain::card(hsm)
        }
    };
    let text = |text: &str| Some(Box::from(text));
    let owned = Identities {
        card_id: text("c-1"),
        external_user_id: text("u-1"),
        account_id: text("a-1"),
        person_id: text("p-1"),
        ..Identities::default()
    };
    let instrument = |id| Identities { payment_instrument: text(id), ..Identities::default() };
    let mut own = of(VIRTUAL, 602, owned);
    own.reference = Reference::Lmk(sealed(hsm, VIRTUAL, "7268"));
    let mut beyond = of(VERVE, 601, instrument("0009544410000000061"));
    (beyond.sequence, beyond.expiry) = (1, 5004);
    [of(VISA, 600, instrument("0009544410000000011")), own, beyond]
}

fn sealed(hsm: &SoftHsm, pan: &[u8], digits: &str) -> LmkPin {
    use futures_util::FutureExt;
    let account = Pan::parse(pan).unwrap().account12();
    let digits = Zeroizing::new(digits.as_bytes().to_vec());
    hsm.encrypt_pin(digits, &account).now_or_never().unwrap().unwrap()
}

fn by(kind: IdentityKind, value: &str) -> CardName {
    CardName::Identity { kind, value: value.into() }
}

fn virtual_card() -> CardName {
    by(IdentityKind::CardId, "c-1")
}

fn visa_card() -> CardName {
    by(IdentityKind::PaymentInstrument, "0009544410000000011")
}

fn verve_card() -> CardName {
    by(IdentityKind::PaymentInstrument, "0009544410000000061")
}

fn ask(key: u64, operation: Operation, card: CardName) -> PinRequest {
    PinRequest { card, ..plain::World::request(key, operation) }
}

impl World {
    fn set(&self, key: u64, card: CardName, pan: &[u8], digits: &str) -> PinRequest {
        let new = Some(sealed(&self.hsm, pan, digits).into());
        PinRequest { new, ..ask(key, Operation::Set, card) }
    }

    fn change(&self, key: u64, current: &str, new: &str) -> PinRequest {
        PinRequest {
            current: Some(sealed(&self.hsm, VISA, current).into()),
            ..PinRequest { operation: Operation::Change, ..self.set(key, visa_card(), VISA, new) }
        }
    }

    fn by_link(&self, key: u64, current: &str, new: &str) -> PinRequest {
        let block = |hex: &str| {
            let zpk = self.hsm.key("zpk.atm").unwrap();
            ZonePin::new(&hex::decode(hex).unwrap(), BlockFormat::Iso0, zpk).unwrap()
        };
        PinRequest {
            current: Some(block(current).into()),
            new: Some(block(new).into()),
            ..plain::World::request(key, Operation::Change)
        }
    }

    async fn answer(&self, request: &PinRequest) -> Answer {
        self.switch.handle(request).await
    }

    async fn told(&self, request: &PinRequest) -> Option<Reason> {
        self.answer(request).await.outcome.reason()
    }

    fn card(&self, pan: &[u8]) -> Arc<CardRecord> {
        let hash = self.hsm.pan_hash(&Pan::parse(pan).unwrap());
        self.switch.store().find(CardKey::Pan(hash, None)).unwrap()
    }

    async fn has_pin(&self, pan: &[u8], digits: &str) -> bool {
        let card = self.card(pan);
        let rules = rules(&self.hsm);
        let method = &rules.products.get(card.product).unwrap().method;
        let pin = sealed(&self.hsm, pan, digits).into();
        let account = Pan::parse(pan).unwrap().account12();
        let verdict = self.hsm.verify(&pin, &account, method, &card.reference).await;
        verdict.unwrap() == Verdict::Right
    }
}

fn shown(answer: &Answer) -> Option<&str> {
    let digits = answer.pin.as_ref().map(RevealedPin::expose_digits);
    digits.map(|digits| std::str::from_utf8(digits).unwrap())
}

fn generate(key: u64, card: CardName) -> PinRequest {
    PinRequest { new: Some(NewPin::Generate { digits: 4 }), ..ask(key, Operation::Set, card) }
}

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

/// RSA ciphertexts of the Python package cryptography, through the switch.
#[tokio::test]
async fn an_rsa_encrypted_pin_is_taken_in_or_refused_in_one_way() {
    let world = world();
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/vectors/rsa.json")).unwrap();
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
