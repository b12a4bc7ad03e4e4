//! What a node's permissions, attributes and roots allow (faults 30, 44 to 47, 56, 59).

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::{
    Cluster, Mount, assert_rsync_agrees, assert_same, chmod, names_below, run, set_mtime, stamps,
};
use crate::prerequisite::{require, skip};

const USER: u32 = 54_321;

/// Two releases whose directories are read-only, with every change of names in them.
fn make_read_only(root: &Path, is_new: bool) {
    let (gone, there) = if is_new { ("new", "new content") } else { ("old", "old content") };
    for (path, text) in [
        ("d/changed", there),
        (if is_new { "d/new" } else { "d/old" }, gone),
        (if is_new { "e/moved" } else { "d/moved" }, "moved"),
        (if is_new { "d/flip" } else { "d/flip/below" }, "flip"),
        (if is_new { "d/flop/below" } else { "d/flop" }, "flop"),
        (if is_new { "e/moved-too/in/it" } else { "d/moves/in/it" }, "moved with its directory"),
        ("e/same", "same"),
        (if is_new { "n/created/deep" } else { "o/removed/deep" }, "a tree"),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).expect("parents");
        fs::write(&path, text).expect("written");
        chmod(&path, 0o444);
    }
    let directories = names_below(root).into_iter().filter(|(_, name)| name.kind == 'd');
    for (path, _) in directories.collect::<Vec<_>>().into_iter().rev() {
        chmod(&root.join(path), 0o555);
    }
    // What moves is the same in time as well.
    for (path, _) in names_below(root).into_iter().filter(|(_, name)| name.kind != 'l') {
        let is_changed = is_new && path.ends_with("changed");
        set_mtime(&root.join(path), 1_000_000_000 + i64::from(is_changed), 7);
    }
}

fn push_read_only(user: Option<u32>) {
    let mut cluster = Cluster::new(1);
    cluster.options = vec!["--max-delete=100%".into()];
    let sources = [cluster.path().join("old"), cluster.path().join("new")];
    for (at, source) in sources.iter().enumerate() {
        fs::create_dir(source).expect("a directory");
        make_read_only(source, at == 1);
    }
    if let Some(user) = user {
        cluster.run_as(user);
    }
    let mut inodes = Vec::new();
    for (source, moved) in [
        (&sources[0], ["d/moved", "d/moves", "d/moves/in"]),
        (&sources[1], ["e/moved", "e/moved-too", "e/moved-too/in"]),
        (&sources[0], ["d/moved", "d/moves", "d/moves/in"]),
    ] {
        cluster.push_ok(source, &[]);
        cluster.assert_same_as(source);
        let inode = |name: &str| fs::metadata(cluster.on(0, name)).expect(name).ino();
        inodes.push(moved.map(inode));
        assert_eq!(cluster.push_ok(source, &[]).state(0), "unchanged");
    }
    assert!(inodes.iter().all(|moved| *moved == inodes[0]), "{inodes:?}");
    assert!(cluster.kept(0).contains(&b"old content".to_vec()));
}

#[test]
fn fault_044_read_only_directories_change_and_are_read_only_again_as_root() {
    if require("fault_044_root", &["root", "rsync"]) {
        push_read_only(None);
    }
}

#[test]
fn fault_044_read_only_directories_change_and_are_read_only_again_without_root() {
    if require("fault_044_user", &["root", "rsync", "setpriv"]) {
        push_read_only(Some(USER));
    }
}

#[test]
fn fault_044_what_belongs_to_another_user_is_refused_before_anything_changes() {
    if !require("fault_044_foreign", &["root", "setpriv"]) {
        return;
    }
    let mut cluster = Cluster::new(1);
    cluster.write("d/file", "x");
    cluster.write("time", "x");
    cluster.run_as(USER);
    cluster.push(&[]).expect(0);
    for (path, foreign) in [("gone/dir", "gone/dir"), ("gone/x/dir", "gone/x"), ("d", "d")] {
        fs::create_dir_all(cluster.on(0, path)).expect("directories");
        run(Command::new("chown").arg("-R").arg(format!("{USER}")).arg(&cluster.nodes[0]));
        chown(cluster.on(0, foreign), Some(99), None).expect("owner");
        cluster.write("d/file", format!("changed for {path}"));
        let before = stamps(&cluster.nodes[0]);
        let outcome = cluster.push(&[]);
        outcome.expect(1);
        assert!(outcome.error(0).contains(foreign), "{path}: {}", outcome.error(0));
        assert_eq!(before, stamps(&cluster.nodes[0]));
        assert!(cluster.staged(0).is_empty());
    }
}

#[test]
fn an_agent_without_root_owns_what_it_writes_and_says_so() {
    if !require("agent_user", &["root", "setpriv"]) {
        return;
    }
    let mut cluster = Cluster::new(1);
    cluster.write("file", "x");
    cluster.run_as(USER);
    chown(cluster.at("file"), Some(1), Some(1)).expect("owner");
    let outcome = cluster.push(&[]);
    assert!(outcome.expect(0).node(0)["notes"].to_string().contains("owns what it writes"));
    assert_eq!(names_below(&cluster.nodes[0])[Path::new("file")].owner, (USER, USER));
    assert_eq!(cluster.push(&[]).expect(0).state(0), "unchanged");
    // An owner it may not give is that node's failure.
    let outcome = cluster.push(&["--owner", "1:1"]);
    outcome.expect(1);
    assert_eq!(names_below(&cluster.nodes[0])[Path::new("file")].owner, (USER, USER));
    assert!(cluster.staged(0).is_empty());
}

/// Takes an attribute of `chattr` away at the end, so that the directory can be removed.
struct Attribute(PathBuf, &'static str);

impl Attribute {
    fn set(path: PathBuf, letter: &'static str) -> Option<Self> {
        let mut command = Command::new("chattr");
        let done = command.arg(format!("+{letter}")).arg(&path).output().expect("chattr");
        done.status.success().then_some(Self(path, letter))
    }
}

impl Drop for Attribute {
    fn drop(&mut self) {
        let status = Command::new("chattr").arg(format!("-{}", self.1)).arg(&self.0).status();
        debug_assert!(status.is_ok_and(|status| status.success()));
    }
}

#[test]
fn fault_045_immutable_and_append_only_names_are_refused_and_never_cleared() {
    if !require("fault_045", &["root", "chattr", "lsattr"]) {
        return;
    }
    for letter in ["i", "a"] {
        for (path, is_extra) in [
            ("file", false),
            ("dir", false),
            ("meta", false),
            ("extra", true),
            ("extra-dir/deep/file", true),
            ("extra-dir/deep", true),
            ("flip/below", false),
        ] {
            let cluster = Cluster::new(2);
            for name in ["file", "dir/a", "meta", "flip/below"] {
                cluster.write(name, "old");
            }
            cluster.push(&[]).expect(0);
            if is_extra {
                cluster.write_on(
                    0,
                    if path == "extra" { "extra" } else { "extra-dir/deep/file" },
                    "x",
                );
            }
            cluster.write("file", "new");
            cluster.write("dir/b", "new");
            chmod(&cluster.at("meta"), 0o600);
            fs::remove_dir_all(cluster.at("flip")).expect("removed");
            cluster.write("flip", "a file");
            let Some(attribute) = Attribute::set(cluster.on(0, path), letter) else {
                return skip("fault_045", "the file system of temporary files has no attributes");
            };
            let before = [stamps(&cluster.nodes[0]), stamps(&cluster.nodes[1])];
            let outcome = cluster.push(&[]);
            assert_eq!(outcome.code, Some(1), "+{letter} {path}: {outcome:#?}");
            assert!(outcome.error(0).contains(path), "+{letter} {path}: {}", outcome.error(0));
            assert!(outcome.error(0).contains("chattr"));
            assert_eq!(before, [stamps(&cluster.nodes[0]), stamps(&cluster.nodes[1])]);
            assert!(cluster.staged(0).is_empty() && cluster.staged(1).is_empty());
            let listed = run(Command::new("lsattr").arg("-d").arg(&attribute.0));
            let flags = listed.split(' ').next().unwrap();
            assert!(flags.contains(letter), "{flags}");
            drop(attribute);
            cluster.push(&[]).expect(0);
        }
    }
}

#[test]
fn fault_046_a_missing_root_is_made_and_a_missing_parent_only_if_asked() {
    let mut cluster = Cluster::new(1);
    cluster.write("d/file", "x");
    fs::remove_dir(&cluster.nodes[0]).expect("removed");
    cluster.plan(&[]).expect(2);
    assert!(!cluster.nodes[0].exists(), "a plan makes nothing");
    cluster.push(&[]).expect(0);
    cluster.assert_same();
    assert_eq!(cluster.push(&[]).expect(0).state(0), "unchanged");
    cluster.nodes[0] = cluster.path().join("n0/above/deeper/tree");
    let outcome = cluster.push(&[]);
    outcome.expect(1);
    let error = outcome.error(0);
    assert!(error.contains("above") && error.contains("--mkpath"), "{error}");
    assert!(!cluster.path().join("n0/above").exists());
    cluster.push(&["--mkpath"]).expect(0);
    cluster.assert_same();
    let mode = fs::metadata(cluster.path().join("n0/above")).expect("stat").permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn fault_047_a_root_that_is_a_file_is_refused() {
    let mut cluster = Cluster::new(2);
    cluster.write("file", "x");
    fs::remove_dir(&cluster.nodes[0]).expect("removed");
    fs::write(&cluster.nodes[0], "a file").expect("written");
    cluster.options = vec!["--require".into(), "all".into()];
    let outcome = cluster.push(&[]);
    outcome.expect(1);
    assert!(outcome.error(0).contains("not a directory"), "{}", outcome.error(0));
    assert_eq!(fs::read(&cluster.nodes[0]).expect("read"), b"a file");
    assert!(!cluster.on(1, "file").exists());
}

#[test]
fn fault_047_a_link_to_the_root_is_followed_if_its_owner_is_trusted() {
    if !require("fault_047_link", &["root"]) {
        return;
    }
    let mut cluster = Cluster::new(1);
    cluster.write("file", "x");
    let (real, link) = (cluster.nodes[0].clone(), cluster.path().join("link"));
    symlink(&real, &link).expect("a link");
    cluster.nodes[0] = link.clone();
    cluster.push(&[]).expect(0);
    assert_same(&cluster.source(), &real);
    assert!(link.is_symlink());
    cluster.write("file", "y");
    std::os::unix::fs::lchown(&link, Some(4444), Some(4444)).expect("owner");
    let outcome = cluster.push(&[]);
    outcome.expect(1);
    assert!(outcome.error(0).contains("4444"), "{}", outcome.error(0));
    assert_eq!(fs::read(real.join("file")).expect("read"), b"x");
}

#[test]
fn fault_047_a_parent_that_others_may_write_must_be_sticky() {
    let cluster = Cluster::new(1);
    cluster.write("file", "x");
    let parent = cluster.path().join("n0");
    chmod(&parent, 0o777);
    let outcome = cluster.push(&[]);
    outcome.expect(1);
    assert!(outcome.error(0).contains("sticky"), "{}", outcome.error(0));
    assert!(!cluster.on(0, "file").exists() && !cluster.state(0).exists());
    chmod(&parent, 0o1777);
    cluster.push(&[]).expect(0);
    cluster.assert_same();
}

#[test]
fn fault_056_a_setgid_parent_and_a_default_acl_change_nothing_of_what_is_written() {
    if !require("fault_056", &["root", "setfacl", "rsync"]) {
        return;
    }
    let mut cluster = Cluster::new(1);
    for at in 0..2 {
        let around = cluster.nodes[0].parent().unwrap().to_path_buf();
        for path in [&around, &cluster.nodes[0]] {
            chown(path, None, Some(7777)).expect("group");
            chmod(path, 0o2775);
            let acl = "d:u:1234:rwx,d:g:99:rwx,d:o::rwx,d:m::rwx";
            run(Command::new("setfacl").args(["-m", acl]).arg(path));
        }
        cluster.write(format!("d{at}/file"), "x");
        chmod(&cluster.write(format!("d{at}/sub/secret"), "x"), 0o600);
        chmod(&cluster.at(format!("d{at}/sub")), 0o700);
        cluster.write(format!("top{at}"), "x");
        if at == 1 {
            cluster.options = vec!["--acls".into()];
            run(Command::new("setfacl").args(["-m", "u:77:rw"]).arg(cluster.at("top1")));
        }
        cluster.push(&[]).expect(0);
        assert_same(&cluster.source(), &cluster.nodes[0]);
    }
    assert_rsync_agrees(&cluster.source(), &cluster.nodes[0], &[]);
    assert_eq!(cluster.push(&[]).expect(0).state(0), "unchanged");
}

#[test]
fn fault_056_no_acl_of_a_parent_opens_what_is_written_without_acls() {
    if !require("fault_056_without", &["root", "setfacl", "getfacl"]) {
        return;
    }
    let cluster = Cluster::new(1);
    let acl = "d:u:1234:rwx,d:m::rwx";
    run(Command::new("setfacl").args(["-m", acl]).arg(cluster.nodes[0].parent().unwrap()));
    chmod(&cluster.write("new/secret", "x"), 0o640);
    cluster.push(&[]).expect(0);
    cluster.assert_same();
    let said = run(Command::new("getfacl").args(["-n", "-p"]).arg(cluster.on(0, "new/secret")));
    assert!(!said.contains("1234"), "{said}");
}

#[test]
fn fault_059_a_read_only_file_system_is_refused_by_name() {
    if !require("fault_059", &["root"]) {
        return;
    }
    let cluster = Cluster::new(1);
    cluster.write("file", "x");
    let around = cluster.path().join("n0");
    let Some(_mount) = Mount::new(&["-t", "tmpfs", "-o", "size=8m", "t"], &around) else {
        return skip("fault_059", "needs a tmpfs");
    };
    fs::create_dir(&cluster.nodes[0]).expect("a directory");
    cluster.push(&[]).expect(0);
    cluster.write("file", "y");
    run(Command::new("mount").args(["-o", "remount,ro"]).arg(&around));
    let outcome = cluster.push(&[]);
    outcome.expect(1);
    assert!(outcome.error(0).contains("read-only"), "{}", outcome.error(0));
    run(Command::new("mount").args(["-o", "remount,rw"]).arg(&around));
    cluster.push(&[]).expect(0);
    cluster.assert_same();
}
