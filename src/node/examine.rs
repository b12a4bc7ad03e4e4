//! What would fail at a target, and what to do about it: a look that changes nothing.
//!
//! Owns: the checks of `depsync doctor` on a node. Never: takes the lease, recovers, or makes anything; so it looks at a
//! target through `os::root` and not as a [`Place`](super::place::Place). An agent that is restricted looks at its target
//! alone, and not at what else runs on its machine. Start at [`examine()`].

pub mod neighbours;
mod logins;
mod mount;
mod state;
mod target;
mod tree;

use std::sync::atomic::AtomicBool;

use super::error::Error;
use super::offer::decode_header;
use super::place::{self, Allowed};
use crate::model::digest::Digest;
use crate::model::manifest::Header;
use crate::model::untrusted::Untrusted;
use crate::os::dir::Dir;
use crate::os::root::{self, Missing, Root};
use crate::os::{clock, host};
use crate::wire::message::{Examine, Examined, Finding, Identity, Level, Part};

/// A clock that is further off is told: a few seconds are what a slow login costs.
const SKEW_SECONDS_MAX: u64 = 5;

/// What was found so far.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

/// The target that is looked at.
struct Look<'a> {
    wanted: &'a Examine,
    allowed: &'a Allowed,
    root: Root,
    /// What of it is a release's, and what of that stays as it is.
    header: Header,
}

impl Findings {
    /// A push fails on it.
    pub fn error(&mut self, check: &str, message: String, hint: &str) {
        self.push(Level::Error, check, message, hint);
    }

    /// A push may fail on it, or something else may suffer.
    pub fn warning(&mut self, check: &str, message: String, hint: &str) {
        self.push(Level::Warning, check, message, hint);
    }

    fn push(&mut self, level: Level, check: &str, message: String, hint: &str) {
        let finding = Finding { check: check.to_owned(), level, message, hint: hint.to_owned() };
        // Two checks may come upon the same thing.
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }

    /// The error as a finding: a push ends on it.
    fn failed(&mut self, check: Option<&str>, error: &Error) {
        let failed = error.failed();
        let message = told(&failed.message, &failed.causes);
        let usual = match check {
            Some("not-a-directory") => "move away what is there, or name another directory",
            Some(target::STALE) => "unmount it (umount -l) and mount it again",
            _ => "mend that on the node",
        };
        let hint = failed.hint.as_deref().unwrap_or(usual);
        self.error(check.unwrap_or(&failed.kind), message, hint);
    }

    /// All of them.
    pub fn into_inner(self) -> Vec<Finding> {
        self.0
    }
}

/// A message with its causes, in one line.
pub fn told(message: &str, causes: &[String]) -> String {
    causes.iter().fold(message.to_owned(), |text, cause| format!("{text}: {cause}"))
}

impl Look<'_> {
    /// The root, or the directory that it is to be made in.
    fn around(&self) -> &Dir {
        self.root.dir.as_ref().unwrap_or(&self.root.parent)
    }

    /// The real path, escaped.
    fn shown(&self) -> String {
        shown(self.root.real_path.as_os_str().as_encoded_bytes())
    }

    /// True if a push would have this node write: of several with one share it is the first.
    fn writes(&self) -> bool {
        self.wanted.open.mounted.part == Part::Own || self.wanted.open.number == 0
    }

    /// Which directory of which machine it is, if it is there.
    fn identity(&self) -> Option<Identity> {
        let stat = self.root.dir.as_ref()?.stat_self().ok()?;
        Some(Identity { boot: host::boot_id(), device: stat.id.device, inode: stat.id.inode })
    }

    /// True if the state lies inside the root, which somebody mounted.
    fn is_mount_point(&self) -> Result<bool, Error> {
        match &self.root.dir {
            Some(dir) => place::is_mount_point(dir, &self.root.parent),
            None => Ok(false),
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    Untrusted::new(bytes).to_string()
}

/// Looks at the target that `wanted` names, and says what a push would fail on there.
///
/// Guarantees: nothing is created, changed or removed, whatever is found; ends soon after `is_gone` is set, and within half a
/// minute if the disk answers at all.
pub fn examine(wanted: &Examine, allowed: &Allowed, is_gone: &AtomicBool) -> Examined {
    let here = clock::wall();
    let (mut found, mut directory, mut share) = (Findings::default(), None, None);
    check_clock(here.seconds, wanted.open.clock.seconds, &mut found);
    let path = allowed.home.join(root::path_from_bytes(&wanted.open.directory));
    match allowed.open(&path, Missing::Refuse) {
        Ok(root) => match decode_header(&wanted.header) {
            Ok(header) => {
                let look = Look { wanted, allowed, root, header };
                directory = look.identity();
                share = look_around(&look, is_gone, &mut found);
            }
            Err(error) => found.failed(None, &error),
        },
        Err(Error::Root(root::Error::ParentMissing { .. })) if wanted.open.make_path => {
            target::check_way(&path, allowed, &mut found);
        }
        Err(error) => found.failed(target::word(&error), &error),
    }
    if let Some(needed) = wanted.logins.filter(|_| allowed.restrict.is_empty()) {
        logins::check(needed, &mut found);
    }
    Examined { directory, share, findings: found.into_inner() }
}

/// Gives what the target's journal is known by, where it is on a share.
fn look_around(look: &Look<'_>, is_gone: &AtomicBool, found: &mut Findings) -> Option<Digest> {
    let overlaps = place::refuse_overlap(&look.wanted.open.source, &look.root);
    // Whatever else is found would be found of the source, or of what a mount is to hide.
    if let Err(error) = overlaps.and_then(|()| mount::check(look, found)) {
        found.failed(None, &error);
        return None;
    }
    for check in [target::check, state::check] {
        if let Err(error) = check(look, found) {
            found.failed(None, &error);
        }
    }
    if let Some(root) = &look.root.dir {
        tree::check(root, &look.header, is_gone, found);
    }
    if look.allowed.restrict.is_empty() {
        neighbours::check(&look.root.real_path, found);
    }
    mount::journal_of(look)
}

fn check_clock(here: i64, hub: i64, found: &mut Findings) {
    let skew = here.saturating_sub(hub);
    let (off, side) = (skew.unsigned_abs(), if skew > 0 { "ahead of" } else { "behind" });
    let message = format!("its clock is {off} seconds {side} the hub's");
    let hint = "have the time service of both machines run (chronyd, systemd-timesyncd)";
    // No decision of a push rests on a clock; time stamps, logs and what is deployed may.
    if off > SKEW_SECONDS_MAX {
        found.warning("clock", message, hint);
    }
}

/// The user this agent acts as, for a sentence.
fn user() -> String {
    format!("the agent is user {}", host::user_id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_told_beyond_what_a_slow_login_costs() {
        let hub = 1_700_000_000;
        let level = |here| {
            let mut found = Findings::default();
            check_clock(here, hub, &mut found);
            found.into_inner().first().map(|finding| finding.level)
        };
        for (here, expected) in [
            (hub, None),
            (hub + 5, None),
            (hub - 5, None),
            (hub + 6, Some(Level::Warning)),
            (i64::MIN, Some(Level::Warning)),
            (i64::MAX, Some(Level::Warning)),
        ] {
            assert_eq!(level(here), expected, "{here}");
        }
    }
}
