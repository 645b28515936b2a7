//! Opens the store a command names: by a configuration file, or by the directory of a demo.

use std::cell::OnceCell;
use std::sync::Arc;

use anyhow::Context;

use crate::card::embedded::EmbeddedStore;
use crate::card::product::Product;
use crate::card::transfer::MakeReference;
use crate::cli::cards::{OpenCards, Place};
use crate::cli::demo;
use crate::cli::{Failure, boot};
use crate::domain::clock::SystemClock;
use crate::domain::pan::Pan;
use crate::domain::pin::{PinRules, Reference};
use crate::hsm::module::Module;
use crate::hsm::{Hsm, HsmError};
use crate::ops::config::Config;

/// Lengths a PIN may have at all (ISO 9564-1): the product's own rules are for cardholders, not for imports.
const ANY_LENGTH: u16 = 0b1_1111_1111_0000;

/// The store with everything that reading and writing cards needs.
pub(super) fn open_cards(place: &Place) -> Result<OpenCards, Failure> {
    let (config, hsm, clock) = keys(place)?;
    let products = boot::rules(&config, &*hsm)?.products;
    let store = boot::open_store(&config, hsm.clone(), clock)?;
    let reference = reference(&config, hsm.clone())?;
    Ok(OpenCards { store, vault: hsm, products, reference })
}

/// The store alone.
pub(super) fn open_store(place: &Place) -> Result<EmbeddedStore, Failure> {
    let (config, hsm, clock) = keys(place)?;
    boot::open_store(&config, hsm, clock)
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
