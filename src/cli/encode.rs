//! `pinion encode`: the inverse of `decode --json --clear`.
//!
//! **Never here:** the JSON form itself (`iso8583::json`).

use std::io::Read;

use anyhow::{Context, anyhow};
use bytes::BytesMut;
use clap::Args;
use serde_json::Value;
use tokio_util::codec::Encoder;

use crate::cli::{Failure, decode};
use crate::iso8583::frame::{FrameCodec, Framing};
use crate::iso8583::from_json;

/// Arguments of `pinion encode`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  echo '{\"mti\": \"0800\", \"fields\": {\"11\": \"000001\", \"70\": \"301\"}}' | pinion encode --dialect iso87-ascii
  pinion decode --dialect postilion --json --clear < message.hex | pinion encode --dialect postilion --framed

Several documents on stdin give one line of hexadecimal each.")]
pub(super) struct Encode {
    /// A built-in dialect (see `pinion dialects`) or a file whose name ends in .toml.
    #[arg(long)]
    dialect: String,
    /// Put the message into a frame.
    #[arg(long)]
    framed: bool,
    /// The form of the frame, as a link's `framing`.
    #[arg(long, default_value = "be2")]
    framing: Framing,
}

impl Encode {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let dialect = decode::dialect(&self.dialect)?;
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).context("stdin")?;
        let mut out = String::new();
        let documents = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
        for document in documents {
            let document = document.context("stdin is not JSON")?;
            refuse(&document)?;
            let message = from_json(&dialect, &document).map_err(anyhow::Error::new)?;
            let wire = if self.framed {
                let mut frame = BytesMut::new();
                FrameCodec::new(self.framing)
                    .encode(&message[..], &mut frame)
                    .map_err(anyhow::Error::new)?;
                frame
            } else {
                message
            };
            out.push_str(&hex::encode_upper(&wire));
            out.push('\n');
        }
        if out.is_empty() {
            return Err(Failure::Usage("no JSON on stdin: see pinion encode --help".into()));
        }
        decode::put(&out)
    }
}

/// What `decode` prints of a broken message, or without `--clear`, is not all of it.
fn refuse(document: &Value) -> Result<(), Failure> {
    if document.get("error").is_some() {
        return Err(anyhow!("the document is of a message that did not decode").into());
    }
    let fields = document.get("fields").and_then(Value::as_object);
    let mut pairs = fields.into_iter().flatten();
    match pairs.find(|(_, value)| masked(value)) {
        None => Ok(()),
        Some((field, _)) => {
            Err(anyhow!("field {field} is masked: decode with --json --clear").into())
        }
    }
}

fn masked(value: &Value) -> bool {
    match value {
        Value::String(text) => text == "***" || text.contains("******"),
        Value::Object(parts) => parts.values().any(masked),
        _ => false,
    }
}
