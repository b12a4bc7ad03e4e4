//! What dies in the middle of a push.

use super::rig::{Rig, contents, expect_same, noise, state, wait_until};
use super::{READER, Scenario, WRITER, nfs};
use crate::failure::Result;

pub(super) const ALL: &[Scenario] = &[
    ("the writer's agent is killed", agent_killed),
    ("the writer is killed, and the next push goes through the reader", writer_killed),
    ("the server is killed and started again", server_killed),
    ("the server comes back with another disk, and handles are stale", stale),
];

/// So much is staged, of 40 MiB, when something dies; eight seconds' worth in all.
const STAGED_MIN: u64 = 1 << 20;

/// A release that takes a while, of which a part is staged.
fn in_the_middle(rig: &Rig) -> Result<super::rig::Running> {
    rig.push(0)?;
    std::fs::remove_file(rig.source().join("carbonapps/app-0.car"))
        .map_err(crate::failure::at("remove", &rig.source()))?;
    rig.edit("carbonapps/big.car", noise(99, 40 << 20))?;
    rig.lab.limit(WRITER, 40)?;
    let stage = rig.share()?.join(".depsync");
    let mut push = rig.start(&["push"])?;
    wait_until("a part of the release to be staged", || {
        push.expect_running()?;
        Ok(bytes_below(&stage.join("server/stage")) > STAGED_MIN)
    })?;
    Ok(push)
}

/// Bytes of all files in a tree that may change meanwhile.
fn bytes_below(path: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let bytes = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_below(&entry.path()),
        Ok(found) => found.len(),
        Err(_gone) => 0,
    };
    entries.filter_map(std::result::Result::ok).map(bytes).sum()
}

/// By what it executes: this script's own words would be found too.
const KILL_AGENT: &str = r#"status=1
for process in /proc/[0-9]*; do
    case "$(readlink "$process/exe")" in
    */depsync/agent-*) kill -9 "${process#/proc/}" && status=0 ;;
    esac
done
exit $status"#;

fn agent_killed(rig: &Rig) -> Result {
    let push = in_the_middle(rig)?;
    let before = rig.stamps(false)?;
    rig.on(WRITER, KILL_AGENT)?;
    let told = push.end()?;
    told.expect(!matches!(told.code, Some(0 | 124 | 137) | None), "a failure")?;
    expect_same("the share", &before, &rig.stamps(false)?)?;
    rig.lab.limit(WRITER, 0)?;
    rig.push(0)?;
    rig.expect_source()
}

fn writer_killed(rig: &Rig) -> Result {
    let push = in_the_middle(rig)?;
    let before = rig.stamps(false)?;
    rig.lab.kill(WRITER)?;
    let told = push.end()?;
    told.expect(!matches!(told.code, Some(0 | 124 | 137) | None), "a failure")?;
    expect_same("the share", &before, &rig.stamps(false)?)?;
    // The server holds the dead client's lock until its lease is over: so long the target is busy.
    let mut waited = 0;
    let mut told = rig.depsync(&["push"])?;
    while told.code == Some(4) && waited < 20 {
        waited += 1;
        told = rig.depsync(&["push", "--lock-timeout", "5s"])?;
    }
    told.exit(3)?;
    let reader = told.node(&rig.address(READER));
    told.expect(state(&reader) == "committed", "the reader committed")?;
    let wanted = contents(&rig.source())?;
    expect_same("the share", &wanted, &contents(&rig.share()?)?)?;
    rig.lab.limit(WRITER, 0)?;
    rig.lab.start(WRITER)?;
    rig.mount(WRITER, "share", "")?;
    rig.push(0)?;
    rig.expect_source()
}

fn stale(rig: &Rig) -> Result {
    rig.push(0)?;
    let before = rig.stamps(false)?;
    nfs::kill(rig)?;
    nfs::start_with_another_disk(rig)?;
    let told = rig.depsync(&["doctor"])?;
    told.exit(2)?;
    let is_told = |node: u8| {
        let address = rig.address(node);
        told.text.lines().any(|line| line.contains(&address) && line.contains("\"stale-handle\""))
    };
    told.expect(is_told(WRITER) && is_told(READER), "stale handles on both clients")?;
    rig.edit("carbonapps/app-2.car", noise(52, 1 << 20))?;
    let told = rig.depsync(&["push"])?;
    told.expect(!matches!(told.code, Some(0 | 124 | 137) | None), "a failure")?;
    nfs::kill(rig)?;
    nfs::start(rig)?;
    expect_same("the share", &before, &rig.stamps(false)?)?;
    for client in [WRITER, READER] {
        rig.mount(client, "share", "")?;
    }
    rig.push(0)?;
    rig.expect_source()
}

fn server_killed(rig: &Rig) -> Result {
    let push = in_the_middle(rig)?;
    let names = |stamps: String| -> Vec<String> {
        stamps.lines().filter_map(|line| Some(line.split(" f ").next()?.to_owned())).collect()
    };
    let before = names(rig.stamps(false)?);
    nfs::kill(rig)?;
    nfs::start(rig)?;
    rig.lab.limit(WRITER, 0)?;
    let told = push.end()?;
    told.expect(!matches!(told.code, Some(124 | 137) | None), "an end by itself")?;
    if told.code != Some(0) {
        let after = names(rig.stamps(false)?);
        let lost = before.iter().find(|name| !after.contains(name));
        told.expect(lost.is_none(), &format!("a tree that has all it had ({lost:?})"))?;
    }
    rig.push(0)?;
    rig.expect_source()
}
