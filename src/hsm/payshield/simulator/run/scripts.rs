//! KU and KY: issuer scripts.
//!
//! The card's keys come from the issuer's, the session's from the card's; the encrypted part is put into its place, and
//! the MAC (ISO 9797-1 algorithm 3, padding 2) is over all of it. **Never here:** derivation and blocks
//! ([`crate::pin::emv`]).

use zeroize::Zeroizing;

use crate::hsm::payshield::simulator::key::{OpenKey, Wanted};
use crate::hsm::payshield::simulator::mac::{Cipher, retail};
use crate::hsm::payshield::simulator::pins::{self, Bound};
use crate::hsm::payshield::simulator::run::{DECRYPTS, Desk, Done, PinKeyOf};
use crate::hsm::payshield::wire::ErrorCode;
use crate::hsm::payshield::wire::command::scripts::{
    CardNumber, CardScheme, Eight, Hidden, NewPin, Script, ScriptEmv, Sealed, Session,
};
use crate::hsm::payshield::wire::field::{FormatCode, PinBlock};
use crate::hsm::payshield::wire::key::{Key, KeyType};
use crate::hsm::script::card_name;
use crate::pin::block::Block8;
use crate::pin::dukpt::Key16;
use crate::pin::emv::{
    Tree, card_key, encode_34, encode_35, encode_41, encode_42, session_common, session_tree,
    session_visa,
};
use crate::pin::tdes::Tdes;

/// Zeros before the first block.
const IV: [u8; 8] = [0; 8];

/// How the encrypted part is padded and chained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Padding {
    /// Its length before it, `80` and zeros behind; every block alone.
    Visa,
    /// `80` and zeros only where it is not whole blocks; chained.
    Mastercard,
    /// `80` and zeros always; chained.
    Core,
}

/// What both commands do once they have said how keys are derived.
struct Work<'w> {
    integrity: &'w Key<'w>,
    card: [u8; 8],
    plain: &'w [u8],
    hidden: Option<&'w Hidden<'w>>,
    scheme: CardScheme,
    /// KU: padding goes by the scheme alone.
    old: bool,
}

pub(super) fn seal(desk: &Desk<'_>, it: &Script<'_>) -> Done {
    let scheme = it.scheme;
    let derive = move |card: &Key16, by: Eight| match scheme {
        CardScheme::Visa => session_visa(card, [by.0[6], by.0[7]]),
        CardScheme::Mastercard => session_common(card, by.0),
    };
    Work {
        integrity: &it.integrity,
        card: it.card.0,
        plain: it.plain,
        hidden: it.hidden.as_ref(),
        scheme,
        old: true,
    }
    .run(
        desk,
        |card| derive(card, it.session),
        |card| {
            let own = it.hidden.as_ref().and_then(|hidden| hidden.session);
            derive(card, own.unwrap_or(it.session))
        },
    )
}

pub(super) fn seal_emv(desk: &Desk<'_>, it: &ScriptEmv<'_>) -> Done {
    let tree = match it.session {
        Session::Tree(b'0', _) | Session::Common(_) => Tree::Two,
        Session::Tree(b'1', _) => Tree::Four,
        Session::Tree(..) => return Err(ErrorCode::TREE),
    };
    let derive = |card: &Key16| match it.session {
        Session::Common(by) => session_common(card, by.0),
        Session::Tree(_, counter) => session_tree(card, tree, counter),
    };
    Work {
        integrity: &it.integrity,
        card: match it.card {
            CardNumber::End(end) => end.0,
            CardNumber::Whole(number) => card_name(number),
        },
        plain: it.plain,
        hidden: it.hidden.as_ref(),
        scheme: it.scheme,
        old: false,
    }
    .run(desk, derive, derive)
}

impl Work<'_> {
    fn run(
        &self,
        desk: &Desk<'_>,
        for_mac: impl Fn(&Key16) -> Key16,
        for_data: impl Fn(&Key16) -> Key16,
    ) -> Done {
        let integrity = master(desk, self.integrity, *b"209", *b"E2", ErrorCode::SOURCE_PARITY)?;
        let data = match self.hidden {
            None => None,
            Some(hidden) => {
                let own = hidden
                    .key
                    .as_ref()
                    .map(|key| master(desk, key, *b"309", *b"E1", ErrorCode::DESTINATION_PARITY));
                let own = own.transpose()?;
                let issuer = own.as_ref().unwrap_or(&integrity);
                let session = for_data(&card_key(issuer, self.card));
                Some(self.encrypted(desk, hidden, &session)?)
            }
        };
        let place = self.hidden.map_or(0, |hidden| hidden.offset);
        let (before, after) = self.plain.split_at_checked(place).ok_or(ErrorCode::MAC_LENGTH)?;
        let mut message = [before, data.as_deref().unwrap_or_default(), after].concat();
        message.push(0x80);
        message.resize(message.len().next_multiple_of(8), 0);
        let session = for_mac(&card_key(&integrity, self.card));
        let mac = retail(&*session, &IV, &message).ok_or(ErrorCode::KEY_LENGTH)?;
        let mac = mac.first_chunk().copied().ok_or(ErrorCode::KEY_LENGTH)?;
        Ok(desk.reply(&Sealed { mac, data: data.as_deref() }))
    }

    /// The part only the card reads.
    fn encrypted(
        &self,
        desk: &Desk<'_>,
        hidden: &Hidden<'_>,
        session: &Key16,
    ) -> Result<Vec<u8>, ErrorCode> {
        let cipher = Cipher::des(&**session).ok_or(ErrorCode::KEY_LENGTH)?;
        match (&hidden.pin, &hidden.transport) {
            (Some(pin), _) => {
                let block = self.block(desk, pin, hidden.data)?;
                let visa = [FormatCode::VISA_NEW, FormatCode::VISA_BOTH].contains(&pin.to);
                let padding = match (self.old, self.scheme) {
                    (true, CardScheme::Visa) => Padding::Visa,
                    (false, _) if visa => Padding::Visa,
                    (_, CardScheme::Mastercard) => Padding::Mastercard,
                    (false, CardScheme::Visa) => Padding::Core,
                };
                Ok(encrypt(&cipher, &*block, padding))
            }
            (None, Some(transport)) => {
                // Whole blocks, padded by who made them.
                if !hidden.data.len().is_multiple_of(8) {
                    return Err(ErrorCode::DATA_LENGTH);
                }
                let wanted = Wanted {
                    types: &[KeyType(*b"00A")],
                    usages: &[b"D0", b"22"],
                    modes: b"BDN",
                    parity: ErrorCode::DESTINATION_PARITY,
                };
                let mut data = Zeroizing::new(hidden.data.to_vec());
                desk.lmk.open(transport, &wanted)?.cipher()?.decrypt_cbc(&IV, &mut data);
                if self.old && self.scheme == CardScheme::Visa {
                    data.chunks_exact_mut(8).for_each(|block| cipher.encrypt(block));
                } else {
                    cipher.encrypt_cbc(&IV, &mut data);
                }
                Ok(data.to_vec())
            }
            (None, None) => Err(ErrorCode::INPUT),
        }
    }

    /// The new PIN as the card reads it.
    fn block(&self, desk: &Desk<'_>, it: &NewPin<'_>, block: &[u8]) -> Result<Block8, ErrorCode> {
        let of = match it.key_type.0[0] {
            b'0' => PinKeyOf::Zone,
            b'1' => PinKeyOf::Terminal,
            b'F' if desk.takes_block(&it.key) => PinKeyOf::Either,
            _ => return Err(ErrorCode::INPUT),
        };
        let key = desk.pin_key(&it.key, of, DECRYPTS, ErrorCode::DESTINATION_PARITY)?;
        let bound = Bound::of(&it.account)?;
        let block = PinBlock::new(block).ok_or(ErrorCode::DATA_LENGTH)?;
        let pin = pins::open(&key, &block, it.from, &bound)?;
        let cryptograms = match &it.cryptograms {
            None => None,
            Some(key) => {
                let issuer = master(desk, key, *b"109", *b"E0", ErrorCode::DESTINATION_PARITY)?;
                Some(card_key(&issuer, self.card))
            }
        };
        match (it.to, cryptograms, &it.current) {
            (FormatCode::ISO_2, ..) => Ok(encode_34(&pin)),
            (FormatCode::PAY_NOW, ..) => Ok(encode_35(&pin, &bound.account)),
            (FormatCode::VISA_NEW, Some(card), _) => Ok(encode_41(&pin, &card)),
            (FormatCode::VISA_BOTH, Some(card), Some(current)) => {
                let current = pins::open(&key, current, it.from, &bound)?;
                Ok(encode_42(&pin, &current, &card))
            }
            _ => Err(ErrorCode::FORMAT),
        }
    }
}

/// An issuer's master key, of double length.
fn master(
    desk: &Desk<'_>,
    key: &Key<'_>,
    key_type: [u8; 3],
    usage: [u8; 2],
    parity: ErrorCode,
) -> Result<Tdes, ErrorCode> {
    let types = [KeyType(key_type)];
    let wanted = Wanted { types: &types, usages: &[&usage], modes: b"NX", parity };
    let opened: OpenKey = desk.lmk.open(key, &wanted)?;
    Ok(Tdes::double(&*opened.double()?))
}

fn encrypt(cipher: &Cipher, block: &[u8], padding: Padding) -> Vec<u8> {
    let mut data = Zeroizing::new(Vec::with_capacity(24));
    if padding == Padding::Visa {
        data.extend(u8::try_from(block.len()));
    }
    data.extend_from_slice(block);
    if padding != Padding::Mastercard || !data.len().is_multiple_of(8) {
        data.push(0x80);
        let whole = data.len().next_multiple_of(8);
        data.resize(whole, 0);
    }
    if padding == Padding::Visa {
        data.chunks_exact_mut(8).for_each(|block| cipher.encrypt(block));
    } else {
        cipher.encrypt_cbc(&IV, &mut data);
    }
    data.to_vec()
}
