//! What a node lacks, on its way to it: the manifest, then the chunks.

use std::sync::Arc;

use super::channel::Sender;
use super::encoder::History;
use super::ended::{Ended, broken};
use super::fleet::Shared;
use super::outcome::{Event, Failure};
use crate::model::manifest::ReleaseId;
use crate::model::want::{Batch, Batches};
use crate::wire::message::{ManifestPart, Planned, ToAgent};

/// So few chunks are remembered once they are found; more are looked for a second time, so that memory is bounded.
const AT_HAND_MAX: u64 = 4096;

/// Sends the manifest, as a delta from `base` if the hub knows it.
pub(super) async fn manifest(
    shared: &Arc<Shared>,
    sender: &Sender,
    base: Option<ReleaseId>,
) -> Result<(), Ended> {
    let made = shared.manifest_parts(base).await;
    let parts = made.map_err(|error| Ended::Failed(Failure::from(&error)))?;
    for (at, (raw_bytes, bytes)) in parts.parts.iter().enumerate() {
        let part = ManifestPart {
            base: parts.base,
            raw_bytes: *raw_bytes,
            is_last: at + 1 == parts.parts.len(),
        };
        sender.send(&ToAgent::Manifest(part), bytes.clone()).await?;
    }
    Ok(())
}

/// Sends every wanted chunk.
pub(super) async fn chunks(
    shared: &Arc<Shared>,
    node: usize,
    planned: &Planned,
    sender: Sender,
) -> Result<(), Ended> {
    let manifest = shared.manifest().map_err(|error| Ended::Failed(Failure::from(&error)))?;
    let batches = || Batches::new(&*manifest, &planned.wanted);
    let (mut bytes, mut found) = (0u64, 0u64);
    let mut at_hand = Some(Vec::new());
    for batch in batches() {
        bytes = bytes.saturating_add(batch.raw_bytes as u64);
        found = found.saturating_add(batch.sites.len() as u64);
        at_hand = at_hand.filter(|_| found <= AT_HAND_MAX);
        if let Some(at_hand) = &mut at_hand {
            at_hand.push(batch);
        }
    }
    let wanted = planned.wanted.ranges().iter().map(|range| range.end - range.start);
    if wanted.fold(0, u64::saturating_add) != found {
        return Err(broken("it wants chunks that the release does not have"));
    }
    shared.monitor.event(Event::Lacks { node, bytes });
    let known = shared.encoder.known(planned.near.clone());
    let mut history = History::default();
    let batches: Box<dyn Iterator<Item = Batch> + Send + '_> = match at_hand {
        Some(at_hand) => Box::new(at_hand.into_iter()),
        None => Box::new(batches()),
    };
    for batch in batches {
        let room = sender.room().await?;
        let encoded = shared.encoder.encode(batch, history, &known).await;
        let encoded = encoded.map_err(|error| Ended::Failed(Failure::from(&error)))?;
        history = encoded.history;
        shared.throttle.pass(encoded.bytes.len()).await;
        let message = ToAgent::Batch { packing: encoded.packing };
        room.send(&message, encoded.bytes);
        shared.monitor.event(Event::Sent { node, bytes: encoded.raw_bytes as u64 });
    }
    Ok(())
}
