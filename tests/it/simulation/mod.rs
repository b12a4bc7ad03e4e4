//! Simulation of a whole cluster: the hub's run and real agents on real directories, over links in memory that an
//! adversary owns, in virtual time. A seed tells trees, faults and machines that die; after each run the promises are
//! checked, and in the end one run without a fault must bring all nodes to the release.
//!
//! `DEPSYNC_SEED=N` replays one seed and prints its trace, `DEPSYNC_SEEDS=N` runs so many from there.

mod adversary;
mod death;
pub(crate) mod dice;
mod link;
mod net;
mod pipe;
mod promises;
mod rows;
mod story;
mod tree;
mod unit;
mod world;
