//! Host keys, logins, and that nobody is ever asked for anything.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use depsync::link::{Error, SshFault, open_ssh};
use depsync::model::target::SshUser;

use crate::prerequisite::require;
use crate::ssh_server::{SshServer, TOOLS, assert_echo, keygen, script};

/// A login that must fail, and with which word.
async fn refused(server: &SshServer, options: depsync::link::LinkOptions) -> Error {
    let error = open_ssh(&server.target(), &options).await.unwrap_err();
    assert!(error.is_trust() && !error.is_transient(), "{error:?}");
    error
}

#[tokio::test]
async fn fault_115_a_changed_host_key_stops_the_run() {
    if !require("fault_115_a_changed_host_key_stops_the_run", TOOLS) {
        return;
    }
    let server = SshServer::start("");
    keygen(&server.path("other"), "");
    let key = fs::read_to_string(server.path("other.pub")).unwrap();
    fs::write(server.path("known"), format!("[127.0.0.1]:{} {key}", server.port)).unwrap();
    for accept_new_host_keys in [false, true] {
        let mut options = server.options();
        options.accept_new_host_keys = accept_new_host_keys;
        options.ssh_options.push("StrictHostKeyChecking=no".to_owned());
        let error = refused(&server, options).await;
        assert_eq!(error.kind(), "host-key-changed", "{error:?}");
        assert!(error.stops_run());
    }
    assert_eq!(server.logins(), 0);
    assert_eq!(server.log().matches("Connection from").count(), 2, "no weaker second try");
}

#[tokio::test]
async fn fault_116_an_unknown_host_key_is_refused_or_learned_with_its_fingerprint() {
    let test = "fault_116_an_unknown_host_key_is_refused_or_learned_with_its_fingerprint";
    if !require(test, TOOLS) {
        return;
    }
    let server = SshServer::start("");
    let mut options = server.options();
    options.known_hosts = Some(server.path("learned"));
    let error = refused(&server, options.clone()).await;
    assert_eq!(error.kind(), "host-key-unknown", "{error:?}");
    assert!(!error.stops_run());
    assert!(error.hint().unwrap().contains("--accept-new-host-keys"));
    assert!(!server.path("learned").exists());

    options.accept_new_host_keys = true;
    let link = open_ssh(&server.target(), &options).await.unwrap();
    let notes = link.session.notes().join("\n");
    let fingerprint = Command::new("ssh-keygen").arg("-lf").arg(server.path("host.pub")).output();
    let fingerprint = String::from_utf8(fingerprint.unwrap().stdout).unwrap();
    let fingerprint = fingerprint.split(' ').nth(1).unwrap();
    assert!(fingerprint.starts_with("SHA256:") && notes.contains(fingerprint), "{notes}");
    link.abort();
    options.accept_new_host_keys = false;
    let mut link = open_ssh(&server.target(), &options).await.unwrap();
    assert_echo(&mut link, b"known now").await;
}

#[tokio::test]
async fn fault_115_a_host_known_by_another_type_of_key_is_not_taken_for_new() {
    let test = "fault_115_a_host_known_by_another_type_of_key_is_not_taken_for_new";
    if !require(test, TOOLS) {
        return;
    }
    let server = SshServer::start("");
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ecdsa", "-N", "", "-f"]).arg(server.path("other"));
    assert!(command.status().unwrap().success());
    let key = fs::read_to_string(server.path("other.pub")).unwrap();
    fs::write(server.path("known"), format!("[127.0.0.1]:{} {key}", server.port)).unwrap();
    let mut options = server.options();
    options.accept_new_host_keys = true;
    let error = refused(&server, options).await;
    assert_eq!(error.kind(), "host-key-changed", "{error:?}");
    assert_eq!(server.logins(), 0);
}

#[tokio::test]
async fn fault_117_a_refused_login_is_tried_once() {
    if !require("fault_117_a_refused_login_is_tried_once", TOOLS) {
        return;
    }
    let server = SshServer::start("");
    fs::write(server.path("authorized"), "").unwrap();
    let error = refused(&server, server.options()).await;
    assert_eq!(error.kind(), "login-refused", "{error:?}");
    assert_eq!(server.log().matches("Connection from").count(), 1);

    let mut target = server.target();
    target.user = SshUser::new(b"nobody-of-that-name").ok();
    let error = open_ssh(&target, &server.options()).await.unwrap_err();
    assert_eq!(error.kind(), "login-refused", "{error:?}");
}

/// Every way in which ssh would ask a person.
async fn check_prompts() {
    let server = SshServer::start("");
    fs::remove_file(server.path("user")).unwrap();
    keygen(&server.path("locked"), "secret");
    fs::copy(server.path("locked.pub"), server.path("authorized")).unwrap();
    let mut options = server.options();
    options.identities = vec![server.path("locked")];
    let started = Instant::now();
    let error = refused(&server, options).await;
    assert_eq!(error.kind(), "login-refused", "an encrypted key: {error:?}");

    let settings = "PasswordAuthentication yes\nAuthenticationMethods password";
    let server = SshServer::start(settings);
    let error = refused(&server, server.options()).await;
    assert_eq!(error.kind(), "prompt-needed", "a password: {error:?}");

    // The ssh that reaches the jump host gets none of our options.
    let jump = SshServer::start("");
    let mut options = server.options();
    options.ssh_options.push(format!("ProxyJump=root@127.0.0.1:{}", jump.port));
    let error = open_ssh(&server.target(), &options).await.unwrap_err();
    assert!(!error.to_string().is_empty(), "an unknown key of the jump host: {error:?}");
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

#[tokio::test]
async fn fault_118_no_prompt_even_on_a_terminal_with_an_askpass_program() {
    let test = "fault_118_no_prompt_even_on_a_terminal_with_an_askpass_program";
    if !require(test, &[TOOLS, &["script", "timeout"]].concat()) {
        return;
    }
    if let Some(canary) = std::env::var_os("DEPSYNC_TEST_ON_TERMINAL") {
        assert!(fs::File::open("/dev/tty").is_ok(), "the test has a terminal");
        check_prompts().await;
        fs::write(canary, "through").unwrap();
        return;
    }
    // Once more, as a process with a terminal, on which ssh would ask if it could.
    let directory = tempfile::tempdir().unwrap();
    let (done, asked) = (directory.path().join("done"), directory.path().join("asked"));
    let askpass = directory.path().join("askpass");
    script(&askpass, &format!("#!/bin/sh\ntouch {}\necho secret\n", asked.display()));
    let this = std::env::current_exe().unwrap();
    let inner = format!("{} --exact link_trust::{test} --nocapture", this.display());
    let mut command = Command::new("timeout");
    command.args(["60", "script", "-qec", &inner, "/dev/null"]);
    command.env("DEPSYNC_TEST_ON_TERMINAL", &done).env("SSH_ASKPASS", &askpass);
    command.env("DISPLAY", ":0").env("SSH_ASKPASS_REQUIRE", "force");
    let output = command.stdin(std::process::Stdio::null()).output().unwrap();
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(done.exists(), "{output}");
    assert!(!asked.exists(), "the askpass program ran");
    for word in ["passphrase", "password:", "yes/no", "authenticity"] {
        assert!(!output.contains(word), "{output}");
    }
}

#[tokio::test]
async fn fault_119_sudo_asks_for_no_password() {
    if !require("fault_119_sudo_asks_for_no_password", TOOLS) {
        return;
    }
    let server = SshServer::start(
        "ForceCommand export PATH=$XDG_CACHE_HOME/../bin:$PATH; exec $SSH_ORIGINAL_COMMAND",
    );
    fs::create_dir_all(server.path("cache")).unwrap();
    fs::create_dir(server.path("bin")).unwrap();
    let mut options = server.options();
    options.sudo_user = SshUser::new(b"app").ok();
    script(
        &server.path("bin/sudo"),
        "#!/bin/sh\n[ \"$*\" = '-n -H -u app sh' ] && echo 'sudo: a password is required' >&2; exit 1\n",
    );
    let error = refused(&server, options.clone()).await;
    assert_eq!(error.kind(), "sudo-refused", "{error:?}");
    script(&server.path("bin/sudo"), "#!/bin/sh\nshift 4\nexec \"$@\"\n");
    let mut link = open_ssh(&server.target(), &options).await.unwrap();
    assert_echo(&mut link, b"as another user").await;
}

#[tokio::test]
async fn an_option_that_ssh_does_not_know_is_a_matter_of_usage() {
    if !require("an_option_that_ssh_does_not_know_is_a_matter_of_usage", TOOLS) {
        return;
    }
    let server = SshServer::start("");
    let mut options = server.options();
    options.ssh_options.push("Frobnicate=yes".to_owned());
    let error = open_ssh(&server.target(), &options).await.unwrap_err();
    let is_configuration = matches!(error, Error::Ssh { fault: SshFault::Configuration, .. });
    assert!(is_configuration && error.is_usage(), "{error:?}");
}

/// True if a configuration of ssh on this machine speaks of ciphers.
fn is_cipher_chosen_here() -> bool {
    let mut files = vec![Path::new("/etc/ssh/ssh_config").to_owned()];
    files.extend(
        fs::read_dir("/etc/ssh/ssh_config.d").into_iter().flatten().map(|it| it.unwrap().path()),
    );
    files.extend(depsync::os::host::user_home().map(|home| home.join(".ssh/config")));
    files.iter().any(|file| {
        let text = fs::read_to_string(file).unwrap_or_default().to_lowercase();
        text.lines().any(|line| !line.trim().starts_with('#') && line.contains("cipher"))
    })
}

#[tokio::test]
async fn aes_is_asked_for_where_nobody_chose_a_cipher() {
    let test = "aes_is_asked_for_where_nobody_chose_a_cipher";
    if !require(test, TOOLS) || is_cipher_chosen_here() {
        return;
    }
    let has_aes = fs::read_to_string("/proc/cpuinfo").unwrap().contains(" aes ");
    let server = SshServer::start("LogLevel DEBUG");
    let used = |cipher: &str| server.log().contains(&format!("client->server cipher: {cipher}"));
    let mut options = server.options();
    open_ssh(&server.target(), &options).await.unwrap().abort();
    assert_eq!(used("aes128-gcm@openssh.com"), has_aes, "{}", server.log());
    options.ssh_options.push("Ciphers=aes192-ctr".to_owned());
    open_ssh(&server.target(), &options).await.unwrap().abort();
    assert!(used("aes192-ctr"), "the operator's choice: {}", server.log());
}

#[tokio::test]
async fn a_node_without_aes_in_that_mode_is_reached_all_the_same() {
    if !require("a_node_without_aes_in_that_mode_is_reached_all_the_same", TOOLS) {
        return;
    }
    for cipher in ["chacha20-poly1305@openssh.com", "aes256-ctr"] {
        let server = SshServer::start(&format!("Ciphers {cipher}"));
        let mut link = open_ssh(&server.target(), &server.options()).await.unwrap();
        assert_echo(&mut link, cipher.as_bytes()).await;
        link.abort();
    }
}
