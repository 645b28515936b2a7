//! From a dialect file to a [`Dialect`]: inheritance, defaults, every check.
//!
//! All of it happens at start, so it is written for good errors, not for speed. **Never here:** bytes of a message.
//! Where next: `item` for values with their lines, `spec` for the result, `spec/README.md` for the form of a file.

use super::bitmap::{BitmapForm, FIELD_NUMBER_MAX};
use super::composite::{Ebcdic, Inner, divisible};
use super::encoding::Charset;
use super::field::{Encoding, FieldSpec, Format, Length, PrefixEncoding, Secrecy};
use super::item::{Item, flag, integer, table, word};
use super::spec::{BUILTIN, Dialect, MtiEncoding, SLOTS, SpecError, SpecProblem};
use super::wire::{Prefix, Unit, Wire, class_of};

/// Longest content a length prefix of six digits can announce.
const LENGTH_MAX: u32 = 999_999;
/// Files that may build on each other.
const BASES_MAX: usize = 4;
/// Composite fields inside each other: field 127, its 25, their sub-fields.
const DEPTH_MAX: usize = 4;

const TOP_KEYS: &[&str] =
    &["name", "title", "base", "version", "mti", "bitmap", "bitmaps", "encoding", "fields"];
const FIELD_KEYS: &[&str] = &[
    "name",
    "format",
    "length",
    "encoding",
    "prefix",
    "counts",
    "pad",
    "secrecy",
    "lenient",
    "inner",
    "bitmap",
    "bits",
    "tag_digits",
    "length_digits",
    "lead",
    "sub",
    "undefined",
];
/// Sections that other modules read.
const FOREIGN: &[&str] = &["pin_change", "responses"];

pub(super) fn dialect(text: &str, origin: &str) -> Result<Dialect, SpecError> {
    let item = inherited(text, origin, BASES_MAX)?;
    for (key, value) in item.entries() {
        if !TOP_KEYS.contains(&key) && !FOREIGN.contains(&key) {
            return Err(value.problem("", key, SpecProblem::UnknownKey));
        }
    }
    let defaults = Defaults::read(&item)?;
    let version = match integer(&item, "", "version", 1987, 2003)? {
        1987 => 1987,
        1993 => 1993,
        2003 => 2003,
        _ => return Err(at(&item, "version", SpecProblem::Choice("1987, 1993, 2003"))),
    };
    let mti = match word(&item, "", "mti", None)? {
        "ascii" => MtiEncoding::Ascii,
        "bcd" => MtiEncoding::Bcd,
        "ebcdic" => MtiEncoding::Ebcdic,
        _ => return Err(at(&item, "mti", SpecProblem::Choice("ascii, bcd, ebcdic"))),
    };
    let bitmap = bitmap_form(&item, "")?;
    let bitmaps = integer(&item, "", "bitmaps", 1, 3)?;
    let mut fields: Box<[Option<FieldSpec>; SLOTS]> = Box::new([const { None }; SLOTS]);
    let mut wires = Box::new([Wire::UNDEFINED; SLOTS]);
    let table = table(&item, "", "fields")?;
    for (key, value) in table.entries() {
        let number: u8 =
            key.parse().ok().filter(|n| (1..=FIELD_NUMBER_MAX).contains(n)).ok_or_else(|| {
                value.problem(key, "", SpecProblem::Rule("is no field number: 1 to 192"))
            })?;
        if u32::from(number) > bitmaps * 64 {
            return Err(value.problem(key, "", SpecProblem::Rule("lies beyond the last bitmap")));
        }
        if flag(value, key, "undefined")? {
            continue;
        }
        let spec = field(u32::from(number), key, value, &defaults, DEPTH_MAX)?;
        if let (Some(slot), Some(wire)) =
            (fields.get_mut(usize::from(number)), wires.get_mut(usize::from(number)))
        {
            *wire = spec.wire;
            *slot = Some(spec);
        }
    }
    Ok(Dialect {
        name: word(&item, "", "name", None)?.into(),
        title: word(&item, "", "title", None)?.into(),
        version,
        origin: origin.into(),
        mti,
        bitmap,
        #[expect(clippy::cast_possible_truncation, reason = "1 to 3")]
        bitmaps: bitmaps as u8,
        fields,
        wires,
        sections: item,
    })
}

/// The file laid over the built-in dialect it names as its base.
fn inherited(text: &str, origin: &str, bases_left: usize) -> Result<Item, SpecError> {
    let item = Item::parse(text, origin)?;
    let Some(base) = item.get("base") else { return Ok(item) };
    let name = base.as_str().unwrap_or_default();
    let Some((name, text)) = BUILTIN.iter().find(|(known, _)| *known == name) else {
        return Err(base.error("base", "must name a built-in dialect"));
    };
    if bases_left == 0 {
        return Err(base.error("base", "builds on too many other dialects"));
    }
    let mut under = inherited(text, &format!("{name}.toml"), bases_left - 1)?;
    under.overlay(&item);
    Ok(under)
}

/// What a field says that says nothing.
struct Defaults {
    text: Encoding,
    n: Encoding,
    n_variable: Encoding,
    z: Encoding,
    binary: Encoding,
    prefix: PrefixEncoding,
    counts: Option<bool>,
    pad: u8,
}

impl Defaults {
    fn read(item: &Item) -> Result<Self, SpecError> {
        let table = table(item, "", "encoding")?;
        for (key, value) in table.entries() {
            let known = ["text", "n", "n_variable", "z", "binary", "prefix", "counts", "pad"]
                .contains(&key);
            if !known {
                return Err(value.problem("", key, SpecProblem::UnknownKey));
            }
        }
        let n = encoding(table, "", "n", Some(Encoding::Ascii))?;
        let n_variable = encoding(table, "", "n_variable", Some(n))?;
        Ok(Self {
            text: encoding(table, "", "text", Some(Encoding::Ascii))?,
            n,
            n_variable,
            z: encoding(table, "", "z", Some(n_variable))?,
            binary: encoding(table, "", "binary", Some(Encoding::Binary))?,
            prefix: prefix(table, "", Some(PrefixEncoding::Ascii))?,
            counts: counts(table, "")?,
            pad: pad(table, "", 0)?,
        })
    }

    fn of(&self, format: Format, length: Length) -> Encoding {
        match (format, length) {
            (Format::N, Length::Variable { .. }) => self.n_variable,
            (Format::N | Format::Xn, _) => self.n,
            (Format::Z, _) => self.z,
            (Format::B, _) => self.binary,
            (Format::A | Format::An | Format::Ans, _) => self.text,
        }
    }
}

fn field(
    number: u32,
    path: &str,
    item: &Item,
    defaults: &Defaults,
    depth: usize,
) -> Result<FieldSpec, SpecError> {
    if !item.is_table() {
        return Err(item.problem(path, "", SpecProblem::Type("a table")));
    }
    for (key, value) in item.entries() {
        if !FIELD_KEYS.contains(&key) {
            return Err(value.problem(path, key, SpecProblem::UnknownKey));
        }
    }
    let format = match word(item, path, "format", None)? {
        "n" => Format::N,
        "a" => Format::A,
        "an" => Format::An,
        "ans" => Format::Ans,
        "z" => Format::Z,
        "b" => Format::B,
        "x+n" => Format::Xn,
        _ => {
            let choice = SpecProblem::Choice("n, a, an, ans, z, b, x+n");
            return Err(problem(item, path, "format", choice));
        }
    };
    let length = length(item, path)?;
    let encoding = encoding(item, path, "encoding", Some(defaults.of(format, length)))?;
    if !fits(format, encoding) {
        let rule = SpecProblem::Rule("does not fit the field's format");
        return Err(problem(item, path, "encoding", rule));
    }
    let packed = matches!(encoding, Encoding::BcdLeft | Encoding::BcdRight);
    let counted = counts(item, path)?.or(defaults.counts);
    let lenient = flag(item, path, "lenient")?;
    let prefix = prefix(item, path, Some(defaults.prefix))?;
    let secrecy = match word(item, path, "secrecy", Some("public"))? {
        "public" => Secrecy::Public,
        "masked" => Secrecy::Masked,
        "secret" => Secrecy::Secret,
        _ => {
            let choice = SpecProblem::Choice("public, masked, secret");
            return Err(problem(item, path, "secrecy", choice));
        }
    };
    let counts_bytes = match encoding {
        Encoding::BcdLeft | Encoding::BcdRight => counted.unwrap_or(false),
        Encoding::Hex => counted.unwrap_or(true),
        Encoding::Ascii | Encoding::Ebcdic | Encoding::Binary => true,
    };
    let mut spec = FieldSpec {
        number,
        name: word(item, path, "name", None)?.into(),
        format,
        encoding,
        length,
        prefix,
        counts_bytes,
        pad: pad(item, path, defaults.pad)?,
        secrecy,
        lenient,
        inner: None,
        wire: Wire::UNDEFINED,
    };
    spec.wire = wire(&spec, packed);
    spec.inner = inner(path, item, &spec, defaults, depth)?.map(Box::new);
    Ok(spec)
}

fn fits(format: Format, encoding: Encoding) -> bool {
    match encoding {
        Encoding::Ascii | Encoding::Ebcdic => format != Format::B,
        Encoding::BcdLeft | Encoding::BcdRight => {
            matches!(format, Format::N | Format::Z | Format::Xn)
        }
        Encoding::Binary | Encoding::Hex => format == Format::B,
    }
}

fn wire(spec: &FieldSpec, packed: bool) -> Wire {
    let signed = spec.format == Format::Xn;
    let unit = match (packed, signed, spec.encoding) {
        (true, true, _) => Unit::SignedNibble,
        (true, false, _) => Unit::Nibble,
        (false, _, Encoding::Hex) if spec.counts_bytes => Unit::HexPair,
        (false, ..) => Unit::Byte,
    };
    let (units, digits) = match spec.length {
        Length::Fixed(units) => (units, 0),
        Length::Variable { digits, max } => (max, digits),
    };
    let (prefix, prefix_bytes) = match (digits, spec.prefix) {
        (0, _) => (Prefix::Fixed, 0),
        (2, PrefixEncoding::Ascii) => (Prefix::Ascii2, 2),
        (_, PrefixEncoding::Ascii) => (Prefix::Ascii, digits),
        (_, PrefixEncoding::Ebcdic) => (Prefix::Ebcdic, digits),
        (_, PrefixEncoding::Bcd) => (Prefix::Bcd, digits.div_ceil(2)),
        (_, PrefixEncoding::Binary) => (Prefix::Binary, if units > 255 { 2 } else { 1 }),
    };
    let charset = if spec.encoding == Encoding::Ebcdic { Charset::Ebcdic } else { Charset::Ascii };
    Wire {
        max: units + u32::from(signed),
        unit,
        prefix,
        prefix_bytes,
        counts_bytes: packed && spec.counts_bytes && digits > 0,
        pad_right: spec.encoding == Encoding::BcdRight,
        signed: signed && !spec.lenient,
        charset,
        mask: if spec.lenient { 0 } else { class_of(spec.format, spec.encoding) },
    }
}

fn inner(
    path: &str,
    item: &Item,
    spec: &FieldSpec,
    defaults: &Defaults,
    depth: usize,
) -> Result<Option<Inner>, SpecError> {
    let Some(kind) = item.get("inner") else {
        return match item.get("sub") {
            Some(sub) => Err(sub.problem(path, "sub", SpecProblem::Rule("needs the key inner"))),
            None => Ok(None),
        };
    };
    if depth == 0 {
        return Err(kind.problem(path, "inner", SpecProblem::Rule("is too deep")));
    }
    let small = |key, most, default| match item.get(key) {
        #[expect(clippy::cast_possible_truncation, reason = "the bounds are below 256")]
        Some(_) => integer(item, path, key, 1, most).map(|n| n as u8),
        None => Ok(default),
    };
    let inner = match kind.as_str().unwrap_or_default() {
        "positional" => Inner::Positional(subs(path, item, defaults, depth, 10)?),
        "bitmap" => {
            let form = bitmap_form(item, path)?;
            let bits = small("bits", 64, 64)?;
            if !bits.is_multiple_of(8) {
                let rule = SpecProblem::Rule("must be a multiple of 8");
                return Err(problem(item, path, "bits", rule));
            }
            Inner::Bitmap { form, bits, subs: subs(path, item, defaults, depth, 10)? }
        }
        "tag-length" => Inner::Tagged {
            tag_digits: small("tag_digits", 6, 2)?,
            length_digits: match item.get("length_digits").and_then(Item::as_integer) {
                Some(0) => 0,
                _ => small("length_digits", 6, 2)?,
            },
            lead: small("lead", 99, 0)?,
            charset: if spec.encoding == Encoding::Ebcdic { Ebcdic::Yes } else { Ebcdic::No },
            subs: subs(path, item, defaults, depth, 10)?,
        },
        "ber-tlv" => Inner::Tlv(subs(path, item, defaults, depth, 16)?),
        "data-sets" => Inner::DataSets(subs(path, item, defaults, depth, 16)?),
        "structured" => Inner::Structured,
        _ => {
            let choice = SpecProblem::Choice(
                "positional, bitmap, tag-length, ber-tlv, data-sets, structured",
            );
            return Err(kind.problem(path, "inner", choice));
        }
    };
    if spec.encoding == Encoding::Hex {
        let rule = SpecProblem::Rule("cannot divide a hexadecimal field");
        return Err(kind.problem(path, "inner", rule));
    }
    if !divisible(spec.format, &inner) {
        let rule = SpecProblem::Rule("does not fit the field's format");
        return Err(kind.problem(path, "inner", rule));
    }
    Ok(Some(inner))
}

fn subs(
    path: &str,
    item: &Item,
    defaults: &Defaults,
    depth: usize,
    radix: u32,
) -> Result<Box<[FieldSpec]>, SpecError> {
    let Some(table) = item.get("sub") else { return Ok(Box::default()) };
    let mut subs = Vec::new();
    for (key, value) in table.entries() {
        let path = format!("{path}.{key}");
        let number = u32::from_str_radix(key, radix).map_err(|_| {
            value.problem(&path, "", SpecProblem::Rule("is no sub-field number or tag"))
        })?;
        if flag(value, &path, "undefined")? {
            continue;
        }
        subs.push(field(number, &path, value, defaults, depth - 1)?);
    }
    subs.sort_by_key(FieldSpec::number);
    if let Some(pair) = subs.windows(2).find(|pair| matches!(pair, [a, b] if a.number == b.number))
    {
        let path = format!("{path}.{}", pair.first().map_or(0, FieldSpec::number));
        return Err(table.problem(&path, "", SpecProblem::Rule("is defined twice")));
    }
    Ok(subs.into())
}

fn length(item: &Item, path: &str) -> Result<Length, SpecError> {
    let form = "a number of units, or dots and the longest: \"..19\" is LL of at most 19";
    let Some(value) = item.get("length") else {
        return Err(item.problem(path, "length", SpecProblem::Missing));
    };
    let wrong = || value.problem(path, "length", SpecProblem::Type(form));
    if let Some(number) = value.as_integer() {
        let units = u32::try_from(number).ok().filter(|n| (1..=LENGTH_MAX).contains(n));
        return units.map(Length::Fixed).ok_or_else(wrong);
    }
    let text = value.as_str().ok_or_else(wrong)?;
    let most = text.trim_start_matches('.');
    let digits = text.len() - most.len();
    let max: u32 = most.trim().parse().map_err(|_| wrong())?;
    let digits = u8::try_from(digits).ok().filter(|n| (1..=6).contains(n)).ok_or_else(wrong)?;
    if max == 0 || max >= 10_u32.pow(u32::from(digits)) {
        let rule = SpecProblem::Rule("the longest does not fit its length prefix");
        return Err(value.problem(path, "length", rule));
    }
    Ok(Length::Variable { digits, max })
}

fn encoding(
    item: &Item,
    path: &str,
    key: &str,
    default: Option<Encoding>,
) -> Result<Encoding, SpecError> {
    let choice = "ascii, ebcdic, bcd-left, bcd-right, binary, hex";
    match (item.get(key), default) {
        (None, Some(default)) => Ok(default),
        (None, None) => Err(item.problem(path, key, SpecProblem::Missing)),
        (Some(value), _) => match value.as_str().unwrap_or_default() {
            "ascii" => Ok(Encoding::Ascii),
            "ebcdic" => Ok(Encoding::Ebcdic),
            "bcd-left" => Ok(Encoding::BcdLeft),
            "bcd-right" => Ok(Encoding::BcdRight),
            "binary" => Ok(Encoding::Binary),
            "hex" => Ok(Encoding::Hex),
            _ => Err(value.problem(path, key, SpecProblem::Choice(choice))),
        },
    }
}

fn prefix(
    item: &Item,
    path: &str,
    default: Option<PrefixEncoding>,
) -> Result<PrefixEncoding, SpecError> {
    let fallback = match default {
        Some(PrefixEncoding::Ebcdic) => "ebcdic",
        Some(PrefixEncoding::Bcd) => "bcd",
        Some(PrefixEncoding::Binary) => "binary",
        Some(PrefixEncoding::Ascii) | None => "ascii",
    };
    match word(item, path, "prefix", Some(fallback))? {
        "ascii" => Ok(PrefixEncoding::Ascii),
        "ebcdic" => Ok(PrefixEncoding::Ebcdic),
        "bcd" => Ok(PrefixEncoding::Bcd),
        "binary" => Ok(PrefixEncoding::Binary),
        _ => Err(problem(item, path, "prefix", SpecProblem::Choice("ascii, ebcdic, bcd, binary"))),
    }
}

fn counts(item: &Item, path: &str) -> Result<Option<bool>, SpecError> {
    match word(item, path, "counts", Some(""))? {
        "" => Ok(None),
        "digits" => Ok(Some(false)),
        "bytes" => Ok(Some(true)),
        _ => Err(problem(item, path, "counts", SpecProblem::Choice("digits, bytes"))),
    }
}

fn pad(item: &Item, path: &str, default: u8) -> Result<u8, SpecError> {
    match word(item, path, "pad", Some(if default == 0 { "0" } else { "f" }))? {
        "0" => Ok(0),
        "f" | "F" => Ok(0x0F),
        _ => Err(problem(item, path, "pad", SpecProblem::Choice("0, f"))),
    }
}

fn bitmap_form(item: &Item, path: &str) -> Result<BitmapForm, SpecError> {
    match word(item, path, "bitmap", None)? {
        "binary" => Ok(BitmapForm::Binary),
        "hex" => Ok(BitmapForm::Hex),
        "hex-ebcdic" => Ok(BitmapForm::HexEbcdic),
        _ => Err(problem(item, path, "bitmap", SpecProblem::Choice("binary, hex, hex-ebcdic"))),
    }
}

fn problem(item: &Item, path: &str, key: &str, problem: SpecProblem) -> SpecError {
    item.get(key).unwrap_or(item).problem(path, key, problem)
}

fn at(item: &Item, key: &str, what: SpecProblem) -> SpecError {
    problem(item, "", key, what)
}
