//! Fields that may be left out: each begins with a character that nothing else at its place can begin with.
//!
//! **Never here:** a field that is always there (`field`).

use std::fmt;

use crate::hsm::payshield::wire::error::ErrorCode;
use crate::hsm::payshield::wire::field::Letter;
use crate::hsm::payshield::wire::key::{Key, KeyType};
use crate::hsm::payshield::wire::scan::{Fault, Field, Reader, Writer};

/// A field that says by its first character whether it is there.
pub trait Marked {
    /// That character.
    const MARKS: &'static [u8];
}

impl<'a, T: Field<'a> + Marked> Field<'a> for Option<T> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let there = reader.peek().is_some_and(|byte| T::MARKS.contains(&byte));
        there.then(|| T::read(reader)).transpose()
    }

    fn write(&self, writer: &mut Writer<'_>) {
        if let Some(field) = self {
            field.write(writer);
        }
    }
}

/// PINs that may not be chosen: `*`, how many, how long, and the PINs. A device answers 86 to one of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Excluded<'a> {
    /// Digits of each PIN.
    pub length: u8,
    /// The PINs, one after the other.
    pub pins: &'a [u8],
}

impl Excluded<'_> {
    /// Digits of the longest table.
    pub const DIGITS_MAX: usize = 1188;

    /// Each PIN.
    pub fn each(&self) -> impl Iterator<Item = &[u8]> {
        self.pins.chunks_exact(usize::from(self.length).max(1))
    }
}

impl fmt::Debug for Excluded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Excluded({} PINs)", self.each().count())
    }
}

impl Marked for Excluded<'_> {
    const MARKS: &'static [u8] = b"*";
}

impl<'a> Field<'a> for Excluded<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        reader.take(1)?;
        let bad = reader.fault(ErrorCode::COUNT);
        let count = reader.number(2).map_err(|_| bad)?;
        let length = reader.number(2)?;
        if !(4..=12).contains(&length) {
            return Err(reader.fault(ErrorCode::PIN_LENGTH));
        }
        let pins = reader.digits(count * length).map_err(|_| bad)?;
        // Without a PIN the length says nothing; a device takes it.
        Ok(Self { length: u8::try_from(length).unwrap_or(4), pins })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.byte(b'*');
        writer.number(self.each().count(), 2, 10);
        writer.number(self.length.into(), 2, 10);
        writer.put(self.pins);
    }
}

/// Two digits that end a command: how long a random PIN shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinLength(pub u8);

impl Marked for PinLength {
    const MARKS: &'static [u8] = b"0123456789";
}

impl<'a> Field<'a> for PinLength {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        Ok(Self(u8::try_from(reader.number(2)?).unwrap_or(0)))
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.number(self.0.into(), 2, 10);
    }
}

/// Another account number behind `;`: that of the destination (G0), or the one a PVV is made over (EC, GQ). 12 digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OtherAccount(pub [u8; 12]);

impl fmt::Debug for OtherAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OtherAccount(****)")
    }
}

impl Marked for OtherAccount {
    const MARKS: &'static [u8] = b";";
}

impl<'a> Field<'a> for OtherAccount {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        reader.take(1)?;
        reader.chars(u8::is_ascii_digit).map(Self)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.byte(b';');
        writer.put(&self.0);
    }
}

/// Which type of BDK: `*` type 1 (as a destination), `~` type 2, `|` type 3, `!` type 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BdkFlag(pub u8);

impl Marked for BdkFlag {
    const MARKS: &'static [u8] = b"*~|!";
}

impl<'a> Field<'a> for BdkFlag {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        reader.take(1).map(|flag| Self(flag[0]))
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.byte(self.0);
    }
}

/// `;` and three letters: scheme under the ZMK, scheme under the LMK, type of the check value (`0` 16, `1` 6 digits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schemes {
    /// Scheme under the ZMK, or the old key.
    pub zmk: Letter,
    /// Scheme under the LMK.
    pub lmk: Letter,
    /// Type of the check value.
    pub check: Letter,
}

impl Marked for Schemes {
    const MARKS: &'static [u8] = b";";
}

impl<'a> Field<'a> for Schemes {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        reader.take(1)?;
        Ok(Self {
            zmk: Letter::read(reader)?,
            lmk: Letter::read(reader)?,
            check: Letter::read(reader)?,
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.byte(b';');
        writer.put(&[self.zmk.0[0], self.lmk.0[0], self.check.0[0]]);
    }
}

/// `;` and the three characters of a key type, where two were `FF`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongType(pub KeyType);

impl Marked for LongType {
    const MARKS: &'static [u8] = b";";
}

impl<'a> Field<'a> for LongType {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        reader.take(1)?;
        KeyType::read(reader).map(Self)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.byte(b';');
        self.0.write(writer);
    }
}

/// `;`, `00` and the type of the check value (BU).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckType(pub Letter);

impl Marked for CheckType {
    const MARKS: &'static [u8] = b";";
}

impl<'a> Field<'a> for CheckType {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        reader.take(1)?;
        let bad = reader.fault(ErrorCode::INPUT);
        if reader.take(2)? == b"00" { Letter::read(reader).map(Self) } else { Err(bad) }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.put(b";00");
        self.0.write(writer);
    }
}

/// `;`, the kind of the key that wraps (`0` ZMK, `1` TMK), that key, and the scheme under it (A0). With key blocks it
/// is seen without the `;`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportUnder<'a> {
    /// Whether it begins with `;`.
    pub marked: bool,
    /// `0` ZMK, `1` TMK.
    pub kind: Letter,
    /// The key that wraps.
    pub key: Key<'a>,
    /// Scheme under it.
    pub scheme: Letter,
}

impl Marked for ExportUnder<'_> {
    const MARKS: &'static [u8] = b";01";
}

impl<'a> Field<'a> for ExportUnder<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        Ok(Self {
            marked: reader.skip(b';'),
            kind: Letter::read(reader)?,
            key: Key::read(reader)?,
            scheme: Letter::read(reader)?,
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        if self.marked {
            writer.byte(b';');
        }
        self.kind.write(writer);
        self.key.write(writer);
        self.scheme.write(writer);
    }
}

/// What a new key block shall say, behind `%nn` and `#`: usage, algorithm, mode, version, exportability, no optional
/// blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Usage, for example `P0`.
    pub usage: [u8; 2],
    /// Algorithm and length, for example `T2`.
    pub algorithm: [u8; 2],
    /// Mode of use.
    pub mode: Letter,
    /// Key version number.
    pub version: [u8; 2],
    /// `E`, `N` or `S`.
    pub export: Letter,
}

impl Marked for Attributes {
    const MARKS: &'static [u8] = b"#";
}

impl<'a> Field<'a> for Attributes {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        reader.take(1)?;
        let plain = u8::is_ascii_alphanumeric;
        let usage = reader.chars(plain)?;
        let algorithm = reader.chars(plain)?;
        let mode = Letter::read(reader)?;
        let version = reader.chars(plain)?;
        let export = Letter::read(reader)?;
        let bad = reader.fault(ErrorCode::INPUT);
        if reader.take(2)? == b"00" {
            Ok(Self { usage, algorithm, mode, version, export })
        } else {
            Err(bad)
        }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.byte(b'#');
        writer.put(&self.usage);
        writer.put(&self.algorithm);
        self.mode.write(writer);
        writer.put(&self.version);
        self.export.write(writer);
        writer.put(b"00");
    }
}

/// `&` and an exportability (A8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exportability(pub Letter);

impl Marked for Exportability {
    const MARKS: &'static [u8] = b"&";
}

impl<'a> Field<'a> for Exportability {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        reader.take(1)?;
        Letter::read(reader).map(Self)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.byte(b'&');
        self.0.write(writer);
    }
}

/// `!` and the version of a TR-31 key block, `A` to `D` (A8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockVersion(pub Letter);

impl Marked for BlockVersion {
    const MARKS: &'static [u8] = b"!";
}

impl<'a> Field<'a> for BlockVersion {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        reader.take(1)?;
        Letter::read(reader).map(Self)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.byte(b'!');
        self.0.write(writer);
    }
}

/// `%nn` where fields may follow it; elsewhere it is read behind the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LmkHere;

impl<'a> Field<'a> for LmkHere {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        if reader.lmk.is_none() && reader.skip(b'%') {
            reader.lmk = Some(u8::try_from(reader.number(2)?).unwrap_or(0));
        }
        Ok(Self)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.lmk();
    }
}
