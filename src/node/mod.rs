//! What happens on a node: inspect the tree, stage what it lacks beside it, commit through the journal.
//!
//! ```text
//! agent ─▶ place (root, state, lease) ─▶ journal (recover) ─▶ inspect ─▶ prepare ─▶ stage ─▶ commit ─▶ kept
//! ```
//! Owns: the state on a node, below `<parent of root>/.depsync/<name of root>/`:
//! ```text
//! lock               the lease of the target; a kernel lock
//! journal            what was begun, prepared, decided and committed
//! index              what each directory looked like, with its files' content
//! manifest/<id>      manifests of the releases that were live here
//! stage/<txid>/      the next release, and the list of steps that makes it live
//! kept/<txid>/       what a commit replaced or removed
//! ```
//! Never: opens a network socket, or trusts a name from the wire. Start at [`agent`].

pub mod error;
pub mod share;
pub mod lease;
pub mod place;
pub mod journal;
pub mod steps;
pub mod kept;
pub mod inspect;
pub mod difference;
pub mod content;
pub mod pieces;
pub mod stage;
pub mod prepare;
pub mod swap;
pub mod commit;
pub mod recover;
pub mod accounts;
pub mod rejected;
pub mod offer;
pub mod after;
pub mod transaction;
pub mod incoming;
pub mod examine;
pub mod witness;
pub mod agent;
