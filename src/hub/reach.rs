//! [`Reach`]: the way from a run to its nodes' agents.

use std::future::Future;
use std::pin::Pin;

use crate::link::{self, Link, LinkOptions};
use crate::model::target::Target;
use crate::node::agent::{self, AgentOptions};
use crate::node::place::Allowed;

/// What brings an agent to answer. May be dropped while it tries.
pub type Opening<'a> = Pin<Box<dyn Future<Output = Result<Link, link::Error>> + Send + 'a>>;

/// The way to nodes' agents: [`Direct`], or one that a simulation lays.
pub trait Reach: Send + Sync {
    /// Brings the agent of `target` to answer. May be called again for the same target, also while an earlier link to it
    /// is still there.
    ///
    /// # Errors
    /// As [`link::open_ssh`], and within the same bounds of time.
    fn open<'a>(&'a self, target: &'a Target, options: &'a LinkOptions) -> Opening<'a>;
}

/// Over the system's `ssh`; a directory of this machine by an agent in process.
#[derive(Debug, Clone, Copy)]
pub struct Direct;

impl Reach for Direct {
    fn open<'a>(&'a self, target: &'a Target, options: &'a LinkOptions) -> Opening<'a> {
        match target {
            Target::Local(_) => Box::pin(link::open_local(serve, options.connect_timeout)),
            Target::Ssh(target) => Box::pin(link::open_ssh(target, options)),
        }
    }
}

fn serve(input: std::os::unix::net::UnixStream, output: std::os::unix::net::UnixStream) {
    let allowed = Allowed { home: "/".into(), ..Allowed::default() };
    let options = AgentOptions { allowed, ..AgentOptions::default() };
    // Whatever went wrong there was told to the hub.
    drop(agent::serve(input, output, &options));
}
