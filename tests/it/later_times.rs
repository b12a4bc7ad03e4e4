//! Changed files whose times are close to the deployed ones': what they are given, that it stays, and what a rollback hides.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::archives::car;
use crate::cluster::{Cluster, Outcome, set_mtime, stamps};
use crate::prerequisite::require;

const API: &str = "synapse-configs/default/api/a.xml";
/// Of every time here, so that none is lost.
const NANOS: i64 = 123_456_789;

/// A cluster of two nodes whose configuration says `preset = PRESET`.
fn cluster(preset: &str) -> Cluster {
    let cluster = Cluster::new(2);
    let text = format!("[cluster]\npreset = \"{preset}\"\n");
    fs::write(cluster.path().join("depsync.toml"), text).expect("written");
    cluster
}

/// The Micro Integrator's, with one release of `API` as of second 100.
fn deployed() -> Cluster {
    let cluster = cluster("wso2-mi");
    put(&cluster, API, "<api/>", 100);
    put(&cluster, "synapse-configs/default/api/other.xml", "<api/>", 100);
    cluster.push(&[]).expect(0);
    assert_eq!(seconds(&cluster, API), 100);
    cluster
}

fn put(cluster: &Cluster, name: &str, bytes: impl AsRef<[u8]>, seconds: i64) {
    set_mtime(&cluster.write(name, bytes), seconds, NANOS);
}

/// The time of a file on both nodes, which must have the source's content.
#[track_caller]
fn seconds(cluster: &Cluster, name: &str) -> i64 {
    let of = |node| {
        let path = cluster.on(node, name);
        assert_eq!(fs::read(&path).unwrap(), fs::read(cluster.at(name)).unwrap(), "{name}");
        let stat = fs::metadata(path).unwrap();
        assert_eq!(stat.mtime_nsec(), NANOS, "{name}");
        stat.mtime()
    };
    assert_eq!(of(0), of(1), "{name}");
    of(0)
}

fn notes(outcome: &Outcome) -> Vec<String> {
    let notes = outcome.summary()["notes"].as_array().expect("a list").clone();
    notes.iter().map(|note| note.as_str().expect("a text").to_owned()).collect()
}

/// A push of the same source touches nothing, and whoever looks finds no difference.
#[track_caller]
fn assert_settled(cluster: &Cluster) {
    let before = [0, 1].map(|node| stamps(&cluster.nodes[node]));
    for (what, options) in
        [("push", &[][..]), ("plan", &[]), ("push", &["--force"]), ("verify", &["--deep"])]
    {
        let outcome = cluster.run(what, &cluster.source(), options);
        outcome.expect(0);
        assert_eq!(notes(&outcome), Vec::<String>::new(), "{what}");
        assert_eq!((outcome.state(0), outcome.state(1)), ("unchanged", "unchanged"), "{what}");
    }
    assert_eq!([0, 1].map(|node| stamps(&cluster.nodes[node])), before);
}

#[test]
fn a_changed_file_is_at_least_two_seconds_from_the_deployed_one_and_stays_there() {
    let cluster = deployed();
    let memory = cluster.hub_state().join("times");
    // In the same second, before and after, and each edit close to what the last one was given.
    for (own, given) in [(100, 102), (101, 104), (105, 106), (107, 108)] {
        put(&cluster, API, format!("<api name='{own}'/>"), own);
        let planned = cluster.plan(&[]);
        planned.expect(2);
        let pushed = cluster.push(&[]);
        pushed.expect(0);
        let told = format!("1 file was given a later time: {API}");
        assert_eq!([notes(&planned), notes(&pushed)], [[told.clone()], [told]]);
        assert_eq!(planned.summary()["release"], pushed.summary()["release"]);
        assert_eq!(seconds(&cluster, API), given, "{own}");
        assert_settled(&cluster);
        assert!(memory.is_file());
    }
    // Another file's change leaves it where it is.
    put(&cluster, "synapse-configs/default/api/other.xml", "<api name='o'/>", 500);
    cluster.push(&[]).expect(0);
    assert_eq!(seconds(&cluster, API), 108);
    assert_settled(&cluster);
    // A time of its own that is far enough.
    put(&cluster, API, "<api name='far'/>", 200);
    cluster.push(&[]).expect(0);
    assert_eq!(seconds(&cluster, API), 200);
    assert!(!memory.exists());
    assert_settled(&cluster);
    cluster.assert_same();
}

#[test]
fn a_source_that_is_touched_or_taken_back_has_its_own_times_again() {
    let cluster = deployed();
    put(&cluster, API, "<api name='b'/>", 101);
    cluster.push(&[]).expect(0);
    assert_eq!(seconds(&cluster, API), 102);
    // Two seconds from what is live.
    put(&cluster, API, "<api/>", 100);
    cluster.push(&[]).expect(0);
    assert_eq!(seconds(&cluster, API), 100);
    assert_settled(&cluster);
    put(&cluster, API, "<api name='b'/>", 101);
    cluster.push(&[]).expect(0);
    // The same content: a server has nothing to notice.
    put(&cluster, API, "<api name='b'/>", 103);
    cluster.push(&[]).expect(0);
    assert_eq!(seconds(&cluster, API), 103);
    assert_settled(&cluster);
    put(&cluster, API, "<api/>", 102);
    cluster.push(&[]).expect(0);
    assert_eq!(seconds(&cluster, API), 105);
    assert_settled(&cluster);
}

#[test]
fn a_push_that_was_refused_or_cut_off_changes_nothing_of_what_is_given() {
    let cluster = deployed();
    let standing = fs::read(cluster.hub_state().join("standing")).expect("it is there");
    let memory = cluster.hub_state().join("times");
    put(&cluster, API, "<api name='b'/>", 101);
    fs::remove_file(cluster.at("synapse-configs/default/api/other.xml")).expect("removed");
    cluster.plan(&[]).expect(2);
    cluster.push(&["--max-delete", "0"]).expect(5);
    assert!(!memory.exists(), "nothing was decided");
    cluster.push(&[]).expect(0);
    assert_eq!(seconds(&cluster, API), 102);
    let given = fs::read(&memory).expect("it is there");
    // The hub died behind its decision, before it knew of the release.
    fs::write(cluster.hub_state().join("standing"), &standing).expect("written");
    let again = cluster.push(&[]);
    assert_eq!(again.expect(0).state(0), "unchanged");
    assert_eq!(fs::read(&memory).expect("it is there"), given);
    assert_settled(&cluster);
    // And the source changed since.
    fs::write(cluster.hub_state().join("standing"), &standing).expect("written");
    put(&cluster, API, "<api name='c'/>", 101);
    cluster.push(&[]).expect(0);
    assert_eq!(seconds(&cluster, API), 104, "nodes had 102");
    assert_settled(&cluster);
}

#[test]
fn a_push_behind_a_rollback_gives_what_it_gave_before() {
    let cluster = deployed();
    put(&cluster, API, "<api name='b'/>", 101);
    let release = cluster.push(&[]).expect(0).summary()["release"].clone();
    let source = cluster.source();
    cluster.run("rollback", &source, &[]).expect(0);
    let stat = fs::metadata(cluster.on(0, API)).expect("a file");
    assert_eq!((stat.mtime(), stat.len()), (100, 6));
    cluster.run("verify", &source, &[]).expect(0);
    cluster.push(&[]).expect(5);
    cluster.push(&["--unpin"]).expect(0);
    assert_eq!(seconds(&cluster, API), 102);
    assert_settled(&cluster);
    assert_eq!(cluster.plan(&[]).expect(0).summary()["release"], release);
}

#[test]
fn without_its_memory_the_times_of_the_source_are_deployed() {
    for whole_state in [false, true] {
        let cluster = deployed();
        put(&cluster, API, "<api name='b'/>", 101);
        cluster.push(&[]).expect(0);
        if whole_state {
            fs::remove_dir_all(cluster.hub_state()).expect("removed");
        } else {
            fs::write(cluster.hub_state().join("times"), "damaged").expect("written");
        }
        cluster.push(&[]).expect(0);
        assert_eq!(seconds(&cluster, API), 101);
        assert_settled(&cluster);
        cluster.assert_same();
    }
}

#[test]
fn other_presets_leave_times_alone_and_tell() {
    for (preset, name) in [("plain", "a.xml"), ("tomcat", "a.war")] {
        let cluster = cluster(preset);
        put(&cluster, name, "one", 100);
        cluster.push(&[]).expect(0);
        put(&cluster, name, "other", 101);
        let outcome = cluster.push(&["--allow-empty"]);
        let told = notes(outcome.expect(0));
        assert_eq!(seconds(&cluster, name), 101);
        assert!(!cluster.hub_state().join("times").exists());
        let is_told = told.iter().any(|note| note.contains("modification time is less than 2 s"));
        assert_eq!(is_told, preset == "tomcat", "{told:?}");
        cluster.assert_same();
    }
}

#[test]
fn what_lint_finds_behind_a_given_time_is_what_it_finds_without() {
    let cluster = cluster("wso2-mi");
    let shop = |api: &str, seconds| {
        put(&cluster, "carbonapps/shop.car", car("Shop", "1", api), seconds);
        notes(cluster.push(&[]).expect(0))
    };
    assert!(shop("<api/>", 100).is_empty());
    let changed = "carbonapps/shop.car is not what was deployed as Shop 1, and is Shop 1 too";
    for (number, seconds) in [(1, 101), (2, 102), (3, 103)] {
        let told = shop(&format!("<api name='{number}'/>"), seconds);
        let given = "1 file was given a later time: carbonapps/shop.car";
        assert_eq!(told, [given, changed], "{number}");
    }
    assert_eq!(shop("<api name='4'/>", 900), [changed]);
}

#[test]
fn many_files_are_told_in_part() {
    let cluster = cluster("wso2-mi");
    let all = |content: &str| {
        for number in 0..8 {
            put(&cluster, &format!("synapse-configs/{number}.xml"), content, 100);
        }
        notes(cluster.push(&[]).expect(0))
    };
    assert!(all("<a/>").is_empty());
    let told = all("<b/>").join(" ");
    assert!(
        told.starts_with("8 files were given later times: synapse-configs/0.xml, ")
            && told.ends_with("synapse-configs/4.xml and 3 more"),
        "{told}"
    );
}

#[test]
fn a_rollback_tells_of_directories_that_a_server_does_not_see_go_back() {
    for (preset, is_told) in [("wso2-apim", true), ("wso2-mi", false), ("plain", false)] {
        let cluster = cluster(preset);
        put(&cluster, API, "<api/>", 100);
        put(&cluster, "webapps/shop/index.html", "one", 100);
        put(&cluster, "webapps/shop/lib/x.jar", "x", 150);
        put(&cluster, "webapps/same/index.html", "same", 100);
        cluster.push(&[]).expect(0);
        put(&cluster, API, "<api name='b'/>", 200);
        put(&cluster, "webapps/shop/index.html", "two", 200);
        cluster.push(&[]).expect(0);
        let source = cluster.source();
        let hidden = |outcome: &Outcome| {
            let told = notes(outcome.expect(0)).join("; ");
            assert!(!told.contains("webapps/same") && !told.contains("synapse"), "{told}");
            told.contains("may not notice that webapps/shop went back")
        };
        assert_eq!(hidden(&cluster.run("rollback", &source, &[])), is_told, "{preset}");
        // The release is the earlier one to the nanosecond.
        let stat = fs::metadata(cluster.on(0, "webapps/shop/index.html")).expect("a file");
        assert_eq!((stat.mtime(), stat.mtime_nsec()), (100, NANOS));
        cluster.run("verify", &source, &[]).expect(0);
        // Forward again it is newer.
        assert!(!hidden(&cluster.run("rollback", &source, &["@{1}"])), "{preset}");
        let stat = fs::metadata(cluster.on(0, "webapps/shop/index.html")).expect("a file");
        assert_eq!(stat.mtime(), 200);
    }
}

#[test]
fn a_push_of_nothing_new_reads_no_manifest_for_what_was_given() {
    if !require("later_times_cost_nothing", &["strace"]) {
        return;
    }
    let mut cluster = deployed();
    put(&cluster, API, "<api name='b'/>", 101);
    cluster.push(&[]).expect(0);
    let mut release = String::new();
    for _ in 0..3 {
        // Each run is longer than the window in which a stamp is not trusted.
        let outcome = cluster.push(&[]);
        release = outcome.expect(0).summary()["release"].as_str().expect("an id").to_owned();
    }
    let log = cluster.path().join("calls");
    let strace = ["strace", "-f", "-qq", "-o", log.to_str().unwrap(), "-e", "trace=openat,openat2"];
    cluster.wrapper = strace.iter().map(ToString::to_string).collect();
    let opened = |what: &str| {
        cluster.run(what, &cluster.source(), &[]);
        let text = fs::read_to_string(&log).unwrap();
        text.lines().filter(|line| line.contains(&format!("\"{release}"))).count()
    };
    assert_eq!(opened("push"), 0);
    put(&cluster, API, "<api name='c'/>", 101);
    assert!(opened("plan") > 0);
}
