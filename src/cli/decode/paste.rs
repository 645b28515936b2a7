//! Hexadecimal as people paste it, to bytes: plain, spaced, with `0x`, colons or commas, or a dump with offsets and a
//! text column (`xxd`, `hexdump -C`, `od -A x -t x1`, Wireshark, `tcpdump -X`).
//!
//! An offset of zero, or an empty line between plain lines, starts a new message. **Never here:** what the bytes mean.
//! Errors name line and column, never what stands there.

/// Most bytes a paste may have: a dump of a long trace is cut into messages before it is explained.
const PASTE_BYTES_MAX: usize = 1 << 20;

/// Why a paste is not hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PasteError {
    /// A character that is no hex digit and separates nothing.
    #[error("line {line}, column {column}: not hexadecimal")]
    Character { line: usize, column: usize },
    /// There is nothing in it.
    #[error("no hexadecimal digits: give them as an argument or on stdin")]
    Empty,
    /// Half a byte is left over.
    #[error("line {line}: an odd number of hexadecimal digits")]
    Odd { line: usize },
    /// Longer than anything worth explaining.
    #[error("more than {PASTE_BYTES_MAX} bytes")]
    TooLong,
}

/// The byte strings of a paste, in order. None is empty.
pub(super) fn read(text: &str) -> Result<Vec<Vec<u8>>, PasteError> {
    let mut reader = Reader::default();
    for (index, line) in text.lines().enumerate() {
        reader.line(index + 1, line)?;
    }
    reader.end_block()?;
    if reader.blocks.is_empty() { Err(PasteError::Empty) } else { Ok(reader.blocks) }
}

#[derive(Default)]
struct Reader {
    blocks: Vec<Vec<u8>>,
    block: Vec<u8>,
    /// A digit whose other half is still to come.
    half: Option<(u8, usize)>,
    /// The block has offsets.
    dump: bool,
    /// The last line was `*`: the one before it repeats up to the next offset.
    repeats: bool,
    total: usize,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) -> Result<(), PasteError> {
        let trimmed = line.trim();
        if trimmed.is_empty() {
            return if self.dump { Ok(()) } else { self.end_block() };
        }
        if trimmed.starts_with('#') || trimmed.starts_with("//") {
            return Ok(());
        }
        if self.dump && trimmed == "*" {
            self.repeats = true;
            return Ok(());
        }
        match self.offset(trimmed) {
            Some((0, rest)) => {
                self.end_block()?;
                self.dump = true;
                self.dump_line(rest)
            }
            Some((offset, rest)) => {
                self.dump = true;
                self.repeat_to(offset)?;
                self.dump_line(rest)
            }
            None => {
                if self.dump {
                    self.end_block()?;
                }
                self.plain(number, line)
            }
        }
    }

    /// Splits an offset off: `0010:`, `0x0010:`, or `0010` where it is the number of bytes so far.
    fn offset<'a>(&self, line: &'a str) -> Option<(usize, &'a str)> {
        let marked = line.strip_prefix("0x");
        let digits = marked.unwrap_or(line);
        let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
        let (digits, rest) = digits.split_at(end);
        if !(4..=8).contains(&digits.len()) {
            return None;
        }
        let offset = usize::from_str_radix(digits, 16).ok()?;
        if let Some(rest) = rest.strip_prefix(':') {
            let separated = rest.is_empty() || rest.starts_with([' ', '\t']);
            return separated.then_some((offset, rest));
        }
        let wide = rest.starts_with("  ") || rest.starts_with('\t');
        let fits = self.repeats || offset == self.block.len();
        let starts = offset == 0 && (wide || (digits.len() >= 6 && rest.starts_with(' ')));
        let goes_on = self.dump && offset > 0 && fits && (rest.is_empty() || rest.starts_with(' '));
        (starts || goes_on).then_some((offset, rest))
    }

    fn repeat_to(&mut self, offset: usize) -> Result<(), PasteError> {
        if std::mem::take(&mut self.repeats) {
            let last = self.block.len().saturating_sub(16);
            let line: Vec<u8> = self.block.get(last..).unwrap_or_default().to_vec();
            while !line.is_empty() && self.block.len() < offset.min(PASTE_BYTES_MAX) {
                self.take(&line)?;
            }
            self.block.truncate(offset);
        }
        Ok(())
    }

    /// Groups of digits up to the text column, which two spaces or a bar set apart.
    fn dump_line(&mut self, line: &str) -> Result<(), PasteError> {
        let line = line.split('|').next().unwrap_or_default().trim();
        let mut taken = 0;
        let mut rest = line;
        while !rest.is_empty() {
            let end = rest.find([' ', '\t']).unwrap_or(rest.len());
            let (group, after) = rest.split_at(end);
            let Some(bytes) = hex::decode(group).ok().filter(|bytes| bytes.len() <= 8) else {
                break;
            };
            self.take(&bytes)?;
            taken += bytes.len();
            rest = after.trim_start_matches([' ', '\t']);
            let gap = after.len() - rest.len();
            // Some tools leave a wider gap after eight bytes.
            if gap > 2 || (gap == 2 && taken != 8) {
                break;
            }
        }
        Ok(())
    }

    fn plain(&mut self, number: usize, line: &str) -> Result<(), PasteError> {
        let mut characters = line.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            let next = characters.peek().map(|(_, next)| *next);
            let marks = matches!((character, next), ('0' | '\\', Some('x' | 'X')));
            if marks && self.half.is_none() {
                characters.next();
                continue;
            }
            if character.is_whitespace() || ":;,-{}[]()\"'\u{feff}".contains(character) {
                continue;
            }
            let Some(digit) = character.to_digit(16).and_then(|digit| u8::try_from(digit).ok())
            else {
                let column = line.get(..at).map_or(0, |before| before.chars().count()) + 1;
                return Err(PasteError::Character { line: number, column });
            };
            match self.half.take() {
                Some((high, _)) => self.take(&[high << 4 | digit])?,
                None => self.half = Some((digit, number)),
            }
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), PasteError> {
        self.total += bytes.len();
        if PASTE_BYTES_MAX < self.total {
            return Err(PasteError::TooLong);
        }
        self.block.extend_from_slice(bytes);
        Ok(())
    }

    fn end_block(&mut self) -> Result<(), PasteError> {
        if let Some((_, line)) = self.half.take() {
            return Err(PasteError::Odd { line });
        }
        self.dump = false;
        self.repeats = false;
        if !self.block.is_empty() {
            self.blocks.push(std::mem::take(&mut self.block));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(paste: &str, want: &[&str]) {
        let got = read(paste).map(|blocks| blocks.iter().map(hex::encode).collect::<Vec<_>>());
        assert_eq!(got.as_deref(), Ok(want.map_owned().as_slice()), "{paste}");
    }

    trait MapOwned {
        fn map_owned(&self) -> Vec<String>;
    }

    impl MapOwned for [&str] {
        fn map_owned(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }

    const TEXT: &str = "303130307024058020c1800410343736313733393030313031303031";

    /// The dumps are what the tools print, written down from runs of them.
    #[test]
    fn every_way_to_paste() {
        check("30313030", &["30313030"]);
        check("30 31 3a\n 30:31:30\n0x30, 0x31 \\x30", &["30313a303130303130"]);
        check("{0x30,0x31,\n0x32}", &["303132"]);
        check("0100\n\n0200", &["0100", "0200"]);
        check("# a comment\n0100", &["0100"]);
        let xxd = "00000000: 3031 3030 7024 0580 20c1 8004 1034 3736  0100p$.. ....476\n\
                   00000010: 3137 3339 3030 3130 3130 3031            173900101001\n";
        check(xxd, &[TEXT]);
        let hexdump = "00000000  30 31 30 30 70 24 05 80  20 c1 80 04 10 34 37 36  |0100p$.. ....476|\n\
             00000010  31 37 33 39 30 30 31 30  31 30 30 31              |173900101001|\n\
             0000001c\n";
        check(hexdump, &[TEXT]);
        let od = "000000 30 31 30 30 70 24 05 80 20 c1 80 04 10 34 37 36\n\
                  000010 31 37 33 39 30 30 31 30 31 30 30 31\n00001c\n";
        check(od, &[TEXT]);
        let wireshark = "0000   30 31 30 30 70 24 05 80 20 c1 80 04 10 34 37 36   0100p$.. ....476\n\
                         0010   31 37 33 39 30 30 31 30 31 30 30 31               173900101001\n";
        check(wireshark, &[TEXT]);
        let tcpdump = "\t0x0000:  3031 3030 7024 0580 20c1 8004 1034 3736  0100p$......476\n\
                       \t0x0010:  3137 3339 3030 3130 3130 3031            173900101001\n";
        check(tcpdump, &[TEXT]);
        check(&format!("{xxd}{hexdump}"), &[TEXT, TEXT]);
        // A short last line whose text column looks like hexadecimal.
        check("00000000: 3031 3233  0123\n", &["30313233"]);
        let stars = "00000000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n\
                     *\n00000030  01                                                |.|\n00000031\n";
        check(stars, &[&format!("{}01", "00".repeat(48))]);
    }

    #[test]
    fn refusals() {
        assert_eq!(read(""), Err(PasteError::Empty));
        assert_eq!(read("\n \n"), Err(PasteError::Empty));
        assert_eq!(read("30\n3z"), Err(PasteError::Character { line: 2, column: 2 }));
        assert_eq!(read("303"), Err(PasteError::Odd { line: 1 }));
    }
}
