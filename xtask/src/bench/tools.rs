//! The synchronisers that are compared, each as one command line that serves all nodes.

use crate::failure::{Failure, Result, at};
use crate::lab::Lab;
use crate::workspace;
use std::path::Path;

/// Where the trees go on the nodes.
const TARGET: &str = "/opt/server";

const UNPACK: &str = "mkdir -p /opt/server && tar -C /opt/server -xp";
const SYNC: &str = "sync -f /opt/server";

/// How depsync is told what to do; `DEPSYNC_ARGS` replaces it.
const DEPSYNC_ARGS: &str =
    "push --source {src} --nodes {nodes} --identity {key} --known-hosts {kh} --max-delete 100%";

/// The tools by name, with what each stands for.
pub(super) const TOOLS: [(&str, &str); 13] = [
    ("seed", "rsync to one node after the other"),
    ("rsync-p", "rsync to all nodes at once"),
    ("rsync-z", "the same with zstd compression"),
    (
        "rsync-sync",
        "rsync to all nodes at once, each then made durable by a sync of its file system",
    ),
    ("depsync", "depsync, which may reuse its connections"),
    ("depsync-new", "depsync with new connections for every run"),
    ("tar", "a full copy without any comparison: what link and disks allow"),
    ("ssh-true", "a floor: a new connection to every node at once, and nothing else"),
    ("ssh-pipe", "a floor: the tree as one stream to every node at once, where it is dropped"),
    ("tar-sync", "a floor: a full copy made durable, without any comparison"),
    ("copy-sync", "a floor: the tree copied on each node's own disk, and made durable"),
    (
        "changed-sync",
        "a floor: the files that changed, and no others, over open connections, made durable",
    ),
    ("find", "a floor: a walk through the tree, then one for each node, side by side"),
];

/// Those that leave something out: what a tool that does all cannot go below. Nodes are not compared with the source.
const FLOORS: [&str; 6] = ["ssh-true", "ssh-pipe", "tar-sync", "copy-sync", "changed-sync", "find"];

/// The command line by which a tool brings `source` to all nodes.
///
/// # Errors
/// There is no such tool (code 2), or a file it needs cannot be written.
pub(super) fn command_line(tool: &str, lab: &Lab, source: &Path) -> Result<Vec<String>> {
    let hosts = hosts(lab)?;
    let source = source.display().to_string();
    let ssh = format!(
        "ssh -i {} -o UserKnownHostsFile={} -o BatchMode=yes",
        lab.hub("id").display(),
        lab.hub("known_hosts").display()
    );
    let rsync =
        |flags: &str, host: &str| format!("rsync {flags} -e '{ssh}' {source}/ {host}:{TARGET}/");
    let piped = |host: &str, script: &str| {
        format!("tar -C {source} -c . | {ssh} -c aes128-gcm@openssh.com {host} '{script}'")
    };
    let at_once = |one: &dyn Fn(&str) -> String| shell(&side_by_side(&hosts, one));
    Ok(match tool {
        "seed" => {
            let all: Vec<String> = hosts.iter().map(|host| rsync("--delete -arv", host)).collect();
            shell(&all.join("; "))
        }
        "rsync-p" => at_once(&|host| rsync("--delete -a", host)),
        "rsync-z" => at_once(&|host| rsync("--delete -az --zc=zstd", host)),
        "depsync" => depsync(lab, &source, &[])?,
        "depsync-new" => depsync(lab, &source, &["--ssh-reuse", "0"])?,
        "rsync-sync" => at_once(&|host| {
            format!("{{ {} && {ssh} {host} '{SYNC}'; }}", rsync("--delete -a", host))
        }),
        "tar" => at_once(&|host| piped(host, UNPACK)),
        "tar-sync" => at_once(&|host| piped(host, &format!("{UNPACK} && {SYNC}"))),
        // What is there is copied, whatever is sent; the first time it is brought there.
        "copy-sync" => at_once(&|host| {
            let copy = format!("cp -a {TARGET} {TARGET}-$$ && {SYNC}");
            piped(host, &format!("if test -e {TARGET}; then {copy}; else {UNPACK}; fi"))
        }),
        "changed-sync" => shell(&changed_sync(lab, &source, &ssh)?),
        "ssh-true" => at_once(&|host| format!("{ssh} {host} true")),
        "ssh-pipe" => at_once(&|host| piped(host, "cat >/dev/null")),
        "find" => {
            let walk = format!("find {source} -printf '%p %m %s %T@\\n' >/dev/null");
            shell(&format!("{walk}; {}", side_by_side(&hosts, &|_host| walk.clone())))
        }
        _ => return Err(Failure::unavailable(format!("there is no tool {tool} to compare"))),
    })
}

/// Sends the files that changed since the last run, which only the hub looks for; the first time all of them.
fn changed_sync(lab: &Lab, source: &str, ssh: &str) -> Result<String> {
    let [stamp, list, socket] =
        ["changed", "changed-list", "cm-%C"].map(|name| lab.hub(name).display().to_string());
    let open = format!("-o ControlMaster=auto -o ControlPersist=600 -o ControlPath={socket}");
    let look = format!(
        "if test -e {stamp}; then find {source} -type f -cnewer {stamp} -printf '%P\\0'; \
         else find {source} -mindepth 1 -printf '%P\\0'; fi >{list}; touch {stamp}"
    );
    let send = |host: &str| {
        format!(
            "tar -C {source} --null --no-recursion -T {list} -c | \
             {ssh} {open} -c aes128-gcm@openssh.com {host} '{UNPACK} && {SYNC}'"
        )
    };
    Ok(format!("{look}; {}", side_by_side(&hosts(lab)?, &send)))
}

fn side_by_side(hosts: &[String], one: &dyn Fn(&str) -> String) -> String {
    let all: Vec<String> = hosts.iter().map(|host| one(host)).collect();
    format!("{} & wait", all.join(" & "))
}

/// Whether a tool brings nothing to the nodes, whose trees are then not compared with the source.
pub(super) fn is_floor(tool: &str) -> bool {
    FLOORS.contains(&tool)
}

/// Whether a tool is depsync, which must be built first.
pub(super) fn is_depsync(tool: &str) -> bool {
    tool.starts_with("depsync")
}

/// The program under test: `DEPSYNC`, or the release build.
pub(super) fn depsync_path() -> String {
    let built = workspace::target().join("release").join("depsync");
    std::env::var("DEPSYNC").unwrap_or_else(|_unset| built.display().to_string())
}

/// depsync keeps its state beside the lab's, so that every lab starts without any.
fn depsync(lab: &Lab, source: &str, more: &[&str]) -> Result<Vec<String>> {
    let list = lab.hub("nodes-list.txt");
    let targets = lab.targets()?.join("\n") + "\n";
    std::fs::write(&list, targets).map_err(at("write", &list))?;
    let pattern = std::env::var("DEPSYNC_ARGS").unwrap_or_else(|_unset| DEPSYNC_ARGS.to_owned());
    let filled = pattern
        .replace("{src}", source)
        .replace("{nodes}", &list.display().to_string())
        .replace("{key}", &lab.hub("id").display().to_string())
        .replace("{kh}", &lab.hub("known_hosts").display().to_string());
    let state = format!("XDG_STATE_HOME={}", lab.hub("state").display());
    let words = ["env".to_owned(), state, depsync_path()];
    let arguments = filled.split_whitespace().chain(more.iter().copied()).map(str::to_owned);
    Ok(words.into_iter().chain(arguments).collect())
}

fn hosts(lab: &Lab) -> Result<Vec<String>> {
    let targets = lab.targets()?;
    Ok(targets.iter().filter_map(|target| Some(target.split_once(':')?.0.to_owned())).collect())
}

fn shell(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}
