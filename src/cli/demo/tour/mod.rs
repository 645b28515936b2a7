//! The tour of `pinion demo`: one PIN change through each door, refusals, repeats and reversals, over real TCP.
//!
//! It says what went in, where it was routed, what came back and how long it took, and fails when any answer is not the
//! expected one. **Never here:** clear PINs or whole account numbers in the output. Where next: `steps` for the table,
//! `line` for the wire.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::BytesMut;
use jiff::civil::DateTime;

use crate::cli::decode::{Style, put};
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::pan::Pan;
use crate::domain::request::Operation;
use crate::iso8583::explain::{self, Row, Shown};
use crate::iso8583::{Layout, Message, decode};
use crate::ops::config::{Config, Product};
use crate::route::Route;
use crate::sim::pin_pad::{PinBlock, TypedPin};
use crate::sim::request::Request;
use crate::sim::terminal::{Card, Network, Stamp};
use crate::sim::world::World;

mod doors;
mod line;
mod steps;

use line::{Exchange, Line};
use steps::{Ask, CHAPTERS, Step};

/// Fields of a request that are worth a line.
const SENT: [&str; 10] = ["2", "3", "11", "52", "53", "64", "70", "90", "125", "128"];

/// What became of one step.
struct Result {
    chapter: usize,
    what: &'static str,
    link: &'static str,
    want: &'static str,
    got: String,
    took: Option<Duration>,
    wrong: Option<String>,
}

/// The tour, on its way.
struct Tour<'t> {
    config: &'t Config,
    world: &'t World,
    clock: SystemClock,
    lines: Vec<Line>,
    style: Style,
    stan: u64,
    results: Vec<Result>,
}

/// Goes through every step. `Ok(true)` when each got its expected answer.
pub(super) async fn run(
    config: &Config,
    world: &World,
    clock: SystemClock,
) -> anyhow::Result<bool> {
    let lines =
        config.links.iter().map(|link| Line::new(link, world)).collect::<anyhow::Result<_>>()?;
    let style = Style::of(std::io::stdout().is_terminal());
    let mut tour = Tour { config, world, clock, lines, style, stan: 0, results: Vec::new() };
    for (index, chapter) in CHAPTERS.iter().enumerate() {
        say(&format!("\n{}\n", style.bold(&format!("{:>2}  {}", index + 1, chapter.title))))?;
        for step in chapter.steps {
            tour.take(index + 1, step).await?;
        }
    }
    tour.doors(CHAPTERS.len() + 1).await?;
    tour.summary()
}

/// Prints what to do next with a demo that stays up.
pub(super) fn addresses(config: &Config, port_base: u16) -> anyhow::Result<()> {
    let mut out = String::from("\nAddresses to try\n");
    for link in &config.links {
        let _ = writeln!(out, "  {:<22} {} ({})", link.listen.to_string(), link.name, link.dialect);
    }
    for node in config.postilion.iter().flat_map(|postilion| &postilion.nodes) {
        let _ = writeln!(out, "  {:<22} {} (simulated)", node.address.to_string(), node.name);
    }
    let nodes = super::world::NODES_ADMIN.saturating_add(port_base);
    let _ = writeln!(out, "  127.0.0.1:{nodes:<12} what the nodes believe: /state");
    let base = match port_base {
        0 => String::new(),
        base => format!("PINION_DEMO_PORT_BASE={base} "),
    };
    let admin = config.admin.listen;
    let pan = String::from_utf8_lossy(steps::PLAIN);
    if let Some(http) = &config.http {
        let _ = writeln!(out, "  {:<22} five HTTP doors, /docs", http.listen.to_string());
        let public = http.clients.with_file_name(crate::cli::demo::doors::PUBLIC);
        let _ = writeln!(out, "  {:<22} key of the door postcard", public.display());
    }
    let _ = writeln!(out, "  {:<22} metrics, status", admin.to_string());
    let _ = writeln!(out, "\n  {base}pinion send --echo");
    let _ = writeln!(out, "  {base}pinion send --pan {pan}      asks for both PINs");
    let _ = writeln!(out, "  curl -s http://{admin}/metrics | grep pinion_requests_total");
    let _ = writeln!(out, "  curl -s http://{admin}/status");
    let _ = writeln!(out, "\nCtrl-C ends it.");
    say(&out)
}

fn say(text: &str) -> anyhow::Result<()> {
    put(text).map_err(|failure| anyhow!("{failure}"))
}

impl Tour<'_> {
    /// Asks one thing, prints it, remembers how it went.
    async fn take(&mut self, chapter: usize, step: &Step) -> anyhow::Result<()> {
        let Step { link, want, what, .. } = *step;
        let mut result =
            Result { chapter, what, link, want, got: String::new(), took: None, wrong: None };
        let mut out = String::new();
        match self.ask(step).await {
            Ok((exchange, index)) => {
                result.took = Some(exchange.took);
                let seen = self.show(&mut out, step, &exchange, index);
                match seen {
                    Ok(code) if code == want => result.got = code,
                    Ok(code) => {
                        result.wrong = Some(format!("expected {want}"));
                        result.got = code;
                    }
                    Err(error) => result.wrong = Some(format!("{error:#}")),
                }
            }
            Err(error) => result.wrong = Some(format!("{error:#}")),
        }
        let verdict = match &result.wrong {
            None => self.style.green("as expected"),
            Some(wrong) => self.style.red(&format!("NOT AS EXPECTED: {wrong}")),
        };
        let gap = if out.is_empty() { format!("    {what} · {link}") } else { String::new() };
        let _ = writeln!(out, "{gap}  · {} · {verdict}", millis(result.took));
        self.results.push(result);
        say(&out)
    }

    async fn ask(&mut self, step: &Step) -> anyhow::Result<(Exchange, usize)> {
        self.stan += 1;
        let at = now(self.clock)?;
        let stamp = Stamp { stan: self.stan, rrn: 970_000_000_000 + self.stan, utc: at, local: at };
        let index = self.lines.iter().position(|line| line.name == step.link);
        let index = index.with_context(|| format!("no link {:?}", step.link))?;
        let request = self.request(step, index, &stamp)?;
        let line = &mut self.lines[index];
        let mac = match step.ask {
            Ask::VerifyWrongMac(_) => Some(&line.wrong_mac),
            _ => line.mac.as_ref(),
        };
        let mut wire = BytesMut::new();
        request.write(&line.dialect, mac, &mut wire)?;
        if let Ask::Change(..) = step.ask {
            line.last = Some(request);
        }
        let exchange = line.exchange(&wire, self.clock).await?;
        Ok((exchange, index))
    }

    fn request(&self, step: &Step, index: usize, stamp: &Stamp) -> anyhow::Result<Request> {
        let line = &self.lines[index];
        let pan = Pan::parse(step.pan)?;
        let known = self.world.card(&pan).context("no such card in the demo world")?;
        let (expiry, sequence) = (Some(known.expiry), Some(known.sequence));
        let card = Card { pan, expiry, sequence };
        let block = |pin: &[u8]| -> anyhow::Result<PinBlock> {
            Ok(line.pad.block(&TypedPin::new(pin)?, &card.pan, self.clock.random()))
        };
        let last = || line.last.as_ref().context("no change came before");
        let ask = |operation, current: Option<PinBlock>, new: Option<PinBlock>| {
            line.terminal.ask(operation, stamp, &card, current.as_ref(), new.as_ref())
        };
        Ok(match step.ask {
            Ask::Change(current, new) => {
                ask(Operation::Change, Some(block(current)?), Some(block(new)?))?
            }
            Ask::Echo => line.terminal.network(Network::Echo, stamp),
            Ask::Repeat => {
                let mut request = last()?.clone();
                request.repeat();
                request
            }
            Ask::Reverse => line.terminal.reverse(stamp, last()?)?,
            Ask::Unblock => ask(Operation::Unblock, None, None)?,
            Ask::Verify(pin) | Ask::VerifyWrongMac(pin) => {
                ask(Operation::Verify, Some(block(pin)?), None)?
            }
        })
    }

    /// Prints request and answer. Gives the response code of an answer that is one.
    fn show(
        &self,
        out: &mut String,
        step: &Step,
        exchange: &Exchange,
        index: usize,
    ) -> anyhow::Result<String> {
        let line = &self.lines[index];
        let mut sent = Layout::new();
        let sent = decode(&line.dialect, &exchange.sent, &mut sent).context("the request")?;
        let rows = explain::rows(&sent, false);
        let fields = rows.iter().filter(|row| SENT.contains(&row.path.as_str())).map(field);
        let fields = fields.collect::<Vec<_>>().join("  ");
        let route = self.route(step);
        let mti = |message: &Message<'_>| String::from_utf8_lossy(&message.mti()).into_owned();
        let head = format!("    {} · {} {} → {route}", step.what, line.name, line.address);
        let _ = writeln!(out, "{head}");
        let _ = writeln!(out, "      in   {}  {fields}", mti(&sent));
        let mut layout = Layout::new();
        let answer = decode(&line.dialect, &exchange.answer, &mut layout).context("the answer")?;
        let code = answer.text(39).and_then(|text| text.as_str().map(str::to_owned));
        let code = code.context("the answer has no DE 39")?;
        let meaning = explain::response_code(&line.dialect, &code);
        let _ = write!(out, "      out  {}  39 {code} {meaning}", mti(&answer));
        check(&sent, &answer, line)?;
        Ok(code)
    }

    /// Where the switch takes it: the wire does not say, its configuration does.
    fn route(&self, step: &Step) -> String {
        if let Ask::Echo = step.ask {
            return "the link itself".into();
        }
        let covers = |product: &&Product| step.pan.starts_with(product.bin.as_bytes());
        match self.config.products.iter().find(covers) {
            Some(product) => match product.route {
                Route::Cms => format!("CMS, product {}", product.name),
                Route::Postilion => format!("Postilion, product {}", product.name),
            },
            None => "nowhere: no product".into(),
        }
    }

    fn summary(&self) -> anyhow::Result<bool> {
        let mut out = String::from("\nSummary\n");
        let _ = writeln!(
            out,
            "  {:>2}  {:<34} {:<17} {:<8} {:<4} {:>10}",
            "", "step", "link", "expected", "got", "time"
        );
        for result in &self.results {
            let Result { chapter, what, link, want, got, took, wrong } = result;
            let mark = if wrong.is_some() { self.style.red("  FAILED") } else { String::new() };
            let took = millis(*took);
            let _ = writeln!(
                out,
                "  {chapter:>2}  {what:<34} {link:<17} {want:<8} {got:<4} {took:>10}{mark}"
            );
        }
        let failed = self.results.iter().filter(|result| result.wrong.is_some()).count();
        let total = self.results.len();
        let line = match failed {
            0 => self.style.green(&format!("\n{total} of {total} answers as expected")),
            _ => self.style.red(&format!("\n{failed} of {total} answers NOT as expected")),
        };
        let _ = writeln!(out, "{line}");
        say(&out)?;
        Ok(failed == 0)
    }
}

/// What every answer must be: of the request's type, with its trace number, without a PIN, under the link's MAC.
fn check(sent: &Message<'_>, answer: &Message<'_>, line: &Line) -> anyhow::Result<()> {
    let [version, class, function, _] = sent.mti();
    let [v, c, f, _] = answer.mti();
    if [v, c, f] != [version, class, function + 1] {
        bail!("the answer is of another type");
    }
    let trace = |message: &Message<'_>| message.text(11).map(|text| text.as_bytes().to_vec());
    if trace(sent) != trace(answer) {
        bail!("the answer has another DE 11");
    }
    if [52, 53, 125].into_iter().any(|number| answer.has(number)) {
        bail!("the answer carries a PIN field");
    }
    if let Some(key) = &line.mac {
        let right = answer.mac().is_some_and(|seen| {
            let value = seen.value.as_bytes();
            4 <= value.len() && key.mac(seen.covered).starts_with(value)
        });
        if !right {
            bail!("the answer's MAC is wrong or missing");
        }
    }
    Ok(())
}

fn field(row: &Row) -> String {
    let value = match &row.shown {
        Shown::Bytes(text) | Shown::Hidden(text) | Shown::Text(text) => text.as_str(),
        Shown::Parts => "",
    };
    let value = value.split(" (").next().unwrap_or_default();
    format!("{} {value}", row.path)
}

fn millis(took: Option<Duration>) -> String {
    took.map_or_else(|| "-".into(), |took| format!("{:.2} ms", took.as_secs_f64() * 1_000.0))
}

/// Universal time to the second.
fn now(clock: SystemClock) -> anyhow::Result<DateTime> {
    let seconds = i64::try_from(clock.wall().0 / 1_000)?;
    Ok(jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::from_second(seconds)?))
}
