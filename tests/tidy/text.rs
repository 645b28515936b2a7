//! Reading the repository for `tests/tidy.rs`: its text files, their code without comments and strings, words in it.

use std::fs;
use std::path::Path;

/// One text file of the repository.
pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    /// Everything in it.
    pub(crate) text: String,
}

impl File {
    /// The module of a source file: `src/card/record.rs` and `src/card.rs` are of `card`.
    pub(crate) fn module(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let first = inside.split('/').next().unwrap_or(inside);
        let name = first.strip_suffix(".rs").unwrap_or(first);
        (!["lib", "main"].contains(&name)).then_some(name)
    }

    /// Whether its name ends in `.extension`.
    pub(crate) fn is(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|e| e == extension)
    }

    /// Whether it is a source file of one of these modules.
    pub(crate) fn is_of(&self, modules: &[&str]) -> bool {
        self.is("rs") && self.module().is_some_and(|m| modules.contains(&m))
    }

    /// The text without the tests at the end of the file; nothing of a file of tests.
    pub(crate) fn shipped(&self) -> &str {
        if self.path.ends_with("/tests.rs") || self.path.contains("/tests/") {
            return "";
        }
        self.text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default()
    }
}

/// Every text file; build directories and corpora aside.
pub(crate) fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let aside = ["target", ".git", ".venv", "artifacts", "corpus", "node_modules"];
    let (mut found, mut ahead) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(directory) = ahead.pop() {
        for path in fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if aside.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                ahead.push(path);
            } else if let Ok(text) =
                String::from_utf8(fs::read(&path).unwrap_or_else(|_| vec![0xFF]))
            {
                let path = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
                found.push(File { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.iter().any(|f| f.path == "src/lib.rs"), "the walk starts in the wrong place");
    found
}

/// The source files.
pub(crate) fn sources() -> Vec<File> {
    files().into_iter().filter(|f| f.path.starts_with("src/") && f.is("rs")).collect()
}

/// Lines of Markdown outside code fences.
pub(crate) fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Blanks comments, strings and characters; lines keep their numbers.
pub(crate) fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = match rest {
            [b'/', b'/', ..] => find(bytes, at, "\n"),
            [b'/', b'*', ..] => find(bytes, at + 2, "*/"),
            [b'r', b'"' | b'#', ..] if !is_in_word(bytes, at) => raw_end(bytes, at),
            [b'"', ..] => quoted_end(bytes, at, b'"'),
            [b'\'', b'\\', ..] => quoted_end(bytes, at, b'\''),
            // A character, not a lifetime: closed after one, of up to four bytes.
            [b'\'', ..]
                if rest.iter().skip(2).take(4).position(|b| *b == b'\'')
                    == Some(char_bytes(rest) - 1) =>
            {
                at + char_bytes(rest) + 2
            }
            _ => at,
        };
        for blank in out[at..end].iter_mut().filter(|b| **b != b'\n') {
            *blank = b' ';
        }
        at = end.max(at + 1);
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The end of the first `what` from `at` on, or of the text.
fn find(bytes: &[u8], at: usize, what: &str) -> usize {
    let found = bytes[at.min(bytes.len())..].windows(what.len()).position(|w| w == what.as_bytes());
    found.map_or(bytes.len(), |n| at + n + what.len())
}

/// Bytes of the character after a quote, by its first byte in UTF-8.
fn char_bytes(rest: &[u8]) -> usize {
    match rest.get(1) {
        Some(0xF0..) => 4,
        Some(0xE0..) => 3,
        Some(0xC0..) => 2,
        _ => 1,
    }
}

fn is_in_word(bytes: &[u8], at: usize) -> bool {
    let word = |n: usize| at.checked_sub(n).is_some_and(|i| is_word(char::from(bytes[i])));
    // `br"..."` is a raw string as well.
    let is_byte_string = at.checked_sub(1).is_some_and(|i| bytes[i] == b'b') && !word(2);
    word(1) && !is_byte_string
}

/// The end of a raw string, or `at` where `r#` begins a raw identifier.
fn raw_end(bytes: &[u8], at: usize) -> usize {
    let hashes = bytes[at + 1..].iter().take_while(|b| **b == b'#').count();
    let open = at + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return at;
    }
    find(bytes, open + 1, &format!("\"{}", "#".repeat(hashes)))
}

fn quoted_end(bytes: &[u8], at: usize, quote: u8) -> usize {
    let mut end = at + 1;
    while end < bytes.len() && bytes[end] != quote {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    (end + 1).min(bytes.len())
}

/// Whether `c` may be part of a name.
pub(crate) fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The name `text` begins with.
pub(crate) fn name(text: &str) -> &str {
    text.split(|c| !is_word(c)).next().unwrap_or_default()
}

/// Where `word` stands by itself: its line and the text after it.
pub(crate) fn words<'t>(text: &'t str, word: &str) -> Vec<(usize, &'t str)> {
    let found = text.match_indices(word).filter(|(at, _)| {
        let joined_before = word.starts_with(is_word) && text[..*at].ends_with(is_word);
        let joined_after = word.ends_with(is_word) && text[at + word.len()..].starts_with(is_word);
        !joined_before && !joined_after
    });
    found.map(|(at, _)| (line_of(text, at), &text[at + word.len()..])).collect()
}

/// Line number of an offset, from 1.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}
