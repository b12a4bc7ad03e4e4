//! The arguments of `depsync init`.

use std::path::PathBuf;

use clap::Args;

use crate::config::values;

#[derive(Args, Debug)]
pub(in crate::cli) struct InitArgs {
    /// The directory whose contents nodes get
    #[arg(long, value_name = "DIR", conflicts_with = "home")]
    pub(in crate::cli) source: Option<PathBuf>,
    /// The home of a server, of which the deployment directories become the trees; what server it is shows in it, or --preset says
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) home: Option<PathBuf>,
    /// What is known of the server: wso2-mi, wso2-ei, wso2-apim, wso2-is, tomcat or plain
    #[arg(long, value_name = "NAME", value_parser = values::preset)]
    pub(in crate::cli) preset: Option<String>,
    /// The nodes file; nodes-list.txt if there is one
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) nodes: Option<PathBuf>,
    /// The file to write
    #[arg(short, long, value_name = "FILE", default_value = "depsync.toml")]
    pub(in crate::cli) config: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub(in crate::cli) force: bool,
}
