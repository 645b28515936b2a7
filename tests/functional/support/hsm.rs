//! Simulated payShield devices in processes of their own, and the `[hsm]` section that names them.
//!
//! The keys of the demo world are put under the published variant test LMK here, from its table in the manuals and not
//! by the crate. **Never here:** a private item of the crate.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};

use des::cipher::{BlockCipherEncrypt, KeyInit};
use serde_json::Value;

use super::eventually;
use super::ports::free_port;

/// Keys that only devices need: blocks pass through the one, rules are held by the other.
const FOR_DEVICES: [(&str, &str, &str); 2] = [
    ("zpk.transit", "ZPK", "98519E45CBB9291F49EFAD4AFEFDDC79"),
    ("pvk.policy", "PVK", "0B169746643829CD0489A8AB8A268016"),
];

/// The pair of the published variant test LMK for keys of a type, in the type's variant where it has one.
fn pair(key_type: &str) -> &'static str {
    match key_type {
        "ZMK" => "40404040404040405151515151515151",
        "ZPK" => "61616161616161617070707070707070",
        "PVK" => "E0E0010101010101F1F1010101010101",
        "ZAK" => "16161616161616161919191919191919",
        "BDK" => "1A1A1A1A1A1A1A1A1C1C1C1C1C1C1C1C",
        // The same pair in variants 1, 3 and 2.
        "MK-AC" => "BC1A1A1A1A1A1A1A1C1C1C1C1C1C1C1C",
        "MK-SMC" => "701A1A1A1A1A1A1A1C1C1C1C1C1C1C1C",
        "MK-SMI" => "401A1A1A1A1A1A1A1C1C1C1C1C1C1C1C",
        other => panic!("no key of type {other} is in a device"),
    }
}

fn encrypt(key: &[u8], block: &mut [u8]) {
    let cipher = des::TdesEde2::new_from_slice(key).expect("a key of two parts");
    cipher.encrypt_block(block.try_into().expect("eight bytes"));
}

/// A key of double length under the LMK: scheme U, each part under another variant of the pair's right half.
pub(crate) fn token(key_type: &str, clear: &[u8]) -> String {
    let mut text = "U".to_owned();
    for (part, variant) in clear.chunks(8).zip([0xA6, 0x5A]) {
        let mut under = hex::decode(pair(key_type)).expect("hex");
        under[8] ^= variant;
        let mut block = part.to_vec();
        encrypt(&under, &mut block);
        text += &hex::encode_upper(block);
    }
    text
}

pub(crate) fn check_value(clear: &[u8]) -> String {
    let mut zeros = [0; 8];
    encrypt(clear, &mut zeros);
    hex::encode_upper(&zeros[..3])
}

/// One device.
pub(crate) struct Device {
    pub(crate) port: u16,
    /// The shell that holds the simulator, its only child.
    pub(crate) child: Child,
    /// The process ends when this does, however the test ends.
    held: Option<ChildStdin>,
}

impl Device {
    /// A device on a free port, with the variant test LMK unless `arguments` say otherwise.
    #[track_caller]
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_at(free_port(), arguments)
    }

    #[track_caller]
    pub(crate) fn start_at(port: u16, arguments: &[&str]) -> Self {
        let listen = format!("127.0.0.1:{port}");
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", r#""$@" >/dev/null 2>&1 & read -r _; kill -9 $!"#, "sh"])
            .args([env!("CARGO_BIN_EXE_pinion"), "sim", "payshield", "--authorised"])
            .args(["--listen", &listen])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let mut child = command.spawn().expect("started");
        let held = child.stdin.take();
        eventually("the device listens", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok().map(drop)
        });
        Self { port, child, held }
    }

    fn end(&mut self) {
        drop(self.held.take());
        let _ = self.child.wait();
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.end();
    }
}

/// Further lines of the `[hsm]` section: devices on these ports with the world's keys. Tables of their own come last.
pub(crate) fn section(world: &Value, ports: &[u16], more: &str) -> String {
    let mut text = format!(
        "kind = \"payshield\"\nlmk_check_value = \"268604\"\ntransit_zpk = \"zpk.transit\"\n\
         policy_pvk = \"pvk.policy\"\nstate = \"keys-changed.toml\"\n{more}"
    );
    for (number, port) in (1..).zip(ports) {
        let address = format!("127.0.0.1:{port}");
        write!(text, "[[hsm.device]]\nname = \"hsm-{number}\"\naddress = \"{address}\"\n")
            .expect("text");
    }
    let mut key = |name: &str, key_type: &str, clear: &[u8]| {
        text.push_str(&key_table(name, key_type, clear));
    };
    for (name, described) in world["keys"].as_object().expect("keys") {
        let clear = hex::decode(described["clear"].as_str().expect("hex")).expect("hex");
        key(name, described["type"].as_str().expect("a type"), &clear);
    }
    for (name, key_type, clear) in FOR_DEVICES {
        key(name, key_type, &hex::decode(clear).expect("hex"));
    }
    text
}

/// A key as the configuration names it.
pub(crate) fn key_table(name: &str, key_type: &str, clear: &[u8]) -> String {
    format!(
        "[[hsm.key]]\nname = \"{name}\"\ntype = \"{key_type}\"\ntoken = \"{}\"\ncheck_value = \"{}\"\n",
        token(key_type, clear),
        check_value(clear)
    )
}

/// `shared/domain/hsm.md` 3.3: the same clear key under two types.
#[test]
fn tokens_are_those_of_the_manuals() {
    let clear = hex::decode("0123456789ABCDEFFEDCBA9876543210").expect("hex");
    for (key_type, text) in [
        ("ZPK", "U063A0E7C0F2124E56192A4510F395ED7"),
        ("PVK", "U1750CDFB0757D3B3994430636DBB281B"),
        ("ZAK", "U7B7B1BE6AFBA184A32F08E7514BAC82E"),
        ("BDK", "U8E3D3E2FD5919657F05A1AA90D32A014"),
        ("MK-AC", "U7475636CC30B93B493CF5EA53799EBCC"),
        ("MK-SMI", "U352796B7EF432BE016CA35D48F4A0483"),
        ("MK-SMC", "U8430868258D18395C1AD55F2F9F1A090"),
    ] {
        assert_eq!(token(key_type, &clear), text);
    }
    assert_eq!(check_value(&clear), "08D7B4");
}
