//! The arguments of `depsync advise`.

use clap::Args;

use super::{OutputArgs, PlaceArgs};
use crate::config::values;
use crate::hub::advise::Since;

#[derive(Args, Debug)]
pub(in crate::cli) struct AdviseArgs {
    /// Go by the modification times in the source since then, not by the history: a date such as 2026-11-01, or 7d for so long ago [default without a history: 30d]
    #[arg(long, value_name = "WHEN", env = "DEPSYNC_SINCE", value_parser = values::since)]
    pub(in crate::cli) since: Option<Since>,
    #[command(flatten)]
    pub(in crate::cli) place: PlaceArgs,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}
