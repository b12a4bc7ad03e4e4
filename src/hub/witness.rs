//! The session of a node that looks at what another wrote to the share that both have mounted.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::channel::Channel;
use super::ended::{Ended, refused};
use super::fleet::{Order, Report};
use super::outcome::{Failure, NodeState, Phase, Verdict};
use super::session::{Result, Session, pending};
use super::share::{Share, Turn};
use crate::wire::message::{Opened, Part, Planned, ToAgent, ToHub};

/// Between two looks at a share that does not show what it should, at first and at most: caches are told to forget by
/// nobody.
const LOOK_FIRST: Duration = Duration::from_millis(20);
const LOOK_MOST: Duration = Duration::from_secs(1);

/// The pauses between looks, as long as there is time for another.
struct Looks {
    until: Instant,
    pause: Duration,
}

impl Looks {
    fn within(time: Duration) -> Self {
        Self { until: Instant::now() + time, pause: LOOK_FIRST }
    }

    /// Waits; false if the time is over.
    async fn again(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.until {
            return false;
        }
        tokio::time::sleep_until((now + self.pause).min(self.until)).await;
        self.pause = (self.pause * 2).min(LOOK_MOST);
        true
    }
}

impl Session {
    /// Where nodes share a file system, waits until it is known whether this one writes, and if not, until there is
    /// something to be seen.
    pub(super) async fn await_part(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let Some(share) = &shared.share else { return Ok(()) };
        let mut orders = self.orders.clone();
        let writes = tokio::select! {
            writes = share.writes(self.node) => writes,
            () = self.stopped(&mut orders) => return Err(self.aborted()),
        };
        if !writes {
            self.looks_on = Some(self.await_writer(share).await?);
        }
        Ok(())
    }

    /// Waits until there is something to be seen on the share; gives how far it has come.
    ///
    /// # Errors
    /// The node that writes will not come to that, or the run was stopped.
    async fn await_writer(&self, share: &Share) -> Result<Turn> {
        let is_there =
            |turn: &Turn| matches!(turn, Turn::Prepared(_) | Turn::Seen(_) | Turn::Over(..));
        let mut orders = self.orders.clone();
        tokio::select! {
            turn = share.until(is_there) => match turn {
                Turn::Over(node, why) => {
                    let message = format!("nothing changed here: {}", self.told(node, &why));
                    Err(Ended::Failed(Failure::said(Verdict::Fail, "aborted", message, None)))
                }
                turn => Ok(turn),
            },
            () = self.stopped(&mut orders) => Err(self.aborted()),
        }
    }

    /// What the node that writes has failed of, as the whole run is told it.
    fn told(&self, node: usize, why: &Failure) -> String {
        format!("{}: {}", self.name_of(node), why.message)
    }

    fn name_of(&self, node: usize) -> String {
        self.shared.options.targets.get(node).map(ToString::to_string).unwrap_or_default()
    }

    /// Sees to it that the node has the writer's share before the decision, and the release behind it.
    pub(super) async fn look_on(&mut self, channel: &mut Channel, turn: Turn) -> Result<()> {
        self.phase(Phase::Inspecting);
        let opened = self.open(channel, Part::Witness).await?;
        self.outcome.release = opened.release;
        self.outcome.notes.extend(opened.notes.iter().cloned());
        let mut is_news = false;
        if let Turn::Prepared(writer) = turn {
            is_news = true;
            self.sees_transaction(channel, opened, writer).await?;
            self.phase(Phase::Prepared);
            self.slot = None;
            drop(self.reports.send(Report::Prepared { node: self.node }));
            self.await_commit(channel).await?;
            self.phase(Phase::Committing);
        }
        self.sees_release(channel, is_news).await
    }

    /// Its own mount shows the transaction that the writer has just prepared: it is the same share.
    async fn sees_transaction(
        &self,
        channel: &mut Channel,
        mut opened: Opened,
        writer: usize,
    ) -> Result<()> {
        let run = self.shared.run;
        let mut looks = Looks::within(self.wait());
        while opened.pending.as_ref().is_none_or(|pending| pending.txid != run) {
            if !looks.again().await {
                let message = format!(
                    "its {} does not show what {} wrote there: it is another share, or none",
                    opened.real_path,
                    self.name_of(writer)
                );
                let hint = "mount the same share on every node, and have doctor look at it";
                let failure = Failure::said(Verdict::Guard, "other-share", message, Some(hint));
                return Err(Ended::Refused(failure));
            }
            channel.send(&ToAgent::Look).await?;
            opened = match channel.receive().await? {
                ToHub::Opened(opened) => opened,
                other => return Err(refused(other)),
            };
        }
        Ok(())
    }

    /// Waits for the decision, and for the writer to carry it out; the connection's end is heard of meanwhile.
    async fn await_commit(&mut self, channel: &mut Channel) -> Result<()> {
        let Some(share) = &self.shared.share else { return Ok(()) };
        let mut orders = self.orders.clone();
        let committed = async {
            if orders.wait_for(|order| *order == Order::Commit).await.is_err() {
                return Err(self.aborted());
            }
            match share.until(|turn| matches!(turn, Turn::Seen(_) | Turn::Over(..))).await {
                Turn::Over(node, why) => {
                    let message =
                        format!("the share is not written yet: {}", self.told(node, &why));
                    Err(pending(Failure { message, ..why }))
                }
                _ => Ok(()),
            }
        };
        tokio::select! {
            committed = committed => committed,
            received = channel.receive() => Err(refused(received?)),
        }
    }

    /// Looks at the tree until it is the release, as long as caches may take to forget.
    async fn sees_release(&mut self, channel: &mut Channel, is_news: bool) -> Result<()> {
        let since = Instant::now();
        let mut looks = Looks::within(self.wait());
        loop {
            let planned = self.offer(channel).await?;
            if planned.is_clean {
                let news = if is_news { NodeState::Committed } else { NodeState::Unchanged };
                self.outcome.state = news;
                self.outcome.release = Some(self.shared.release.id());
                let seconds = since.elapsed().as_secs();
                if seconds > 0 {
                    let note = format!("its mount showed the release after {seconds} s");
                    self.outcome.notes.push(note);
                }
                return Ok(());
            }
            if self.shared.options.mode.is_read_only() {
                self.outcome.counts = planned.counts;
                self.end_of_plan(planned);
                return Ok(());
            }
            if !looks.again().await {
                return Err(Ended::Failed(self.not_seen(&planned)));
            }
        }
    }

    fn not_seen(&self, planned: &Planned) -> Failure {
        let (seconds, names) = (self.wait().as_secs(), planned.counts.total());
        let message = format!(
            "the release is on the share, and after {seconds} s this node's mount shows {names} names otherwise"
        );
        let hint = "look at the options of the mount (actimeo), then depsync verify; [storage] share_wait is how long a push waits";
        Failure::said(Verdict::Partial, "not-seen", message, Some(hint))
    }

    fn wait(&self) -> Duration {
        self.shared.options.node.share.as_ref().map(|share| share.wait).unwrap_or_default()
    }
}
