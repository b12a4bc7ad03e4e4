//! What a node has and the release has not: removed, kept, protected, counted (faults 31, 32, 43, 52 to 54).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cluster::{Cluster, assert_rsync_agrees, names_below, stamps};
use crate::prerequisite::require;

#[test]
fn fault_043_and_052_extras_are_moved_to_the_kept_area_and_listed() {
    let cluster = Cluster::new(2);
    cluster.write("file", "released");
    cluster.write("d/file", "released too");
    cluster.push(&[]).expect(0);
    cluster.write_on(0, "extra", "of a server");
    cluster.write_on(0, "cache/deep/er", "of its cache");
    cluster.write_on(0, "d/extra", "beside released");
    std::os::unix::fs::symlink("x", cluster.on(0, "cache/link")).expect("a link");
    let plan = cluster.plan(&["-v"]);
    let deleted: BTreeSet<_> =
        plan.expect(2).changes().into_iter().filter(|(_, what)| what == "delete").collect();
    let paths: Vec<_> = deleted.iter().map(|(path, _)| path.as_str()).collect();
    let wanted = ["cache", "cache/deep", "cache/deep/er", "cache/link", "d/extra", "extra"];
    assert_eq!(paths, wanted);
    assert_eq!((plan.state(0), plan.state(1)), ("differs", "unchanged"));
    let outcome = cluster.push(&[]);
    assert_eq!(outcome.expect(0).count(0, "deleted"), 6);
    cluster.assert_same();
    let kept = cluster.kept(0);
    for text in ["of a server", "of its cache", "beside released"] {
        assert!(kept.contains(&text.as_bytes().to_vec()), "{text} can be recovered");
    }
}

#[test]
fn fault_043_a_directory_that_goes_stays_with_what_is_ignored_or_protected_alone() {
    let cluster = Cluster::new(1);
    cluster.write("file", "x");
    let config = cluster.path().join("depsync.toml");
    fs::write(&config, "[guard]\nprotect = [\"*.back\", \"/store/\"]\n").expect("written");
    let config = config.display().to_string();
    let options = ["--config", &config, "--exclude", "*.log"];
    cluster.push(&options).expect(0);
    for name in [
        "gone/a",
        "gone/app.log",
        "gone/sub/b",
        "gone/sub/c.back",
        "gone/empty/d",
        "store/one",
        "store/two/three",
        "top.log",
        "top.back",
        "top",
    ] {
        cluster.write_on(0, name, name);
    }
    let outcome = cluster.push(&options);
    outcome.expect(0);
    let notes = outcome.node(0)["notes"].to_string();
    assert!(notes.contains("kept that the release does not have"), "{notes}");
    let left: Vec<_> = names_below(&cluster.nodes[0])
        .into_keys()
        .filter_map(|path| path.to_str().map(String::from))
        .collect();
    let wanted = [
        "",
        "file",
        "gone",
        "gone/app.log",
        "gone/sub",
        "gone/sub/c.back",
        "store",
        "store/one",
        "store/two",
        "store/two/three",
        "top.back",
        "top.log",
    ];
    assert_eq!(left, wanted);
    assert_eq!(cluster.push(&options).expect(0).state(0), "unchanged");
}

#[test]
fn fault_043_what_is_protected_but_in_the_release_is_managed() {
    let cluster = Cluster::new(1);
    let config = cluster.path().join("depsync.toml");
    fs::write(&config, "[guard]\nprotect = [\"/store/\", \"*.back\"]\n").expect("written");
    let config = config.display().to_string();
    let options = ["--config", &config];
    cluster.write("store/released", "one");
    cluster.write("store/other", "other");
    cluster.write("a.back", "one");
    cluster.push(&options).expect(0);
    cluster.assert_same();
    cluster.write("store/released", "two is longer");
    cluster.write("a.back", "two is longer");
    cluster.write_on(0, "store/extra", "kept");
    let outcome = cluster.push(&options);
    assert_eq!(outcome.expect(0).count(0, "updated"), 2);
    let read = |name: &str| fs::read_to_string(cluster.on(0, name)).expect(name);
    assert_eq!(read("store/released"), "two is longer");
    assert_eq!(read("a.back"), "two is longer");
    assert_eq!(read("store/extra"), "kept");
    // What leaves the release is an extra from then on, so it is kept.
    fs::remove_file(cluster.at("store/other")).expect("removed");
    cluster.push(&options).expect(0);
    assert_eq!(read("store/other"), "other");
    // A directory that holds what must be kept cannot become a file.
    fs::remove_dir_all(cluster.at("store")).expect("removed");
    cluster.write("store", "a file now");
    let before = stamps(&cluster.nodes[0]);
    let outcome = cluster.push(&options);
    outcome.expect(1);
    assert!(outcome.error(0).contains("store cannot become"), "{}", outcome.error(0));
    assert_eq!(before, stamps(&cluster.nodes[0]));
}

#[test]
fn fault_043_and_052_no_delete_keeps_what_nodes_have_besides() {
    if !require("fault_043_no_delete", &["rsync"]) {
        return;
    }
    let cluster = Cluster::new(1);
    cluster.write("d/file", "old");
    cluster.push(&[]).expect(0);
    cluster.write_on(0, "extra/deep", "x");
    cluster.write_on(0, "d/extra", "x");
    fs::create_dir(cluster.on(0, "empty")).expect("a directory");
    cluster.write("d/file", "new content");
    cluster.write("empty", "a file in the place of an empty directory");
    cluster.push(&["--no-delete"]).expect(0);
    for name in ["extra/deep", "d/extra"] {
        assert!(cluster.on(0, name).exists(), "{name}");
    }
    assert_rsync_agrees(&cluster.source(), &cluster.nodes[0], &["--no-compress"]);
    assert_eq!(cluster.push(&["--no-delete"]).expect(0).state(0), "unchanged");
    // What must be kept is in the way.
    fs::remove_dir_all(cluster.at("d")).expect("removed");
    cluster.write("d", "a file");
    cluster.push(&["--no-delete"]).expect(1);
    assert!(cluster.on(0, "d/extra").exists());
    cluster.push(&[]).expect(0);
    cluster.assert_same();
}

#[test]
fn fault_053_a_local_edit_is_replaced_listed_and_kept() {
    let cluster = Cluster::new(2);
    cluster.write("conf/a", "as released");
    cluster.push(&[]).expect(0);
    cluster.write_on(0, "conf/a", "edited by hand");
    let plan = cluster.plan(&["-v"]);
    assert_eq!(plan.expect(2).changes(), [("conf/a".into(), "update".into())]);
    let outcome = cluster.push(&[]);
    assert_eq!(outcome.expect(0).count(0, "updated"), 1);
    assert_eq!(outcome.state(1), "unchanged");
    cluster.assert_same();
    assert!(cluster.kept(0).contains(&b"edited by hand".to_vec()));
    // The same length and time do not hide an edit.
    let before = fs::metadata(cluster.on(0, "conf/a")).expect("stat").modified().expect("time");
    cluster.write_on(0, "conf/a", "AS RELEASED");
    let file = fs::File::options().write(true).open(cluster.on(0, "conf/a")).expect("open");
    file.set_modified(before).expect("time");
    drop(file);
    assert_eq!(cluster.push(&[]).expect(0).count(0, "updated"), 1);
    cluster.assert_same();
}

#[test]
fn fault_054_nothing_that_a_server_creates_meanwhile_is_lost() {
    let mut cluster = Cluster::new(1);
    let config = cluster.path().join("depsync.toml");
    fs::write(&config, "[keep]\nreleases = 1000\n[guard]\nmax_delete = \"100%\"\n")
        .expect("config");
    cluster.options = vec!["--config".into(), config.display().to_string()];
    let (one, other) = (cluster.path().join("one"), cluster.path().join("other"));
    for (root, name) in [(&one, "busy/a"), (&other, "busy/b")] {
        fs::create_dir_all(root.join("busy")).expect("a directory");
        fs::write(root.join("always"), "x").expect("written");
        fs::write(root.join(name), "x").expect("written");
    }
    // In the other release the directory is a file every second time.
    let third = cluster.path().join("third");
    fs::create_dir(&third).expect("a directory");
    fs::write(third.join("busy"), "a file").expect("written");
    cluster.push_ok(&one, &[]);
    let stop = Arc::new(AtomicBool::new(false));
    let (busy, stage) = (cluster.on(0, "busy"), cluster.state(0).join("stage"));
    let server = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut made = Vec::new();
            while made.len() < 4_000 && !stop.load(Ordering::Relaxed) {
                // poll: a transaction in the stage; a directory that changes all the time could not even be inspected.
                if !fs::read_dir(&stage).is_ok_and(|mut names| names.next().is_some()) {
                    std::thread::yield_now();
                    continue;
                }
                let text = format!("made by the server {}", made.len());
                // Its directory is a file at times, and then it cannot create any.
                if fs::write(busy.join(&text), &text).is_ok() {
                    made.push(text.into_bytes());
                }
                std::thread::yield_now();
            }
            made
        }
    });
    let mut outcomes = Vec::new();
    for source in [&other, &one, &third, &one, &other, &third, &one, &other] {
        outcomes.push(cluster.run("push", source, &[]));
    }
    stop.store(true, Ordering::Relaxed);
    let made = server.join().expect("the server");
    assert!(!made.is_empty());
    let live = names_below(&cluster.nodes[0]).into_values().map(|name| name.content);
    let all: BTreeSet<Vec<u8>> = live.chain(cluster.kept(0)).collect();
    let commits = outcomes.iter().filter(|outcome| outcome.state(0) == "committed").count();
    assert!(commits > 0, "{outcomes:#?}");
    let lost: Vec<_> = made.iter().filter(|text| !all.contains(*text)).collect();
    assert!(lost.is_empty(), "{} of {} lost", lost.len(), made.len());
    cluster.push_ok(&one, &[]);
    cluster.assert_same_as(&one);
}

/// A node with `count` files that one release put there.
fn filled(count: usize) -> Cluster {
    let cluster = Cluster::new(1);
    for at in 0..count {
        cluster.write(format!("d{}/f{at}", at % 3), format!("content {at}"));
    }
    cluster.push(&[]).expect(0);
    cluster
}

fn drop_files(cluster: &Cluster, count: usize) {
    for path in
        names_below(&cluster.source()).into_iter().filter(|(_, n)| n.kind == '-').take(count)
    {
        fs::remove_file(cluster.source().join(path.0)).expect("removed");
    }
}

#[test]
fn fault_032_max_delete_refuses_more_than_half_and_never_ten() {
    for (files, gone, code) in
        [(12, 10, 0), (20, 10, 0), (20, 11, 5), (24, 12, 0), (24, 13, 5), (10, 9, 0)]
    {
        let cluster = filled(files);
        drop_files(&cluster, gone);
        let before = stamps(&cluster.nodes[0]);
        let outcome = cluster.push(&[]);
        assert_eq!(outcome.code, Some(code), "{gone} of {files}: {outcome:#?}");
        if code == 5 {
            assert_eq!(before, stamps(&cluster.nodes[0]));
            assert!(cluster.staged(0).is_empty());
            assert!(outcome.error(0).contains("--max-delete"), "{}", outcome.error(0));
            assert_eq!(outcome.summary()["outcome"], "guard");
            cluster.push(&["--max-delete", &gone.to_string()]).expect(0);
        }
    }
}

#[test]
fn fault_032_max_delete_counts_files_and_links_but_no_directories() {
    let cluster = Cluster::new(1);
    for at in 0..20 {
        fs::create_dir_all(cluster.at(format!("empty{at}/below"))).expect("directories");
    }
    cluster.write("file", "x");
    cluster.write("other", "y");
    cluster.push(&[]).expect(0);
    for at in 0..20 {
        fs::remove_dir_all(cluster.at(format!("empty{at}"))).expect("removed");
    }
    assert_eq!(cluster.push(&["--max-delete=0"]).expect(0).count(0, "deleted"), 40);
    for at in 0..12 {
        std::os::unix::fs::symlink(format!("t{at}"), cluster.at(format!("l{at}"))).expect("link");
    }
    cluster.push(&[]).expect(0);
    for at in 0..12 {
        fs::remove_file(cluster.at(format!("l{at}"))).expect("removed");
    }
    cluster.push(&[]).expect(5);
    cluster.push(&["--max-delete=11"]).expect(5);
    cluster.push(&["--max-delete=12"]).expect(0);
}

#[test]
fn fault_032_what_comes_back_under_another_name_does_not_count() {
    for hard_links in ["--hard-links=false", "--hard-links=true"] {
        let mut cluster = Cluster::new(1);
        cluster.options = vec![hard_links.into()];
        for at in 0..30 {
            cluster.write(format!("f{at}"), format!("content {at}"));
            fs::hard_link(cluster.at(format!("f{at}")), cluster.at(format!("h{at}")))
                .expect("link");
            std::os::unix::fs::symlink(format!("t{at}"), cluster.at(format!("l{at}"))).expect("l");
        }
        cluster.push(&[]).expect(0);
        fs::create_dir(cluster.at("new")).expect("a directory");
        for at in 0..30 {
            fs::rename(cluster.at(format!("f{at}")), cluster.at(format!("new/f{at}"))).expect("mv");
            fs::remove_file(cluster.at(format!("h{at}"))).expect("removed");
            fs::rename(cluster.at(format!("l{at}")), cluster.at(format!("new/l{at}"))).expect("mv");
            // A file that makes room for a directory, and whose content stands elsewhere.
            if at < 15 {
                fs::create_dir(cluster.at(format!("f{at}"))).expect("a directory");
            }
        }
        cluster.push(&["--max-delete=0"]).expect(0);
        cluster.assert_same();
    }
}

#[test]
fn fault_032_the_guard_holds_for_the_first_push_onto_a_populated_directory() {
    let cluster = Cluster::new(1);
    cluster.write("release", "x");
    for at in 0..11 {
        cluster.write_on(0, format!("precious{at}"), format!("{at}"));
    }
    let before = stamps(&cluster.nodes[0]);
    cluster.push(&[]).expect(5);
    assert_eq!(before, stamps(&cluster.nodes[0]));
    cluster.push(&["--max-delete=11"]).expect(0);
    cluster.assert_same();
    assert_eq!(cluster.kept(0).len(), 12, "each of them, and the list of them");
}

#[test]
fn a_first_push_takes_what_is_there_already() {
    let cluster = Cluster::new(1);
    cluster.write("same", vec![5; 200_000]);
    cluster.write("d/edited", vec![6; 100]);
    let copy = |from: &Path, to: &Path| {
        fs::create_dir_all(to.parent().unwrap()).expect("parents");
        fs::copy(from, to).expect("copied");
    };
    copy(&cluster.at("same"), &cluster.on(0, "same"));
    copy(&cluster.at("same"), &cluster.on(0, "elsewhere"));
    let outcome = cluster.push(&[]);
    assert!(outcome.expect(0).node(0)["bytes_sent"].as_u64().unwrap() < 10_000);
    assert_eq!(outcome.count(0, "deleted"), 1);
    cluster.assert_same();
}
