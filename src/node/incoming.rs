//! [`Incoming`]: the wanted chunks as they come from the hub, batch by batch.

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation as _, OutBuffer};

use super::agent::{Hub, unexpected};
use super::error::Error;
use super::pieces::Patcher;
use super::stage::ChunkStream;
use crate::model::entry::Chunk;
use crate::model::limits;
use crate::model::manifest::Part;
use crate::model::want::{Batches, Wanted};
use crate::wire::message::{Packing, ToAgent};

/// Receives the wanted chunks.
pub struct Incoming<'a> {
    hub: &'a Hub,
    batches: Batches<'a>,
    patcher: Patcher<'a>,
    decompressor: Decompressor,
    /// The raw bytes of the batch at hand, and how many of them were given out.
    batch: Vec<u8>,
    given: usize,
}

impl std::fmt::Debug for Incoming<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").finish_non_exhaustive()
    }
}

fn broken(what: &str) -> Error {
    Error::Protocol { what: what.to_owned() }
}

impl<'a> Incoming<'a> {
    /// Receives what is `wanted` of `release`.
    pub fn new(hub: &'a Hub, release: Part<'a>, wanted: &'a Wanted, patcher: Patcher<'a>) -> Self {
        let batches = Batches::new(release, wanted);
        let (decompressor, batch) = (Decompressor::default(), Vec::new());
        Self { hub, batches, patcher, decompressor, batch, given: 0 }
    }

    fn next_batch(&mut self) -> Result<(), Error> {
        let expected =
            self.batches.next().ok_or_else(|| broken("more chunks are used than wanted"))?;
        let received = self.hub.receive()?;
        let ToAgent::Batch { packing } = received.message else {
            return Err(match received.message {
                ToAgent::Abort => Error::HubGone,
                other => unexpected(&other),
            });
        };
        if expected.raw_bytes > limits::FRAME_BYTES_MAX {
            return Err(broken("a batch is longer than any may be"));
        }
        let mut bulk = received.bulk;
        let undecoded = |_error| broken("a batch cannot be decompressed");
        match packing {
            Packing::Plain => std::mem::swap(&mut self.batch, &mut bulk),
            Packing::Fresh | Packing::Continued => {
                let is_fresh = packing == Packing::Fresh;
                if !is_fresh && !self.decompressor.has_begun() {
                    return Err(broken("a batch goes on with what never began"));
                }
                let raw_bytes = expected.raw_bytes;
                self.decompressor
                    .decode(&bulk, raw_bytes, is_fresh, &mut self.batch)
                    .map_err(undecoded)?;
            }
            Packing::Patch { bytes } => {
                let patch = zstd::bulk::decompress(&bulk, bytes).map_err(undecoded)?;
                if patch.len() != bytes {
                    return Err(broken("a patch has another length"));
                }
                self.batch.clear();
                self.patcher.apply(&patch, expected.raw_bytes, &mut self.batch)?;
            }
        }
        self.hub.give_back(bulk);
        self.given = 0;
        if self.batch.len() == expected.raw_bytes {
            Ok(())
        } else {
            Err(broken("a batch has another length"))
        }
    }

    /// Checks that the hub sent what was wanted and no more.
    ///
    /// # Errors
    /// [`Error::Protocol`].
    pub fn finish(mut self) -> Result<(), Error> {
        let is_whole = self.given == self.batch.len() && self.batches.next().is_none();
        if is_whole { Ok(()) } else { Err(broken("chunks were sent that nothing uses")) }
    }
}

/// Decompresses batches, each of which may refer to what came before it.
#[derive(Default)]
pub struct Decompressor {
    /// Made with the first compressed batch: it takes the memory of its history.
    decoder: Option<Decoder<'static>>,
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

impl Decompressor {
    /// True if there is something to go on with.
    pub fn has_begun(&self) -> bool {
        self.decoder.is_some()
    }

    /// Replaces what is in `into` by the decompressed `bytes`, of which no more are taken than one beyond `raw_bytes`.
    ///
    /// # Errors
    /// Bytes that are no part of a frame, or of one that refers back further than [`limits::HISTORY_BYTES_LOG`] allows.
    pub fn decode(
        &mut self,
        bytes: &[u8],
        raw_bytes: usize,
        is_fresh: bool,
        into: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        let decoder = match &mut self.decoder {
            Some(decoder) => {
                if is_fresh {
                    decoder.reinit()?;
                }
                decoder
            }
            none => {
                let mut decoder = Decoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(limits::HISTORY_BYTES_LOG))?;
                none.insert(decoder)
            }
        };
        into.clear();
        into.reserve_exact(raw_bytes.saturating_add(1));
        let mut input = InBuffer::around(bytes);
        let mut output = OutBuffer::around(into);
        loop {
            let before = (input.pos(), output.pos());
            decoder.run(&mut input, &mut output)?;
            if output.pos() > raw_bytes || (input.pos(), output.pos()) == before {
                return Ok(());
            }
        }
    }
}

impl ChunkStream for Incoming<'_> {
    fn next(&mut self, chunks: &[Chunk]) -> Result<&[u8], Error> {
        if self.given == self.batch.len() {
            self.next_batch()?;
        }
        let start = self.given;
        let mut end = start;
        for chunk in chunks {
            let next = end.saturating_add(chunk.bytes as usize);
            if next > self.batch.len() {
                break;
            }
            end = next;
        }
        self.given = end;
        let bytes = self.batch.get(start..end).unwrap_or_default();
        if bytes.is_empty() { Err(broken("a chunk crosses its batch")) } else { Ok(bytes) }
    }
}
