//! A cluster of real hosts on one machine, to test against and to measure on.
//!
//! For the super-user a node is one network, mount, process and host-name name space: its own address on a
//! bridge, its own `/opt`, `/root`, `/tmp`, `/var/lib` and `/run`, its own `sshd`; the hub is the machine
//! itself. Killing a node kills its process 1 and so all of it, as a power cut does (what was written to
//! files stays). Such a node may have a kernel of its own ([`guest`]). For any other user a node is an `sshd` on a
//! port of the loopback address, and what needs a network of its own is refused.
//!
//! `down` leaves two things: the lock file beside the lab's directory, and `/run/netns` as the mount point
//! that `ip netns` makes of it once and that all its users share.
//!
//! Start reading at [`Lab`].

mod guest;
mod link;
mod loopback;
mod namespaces;
mod process;
mod settings;
mod sshd;

use crate::failure::{Failure, Result, at};
use crate::program;
use settings::{Kind, Settings, State};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub(crate) use link::Counters;

/// What `cargo xtask lab` can do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Act {
    /// Bring up N nodes; nodes that run already are left alone
    Up {
        /// How many nodes, numbered from 1
        #[arg(value_parser = clap::value_parser!(u8).range(1..=250))]
        nodes: u8,
        /// Give each node an /opt of this size in memory, such as 64m; a kill empties it
        #[arg(long)]
        opt_size: Option<String>,
    },
    /// Run a command on a node: as root and without its sshd, where nodes are name spaces
    Exec {
        /// The node
        node: u8,
        /// The command
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Kill every process of a node at once
    Kill {
        /// The node
        node: u8,
    },
    /// Start a node that was killed
    Start {
        /// The node
        node: u8,
    },
    /// Take a node's network link down
    Cut {
        /// The node
        node: u8,
    },
    /// Drop all packets to and from a node silently
    Blackhole {
        /// The node
        node: u8,
    },
    /// Undo cut and blackhole
    Heal {
        /// The node
        node: u8,
    },
    /// Limit what a node can receive
    Limit {
        /// The node; 0 is the hub's uplink to all of them
        node: u8,
        /// Megabits a second; 0 lifts the limit
        mbit: u32,
    },
    /// Delay what a node receives, which lengthens the round trip by as much
    Delay {
        /// The node
        node: u8,
        /// Milliseconds; 0 lifts the delay
        ms: u32,
    },
    /// Print one depsync target a line
    Nodes,
    /// Print, as JSON, the bytes each node has received and sent
    Rx,
    /// Remove all that up made
    Down,
}

/// A lab, whether up or not.
#[derive(Debug)]
pub(crate) struct Lab {
    settings: Settings,
}

impl Lab {
    /// The lab that the environment names.
    ///
    /// # Errors
    /// The environment's values cannot be used.
    pub(crate) fn from_environment() -> Result<Self> {
        Ok(Self { settings: Settings::from_environment()? })
    }

    /// A lab for the benchmark, apart from the one that tests and people use; the environment may still
    /// say otherwise.
    ///
    /// # Errors
    /// As [`Self::from_environment`].
    pub(crate) fn for_bench() -> Result<Self> {
        Ok(Self { settings: Settings::for_bench()? })
    }

    /// A lab for the approaches that are put to work, likewise.
    ///
    /// # Errors
    /// As [`Self::from_environment`].
    pub(crate) fn for_approaches() -> Result<Self> {
        Ok(Self { settings: Settings::for_approaches()? })
    }

    /// Does one act of the command line and prints its result.
    ///
    /// # Errors
    /// The act failed, or is not available to this user (code 2), or, for `exec`, the command failed
    /// (with its own code).
    pub(crate) fn act(&self, act: Act) -> Result {
        match act {
            Act::Up { nodes, opt_size } => self.up(nodes, opt_size.as_deref()),
            Act::Exec { node, command } => self.exec(node, &command),
            Act::Kill { node } => self.kill(node),
            Act::Start { node } => self.start(node),
            Act::Cut { node } => link::cut(&self.settings, &self.networked("cut", node)?, node),
            Act::Blackhole { node } => {
                link::blackhole(&self.settings, &self.networked("blackhole", node)?, node)
            }
            Act::Heal { node } => link::heal(&self.settings, &self.networked("heal", node)?, node),
            Act::Limit { node, mbit } => self.limit(node, mbit),
            Act::Delay { node, ms } => {
                self.networked("delay", node)?;
                link::delay(&self.settings, node, ms)
            }
            Act::Nodes => {
                for target in self.targets()? {
                    println!("{target}");
                }
                Ok(())
            }
            Act::Rx => {
                let counted = self.counters()?;
                println!("{}", serde_json::json!(counted));
                Ok(())
            }
            Act::Down => self.down(),
        }
    }

    /// Brings up `nodes` nodes and waits until each answers over ssh. Idempotent: nodes that run are left
    /// alone, killed ones are started, surplus ones removed.
    ///
    /// # Errors
    /// A part cannot be made, a name is taken by something that is not this lab's, or the lab is up with
    /// another `opt_size`.
    pub(crate) fn up(&self, nodes: u8, opt_size: Option<&str>) -> Result {
        self.up_with_guests(nodes, opt_size, &[])
    }

    /// As [`Self::up`]; the nodes in `guests` have a kernel of their own, which can mount NFS.
    ///
    /// # Errors
    /// As there, or the lab is up with other guests.
    pub(crate) fn up_with_guests(
        &self,
        nodes: u8,
        opt_size: Option<&str>,
        guests: &[u8],
    ) -> Result {
        let folder = &self.settings.folder;
        let _lock = self.lock()?;
        let mut state = State::load(folder).unwrap_or_else(|| State {
            kind: if program::is_root() && !loopback_wanted() {
                Kind::Namespaces
            } else {
                Kind::Loopback
            },
            nodes: 0,
            opt_size: opt_size.map(str::to_owned),
            guests: guests.to_vec(),
            ports: Vec::new(),
            owned: Vec::new(),
        });
        if (opt_size.is_some() || !guests.is_empty()) && state.kind == Kind::Loopback {
            return Err(Failure::unavailable("lab up --opt-size, or guests, need the super-user"));
        }
        if state.opt_size.as_deref() != opt_size {
            return Err(Failure::unavailable(
                "the lab is up with another --opt-size: take it down first",
            ));
        }
        if state.guests != guests {
            return Err(Failure::unavailable(
                "the lab is up with other guests: take it down first",
            ));
        }
        std::fs::create_dir_all(self.settings.hub("")).map_err(at("create", folder))?;
        state.save(folder)?;
        sshd::make_hub_key(&self.settings)?;
        match state.kind {
            Kind::Namespaces => namespaces::up(&self.settings, &mut state, nodes)?,
            Kind::Loopback => loopback::up(&self.settings, &mut state, nodes)?,
        }
        sshd::write_known_hosts(&self.settings, &state)?;
        (1..=nodes).try_for_each(|node| sshd::wait_for(&self.settings, &state, node))
    }

    /// Removes all that `up` made, the lab's directory included; nothing happens if there is no lab.
    ///
    /// # Errors
    /// A part cannot be removed.
    pub(crate) fn down(&self) -> Result {
        let _lock = self.lock()?;
        if !self.stop_locked()? {
            return Ok(());
        }
        // A lab on a file system of its own is a mount point: that stays, emptied.
        match std::fs::remove_dir_all(&self.settings.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => Ok(()),
            done => done.map_err(at("remove", &self.settings.folder)),
        }
    }

    /// Removes nodes and network but not their files, for a lab whose file system goes as a whole.
    ///
    /// # Errors
    /// A part cannot be removed.
    pub(crate) fn stop(&self) -> Result {
        let _lock = self.lock()?;
        self.stop_locked().map(drop)
    }

    /// False if there is no lab.
    fn stop_locked(&self) -> Result<bool> {
        let Some(state) = State::load(&self.settings.folder) else { return Ok(false) };
        match state.kind {
            Kind::Namespaces => namespaces::stop(&self.settings, &state)?,
            Kind::Loopback => loopback::stop(&self.settings, &state)?,
        }
        Ok(true)
    }

    /// Kills every process of a node and waits until they are gone.
    ///
    /// # Errors
    /// There is no such node, or it does not die.
    pub(crate) fn kill(&self, node: u8) -> Result {
        match self.existing(node)?.kind {
            Kind::Namespaces => namespaces::kill(&self.settings, node),
            Kind::Loopback => loopback::kill(&self.settings, node),
        }
    }

    /// Starts a killed node and waits until it answers, or if its link is down until its sshd runs.
    ///
    /// # Errors
    /// There is no such node, or it does not come up.
    pub(crate) fn start(&self, node: u8) -> Result {
        let state = self.existing(node)?;
        match state.kind {
            Kind::Namespaces => namespaces::start(&self.settings, &state, node)?,
            Kind::Loopback => loopback::start(&self.settings, node)?,
        }
        if state.kind == Kind::Namespaces && !link::is_whole(&self.settings, node) {
            return Ok(());
        }
        sshd::wait_for(&self.settings, &state, node)
    }

    /// Limits what a node receives; 0 lifts the limit. Node 0 is the hub's uplink.
    ///
    /// # Errors
    /// Not available to this user, no such node, or the kernel lacks the queue it needs.
    pub(crate) fn limit(&self, node: u8, mbit: u32) -> Result {
        self.networked("limit", node.max(1))?;
        link::limit(&self.settings, node, mbit)
    }

    /// The depsync targets of all nodes.
    ///
    /// # Errors
    /// The lab is not up.
    pub(crate) fn targets(&self) -> Result<Vec<String>> {
        let state = self.state()?;
        Ok((1..=state.nodes).map(|node| sshd::target(&self.settings, &state, node)).collect())
    }

    /// Bytes each node has received and sent since it was made, as its link has counted them.
    ///
    /// # Errors
    /// Not available to this user, or the counters cannot be read.
    pub(crate) fn counters(&self) -> Result<BTreeMap<u8, Counters>> {
        let state = self.networked("rx", 1)?;
        (1..=state.nodes).map(|node| Ok((node, link::counters(&self.settings, node)?))).collect()
    }

    /// The number, on the hub, of each node's first process, below which all others of the node are.
    ///
    /// # Errors
    /// Not available to this user, or a node does not run.
    pub(crate) fn first_processes(&self) -> Result<Vec<i32>> {
        let state = self.networked("processes", 1)?;
        (1..=state.nodes).map(|node| namespaces::first_process(&self.settings, node)).collect()
    }

    /// That of one node.
    ///
    /// # Errors
    /// As [`Self::first_processes`].
    pub(crate) fn first_process(&self, node: u8) -> Result<i32> {
        self.networked("processes", node)?;
        namespaces::first_process(&self.settings, node)
    }

    /// A file of the hub's: `id`, `known_hosts`, or one of the caller's own.
    pub(crate) fn hub(&self, name: &str) -> PathBuf {
        self.settings.hub(name)
    }

    /// The lab's directory.
    pub(crate) fn folder(&self) -> &std::path::Path {
        &self.settings.folder
    }

    /// A node's directory, seen from the hub: `opt`, `root`, `tmp`, `var_lib`, `run`.
    pub(crate) fn node_folder(&self, node: u8, name: &str) -> PathBuf {
        self.settings.node(node, name)
    }

    /// The words before a command that let it run on a node, by ssh.
    ///
    /// # Errors
    /// There is no such node.
    pub(crate) fn ssh(&self, node: u8) -> Result<Vec<String>> {
        Ok(sshd::ssh(&self.settings, &self.existing(node)?, node))
    }

    fn exec(&self, node: u8, argv: &[String]) -> Result {
        let state = self.existing(node)?;
        let mut whole = match state.kind {
            Kind::Namespaces => namespaces::enter(&self.settings, node)?,
            Kind::Loopback => sshd::ssh(&self.settings, &state, node),
        };
        whole.extend_from_slice(argv);
        let status = program::command(&whole)
            .stdin(std::process::Stdio::inherit())
            .status()
            .map_err(|error| Failure::new(format!("exec on node {node}: {error}")))?;
        match status.code() {
            Some(0) => Ok(()),
            Some(code) => Err(Failure::silent(u8::try_from(code).unwrap_or(1))),
            None => Err(Failure::new(format!("exec on node {node}: {status}"))),
        }
    }

    /// Lets one `up` or `down` at a time change the lab. The file lies beside the lab, and stays.
    fn lock(&self) -> Result<std::fs::File> {
        let path = self.settings.folder.with_added_extension("lock");
        let parent = path.parent().unwrap_or(&path);
        std::fs::create_dir_all(parent).map_err(at("create", parent))?;
        let file = std::fs::File::create(&path).map_err(at("create", &path))?;
        file.lock().map_err(at("lock", &path))?;
        Ok(file)
    }

    fn state(&self) -> Result<State> {
        State::load(&self.settings.folder).ok_or_else(|| Failure::unavailable("the lab is not up"))
    }

    fn existing(&self, node: u8) -> Result<State> {
        let state = self.state()?;
        if (1..=state.nodes).contains(&node) {
            return Ok(state);
        }
        Err(Failure::unavailable(format!("there is no node {node}: the lab has {}", state.nodes)))
    }

    fn networked(&self, act: &str, node: u8) -> Result<State> {
        let state = self.existing(node)?;
        if state.kind == Kind::Namespaces {
            return Ok(state);
        }
        Err(Failure::unavailable(format!(
            "lab {act} needs nodes with a network of their own, and so the super-user; here the nodes are \
             sshd processes of the calling user, for which cut, blackhole, heal, limit, delay, rx and \
             --opt-size are not available"
        )))
    }
}

/// The super-user may ask for the other kind, to test it.
fn loopback_wanted() -> bool {
    std::env::var("DEPSYNC_LAB_KIND").is_ok_and(|kind| kind == "loopback")
}
