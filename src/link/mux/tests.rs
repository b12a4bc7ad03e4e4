use std::thread;

use std::io::{Read as _, Write as _};

use super::*;

/// What a master does with a client: takes its hello and request, and says `answers` between.
fn master(socket: &Path, answers: Vec<Vec<u8>>) -> thread::JoinHandle<Vec<u8>> {
    let listener = std::os::unix::net::UnixListener::bind(socket).expect("bound");
    thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        for answer in answers {
            client.write_all(&answer).expect("written");
        }
        client.shutdown(std::net::Shutdown::Write).expect("shut down");
        let mut told = Vec::new();
        client.read_to_end(&mut told).expect("read");
        told
    })
}

fn hello() -> Vec<u8> {
    packet(HELLO, &[Field::Number(VERSION)])
}

fn opened() -> Vec<u8> {
    packet(SESSION_OPENED, &[Field::Number(0), Field::Number(7)])
}

fn exited(code: u32) -> Vec<u8> {
    packet(EXIT_MESSAGE, &[Field::Number(7), Field::Number(code)])
}

async fn tried(answers: Vec<Vec<u8>>) -> (io::Result<Option<i32>>, Vec<u8>) {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("socket");
    let master = master(&socket, answers);
    let command = ["sudo", "-n", "sh"].map(OsString::from);
    let ran = match run(&socket, &command).await {
        Ok((_, mut session)) => session.wait().await.map(|status| status.code()),
        Err(error) => Err(error),
    };
    (ran, master.join().expect("no panic"))
}

#[tokio::test]
async fn a_session_is_asked_for_as_ssh_does_and_its_exit_status_told() {
    let alive = packet(0x8000_0005, &[Field::Number(1)]);
    let (ran, told) = tried(vec![hello(), opened(), alive, exited(3)]).await;
    assert_eq!(ran.expect("a session"), Some(3));
    let mut expected = hello();
    let request: &[&[u8]] = &[
        &[0x10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0; 16],
        &[0xff; 4],
        &[0, 0, 0, 0, 0, 0, 0, 10],
        b"sudo -n sh",
        &[0, 0, 0, 8],
        b"LC_ALL=C",
    ];
    let request = request.concat();
    expected.extend_from_slice(&length_of(&request));
    expected.extend_from_slice(&request);
    // One byte with each of the three handles.
    expected.extend_from_slice(&[0; 3]);
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_master_that_goes_away_ends_the_session_as_a_lost_connection() {
    let (ran, _) = tried(vec![hello(), opened()]).await;
    assert_eq!(ran.expect("a session"), Some(LOST));
    let cut = exited(0).into_iter().take(9).collect();
    let (ran, _) = tried(vec![hello(), opened(), cut]).await;
    assert_eq!(ran.expect("a session"), Some(LOST));
}

#[tokio::test]
async fn what_is_no_master_or_refuses_gives_no_session() {
    let refused = packet(FAILURE, &[Field::Number(0), Field::Text(b"no more sessions")]);
    let long = u32::MAX.to_be_bytes().to_vec();
    let other_version = packet(HELLO, &[Field::Number(5)]);
    let other_request = packet(SESSION_OPENED, &[Field::Number(1), Field::Number(7)]);
    for (answers, kind) in [
        (vec![hello(), refused], ErrorKind::PermissionDenied),
        (vec![other_version], ErrorKind::InvalidData),
        (vec![long], ErrorKind::InvalidData),
        (vec![hello(), other_request], ErrorKind::InvalidData),
        (vec![hello()], ErrorKind::UnexpectedEof),
        (vec![], ErrorKind::UnexpectedEof),
    ] {
        let (ran, _) = tried(answers).await;
        assert_eq!(ran.expect_err("no session").kind(), kind);
    }
}
