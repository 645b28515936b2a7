//! The unit and the two switches of `deploy/systemd`: judged by systemd, checked by the binary, agreeing.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::{fs, str};

use crate::place::{Place, checked, pinion};
use crate::{approved, deploy, is_there, run, trace_numbers};

/// Highest exposure that `systemd-analyze security` may find, in tenths: 1.2 today; what the network service needs
/// (sockets, its own user) is most of it.
const EXPOSURE_MAX: &str = "15";

/// Values of a setting in the unit, in order.
fn settings<'u>(unit: &'u str, name: &str) -> Vec<&'u str> {
    unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
}

#[test]
fn systemd_takes_the_unit() {
    if !is_there("systemd-analyze") {
        return;
    }
    let place = Place::new();
    let unit = deploy("systemd/pinion.service");
    let unit = unit.replace("/usr/bin/pinion", env!("CARGO_BIN_EXE_pinion"));
    let file = place.write("pinion.service", &unit);
    place.write("pinion.service.d/database.conf", &deploy("systemd/two-nodes/database.conf"));
    let (good, text) = run(Command::new("systemd-analyze").arg("verify").arg(&file));
    assert!(good && !text.contains("pinion.service"), "{text}");
    let wrong =
        place.write("wrong/pinion.service", &unit.replace("NoNewPrivileges", "NoPrivilege"));
    let (_, text) = run(Command::new("systemd-analyze").arg("verify").arg(wrong));
    assert!(text.contains("NoPrivilege"), "the judge can fail: {text}");
}

#[test]
fn systemd_finds_the_unit_closed() {
    if !is_there("systemd-analyze") {
        return;
    }
    let place = Place::new();
    let file = place.write("pinion.service", &deploy("systemd/pinion.service"));
    let judge = || {
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--offline=yes"]).arg(format!("--threshold={EXPOSURE_MAX}"));
        command
    };
    approved(judge().arg(file));
    let bare = "[Service]\nExecStart=/usr/bin/pinion serve\n";
    let bare = place.write("bare/pinion.service", bare);
    let (good, text) = run(judge().arg(bare));
    assert!(!good, "the judge can fail: {text}");
}

#[test]
fn the_unit_keeps_its_promises() {
    let unit = deploy("systemd/pinion.service");
    for (name, want) in [
        ("Restart", "on-failure"),
        ("RestartPreventExitStatus", "64 78"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        ("UMask", "0077"),
        ("LimitCORE", "0"),
        ("MemorySwapMax", "0"),
        ("CapabilityBoundingSet", ""),
        ("MemoryDenyWriteExecute", "yes"),
    ] {
        assert_eq!(settings(&unit, name), [want], "{name}");
    }
    let stop: u64 = settings(&unit, "TimeoutStopSec")[0].parse().expect("seconds");
    for switch in ["a", "b"] {
        let text = deploy(&format!("systemd/two-nodes/pinion-{switch}.toml"));
        let config: toml::Table = text.parse().expect("TOML");
        let drain = config["limits"]["drain_seconds"].as_integer().expect("a number");
        assert!(drain.unsigned_abs() + 5 <= stop, "drain_seconds {drain}, TimeoutStopSec {stop}");
        let drop_in = deploy("systemd/two-nodes/database.conf");
        for credential in text.split("/run/credentials/pinion.service/").skip(1) {
            let name = credential.split('"').next().expect("a name");
            let line = format!("LoadCredential={name}:");
            assert!(unit.contains(&line) || drop_in.contains(&line), "nobody loads {name}");
        }
    }
}

#[test]
fn the_two_switches_pass_their_check_and_differ_in_what_they_must() {
    let place = Place::new();
    place.certificate("tls/atm-1.pem", "tls/atm-1.key", "tls/atms.pem");
    place.certificate("tls/database.pem", "tls/database.key", "tls/database-ca.pem");
    place.write("database-password", "a word\n");
    let here = format!("{}/", place.path("").display());
    let here = here.replace("//", "/");
    let mut texts = Vec::new();
    for (switch, listen) in [("a", "10.1.0.5:8583"), ("b", "10.1.0.6:8583")] {
        let text = deploy(&format!("systemd/two-nodes/pinion-{switch}.toml"));
        let moved = text.replace("/run/credentials/pinion.service/", &here);
        let moved = moved.replace("/var/lib/pinion/", &here);
        let file = place.write("pinion.toml", &moved);
        let said = checked(&file);
        assert_eq!(said["node"], format!("pinion-{switch}"));
        assert_eq!(said["listens"][0]["listen"], listen);
        assert_eq!(said["listens"][0]["tls"], true);
        assert_eq!(said["connects"].as_array().map(Vec::len), Some(2));
        assert!(!text.contains("[link.key_exchange]\n"), "its key would be on one switch only");
        texts.push(text);
    }
    let lines = texts[0].lines().zip(texts[1].lines());
    let apart: Vec<_> = lines.filter(|(a, b)| a != b).map(|(a, _)| a).collect();
    let keys: Vec<_> = apart.iter().filter_map(|line| line.split_once(" =")).collect();
    let keys: Vec<_> = keys.iter().map(|(key, _)| *key).collect();
    // The first comment line names the file's switch.
    assert_eq!(keys, ["name", "node", "listen", "stan"], "{apart:?}");
    let ranges = texts.iter().map(|text| trace_numbers(&text.parse().expect("TOML")));
    assert_eq!(ranges.collect::<Vec<_>>(), [1..=499_999, 500_000..=999_999]);
    assert_eq!(texts[0].lines().count(), texts[1].lines().count());
}

/// The database lets in the switches of the example, by the roles of the example, and nobody without TLS.
#[test]
fn the_database_lets_in_only_whom_it_must() {
    let roles = deploy("systemd/two-nodes/roles.sql");
    let text = deploy("systemd/two-nodes/pg_hba.conf");
    let entries: Vec<Vec<_>> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_whitespace().collect())
        .collect();
    for switch in ["a", "b"] {
        let text = deploy(&format!("systemd/two-nodes/pinion-{switch}.toml"));
        let config: toml::Table = text.parse().expect("TOML");
        let listen = config["link"][0]["listen"].as_str().expect("an address");
        let address = format!("{}/32", listen.split(':').next().expect("an address"));
        let rule = ["hostssl", "pinion", "pinion", &address, "scram-sha-256"];
        assert!(entries.iter().any(|line| *line == rule), "no rule {rule:?}");
    }
    for rule in &entries {
        let method = rule.last().copied().expect("a method");
        let is_safe = match rule[0] {
            "hostssl" => method == "scram-sha-256",
            "local" => method == "peer",
            _ => method == "reject",
        };
        assert!(is_safe, "{rule:?}");
        assert!(
            rule[2] == "postgres"
                || rule[2] == "all"
                || roles.contains(&format!("CREATE ROLE {} ", rule[2]))
        );
    }
    let settings = deploy("systemd/two-nodes/postgresql.conf");
    for line in ["fsync = on", "full_page_writes = on", "synchronous_commit = on ", "ssl = on"] {
        assert!(settings.contains(&format!("\n{line}")), "{line}");
    }
    assert!(settings.contains("\nsynchronous_standby_names = 'FIRST 1 ("));
}

/// systemd hands a credential over as a file of root's that an access list opens: it shows as 0440.
#[test]
fn a_credential_of_systemd_is_taken_and_the_same_file_elsewhere_is_not() {
    let place = Place::new();
    fs::set_permissions(place.path("lmk"), fs::Permissions::from_mode(0o440)).expect("set");
    let (good, text) = run(place.keys().arg("check"));
    assert!(!good && text.contains("mode 0440"), "{text}");
    approved(place.keys().arg("check").env("CREDENTIALS_DIRECTORY", place.path("")));
    let (good, _) = run(place.keys().arg("check").env("CREDENTIALS_DIRECTORY", "/run/credentials"));
    assert!(!good);
    fs::set_permissions(place.path("lmk"), fs::Permissions::from_mode(0o444)).expect("set");
    let (good, _) = run(place.keys().arg("check").env("CREDENTIALS_DIRECTORY", place.path("")));
    assert!(!good, "everybody may read it");
}

/// The exit codes that the unit must not try again after.
#[test]
fn a_wrong_configuration_ends_with_a_code_that_is_not_tried_again() {
    let place = Place::new();
    let file = place.write("pinion.toml", "[node]\nname = 1\n");
    let wrong = pinion(&["serve", "--config"]).arg(file).output().expect("runs");
    assert_eq!(wrong.status.code(), Some(78), "{}", str::from_utf8(&wrong.stderr).expect("text"));
    assert_eq!(pinion(&["serve"]).output().expect("runs").status.code(), Some(64));
}
