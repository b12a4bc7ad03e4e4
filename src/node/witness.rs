//! A node that does not write the share: it looks at it through its own mount, as often as the hub asks.
//!
//! What a mount shows may be older than what is there: attributes and names are cached for a while (nfs(5), acregmax). So
//! each look opens the target anew, by its path.

use super::agent::{AgentOptions, Hub, opened, unexpected};
use super::error::Error;
use super::journal::{Journal, Standing};
use super::offer;
use super::place::Place;
use crate::wire::message::{Offer, Open, Opened, ToAgent, ToHub};

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
    offer::answer(hub, &place, standing.as_ref(), wanted, open).map(drop)
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
