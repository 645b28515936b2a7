//! Opens the store a command names: by a configuration file, or by the directory of a demo.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Runtime;

use crate::card::embedded::{Bulk, BulkError, EmbeddedStore};
use crate::card::postgres::PostgresStore;
use crate::card::product::Product;
use crate::card::transfer::MakeReference;
use crate::card::{CardKey, CardRecord, Cards, Load, Store as _, StoreError};
use crate::cli::cards::{OpenCards, Place};
use crate::cli::demo;
use crate::cli::{Failure, boot};
use crate::domain::clock::SystemClock;
use crate::domain::pan::Pan;
use crate::domain::pin::{PinRules, Reference};
use crate::hsm::module::Module;
use crate::hsm::{Hsm, HsmError};
use crate::limits::STORE_IMPORT_ROWS;
use crate::ops::config::Config;

/// Lengths a PIN may have at all (ISO 9564-1): the product's own rules are for cardholders, not for imports.
const ANY_LENGTH: u16 = 0b1_1111_1111_0000;
/// How often and at what distance a question is asked again while connections to the database come up.
const READ_TRIES: usize = 100;
const READ_PAUSE: Duration = Duration::from_millis(20);

/// The store with everything that reading and writing cards needs.
pub(super) fn open_cards(place: &Place) -> Result<OpenCards, Failure> {
    let (config, hsm, clock) = keys(place)?;
    let products = boot::rules(&config, &*hsm)?.products;
    let store = open(&config, hsm.clone(), clock)?;
    let reference = reference(&config, hsm.clone())?;
    Ok(OpenCards { store, vault: hsm, products, reference })
}

/// The store alone.
pub(super) fn open_store(place: &Place) -> Result<OpenStore, Failure> {
    let (config, hsm, clock) = keys(place)?;
    open(&config, hsm, clock)
}

fn open(config: &Config, hsm: Arc<Module>, clock: SystemClock) -> Result<OpenStore, Failure> {
    let Some(postgres) = &config.store.postgres else {
        return boot::open_embedded(config, hsm, clock).map(OpenStore::Embedded);
    };
    let runtime = crate::cli::serve::runtime(config)?;
    let store = runtime.block_on(boot::connect(config, postgres, hsm, clock))?;
    Ok(OpenStore::Postgres(store, runtime))
}

/// A store that a command has: of a stopped switch, or of a database beside the switches that run.
pub(super) enum OpenStore {
    /// In a directory.
    Embedded(EmbeddedStore),
    /// In a database, with what waits for it.
    Postgres(PostgresStore, Runtime),
}

impl OpenStore {
    /// How many cards there are.
    pub(super) fn cards_count(&self) -> anyhow::Result<u64> {
        match self {
            Self::Embedded(store) => Ok(store.status().cards as u64),
            Self::Postgres(store, runtime) => Ok(runtime.block_on(store.count_cards())?),
        }
    }

    /// The card, if there is exactly one.
    pub(super) fn find(&self, key: CardKey<'_>) -> anyhow::Result<Option<Arc<CardRecord>>> {
        match self {
            Self::Embedded(store) => Ok(store.find(key)),
            // Its connections for reading come up behind: the first question may find none.
            Self::Postgres(store, runtime) => runtime.block_on(async {
                for _ in 0..READ_TRIES {
                    match store.card(key).await {
                        Err(StoreError::Unavailable) => tokio::time::sleep(READ_PAUSE).await,
                        answer => return Ok(answer?),
                    }
                }
                Ok(store.card(key).await?)
            }),
        }
    }

    /// Stops it.
    pub(super) fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Embedded(store) => Ok(store.close()?),
            Self::Postgres(store, runtime) => {
                runtime.block_on(store.close());
                Ok(())
            }
        }
    }
}

/// A load into one of them.
pub(super) enum OpenLoad<'a> {
    Embedded(Bulk<'a>),
    Postgres(DatabaseLoad<'a>),
}

/// A load into a database: whole statements of cards, each on its own. One that is dropped is noted as incomplete.
pub(super) struct DatabaseLoad<'a> {
    store: &'a PostgresStore,
    runtime: &'a Runtime,
    source: Box<str>,
    waiting: Vec<CardRecord>,
    replace: bool,
    cards: u64,
    complete: bool,
}

impl Cards for OpenStore {
    type Load<'a> = OpenLoad<'a>;

    fn check_new(&self, card: &CardRecord, replace: bool) -> Result<(), BulkError> {
        match self {
            Self::Embedded(store) => store.check_new(card, replace),
            // The database itself refuses an identity that names another card.
            Self::Postgres(..) if replace => Ok(()),
            Self::Postgres(..) => {
                let found = self.find(CardKey::Pan(card.pan_hash, Some(card.sequence)));
                match found {
                    Ok(None) => Ok(()),
                    Ok(Some(_)) => Err(BulkError::Exists),
                    Err(_) => Err(StoreError::Unavailable.into()),
                }
            }
        }
    }

    fn load(&mut self, source: &str) -> Result<OpenLoad<'_>, BulkError> {
        match self {
            Self::Embedded(store) => Ok(OpenLoad::Embedded(store.bulk(source)?)),
            Self::Postgres(store, runtime) => Ok(OpenLoad::Postgres(DatabaseLoad {
                store,
                runtime,
                source: source.into(),
                waiting: Vec::with_capacity(STORE_IMPORT_ROWS),
                replace: false,
                cards: 0,
                complete: false,
            })),
        }
    }

    fn each_card(&self, visit: &mut (dyn FnMut(&CardRecord) + Send)) -> Result<(), BulkError> {
        match self {
            Self::Embedded(store) => Cards::each_card(store, visit),
            Self::Postgres(store, runtime) => {
                Ok(runtime.block_on(store.each_card(|card| visit(card)))?)
            }
        }
    }
}

impl Load for OpenLoad<'_> {
    fn put(&mut self, card: CardRecord, replace: bool) -> Result<(), BulkError> {
        match self {
            Self::Embedded(bulk) => bulk.put(card, replace),
            Self::Postgres(load) => {
                load.replace = replace;
                load.waiting.push(card);
                if load.waiting.len() < STORE_IMPORT_ROWS { Ok(()) } else { load.write() }
            }
        }
    }

    fn finish(self) -> Result<u64, BulkError> {
        match self {
            Self::Embedded(bulk) => bulk.finish(),
            Self::Postgres(mut load) => {
                load.write()?;
                load.complete = true;
                load.note()?;
                Ok(load.cards)
            }
        }
    }
}

impl DatabaseLoad<'_> {
    fn write(&mut self) -> Result<(), BulkError> {
        self.runtime.block_on(self.store.import(&self.waiting, self.replace))?;
        self.cards += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }

    fn note(&self) -> Result<(), StoreError> {
        let note = self.store.note_import(&self.source, self.cards, self.complete);
        self.runtime.block_on(note).map(drop)
    }
}

impl Drop for DatabaseLoad<'_> {
    fn drop(&mut self) {
        if !self.complete
            && 0 < self.cards
            && let Err(error) = self.note()
        {
            tracing::error!(%error, "that the import is incomplete is not in the audit");
        }
    }
}

fn keys(place: &Place) -> Result<(Config, Arc<Module>, SystemClock), Failure> {
    let clock = boot::clock();
    if let Some(data) = &place.data {
        let config = demo::world::configuration(0, data, demo::world::family(data))?;
        let world = crate::sim::world::World::embedded().context("demo world")?;
        let hsm = demo::world::hsm(&config, &world, clock)?;
        return Ok((config, hsm, clock));
    }
    let file = place.config.as_ref().context("neither --config nor --data")?;
    let config = Config::load(file)?;
    let hsm = boot::open_hsm(&config, clock)?;
    Ok((config, hsm, clock))
}

/// Makes references of the PINs that test cards are imported with: through the LMK, as everywhere. The first PIN that
/// comes connects to the devices.
fn reference(config: &Config, hsm: Arc<Module>) -> Result<Box<MakeReference<'static>>, Failure> {
    let runtime = crate::cli::serve::runtime(config)?;
    let devices = OnceCell::new();
    Ok(Box::new(move |product: &Product, pan: &Pan, pin: Option<&str>| {
        let pin = pin.ok_or("no PVV, offset, PIN under the LMK, or PIN for tests")?;
        let connected = devices.get_or_init(|| runtime.block_on(hsm.start()));
        if connected.is_err() {
            return Err("a device says that a key is another: see `pinion serve`");
        }
        runtime.block_on(make(&hsm, product, pan, pin)).map_err(|error| match error {
            HsmError::Unavailable => "the HSM does not answer",
            _ => "the HSM refuses the PIN: 4 to 12 digits",
        })
    }))
}

async fn make(
    hsm: &Module,
    product: &Product,
    pan: &Pan,
    pin: &str,
) -> Result<Reference, HsmError> {
    let account = pan.account12();
    let digits = zeroize::Zeroizing::new(pin.as_bytes().to_vec());
    let new = hsm.encrypt_pin(digits, &account).await?.into();
    let rules = PinRules { lengths: ANY_LENGTH, ..PinRules::default() };
    hsm.derive(&new, &account, &product.method, &rules, &Reference::None).await
}
