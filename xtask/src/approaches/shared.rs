//! `[storage] approach = "shared"` on real shared file systems.
//!
//! ```text
//! node 1      an NFS server (Ganesha, v4.1) over small disks of its own; or a Gluster volume of one brick
//! nodes 2, 3  its clients, with kernels of their own for NFS, by FUSE for Gluster
//! ```
//! Each scenario begins with a share that is empty, mounted on both clients, and the release `first`; it ends in whatever
//! state, and tells what went otherwise than it should.

mod agreement;
mod disks;
mod gluster;
mod nfs;
mod outages;
mod refusals;
mod rig;
mod told;

use std::time::Duration;

use super::require;
use crate::failure::{Failure, Result};
use crate::prerequisites::FOR_SHARES;
use rig::Rig;

/// One thing that must hold, by name.
type Scenario = (&'static str, fn(&Rig) -> Result);

/// The node that serves, the one whose turn to write it is first, and the one that only looks.
const SERVER: u8 = 1;
const WRITER: u8 = 2;
const READER: u8 = 3;

/// Runs it and tells what it came to.
///
/// # Errors
/// A scenario goes otherwise than it should, or the file systems cannot be served.
pub(super) fn run() -> Result<String> {
    require(&FOR_SHARES)?;
    let wanted = std::env::var("DEPSYNC_SCENARIO").unwrap_or_default();
    let is_wanted = |name: &str| wanted.split(',').any(|part| name.contains(part));
    let mut failures = Vec::new();
    let mut figures = String::new();
    let mut count = 0;
    for (kind, scenarios) in [
        (rig::Kind::Nfs, [agreement::ALL, refusals::ALL, outages::ALL].concat()),
        (rig::Kind::Gluster, gluster::ALL.to_vec()),
    ] {
        let wanted: Vec<Scenario> =
            scenarios.into_iter().filter(|(name, _)| is_wanted(name)).collect();
        if wanted.is_empty() {
            continue;
        }
        let rig = Rig::up(kind)?;
        for (name, scenario) in wanted {
            count += 1;
            match rig.begin(name).and_then(|()| scenario(&rig)) {
                Ok(()) => println!("shared: {name}: ok"),
                Err(failure) => {
                    println!("shared: {name}: {failure}");
                    failures.push(name);
                }
            }
        }
        if kind == rig::Kind::Nfs {
            figures = rig.figures();
        }
        rig.down()?;
    }
    if failures.is_empty() {
        let only = if wanted.is_empty() { String::new() } else { format!("only {wanted}: ") };
        return Ok(format!("{only}{figures}{count} scenarios on NFS 4.1 and GlusterFS held"));
    }
    Err(Failure::new(format!(
        "{} of {count} scenarios failed: {}",
        failures.len(),
        failures.join(", ")
    )))
}

/// How long a push may take until it is stopped, which fails the scenario.
const PATIENCE: Duration = Duration::from_mins(4);
