//! The device: takes the body of a frame, gives the body of the answer. Every body gets one.
//!
//! Without a complete command code the answer is `ZZ` and error 51; an unknown code is 68. **Never here:** sockets and
//! faults (`server`), what a command does (`run`).

use bytes::BytesMut;

use crate::hsm::payshield::simulator::key::Lmk;
use crate::hsm::payshield::simulator::lmk::{Kind, TDES_BLOCK};
use crate::hsm::payshield::simulator::lmk_pin::PinLmk;
use crate::hsm::payshield::simulator::mac::Cipher;
use crate::hsm::payshield::simulator::random::Random;
use crate::hsm::payshield::simulator::run::{Desk, Reply, run};
use crate::hsm::payshield::wire::field::Firmware;
use crate::hsm::payshield::wire::message::{Opening, answer_code};
use crate::hsm::payshield::wire::scan::Writer;
use crate::hsm::payshield::wire::{ErrorCode, Scratch, Settings, decode_request};

/// Code of the answer to a frame that has no command code.
const NO_CODE: [u8; 2] = *b"ZZ";
/// Connections a device has, if nothing else is set.
const SOCKETS: usize = 64;
/// Firmware of the device whose answers these are.
const FIRMWARE: Firmware = Firmware(*b"1084-0906");
/// Begins a trailer.
const TRAILER: u8 = 0x19;

/// How a device is set.
#[derive(Clone, Debug)]
pub struct Setup {
    /// LMKs, ids from 00 on. The first is the default.
    pub lmks: Vec<Kind>,
    /// Header, PIN length, characters.
    pub settings: Settings,
    /// Authorised: clear PINs may come and go (BA, NG), 16-digit check values are shown.
    pub authorised: bool,
    /// PCI-HSM mode: TPKs are of type 70D only, translations follow PCI PIN 3-3.
    pub pci: bool,
    /// Decimalization tables come encrypted.
    pub encrypted_tables: bool,
    /// Connections at a time over all ports: NO tells it, and further ones are closed at once.
    pub sockets: usize,
    /// Firmware that NC and NO show.
    pub firmware: Firmware,
    /// Seed of keys, PINs and fills, so that they come again; without one they are random.
    pub random_seed: Option<u64>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            lmks: vec![Kind::Variant],
            settings: Settings::default(),
            authorised: false,
            pci: false,
            encrypted_tables: false,
            sockets: SOCKETS,
            firmware: FIRMWARE,
            random_seed: None,
        }
    }
}

/// What commands see of the device.
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) authorised: bool,
    pub(super) pci: bool,
    pub(super) pins: PinLmk,
    pub(super) sockets: usize,
    pub(super) firmware: Firmware,
    pub(super) random: Random,
    tables: Option<Cipher>,
}

impl State {
    /// A decimalization table as it is meant: as it stands, or decrypted.
    pub(super) fn table(&self, digits: [u8; 16]) -> Option<[u8; 16]> {
        let Some(cipher) = &self.tables else { return Some(digits) };
        let mut block = [0; 8];
        hex::decode_to_slice(digits, &mut block).ok()?;
        cipher.decrypt(&mut block);
        let mut table = [0; 16];
        hex::encode_to_slice(block, &mut table).ok()?;
        Some(table)
    }
}

/// A device in software.
pub struct Device {
    lmks: Vec<Lmk>,
    state: State,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Device({} LMKs)", self.lmks.len())
    }
}

impl Device {
    /// One with this setup.
    #[must_use]
    pub fn new(setup: &Setup) -> Self {
        let lmks = (0..).zip(&setup.lmks).map(|(id, kind)| Lmk::new(*kind, id)).collect();
        // Verified for the TDES key block LMK only; a variant LMK borrows it.
        let masked = TDES_BLOCK.map(|byte| byte ^ 0x54);
        let tables = if setup.encrypted_tables { Cipher::des(&masked) } else { None };
        let state = State {
            settings: setup.settings,
            authorised: setup.authorised,
            pci: setup.pci,
            pins: PinLmk::new(),
            sockets: setup.sockets,
            firmware: setup.firmware,
            random: Random::new(setup.random_seed),
            tables,
        };
        Self { lmks, state }
    }

    /// Header, PIN length, characters.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.state.settings
    }

    /// Appends the answer to a frame's body. `port` is the LMK id of the port it came to.
    pub fn answer(&self, port: u8, body: &[u8], out: &mut BytesMut) {
        let mut scratch = Scratch::default();
        let opening = Opening::of(body, self.state.settings, &mut scratch);
        if opening.code.is_none() {
            self.begin(&opening, ErrorCode::HEADER, out);
            return;
        }
        let (reply, trailer) = match decode_request(&opening, self.state.settings) {
            None => (Err(ErrorCode::DISABLED), None),
            Some(Err(fault)) => (Err(fault.code), None),
            Some(Ok((envelope, request))) => {
                let id = envelope.lmk.unwrap_or(port);
                let lmk = self.lmks.get(usize::from(id)).ok_or(ErrorCode::LMK);
                let done = lmk.and_then(|lmk| run(&Desk { lmk, state: &self.state }, &request));
                (done, envelope.trailer)
            }
        };
        let reply = reply.unwrap_or_else(|error| Reply { error, data: BytesMut::new() });
        let mut writer = self.begin(&opening, reply.error, out);
        writer.binary(&reply.data);
        if let Some(trailer) = trailer {
            writer.byte(TRAILER);
            writer.put(trailer);
        }
    }

    /// Appends an answer with an error code only, whatever the command.
    pub fn refuse(&self, body: &[u8], error: ErrorCode, out: &mut BytesMut) {
        let mut scratch = Scratch::default();
        let opening = Opening::of(body, self.state.settings, &mut scratch);
        self.begin(&opening, error, out);
    }

    /// Appends header, code and error of an answer.
    fn begin<'o>(
        &self,
        opening: &Opening<'_>,
        error: ErrorCode,
        out: &'o mut BytesMut,
    ) -> Writer<'o> {
        let mut writer = Writer::new(out, None, self.state.settings.charset);
        writer.binary(opening.header);
        writer.put(&opening.code.map_or(NO_CODE, answer_code));
        writer.put(&error.0);
        writer
    }
}
