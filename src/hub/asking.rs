//! What a session asks its agent before anything changes: to open the target, to end what is pending there, and what the
//! release would change.

use std::sync::Arc;

use super::channel::Channel;
use super::ended::{Ended, Holder, broken, refused};
use super::feed;
use super::outcome::Change;
use super::session::{Result, Session};
use crate::model::codec::Writer;
use crate::model::limits::{ENTRIES_MAX, MANIFEST_BYTES_MAX};
use crate::os::{clock, host};
use crate::wire::message::{FailedClass, Offer, Open, Opened, Part, Planned, ToAgent, ToHub};

impl Session {
    pub(super) async fn open(&self, channel: &mut Channel, part: Part) -> Result<Opened> {
        let options = &self.shared.options;
        let open = Open {
            run: self.shared.run,
            cluster: self.shared.cluster.clone(),
            holder: format!("process {} on {}", host::process_id(), host::name()),
            directory: self.target.directory().to_vec(),
            state_dir: options.node.state_dir.clone(),
            make_path: options.node.make_path,
            clock: clock::wall(),
            read_only: options.mode.is_read_only() || part == Part::Witness,
            source: self.shared.source_place.clone(),
            looks_only: false,
            number: u32::try_from(self.node).unwrap_or(u32::MAX),
            mounted: options.node.mounted(part),
        };
        channel.send(&ToAgent::Open(open)).await?;
        match channel.receive().await? {
            ToHub::Opened(opened) => Ok(opened),
            ToHub::Failed(failed) if failed.class == FailedClass::Busy => {
                let holder = match failed.holder {
                    Some(run) if self.shared.runs_before.contains(&run) => Holder::Over,
                    Some(run) if self.shared.run < run => Holder::GivesWay,
                    _ => Holder::Rival,
                };
                Err(Ended::Busy(failed.into(), holder))
            }
            other => Err(refused(other)),
        }
    }

    /// Ends what an earlier run left prepared, as it was decided then.
    pub(super) async fn settle(&mut self, channel: &mut Channel, opened: &Opened) -> Result<()> {
        if let Some(pending) = &opened.pending {
            if self.shared.has_forgotten(pending) {
                // The others may wait for a place to be heard.
                self.slot = None;
            }
            let decided = self.shared.was_decided(pending).await?;
            if self.slot.is_none() {
                self.slot = Arc::clone(&self.shared.slots).acquire_owned().await.ok();
            }
            channel.send(&ToAgent::Settle { txid: pending.txid, decided }).await?;
            let release = match channel.receive().await? {
                ToHub::Settled { release } => release,
                other => return Err(refused(other)),
            };
            self.outcome.release = release;
            // A node drops what was decided, too, where its stage is not the one that was prepared.
            let end = if release == Some(pending.release) { "completed" } else { "dropped" };
            self.outcome.notes.push(format!("the commit of an earlier run was {end} first"));
        }
        self.is_settled = true;
        Ok(())
    }

    pub(super) async fn offer(&mut self, channel: &mut Channel) -> Result<Planned> {
        let options = &self.shared.options;
        let mut header = Writer::new();
        self.shared.release.header().encode(&mut header);
        let offer = Offer {
            release: self.shared.release.id(),
            header: header.finish(),
            no_delete: options.node.no_delete,
            max_delete: options.guard.max_delete,
            list_changes: options.list_changes,
            reread: options.reread,
            read_rate: options.read_rate,
            force: options.force,
            min_free_percent: options.guard.min_free_percent,
            commit: options.node.commit,
        };
        channel.send(&ToAgent::Offer(offer)).await?;
        match channel.receive().await? {
            // The tree is the release already; or what a witness sees of it is older than what is there.
            ToHub::Planned(planned) if planned.is_clean || self.looks_on.is_some() => {
                return Ok(planned);
            }
            ToHub::Lacks { manifest: false, .. } => {}
            ToHub::Lacks { manifest: true, base } => {
                feed::manifest(&self.shared, &channel.sender(), base).await?;
            }
            other => return Err(refused(other)),
        }
        let mut changes: Vec<Change> = Vec::new();
        let mut bytes = 0u64;
        loop {
            match channel.receive().await? {
                ToHub::Changes(more) if options.list_changes => {
                    bytes +=
                        more.iter().map(|change| change.path.as_bytes().len() as u64).sum::<u64>();
                    changes.extend(more);
                    if changes.len() as u64 > 2 * ENTRIES_MAX || bytes > MANIFEST_BYTES_MAX {
                        return Err(broken("it lists more changes than two trees can differ by"));
                    }
                }
                ToHub::Planned(planned) => {
                    self.outcome.changes = changes;
                    return Ok(planned);
                }
                other => return Err(refused(other)),
            }
        }
    }
}
