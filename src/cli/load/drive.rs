//! The loop of a load run: one thread, one `poll`, every connection served once a wake-up.
//!
//! It warms up, measures, lets what is in flight be answered, and changes cards back to their first PIN. **Never
//! here:** what a message is (`deck`, `line`).

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cli::load::deck::Deck;
use crate::cli::load::line::{Answered, Line};
use crate::cli::load::report::{CpuTime, Report};
use crate::domain::clock::{Clock, Now, SystemClock};
use crate::iso8583::Dialect;
use crate::iso8583::frame::Framing;

/// How long the next answer is waited for when nothing more is sent.
const PATIENCE: Duration = Duration::from_secs(10);
/// Shortest sleep at a fixed rate. Waking for every single request would cost the shared cores more than this adds to
/// the latency that is shown.
const NAP: Duration = Duration::from_micros(100);
/// Longest sleep.
const REST: Duration = Duration::from_millis(100);
/// Requests each connection has in flight while cards are changed back.
const CHANGED_BACK_AT_ONCE: usize = 32;
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// How requests are paced.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// Each connection keeps so many in flight.
    Closed {
        /// How many.
        in_flight: usize,
    },
    /// So many a second over all connections, whatever the answers do.
    Rate(f64),
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) to: SocketAddr,
    pub(super) pace: Pace,
    pub(super) warm_up: Duration,
    pub(super) duration: Duration,
    pub(super) server_pid: Option<u32>,
}

/// Runs the plan.
pub(super) fn drive(
    plan: &Plan,
    dialect: &Dialect,
    framing: &Framing,
    decks: Vec<Deck>,
) -> anyhow::Result<Report> {
    let mut streams = Vec::with_capacity(decks.len());
    for _ in &decks {
        let stream = TcpStream::connect(plan.to).with_context(|| plan.to.to_string())?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        streams.push(stream);
    }
    let lines: Vec<_> = decks.into_iter().map(|deck| Line::new(deck, framing)).collect();
    let sent = vec![0; lines.len()];
    let mut drive = Drive {
        dialect,
        clock: SystemClock::start(),
        polled: Vec::with_capacity(streams.len()),
        streams: &streams,
        lines,
        sent,
        buffer: vec![0; READ_BYTES].into_boxed_slice(),
    };
    let mut report = Report::new(plan)?;

    let begun = drive.clock.now();
    drive.until(begun + plan.warm_up, begun, plan.pace, &mut |_, _| {})?;
    let (server, own) = (plan.server_pid.map(CpuTime::of).transpose()?, CpuTime::own()?);
    let from = begun + plan.warm_up;
    let to = from + plan.duration;
    drive.until(to, begun, plan.pace, &mut |now, answered| report.take(now, &answered))?;
    if let (Some(pid), Some(before)) = (plan.server_pid, server) {
        report.server_cpu(CpuTime::of(pid)?.since(&before));
    }
    report.own_cpu(CpuTime::own()?.since(&own));
    // Answers from here on are late for the rate and still count for latency: leaving them out would flatter it.
    drive.finish(&mut |now, answered| report.take_late(now, &answered))?;
    report.unanswered(drive.lines.iter().map(Line::in_flight).sum());
    drive.change_back()?;
    Ok(report)
}

struct Drive<'a> {
    dialect: &'a Dialect,
    clock: SystemClock,
    streams: &'a [TcpStream],
    polled: Vec<PollFd<'a>>,
    lines: Vec<Line>,
    /// At a fixed rate: requests each connection has sent.
    sent: Vec<u64>,
    buffer: Box<[u8]>,
}

impl Drive<'_> {
    /// Sends and receives until `end`.
    fn until(
        &mut self,
        end: Now,
        begun: Now,
        pace: Pace,
        tell: &mut impl FnMut(Now, Answered),
    ) -> anyhow::Result<()> {
        loop {
            let now = self.clock.now();
            if end <= now {
                return Ok(());
            }
            let wait = match pace {
                Pace::Closed { in_flight } => {
                    self.fill(in_flight, now);
                    REST
                }
                Pace::Rate(rate) => self.send_due(rate, begun, now).clamp(NAP, REST),
            };
            self.turn(wait.min(end.saturating_sub(now)), tell)?;
        }
    }

    /// Sends nothing more, until everything is answered or nobody can be patient any longer.
    fn finish(&mut self, tell: &mut impl FnMut(Now, Answered)) -> anyhow::Result<()> {
        let mut heard = self.clock.now();
        while self.lines.iter().any(|line| 0 < line.in_flight())
            && self.clock.now() < heard + PATIENCE
        {
            self.turn(REST, &mut |now, answered| {
                heard = now;
                tell(now, answered);
            })?;
        }
        Ok(())
    }

    /// Leaves every card with its first PIN, as the run found it.
    fn change_back(&mut self) -> anyhow::Result<()> {
        self.lines.iter_mut().for_each(Line::only_second_pins);
        let mut heard = self.clock.now();
        loop {
            let now = self.clock.now();
            for line in &mut self.lines {
                while line.in_flight() < CHANGED_BACK_AT_ONCE && line.send(now) {}
            }
            if self.lines.iter().all(|line| line.in_flight() == 0) {
                return Ok(());
            }
            if heard + PATIENCE <= now {
                bail!("some cards keep the second PIN: generate others with another --seed");
            }
            self.turn(REST, &mut |now, _| heard = now)?;
        }
    }

    fn fill(&mut self, in_flight: usize, now: Now) {
        for line in &mut self.lines {
            while line.in_flight() < in_flight && line.send(now) {}
        }
    }

    /// Sends what is due and says how long nothing will be. The connections take turns.
    fn send_due(&mut self, rate: f64, begun: Now, now: Now) -> Duration {
        let connections = self.lines.len() as u64;
        let mut next = REST;
        for ((line, sent), number) in self.lines.iter_mut().zip(&mut self.sent).zip(0..) {
            loop {
                #[expect(clippy::cast_precision_loss, reason = "exact below 2^53 requests")]
                let order = (*sent * connections + number) as f64;
                let due = begun + Duration::from_secs_f64(order / rate);
                if now < due {
                    next = next.min(due.saturating_sub(now));
                    break;
                }
                if !line.send(due) {
                    break;
                }
                *sent += 1;
            }
        }
        next
    }

    /// Writes what waits, sleeps until something comes, reads it.
    fn turn(&mut self, wait: Duration, tell: &mut impl FnMut(Now, Answered)) -> anyhow::Result<()> {
        self.polled.clear();
        let streams = self.streams;
        for (stream, line) in streams.iter().zip(&mut self.lines) {
            write(stream, line)?;
            let full = if line.output().is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            self.polled.push(PollFd::new(stream, PollFlags::IN | full));
        }
        let wait = Timespec::try_from(wait).context("waiting time")?;
        match poll(&mut self.polled, Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error).context("poll"),
        }
        let now = self.clock.now();
        for ((stream, line), polled) in streams.iter().zip(&mut self.lines).zip(&self.polled) {
            if polled.revents().is_empty() {
                continue;
            }
            match (&mut &*stream).read(&mut self.buffer) {
                Ok(0) => bail!("the switch closed a connection"),
                Ok(count) => {
                    let bytes = &self.buffer[..count];
                    line.receive(self.dialect, bytes, |answered| tell(now, answered))?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("reading answers"),
            }
        }
        Ok(())
    }
}

fn write(mut stream: &TcpStream, line: &mut Line) -> anyhow::Result<()> {
    while !line.output().is_empty() {
        match stream.write(line.output()) {
            Ok(count) => line.written(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error).context("writing requests"),
        }
    }
    Ok(())
}
