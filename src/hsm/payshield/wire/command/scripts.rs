//! KU and KY: the MAC of an issuer script for an EMV card, and where asked data or a new PIN that only the card reads.
//!
//! KU is from a manual and from a program that sends it. KY is less sure: older firmware has a tree of session keys
//! (branch, counter), newer one eight bytes of session data; both are read. **In no public source, so ours:** where KY
//! has its scheme in modes 0 and 2 (here always), what stands for the current PIN in format 42 (here a block as long
//! as the new one, behind the MK-AC), under what key a transport key is, and how KY says that a card's keys are made by
//! option B (here schemes 2 and 3, and then account and sequence number as KW has them: their length in bytes, two
//! digits; they; `;`). KU has eight bytes for them, into which who wants option B puts the digits of its hash. **Never
//! here:** the keys (`pin::emv`).

use std::fmt;

use crate::hsm::payshield::wire::error::ErrorCode;
use crate::hsm::payshield::wire::field::{Account, FormatCode, Letter, PinBlock};
use crate::hsm::payshield::wire::key::Key;
use crate::hsm::payshield::wire::scan::{Fault, Field, Reader, Writer, is_hex};

/// What a script carries beside its MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptMode {
    /// Nothing: 0.
    Plain,
    /// Data, under the key that makes the MAC: 1, KU only.
    Data,
    /// Data, under a key of its own: 2.
    DataOwnKey,
    /// A PIN, under the key that makes the MAC: 3, KU only.
    Pin,
    /// A PIN, under a key of its own: 4.
    PinOwnKey,
}

impl ScriptMode {
    fn read(reader: &mut Reader<'_>, known: &[u8]) -> Result<Self, Fault> {
        let bad = reader.fault(ErrorCode::KEY_TYPE);
        let digit = reader.take(1)?[0];
        if !known.contains(&digit) {
            return Err(bad);
        }
        Ok(match digit {
            b'0' => Self::Plain,
            b'1' => Self::Data,
            b'2' => Self::DataOwnKey,
            b'3' => Self::Pin,
            _ => Self::PinOwnKey,
        })
    }

    const fn digit(self) -> u8 {
        match self {
            Self::Plain => b'0',
            Self::Data => b'1',
            Self::DataOwnKey => b'2',
            Self::Pin => b'3',
            Self::PinOwnKey => b'4',
        }
    }
}

/// Whose card: it says how keys of a session are derived, and how data are padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardScheme {
    /// `0`.
    Visa,
    /// `1`.
    Mastercard,
}

impl<'a> Field<'a> for CardScheme {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let bad = reader.fault(ErrorCode::LENGTH_FLAG);
        match reader.take(1)? {
            b"0" => Ok(Self::Visa),
            b"1" => Ok(Self::Mastercard),
            _ => Err(bad),
        }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.byte(match self {
            Self::Visa => b'0',
            Self::Mastercard => b'1',
        });
    }
}

/// Eight bytes as they are: the card (end of account and sequence number), or what a session is derived from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Eight(pub [u8; 8]);

impl fmt::Debug for Eight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Eight(****)")
    }
}

impl<'a> Field<'a> for Eight {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        reader.binary_array().map(Self)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.binary(&self.0);
    }
}

/// The part of a script that is encrypted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hidden<'a> {
    /// MK-SMC, where it is not the MK-SMI.
    pub key: Option<Key<'a>>,
    /// Transport key the data come under; a PIN comes under a PIN key.
    pub transport: Option<Key<'a>>,
    /// What its session key is derived from; KY has it from the MAC's.
    pub session: Option<Eight>,
    /// Where in the plain text it belongs.
    pub offset: usize,
    /// The data under the transport key, or the new PIN block.
    pub data: &'a [u8],
    /// For a PIN.
    pub pin: Option<NewPin<'a>>,
}

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hidden({} bytes)", self.data.len())
    }
}

/// What is said of a new PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewPin<'a> {
    /// `0` ZPK, `1` TPK, `F` what the key block says.
    pub key_type: Letter,
    /// The key of the block.
    pub key: Key<'a>,
    /// Its format.
    pub from: FormatCode,
    /// The format the card reads: 34, 35, 41, 42.
    pub to: FormatCode,
    /// The account of the block.
    pub account: Account,
    /// MK-AC, for 41 and 42.
    pub cryptograms: Option<Key<'a>>,
    /// Block of the current PIN, for 42.
    pub current: Option<PinBlock>,
}

impl<'a> NewPin<'a> {
    fn read(reader: &mut Reader<'a>, width: usize) -> Result<Self, Fault> {
        let key_type = reader.field("type of the PIN key")?;
        let key = reader.field("PIN key")?;
        let from = reader.field("format of the PIN block")?;
        let to: FormatCode = reader.field("format for the card")?;
        let account = reader.field("account")?;
        let keyed = [FormatCode::VISA_NEW, FormatCode::VISA_BOTH].contains(&to);
        let cryptograms = if keyed { Some(reader.field("MK-AC")?) } else { None };
        let current = if to == FormatCode::VISA_BOTH {
            let bad = reader.fault(ErrorCode::INPUT);
            Some(PinBlock::new(reader.binary(width)?).ok_or(bad)?)
        } else {
            None
        };
        Ok(Self { key_type, key, from, to, account, cryptograms, current })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        self.key_type.write(writer);
        self.key.write(writer);
        self.from.write(writer);
        self.to.write(writer);
        self.account.write(writer);
        self.cryptograms.iter().for_each(|key| key.write(writer));
        self.current.iter().for_each(|block| writer.binary(block.bytes()));
    }
}

impl<'a> Hidden<'a> {
    fn read(
        reader: &mut Reader<'a>,
        mode: ScriptMode,
        sessions: bool,
    ) -> Result<Option<Self>, Fault> {
        let (own, pin) = match mode {
            ScriptMode::Plain => return Ok(None),
            ScriptMode::Data => (false, false),
            ScriptMode::DataOwnKey => (true, false),
            ScriptMode::Pin => (false, true),
            ScriptMode::PinOwnKey => (true, true),
        };
        let key = if own { Some(reader.field("MK-SMC")?) } else { None };
        let transport = if pin { None } else { Some(reader.field("transport key")?) };
        let session =
            if sessions { Some(reader.field("confidentiality session data")?) } else { None };
        let offset = reader.hex_number(4)?;
        let data = counted(reader)?;
        let pin = if pin { Some(NewPin::read(reader, data.len())?) } else { None };
        Ok(Some(Self { key, transport, session, offset, data, pin }))
    }

    fn write(&self, writer: &mut Writer<'_>) {
        self.key.iter().for_each(|key| key.write(writer));
        self.transport.iter().for_each(|key| key.write(writer));
        self.session.iter().for_each(|session| session.write(writer));
        writer.number(self.offset, 4, 16);
        put_counted(writer, self.data);
        self.pin.iter().for_each(|pin| pin.write(writer));
    }
}

/// Four hex digits of length, so many bytes, `;`. Nothing at all is 81, fewer bytes than said 80.
fn counted<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Fault> {
    let empty = reader.fault(ErrorCode::PIN_LENGTH);
    let length = reader.hex_number(4)?;
    if length == 0 {
        return Err(empty);
    }
    let short = reader.fault(ErrorCode::DATA_LENGTH);
    let data = reader.binary(length).map_err(|_| short)?;
    if reader.skip(b';') { Ok(data) } else { Err(short) }
}

fn put_counted(writer: &mut Writer<'_>, data: &[u8]) {
    writer.number(data.len(), 4, 16);
    writer.binary(data);
    writer.byte(b';');
}

/// KU.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Script<'a> {
    /// What it carries.
    pub mode: ScriptMode,
    /// Whose card.
    pub scheme: CardScheme,
    /// MK-SMI: makes the MAC.
    pub integrity: Key<'a>,
    /// Last sixteen digits of account and sequence number.
    pub card: Eight,
    /// What the MAC's session key is derived from: Visa's counter behind six zeros, Mastercard's random number.
    pub session: Eight,
    /// What the MAC covers, without the encrypted part.
    pub plain: &'a [u8],
    /// The encrypted part.
    pub hidden: Option<Hidden<'a>>,
}

impl fmt::Debug for Script<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Script({:?}, {:?}, {} bytes)", self.mode, self.scheme, self.plain.len())
    }
}

impl<'a> Field<'a> for Script<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let mode = ScriptMode::read(reader, b"01234")?;
        Ok(Self {
            mode,
            scheme: reader.field("scheme")?,
            integrity: reader.field("MK-SMI")?,
            card: reader.field("account and sequence number")?,
            session: reader.field("integrity session data")?,
            plain: counted(reader)?,
            hidden: Hidden::read(reader, mode, true)?,
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.byte(self.mode.digit());
        self.scheme.write(writer);
        self.integrity.write(writer);
        self.card.write(writer);
        self.session.write(writer);
        put_counted(writer, self.plain);
        self.hidden.iter().for_each(|hidden| hidden.write(writer));
    }
}

/// What session keys of KY are derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// Eight bytes: the ARQC.
    Common(Eight),
    /// The tree of EMV 2000: `0` two branches, `1` four (a device answers 52 to others); and the counter.
    Tree(u8, [u8; 2]),
}

impl<'a> Field<'a> for Session {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        if !reader.assume.tree {
            return Eight::read(reader).map(Self::Common);
        }
        let [branch] = reader.chars(u8::is_ascii_digit)?;
        Ok(Self::Tree(branch, reader.binary_array()?))
    }

    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Common(eight) => eight.write(writer),
            Self::Tree(branch, counter) => {
                writer.byte(*branch);
                writer.binary(counter);
            }
        }
    }
}

/// Account and sequence number of KY, two digits a byte.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum CardNumber<'a> {
    /// Their last sixteen digits: option A.
    End(Eight),
    /// All of them, with a zero before them where they are odd: option B where the account has more than sixteen.
    Whole(&'a [u8]),
}

impl fmt::Debug for CardNumber<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CardNumber(****)")
    }
}

impl<'a> CardNumber<'a> {
    fn read(reader: &mut Reader<'a>, whole: bool) -> Result<Self, Fault> {
        if !whole {
            return Ok(Self::End(reader.field("account and sequence number")?));
        }
        let empty = reader.fault(ErrorCode::PIN_LENGTH);
        let length = reader.number(2)?;
        if length == 0 {
            return Err(empty);
        }
        let short = reader.fault(ErrorCode::DATA_LENGTH);
        let number = reader.binary(length).map_err(|_| short)?;
        if reader.skip(b';') { Ok(Self::Whole(number)) } else { Err(short) }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::End(eight) => eight.write(writer),
            Self::Whole(number) => {
                writer.number(number.len(), 2, 10);
                writer.binary(number);
                writer.byte(b';');
            }
        }
    }
}

/// KY.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ScriptEmv<'a> {
    /// What it carries: modes 0, 2, 4.
    pub mode: ScriptMode,
    /// Whose card.
    pub scheme: CardScheme,
    /// MK-SMI: makes the MAC.
    pub integrity: Key<'a>,
    /// Account and sequence number.
    pub card: CardNumber<'a>,
    /// What both session keys are derived from.
    pub session: Session,
    /// What the MAC covers, without the encrypted part.
    pub plain: &'a [u8],
    /// The encrypted part.
    pub hidden: Option<Hidden<'a>>,
}

impl fmt::Debug for ScriptEmv<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScriptEmv({:?}, {:?}, {} bytes)", self.mode, self.scheme, self.plain.len())
    }
}

impl<'a> Field<'a> for ScriptEmv<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let mode = ScriptMode::read(reader, b"024")?;
        let bad = reader.fault(ErrorCode::LENGTH_FLAG);
        let (scheme, whole) = match reader.take(1)? {
            b"0" => (CardScheme::Visa, false),
            b"1" => (CardScheme::Mastercard, false),
            b"2" => (CardScheme::Visa, true),
            b"3" => (CardScheme::Mastercard, true),
            _ => return Err(bad),
        };
        let integrity = reader.field("MK-SMI")?;
        Ok(Self {
            mode,
            scheme,
            integrity,
            card: CardNumber::read(reader, whole)?,
            session: reader.field("session data, or branch and counter")?,
            plain: counted(reader)?,
            hidden: Hidden::read(reader, mode, false)?,
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.byte(self.mode.digit());
        writer.byte(match (self.scheme, self.card) {
            (CardScheme::Visa, CardNumber::End(_)) => b'0',
            (CardScheme::Mastercard, CardNumber::End(_)) => b'1',
            (CardScheme::Visa, CardNumber::Whole(_)) => b'2',
            (CardScheme::Mastercard, CardNumber::Whole(_)) => b'3',
        });
        self.integrity.write(writer);
        self.card.write(writer);
        self.session.write(writer);
        put_counted(writer, self.plain);
        self.hidden.iter().for_each(|hidden| hidden.write(writer));
    }
}

/// KV, KZ: the MAC, and the encrypted part where there is one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// Eight bytes; a card may want fewer.
    pub mac: [u8; 8],
    /// What goes into the script.
    pub data: Option<&'a [u8]>,
}

impl fmt::Debug for Sealed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(****)")
    }
}

impl<'a> Field<'a> for Sealed<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let mac = reader.binary_array()?;
        // A length in hex digits, or the end: a trailer begins with another byte.
        if !reader.peek().is_some_and(|byte| is_hex(&byte)) {
            return Ok(Self { mac, data: None });
        }
        let length = reader.hex_number(4)?;
        Ok(Self { mac, data: Some(reader.binary(length)?) })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.binary(&self.mac);
        if let Some(data) = self.data {
            writer.number(data.len(), 4, 16);
            writer.binary(data);
        }
    }
}
