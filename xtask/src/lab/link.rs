//! A node's network link: cut, silenced, limited, delayed, counted.

use super::settings::{Settings, State};
use crate::failure::{Failure, Result, at};
use crate::program;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Bytes over one node's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Counters {
    /// Bytes that went to the node.
    pub(crate) to_node: u64,
    /// Bytes that came from it.
    pub(crate) from_node: u64,
}

/// What slows a link.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Shape {
    mbit: u32,
    delay_ms: u32,
}

/// Whether an interface of this name exists.
pub(super) fn exists(interface: &str) -> bool {
    PathBuf::from("/sys/class/net").join(interface).exists()
}

/// Takes the link down, as if the cable were pulled: both ends soon know.
///
/// # Errors
/// `ip` fails.
pub(super) fn cut(settings: &Settings, _state: &State, node: u8) -> Result {
    program::quiet(&["ip", "link", "set", &settings.link(node), "down"])
}

/// Drops all packets to and from the node, and neither end is told: the link stays up, but leads nowhere.
///
/// The neighbour tables of both ends are made permanent, else the hub would find out within seconds that
/// nobody answers for the address, as no host behind a router would.
///
/// # Errors
/// `ip` fails.
pub(super) fn blackhole(settings: &Settings, state: &State, node: u8) -> Result {
    let (bridge, space) = (settings.bridge(), settings.namespace(node));
    let (address, hardware) = (settings.address(node), settings.hardware(node));
    pin_neighbour(&["ip"], &address, &hardware, &bridge)?;
    let neighbours = (1..=state.nodes).chain([254]).filter(|other| *other != node);
    for other in neighbours {
        let (address, hardware) = (settings.address(other), settings.hardware(other));
        pin_neighbour(&["ip", "-n", &space], &address, &hardware, "eth0")?;
    }
    program::quiet(&["ip", "link", "set", &settings.link(node), "nomaster"])
}

/// Writes an address into a table of neighbours for good, so that nobody has to be asked for it.
fn pin_neighbour(ip: &[&str], address: &str, hardware: &str, device: &str) -> Result {
    let words =
        ["neigh", "replace", address, "lladdr", hardware, "nud", "permanent", "dev", device];
    program::quiet(&[ip, &words].concat())
}

/// Undoes [`cut`] and [`blackhole`].
///
/// # Errors
/// `ip` fails.
pub(super) fn heal(settings: &Settings, state: &State, node: u8) -> Result {
    let (bridge, space) = (settings.bridge(), settings.namespace(node));
    program::quiet(&["ip", "link", "set", &settings.link(node), "master", &bridge, "up"])?;
    // What is not in the tables need not go: these may fail.
    program::succeeds(&["ip", "neigh", "del", &settings.address(node), "dev", &bridge]);
    for other in (1..=state.nodes).chain([254]).filter(|other| *other != node) {
        program::succeeds(&[
            "ip",
            "-n",
            &space,
            "neigh",
            "del",
            &settings.address(other),
            "dev",
            "eth0",
        ]);
    }
    Ok(())
}

/// Whether the link is neither cut nor silenced.
pub(super) fn is_whole(settings: &Settings, node: u8) -> bool {
    let base = PathBuf::from("/sys/class/net").join(settings.link(node));
    let state = std::fs::read_to_string(base.join("operstate")).unwrap_or_default();
    state.trim() == "up" && base.join("master").exists()
}

/// Limits what goes to the node; 0 lifts the limit. Node 0 is all that leaves the hub.
///
/// # Errors
/// The kernel has no such queue (code 2), or `tc` fails.
pub(super) fn limit(settings: &Settings, node: u8, mbit: u32) -> Result {
    reshape(settings, node, |shape| shape.mbit = mbit)
}

/// Delays what goes to the node; 0 lifts the delay.
///
/// # Errors
/// The kernel has no such queue (code 2), or `tc` fails.
pub(super) fn delay(settings: &Settings, node: u8, ms: u32) -> Result {
    reshape(settings, node, |shape| shape.delay_ms = ms)
}

fn reshape(settings: &Settings, node: u8, change: impl FnOnce(&mut Shape)) -> Result {
    let record = settings.hub(&format!("link-{node}.json"));
    let old: Shape = std::fs::read_to_string(&record)
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let mut new = old;
    change(&mut new);
    let interface = if node == 0 { settings.bridge() } else { settings.link(node) };
    if let Err(failure) = apply(&interface, new) {
        return apply(&interface, old).and(Err(failure));
    }
    let text = serde_json::to_string(&new).expect("invariant: two numbers can be written");
    std::fs::write(&record, text).map_err(at("write", &record))
}

fn apply(interface: &str, shape: Shape) -> Result {
    // There may be none to delete.
    program::succeeds(&["tc", "qdisc", "del", "dev", interface, "root"]);
    let mut parent = vec!["root"];
    let (delay, rate) = (format!("{}ms", shape.delay_ms), format!("{}mbit", shape.mbit));
    if shape.delay_ms > 0 {
        // The queue must hold what a fast link sends within the delay.
        queue(interface, &parent, &["handle", "1:", "netem", "delay", &delay, "limit", "100000"])?;
        parent = vec!["parent", "1:"];
    }
    if shape.mbit > 0 {
        queue(interface, &parent, &["tbf", "rate", &rate, "burst", "256kb", "latency", "200ms"])?;
    }
    Ok(())
}

fn queue(interface: &str, parent: &[&str], what: &[&str]) -> Result {
    let argv = [&["tc", "qdisc", "add", "dev", interface], parent, what].concat();
    program::quiet(&argv).map_err(|failure| {
        if failure.message.contains("qdisc kind is unknown") {
            return Failure::unavailable(format!("this kernel has no such queue: {failure}"));
        }
        failure
    })
}

/// Bytes the node's link has counted since it was made.
///
/// # Errors
/// The counters cannot be read.
pub(super) fn counters(settings: &Settings, node: u8) -> Result<Counters> {
    let base = PathBuf::from("/sys/class/net").join(settings.link(node)).join("statistics");
    let read = |name: &str| {
        let path = base.join(name);
        let text = std::fs::read_to_string(&path).map_err(at("read", &path))?;
        text.trim().parse().map_err(|error| Failure::new(format!("{}: {error}", path.display())))
    };
    // What the hub's end sends, the node receives.
    Ok(Counters { to_node: read("tx_bytes")?, from_node: read("rx_bytes")? })
}
