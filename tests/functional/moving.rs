//! A live switch's store moved from the directory into a database and back: nobody who asks can tell.
//!
//! What is compared is what callers get: answers to repeats, tries, PINs, reversals that are still to come. One test
//! for both directions, so it runs once, whichever store the others have.

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::iso::{ISO87_ASCII, Message, POSTILION};
use crate::support::node::{Node, Place, done, pinion, world_links};
use crate::support::peers::Peers;
use crate::support::postgres::Cluster;
use crate::support::request::Terminal;
use crate::support::store::is_postgres;
use crate::support::vectors::{OFFSET, PLAIN, VERVE, further_cards};

const ATM: Terminal = Terminal::new(&ISO87_ASCII, "zpk.atm");
const NODE: Terminal = Terminal::new(&POSTILION, "zpk.atm");

#[track_caller]
fn check(node: &Node, link: &str, script: &[(&str, &Message, &str)]) {
    let mut link = node.connect(link);
    for (what, request, code) in script {
        assert_eq!(link.code(request), *code, "{what}");
    }
}

/// Keys of what waits for its reversal.
#[track_caller]
fn unsettled(node: &Node) -> Vec<String> {
    let (_, listed) = node.get("/admin/unsettled");
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let keys = listed["unsettled"].as_array().expect("a list").iter();
    keys.map(|change| change["key"].as_str().expect("a key").to_owned()).collect()
}

#[track_caller]
fn refused(arguments: &[&str], code: i32, said: &str) {
    let output = pinion(arguments).output().expect("ended");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
    assert!(told.contains(said), "{arguments:?}: {said:?} is not in {told}");
}

/// Parts and their digests, as a command printed them.
fn contents(manifest: &str) -> Vec<Value> {
    let manifest: Value = serde_json::from_str(manifest).expect("JSON");
    let parts = ["cards", "transactions", "unsettled"];
    parts.map(|part| manifest["parts"][part]["content"].clone()).into()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn into_a_database_and_back() {
    if is_postgres() {
        return;
    }
    let cluster = Cluster::start(&[]);
    cluster.create("moved", "template0");
    let peers = Peers::start(0, "1111", 1);
    let place = Place::new(world_links());
    place.replace("[[link]]", &format!("{}\n[[link]]", peers.section("")));
    let embedded = place.read();
    let [config, there, back] =
        ["pinion.toml", "there", "back"].map(|name| place.path(name).display().to_string());
    let store = format!(
        "[store]\nkind = \"postgres\"\n[store.postgres]\nurl = \"{}\"\nnode = 1",
        cluster.url("moved")
    );
    let shared = embedded.replace("[store]\ndirectory = \"store\"", &store);

    // A switch with a past: a change, a change taken back, two wrong guesses, a change that nobody knows the end of.
    let mut node = place.start();
    let up = |node: &Node| {
        eventually("nodes are up", || (node.metric("pinion_hosts_up", &[]) == 2).then_some(()));
    };
    up(&node);
    peers.tell("/faults", &json!({ "faults": { "drop_answer": { "share": 1, "reversals": 1 } } }));
    let card = &further_cards()[0];
    let change = ATM.change(PLAIN, "1234", "2580");
    let undone = ATM.change(card, "1234", "2580");
    let reversal = ATM.reversal("0420", &undone);
    let late = ATM.change(card, "1234", "1379");
    check(
        &node,
        "atm-1",
        &[
            ("a change", &change, "00"),
            ("another", &undone, "00"),
            ("taken back", &reversal, "00"),
            ("no original", &ATM.reversal("0420", &late), "25"),
            ("a guess", &ATM.verify(OFFSET, "24680"), "55"),
            ("another", &ATM.verify(OFFSET, "24680"), "55"),
        ],
    );
    let unknown = NODE.change(VERVE, "1111", "2580");
    check(&node, "postilion-in", &[("no answer", &unknown, "68")]);
    let waiting = unsettled(&node);
    assert_eq!(waiting.len(), 1);
    node.stop();

    let exported = done(&["store", "export", "--json", "--config", &config, &there], "");
    node.place.write(&shared);
    refused(&["serve", "--config", &config], 78, "pinion store migrate --config");
    done(&["store", "migrate", "--config", &config], "");
    let imported = done(&["store", "import", "--json", "--config", &config, &there], "");
    assert_eq!(imported, exported, "what came out is what went in");
    refused(&["store", "import", "--config", &config, &there], 1, "not empty");

    // On the database: the same answers, the same tries, the same PINs, the same reversal to come.
    let mut node = node.again();
    up(&node);
    assert_eq!(unsettled(&node), waiting);
    let elsewhere = ATM.change(card, "1234", "1379");
    check(
        &node,
        "atm-1",
        &[
            ("the repeat", &change.as_mti("0101"), "00"),
            ("the repeat of a reversal", &reversal.as_mti("0421"), "00"),
            ("the late original", &late, "94"),
            ("the new PIN", &ATM.verify(PLAIN, "2580"), "00"),
            ("the third guess", &ATM.verify(OFFSET, "24680"), "55"),
            ("closed", &ATM.verify(OFFSET, "13579"), "75"),
            ("a change on the database", &elsewhere, "00"),
        ],
    );
    check(&node, "postilion-in", &[("its repeat", &unknown.as_mti("0601"), "68")]);
    let away = ["store", "export", "--config", &config, &back];
    refused(&away, 1, "node 1 is running");
    std::fs::remove_dir_all(&back).expect("removed");
    node.stop();
    done(&["audit", "verify", "--config", &config], "");
    let exported = done(&["store", "export", "--json", "--config", &config, &back], "");

    // And back, into a directory of its own.
    node.place.write(&embedded.replace("directory = \"store\"", "directory = \"store-2\""));
    let imported = done(&["store", "import", "--json", "--config", &config, &back], "");
    assert_eq!(contents(&imported), contents(&exported));
    done(&["audit", "verify", "--config", &config], "");
    let mut node = node.again();
    up(&node);
    assert_eq!(unsettled(&node), waiting);
    check(
        &node,
        "atm-1",
        &[
            ("the repeat", &change.as_mti("0101"), "00"),
            ("the repeat of a reversal", &reversal.as_mti("0421"), "00"),
            ("the late original", &late, "94"),
            ("the repeat of the database's", &elsewhere.as_mti("0101"), "00"),
            ("the PIN of the database's", &ATM.verify(card, "1379"), "00"),
            ("closed", &ATM.verify(OFFSET, "13579"), "75"),
            ("opened", &ATM.unblock(OFFSET), "00"),
        ],
    );
    check(&node, "postilion-in", &[("its repeat", &unknown.as_mti("0601"), "68")]);
    peers.tell("/faults", &json!({ "faults": {} }));
    eventually("it is reversed in the end", || unsettled(&node).is_empty().then_some(()));
    check(
        &node,
        "postilion-in",
        &[("from the old PIN", &NODE.change(VERVE, "1111", "1379"), "00")],
    );
    node.stop();
    done(&["audit", "verify", "--config", &config], "");
}
