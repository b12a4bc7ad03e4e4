//! The outcome of a run as text, JSON Lines and lines of a log; and its progress as one line.
//!
//! Everything here is a pure function of an outcome or of events: nothing prints, reads a clock or asks what a terminal is.
//! Messages of a [`Failure`] come escaped; the paths, which do not, are escaped here (rule S20).
//!
//! [`Failure`]: crate::hub::outcome::Failure

pub mod drift;
pub mod findings;
pub mod figures;
pub mod human;
pub mod json;
pub mod history;
pub mod package;
pub mod status;
pub mod advise;
pub mod log;
pub mod progress;

#[cfg(test)]
mod examples;
