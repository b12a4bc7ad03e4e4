//! What goes well: one copy is written, and a push ends when every node sees it.

use std::time::Duration;

use super::rig::{Rig, contents, expect_same, noise, state};
use super::{READER, Scenario, WRITER};
use crate::failure::{Failure, Result};
use crate::program;

pub(super) const ALL: &[Scenario] = &[
    ("without depsync, one client reads what the other writes", plain),
    ("first push, no-op, a change", first_noop_change),
    ("content that alternates is never stale", alternating),
    ("nor where the reader believes its cache for 30 s", alternating_by_an_old_cache),
    ("how long a change takes to the reader", age),
    ("drift is told by every node and repaired", drift),
    ("rollback", rollback),
];

/// Attribute caches that believe what they know for half a minute.
const OLD: &str = ",actimeo=30";

/// That server and clients are what the other scenarios take them for.
pub(super) fn plain(rig: &Rig) -> Result {
    rig.on(WRITER, "cd /opt/server && mkdir a && echo written >a/file && sync -f a")?;
    expect_same("the reader's view", "written\n", &rig.on(READER, "cat /opt/server/a/file")?)?;
    rig.on(READER, "mv /opt/server/a/file /opt/server/a/moved")?;
    let moved = "a d\na/moved f\n";
    let look = "cd /opt/server && find . -mindepth 1 -printf '%P %y\\n' | LC_ALL=C sort";
    expect_same("the writer's view", moved, &rig.on(WRITER, look)?)?;
    let share = rig.share()?.display().to_string();
    let names = program::output(&["sh", "-c", &look.replace("/opt/server", &share)])?;
    expect_same("the share", moved, &names)
}

pub(super) fn first_noop_change(rig: &Rig) -> Result {
    let first = rig.push(0)?;
    for client in [WRITER, READER] {
        let told = first.node(&rig.address(client));
        first.expect(state(&told) == "committed", &format!("node {client} committed"))?;
    }
    rig.expect_source()?;

    let before = rig.stamps(true)?;
    let noop = rig.push(0)?;
    for client in [WRITER, READER] {
        let told = noop.node(&rig.address(client));
        noop.expect(state(&told) == "unchanged", &format!("node {client} unchanged"))?;
    }
    // The first may save an index once more, whose stamps were too young when it was made; each run writes into the lease.
    let index = rig.stamps(true)?;
    let without = |stamps: &str, own: &str| {
        stamps
            .lines()
            .filter(|line| !line.starts_with(own))
            .flat_map(|line| [line, "\n"])
            .collect::<String>()
    };
    expect_same("the tree", &without(&before, ".depsync"), &without(&index, ".depsync"))?;
    rig.push(0)?;
    let lease = ".depsync/server/lock ";
    let after = rig.stamps(true)?;
    expect_same("the share", &without(&index, lease), &without(&after, lease))?;

    rig.edit("carbonapps/app-3.car", noise(33, 4 << 20))?;
    let (writer, reader) = (rig.received(WRITER)?, rig.received(READER)?);
    let change = rig.push(0)?;
    let (writer, reader) = (rig.received(WRITER)? - writer, rig.received(READER)? - reader);
    change.expect(writer > 4 << 20, &format!("4 MiB to the writer: {writer} bytes"))?;
    // It reads what changed through its own mount, once, and is sent nothing.
    change.expect(reader < 6 << 20, &format!("4 MiB to the reader: {reader} bytes"))?;
    let sent = change.node(&rig.address(READER))["bytes_sent"].as_u64().unwrap_or(u64::MAX);
    change.expect(sent < 1 << 16, &format!("little sent to the reader: {sent} bytes"))?;
    rig.expect_source()?;
    let mebibytes = |bytes: u64| f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) / 1024.0;
    let seconds = |took: Duration| format!("{:.1} s", took.as_secs_f64());
    rig.note(format!(
        "12 MiB in 207 files pushed first in {}, nothing in {}, one file of 4 MiB in {} (over the reader's link {:.1} MiB, {sent} bytes of them depsync's)",
        seconds(first.took),
        seconds(noop.took),
        seconds(change.took),
        mebibytes(reader),
    ));
    Ok(())
}

pub(super) fn alternating(rig: &Rig) -> Result {
    alternate(rig, 20)
}

fn alternating_by_an_old_cache(rig: &Rig) -> Result {
    rig.mount(READER, "share", OLD)?;
    alternate(rig, 6)
}

/// Pushes contents of two lengths in turn, and a name that is there every other time; after each push the reader looks
/// once, as a server would.
fn alternate(rig: &Rig, rounds: usize) -> Result {
    rig.push(0)?;
    let extra = "webapps/empty/now and then.xml";
    for round in 0..rounds {
        let is_odd = round % 2 == 1;
        let text =
            if is_odd { format!("odd {round:03}\n") } else { format!("even {round:03} .\n") };
        rig.edit("axis2services/turn.txt", &text)?;
        if is_odd {
            rig.edit(extra, "there\n")?;
        } else {
            // The first round has none.
            let _gone = std::fs::remove_file(rig.source().join(extra));
        }
        rig.push(0)?;
        let look = format!(
            "cd /opt/server && stat -c %s axis2services/turn.txt && cat axis2services/turn.txt && \
             if [ -e '{extra}' ]; then echo there; else echo not there; fi"
        );
        let word = if is_odd { "there" } else { "not there" };
        let told = rig.on(READER, &look)?;
        let wanted = format!("{}\n{text}{word}\n", text.len());
        expect_same(&format!("what the reader sees after push {round}"), &wanted, &told)?;
    }
    rig.expect_source()
}

/// From the moment that the server has a change to the moment that the reader sees it by `stat`, and to the push's end.
fn age(rig: &Rig) -> Result {
    for (options, what) in [("", "default caches"), (OLD, "actimeo=30")] {
        rig.mount(READER, "share", options)?;
        rig.edit("axis2services/turn.txt", "short\n")?;
        rig.push(0)?;
        rig.edit("axis2services/turn.txt", "no longer short\n")?;
        let watch = |path: &str| {
            format!(
                "until [ \"$(stat -c %s {path}/axis2services/turn.txt)\" = 16 ]; do sleep 0.02; done; date +%s.%N"
            )
        };
        let (server, reader) = std::thread::scope(|scope| {
            let server = scope.spawn(|| rig.on(super::SERVER, &watch("/opt/disk/share")));
            let reader = scope.spawn(|| rig.on(READER, &watch("/opt/server")));
            let pushed = rig.push(0).map(drop);
            let ended = |thread: std::thread::ScopedJoinHandle<'_, Result<String>>| {
                thread.join().unwrap_or_else(|_panic| Err(Failure::new("the watch panicked")))
            };
            (ended(server), pushed.and_then(|()| ended(reader)))
        });
        let time = |text: Result<String>| -> Result<f64> {
            text?.trim().parse().map_err(|error| Failure::new(format!("a time: {error}")))
        };
        let (server, reader) = (time(server)?, time(reader)?);
        rig.note(format!("seen by the reader after {:.2} s ({what})", (reader - server).max(0.0)));
    }
    Ok(())
}

pub(super) fn drift(rig: &Rig) -> Result {
    rig.push(0)?;
    rig.on(
        READER,
        "cd /opt/server && echo drift >>axis2services/echo.sh && echo more >webapps/stray",
    )?;
    for command in ["verify", "plan"] {
        let told = rig.depsync(&[command])?;
        told.exit(2)?;
        for client in [WRITER, READER] {
            let node = told.node(&rig.address(client));
            told.expect(state(&node) == "differs", &format!("node {client} differs"))?;
        }
        told.says(&["axis2services/echo.sh"])?.says(&["webapps/stray"])?;
    }
    rig.push(0)?;
    rig.expect_source()?;
    rig.depsync(&["verify"])?.exit(0)?;
    Ok(())
}

pub(super) fn rollback(rig: &Rig) -> Result {
    rig.push(0)?;
    let first = contents(&rig.source())?;
    rig.edit("carbonapps/app-1.car", noise(71, 1 << 20))?;
    rig.edit("carbonapps/app-9.car", noise(79, 1 << 20))?;
    rig.push(0)?;
    rig.expect_source()?;
    rig.depsync(&["rollback"])?.exit(0)?;
    expect_same("the share after a rollback", &first, &contents(&rig.share()?)?)?;
    let look =
        "cd /opt/server && sha256sum carbonapps/app-1.car | cut -c1-64; ls carbonapps | wc -l";
    let told = rig.on(READER, look)?;
    let digest = told.lines().next().unwrap_or("?");
    if first.contains(digest) && told.ends_with("\n6\n") {
        return Ok(());
    }
    Err(Failure::new(format!("the reader sees another release after a rollback: {told}")))
}
