//! The demo world as parts of a node: its keys in a key file, its cards in the store, its ports shifted.
//!
//! `pinion demo` and the tests that start one share it. **Never here:** the tour (`tour`).

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};

use crate::card::CardRecord;
use crate::card::embedded::EmbeddedStore;
use crate::card::record::{Identities, ProductKey};
use crate::cli::demo::doors;
use crate::cli::{Failure, boot};
use crate::domain::clock::SystemClock;
use crate::domain::pin::Reference;
use crate::domain::vault::Vault;
use crate::hsm::Hsm;
use crate::hsm::key::{Algorithm, ClearKey, KeyType, TestKeys, check_value};
use crate::hsm::keyfile::KeyFile;
use crate::hsm::lmk::{Lmk, Use};
use crate::hsm::module::Module;
use crate::hsm::payshield::client::{KeyKind, Token};
use crate::hsm::payshield::simulator::{self, Kind};
use crate::hsm::payshield::wire::key::KeyType as TypeCode;
use crate::ops::config::{Address, Config, HsmDevice, HsmKey, HsmKind};
use crate::sim::postilion;
use crate::sim::world::{World, WorldCard};

/// Where the simulated nodes tell what they believe, and are told what to do wrong.
pub(crate) const NODES_ADMIN: u16 = 8590;

/// The demo's configuration file, the one in `deploy/demo/`.
const CONFIGURATION: &str = include_str!("../../../deploy/demo/pinion.toml");

/// Ports of the simulated devices, where the demo has some.
const DEVICES: [u16; 2] = [1500, 1510];
/// Key file of a demo with devices: it holds what no device does.
const KEYS_BESIDE_DEVICES: &str = "keys-payshield.toml";
/// Keys that only a demo with devices has: blocks pass through the one, the other holds new PINs against the rules.
/// Published like the rest of the world.
const KEYS_FOR_DEVICES: [(&str, KeyKind, &str); 2] = [
    ("zpk.transit", KeyKind::Zpk, "98519E45CBB9291F49EFAD4AFEFDDC79"),
    ("pvk.policy", KeyKind::Pvk, "0B169746643829CD0489A8AB8A268016"),
];

/// The family of the HSM with which a demo was begun in this directory.
pub(crate) fn family(data: &Path) -> HsmKind {
    if data.join(KEYS_BESIDE_DEVICES).exists() { HsmKind::Payshield } else { HsmKind::Soft }
}

/// The demo's configuration with every port shifted and its state in `data`.
pub(crate) fn configuration(
    port_base: u16,
    data: &Path,
    family: HsmKind,
) -> Result<Config, Failure> {
    let mut config = Config::parse(CONFIGURATION, "deploy/demo/pinion.toml")?;
    let shift = |port: u16| {
        port.checked_add(port_base).ok_or_else(|| {
            Failure::Usage(format!("PINION_DEMO_PORT_BASE={port_base}: port {port} leaves 65535"))
        })
    };
    for link in &mut config.links {
        link.listen.set_port(shift(link.listen.port())?);
    }
    config.admin.listen.set_port(shift(config.admin.listen.port())?);
    for node in config.postilion.iter_mut().flat_map(|postilion| &mut postilion.nodes) {
        node.address.port = shift(node.address.port)?;
    }
    if let Some(http) = &mut config.http {
        http.listen.set_port(shift(http.listen.port())?);
        http.clients = data.join("clients.toml");
    }
    config.store.directory = data.join("store");
    config.hsm.keys = data.join("keys.toml");
    config.hsm.lmk = data.join("lmk.key");
    if family == HsmKind::Payshield {
        config.hsm.kind = family;
        config.hsm.keys = data.join(KEYS_BESIDE_DEVICES);
        config.hsm.state = Some(data.join("keys-changed.toml"));
        config.hsm.lmk_check_value = Some("268604".to_owned());
        for (number, port) in (1..).zip(DEVICES) {
            let address = Address { host: Ipv4Addr::LOCALHOST.to_string(), port: shift(port)? };
            config.hsm.devices.push(HsmDevice::at(&format!("payshield-{number}"), address));
        }
        config.hsm.keys_of_devices = device_keys().context("the demo's keys of devices")?;
        let [transit, policy] = KEYS_FOR_DEVICES.map(|(name, ..)| Some(name.to_owned()));
        (config.hsm.transit_zpk, config.hsm.policy_pvk) = (transit, policy);
    }
    Ok(config)
}

/// The world's keys under the published variant LMK, and those only devices need.
fn device_keys() -> anyhow::Result<Vec<HsmKey>> {
    let world = World::embedded().context("demo world")?;
    let mut keys = Vec::new();
    for (name, key) in &world.keys {
        keys.push(device_key(
            name,
            key.key_type.parse().map_err(anyhow::Error::msg)?,
            key.clear.expose_bytes(),
        )?);
    }
    for (name, kind, hex) in KEYS_FOR_DEVICES {
        keys.push(device_key(name, kind, &hex::decode(hex)?)?);
    }
    Ok(keys)
}

fn device_key(name: &str, kind: KeyKind, clear: &[u8]) -> anyhow::Result<HsmKey> {
    // Any key without a block's header shows the code of the kind.
    let TypeCode(code) = kind.code(&Token::parse(b"0123456789ABCDEF")?);
    let token = simulator::token(Kind::Variant, TypeCode(code), *b"P0", false, clear);
    Ok(HsmKey {
        name: name.to_owned(),
        kind: kind.name().to_owned(),
        token: token.with_context(|| format!("{name}: no key of a device"))?,
        check_value: hex::encode_upper(check_value(Algorithm::Tdes, clear)),
    })
}

/// Starts the simulated devices where the configuration expects them.
pub(crate) async fn devices(config: &Config) -> Result<Vec<simulator::Running>, Failure> {
    let mut running = Vec::new();
    for device in &config.hsm.devices {
        let address = (Ipv4Addr::LOCALHOST, device.address.port).into();
        let mut options = simulator::Options::new(vec![address]);
        // The doors take clear PINs and show some.
        options.setup.authorised = true;
        running.push(simulator::start(options).await.context("a simulated payShield")?);
    }
    Ok(running)
}

/// Opens the key file; where there is none, one with the world's keys under the published LMK is written first.
///
/// A key that a partner changed is so kept from one run to the next, as the store keeps changed PINs.
pub(crate) fn hsm(
    config: &Config,
    world: &World,
    clock: SystemClock,
) -> Result<Arc<Module>, Failure> {
    let lmk = Lmk::demo();
    let written = write_keys(config, world, &lmk);
    written.with_context(|| format!("the demo's keys in {}", config.hsm.keys.display()))?;
    let data = config.hsm.keys.parent().unwrap_or_else(|| Path::new("."));
    doors::write(config, &lmk, data).context("the demo's HTTP doors")?;
    boot::open_hsm(config, clock)
}

fn write_keys(config: &Config, world: &World, lmk: &Lmk) -> anyhow::Result<()> {
    if let Some(directory) = config.hsm.keys.parent() {
        std::fs::create_dir_all(directory)?;
    }
    if !config.hsm.lmk.exists() {
        lmk.create_file(&config.hsm.lmk)?;
    }
    if config.hsm.keys.exists() {
        return Ok(());
    }
    let mut file = KeyFile::empty();
    // The vault's keys are the LMK's, as in every earlier demo: its data stays readable.
    for ((key_type, name), purpose) in
        KeyType::DATA.into_iter().zip([Use::PanHash, Use::PanSeal, Use::Audit])
    {
        let bytes = zeroize::Zeroizing::new(lmk.derive(purpose).to_vec());
        let algorithm = key_type.algorithms().first().copied().unwrap_or(Algorithm::Hmac);
        file.add(ClearKey::new(name, key_type, algorithm, bytes, TestKeys::Allowed)?)?;
    }
    // With devices, the world's keys are theirs.
    let held = world.keys.iter().filter(|_| config.hsm.kind == HsmKind::Soft);
    for (name, key) in held {
        let key_type = key.key_type.parse::<KeyType>().map_err(|why| anyhow!("{name}: {why}"))?;
        let bytes = zeroize::Zeroizing::new(key.clear.expose_bytes().to_vec());
        file.add(ClearKey::new(name, key_type, Algorithm::Tdes, bytes, TestKeys::Allowed)?)?;
    }
    Ok(file.write(&config.hsm.keys, lmk)?)
}

/// Starts the simulated nodes where the configuration expects them. What they believe is kept in `data`.
pub(crate) async fn nodes(
    config: &Config,
    port_base: u16,
    data: &Path,
) -> Result<postilion::Running, Failure> {
    let nodes = config.postilion.iter().flat_map(|postilion| &postilion.nodes);
    let listen = nodes.map(|node| (Ipv4Addr::LOCALHOST, node.address.port).into()).collect();
    let admin = (Ipv4Addr::LOCALHOST, NODES_ADMIN.saturating_add(port_base)).into();
    let mut options = postilion::Options::new(listen, Some(admin));
    options.data = Some(data.join("postilion"));
    let running = postilion::start(options).await.context("the simulated Postilion")?;
    Ok(running)
}

/// Opens the store; a new one gets the world's cards.
pub(crate) async fn store(
    config: &Config,
    world: &World,
    hsm: &Arc<Module>,
    clock: SystemClock,
) -> Result<EmbeddedStore, Failure> {
    let mut store = boot::open_embedded(config, hsm.clone(), clock)?;
    if store.status().cards == 0 {
        fill(&mut store, config, world, hsm).await.context("the demo's cards")?;
    }
    Ok(store)
}

async fn fill(
    store: &mut EmbeddedStore,
    config: &Config,
    world: &World,
    hsm: &Module,
) -> anyhow::Result<()> {
    let mut bulk = store.bulk("demo world")?;
    for card in &world.cards {
        let product = config.products.iter().find(|p| p.name == card.product);
        let product = product.ok_or_else(|| anyhow!("no product {:?}", card.product))?.key;
        let reference = reference(card, hsm).await?;
        bulk.put(record(card, product, reference, hsm)?, false)?;
    }
    bulk.finish()?;
    Ok(())
}

fn record(
    card: &WorldCard,
    product: ProductKey,
    reference: Reference,
    hsm: &Module,
) -> anyhow::Result<CardRecord> {
    Ok(CardRecord {
        pan_hash: hsm.pan_hash(&card.pan),
        sequence: card.sequence,
        version: 0,
        sealed_pan: hsm.seal_pan(&card.pan)?,
        expiry: card.expiry,
        product,
        status: card.status,
        account_status: card.account_status,
        account_type: card.account_type,
        pin_suppressed: card.pin_suppressed,
        pin_tries_used: card.pin_tries_used,
        changes: 0,
        changes_day: 0,
        reference,
        undo: None,
        identities: identities(card),
    })
}

/// The world gives a PVV or an offset; a PIN that is kept under the LMK is put there now.
async fn reference(card: &WorldCard, hsm: &Module) -> anyhow::Result<Reference> {
    if let Some(pvv) = &card.pvv {
        let digits = pvv.expose_digits().try_into().context("a PVV has four digits")?;
        return Ok(Reference::Pvv(digits));
    }
    if let Some(offset) = &card.offset {
        let given = offset.expose_digits();
        let mut digits = [0; 12];
        for (to, from) in digits.iter_mut().zip(given) {
            *to = from.wrapping_sub(b'0');
        }
        return Ok(Reference::Offset { digits, len: u8::try_from(given.len())? });
    }
    let pin = zeroize::Zeroizing::new(card.pin_for_tests.expose_digits().to_vec());
    let account = card.pan.account12();
    Ok(Reference::Lmk(hsm.encrypt_pin(pin, &account).await?))
}

fn identities(card: &WorldCard) -> Option<Box<Identities>> {
    let text = |value: &Option<String>| value.as_deref().map(Into::into);
    let identities = Identities {
        pan_token: text(&card.pan_token),
        payment_instrument: text(&card.payment_instrument_id),
        card_id: text(&card.card_id),
        external_user_id: text(&card.external_user_id),
        account_id: text(&card.account_id),
        person_id: text(&card.person_id),
    };
    (identities != Identities::default()).then(|| Box::new(identities))
}
