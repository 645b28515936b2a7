//! Roles, rules and settings of the two database servers, on a real PostgreSQL of this machine: it reads every line,
//! and a switch's role can read and write rows and nothing else.
//!
//! **Never here:** the switch. Skipped, with a message, where PostgreSQL is not installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::place::Place;
use crate::{approved, deploy, run};

/// Root may not run PostgreSQL; this user may.
const NOBODY: &str = "65534";

/// A server with the files of `two-nodes/`, on a socket in a directory of its own.
struct Server {
    place: Place,
    programs: PathBuf,
}

/// Where Debian has the programs of its newest PostgreSQL.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<_> = versions.filter_map(|v| Some(v.ok()?.path().join("bin"))).collect();
    found.retain(|directory| directory.join("initdb").exists());
    found.sort();
    found.pop()
}

impl Server {
    fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            eprintln!("skipped: PostgreSQL is not installed");
            return None;
        };
        let server = Self { place: Place::new(), programs };
        let here = server.place.path("").display().to_string();
        server.place.certificate("server.crt", "server.key", "ca.crt");
        let settings = deploy("systemd/two-nodes/postgresql.conf");
        let settings = settings.replace("/etc/postgresql/15/main/", &here);
        let (before, after) = settings.split_once("\nsynchronous_standby_names").expect("there");
        let (_, after) = after.split_once('\n').expect("a line");
        // As the steps say: no standby yet.
        let settings = format!(
            "{before}\n{after}\nlisten_addresses = ''\nunix_socket_directories = '{here}'\n\
             hba_file = '{here}pg_hba.conf'\n"
        );
        server.place.write("postgresql.conf", &settings);
        let rules = deploy("systemd/two-nodes/pg_hba.conf");
        server.place.write("pg_hba.conf", &format!("local all all trust\n{rules}"));
        for path in ["", "server.key", "server.crt", "postgresql.conf", "pg_hba.conf"] {
            let mut chown = Command::new("chown");
            if is_root() {
                approved(chown.arg(NOBODY).arg(server.place.path(path)));
            }
        }
        approved(Command::new("chmod").arg("0600").arg(server.place.path("server.key")));
        let data = server.place.path("data");
        let initdb = ["--auth", "trust", "--username", "postgres", "--no-sync", "--pgdata"];
        approved(server.as_nobody("initdb").args(initdb).arg(&data));
        approved(&mut server.control("start"));
        Some(server)
    }

    fn as_nobody(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.place.path("")).env("HOME", self.place.path(""));
        command
    }

    fn control(&self, what: &str) -> Command {
        let mut command = self.as_nobody("pg_ctl");
        let options = format!("-c config_file={}", self.place.path("postgresql.conf").display());
        command.args(["--wait", "--mode", "immediate", "--silent", "--log", "server.log"]);
        command.arg("--pgdata").arg(self.place.path("data")).args(["--options", &options, what]);
        command
    }

    fn psql(&self, role: &str, database: &str) -> Command {
        let mut command = self.as_nobody("psql");
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]);
        command.args(["--set", "ON_ERROR_STOP=1", "--username", role, "--dbname", database]);
        command.arg("--host").arg(self.place.path(""));
        command
    }

    #[track_caller]
    fn says(&self, role: &str, sql: &str) -> String {
        approved(self.psql(role, "pinion").args(["--command", sql])).trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.control("stop").output();
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|of| of.uid() == 0)
}

#[test]
fn a_switch_reads_and_writes_rows_and_nothing_else() {
    let Some(server) = Server::start() else { return };
    let roles = deploy("systemd/two-nodes/roles.sql");
    let roles = server.place.write("roles.sql", &roles);
    approved(server.psql("postgres", "postgres").arg("--file").arg(readable(&roles)));
    server
        .says("pinion_migrate", "CREATE TABLE card (id int PRIMARY KEY); CREATE SEQUENCE sending");
    let all = "INSERT INTO card VALUES (1); UPDATE card SET id = 2; SELECT nextval('sending');";
    assert_eq!(
        server.says("pinion", &format!("{all} SELECT id FROM card; DELETE FROM card")),
        "1\n2"
    );
    assert_eq!(server.says("pinion", "SHOW synchronous_commit"), "on");
    for refused in [
        "CREATE TABLE other (id int)",
        "CREATE TEMPORARY TABLE other (id int)",
        "CREATE SCHEMA other",
        "CREATE ROLE other",
        "ALTER TABLE card ADD other int",
        "DROP TABLE card",
        "TRUNCATE card",
        "SELECT setval('sending', 1)",
        "SET ROLE pinion_migrate",
        "COPY card TO PROGRAM 'true'",
        "SELECT pg_read_file('postgresql.conf')",
    ] {
        let (good, text) = run(server.psql("pinion", "pinion").args(["--command", refused]));
        let is_refused = text.contains("permission denied") || text.contains("must be ");
        assert!(!good && is_refused, "{refused}: {text}");
    }
    let (good, text) = run(server.psql("pinion_replica", "pinion").args(["--command", "SELECT 1"]));
    assert!(!good && text.contains("CONNECT privilege"), "{text}");
    // What PostgreSQL itself makes of the two files.
    let wrong = "SELECT name, error FROM pg_file_settings WHERE error IS NOT NULL";
    assert_eq!(server.says("postgres", wrong), "");
    let wrong = "SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL";
    assert_eq!(server.says("postgres", wrong), "");
    assert_eq!(server.says("postgres", "SHOW ssl"), "on");
}

/// A file that the server's user may read.
fn readable(path: &Path) -> &Path {
    approved(Command::new("chmod").arg("0644").arg(path));
    path
}
