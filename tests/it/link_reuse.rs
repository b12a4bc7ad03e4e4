//! Connections that outlive a run, and what happens when they are dead.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use depsync::link::{LinkOptions, open_ssh};

use crate::prerequisite::require;
use crate::ssh_server::{SshServer, TOOLS, assert_echo, eventually, signal};

const SECOND: Duration = Duration::from_secs(1);

fn reusing(server: &SshServer) -> LinkOptions {
    LinkOptions { reuse: Duration::from_mins(1), ..server.options() }
}

/// The control sockets of `server`'s options.
fn sockets(server: &SshServer) -> Vec<PathBuf> {
    let entries = fs::read_dir(server.path("control")).unwrap();
    // The digest of the agent is remembered there too, once it has stood for long enough.
    let is_socket = |entry: &fs::DirEntry| entry.file_type().unwrap().is_socket();
    entries.map(Result::unwrap).filter(is_socket).map(|entry| entry.path()).collect()
}

/// The process id of the master behind a control socket.
fn master(socket: &PathBuf) -> String {
    let mut command = Command::new("ssh");
    command.args(["-O", "check", "-S"]).arg(socket).arg("host").stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    assert!(text.starts_with("Master running"), "{text}");
    digits
}

#[tokio::test]
async fn a_second_run_goes_over_the_same_connection() {
    if !require("a_second_run_goes_over_the_same_connection", TOOLS) {
        return;
    }
    let server = SshServer::start("");
    for round in [b"first", b"third"] {
        let mut link = open_ssh(&server.target(), &reusing(&server)).await.unwrap();
        assert!(link.session.is_reused());
        assert_echo(&mut link, round).await;
        // The master in the background holds none of our pipes: the end is seen at once.
        let started = Instant::now();
        let closed = link.close(30 * SECOND).await;
        assert!(closed.status.unwrap().success() && started.elapsed() < 10 * SECOND, "{closed:?}");
    }
    assert_eq!(server.logins(), 1);
    let mode = fs::metadata(server.path("control")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);

    let link = open_ssh(&server.target(), &server.options()).await.unwrap();
    assert!(!link.session.is_reused());
    assert_eq!(server.logins(), 2, "without reuse a connection of its own");
    link.abort();

    let link = open_ssh(&server.target(), &reusing(&server)).await.unwrap();
    let master = master(&sockets(&server)[0]);
    link.session.retire().await;
    assert!(sockets(&server).is_empty());
    let process = PathBuf::from(format!("/proc/{master}"));
    eventually("the retired master ends", || !process.exists());
}

#[tokio::test]
async fn targets_of_one_host_that_are_opened_at_once_all_get_through() {
    if !require("targets_of_one_host_that_are_opened_at_once_all_get_through", TOOLS) {
        return;
    }
    let server = SshServer::start("");
    let opens = (0..4).map(|number: u8| {
        let (target, options) = (server.target(), reusing(&server));
        tokio::spawn(async move {
            let mut link = open_ssh(&target, &options).await.unwrap();
            assert_echo(&mut link, &[number]).await;
            link.close(10 * SECOND).await.status.unwrap().success()
        })
    });
    for open in opens.collect::<Vec<_>>() {
        assert!(open.await.unwrap());
    }
    assert_eq!(sockets(&server).len(), 1);
    open_ssh(&server.target(), &reusing(&server)).await.unwrap().session.retire().await;
}

#[tokio::test]
async fn the_socket_of_a_dead_master_is_in_nobodys_way() {
    if !require("the_socket_of_a_dead_master_is_in_nobodys_way", TOOLS) {
        return;
    }
    let server = SshServer::start("");
    open_ssh(&server.target(), &reusing(&server)).await.unwrap().close(10 * SECOND).await;
    let master = master(&sockets(&server)[0]);
    signal(&master, "KILL");
    eventually("the node notices", || server.sessions().is_empty());
    assert_eq!(sockets(&server).len(), 1, "its socket is left");
    let mut link = open_ssh(&server.target(), &reusing(&server)).await.unwrap();
    assert_echo(&mut link, b"over a new connection").await;
    assert!(link.session.is_reused());
    link.session.retire().await;
}

#[tokio::test]
async fn a_node_that_was_restarted_is_reached_by_a_new_connection() {
    if !require("a_node_that_was_restarted_is_reached_by_a_new_connection", TOOLS) {
        return;
    }
    let mut server = SshServer::start("");
    open_ssh(&server.target(), &reusing(&server)).await.unwrap().close(10 * SECOND).await;
    server.restart();
    let mut link = open_ssh(&server.target(), &reusing(&server)).await.unwrap();
    assert_echo(&mut link, b"after the restart").await;
    assert_eq!(server.logins(), 2);
    link.session.retire().await;
}

#[tokio::test]
async fn a_connection_that_was_cut_off_does_not_hang_the_run() {
    if !require("a_connection_that_was_cut_off_does_not_hang_the_run", TOOLS) {
        return;
    }
    let server = SshServer::start("");
    open_ssh(&server.target(), &reusing(&server)).await.unwrap().close(10 * SECOND).await;
    let stopped = server.sessions();
    assert!(!stopped.is_empty());
    for session in &stopped {
        signal(session, "STOP");
    }
    let options = LinkOptions { connect_timeout: 4 * SECOND, ..reusing(&server) };
    let mut link = open_ssh(&server.target(), &options).await.unwrap();
    assert_echo(&mut link, b"over a new connection").await;
    assert_eq!(server.logins(), 2);
    link.session.retire().await;
}

#[tokio::test]
async fn a_master_that_hangs_does_not_hang_the_run() {
    if !require("a_master_that_hangs_does_not_hang_the_run", TOOLS) {
        return;
    }
    let server = SshServer::start("");
    open_ssh(&server.target(), &reusing(&server)).await.unwrap().close(10 * SECOND).await;
    let master = master(&sockets(&server)[0]);
    signal(&master, "STOP");
    let options = LinkOptions { connect_timeout: 4 * SECOND, ..reusing(&server) };
    let opened = open_ssh(&server.target(), &options).await;
    signal(&master, "KILL");
    let mut link = opened.unwrap();
    assert_echo(&mut link, b"over a new connection").await;
    assert_eq!(server.logins(), 2);
    link.session.retire().await;
}

#[tokio::test]
async fn fault_114_more_sessions_than_a_connection_takes_get_their_own() {
    if !require("fault_114_more_sessions_than_a_connection_takes_get_their_own", TOOLS) {
        return;
    }
    let server = SshServer::start("MaxSessions 1");
    let mut first = open_ssh(&server.target(), &reusing(&server)).await.unwrap();
    let mut second = open_ssh(&server.target(), &reusing(&server)).await.unwrap();
    assert_echo(&mut second, b"second").await;
    assert_echo(&mut first, b"first").await;
    assert_eq!(server.logins(), 2);
    second.abort();
    first.session.retire().await;
}

#[tokio::test]
async fn a_directory_that_others_may_enter_holds_no_control_socket() {
    if !require("a_directory_that_others_may_enter_holds_no_control_socket", TOOLS) {
        return;
    }
    let server = SshServer::start("");
    fs::create_dir(server.path("control")).unwrap();
    fs::set_permissions(server.path("control"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut link = open_ssh(&server.target(), &reusing(&server)).await.unwrap();
    assert_echo(&mut link, b"not reused").await;
    assert!(!link.session.is_reused());
    assert!(link.session.notes()[0].contains("not reused"), "{:?}", link.session.notes());
    assert!(sockets(&server).is_empty());
    link.abort();
}
