//! What the simulated payShield answers: CU commands per second over TCP, simulator and asker on a core each.
//!
//! `cargo bench --bench simulator`. It starts `pinion sim payshield` on core 0 (by `taskset`, where there is one) and
//! asks from this process, on core 1: each connection keeps a window of commands under way. Processor time of the
//! simulator is read from `/proc`. **Never here:** a client worth the name; the switch has one.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::unwrap_used, reason = "a bench that fails has no better way to say so")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SECONDS: u64 = 5;
const CONNECTIONS: usize = 4;
/// Commands under way on each.
const WINDOW: usize = 32;
/// ZPK, PVK pair, both blocks of `tests/vectors/payshield.json`: answered with PVV 5215.
const CHANGE: &[u8] = b"CU001U1EF828AA8F6B80EB83E19FBC373F3A85U8463435FC4B4DAA0C49025272C29B12C\
    7A68167FDAA0CC840117390010100119616AD5EB96DDF77CC51";

fn main() {
    let (mut simulator, address) = started();
    let mut streams: Vec<_> =
        (0..CONNECTIONS).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let mut frame = u16::try_from(4 + CHANGE.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(b"HEAD");
    frame.extend_from_slice(CHANGE);
    let window = frame.repeat(WINDOW);
    let answers = b"\x00\x0CHEADCV005215".repeat(WINDOW);
    for stream in &mut streams {
        stream.set_nodelay(true).unwrap();
        stream.write_all(&window).unwrap();
    }
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    let now = Instant::now;
    let (begun, before) = (now(), processor_ms(&simulator));
    let (mut done, mut read) = (0, vec![0; answers.len()]);
    while now() - begun < Duration::from_secs(SECONDS) {
        for stream in &mut streams {
            stream.read_exact(&mut read).unwrap();
            assert_eq!(read, answers);
            stream.write_all(&window).unwrap();
            done += WINDOW;
        }
    }
    let (wall, busy) = ((now() - begun).as_secs_f64(), processor_ms(&simulator) - before);
    let _ = simulator.kill();
    let _ = simulator.wait();
    #[expect(clippy::cast_precision_loss, reason = "a few million")]
    let done = done as f64;
    println!(
        "{:.0} CU/s, {:.2} µs of the simulator's processor each",
        done / wall,
        busy * 1000.0 / done
    );
}

/// The simulator, and where it listens.
fn started() -> (Child, String) {
    let pinion = env!("CARGO_BIN_EXE_pinion");
    let pinned = Command::new("taskset").args(["-c", "0", "true"]).status();
    let mut command = if pinned.is_ok_and(|status| status.success()) {
        let own = std::process::id().to_string();
        let _ = Command::new("taskset").args(["-pc", "1", &own]).stdout(Stdio::null()).status();
        let mut command = Command::new("taskset");
        command.args(["-c", "0", pinion]);
        command
    } else {
        Command::new(pinion)
    };
    command.args(["sim", "payshield", "--listen", "127.0.0.1:0", "--json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    (child, said["ports"][0].as_str().unwrap().to_owned())
}

/// Milliseconds of user and system time of a process; a tick is ten.
fn processor_ms(child: &Child) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u32 = fields[11..13].iter().map(|ticks| ticks.parse::<u32>().unwrap()).sum();
    f64::from(ticks) * 10.0
}
