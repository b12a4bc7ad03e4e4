//! The kernel's own confinement of this thread (Landlock, rule S30): a second wall behind the one resolver of [`super::dir`].
//!
//! It covers what opens, creates, renames and removes by name. It does not cover metadata that is set on an open file,
//! nor what was open before.

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath,
    Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};

use super::dir::Dir;

/// The newest interface of the kernel that is asked for; an older one gives what it has.
const NEWEST: ABI = ABI::V6;

/// What a directory is good for to a confined thread, with all that is below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Anything.
    Everything,
    /// Directories may be listed, made, renamed and removed; no file may be opened.
    Directories,
}

/// Confines this thread, and every thread that it starts from now on, to `directories`, for ever; no TCP connection
/// can be made or taken either. False where the kernel has no such confinement, or one that would forbid to rename from
/// one directory into another (before Linux 5.19).
pub fn confine<'d>(directories: impl IntoIterator<Item = (&'d Dir, Use)>) -> bool {
    restrict(directories).is_ok_and(|status| status != RulesetStatus::NotEnforced)
}

fn restrict<'d>(
    directories: impl IntoIterator<Item = (&'d Dir, Use)>,
) -> Result<RulesetStatus, RulesetError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for (directory, usage) in directories {
        rules = rules.add_rule(PathBeneath::new(directory, allowed(usage)))?;
    }
    Ok(rules.restrict_self()?.ruleset)
}

fn allowed(usage: Use) -> BitFlags<AccessFs> {
    match usage {
        Use::Everything => AccessFs::from_all(NEWEST),
        Use::Directories => {
            AccessFs::ReadDir | AccessFs::MakeDir | AccessFs::RemoveDir | AccessFs::Refer
        }
    }
}
