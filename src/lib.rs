//! depsync keeps the deployment directories of a cluster identical.
//!
//! The order of the modules below is the order of the layers: a file may name `crate::x` only if `x` stands
//! above its own module here.

pub mod model;
pub mod wire;
pub mod os;
pub mod scan;
pub mod source;
pub mod node;
pub mod agent;
pub mod link;
pub mod hub;
pub mod report;
pub mod config;
pub mod recipe;
pub mod cli;
