//! What is found in the files of a source, and that nothing is read twice for it.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use crate::archives::{car, zip};
use crate::cluster::{Cluster, Outcome, names_below, set_mtime};
use crate::doctor::assert_found;
use crate::prerequisite::require;

/// A cluster whose configuration says `lint = LEVEL`.
fn cluster(level: &str) -> Cluster {
    let cluster = Cluster::new(1);
    set(&cluster, level);
    cluster
}

fn set(cluster: &Cluster, level: &str) {
    let text = format!("[source]\nlint = \"{level}\"\n");
    fs::write(cluster.path().join("depsync.toml"), text).expect("written");
}

/// What is noted of the source, leaving out what is said of the history.
fn notes(outcome: &Outcome) -> Vec<String> {
    let notes = outcome.summary()["notes"].as_array().expect("a list").clone();
    notes.iter().map(|note| note.as_str().expect("a text").to_owned()).collect()
}

/// Puts an application into the source, each time with another time.
fn put(cluster: &Cluster, name: &str, bytes: &[u8], seconds: i64) {
    set_mtime(&cluster.write(format!("carbonapps/{name}"), bytes), seconds, 0);
}

#[test]
fn a_good_source_has_nothing_said_of_it() {
    let cluster = cluster("deny");
    put(&cluster, "shop.car", &car("Shop", "1", "<api/>"), 100);
    cluster.write("synapse-configs/default/api/a.xml", "<api/>");
    cluster.write("synapse-configs/default/api/dtd.xml", "<!DOCTYPE a SYSTEM 'x'><a>&b;</a>");
    cluster.write("webapps/x.war", zip(&[("WEB-INF/web.xml", b"<web-app/>")]));
    cluster.write("other.txt", "<a>");
    symlink("missing.car", cluster.at("link.car")).expect("a link");
    fs::create_dir(cluster.at("directory.car")).expect("a directory");
    let outcome = cluster.push(&[]);
    outcome.expect(0);
    assert_eq!(notes(&outcome), Vec::<String>::new());
}

#[test]
fn a_truncated_archive_is_a_note_or_stops_the_run() {
    let cluster = cluster("deny");
    let whole = car("Shop", "1", "<api/>");
    put(&cluster, "shop.car", &whole[..whole.len() - 30], 100);
    cluster.write("a.xml", "<api>");
    cluster.write("none.car", zip(&[("x", b"")]));
    let before = names_below(&cluster.nodes[0]);
    let told = [
        "a.xml is not well-formed XML at byte 5: it ends within an element",
        "carbonapps/shop.car is cut off, or is no zip archive: it has no central directory",
        "none.car has no artifacts.xml",
    ];
    for _ in 0..2 {
        let outcome = cluster.push(&[]);
        outcome.expect(5);
        let error = &outcome.summary()["error"];
        assert_eq!((&error["kind"], &error["causes"]), (&"lint".into(), &told.to_vec().into()));
        assert!(error["hint"].as_str().expect("a hint").contains("lint = \"warn\""));
        assert_eq!(names_below(&cluster.nodes[0]), before);
    }
    assert_found(&cluster.run("doctor", &cluster.source(), &[]), &["hub lint error"]);
    set(&cluster, "warn");
    // Of a release that is there it is said again.
    for _ in 0..2 {
        let outcome = cluster.push(&[]);
        outcome.expect(0);
        assert_eq!(notes(&outcome), told);
    }
    set(&cluster, "off");
    assert_eq!(notes(cluster.push(&[]).expect(0)), Vec::<String>::new());
}

#[test]
fn many_findings_are_told_in_part() {
    let cluster = cluster("deny");
    for number in 0..30 {
        cluster.write(format!("{number:02}.xml"), "<a>");
    }
    let outcome = cluster.push(&[]);
    let error = &outcome.expect(5).summary()["error"];
    assert_eq!(error["message"], "the source has 30 findings of lint");
    let causes = error["causes"].as_array().expect("a list");
    assert_eq!((causes.len(), &causes[20]), (21, &"and 10 more findings of lint".into()));
}

#[test]
fn applications_that_clash_and_versions_that_changed_are_told() {
    let cluster = cluster("warn");
    put(&cluster, "shop.car", &car("Shop", "1", "<api/>"), 100);
    assert!(notes(cluster.push(&[]).expect(0)).is_empty());
    put(&cluster, "shop.car", &car("Shop", "1", "<api name='x'/>"), 200);
    put(&cluster, "shop-2.car", &car("Shop", "2", "<api/>"), 100);
    let clash = "carbonapps/shop.car is Shop 1, and carbonapps/shop-2.car is Shop 2";
    let changed = "carbonapps/shop.car is not what was deployed as Shop 1, and is Shop 1 too";
    // A plan forgets nothing of what is deployed.
    for what in ["plan", "plan", "push"] {
        let outcome = cluster.run(what, &cluster.source(), &[]);
        assert_eq!(notes(&outcome), [clash, changed], "{what}");
    }
    assert_eq!(notes(cluster.push(&[]).expect(0)), [clash], "it is deployed by now");
    put(&cluster, "shop.car", &car("Shop", "1", "<api name='y'/>"), 201);
    let outcome = cluster.push(&[]);
    let told = notes(outcome.expect(0));
    assert!(told.len() == 3 && told[2].contains("modification time is less than 2 s"), "{told:?}");
    fs::remove_file(cluster.at("carbonapps/shop-2.car")).expect("removed");
    put(&cluster, "shop.car", &car("Shop", "3", "<api/>"), 300);
    assert!(notes(cluster.push(&[]).expect(0)).is_empty());
}

#[test]
fn a_damaged_memory_is_made_anew() {
    let cluster = cluster("warn");
    put(&cluster, "shop.car", b"no archive", 100);
    cluster.push(&[]).expect(0);
    let memory = cluster.hub_state().join("lint");
    let whole = fs::read(&memory).expect("it is there");
    for bytes in [&whole[..whole.len() / 2], b"", &[0; 100]] {
        fs::write(&memory, bytes).expect("written");
        let outcome = cluster.push(&[]);
        assert_eq!(notes(outcome.expect(0)).len(), 1);
        assert_eq!(fs::read(&memory).expect("it is there"), whole);
    }
}

#[test]
fn an_archive_that_is_made_to_do_harm_costs_little() {
    let cluster = cluster("warn");
    let deep = "<artifacts>".repeat(90_000);
    let wide: Vec<String> = (0..40_000).map(|number| format!("a{number}=''")).collect();
    cluster.write("deep.car", zip(&[("artifacts.xml", deep.as_bytes())]));
    cluster.write("wide.xml", format!("<a {}/>", wide.join(" ")));
    let mut many = zip(&[("artifacts.xml", b"<artifacts/>")]);
    let at = many.len() - 12;
    many[at..at + 2].copy_from_slice(&[255, 255]);
    cluster.write("many.car", many);
    let started = Instant::now();
    let outcome = cluster.push(&[]);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let told = notes(outcome.expect(0));
    assert!(told.len() == 2 && told[0].contains("nest too deep"), "{told:?}");
}

#[test]
fn a_push_of_nothing_new_opens_no_archive_and_one_of_one_opens_that_alone() {
    if !require("lint_reads_once", &["strace"]) {
        return;
    }
    let mut cluster = cluster("warn");
    for number in 0..5 {
        let name = format!("app{number}");
        put(&cluster, &format!("{name}.car"), &car(&name, "1", "<api/>"), 100);
        cluster.write(format!("api/{name}.xml"), "<api/>");
    }
    for _ in 0..3 {
        // Each run is longer than the window in which a stamp is not trusted.
        assert!(notes(cluster.push(&[]).expect(0)).is_empty());
    }
    let log = cluster.path().join("calls");
    let strace = ["strace", "-f", "-qq", "-o", log.to_str().unwrap(), "-e", "trace=openat,openat2"];
    cluster.wrapper = strace.iter().map(ToString::to_string).collect();
    // How often the one application is opened, and how often any other file is.
    let opened = |what: &str| {
        cluster.run(what, &cluster.source(), &[]);
        let text = fs::read_to_string(&log).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("\"app")).collect();
        let own = lines.iter().filter(|line| line.contains("\"app3.car\"")).count();
        (own, lines.len() - own)
    };
    assert_eq!(opened("push"), (0, 0));
    put(&cluster, "app3.car", &car("app3", "2", "<api/>"), 200);
    let (own, other) = opened("plan");
    assert!(own > 0 && other == 0, "{own} {other}");
}
