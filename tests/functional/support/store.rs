//! Which store the switches under test have: the embedded one, or PostgreSQL with `PINION_TEST_STORE=postgres`.
//!
//! The tests are the same on both: one suite, two stores. With PostgreSQL one cluster serves the whole process; each
//! switch has a database of its own, copied from one with the schema and the cards. A test about the directory itself
//! names itself in [`EMBEDDED_ONLY`]. **Never here:** what a switch is asked.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::node::{configuration, done};
use super::postgres::Cluster;

/// Tests that hold for the embedded store only, and why.
const EMBEDDED_ONLY: [(&str, &str); 3] = [
    (
        "a_second_process_on_the_same_directory_is_refused",
        "there is no directory; two switches on one database are what PostgreSQL is for",
    ),
    (
        "a_switch_that_is_full_says_so_in_each_doors_words",
        "transaction_keys_max bounds a table in memory that only the embedded store has",
    ),
    ("the_demo_keeps_its_contract", "`pinion demo` has the embedded store, whatever is tested"),
];

/// Whether the switches under test have PostgreSQL.
pub(crate) fn is_postgres() -> bool {
    match std::env::var("PINION_TEST_STORE").as_deref() {
        Err(_) | Ok("embedded") => false,
        Ok("postgres") => true,
        Ok(other) => panic!("PINION_TEST_STORE={other}: embedded or postgres"),
    }
}

/// Whether a test is to be left out on this store. It must have its reason in the list.
#[track_caller]
pub(crate) fn is_skipped(test: &str) -> bool {
    let known = EMBEDDED_ONLY.iter().any(|(name, _)| *name == test);
    assert!(known, "{test} is not among those that hold for the embedded store only");
    is_postgres()
}

/// What a run on PostgreSQL leaves out is told in each run, past what hides the output of tests.
#[test]
fn what_is_skipped_on_postgres() {
    if !is_postgres() {
        return;
    }
    let mut told = std::io::stderr();
    writeln!(told, "on PostgreSQL {} tests are skipped:", EMBEDDED_ONLY.len()).expect("written");
    for (name, reason) in EMBEDDED_ONLY {
        writeln!(told, "  {name}: {reason}").expect("written");
    }
}

/// What stands for the URL of a switch's database until it has one.
const NO_DATABASE: &str = "postgresql://pinion@localhost/none";

/// The `[store]` of a configuration.
pub(crate) fn section() -> String {
    if is_postgres() {
        format!(
            "[store]\nkind = \"postgres\"\n\n\
             [store.postgres]\nurl = \"{NO_DATABASE}\"\nnode = 1\nconnections = 3\n"
        )
    } else {
        "[store]\ndirectory = \"store\"\n".to_owned()
    }
}

/// A line of the section without which it is no good, and its key.
pub(crate) fn needed_line() -> (&'static str, &'static str) {
    if is_postgres() {
        ("node = 1\n", "store.postgres.node")
    } else {
        ("directory = \"store\"", "store.directory")
    }
}

/// The database with the schema and the world's cards, which every other one is a copy of.
const WORLD: &str = "world";

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::start(&[]));

/// The cluster, with the world's cards. `template` is the directory with keys and cards.
fn cluster(template: &Path) -> &'static Cluster {
    static FILLED: LazyLock<()> = LazyLock::new(|| CLUSTER.create(WORLD, "template0"));
    static IMPORTED: std::sync::Once = std::sync::Once::new();
    LazyLock::force(&FILLED);
    IMPORTED.call_once(|| {
        let place = TempDir::new().expect("a directory");
        for name in ["keys.toml", "lmk.key"] {
            fs::copy(template.join(name), place.path().join(name)).expect("copied");
        }
        let link = super::node::Link::new("atm-1", &super::iso::ISO87_ASCII);
        let text = configuration(&[(link, 1)], 2, "").replace(NO_DATABASE, &CLUSTER.url(WORLD));
        let config = place.path().join("pinion.toml").display().to_string();
        fs::write(&config, text).expect("written");
        done(&["store", "migrate", "--config", &config], "");
        let cards = template.join("cards.json").display().to_string();
        done(&["cards", "import", "--config", &config, &cards], "");
    });
    &CLUSTER
}

/// A switch's own database. Goes with it.
pub(crate) struct Database {
    name: String,
}

impl Database {
    /// A copy of the world's, where PostgreSQL is tested.
    pub(crate) fn new(template: &Path) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        if !is_postgres() {
            return None;
        }
        let name = format!("switch_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        cluster(template).create(&name, WORLD);
        Some(Self { name })
    }

    /// The configuration, leading to it.
    pub(crate) fn configure(&self, text: &str) -> String {
        text.replace(NO_DATABASE, &CLUSTER.url(&self.name))
    }

    /// Where its files are, with everything written to them.
    pub(crate) fn files(&self) -> std::path::PathBuf {
        CLUSTER.files(&self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            CLUSTER.remove(&self.name);
        }
    }
}
