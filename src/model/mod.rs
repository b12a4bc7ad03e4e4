//! The words of the field as values: paths, digests, entries, manifests, plans, targets.
//!
//! Owns: what a tree *is* and how two trees differ; every bound; the canonical bytes.
//! Never: does I/O, reads a clock, or knows how bytes travel.
//! Start at [`manifest`], then [`plan`].

#[cfg(test)]
pub(crate) mod fixture;
pub mod limits;
pub mod bits;
pub mod codec;
pub mod untrusted;
pub mod path;
pub mod digest;
pub mod entry;
pub mod rules;
pub mod keep;
pub mod manifest;
pub mod later;
pub mod exploded;
pub mod ordinals;
pub mod moved;
pub mod delta;
pub mod want;
pub mod patch;
pub mod plan;
pub mod changes;
pub mod target;
pub mod nodes_file;
