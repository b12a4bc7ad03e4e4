//! The agent: one conversation with a hub about one target. `wire::message` shows its order.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::error::{Error, io_error};
use super::journal::{Flight, Journal, Phase, Standing};
use super::place::{Allowed, Place};
use super::transaction::Transaction;
use super::{examine, lease, offer, recover, witness};
use crate::os::clock::{self, WaitClock};
use crate::os::host;
use crate::wire::message::{FailedClass, Open, Opened, Part, Pending, ToAgent, ToHub};
use crate::wire::stream::{self, Received, Receiver, Sender};

/// A hub that says nothing for so long is gone (row 95).
const HUB_SILENCE_MAX: Duration = Duration::from_mins(1);
/// How often the agent says that it is there: often enough for a hub that gives a silent node up after a few seconds.
const ALIVE_EVERY: Duration = Duration::from_secs(1);
/// Frames read ahead of the one being worked on.
const FRAMES_AHEAD: usize = 2;

/// What an agent is told when it starts.
#[derive(Debug, Clone, Default)]
pub struct AgentOptions {
    /// Where it may work.
    pub allowed: Allowed,
    /// What its waits go by.
    pub clock: WaitClock,
}

/// The agent's end of the conversation.
pub struct Hub {
    inbox: mpsc::Receiver<Result<Received, stream::Error>>,
    /// Takes buffers of bulk bytes to the thread that reads.
    spares: mpsc::Sender<Vec<u8>>,
    outbox: Outbox,
    clock: WaitClock,
    /// Set when the stream has ended, so that long work stops.
    pub is_gone: Arc<AtomicBool>,
}

type Outbox = Arc<Mutex<Sender<Box<dyn Write + Send>>>>;

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

/// Serves one hub over a byte stream, to its end.
///
/// Guarantees: the live tree changes only after a commit was asked for; whatever ends the stream, the journal says what
/// is to be done next time. Every failure was told to the hub, if it still listens.
///
/// # Errors
/// Why the conversation did not end as it should.
pub fn serve(
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
    options: &AgentOptions,
) -> Result<(), Error> {
    let sender = Sender::open(Box::new(output) as Box<dyn Write + Send>).map_err(Error::Wire)?;
    let outbox = Arc::new(Mutex::new(sender));
    let mut hub = Hub::listen(input, Arc::clone(&outbox));
    hub.clock = options.clock.clone();
    let clock = options.clock.clone();
    let (stop_alive, stopped) = mpsc::channel::<()>();
    let alive = thread::Builder::new().name("alive".into()).spawn(move || {
        while clock.receive(&stopped, ALIVE_EVERY) == Err(RecvTimeoutError::Timeout) {
            if send(&outbox, &ToHub::Alive).is_err() {
                break;
            }
        }
    });
    let result = converse(&hub, options);
    if let Err(error) = &result {
        let told = hub.send(&ToHub::Failed(error.failed()));
        debug_assert!(told.is_ok() || hub.is_gone.load(Ordering::Relaxed) || told.is_err());
    }
    drop(stop_alive);
    options.clock.nudge();
    if let Ok(alive) = alive
        && alive.join().is_err()
    {
        debug_assert!(false, "the thread that says alive does not panic");
    }
    result
}

fn send(outbox: &Outbox, message: &ToHub) -> Result<(), Error> {
    outbox.lock().unwrap_or_else(PoisonError::into_inner).send(message).map_err(Error::Wire)
}

impl Hub {
    /// Hears a hub over `input` and answers it through `outbox`; a thread reads ahead.
    pub fn listen(input: impl Read + Send + 'static, outbox: Outbox) -> Self {
        let (inbox_of, inbox) = mpsc::sync_channel(FRAMES_AHEAD);
        let (spares, spares_of) = mpsc::channel();
        let is_gone = Arc::new(AtomicBool::new(false));
        let gone = Arc::clone(&is_gone);
        let reader = thread::Builder::new().name("frames".into()).spawn(move || {
            let mut receiver = match Receiver::open(input) {
                Ok(receiver) => receiver,
                Err(error) => {
                    gone.store(true, Ordering::Relaxed);
                    return drop(inbox_of.send(Err(error)));
                }
            };
            loop {
                let received = receiver.receive(spares_of.try_recv().unwrap_or_default());
                let is_last = received.is_err();
                gone.store(is_last, Ordering::Relaxed);
                if inbox_of.send(received).is_err() || is_last {
                    break;
                }
            }
        });
        if reader.is_err() {
            is_gone.store(true, Ordering::Relaxed);
        }
        Self { inbox, spares, outbox, clock: WaitClock::Machine, is_gone }
    }

    /// Gives the room of bulk bytes back that are no longer needed.
    pub fn give_back(&self, bulk: Vec<u8>) {
        // Nobody reads any more: then nobody needs it.
        drop(self.spares.send(bulk));
    }

    /// Sends `message`.
    ///
    /// # Errors
    /// [`Error::Wire`].
    pub fn send(&self, message: &ToHub) -> Result<(), Error> {
        send(&self.outbox, message)
    }

    /// The next message that is not just a sign of life.
    ///
    /// # Errors
    /// [`Error::HubGone`] when the stream ends or the hub is silent for a minute; [`Error::Wire`] for noise.
    pub fn receive(&self) -> Result<Received, Error> {
        loop {
            match self.clock.receive(&self.inbox, HUB_SILENCE_MAX) {
                Ok(Ok(received)) if received.message == ToAgent::Alive => {}
                Ok(Ok(received)) => return Ok(received),
                Ok(Err(stream::Error::Io(_))) | Err(_) => return Err(Error::HubGone),
                Ok(Err(error)) => return Err(Error::Wire(error)),
            }
        }
    }
}

/// The error for a message out of its order. It may hold megabytes: it is named, never shown.
pub fn unexpected(message: &ToAgent) -> Error {
    let name = match message {
        ToAgent::Open(_) => "Open",
        ToAgent::Settle { .. } => "Settle",
        ToAgent::Offer(_) => "Offer",
        ToAgent::Manifest(_) => "Manifest",
        ToAgent::Stage(_) => "Stage",
        ToAgent::Batch { .. } => "Batch",
        ToAgent::Commit { .. } => "Commit",
        ToAgent::Abort => "Abort",
        ToAgent::Alive => "Alive",
        ToAgent::Examine(_) => "Examine",
        ToAgent::Look => "Look",
    };
    Error::Protocol { what: format!("{name} came out of its order") }
}

fn converse(hub: &Hub, options: &AgentOptions) -> Result<(), Error> {
    let open = match hub.receive()?.message {
        ToAgent::Open(open) => open,
        ToAgent::Examine(wanted) => {
            let examined = examine::examine(&wanted, &options.allowed, &hub.is_gone);
            return hub.send(&ToHub::Examined(examined));
        }
        other => return Err(unexpected(&other)),
    };
    if open.looks_only {
        return hub.send(&ToHub::Opened(looked(&open, options)?));
    }
    if open.mounted.part == Part::Witness {
        return witness::serve(hub, &open, options);
    }
    let mut place = Place::open(&open, &options.allowed)?;
    let mut journal = match &place.state {
        Some(state) => Some(Journal::open(&state.dir)?),
        None => None,
    };
    if let Some(journal) = &mut journal {
        recover::recover(&mut place, journal)?;
    }
    let standing = journal.as_ref().map(Journal::standing);
    hub.send(&ToHub::Opened(opened(&place, &open, standing)))?;
    loop {
        match hub.receive() {
            // A hub that has heard enough just goes.
            Err(Error::HubGone) => return Ok(()),
            Err(error) => return Err(error),
            Ok(received) => match received.message {
                ToAgent::Settle { txid, decided } => {
                    let journal = journal.as_mut().ok_or_else(no_state)?;
                    recover::settle(&mut place, journal, txid, decided)?;
                    hub.send(&ToHub::Settled { release: journal.standing().release })?;
                }
                ToAgent::Offer(wanted) => {
                    let standing = journal.as_ref().map(|journal| journal.standing().clone());
                    refuse_pending(standing.as_ref())?;
                    let offered = offer::answer(hub, &place, standing.as_ref(), &wanted, &open)?;
                    let stage = match hub.receive() {
                        Err(Error::HubGone) => return Ok(()),
                        received => received?.message,
                    };
                    return match (stage, journal, offered) {
                        (ToAgent::Abort, ..) => hub.send(&ToHub::Aborted),
                        (ToAgent::Stage(_), ..) if open.read_only => Err(no_state()),
                        (ToAgent::Stage(stage), Some(mut journal), Some(offered)) => {
                            Transaction { hub, place: &mut place, journal: &mut journal, stage }
                                .run(offered)
                        }
                        (other, ..) => Err(unexpected(&other)),
                    };
                }
                ToAgent::Abort => return hub.send(&ToHub::Aborted),
                other => return Err(unexpected(&other)),
            },
        }
    }
}

fn no_state() -> Error {
    Error::Protocol { what: "a change within a plan".into() }
}

/// What the target's journal says, beside whatever run is under way there.
fn looked(open: &Open, options: &AgentOptions) -> Result<Opened, Error> {
    let (place, state) = Place::look(open, &options.allowed)?;
    let Some(state) = state else { return Ok(opened(&place, open, None)) };
    let holder = lease::holder(&state).map_err(io_error("look at", "the lease"))?;
    // RACE: a run that cuts a torn record off while the journal is read makes it look damaged, once.
    let standing = Journal::look(&state).or_else(|_error| Journal::look(&state))?;
    let mut opened = opened(&place, open, Some(&standing));
    // What is in flight while somebody is at work is on its way, and waits for nobody.
    opened.pending = opened.pending.filter(|_| holder.is_none());
    Ok(Opened { holder, ..opened })
}

/// Nothing new begins before what was prepared is settled.
fn refuse_pending(standing: Option<&Standing>) -> Result<(), Error> {
    match standing.and_then(|standing| standing.flight.as_ref()) {
        None => Ok(()),
        Some(flight) => Err(Error::Refused {
            class: FailedClass::Integrity,
            kind: "undecided",
            message: format!(
                "transaction {} is {} here and not decided",
                flight.txid, flight.phase
            ),
            hint: None,
        }),
    }
}

/// What is told of an open target.
pub(super) fn opened(place: &Place, open: &Open, standing: Option<&Standing>) -> Opened {
    let standing = standing.cloned().unwrap_or_default();
    let pending = match standing.flight {
        // A commit under way is only there to be seen where nothing was recovered.
        Some(Flight { txid, release, phase: Phase::Prepared(_) | Phase::Committing(_) }) => {
            Some(Pending { txid, release })
        }
        _ => None,
    };
    let here = clock::wall();
    let notes = skew_note(here.seconds, open.clock.seconds).into_iter().collect();
    Opened {
        release: standing.release,
        pending,
        fence: standing.fence,
        clock: here,
        is_root: host::is_root(),
        real_path: place.shown(),
        notes,
        free: place.free(),
        holder: None,
    }
}

/// Told, and no more: no decision rests on a clock (row 107).
fn skew_note(here: i64, hub: i64) -> Option<String> {
    let skew = here.saturating_sub(hub);
    let side = if skew > 0 { "ahead of" } else { "behind" };
    (skew.unsigned_abs() > 60)
        .then(|| format!("its clock is {} seconds {side} the hub's", skew.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_107_a_clock_that_is_years_off_is_told() {
        let hub = 1_700_000_000;
        for near in [hub, hub + 60, hub - 60] {
            assert_eq!(skew_note(near, hub), None);
        }
        let note = |here| skew_note(here, hub).expect("a note");
        assert_eq!(note(hub + 61), "its clock is 61 seconds ahead of the hub's");
        assert_eq!(note(0), "its clock is 1700000000 seconds behind the hub's");
        assert!(note(i64::MIN).contains("behind") && note(i64::MAX).contains("ahead"));
    }
}
