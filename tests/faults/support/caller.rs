//! Callers that change PINs on the Postilion route, and the books they keep of it.
//!
//! A caller has cards of its own, asks, repeats what was not answered when its connection breaks, takes some changes
//! back, and writes down what it was told. What it decides for a request follows from the seed and the request's
//! number alone, whatever order answers come in. **Never here:** what hosts or switch hold (`compare`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::message::{Client, Message, change, reversal};
use super::{Random, let_pass};

/// Callers of one test.
pub(crate) const CALLERS: usize = 4;
/// PIN of every card at the start.
pub(crate) const PIN: &str = "917364";
/// Requests one caller has on its way at a time, each for another card.
const WINDOW: usize = 8;
/// Numbers one caller may use: four times that is below the million that a trace number has.
const NUMBERS: u32 = 200_000;

/// One request with what became of it.
pub(crate) struct Line {
    pub(crate) card: usize,
    pub(crate) terminal: String,
    pub(crate) from: String,
    pub(crate) to: String,
    request: Message,
    pub(crate) told: String,
    /// It was asked again after it was told 00.
    again: bool,
    /// Its reversal and what that was told.
    pub(crate) reversal: Option<(Message, String)>,
}

/// What a caller waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    Change,
    Reversal,
}

/// The cards of caller `which`, of all cards.
pub(crate) fn part(all: &[String], which: usize) -> impl Iterator<Item = &String> {
    all.iter().skip(which).step_by(CALLERS)
}

/// One caller: its cards, its book, its connection.
pub(crate) struct Caller<'a> {
    /// Links it may connect to.
    ports: Vec<u16>,
    seed: u64,
    /// Its numbers begin here.
    first: u32,
    used: u32,
    /// Connections it made.
    connected: u64,
    pans: Vec<String>,
    /// The PIN of each card, as far as the caller was told.
    pins: Vec<String>,
    lines: Vec<Line>,
    /// By trace number: the line, and which of its two messages.
    waiting: BTreeMap<u32, (usize, Waits)>,
    answers: &'a AtomicUsize,
    client: Option<Client>,
    /// Takes one change in ten back.
    takes_back: bool,
}

impl<'a> Caller<'a> {
    /// Caller `which` with its part of the cards. `answers` counts what all callers were told, 91 aside.
    pub(crate) fn new(
        ports: &[u16],
        all: &[String],
        which: usize,
        seed: u64,
        answers: &'a AtomicUsize,
    ) -> Self {
        let pans: Vec<String> = part(all, which).cloned().collect();
        Self {
            ports: ports.to_vec(),
            seed,
            first: u32::try_from(which).expect("few callers") * NUMBERS,
            used: 0,
            connected: 0,
            pins: vec![PIN.to_owned(); pans.len()],
            pans,
            lines: Vec::new(),
            waiting: BTreeMap::new(),
            answers,
            client: None,
            takes_back: true,
        }
    }

    /// The same, but it takes nothing back, because a card that waits for its reversal refuses further changes; and it
    /// rests after each answer, so that its numbers last for a minute.
    pub(crate) fn keeping(self) -> Self {
        Self { takes_back: false, ..self }
    }

    /// A number that no change of any caller had. Its reversal, if any, has the number half the room above.
    fn number(&mut self) -> u32 {
        self.used += 1;
        assert!(self.used < NUMBERS / 2, "a caller has used all its numbers");
        self.first + self.used
    }

    /// The decisions for one thing that is numbered.
    fn decisions(&self, number: u64) -> Random {
        let mut random = Random::seeded(self.seed ^ (number << 20));
        random.next();
        random
    }

    /// Asks until told to stop, then waits for what is under way and gives the book.
    pub(crate) fn run(mut self, stop: &AtomicBool) -> Vec<Line> {
        loop {
            let stopping = stop.load(Ordering::Relaxed);
            if stopping && self.waiting.is_empty() {
                return self.lines;
            }
            if self.client.is_none() {
                self.connect();
            }
            while !stopping && self.waiting.len() < WINDOW {
                self.ask();
            }
            let Some(client) = &mut self.client else { continue };
            match client.read() {
                Ok(answer) => {
                    self.take(&answer);
                    if !self.takes_back {
                        let_pass(Duration::from_millis(1));
                    }
                }
                // The switch was killed, most likely.
                Err(_) => self.client = None,
            }
        }
    }

    /// Connects to one of the links, and repeats there what is not answered.
    fn connect(&mut self) {
        self.connected += 1;
        let mut random = self.decisions(u64::from(self.first) << 20 | self.connected | 1 << 41);
        let port = self.ports[random.below(self.ports.len())];
        let Ok(mut client) = Client::try_connect(port) else {
            return let_pass(Duration::from_millis(5));
        };
        let repeats = self.waiting.values().map(|(line, waits)| match waits {
            Waits::Change => self.lines[*line].request.clone().under("0101"),
            Waits::Reversal => {
                let (message, _) = self.lines[*line].reversal.as_ref().expect("a reversal");
                message.clone().under("0421")
            }
        });
        let bytes: Vec<u8> = repeats.flat_map(|message| message.framed()).collect();
        if client.write(&bytes).is_ok() {
            self.client = Some(client);
        }
    }

    fn send(&mut self, message: &Message) {
        if let Some(client) = &mut self.client
            && client.write(&message.framed()).is_err()
        {
            self.client = None;
        }
    }

    /// A change of a card that is not under way, from the PIN it must have.
    fn ask(&mut self) {
        let number = self.number();
        let mut random = self.decisions(number.into());
        let busy = |card| self.waiting.values().any(|(line, _)| self.lines[*line].card == card);
        let first = random.below(self.pans.len());
        let free = (first..first + self.pans.len()).map(|card| card % self.pans.len());
        let card = free.into_iter().find(|card| !busy(*card)).expect("more cards than places");
        let from = self.pins[card].clone();
        let to = format!("{:06}", 100_000 + random.below(900_000));
        let terminal = format!("L{number:07}");
        let request = change(&self.pans[card], &from, &to, number).with(41, &terminal);
        self.waiting.insert(number, (self.lines.len(), Waits::Change));
        self.send(&request);
        let told = String::new();
        self.lines.push(Line {
            card,
            terminal,
            from,
            to,
            request,
            told,
            again: false,
            reversal: None,
        });
    }

    fn take(&mut self, answer: &Message) {
        let (line, waits) = self.waiting[&answer.stan()];
        let code = answer.code();
        if code == "94" {
            // The first of the two is still being worked on: ask again.
            let again = match waits {
                Waits::Change => self.lines[line].request.clone().under("0101"),
                Waits::Reversal => {
                    self.lines[line].reversal.as_ref().expect("a reversal").0.clone().under("0421")
                }
            };
            let_pass(Duration::from_millis(3));
            return self.send(&again);
        }
        if code == "91" {
            // Nothing was sent: no node is there, or the card waits for its reversal.
            let_pass(Duration::from_millis(2));
        } else {
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
        self.waiting.remove(&answer.stan());
        match waits {
            Waits::Change => self.told(line, code),
            Waits::Reversal => {
                // A switch that stops or is full says 91; then the reversal is asked for again.
                if code == "91" {
                    let message = self.lines[line].reversal.as_ref().expect("a reversal").0.clone();
                    self.waiting.insert(message.stan(), (line, Waits::Reversal));
                    let_pass(Duration::from_millis(3));
                    return self.send(&message.under("0421"));
                }
                assert_eq!(code, "00", "the reversal of a change that was told 00");
                let line = &mut self.lines[line];
                code.clone_into(&mut line.reversal.as_mut().expect("a reversal").1);
                self.pins[line.card].clone_from(&line.from);
            }
        }
    }

    fn told(&mut self, at: usize, code: &str) {
        let own = u64::from(self.lines[at].request.stan());
        // Another stream than the one its card and PIN came from.
        let chance = self.decisions(own | 1 << 40).below(20);
        let line = &mut self.lines[at];
        code.clone_into(&mut line.told);
        match code {
            "00" => {
                self.pins[line.card].clone_from(&line.to);
                match chance {
                    // Takes it back.
                    0 | 1 if self.takes_back => {
                        let number = line.request.stan() + NUMBERS / 2;
                        let message = reversal(&line.request, number).with(41, &line.terminal);
                        line.reversal = Some((message.clone(), String::new()));
                        self.waiting.insert(number, (at, Waits::Reversal));
                        self.send(&message);
                    }
                    // Asks again: the stored answer.
                    2 if !line.again => {
                        line.again = true;
                        let again = line.request.clone().under("0101");
                        self.waiting.insert(again.stan(), (at, Waits::Change));
                        line.told.clear();
                        self.send(&again);
                    }
                    _ => {}
                }
            }
            // Unknown: it will be taken back. Nothing sent. Declined by a fault of the host.
            "68" | "91" | "C1" => {}
            _ => panic!("a change from the PIN that the card must have is answered {code}"),
        }
    }
}
