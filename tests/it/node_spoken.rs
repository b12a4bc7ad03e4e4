//! What a node answers to a hub that says something wrong: to each lie a failure of its class, and nothing has changed.

use std::fs;
use std::sync::Arc;

use depsync::model::manifest::Manifest;
use depsync::model::path::TreePath;
use depsync::node::journal::{Journal, Phase, Record, Standing};
use depsync::os::dir::Dir;
use depsync::os::root::{self, Missing};
use depsync::source::{self, Options};
use depsync::wire::message::{FailedClass, ToAgent, ToHub, Txid};

use crate::cluster::{Cluster, names_below};
use crate::source_tree::read_ok;
use crate::spoken::Spoken;

const TXID: Txid = Txid([1; 16]);
const OTHER: Txid = Txid([2; 16]);

/// A node that has nothing, and a source of one file.
fn empty() -> Cluster {
    let cluster = Cluster::new(1);
    cluster.write("file", "content");
    cluster
}

fn manifest_of(cluster: &Cluster) -> Arc<Manifest> {
    let source: source::Source = read_ok(&Options::new(cluster.source()));
    source.release.manifest().expect("made")
}

fn open(path: &std::path::Path) -> Dir {
    root::open(path, Missing::Refuse).expect("opened").dir.expect("there")
}

fn standing(cluster: &Cluster) -> Standing {
    Journal::look(&open(&cluster.state(0))).expect("a journal")
}

#[track_caller]
fn assert_untouched(cluster: &Cluster) {
    assert_eq!(names_below(&cluster.nodes[0]).len(), 1, "nothing but the root");
}

#[test]
fn bytes_that_are_not_the_chunk_are_never_staged() {
    let cluster = empty();
    let manifest = manifest_of(&cluster);
    let (mut hub, _) = Spoken::open(&cluster.nodes[0]);
    hub.plan(&manifest);
    let ToHub::Failed(failed) = hub.stage(TXID, 1, b"CONTENT") else { panic!("staged") };
    assert_eq!((failed.class, &*failed.kind), (FailedClass::Integrity, "content-mismatch"));
    hub.end();
    assert_untouched(&cluster);
    assert!(cluster.staged(0).is_empty());
    assert_eq!(standing(&cluster).flight, None);
}

#[test]
fn a_run_that_was_overtaken_is_told_so() {
    let cluster = empty();
    let (mut hub, _) = Spoken::open(&cluster.nodes[0]);
    hub.prepare(&manifest_of(&cluster), TXID, 7, b"content");
    hub.say(&ToAgent::Commit { txid: TXID });
    assert!(matches!(hub.hear(), ToHub::Committed { .. }));
    hub.end();
    cluster.assert_same();
    cluster.write("file", "another");
    let (mut hub, opened) = Spoken::open(&cluster.nodes[0]);
    assert_eq!(opened.fence, 7);
    hub.plan(&manifest_of(&cluster));
    let ToHub::Failed(failed) = hub.stage(OTHER, 6, b"another") else { panic!("staged") };
    assert_eq!((failed.class, &*failed.kind), (FailedClass::Busy, "stale-fence"));
    hub.end();
    assert_eq!(fs::read(cluster.on(0, "file")).unwrap(), b"content");
}

#[test]
fn a_commit_of_another_transaction_is_none() {
    let cluster = empty();
    let (mut hub, _) = Spoken::open(&cluster.nodes[0]);
    hub.prepare(&manifest_of(&cluster), TXID, 1, b"content");
    hub.say(&ToAgent::Commit { txid: OTHER });
    assert_eq!(hub.hear_failed().class, FailedClass::Integrity);
    hub.end();
    assert_untouched(&cluster);
    let phase = standing(&cluster).flight.map(|flight| (flight.txid, flight.phase));
    assert!(matches!(phase, Some((TXID, Phase::Prepared(_)))), "{phase:?}");
    // Nor is it the one to be settled.
    let (mut hub, _) = Spoken::open(&cluster.nodes[0]);
    hub.say(&ToAgent::Settle { txid: OTHER, decided: true });
    assert_eq!(hub.hear_failed().class, FailedClass::Integrity);
    hub.end();
    assert_untouched(&cluster);
}

#[test]
fn nothing_new_begins_before_what_is_pending_is_settled() {
    let cluster = empty();
    let manifest = manifest_of(&cluster);
    let (mut hub, _) = Spoken::open(&cluster.nodes[0]);
    hub.prepare(&manifest, TXID, 1, b"content");
    hub.end();
    let (mut hub, opened) = Spoken::open(&cluster.nodes[0]);
    assert_eq!(opened.pending.map(|pending| pending.txid), Some(TXID));
    hub.say(&ToAgent::Offer(Spoken::offer_of(&manifest)));
    let failed = hub.hear_failed();
    assert_eq!((failed.class, &*failed.kind), (FailedClass::Integrity, "undecided"));
    hub.end();
    let (mut hub, _) = Spoken::open(&cluster.nodes[0]);
    hub.say(&ToAgent::Settle { txid: TXID, decided: true });
    assert_eq!(hub.hear(), ToHub::Settled { release: Some(manifest.id()) });
    hub.end();
    cluster.assert_same();
}

#[test]
fn a_damaged_list_of_steps_is_found_before_anything_is_promised() {
    let cluster = empty();
    let (mut hub, _) = Spoken::open(&cluster.nodes[0]);
    hub.prepare(&manifest_of(&cluster), TXID, 1, b"content");
    hub.end();
    let path = cluster.state(0).join(format!("stage/{TXID}/steps"));
    let mut bytes = fs::read(&path).expect("a list of steps");
    // A byte of the release's id: the list reads as well as before.
    bytes[5] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (mut hub, _) = Spoken::open(&cluster.nodes[0]);
    hub.say(&ToAgent::Settle { txid: TXID, decided: true });
    assert_eq!(hub.hear_failed().class, FailedClass::Integrity);
    hub.end();
    assert_untouched(&cluster);
    let phase = standing(&cluster).flight.map(|flight| flight.phase);
    assert!(matches!(phase, Some(Phase::Prepared(_))), "{phase:?}");
}

#[test]
fn a_manifest_of_another_release_is_refused() {
    let cluster = empty();
    let offered = manifest_of(&cluster);
    cluster.write("file", "another");
    let (mut hub, _) = Spoken::open(&cluster.nodes[0]);
    let answer = hub.offer(Spoken::offer_of(&offered), &manifest_of(&cluster));
    let ToHub::Failed(failed) = answer else { panic!("{answer:?}") };
    assert_eq!(failed.class, FailedClass::Integrity);
    hub.end();
    assert_untouched(&cluster);
}

#[test]
fn a_header_that_is_not_the_manifests_is_refused() {
    let cluster = empty();
    let offered = manifest_of(&cluster);
    let options = Options {
        protect: vec!["/file".into()],
        trees: vec![TreePath::root()],
        ..Options::new(cluster.source())
    };
    let other = read_ok(&options).release.manifest().expect("made");
    let (mut hub, _) = Spoken::open(&cluster.nodes[0]);
    let mut offer = Spoken::offer_of(&offered);
    offer.header = Spoken::offer_of(&other).header;
    let answer = hub.offer(offer, &offered);
    let ToHub::Failed(failed) = answer else { panic!("{answer:?}") };
    assert_eq!(failed.class, FailedClass::Integrity);
    hub.end();
    assert_untouched(&cluster);
}

#[test]
fn a_record_that_is_repeated_or_of_another_transaction_is_no_journal() {
    let cluster = empty();
    let state = open(cluster.path());
    let release = manifest_of(&cluster).id();
    let path = cluster.path().join("journal");
    let mut journal = Journal::open(&state).expect("a new journal");
    let begin = Record::Begin { txid: TXID, fence: 1, release };
    let before = fs::read(&path).unwrap().len();
    journal.append(&begin).expect("written");
    let begun = fs::read(&path).unwrap().split_off(before);
    assert!(journal.append(&Record::Prepared { txid: OTHER, steps: release }).is_err());
    assert!(journal.append(&Record::Aborted { txid: OTHER }).is_err());
    journal.append(&Record::Aborted { txid: TXID }).expect("written");
    drop(journal);
    assert_eq!(Journal::look(&state).expect("whole").flight, None);
    // The same record again could follow, but for its number.
    let bytes = [fs::read(&path).unwrap(), begun].concat();
    fs::write(&path, bytes).unwrap();
    assert!(Journal::look(&state).is_err() && Journal::open(&state).is_err());
}

#[test]
fn a_kept_area_whose_list_is_damaged_goes() {
    let mut cluster = Cluster::new(1);
    cluster.options = vec!["--max-delete".into(), "100%".into()];
    let mut areas = Vec::new();
    for round in 0..3 {
        cluster.write("file", format!("content of round {round}"));
        cluster.push(&[]).expect(0);
        areas = fs::read_dir(cluster.state(0).join("kept"))
            .unwrap()
            .map(|area| area.unwrap().path())
            .collect::<Vec<_>>();
        for area in areas.iter().filter(|_| round == 1) {
            let mut bytes = fs::read(area.join("list")).unwrap();
            // A byte of the id of the release before: the list reads as well as it did.
            bytes[5] ^= 1;
            fs::write(area.join("list"), bytes).unwrap();
        }
    }
    assert_eq!(areas.len(), 1, "the damaged ones are gone: {areas:?}");
    cluster.assert_same();
}
