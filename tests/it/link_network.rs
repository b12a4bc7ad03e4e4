//! Hosts that are not there, do not speak, or speak to few.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use depsync::link::{Error, LinkOptions, SshFault, open_ssh};

use crate::prerequisite::require;
use crate::ssh_server::{SshServer, TOOLS, assert_echo, target};

#[tokio::test]
async fn fault_097_a_dead_port_and_an_unknown_name_are_told_apart() {
    if !require("fault_097_a_dead_port_and_an_unknown_name_are_told_apart", TOOLS) {
        return;
    }
    let server = SshServer::start("");
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = open_ssh(&target("127.0.0.1", dead), &server.options()).await.unwrap_err();
    assert_eq!(error.kind(), "refused", "{error:?}");
    assert!(error.to_string().contains("Connection refused"), "{error}");
    let error = open_ssh(&target("no-such-host.invalid", 22), &server.options()).await.unwrap_err();
    assert_eq!(error.kind(), "unresolved", "{error:?}");
    assert!(!error.is_trust() && !error.is_transient() && !error.stops_run());
}

#[tokio::test]
async fn fault_094_a_host_that_never_speaks_costs_the_connect_timeout() {
    if !require("fault_094_a_host_that_never_speaks_costs_the_connect_timeout", TOOLS) {
        return;
    }
    let server = SshServer::start("");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = target("127.0.0.1", silent.local_addr().unwrap().port());
    for reuse in [Duration::ZERO, Duration::from_mins(1)] {
        let timeout = Duration::from_millis(1500);
        let options = LinkOptions { connect_timeout: timeout, reuse, ..server.options() };
        let started = Instant::now();
        let error = open_ssh(&target, &options).await.unwrap_err();
        assert_eq!(error.kind(), "timeout", "{error:?}");
        assert!(started.elapsed() < timeout * 4, "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn a_shell_that_never_ends_its_noise_or_never_answers_is_given_up() {
    if !require("a_shell_that_never_ends_its_noise_or_never_answers_is_given_up", TOOLS) {
        return;
    }
    let server = SshServer::start("ForceCommand exec cat >/dev/null");
    let timeout = Duration::from_secs(1);
    let options = LinkOptions { connect_timeout: timeout, ..server.options() };
    let error = open_ssh(&server.target(), &options).await.unwrap_err();
    assert_eq!(error.kind(), "timeout", "{error:?}");
    crate::ssh_server::eventually("the session ends", || server.sessions().is_empty());
}

#[tokio::test]
async fn fault_114_an_overloaded_host_serves_everybody_in_the_end() {
    if !require("fault_114_an_overloaded_host_serves_everybody_in_the_end", TOOLS) {
        return;
    }
    let server = SshServer::start("MaxStartups 2");
    let opens = (0..10).map(|number: u8| {
        let (target, options) = (server.target(), server.options());
        tokio::spawn(async move {
            let mut link = open_ssh(&target, &options).await?;
            assert_echo(&mut link, &[number]).await;
            link.close(Duration::from_secs(10)).await;
            Ok::<(), Error>(())
        })
    });
    for open in opens.collect::<Vec<_>>() {
        open.await.unwrap().unwrap();
    }
    assert!(server.log().contains("MaxStartups"), "the limit was met: {}", server.log());
}

#[tokio::test]
async fn fault_114_a_host_that_always_hangs_up_is_given_up_within_the_budget() {
    if !require("fault_114_a_host_that_always_hangs_up_is_given_up_within_the_budget", TOOLS) {
        return;
    }
    let server = SshServer::start("");
    let rude = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = target("127.0.0.1", rude.local_addr().unwrap().port());
    let (tell, calls) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = rude.accept() {
            drop(stream);
            if tell.send(()).is_err() {
                return;
            }
        }
    });
    let timeout = Duration::from_secs(3);
    let options = LinkOptions { connect_timeout: timeout, ..server.options() };
    let started = Instant::now();
    let error = open_ssh(&target, &options).await.unwrap_err();
    assert!(started.elapsed() < timeout * 4, "{:?}", started.elapsed());
    assert_eq!(error.kind(), "handshake-closed", "{error:?}");
    assert!(error.is_transient());
    assert!(calls.try_iter().count() >= 3, "it was tried again");
}

#[tokio::test]
async fn fault_125_a_jump_host_that_fails_is_named() {
    if !require("fault_125_a_jump_host_that_fails_is_named", TOOLS) {
        return;
    }
    let server = SshServer::start("");
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for reuse in [Duration::ZERO, Duration::from_mins(1)] {
        let mut options = LinkOptions { reuse, ..server.options() };
        options.ssh_options.push(format!("ProxyJump=deploy@127.0.0.1:{dead}"));
        let error = open_ssh(&server.target(), &options).await.unwrap_err();
        let is_proxy = matches!(error, Error::Ssh { fault: SshFault::Proxy, .. });
        assert!(is_proxy && error.to_string().contains(&format!(":{dead}: ")), "{error:?}");
        assert!(!error.is_trust());
    }
}
