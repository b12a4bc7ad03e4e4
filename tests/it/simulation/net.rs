//! All links of a world: who runs, what is under way, and the virtual time at which it arrives.
//!
//! ```text
//! hub task ─ write ─▶ written ─ cut into units ─▶ judged ─▶ under way ─ due ─▶ arrived ─▶ agent's thread reads
//! ```
//! Agents are threads; they run only while the one thread of the hub's runtime stands in [`Net::turn`], and time moves
//! only when none of them runs. So what happens is a function of the seed, but for what threads of one agent do among
//! themselves.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::adversary::{Act, Adversary, Fate};
use super::link::{LinkState, Role, Stand, Way};
use super::unit::{self, Unit};

/// An agent that works so long without a pause, in real time, hangs.
const WORK_MAX: Duration = Duration::from_mins(1);

/// What arrives.
enum Arrival {
    Bytes(Vec<u8>),
    /// The end of the stream in one direction.
    End,
    /// The end of the connection.
    Cut,
    /// The agent's machine dies.
    Death,
}

struct UnderWay {
    link: usize,
    way: Way,
    arrival: Arrival,
}

/// Everything that the threads and tasks of a world share.
pub(crate) struct Net {
    inner: Mutex<Inner>,
    start: Instant,
    idle: Condvar,
    news: Notify,
    death: Notify,
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net").finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub(crate) now: Duration,
    pub(crate) links: Vec<LinkState>,
    pub(crate) adversary: Adversary,
    running: usize,
    under_way: BTreeMap<(Duration, u64), UnderWay>,
    serial: u64,
}

/// When a driver is to look again.
enum Next {
    Now,
    At(Duration),
    OnNews,
}

impl Net {
    pub(crate) fn new(adversary: Adversary, start: Instant) -> Arc<Self> {
        let inner = Inner {
            now: Duration::ZERO,
            links: Vec::new(),
            adversary,
            running: 0,
            under_way: BTreeMap::new(),
            serial: 0,
        };
        Arc::new(Self {
            inner: Mutex::new(inner),
            start,
            idle: Condvar::new(),
            news: Notify::new(),
            death: Notify::new(),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is to be carried on.
    pub(crate) fn tell(&self) {
        self.news.notify_one();
    }

    pub(crate) fn tell_if_idle(&self) {
        if self.lock().running == 0 {
            self.idle.notify_all();
        }
        self.tell();
    }

    /// A link to a new agent, whose three threads count as running from now on.
    pub(crate) fn add_link(&self, node: usize, ended: oneshot::Sender<()>) -> usize {
        let mut net = self.lock();
        net.now = self.start.elapsed();
        net.running += 3;
        let run = net.adversary.run();
        net.links.push(LinkState::new(node, run, ended));
        let link = net.links.len() - 1;
        drop(net);
        self.tell();
        link
    }

    /// Holds a thread of an agent until `until`, or until it is poked; true if its machine died.
    pub(crate) fn pause(&self, link: usize, role: Role, until: Duration) -> bool {
        let mut net = self.lock();
        let at = role as usize;
        let now = net.now;
        let state = &mut net.links[link];
        if state.is_dead && role != Role::Alive {
            return true;
        }
        if std::mem::take(&mut state.pokes[at]) || now >= until || state.stands[at] == Stand::Ended
        {
            return false;
        }
        state.stands[at] = Stand::Paused(until);
        let changed = Arc::clone(&state.changed);
        net.running -= 1;
        if net.running == 0 {
            self.idle.notify_all();
        }
        while matches!(net.links[link].stands[at], Stand::Paused(_)) {
            net = changed.wait(net).unwrap_or_else(PoisonError::into_inner);
        }
        net.links[link].is_dead
    }

    /// The agent's thread has ended, one way or another.
    pub(crate) fn agent_ended(&self, link: usize) {
        let mut net = self.lock();
        net.links[link].ways[Way::ToHub as usize].is_closed = true;
        net.end_role(link, Role::Converse);
        net.end_role(link, Role::Alive);
        if net.links[link].is_dead {
            net.poke(link, Role::Frames);
        }
        drop(net);
        self.tell_if_idle();
    }

    /// The hub lets its end go.
    pub(crate) fn hub_closes(&self, link: usize) {
        let mut net = self.lock();
        let link = &mut net.links[link];
        if !link.is_orphan {
            link.ways[Way::ToAgent as usize].is_closed = true;
        }
        drop(net);
        self.tell();
    }

    /// Waits for the hub's death.
    pub(crate) async fn hub_death(&self) {
        while !self.lock().adversary.hub_has_died() {
            self.death.notified().await;
        }
    }

    /// The hub is dead: what it wrote last is lost. Agents see the end of their streams, or nothing at all.
    pub(crate) fn bury_hub(&self, is_half_open: bool) {
        let mut net = self.lock();
        for link in &mut net.links {
            let way = &mut link.ways[Way::ToAgent as usize];
            if !way.is_closed {
                way.written.clear();
                way.is_closed = !is_half_open;
                link.is_orphan = true;
                link.is_hole |= is_half_open;
            }
        }
        drop(net);
        self.tell();
    }

    /// All machines die, and their threads end.
    pub(crate) fn end(&self) {
        let mut net = self.lock();
        for link in 0..net.links.len() {
            net.kill(link);
        }
    }

    /// True while the thread of some agent has not ended.
    pub(crate) fn has_agents(&self) -> bool {
        let net = self.lock();
        net.links.iter().any(|link| link.stands[Role::Converse as usize] != Stand::Ended)
    }

    /// Carries everything, for ever.
    pub(crate) async fn drive(self: Arc<Self>) {
        loop {
            match self.turn(self.start.elapsed()) {
                Next::Now => tokio::task::yield_now().await,
                Next::OnNews => self.news.notified().await,
                Next::At(due) => tokio::select! {
                    () = self.news.notified() => {}
                    () = tokio::time::sleep_until(self.start + due) => {}
                },
            }
        }
    }

    /// Lets agents work until all of them wait, then carries what was written and what is due.
    fn turn(&self, now: Duration) -> Next {
        let mut net = self.lock();
        net.now = now;
        while net.running > 0 {
            let (back, waited) =
                self.idle.wait_timeout(net, WORK_MAX).unwrap_or_else(PoisonError::into_inner);
            net = back;
            assert!(!waited.timed_out() || net.running == 0, "an agent hangs: {}", net.shown());
        }
        net.collect();
        if net.adversary.hub_has_died() {
            self.death.notify_one();
        }
        let has_moved = net.deliver() | net.wake_due();
        if has_moved {
            return Next::Now;
        }
        match net.next_moment() {
            Some(due) => Next::At(due),
            None => Next::OnNews,
        }
    }
}

impl Inner {
    /// A thread is to look again.
    pub(crate) fn poke(&mut self, link: usize, role: Role) {
        let state = &mut self.links[link];
        let stand = &mut state.stands[role as usize];
        match stand {
            Stand::Paused(_) => {
                *stand = Stand::Running;
                self.running += 1;
                state.changed.notify_all();
            }
            Stand::Running => state.pokes[role as usize] = true,
            Stand::Ended => {}
        }
    }

    /// A thread is about to end, and is not waited for.
    pub(crate) fn end_role(&mut self, link: usize, role: Role) {
        let state = &mut self.links[link];
        let stand = &mut state.stands[role as usize];
        if *stand == Stand::Running {
            self.running -= 1;
        }
        *stand = Stand::Ended;
        state.changed.notify_all();
    }

    /// True if the agent's machine dies in the moment it says `bytes`.
    pub(crate) fn dies_saying(&mut self, link: usize, bytes: &[u8]) -> bool {
        let state = &self.links[link];
        let stream = &state.ways[Way::ToHub as usize];
        // Nothing lies there uncut but signs of life.
        let unit = Unit::new(state.node, link, Way::ToHub, (stream.units, bytes));
        if !self.adversary.dies_saying(&unit, self.now) {
            return false;
        }
        self.kill(link);
        true
    }

    fn kill(&mut self, link: usize) {
        self.links[link].is_dead = true;
        self.poke(link, Role::Converse);
        self.poke(link, Role::Frames);
    }

    fn shown(&self) -> String {
        let stands: Vec<_> = self.links.iter().map(|link| (link.node, link.stands)).collect();
        format!("{stands:?}\n{}", self.adversary.trace())
    }

    /// Cuts what was written into units and has each judged.
    fn collect(&mut self) {
        for link in 0..self.links.len() {
            for way in [Way::ToAgent, Way::ToHub] {
                while let Some(bytes) = self.cut(link, way) {
                    self.send(link, way, bytes);
                }
                let stream = &mut self.links[link].ways[way as usize];
                if stream.is_closed && !stream.is_end_sent {
                    stream.is_end_sent = true;
                    let due = stream.last_due.max(self.now);
                    let last = stream.overtaken.take();
                    if let Some(bytes) = last {
                        self.put(due, link, way, Arrival::Bytes(bytes));
                    }
                    self.put(due, link, way, Arrival::End);
                }
            }
        }
    }

    fn cut(&mut self, link: usize, way: Way) -> Option<Vec<u8>> {
        let stream = &mut self.links[link].ways[way as usize];
        let length = unit::length(&stream.written, stream.units > 0, way)?;
        Some(stream.written.drain(..length).collect())
    }

    fn send(&mut self, link: usize, way: Way, bytes: Vec<u8>) {
        let state = &mut self.links[link];
        let stream = &mut state.ways[way as usize];
        let unit = Unit::new(state.node, link, way, (stream.units, &bytes));
        stream.units += u32::from(!unit.is_sign_of_life());
        let is_lost = state.is_hole || state.is_orphan || state.is_dead && way == Way::ToAgent;
        if is_lost || self.adversary.hub_has_died() {
            return;
        }
        let is_of_this_run = state.run == self.adversary.run();
        let fate = if is_of_this_run { self.adversary.judge(&unit, self.now) } else { Fate::PASS };
        let stream = &mut self.links[link].ways[way as usize];
        let due = stream.last_due.max(self.now + fate.delay);
        stream.last_due = due;
        let overtaken = stream.overtaken.take();
        let mut arrivals = Vec::new();
        match fate.act {
            Act::Pass => arrivals.push(Arrival::Bytes(bytes)),
            Act::CutBefore => arrivals.push(Arrival::Cut),
            Act::CutWithin(at) => {
                let count = 1 + at % bytes.len().saturating_sub(1).max(1);
                arrivals.push(Arrival::Bytes(bytes[..count.min(bytes.len())].to_vec()));
                arrivals.push(Arrival::Cut);
            }
            Act::CutBehind => arrivals.extend([Arrival::Bytes(bytes), Arrival::Cut]),
            Act::Hole => self.links[link].is_hole = true,
            Act::Twice => {
                arrivals.extend([Arrival::Bytes(bytes.clone()), Arrival::Bytes(bytes)]);
            }
            Act::Overtaken => stream.overtaken = Some(bytes),
            Act::Flip(at) => {
                let mut bytes = bytes;
                let bit = at % (bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
                arrivals.push(Arrival::Bytes(bytes));
            }
            Act::Stale => arrivals.push(Arrival::Bytes(unit::with_fence(&bytes, 0))),
            Act::AgentDies => arrivals.push(Arrival::Death),
            Act::HubDies => return,
        }
        if let Some(bytes) = overtaken {
            arrivals.push(Arrival::Bytes(bytes));
        }
        for arrival in arrivals {
            self.put(due, link, way, arrival);
        }
    }

    fn put(&mut self, due: Duration, link: usize, way: Way, arrival: Arrival) {
        if let Arrival::Bytes(bytes) = &arrival {
            self.links[link].ways[way as usize].under_way += bytes.len();
        }
        self.serial += 1;
        self.under_way.insert((due, self.serial), UnderWay { link, way, arrival });
    }

    /// Hands over what is due; true if there was anything.
    fn deliver(&mut self) -> bool {
        let mut has_moved = false;
        while let Some(first) = self.under_way.first_entry() {
            if first.key().0 > self.now {
                break;
            }
            let UnderWay { link, way, arrival } = first.remove();
            has_moved = true;
            self.arrive(link, way, arrival);
        }
        has_moved
    }

    fn arrive(&mut self, link: usize, way: Way, arrival: Arrival) {
        let state = &mut self.links[link];
        let stream = &mut state.ways[way as usize];
        let mut ended = Vec::new();
        match arrival {
            Arrival::Bytes(bytes) => {
                stream.under_way -= bytes.len();
                if !stream.has_ended && !state.is_hole {
                    self.adversary.arrived(state.node, way, &bytes);
                    stream.arrived.extend(bytes);
                }
            }
            Arrival::End if !state.is_hole => ended.push(way),
            Arrival::End => {}
            Arrival::Cut => ended.extend([way, way.other()]),
            Arrival::Death => {
                self.kill(link);
                ended.push(Way::ToHub);
            }
        }
        for way in ended {
            self.links[link].ways[way as usize].has_ended = true;
        }
        let state = &mut self.links[link];
        if state.ways[Way::ToHub as usize].has_ended
            && let Some(ended) = state.ended.take()
        {
            // Nobody waits: then nobody needs it.
            let _told = ended.send(());
        }
        for stream in &mut state.ways {
            if let Some(waker) = stream.waker.take() {
                waker.wake();
            }
        }
        self.poke(link, Role::Frames);
    }

    /// Wakes the threads whose time has come; true if there were any.
    fn wake_due(&mut self) -> bool {
        let now = self.now;
        let mut has_moved = false;
        for link in 0..self.links.len() {
            for role in [Role::Converse, Role::Frames, Role::Alive] {
                if let Stand::Paused(until) = self.links[link].stands[role as usize]
                    && until <= now
                {
                    self.poke(link, role);
                    has_moved = true;
                }
            }
        }
        has_moved
    }

    fn next_moment(&self) -> Option<Duration> {
        let arrival = self.under_way.first_key_value().map(|(key, _)| key.0);
        let stands = self.links.iter().flat_map(|link| link.stands);
        let wakings = stands.filter_map(|stand| match stand {
            Stand::Paused(until) if until < Duration::MAX => Some(until),
            _ => None,
        });
        wakings.chain(arrival).min()
    }
}
