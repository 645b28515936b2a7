//! Simulated devices of each kind of LMK, with the keys of the cases, and a client of each.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use pinion::hsm::key::{Algorithm, check_value};
use pinion::hsm::lmk::Lmk;
use pinion::hsm::payshield::client::{
    DeviceSettings, KeyKind, KeyPlan, KeySettings, PayShield, Settings, Token,
};
use pinion::hsm::payshield::simulator::{self, Kind, Options};
use pinion::hsm::payshield::wire::key::KeyType;
use pinion::hsm::soft::SoftHsm;
use pinion::iso8583::Charset;
use pinion::peer::breaker::BreakerRule;

use crate::{KEYS, bytes, clock};

/// Keys that a device with this LMK can hold: AES ones only under key blocks.
fn held(
    lmk: Kind,
) -> impl Iterator<Item = &'static (&'static str, KeyKind, &'static [u8; 2], Algorithm, &'static str)>
{
    KEYS.iter().filter(move |key| key.3 == Algorithm::Tdes || lmk == Kind::AesBlock)
}

pub(crate) async fn client(lmk: Kind) -> (Arc<PayShield>, impl Drop, simulator::Running) {
    let mut options = Options::new(vec![(Ipv4Addr::LOCALHOST, 0).into()]);
    options.setup.lmks = vec![lmk];
    options.setup.authorised = true;
    let device = simulator::start(options).await.expect("a device");
    let keys = held(lmk).map(|(name, kind, usage, algorithm, hex)| {
        let any = Token::parse(b"0123456789ABCDEF").expect("a token");
        let KeyType(code) = kind.code(&any);
        let aes = *algorithm == Algorithm::Aes;
        let text =
            simulator::token(lmk, KeyType(code), **usage, aes, &bytes(hex)).expect("a token");
        KeySettings {
            name: (*name).into(),
            kind: *kind,
            token: Token::parse(text.as_bytes()).expect("a token"),
            check_value: check_value(*algorithm, &bytes(hex)),
        }
    });
    let plan =
        KeyPlan { keys: keys.collect(), transit_zpk: Some("zpk.transit".into()), policy_pvk: None };
    let mut lmk_check_value = [0; 3];
    hex::decode_to_slice(&lmk.check_value()[..6], &mut lmk_check_value).expect("hex");
    let settings = Settings {
        devices: vec![DeviceSettings {
            name: "hsm".into(),
            address: device.ports()[0].to_string().into(),
            tls: None,
            lmk: None,
            header: 4,
            charset: Charset::Ascii,
            connections: 1,
            window: 64,
            in_flight: 256,
            timeout: Duration::from_secs(5),
            connect_time: Duration::from_secs(5),
            breaker: BreakerRule { failures: 5, open: Duration::from_secs(1), eject_share: 1.0 },
        }],
        lmk_check_value,
        firmware: Vec::new(),
        pin_digits: 13,
        health: Duration::from_secs(5),
        reconnect: Duration::from_millis(10),
        reconnect_max: Duration::from_millis(100),
        tables: Vec::new(),
        state: None,
    };
    let vault = SoftHsm::from_clear([], &Lmk::demo(), clock()).expect("a vault");
    let hsm = Arc::new(PayShield::open(settings, &plan, vault, clock()).expect("a client"));
    let running = Held(Some(hsm.start().await.expect("the keys pass")));
    (hsm, running, device)
}

/// Ends the client's tasks with the test.
struct Held(Option<pinion::hsm::payshield::client::Running>);

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}
