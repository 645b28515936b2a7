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

mod owners;
mod pins;
mod repeats;

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
