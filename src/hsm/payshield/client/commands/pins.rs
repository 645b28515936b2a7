//! PINs from one key to another: CC, CA, G0, JE, JC, JG; taken in and shown: BA, JA, NG; how long one is.

use zeroize::{Zeroize, Zeroizing};

use crate::domain::pin::{BlockFormat, KeyId, LmkPin, PinRules, ZonePin};
use crate::hsm::HsmError;
use crate::hsm::payshield::client::commands::{
    Answer, CHECK_MIN, Desk, block_of, format_code, keep, kept, ksn_of,
};
use crate::hsm::payshield::client::policy::Weak;
use crate::hsm::payshield::client::reply::Data;
use crate::hsm::payshield::wire::Request;
use crate::hsm::payshield::wire::command::dukpt::DukptToZone;
use crate::hsm::payshield::wire::command::translate::{
    Destination, EncryptPin, FromLmk, RandomPin, RevealPin, TerminalToLmk, TerminalToZone,
    ZoneToLmk, ZoneToZone,
};
use crate::hsm::payshield::wire::field::{OpenPin, Twelve};
use crate::hsm::payshield::wire::key::PinKey;
use crate::hsm::payshield::wire::option::PinLength;

impl Desk<'_> {
    /// What an answer that must be a PIN or a block is otherwise.
    fn unexpected(&self, command: [u8; 2], answer: &Answer) -> HsmError {
        match answer {
            Answer::Excluded | Answer::OtherLength | Answer::Short => HsmError::NewPinUnacceptable,
            Answer::Done(_) | Answer::Wrong => {
                self.hsm.refusal(command, crate::hsm::payshield::wire::ErrorCode::WRONG)
            }
        }
    }

    fn width(&self) -> usize {
        self.hsm.pool.shared.settings.pin_digits
    }

    /// Translates a block, and says how many digits its PIN has.
    pub(in crate::hsm::payshield::client) async fn translate(
        &self,
        pin: &ZonePin,
        to_key: KeyId,
        to_format: BlockFormat,
    ) -> Result<(ZonePin, u8), HsmError> {
        let source = self.key_of(pin)?;
        let to_slot = self.zpk(to_key)?;
        let block = block_of(pin)?;
        let (from, to) = (format_code(pin.format()), format_code(to_format));
        let ksn = pin.ksn().map(ksn_of).transpose()?;
        // One account serves both formats: where one of them takes the whole number, the command does.
        let format = if to_format == BlockFormat::Iso4 { to_format } else { pin.format() };
        let account = self.account(format);
        let key = to_slot.newest.token.key();
        let answer = self.ask_under(source, CHECK_MIN, |held| {
            let source_key = held.token.key();
            match (ksn, source.kind.is_terminal()) {
                (Some(ksn), _) => Request::DukptToZone(DukptToZone {
                    flag: source.kind.bdk_flag(),
                    bdk: source_key,
                    destination_flag: None,
                    destination: key,
                    ksn,
                    destination_ksn: None,
                    block,
                    from,
                    to,
                    account,
                    other: None,
                }),
                (None, true) => Request::TerminalToZone(TerminalToZone {
                    source: PinKey(source_key),
                    destination: Destination { flag: None, key, ksn: None },
                    longest: Twelve,
                    block,
                    from,
                    to,
                    account,
                }),
                (None, false) => Request::ZoneToZone(ZoneToZone {
                    source: PinKey(source_key),
                    destination: key,
                    longest: Twelve,
                    block,
                    from,
                    to,
                    account,
                }),
            }
        });
        match answer.await? {
            Answer::Done(Data::Block(block, Some(digits))) => {
                let made = ZonePin::new(block.bytes(), to_format, to_key);
                Ok((made.ok_or(HsmError::Unavailable)?, digits))
            }
            answer => Err(self.unexpected(*b"CC", &answer)),
        }
    }

    /// The same PIN under the transit key, in the format it has.
    pub(super) async fn pass_transit(&self, pin: &ZonePin) -> Result<(ZonePin, u8), HsmError> {
        let (transit, _) = self.transit()?;
        self.translate(pin, transit, pin.format()).await
    }

    /// A block under the LMK. One under DUKPT goes through the transit key.
    pub(in crate::hsm::payshield::client) async fn take_in(
        &self,
        pin: &ZonePin,
    ) -> Result<LmkPin, HsmError> {
        let transit;
        let pin = if pin.ksn().is_some() {
            transit = self.pass_transit(pin).await?.0;
            &transit
        } else {
            pin
        };
        let slot = self.key_of(pin)?;
        let (block, format) = (block_of(pin)?, format_code(pin.format()));
        let account = self.account(pin.format());
        let answer = self.ask_under(slot, CHECK_MIN, |held| {
            let source = PinKey(held.token.key());
            if slot.kind.is_terminal() {
                Request::TerminalToLmk(TerminalToLmk { source, block, format, account })
            } else {
                Request::ZoneToLmk(ZoneToLmk { source, block, format, account })
            }
        });
        self.sealed(*b"JE", answer.await?)
    }

    fn sealed(&self, command: [u8; 2], answer: Answer) -> Result<LmkPin, HsmError> {
        match answer {
            Answer::Done(Data::Sealed(pin)) => Ok(keep(&pin)),
            answer => Err(self.unexpected(command, &answer)),
        }
    }

    /// A PIN under the LMK as a block.
    pub(in crate::hsm::payshield::client) async fn give_out(
        &self,
        pin: &LmkPin,
        to_key: KeyId,
        to_format: BlockFormat,
    ) -> Result<ZonePin, HsmError> {
        let request = Request::FromLmk(FromLmk {
            destination: self.zpk(to_key)?.newest.token.key(),
            format: format_code(to_format),
            account: self.account(to_format),
            pin: kept(pin, self.width()),
        });
        match self.ask(CHECK_MIN, &request).await? {
            Answer::Done(Data::Block(block, _)) => {
                ZonePin::new(block.bytes(), to_format, to_key).ok_or(HsmError::Unavailable)
            }
            answer => Err(self.unexpected(*b"JG", &answer)),
        }
    }

    /// How many digits a PIN under the LMK has: only a translation tells.
    pub(super) async fn digits_of(&self, pin: &LmkPin) -> Result<u8, HsmError> {
        let (transit, _) = self.transit()?;
        let block = self.give_out(pin, transit, BlockFormat::Iso0).await?;
        Ok(self.pass_transit(&block).await?.1)
    }

    /// Takes clear digits in. The copies made here are wiped, as the bytes on their way are.
    pub(in crate::hsm::payshield::client) async fn encrypt(
        &self,
        digits: Zeroizing<Vec<u8>>,
    ) -> Result<LmkPin, HsmError> {
        let fits = (4..=12).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
        let open =
            OpenPin::new(&digits, self.width()).filter(|_| fits && digits.len() < self.width());
        let mut request = Request::EncryptPin(EncryptPin {
            pin: open.ok_or(HsmError::NewPinUnacceptable)?,
            account: self.any_account(),
        });
        drop(digits);
        let answer = self.ask(CHECK_MIN, &request).await;
        if let Request::EncryptPin(it) = &mut request {
            it.pin.padded.zeroize();
        }
        self.sealed(*b"BA", answer?)
    }

    /// Draws a PIN that the rules accept.
    pub(in crate::hsm::payshield::client) async fn random(
        &self,
        digits: u8,
        rules: &PinRules,
    ) -> Result<LmkPin, HsmError> {
        if !rules.allows_length(digits.into()) {
            return Err(HsmError::NewPinUnacceptable);
        }
        let weak = Weak::of(rules, digits).map_err(|_| HsmError::NewPinUnacceptable)?;
        let request = Request::RandomPin(RandomPin {
            account: self.any_account(),
            length: Some(PinLength(digits)),
            excluded: weak.excluded(),
        });
        let answer = self.ask(CHECK_MIN, &request).await?;
        self.sealed(*b"JA", answer)
    }

    /// Shows a PIN.
    pub(in crate::hsm::payshield::client) async fn reveal(
        &self,
        pin: &LmkPin,
    ) -> Result<Zeroizing<Vec<u8>>, HsmError> {
        let request = Request::RevealPin(RevealPin {
            account: self.any_account(),
            pin: kept(pin, self.width()),
        });
        match self.ask(CHECK_MIN, &request).await? {
            Answer::Done(Data::Open(digits)) => Ok(digits),
            answer => Err(self.unexpected(*b"NG", &answer)),
        }
    }
}
