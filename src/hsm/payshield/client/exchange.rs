//! A zone key from a partner: A6 puts it under the LMK, the state file keeps it, then it is in force.
//!
//! **Never here:** the message that brought it, a clear key.

use std::time::Duration;

use crate::domain::clock::WallMillis;
use crate::domain::pin::KeyId;
use crate::hsm::key::CheckValue;
use crate::hsm::payshield::client::PayShield;
use crate::hsm::payshield::client::keys::{Held, Previous, Slot};
use crate::hsm::payshield::client::pool::Repeat;
use crate::hsm::payshield::client::reply::Data;
use crate::hsm::payshield::client::state::{State, StateError};
use crate::hsm::payshield::client::token::{KeyKind, Token};
use crate::hsm::payshield::wire::command::keys::ImportKey;
use crate::hsm::payshield::wire::field::Letter;
use crate::hsm::payshield::wire::key::{Key, Scheme};
use crate::hsm::payshield::wire::option::{Attributes, LmkHere};
use crate::hsm::payshield::wire::{ErrorCode, Request, meaning};
use crate::hsm::{ImportRefused, Imported};

/// What a new key block shall say: what the old one says.
fn attributes(token: &Token, bytes: usize) -> Option<Attributes> {
    let header = token.header()?;
    let length = match bytes {
        16 => b'2',
        24 => b'3',
        _ => b'1',
    };
    Some(Attributes {
        usage: [header[5], header[6]],
        algorithm: [header[7], length],
        mode: Letter([header[8]]),
        version: [header[9], header[10]],
        export: Letter([header[11]]),
    })
}

impl PayShield {
    pub(super) async fn exchange(
        &self,
        key: KeyId,
        zmk: KeyId,
        wrapped: &[u8],
        stated: Option<CheckValue>,
        grace: Duration,
    ) -> Result<Imported, ImportRefused> {
        // Exchanges are rare: one that meets another comes again.
        let turn = self.turn.clone().try_acquire_owned().map_err(|_| ImportRefused::Unavailable)?;
        let table = self.keys.load_full();
        let slot = table.slot(key).map_err(|_| ImportRefused::KeyUnknown)?;
        let zmk = table.slot(zmk).map_err(|_| ImportRefused::KeyUnknown)?;
        let name: Box<str> = (&*slot.name).into();
        match slot.kind {
            KeyKind::Zpk | KeyKind::Zak | KeyKind::Tpk | KeyKind::TpkLegacy | KeyKind::Tak => {}
            KeyKind::Bdk
            | KeyKind::Bdk2
            | KeyKind::MkAc
            | KeyKind::MkSmc
            | KeyKind::MkSmi
            | KeyKind::Pvk
            | KeyKind::Zmk => {
                let key_type = slot.kind.key_type();
                return Err(ImportRefused::NotZoneKey { name, key_type });
            }
        }
        if zmk.kind != KeyKind::Zmk {
            return Err(ImportRefused::NotZmk { name: (&*zmk.name).into() });
        }
        let path = self.pool.shared.settings.state.clone();
        let path = path.ok_or_else(|| ImportRefused::State(StateError::NoFile.into()))?;

        let held = self.import(slot, zmk, wrapped, &name).await?;
        let (before, after) = (slot.newest.check_value, held.check_value);
        if let Some(stated) = stated.filter(|stated| *stated != after) {
            let [actual, stated] = [after, stated].map(hex::encode_upper);
            return Err(ImportRefused::CheckValueWrong { name, actual, stated });
        }
        if before == after {
            return Ok(Imported { before, after });
        }
        let now = self.pool.shared.clock.wall();
        let grace = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        // TOML has no numbers beyond this.
        let until = WallMillis(now.0.saturating_add(grace).min(i64::MAX.unsigned_abs()));
        // Where nothing ever came under the newest key, the one before it is what the sender has.
        let previous = match slot.previous(|| now) {
            Some(previous) if !slot.is_proven() => previous.held.clone(),
            _ => slot.newest.clone(),
        };
        let next = Slot {
            name: slot.name.clone(),
            kind: slot.kind,
            newest: held,
            previous: Some(Previous::new(previous, until)),
            configured: slot.configured,
        };
        let table = table.with(key, next);
        let written = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let mut state = State::read(&path)?;
            if let Ok(slot) = table.slot(key) {
                state.keep(slot);
            }
            state.write(&path).map(|()| table)
        });
        let table = written.await.map_err(|_| ImportRefused::Unavailable)?;
        let table = table.map_err(|error| ImportRefused::State(error.into()))?;
        self.keys.store(table.into());
        Ok(Imported { before, after })
    }

    /// A6.
    async fn import(
        &self,
        slot: &Slot,
        zmk: &Slot,
        wrapped: &[u8],
        name: &str,
    ) -> Result<Held, ImportRefused> {
        let scheme = match wrapped.len() {
            16 => Scheme::X,
            24 => Scheme::Y,
            _ => return Err(ImportRefused::NotTripleDes { name: name.into() }),
        };
        let digits = hex::encode_upper(wrapped).into_bytes();
        let token = &slot.newest.token;
        let letter = match (token.scheme_letter(), wrapped.len()) {
            (b'S' | b'R', _) => token.scheme_letter(),
            (_, 24) => b'T',
            _ => b'U',
        };
        let request = Request::ImportKey(ImportKey {
            key_type: slot.kind.code(token),
            zmk: zmk.newest.token.key(),
            key: Key::Ecb(scheme, &digits),
            scheme: Letter([letter]),
            lmk: LmkHere,
            attributes: attributes(token, wrapped.len()),
        });
        let asked = self.pool.ask(&request, Repeat::Never).await;
        let reply = asked.map_err(|_| ImportRefused::Unavailable)?;
        match (reply.error, reply.data) {
            // 01 is a key whose parity the device has mended: the sender's is another one.
            (ErrorCode::OK, Data::Key(token, digits)) => {
                let mut check_value = CheckValue::default();
                hex::decode_to_slice(digits, &mut check_value)
                    .map_err(|_| ImportRefused::Unavailable)?;
                Ok(Held { token, check_value })
            }
            (error, _) => Err(ImportRefused::Device {
                name: name.into(),
                code: error.to_string(),
                meaning: meaning(*b"A6", error).text,
            }),
        }
    }
}
