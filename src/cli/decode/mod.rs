//! `pinion decode`: a message explained.
//!
//! Reads what people paste, explains each message in it, and says where a bad one broke. **Never here:** rules of
//! messages (`iso8583::explain`). Where next: `paste` for input, `print` for text.

use std::io::{IsTerminal, Read, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use bytes::BytesMut;
use clap::Args;
use serde_json::{Value, json};
use tokio_util::codec::Decoder;

use crate::cli::{Failure, boot};
use crate::iso8583::explain::{self, Row, Shown};
use crate::iso8583::frame::{Frame, FrameCodec, Framing};
use crate::iso8583::{Dialect, Layout, Message, decode, to_json};

mod paste;
mod print;

pub(super) use print::Style;

/// Arguments of `pinion decode`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  pinion decode --dialect iso87-ascii 30313030...
  xxd frame.bin | pinion decode --dialect postilion --framed
  pinion decode --dialect iso87-bcd --json --clear < message.hex | pinion encode --dialect iso87-bcd

Hexadecimal may have spaces, line ends, colons, commas, 0x, or be a dump of xxd, hexdump -C, od or Wireshark. An empty
line, or an offset that starts again from zero, starts the next message. Exit 0 when every message decodes, 1 when one
does not.")]
pub(super) struct Decode {
    /// A built-in dialect (see `pinion dialects`) or a file whose name ends in .toml.
    #[arg(long)]
    dialect: String,
    /// The input is frames: strip length, header and trailer first.
    #[arg(long)]
    framed: bool,
    /// The form of a frame, as a link's `framing`: be2, ascii4, be2+tpdu, ...
    #[arg(long, default_value = "be2")]
    framing: Framing,
    /// Show account numbers, PIN blocks and everything else that is masked.
    #[arg(long)]
    clear: bool,
    /// One JSON document a message.
    #[arg(long)]
    json: bool,
    /// The message in hexadecimal; without it, stdin is read.
    hex: Vec<String>,
}

/// A piece of input.
enum Piece {
    Message { bytes: Vec<u8>, header: Vec<u8> },
    Poll,
    Broken { reason: String, left: usize },
}

/// A dialect for a command line: a name that is not known is bad usage, a bad file is bad configuration.
pub(super) fn dialect(name: &str) -> Result<Arc<Dialect>, Failure> {
    let file = Path::new(name).extension().is_some_and(|extension| extension == "toml");
    boot::load_dialect(name)
        .map_err(|reason| if file { Failure::Config(reason) } else { Failure::Usage(reason) })
}

/// Writes to stdout. A reader that has gone away wants no more and is no failure.
pub(super) fn put(text: &str) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("stdout").into())
        }
        _ => Ok(()),
    }
}

impl Decode {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let dialect = dialect(&self.dialect)?;
        let pieces = self.pieces()?;
        let messages = pieces.iter().filter(|piece| !matches!(piece, Piece::Poll)).count();
        let mut layout = Layout::new();
        let mut bad = 0;
        let style = Style::of(std::io::stdout().is_terminal());
        let mut seen = 0;
        for piece in &pieces {
            seen += usize::from(!matches!(piece, Piece::Poll));
            let count = (messages > 1).then_some((seen, messages));
            let good = match piece {
                Piece::Message { bytes, header } if self.json => {
                    let _ = header;
                    self.json(&dialect, bytes, &mut layout)?
                }
                Piece::Message { bytes, header } => {
                    self.text(&dialect, (bytes, header), count, style, &mut layout)?
                }
                Piece::Poll if self.json => true,
                Piece::Poll => put("poll: a frame without a message\n\n").map(|()| true)?,
                Piece::Broken { reason, left } => {
                    let error = json!({"frame": reason, "bytes": left});
                    let text = if self.json {
                        format!("{}\n", json!({"error": error}))
                    } else {
                        format!("{reason}; {left} bytes are not explained\n")
                    };
                    put(&text)?;
                    false
                }
            };
            bad += usize::from(!good);
        }
        match (bad, messages) {
            (0, _) => Ok(()),
            (_, 1) => Err(anyhow!("the message does not decode as {}", self.dialect).into()),
            _ => {
                Err(anyhow!("{bad} of {messages} messages do not decode as {}", self.dialect)
                    .into())
            }
        }
    }

    fn pieces(&self) -> Result<Vec<Piece>, Failure> {
        let mut text = self.hex.join(" ");
        if self.hex.is_empty() {
            std::io::stdin().lock().read_to_string(&mut text).map_err(|error| {
                if error.kind() == std::io::ErrorKind::InvalidData {
                    Failure::Usage("stdin holds bytes, not hexadecimal: pipe it through xxd".into())
                } else {
                    anyhow::Error::new(error).context("stdin").into()
                }
            })?;
        }
        let blocks = paste::read(&text).map_err(|error| Failure::Usage(error.to_string()))?;
        if !self.framed {
            let message = |bytes| Piece::Message { bytes, header: Vec::new() };
            return Ok(blocks.into_iter().map(message).collect());
        }
        let mut stream = BytesMut::from(blocks.concat().as_slice());
        let mut codec = FrameCodec::new(self.framing);
        let mut pieces = Vec::new();
        loop {
            let left = stream.len();
            match codec.decode_eof(&mut stream) {
                Ok(None) => return Ok(pieces),
                Ok(Some(Frame::Poll(_))) => pieces.push(Piece::Poll),
                Ok(Some(Frame::Message { message, header })) => pieces.push(Piece::Message {
                    bytes: message.to_vec(),
                    header: header.as_bytes().to_vec(),
                }),
                Err(error) => {
                    pieces.push(Piece::Broken { reason: error.to_string(), left });
                    return Ok(pieces);
                }
            }
        }
    }

    fn text(
        &self,
        dialect: &Dialect,
        (bytes, header): (&[u8], &[u8]),
        count: Option<(usize, usize)>,
        style: Style,
        layout: &mut Layout,
    ) -> Result<bool, Failure> {
        let error = decode(dialect, bytes, layout).err();
        let message = Message::partial(dialect, bytes, layout);
        let mut rows = explain::rows(&message, self.clear);
        let broken = error
            .map(|error| explain::broken(dialect, bytes, layout, error, self.clear, &mut rows));
        let mut out = String::new();
        print::heading(&mut out, &message, header, count, style);
        print::rows(&mut out, &rows, style);
        if let Some(broken) = &broken {
            print::broken(&mut out, broken, bytes.len(), style);
        }
        out.push('\n');
        put(&out)?;
        Ok(broken.is_none())
    }

    fn json(&self, dialect: &Dialect, bytes: &[u8], layout: &mut Layout) -> Result<bool, Failure> {
        let error = decode(dialect, bytes, layout).err();
        let message = Message::partial(dialect, bytes, layout);
        let mut document = to_json(&message, self.clear);
        if let Some(error) = error {
            let mut rows = explain::rows(&message, self.clear);
            let broken = explain::broken(dialect, bytes, layout, error, self.clear, &mut rows);
            hide(&mut document, &rows);
            let root = document.as_object_mut().context("a message is an object")?;
            root.insert(
                "error".into(),
                json!({
                    "field": error.field,
                    "offset": error.offset,
                    "rule": error.rule.to_string(),
                    "hints": broken.hints,
                    "decodes_as": broken.decodes_as,
                }),
            );
        }
        put(&format!("{document}\n"))?;
        Ok(error.is_none())
    }
}

/// A message that broke may show a secret where its dialect expects none: what the rows hide is hidden here too.
fn hide(document: &mut Value, rows: &[Row]) {
    let Some(fields) = document.get_mut("fields").and_then(Value::as_object_mut) else { return };
    for row in rows.iter().filter(|row| matches!(row.shown, Shown::Hidden(_))) {
        let field = row.path.split('.').next().unwrap_or_default();
        if let Some(value) = fields.get_mut(field) {
            let masked = value.as_str().is_some_and(|text| text.contains('*'));
            if !masked {
                *value = "***".into();
            }
        }
    }
}
