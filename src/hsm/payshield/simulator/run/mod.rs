//! What each command does: fields in, an error code and fields out.
//!
//! **Never here:** headers and frames (`device`), bytes of a field (`wire`). Where next: one file for each family.

use bytes::BytesMut;

use crate::hsm::payshield::simulator::device::State;
use crate::hsm::payshield::simulator::key::{Lmk, OpenKey, Wanted};
use crate::hsm::payshield::simulator::lmk::Kind;
use crate::hsm::payshield::wire::command::Request;
use crate::hsm::payshield::wire::key::{Key, KeyType};
use crate::hsm::payshield::wire::scan::{Field, Writer};
use crate::hsm::payshield::wire::{ErrorCode, Settings};

mod diagnose;
mod dukpt;
mod keys;
mod macs;
mod references;
mod scripts;
mod translate;
mod verify;

/// What a command is done with.
#[derive(Clone, Copy)]
pub(super) struct Desk<'d> {
    /// The LMK of this command.
    pub(super) lmk: &'d Lmk,
    /// The device.
    pub(super) state: &'d State,
}

/// A code with fields.
pub(super) struct Reply {
    /// The code.
    pub(super) error: ErrorCode,
    /// The fields as they are sent.
    pub(super) data: BytesMut,
}

/// What came of a command: a code without fields is an error.
pub(super) type Done = Result<Reply, ErrorCode>;

impl Reply {
    /// A code alone.
    fn code(error: ErrorCode) -> Self {
        Self { error, data: BytesMut::new() }
    }
}

/// PIN keys, by what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PinKeyOf {
    Terminal,
    Zone,
    Either,
}

/// Room for the fields of most answers.
const ANSWER_BYTES: usize = 64;
const DECRYPTS: &[u8] = b"BDN";
const ENCRYPTS: &[u8] = b"BEN";

impl Desk<'_> {
    fn settings(&self) -> Settings {
        self.state.settings
    }

    /// 00 and fields.
    fn reply<'a>(&self, data: &impl Field<'a>) -> Reply {
        self.reply_with(ErrorCode::OK, data)
    }

    /// Another code that comes with fields.
    fn reply_with<'a>(&self, error: ErrorCode, data: &impl Field<'a>) -> Reply {
        let mut out = BytesMut::with_capacity(ANSWER_BYTES);
        data.write(&mut Writer::new(&mut out, None, self.settings().charset));
        Reply { error, data: out }
    }

    /// Random bytes.
    fn fresh<const N: usize>(&self) -> Result<[u8; N], ErrorCode> {
        let mut bytes = [0; N];
        self.state.random.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn pin_key(
        &self,
        key: &Key<'_>,
        of: PinKeyOf,
        modes: &[u8],
        parity: ErrorCode,
    ) -> Result<OpenKey, ErrorCode> {
        let types: &[KeyType] = match (of, self.state.pci) {
            (PinKeyOf::Zone, _) => &[KeyType::ZPK],
            (PinKeyOf::Terminal, true) => &[KeyType::TPK],
            // Out of PCI-HSM mode a TPK is of type 002; one of type 70D is told by its parity.
            (PinKeyOf::Terminal, false) => &[KeyType::PVK, KeyType::TPK],
            (PinKeyOf::Either, _) => &[KeyType::ZPK, KeyType::PVK, KeyType::TPK],
        };
        let usages: &[&[u8; 2]] = match of {
            PinKeyOf::Terminal => &[b"P0", b"71"],
            PinKeyOf::Zone => &[b"P0", b"72"],
            PinKeyOf::Either => &[b"P0", b"71", b"72"],
        };
        self.lmk.open(key, &Wanted { types, usages, modes, parity })
    }

    /// Whether a key may be meant as a key block: what it is instead, opening it says.
    fn takes_block(&self, key: &Key<'_>) -> bool {
        self.lmk.kind != Kind::Variant || matches!(key, Key::Block(_) | Key::Tr31(_))
    }

    /// The PIN key of a command that says its type: 001, 002, 70D; FFF for key blocks.
    fn typed_pin_key(
        &self,
        key_type: KeyType,
        key: &Key<'_>,
        parity: ErrorCode,
    ) -> Result<OpenKey, ErrorCode> {
        let of = match key_type {
            KeyType::ZPK => PinKeyOf::Zone,
            KeyType::PVK if !self.state.pci => PinKeyOf::Terminal,
            KeyType::TPK => PinKeyOf::Terminal,
            KeyType::BLOCK if self.takes_block(key) => PinKeyOf::Either,
            _ => return Err(ErrorCode::KEY_TYPE),
        };
        self.pin_key(key, of, DECRYPTS, parity)
    }

    fn pvk(
        &self,
        key: &Key<'_>,
        usages: &[&[u8; 2]],
        parity: ErrorCode,
    ) -> Result<OpenKey, ErrorCode> {
        self.lmk.open(key, &Wanted { types: &[KeyType::PVK], usages, modes: b"NCGV", parity })
    }

    /// A PVK of double length.
    fn pvk_pair(&self, key: &Key<'_>, parity: ErrorCode) -> Result<OpenKey, ErrorCode> {
        let opened = self.pvk(key, &[b"V0", b"V2"], parity)?;
        opened.double()?;
        Ok(opened)
    }

    fn pvk_ibm(&self, key: &Key<'_>, parity: ErrorCode) -> Result<OpenKey, ErrorCode> {
        let opened = self.pvk(key, &[b"V0", b"V1"], parity)?;
        if opened.is_aes() { Err(ErrorCode::ALGORITHM) } else { Ok(opened) }
    }
}

/// Does one command.
pub(super) fn run(desk: &Desk<'_>, request: &Request<'_>) -> Done {
    match request {
        Request::GenerateKey(it) => keys::generate(desk, it),
        Request::ImportKey(it) => keys::import(desk, it),
        Request::ExportKey(it) => keys::export(desk, it),
        Request::ImportZpk(it) => keys::import_zpk(desk, it),
        Request::CheckKey(it) => keys::check(desk, it),
        Request::Echo(it) => Ok(diagnose::echo(desk, it)),
        Request::Random(it) => diagnose::random(desk, *it),
        Request::Diagnose(_) => Ok(diagnose::diagnose(desk)),
        Request::Status(it) => diagnose::status(desk, *it),
        Request::EncryptPin(it) => translate::encrypt(desk, it),
        Request::RevealPin(it) => translate::reveal(desk, it),
        Request::RandomPin(it) => translate::random(desk, it),
        Request::TerminalToZone(it) => translate::terminal_to_zone(desk, it),
        Request::ZoneToZone(it) => translate::zone_to_zone(desk, it),
        Request::TerminalToLmk(it) => translate::terminal_to_lmk(desk, it),
        Request::ZoneToLmk(it) => translate::zone_to_lmk(desk, it),
        Request::FromLmk(it) => translate::from_lmk(desk, it),
        Request::TerminalCompare(it) => verify::terminal_compare(desk, it),
        Request::ZoneCompare(it) => verify::zone_compare(desk, it),
        Request::TerminalVerifyIbm(it) => verify::terminal_ibm(desk, it),
        Request::ZoneVerifyIbm(it) => verify::zone_ibm(desk, it),
        Request::TerminalVerifyPvv(it) => verify::terminal_pvv(desk, it),
        Request::ZoneVerifyPvv(it) => verify::zone_pvv(desk, it),
        Request::IbmOfPin(it) => references::ibm_of_pin(desk, it),
        Request::PinOfIbm(it) => references::pin_of_ibm(desk, it),
        Request::PvvOfPin(it) => references::pvv_of_pin(desk, it),
        Request::ChosenIbm(it) => references::chosen_ibm(desk, it),
        Request::ChosenPvv(it) => references::chosen_pvv(desk, it),
        Request::ChangePvv(it) => references::change_pvv(desk, it),
        Request::ChangeIbm(it) => references::change_ibm(desk, it),
        Request::DukptToZone(it) => dukpt::to_zone(desk, it),
        Request::DukptVerifyIbm(it) => dukpt::verify_ibm(desk, it),
        Request::DukptVerifyPvv(it) => dukpt::verify_pvv(desk, it),
        Request::DukptMac(it) => dukpt::mac(desk, it),
        Request::Script(it) => scripts::seal(desk, it),
        Request::ScriptEmv(it) => scripts::seal_emv(desk, it),
        Request::GenerateMac(it) => macs::generate(desk, it),
        Request::VerifyMac(it) => macs::verify(desk, it),
    }
}
