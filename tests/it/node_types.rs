//! Every type of file on a node, in the way of every other (faults 22 to 30, 36 to 42, 50, 51).

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cluster::{
    Cluster, Mount, assert_rsync_agrees, assert_same, chmod, names_below, run, set_mtime,
};
use crate::prerequisite::{require, skip};

/// A tree in which each of the names is a file, a directory with something in it, or a link.
fn make_kinds(root: &Path, kinds: &str) {
    fs::create_dir_all(root.join("deep")).expect("a directory");
    fs::write(root.join("stays"), "stays").expect("written");
    for (at, kind) in kinds.chars().enumerate() {
        for path in [root.join(format!("n{at}")), root.join(format!("deep/n{at}"))] {
            match kind {
                'f' => fs::write(&path, format!("file {at}")).expect("written"),
                'l' => symlink("stays", &path).expect("a link"),
                _ => {
                    fs::create_dir_all(path.join("below/it")).expect("directories");
                    fs::write(path.join("file"), "in it").expect("written");
                    fs::write(path.join("below/it/more"), "in it too").expect("written");
                    symlink("..", path.join("below/up")).expect("a link");
                }
            }
        }
    }
}

#[test]
fn fault_036_to_041_all_six_type_flips_go_forward_and_back_in_one_push() {
    if !require("fault_036_to_041", &["rsync", "root"]) {
        return;
    }
    let mut cluster = Cluster::new(2);
    cluster.options = vec!["--max-delete=100%".into()];
    let (old, new) = (cluster.path().join("old"), cluster.path().join("new"));
    // file to dir, dir to file, file to link, link to file, dir to link, link to dir
    make_kinds(&old, "fdfldl");
    make_kinds(&new, "dflfld");
    for source in [&old, &new, &old, &new] {
        let outcome = cluster.push_ok(source, &[]);
        assert_eq!(outcome.state(0), "committed");
        cluster.assert_same_as(source);
        assert_eq!(cluster.push_ok(source, &[]).state(1), "unchanged");
    }
    let plan = cluster.run("plan", &old, &["-v"]);
    let flips = plan.expect(2).changes().into_iter().filter(|(_, change)| change == "type").count();
    assert_eq!(flips, 2 * 2 * 6, "each flip, at two depths, on two nodes");
}

#[test]
fn fault_042_a_fifo_or_socket_in_the_way_is_moved_and_never_opened() {
    let cluster = Cluster::new(1);
    cluster.write("fifo", "a file now");
    cluster.write("socket", "a file now");
    cluster.write("dir/fifo", "a file now");
    cluster.write("from-dir/x", "a directory now");
    for name in ["fifo", "dir/fifo", "from-dir", "extra-fifo"] {
        fs::create_dir_all(cluster.on(0, name).parent().unwrap()).expect("parents");
        run(Command::new("mkfifo").arg(cluster.on(0, name)));
    }
    drop(std::os::unix::net::UnixListener::bind(cluster.on(0, "socket")).expect("a socket"));
    // It blocks until somebody opens the other end, which would end it.
    let mut reader =
        Command::new("cat").arg(cluster.on(0, "fifo")).stdout(Stdio::null()).spawn().expect("cat");
    cluster.push(&[]).expect(0);
    let is_waiting = reader.try_wait().expect("asked").is_none();
    reader.kill().expect("ended");
    reader.wait().expect("waited for");
    assert!(is_waiting, "somebody opened the FIFO");
    cluster.assert_same();
}

#[test]
fn fault_050_a_running_program_is_replaced_and_runs_on() {
    let cluster = Cluster::new(1);
    let cat = fs::read("/bin/cat").expect("cat");
    cluster.write("bin/cat", &cat);
    chmod(&cluster.at("bin/cat"), 0o755);
    cluster.push(&[]).expect(0);
    let mut running = Command::new(cluster.on(0, "bin/cat"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut open = fs::File::open(cluster.on(0, "bin/cat")).expect("open");
    let before = open.metadata().expect("stat").ino();
    cluster.write("bin/cat", "#!/bin/true\n");
    cluster.push(&[]).expect(0);
    cluster.assert_same();
    assert_ne!(fs::metadata(cluster.on(0, "bin/cat")).expect("stat").ino(), before);
    let mut old = Vec::new();
    open.read_to_end(&mut old).expect("read");
    assert_eq!(old, cat, "an open file keeps its bytes");
    let mut stdin = running.stdin.take().expect("its input");
    std::io::Write::write_all(&mut stdin, b"alive\n").expect("written");
    drop(stdin);
    let mut line = String::new();
    BufReader::new(running.stdout.take().expect("its output")).read_line(&mut line).expect("line");
    assert_eq!(line, "alive\n");
    assert!(running.wait().expect("its end").success());
}

#[test]
fn fault_051_a_hard_link_from_outside_keeps_content_mode_and_time() {
    for hard_links in [false, true] {
        let mut cluster = Cluster::new(1);
        cluster.options = vec![format!("--hard-links={hard_links}")];
        for name in ["content", "mode", "time", "gone", "moved"] {
            cluster.write(name, format!("old {name}"));
        }
        cluster.push(&[]).expect(0);
        let outside = cluster.path().join("outside");
        fs::create_dir(&outside).expect("a directory");
        for name in ["content", "mode", "time", "gone", "moved"] {
            fs::hard_link(cluster.on(0, name), outside.join(name)).expect("linked");
        }
        let mut before = names_below(&outside);
        before.remove(Path::new(""));
        cluster.write("content", "new content");
        chmod(&cluster.at("mode"), 0o600);
        set_mtime(&cluster.at("time"), 1_000_000_000, 5);
        fs::remove_file(cluster.at("gone")).expect("removed");
        fs::rename(cluster.at("moved"), cluster.at("renamed")).expect("renamed");
        cluster.push(&[]).expect(0);
        cluster.assert_same();
        let mut after = names_below(&outside);
        after.remove(Path::new(""));
        assert_eq!(before, after);
        assert_eq!(cluster.push(&[]).expect(0).state(0), "unchanged");
    }
}

#[test]
fn fault_022_a_sparse_file_of_a_tebibyte_stays_sparse() {
    let cluster = Cluster::new(1);
    let file = fs::File::create(cluster.at("sparse")).expect("create");
    file.set_len(1 << 40).expect("a length");
    file.write_all_at(&[7; 4096], 1 << 39).expect("data");
    drop(file);
    let outcome = cluster.push(&[]);
    outcome.expect(0);
    let node = fs::File::open(cluster.on(0, "sparse")).expect("open");
    let meta = node.metadata().expect("stat");
    assert_eq!(meta.size(), 1 << 40);
    assert!(meta.blocks() * 512 <= 128 * 1024, "{} blocks", meta.blocks());
    let mut bytes = [0; 4098];
    node.read_exact_at(&mut bytes, (1 << 39) - 1).expect("read");
    assert_eq!((bytes[0], bytes[4097]), (0, 0));
    assert!(bytes[1..4097].iter().all(|&byte| byte == 7));
    assert!(outcome.node(0)["bytes_sent"].as_u64().unwrap() < 200_000);
    assert_eq!(cluster.push(&[]).expect(0).state(0), "unchanged");
}

#[test]
fn fault_023_and_024_empty_things_and_a_file_over_four_gibibytes_arrive() {
    let cluster = Cluster::new(1);
    cluster.write("empty", "");
    fs::create_dir_all(cluster.at("d/e")).expect("directories");
    let size = (4u64 << 30) + 12_345;
    let file = fs::File::create(cluster.at("large")).expect("create");
    file.set_len(size).expect("a length");
    file.write_all_at(b"head", 0).expect("data");
    file.write_all_at(b"tail", size - 4).expect("data");
    drop(file);
    cluster.push(&[]).expect(0);
    let node = fs::File::open(cluster.on(0, "large")).expect("open");
    assert_eq!(node.metadata().expect("stat").size(), size);
    let mut bytes = [0; 4];
    node.read_exact_at(&mut bytes, size - 4).expect("read");
    assert_eq!(&bytes, b"tail");
    node.read_exact_at(&mut bytes, 0).expect("read");
    assert_eq!(&bytes, b"head");
    assert_eq!(fs::metadata(cluster.on(0, "empty")).expect("stat").size(), 0);
    assert!(cluster.on(0, "d/e").is_dir());
    assert_eq!(cluster.push(&[]).expect(0).state(0), "unchanged");
}

#[test]
fn fault_027_times_of_1901_2038_and_later_are_kept_to_the_nanosecond() {
    if !require("fault_027", &["rsync"]) {
        return;
    }
    let cluster = Cluster::new(1);
    let times = [
        (-2_147_483_648, 1),
        (-1, 999_999_999),
        (0, 0),
        (2_147_483_648, 123_456_789),
        (4_102_444_800, 999_999_999),
    ];
    for (at, (seconds, nanos)) in times.into_iter().enumerate() {
        for name in [format!("dir{at}"), format!("file{at}"), format!("link{at}")] {
            let path = cluster.at(&name);
            match name.as_bytes()[0] {
                b'd' => fs::create_dir(&path).expect("a directory"),
                b'f' => fs::write(&path, "x").expect("a file"),
                _ => symlink("x", &path).expect("a link"),
            }
            set_mtime(&path, seconds, nanos);
        }
    }
    set_mtime(&cluster.source(), 2_000_000_000, 77);
    cluster.push(&[]).expect(0);
    cluster.assert_same();
    assert_eq!(cluster.push(&[]).expect(0).state(0), "unchanged");
    let link = cluster.on(0, "link3");
    assert_eq!(fs::symlink_metadata(link).expect("stat").mtime_nsec(), 123_456_789);
}

#[test]
fn fault_028_modes_without_access_setuid_and_sticky_are_exact() {
    if !require("fault_028_node", &["root", "rsync"]) {
        return;
    }
    let cluster = Cluster::new(1);
    for mode in [0o000u32, 0o4755, 0o2755, 0o6711, 0o1777, 0o0444, 0o7777] {
        chmod(&cluster.write(format!("f{mode:o}"), "x"), mode);
        cluster.write(format!("d{mode:o}/x"), "x");
        chmod(&cluster.at(format!("d{mode:o}")), mode);
        // Owners other than root: setting one clears setuid, which must come last.
        let path = cluster.write(format!("o{mode:o}"), "x");
        std::os::unix::fs::chown(&path, Some(1234), Some(5678)).expect("owner");
        chmod(&path, mode);
    }
    cluster.push(&[]).expect(0);
    cluster.assert_same();
    for mode in [0o000u32, 0o4755] {
        chmod(&cluster.at(format!("d{mode:o}")), 0o2711);
        chmod(&cluster.at(format!("o{mode:o}")), 0o6555);
    }
    let outcome = cluster.push(&[]);
    assert_eq!(outcome.expect(0).count(0, "metadata"), 4);
    cluster.assert_same();
}

#[test]
fn fault_028_a_capability_travels_with_xattrs_and_only_then() {
    if !require("fault_028_capability", &["root", "setcap", "getcap", "rsync"]) {
        return;
    }
    let mut cluster = Cluster::new(1);
    let path = cluster.write("server", "x");
    std::os::unix::fs::chown(&path, Some(1234), Some(5678)).expect("owner");
    run(Command::new("setcap").arg("cap_net_bind_service=ep").arg(&path));
    let capability = |path: &Path| run(Command::new("getcap").arg(path));
    cluster.push(&[]).expect(0);
    assert_eq!(capability(&cluster.on(0, "server")), "");
    cluster.options = vec!["--xattrs".into()];
    let outcome = cluster.push(&[]);
    assert_eq!(outcome.expect(0).count(0, "metadata"), 1);
    assert!(capability(&cluster.on(0, "server")).contains("cap_net_bind_service"));
    cluster.assert_same();
    run(Command::new("setcap").arg("-r").arg(&path));
    cluster.push(&[]).expect(0);
    assert_eq!(capability(&cluster.on(0, "server")), "");
    cluster.assert_same();
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) -> bool {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(path, name, value, flags).is_ok()
}

#[test]
fn fault_029_large_xattrs_and_acls_are_kept_or_the_node_fails() {
    if !require("fault_029", &["root", "setfacl", "rsync"]) {
        return;
    }
    let mut cluster = Cluster::new(2);
    let large = cluster.path().join("large");
    let (Some(_source), Some(_node)) = (
        Mount::new(&["-t", "tmpfs", "-o", "size=16m", "t"], &large),
        Mount::new(&["-t", "tmpfs", "-o", "size=16m", "t"], &cluster.path().join("n0")),
    ) else {
        return skip("fault_029", "needs a tmpfs");
    };
    fs::create_dir(large.join("s")).expect("a directory");
    fs::create_dir(&cluster.nodes[0]).expect("a directory");
    let file = large.join("s/file");
    fs::write(&file, "x").expect("written");
    if !set_xattr(&file, "user.large", &vec![b'v'; 65_000]) {
        return skip("fault_029", "needs a tmpfs with user attributes");
    }
    assert!(set_xattr(&large.join("s"), "user.dir", b"of the root"));
    run(Command::new("setfacl").args(["-m", "u:4321:rw,g:99:r"]).arg(&file));
    cluster.options = vec!["--xattrs".into(), "--acls".into()];
    // The second node's file system has no room for so large an attribute.
    let outcome = cluster.run("push", &large.join("s"), &[]);
    outcome.expect(1);
    assert_eq!(outcome.state(1), "failed", "{outcome:#?}");
    for node in 0..2 {
        assert_eq!(names_below(&cluster.nodes[node]).len(), 1, "nothing but the root");
        assert!(cluster.staged(node).is_empty());
    }
    cluster.nodes.truncate(1);
    cluster.push_ok(&large.join("s"), &[]);
    assert_same(&large.join("s"), &cluster.nodes[0]);
    assert_rsync_agrees(&large.join("s"), &cluster.nodes[0], &[]);
    run(Command::new("setfacl").args(["-b"]).arg(&file));
    assert!(set_xattr(&file, "user.large", b"small now"));
    let outcome = cluster.push_ok(&large.join("s"), &[]);
    assert_eq!(outcome.count(0, "metadata"), 1);
    assert_rsync_agrees(&large.join("s"), &cluster.nodes[0], &[]);
    assert_eq!(cluster.push_ok(&large.join("s"), &[]).state(0), "unchanged");
}

#[test]
fn fault_029_a_file_system_without_xattrs_fails_that_node() {
    if !require("fault_029_without", &["root"]) {
        return;
    }
    let mut cluster = Cluster::new(2);
    let Some(_plain) = Mount::new(&["-t", "ramfs", "r"], &cluster.path().join("n1")) else {
        return skip("fault_029_without", "needs ramfs");
    };
    fs::create_dir(&cluster.nodes[1]).expect("a directory");
    let file = cluster.write("file", "x");
    cluster.push(&[]).expect(0);
    assert!(set_xattr(&file, "user.note", b"hello"));
    cluster.options = vec!["--xattrs".into()];
    let outcome = cluster.push(&[]);
    outcome.expect(1);
    assert_eq!(outcome.state(1), "failed");
    assert!(outcome.error(1).contains("file"), "{}", outcome.error(1));
    let mut value = [0; 8];
    let found = rustix::fs::getxattr(cluster.on(0, "file"), "user.note", &mut value);
    assert!(found.is_err(), "no node changed");
}

#[test]
fn fault_030_an_owner_unknown_on_the_node_is_refused_and_a_number_is_not() {
    if !require("fault_030", &["root"]) {
        return;
    }
    let cluster = Cluster::new(1);
    cluster.write("d/file", "x");
    let outcome = cluster.push(&["--owner", "no-such-user"]);
    outcome.expect(1);
    assert!(outcome.error(0).contains("no-such-user"), "{}", outcome.error(0));
    assert!(!cluster.on(0, "d").exists());
    cluster.push(&["--owner", "4711:815"]).expect(0);
    let names = names_below(&cluster.nodes[0]);
    assert!(names.values().all(|name| name.owner == (4711, 815)), "{names:?}");
    assert_eq!(cluster.push(&["--owner", "4711:815"]).expect(0).state(0), "unchanged");
}

#[test]
fn owners_are_numeric_for_root_and_the_agents_own_if_so_asked() {
    if !require("owners", &["root", "rsync"]) {
        return;
    }
    let cluster = Cluster::new(1);
    for (name, uid, gid) in [("a", 0, 0), ("b", 1234, 5678), ("d/c", 4321, 99)] {
        std::os::unix::fs::lchown(cluster.write(name, name), Some(uid), Some(gid)).expect("owner");
    }
    symlink("a", cluster.at("l")).expect("a link");
    std::os::unix::fs::lchown(cluster.at("l"), Some(7), Some(8)).expect("owner");
    cluster.push(&[]).expect(0);
    cluster.assert_same();
    std::os::unix::fs::lchown(cluster.at("l"), Some(9), Some(8)).expect("owner");
    std::os::unix::fs::lchown(cluster.at("b"), Some(9), Some(8)).expect("owner");
    std::os::unix::fs::lchown(cluster.at("d"), Some(9), Some(8)).expect("owner");
    assert_eq!(cluster.push(&[]).expect(0).count(0, "metadata"), 3);
    cluster.assert_same();
    cluster.push(&["--owner", "agent"]).expect(0);
    let names = names_below(&cluster.nodes[0]);
    assert!(names.values().all(|name| name.owner == (0, 0)), "{names:?}");
    assert_eq!(cluster.push(&["--owner", "agent"]).expect(0).state(0), "unchanged");
}
