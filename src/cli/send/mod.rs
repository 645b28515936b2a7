//! `pinion send`: be one terminal, ask once, print the answer.
//!
//! Against `pinion demo` it needs a card and two PINs and nothing else. **Never here:** how a message looks
//! (`sim::terminal`), how PINs and keys come in (`secrets`), how an answer is shown (`show`).

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::BytesMut;
use clap::Args;
use jiff::civil::DateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::codec::Decoder;

use crate::cli::Failure;
use crate::cli::boot::load_dialect;
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::pan::Pan;
use crate::domain::pin::BlockFormat;
use crate::domain::request::Operation;
use crate::iso8583::frame::{Frame, FrameCodec, Framing};
use crate::iso8583::{Dialect, Layout, Message, decode};
use crate::limits::FRAME_BYTES_MAX;
use crate::sim::pin_pad::{PinBlock, PinPad, TypedPin};
use crate::sim::request::Request;
use crate::sim::terminal::{Card, ChipData, Network, Stamp, Terminal};

mod secrets;
mod show;

const EXAMPLES: &str = "Examples:
  pinion send --pan 4761739001010010 --pin 1234 --new-pin 2580
  pinion send --to 127.0.0.1:8584 --dialect iso87-bcd --demo-key zpk.acquirer \\
      --mac-demo-key zak.acquirer --pan 4761739001010010 --pin 2580 --new-pin 1470
  pinion send --reversal --pan 4761739001010010 --original-stan 123456 \\
      --rrn 632609000123 --at 2026-11-22T07:05:06
  pinion send --to atm-gateway:9000 --zpk-file zpk.hex --pan 4761739001010010 < pins
  pinion send --to pos-gateway:9000 --bdk bdk.pos --ksn FFFF9876543210E00001 --ksn-field 62 \\
      --pan 4761739001010010 --pin 1234 --new-pin 2580
  pinion send --chip 0012:0F1E2D3C4B5A6978 --pan 5413330089010012 --pin 2580 --new-pin 1470
  pinion send --echo --json

Exit: 0 approved, 2 declined, 1 no answer or an answer that cannot be trusted.";

/// Arguments of `pinion send`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Send {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    keys: secrets::Keys,
    #[command(flatten)]
    pins: secrets::Pins,
    /// Where to send it. Without it: the demo's link `atm-1`.
    #[arg(long, value_name = "HOST:PORT")]
    to: Option<String>,
    /// A built-in dialect, or a file that ends in .toml. The terminal asks in the way of the built-in of that name.
    #[arg(long, default_value = "iso87-ascii")]
    dialect: String,
    /// Framing, for example be2, ascii4, be2+tpdu.
    #[arg(long, default_value = "be2")]
    framing: Framing,
    /// Account number: DE 2.
    #[arg(long, value_name = "DIGITS")]
    pan: Option<String>,
    /// DE 14.
    #[arg(long, value_name = "YYMM")]
    expiry: Option<u16>,
    /// Card sequence number: DE 23.
    #[arg(long)]
    sequence: Option<u16>,
    /// What the card's chip says, for an issuer script in the answer: its counter (9F36) and cryptogram (9F26) in hex.
    #[arg(long, value_name = "ATC:ARQC", value_parser = chip_data)]
    chip: Option<ChipData>,
    /// Send it as a repeat (0101): with the STAN, reference and time of the first attempt.
    #[arg(long)]
    repeat: bool,
    /// DE 11. Without it: random.
    #[arg(long)]
    stan: Option<u64>,
    /// DE 37. Without it: random.
    #[arg(long)]
    rrn: Option<u64>,
    /// Time of the transaction, universal. Without it: now.
    #[arg(long, value_name = "YYYY-MM-DDThh:mm:ss")]
    at: Option<DateTime>,
    /// STAN of the change that a reversal undoes; --rrn and --at are then those of that change.
    #[arg(long, requires = "reversal")]
    original_stan: Option<u64>,
    /// DE 41.
    #[arg(long, default_value = "PINION01")]
    terminal: String,
    /// DE 42.
    #[arg(long, default_value = "PINION SEND")]
    acceptor: String,
    /// DE 32.
    #[arg(long, default_value = "000001")]
    institution: String,
    /// Seconds to wait for the connection, and then for the answer.
    #[arg(long, default_value_t = 30)]
    timeout: u64,
    /// One JSON document on stdout.
    #[arg(long)]
    json: bool,
}

/// What to ask for. Without any of them: a PIN change.
#[derive(Debug, Args)]
#[group(multiple = false)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line, at most one set")]
struct What {
    /// Ask whether the current PIN is right.
    #[arg(long)]
    verify: bool,
    /// Reset the try counter.
    #[arg(long)]
    unblock: bool,
    /// Undo a change.
    #[arg(long)]
    reversal: bool,
    /// Session: are you there.
    #[arg(long)]
    echo: bool,
    /// Session: sign on.
    #[arg(long)]
    sign_on: bool,
    /// Session: sign off.
    #[arg(long)]
    sign_off: bool,
}

/// What comes of the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Card(Operation),
    Session(Network),
}

impl What {
    fn ask(&self) -> Ask {
        if self.verify {
            Ask::Card(Operation::Verify)
        } else if self.unblock {
            Ask::Card(Operation::Unblock)
        } else if self.reversal {
            Ask::Card(Operation::Reverse)
        } else if self.echo {
            Ask::Session(Network::Echo)
        } else if self.sign_on {
            Ask::Session(Network::SignOn)
        } else if self.sign_off {
            Ask::Session(Network::SignOff)
        } else {
            Ask::Card(Operation::Change)
        }
    }
}

impl Send {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let clock = SystemClock::start();
        let dialect = load_dialect(&self.dialect).map_err(Failure::Usage)?;
        let to = self.to.clone().map_or_else(demo_address, Ok)?;
        let mac = self.keys.mac()?;
        let (request, stamp) = self.request(&dialect, &clock)?;
        let codec = FrameCodec::new(self.framing);
        let mut wire = BytesMut::new();
        let mark = codec.begin(&mut wire, None);
        request
            .write(&dialect, mac.as_ref(), &mut wire)
            .with_context(|| format!("the request in dialect {}", dialect.name()))?;
        codec.end(&mut wire, mark).context("the request")?;

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("runtime")?;
        let started = clock.now();
        let exchange = Exchange { dialect: &dialect, request: &request, codec };
        let wait = Duration::from_secs(self.timeout);
        let answer = runtime.block_on(exchange.run(&to, &wire, wait))?;
        let took = clock.now().saturating_sub(started);

        let mut layout = Layout::new();
        let message = decode(&dialect, &answer, &mut layout).context("the answer")?;
        let seen = show::Seen::new(&message, mac.as_ref());
        show::print(&seen, &stamp, took, self.json);
        if seen.mac_is_wrong() {
            return Err(anyhow!("the answer's MAC is wrong or missing: do not trust it").into());
        }
        if seen.approved() { Ok(()) } else { Err(Failure::Declined) }
    }

    fn request(&self, dialect: &Dialect, clock: &SystemClock) -> Result<(Request, Stamp), Failure> {
        let terminal =
            Terminal::new(Self::habits(dialect), &self.terminal, &self.acceptor, &self.institution)
                .ok_or_else(|| {
                    let known: Vec<_> = Terminal::dialects().collect();
                    let name = dialect.name();
                    Failure::Usage(format!(
                        "a terminal does not know how to ask in {name}: one of {}",
                        known.join(", ")
                    ))
                })?;
        let stamp = self.stamp(clock)?;
        let mut request = match self.what.ask() {
            Ask::Session(what) => terminal.network(what, &stamp),
            Ask::Card(Operation::Reverse) => self.reversal(&terminal, &stamp, clock)?,
            Ask::Card(operation) => self.ask(&terminal, operation, &stamp, clock)?,
        };
        if self.repeat {
            request.repeat();
        }
        Ok((request, stamp))
    }

    /// A dialect of one's own asks in the way of the built-in edition it belongs to, unless it is named like one.
    fn habits(dialect: &Dialect) -> &str {
        let known = Terminal::dialects().any(|name| name == dialect.name());
        match dialect.version() {
            _ if known => dialect.name(),
            1993 => "iso93-ascii",
            2003 => "cmf",
            _ => "iso87-ascii",
        }
    }

    fn stamp(&self, clock: &SystemClock) -> Result<Stamp, Failure> {
        let random = u64::from_le_bytes(clock.random()[..8].try_into().unwrap_or_default());
        let at = match self.at {
            Some(at) => at,
            None => now(clock)?,
        };
        Ok(Stamp {
            stan: self.stan.unwrap_or(random) % 1_000_000,
            rrn: self.rrn.unwrap_or(random >> 20) % 1_000_000_000_000,
            utc: at,
            local: at,
        })
    }

    fn card(&self) -> Result<Card, Failure> {
        let digits =
            self.pan.as_deref().ok_or_else(|| Failure::Usage("--pan is missing".into()))?;
        let pan = Pan::parse(digits.as_bytes())
            .map_err(|reason| Failure::Usage(format!("--pan: {reason}")))?;
        Ok(Card { pan, expiry: self.expiry, sequence: self.sequence })
    }

    fn ask(
        &self,
        terminal: &Terminal,
        operation: Operation,
        stamp: &Stamp,
        clock: &SystemClock,
    ) -> Result<Request, Failure> {
        let card = self.card()?;
        let changes = operation == Operation::Change;
        let proves = changes || operation == Operation::Verify;
        let (current, new) = self.pins.read(&self.keys, proves, changes)?;
        let block = |pin: Option<TypedPin>| -> Result<Option<PinBlock>, Failure> {
            let Some(pin) = pin else { return Ok(None) };
            Ok(Some(self.keys.pin_pad()?.block(&pin, &card.pan, clock.random())))
        };
        let (current, new) = (block(current)?, block(new)?);
        let mut request = terminal
            .ask(operation, stamp, &card, current.as_ref(), new.as_ref())
            .map_err(|reason| Failure::Usage(reason.to_string()))?;
        if let Some(chip) = &self.chip {
            terminal.add_chip(&mut request, chip);
        }
        if let Some((field, ksn)) = self.keys.serial_number()? {
            request.text(field, ksn.as_bytes());
        }
        Ok(request)
    }

    /// The change is built once more without its PINs, because its reversal repeats what identifies it.
    fn reversal(
        &self,
        terminal: &Terminal,
        stamp: &Stamp,
        clock: &SystemClock,
    ) -> Result<Request, Failure> {
        let (Some(stan), Some(_), Some(_)) = (self.original_stan, self.rrn, self.at) else {
            let need = "--reversal needs --original-stan, --rrn and --at of the change";
            return Err(Failure::Usage(need.into()));
        };
        let card = self.card()?;
        let key = [0; 16];
        let pad = PinPad::new(&key, BlockFormat::Iso0).context("pad")?;
        let pin = TypedPin::new(b"0000").context("pad")?;
        let nothing = pad.block(&pin, &card.pan, key);
        let original = terminal
            .ask(
                Operation::Change,
                &Stamp { stan, ..*stamp },
                &card,
                Some(&nothing),
                Some(&nothing),
            )
            .map_err(|reason| Failure::Usage(reason.to_string()))?;
        let own = Stamp { utc: now(clock)?, ..*stamp };
        Ok(terminal.reverse(&own, &original).context("reversal")?)
    }
}

/// Counter and cryptogram of the command line.
fn chip_data(text: &str) -> Result<ChipData, String> {
    let read = || {
        let (counter, cryptogram) = text.split_once(':')?;
        let mut chip = ChipData { counter: [0; 2], cryptogram: [0; 8] };
        hex::decode_to_slice(counter, &mut chip.counter).ok()?;
        hex::decode_to_slice(cryptogram, &mut chip.cryptogram).ok()?;
        Some(chip)
    };
    read().ok_or_else(|| "4 hex digits, a colon, 16 hex digits".into())
}

/// Universal time to the second.
fn now(clock: &SystemClock) -> Result<DateTime, Failure> {
    let seconds = i64::try_from(clock.wall().0 / 1_000).context("clock")?;
    let at = jiff::Timestamp::from_second(seconds).context("clock")?;
    Ok(jiff::tz::Offset::UTC.to_datetime(at))
}

/// The link `atm-1` of `pinion demo`, shifted as the demo is.
fn demo_address() -> Result<String, Failure> {
    let base = match std::env::var("PINION_DEMO_PORT_BASE") {
        Ok(text) => text.parse::<u16>().ok(),
        Err(_) => Some(0),
    };
    let port = base.and_then(|base| base.checked_add(8583)).ok_or_else(|| {
        Failure::Usage("PINION_DEMO_PORT_BASE: not a number that keeps 8583 below 65536".into())
    })?;
    Ok(format!("127.0.0.1:{port}"))
}

/// One question and its answer.
struct Exchange<'a> {
    dialect: &'a Dialect,
    request: &'a Request,
    codec: FrameCodec,
}

impl Exchange<'_> {
    /// Connects, sends, waits for the answer; polls and foreign messages in between are passed over.
    async fn run(mut self, to: &str, wire: &[u8], wait: Duration) -> anyhow::Result<BytesMut> {
        let connect = tokio::time::timeout(wait, TcpStream::connect(to));
        let mut stream = match connect.await {
            Ok(stream) => stream.with_context(|| format!("connect to {to}"))?,
            Err(_) => bail!("connect to {to}: not within {} s", wait.as_secs()),
        };
        stream.set_nodelay(true).context("socket")?;
        match tokio::time::timeout(wait, self.converse(&mut stream, wire)).await {
            Ok(answer) => answer,
            Err(_) => bail!("no answer from {to} within {} s", wait.as_secs()),
        }
    }

    async fn converse(&mut self, stream: &mut TcpStream, wire: &[u8]) -> anyhow::Result<BytesMut> {
        stream.write_all(wire).await.context("send")?;
        let mut src = BytesMut::with_capacity(FRAME_BYTES_MAX);
        loop {
            while let Some(frame) = self.codec.decode(&mut src).context("the answer's frame")? {
                let Frame::Message { message, .. } = frame else { continue };
                let mut layout = Layout::new();
                let seen = decode(self.dialect, &message, &mut layout).context("the answer")?;
                if self.answers(&seen) {
                    return Ok(BytesMut::from(&message[..]));
                }
            }
            if stream.read_buf(&mut src).await.context("receive")? == 0 {
                bail!("the peer closed the connection without an answer");
            }
        }
    }

    /// Version and class of the request, the function after its own, no repeat, and the same STAN.
    fn answers(&self, message: &Message<'_>) -> bool {
        let [version, class, function, _] = self.request.mti();
        let [v, c, f, _] = message.mti();
        let (Some(want), Some(got)) = (self.request.get(11), message.text(11)) else {
            return false;
        };
        [v, c, f] == [version, class, function + 1] && got.as_bytes() == want.as_bytes()
    }
}

/// A file of the command line.
fn read_file(path: &PathBuf) -> Result<zeroize::Zeroizing<Vec<u8>>, Failure> {
    std::fs::read(path)
        .map(zeroize::Zeroizing::new)
        .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chip_data_of_the_command_line() {
        let chip = chip_data("0012:0F1E2D3C4B5A6978").unwrap();
        assert_eq!(chip.counter, [0x00, 0x12]);
        assert_eq!(hex::encode_upper(chip.cryptogram), "0F1E2D3C4B5A6978");
        for bad in [
            "",
            "0012",
            "0012:",
            "12:0F1E2D3C4B5A6978",
            "0012:0F1E2D3C4B5A69",
            "001G:0F1E2D3C4B5A6978",
        ] {
            assert!(chip_data(bad).is_err(), "{bad}");
        }
    }
}
