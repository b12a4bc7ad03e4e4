//! What a push must refuse, and leave the share as it is.

use super::rig::{Rig, expect_same, noise};
use super::{READER, SERVER, Scenario, WRITER, disks};
use crate::failure::{Failure, Result};

pub(super) const ALL: &[Scenario] = &[
    ("the reader has not mounted it", reader_unmounted),
    ("nor at the first push", reader_unmounted_at_first),
    ("the writer has not mounted it", writer_unmounted),
    ("the reader has another share", reader_has_another),
    ("the writer has another share", writer_has_another),
    ("the share is full", full),
    ("the export is read-only", export_readonly),
    ("the mount is read-only", mount_readonly),
    ("copy is refused", copy),
    ("doctor tells of mounts", doctor),
];

/// What a local disk has where nothing is mounted: nothing but the mount point.
const LOCAL: &str = "find /opt -mindepth 1 | LC_ALL=C sort";

pub(super) fn reader_unmounted(rig: &Rig) -> Result {
    unmounted(rig, READER)
}

fn writer_unmounted(rig: &Rig) -> Result {
    unmounted(rig, WRITER)
}

fn unmounted(rig: &Rig, client: u8) -> Result {
    rig.push(0)?;
    rig.edit("carbonapps/app-2.car", noise(52, 3 << 20))?;
    rig.unmount(client)?;
    refused_by(rig, client, "not-mounted")?;
    expect_same("the local disk", "/opt/server\n", &rig.on(client, LOCAL)?)?;
    rig.mount(client, "share", "")?;
    rig.push(0)?;
    rig.expect_source()
}

fn reader_unmounted_at_first(rig: &Rig) -> Result {
    rig.unmount(READER)?;
    refused_by(rig, READER, "not-mounted")?;
    expect_same("the local disk", "/opt/server\n", &rig.on(READER, LOCAL)?)?;
    expect_same("the share", "", &rig.stamps(false)?)
}

pub(super) fn reader_has_another(rig: &Rig) -> Result {
    another(rig, READER)
}

fn writer_has_another(rig: &Rig) -> Result {
    another(rig, WRITER)
}

/// The other share is an exact copy, depsync's state included.
fn another(rig: &Rig, client: u8) -> Result {
    rig.push(0)?;
    rig.on(client, "cp -a /opt/server /tmp/copy")?;
    rig.mount(client, "other", "")?;
    rig.on(client, "cp -a /tmp/copy/. /opt/server/ && rm -r /tmp/copy")?;
    rig.edit("carbonapps/app-2.car", noise(52, 3 << 20))?;
    let look = "cd /opt/server && find . -name .depsync -prune -o -printf '%P %m %s %T@\\n' | LC_ALL=C sort";
    let before = rig.on(client, look)?;
    refused_by(rig, client, "other-share")?;
    expect_same("the other share", &before, &rig.on(client, look)?)?;
    rig.mount(client, "share", "")?;
    rig.push(0)?;
    rig.expect_source()
}

/// A push ends with 5 and an error of `kind`, and the tree is as before. What is not mounted is named; which of two shares is
/// the odd one out nobody can know.
fn refused_by(rig: &Rig, client: u8, kind: &str) -> Result {
    let before = rig.stamps(false)?;
    let told = rig.push(5)?;
    told.kind(kind)?;
    let named: &[u8] = if kind == "not-mounted" { &[client] } else { &[WRITER, READER] };
    let is_named = named.iter().any(|node| told.node(&rig.address(*node))["error"]["kind"] == kind);
    told.expect(is_named, "the node's own error")?;
    expect_same("the share", &before, &rig.stamps(false)?)
}

/// A push that fails, and changes nothing.
fn fails_unchanged(rig: &Rig) -> Result {
    let before = rig.stamps(false)?;
    let told = rig.depsync(&["push"])?;
    told.expect(!matches!(told.code, Some(0 | 124 | 137) | None), "a refusal")?;
    expect_same("the share", &before, &rig.stamps(false)?)
}

fn full(rig: &Rig) -> Result {
    rig.push(0)?;
    rig.edit("carbonapps/app-2.car", noise(52, 5 << 20))?;
    rig.on(SERVER, disks::FILL)?;
    fails_unchanged(rig)?;
    rig.on(SERVER, "rm /opt/disk/filler")?;
    // The first after it may still be told of a write that failed before: each such error is told once.
    if rig.depsync(&["push"])?.code != Some(0) {
        rig.push(0)?;
    }
    rig.expect_source()
}

fn export_readonly(rig: &Rig) -> Result {
    rig.push(0)?;
    rig.edit("carbonapps/app-2.car", noise(52, 1 << 20))?;
    for client in [WRITER, READER] {
        rig.mount(client, "readonly", "")?;
    }
    fails_unchanged(rig)
}

fn mount_readonly(rig: &Rig) -> Result {
    rig.push(0)?;
    rig.edit("carbonapps/app-2.car", noise(52, 1 << 20))?;
    for client in [WRITER, READER] {
        rig.mount(client, "share", ",ro")?;
    }
    fails_unchanged(rig)
}

fn copy(rig: &Rig) -> Result {
    rig.push(0)?;
    rig.edit("carbonapps/app-2.car", noise(52, 1 << 20))?;
    rig.configure(&[WRITER, READER], "copy", "")?;
    fails_unchanged(rig)?;
    rig.depsync(&["push"])?.says(&["shared"])?;
    Ok(())
}

/// Each mount of a node, and a word that doctor must have for it. Only who writes needs a mount that can be written to.
const MOUNTS: [(u8, &str, &str); 5] = [
    (READER, ",soft,timeo=50", "mount-soft"),
    (READER, ",actimeo=600", "mount-cache"),
    (READER, ",noac", "mount-noac"),
    (READER, "unmounted", "not-mounted"),
    (WRITER, ",ro", "read-only"),
];

fn doctor(rig: &Rig) -> Result {
    rig.push(0)?;
    let mut wrong = Vec::new();
    for (node, options, kind) in MOUNTS {
        if options == "unmounted" {
            rig.unmount(node)?;
        } else {
            rig.mount(node, "share", options)?;
        }
        let told = rig.depsync(&["doctor"])?;
        let (address, kind) = (rig.address(node), format!("\"{kind}\""));
        let is_told =
            |line: &str| [&address, &kind].into_iter().all(|word| line.contains(word.as_str()));
        if !told.text.lines().any(is_told) {
            wrong.push(format!("{options}: exit {:?}\n{}", told.code, told.text.trim()));
        }
        rig.mount(node, "share", "")?;
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("doctor does not tell of {}", wrong.join("\nnor of "))))
}
