//! A node that does not write the share: it looks at it through its own mount, as often as the hub asks.
//!
//! What a mount shows may be older than what is there: attributes and names are cached for a while (nfs(5), acregmax). So
//! each look opens the target anew, by its path.

use std::collections::BTreeSet;
use std::io;

use super::agent::{AgentOptions, Hub, opened, unexpected};
use super::error::{Error, io_error};
use super::journal::{Journal, Standing};
use super::place::Place;
use super::{kept, offer, share};
use crate::model::path::TreePath;
use crate::model::plan::Counts;
use crate::os::dir::Dir;
use crate::scan;
use crate::wire::message::{Offer, Open, Opened, Planned, ToAgent, ToHub};

/// Answers *Look* and *Offer* until the hub has heard enough. Takes no lease, makes and changes nothing.
///
/// # Errors
/// What keeps the target from being looked at: a share that is not mounted among it.
pub fn serve(hub: &Hub, open: &Open, options: &AgentOptions) -> Result<(), Error> {
    // Whatever the hub says of it.
    let open = &Open { read_only: true, ..open.clone() };
    hub.send(&ToHub::Opened(look(open, options)?))?;
    loop {
        match hub.receive() {
            // A hub that has heard enough just goes.
            Err(Error::HubGone) => return Ok(()),
            Err(error) => return Err(error),
            Ok(received) => match received.message {
                ToAgent::Look => hub.send(&ToHub::Opened(look(open, options)?))?,
                ToAgent::Offer(wanted) => inspect(hub, open, &wanted, options)?,
                ToAgent::Abort => return hub.send(&ToHub::Aborted),
                other => return Err(unexpected(&other)),
            },
        }
    }
}

/// What the share's journal says, with what is in flight there.
fn look(open: &Open, options: &AgentOptions) -> Result<Opened, Error> {
    let (place, standing) = place(open, options)?;
    Ok(opened(&place, open, standing.as_ref()))
}

fn inspect(hub: &Hub, open: &Open, wanted: &Offer, options: &AgentOptions) -> Result<(), Error> {
    let (place, standing) = place(open, options)?;
    // A plan tells what it found; whoever waits for a release looks again.
    let waits = !wanted.list_changes;
    let deleted = if waits { lingering(&place)? } else { 0 };
    if deleted > 0 {
        return not_yet(hub, Counts { deleted, ..Counts::default() });
    }
    match offer::answer(hub, &place, standing.as_ref(), wanted, open) {
        Err(error) if waits && is_passing(&error) => not_yet(hub, Counts::default()),
        answered => answered.map(drop),
    }
}

fn not_yet(hub: &Hub, counts: Counts) -> Result<(), Error> {
    hub.send(&ToHub::Planned(Planned { is_clean: false, counts, ..offer::clean(Vec::new()) }))
}

/// True for what comes of a look while the writer is still at its index, or takes away what is looked at.
fn is_passing(error: &Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if cause.downcast_ref::<io::Error>().is_some_and(share::is_stale) {
            return true;
        }
        next = cause.source();
    }
    matches!(error, Error::Scan(scan::Error::Listing(_)))
}

/// A directory with the names that it lists.
struct Around {
    path: TreePath,
    dir: Dir,
    names: BTreeSet<Box<[u8]>>,
}

/// How many of the names that the last commit took away the kernel still finds here although their directories do not list
/// them: those that were looked up by FUSE less than its entry timeout ago.
fn lingering(place: &Place) -> Result<u64, Error> {
    let (Some(root), Some(state)) = (&place.root, &place.state) else { return Ok(0) };
    if !share::remembers_names(share::kind_of(root)?) {
        return Ok(0);
    }
    let Some((_, last)) = kept::lists(state)?.into_iter().next() else { return Ok(0) };
    let mut around: Option<Around> = None;
    let mut count = 0u64;
    for entry in &last.entries {
        let Some((parent, name)) = entry.path.split_last() else { continue };
        if around.as_ref().is_none_or(|around| around.path != parent) {
            // A directory that went as well is found in the one that it was in.
            let Ok(dir) = root.open_path(&parent) else { continue };
            let names = dir.names().map_err(io_error("list", parent.as_bytes()))?;
            let names = names.into_iter().map(|(name, _)| name).collect();
            around = Some(Around { path: parent, dir, names });
        }
        let Some(Around { dir, names, .. }) = &around else { continue };
        if !names.contains(name) && dir.find(name).is_ok_and(|found| found.is_some()) {
            count = count.saturating_add(1);
        }
    }
    Ok(count)
}

fn place(open: &Open, options: &AgentOptions) -> Result<(Place, Option<Standing>), Error> {
    let place = Place::witness(open, &options.allowed)?;
    let standing = match &place.state {
        // RACE: while the writer adds a record, what was read may end within it, once.
        Some(state) => Some(Journal::look(&state.dir).or_else(|_error| Journal::look(&state.dir))?),
        None => None,
    };
    Ok((place, standing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::error::io_error;
    use crate::scan::listing;

    #[test]
    fn what_passes_by_itself_is_looked_at_again_and_the_rest_is_told() {
        let stale = || io::Error::from(io::ErrorKind::StaleNetworkFileHandle);
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(is_passing(&io_error("list", "d")(stale())));
        assert!(is_passing(&Error::Scan(scan::Error::Listing(listing::Error::Index))));
        assert!(!is_passing(&io_error("list", "d")(denied)));
        assert!(!is_passing(&Error::HubGone));
    }
}
