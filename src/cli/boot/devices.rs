//! From `[hsm]` to the module that does the PIN work: the software family, or a client of devices.
//!
//! **Never here:** a connection: those come with [`Module::start`].

use std::sync::Arc;
use std::time::Duration;

use crate::cli::Failure;
use crate::domain::clock::SystemClock;
use crate::hsm::key::TestKeys;
use crate::hsm::module::Module;
use crate::hsm::payshield::client::{
    DeviceSettings, KeyPlan, KeySettings, PayShield, Settings, Token,
};
use crate::hsm::soft::{SoftHsm, ThrottleLimit};
use crate::iso8583::Charset;
use crate::ops::config::{Config, Hsm, HsmDevice, HsmKind, six};
use crate::peer::breaker::BreakerRule;
use crate::tls::{ClientFiles, TlsConnector};

/// Opens the key file the configuration names, and takes the devices, if it has any.
pub(crate) fn open_hsm(config: &Config, clock: SystemClock) -> Result<Arc<Module>, Failure> {
    let hsm = &config.hsm;
    let test_keys = if hsm.allow_test_keys { TestKeys::Allowed } else { TestKeys::Refused };
    let limit = ThrottleLimit { wrong: hsm.wrong_pins_per_hour, ..Default::default() };
    let soft = SoftHsm::open(&hsm.keys, &hsm.lmk, test_keys, Arc::new(clock))
        .and_then(|hsm| hsm.with_throttle(limit))
        .map_err(|error| Failure::Config(error.to_string()))?;
    let Some(plan) = key_plan(config, None)? else {
        return Ok(Arc::new(Module::Soft(Arc::new(soft))));
    };
    let settings = settings(config)?;
    let client = PayShield::open(settings, &plan, soft, Arc::new(clock))
        .map_err(|error| config.error("hsm.key", error))?;
    Ok(Arc::new(Module::PayShield(Arc::new(client))))
}

/// The keys of the devices; none of the software family. Against `in_force` only they may change.
pub(crate) fn key_plan(
    config: &Config,
    in_force: Option<&Config>,
) -> Result<Option<KeyPlan>, Failure> {
    let hsm = &config.hsm;
    if let Some(before) = in_force {
        let keys_aside = |hsm: &Hsm| Hsm {
            keys_of_devices: Vec::new(),
            transit_zpk: None,
            policy_pvk: None,
            ..hsm.clone()
        };
        if keys_aside(hsm) != keys_aside(&before.hsm) {
            let reason = "only [[hsm.key]], transit_zpk and policy_pvk change without a restart";
            return Err(config.error("hsm", reason).into());
        }
    }
    if hsm.kind == HsmKind::Soft {
        return Ok(None);
    }
    let mut keys = Vec::new();
    for (index, key) in hsm.keys_of_devices.iter().enumerate() {
        let at = |what: &str| format!("hsm.key[{index}].{what}");
        let token = Token::parse(key.token.as_bytes());
        keys.push(KeySettings {
            name: key.name.as_str().into(),
            kind: key.kind.parse().map_err(|error: String| config.error(&at("type"), error))?,
            token: token.map_err(|error| config.error(&at("token"), error))?,
            check_value: six(&key.check_value)
                .ok_or_else(|| config.error(&at("check_value"), "six hex digits"))?,
        });
    }
    let name = |name: &Option<String>| name.as_deref().map(Into::into);
    let (transit_zpk, policy_pvk) = (name(&hsm.transit_zpk), name(&hsm.policy_pvk));
    Ok(Some(KeyPlan { keys, transit_zpk, policy_pvk }))
}

fn settings(config: &Config) -> Result<Settings, Failure> {
    let hsm = &config.hsm;
    let millis = Duration::from_millis;
    let check_value = hsm.lmk_check_value.as_deref().and_then(six);
    let devices = hsm.devices.iter().enumerate();
    let devices = devices.map(|(index, given)| device(config, index, given));
    let tables = hsm
        .tables
        .iter()
        .filter_map(|table| Some((table.digits.as_bytes().try_into().ok()?, table.token()?)));
    Ok(Settings {
        devices: devices.collect::<Result<_, _>>()?,
        lmk_check_value: check_value
            .ok_or_else(|| config.error("hsm.lmk_check_value", "six hex digits"))?,
        firmware: hsm.firmware.iter().map(|shown| shown.as_str().into()).collect(),
        pin_digits: hsm.pin_length + 1,
        health: Duration::from_secs(hsm.health_seconds),
        reconnect: millis(hsm.reconnect_ms),
        reconnect_max: millis(hsm.reconnect_max_ms),
        tables: tables.collect(),
        state: hsm.state.clone(),
    })
}

fn device(config: &Config, index: usize, given: &HsmDevice) -> Result<DeviceSettings, Failure> {
    let at = |what: &str| format!("hsm.device[{index}].{what}");
    let tls = match &given.tls {
        None => None,
        Some(tls) => {
            let identity = tls.certificate.clone().zip(tls.key.clone());
            let files = ClientFiles { ca: tls.ca.clone(), identity };
            let name = tls.name.as_deref().unwrap_or(&given.address.host);
            let made = TlsConnector::load(&files, name);
            Some(Arc::new(made.map_err(|error| config.error(&at("tls"), error))?))
        }
    };
    let millis = |own: Option<u64>, all: u64| Duration::from_millis(own.unwrap_or(all));
    let breaker = given.breaker.unwrap_or(config.hsm.breaker);
    let settings = DeviceSettings {
        name: given.name.as_str().into(),
        address: given.address.to_string().into(),
        tls,
        lmk: given.lmk_id,
        header: given.header,
        charset: if given.ebcdic { Charset::Ebcdic } else { Charset::Ascii },
        connections: given.connections,
        window: given.window,
        in_flight: given.in_flight,
        timeout: millis(given.timeout_ms, config.hsm.timeout_ms),
        connect_time: millis(given.connect_ms, config.hsm.connect_ms),
        breaker: BreakerRule {
            failures: breaker.failures,
            open: Duration::from_millis(breaker.open_ms),
            // Devices are not compared with each other: a slow one has more under way, and gets fewer.
            eject_share: 1.0,
        },
    };
    settings.check_header().map_err(|reason| config.error(&at("header"), reason))?;
    Ok(settings)
}
