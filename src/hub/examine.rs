//! What would fail in a run, and what to do about it: the hub itself and every node are looked at, and nothing is changed.
//!
//! Nodes are reached over connections of their own, since one that is still open would hide a login that fails by now. An
//! agent is uploaded where it is missing, as for a plan; that is all a node keeps of it. Start at [`run`].

mod own;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::early::Contact;
use super::options::RunOptions;
use super::outcome::{Failure, NodeOutcome, RunOutcome, Verdict};
use super::reach::{Direct, Reach};
use super::stop::{Stop, Urgency};
use super::{FAR, channel};
use crate::link::HANDSHAKES_MAX;
use crate::model::codec::Writer;
use crate::model::manifest::Header;
use crate::model::rules::Rules;
use crate::model::target::Target;
use crate::model::untrusted::escaped_once;
use crate::node::examine::{Findings, told};
use crate::os::{clock, host};
use crate::wire::message::{
    self, Examine, Examined, Identity, Logins, Open, Part, SourcePlace, ToAgent, ToHub, Txid,
};

/// How long the last words to an agent may take, and its end.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);
/// How long an agent may look: longer than its own bounds. Beyond, something that it looks at does not answer.
const LOOK_TIMEOUT: Duration = Duration::from_mins(2);
/// How long the hub may look at its own state.
const OWN_TIMEOUT: Duration = Duration::from_mins(1);
/// How long the way to the source may take to show itself, on which only one check of a node rests.
const PLACE_TIMEOUT: Duration = Duration::from_secs(5);

/// One thing that would fail, or is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where; none for the hub itself.
    pub target: Option<Target>,
    /// What.
    pub found: message::Finding,
}

/// What a look at hub and nodes came to.
#[derive(Debug, Clone)]
pub struct Examination {
    /// That of the run: [`Verdict::Done`] without findings, [`Verdict::Diff`] with any.
    pub outcome: RunOutcome,
    /// The hub's first, then those of each node in the order of the list.
    pub findings: Vec<Finding>,
}

/// Looks at the hub and at all nodes of `options`, at most `options.parallel` at once.
///
/// Guarantees: asks nobody for anything; returns within `options.deadline` and a little; takes no lock and no lease, makes
/// no state, learns no host key. A node that cannot be reached has exactly one finding.
pub fn run(options: &RunOptions, stop: &Stop) -> Examination {
    match super::new_runtime() {
        Ok(runtime) => {
            let reach: Arc<dyn Reach> = Arc::new(Direct);
            let examination = runtime.block_on(examine(&reach, options, stop));
            // A thread stuck in a dead mount must not hold the program.
            runtime.shutdown_background();
            examination
        }
        Err(error) => {
            let mut found = Findings::default();
            let message = format!("this process cannot open the files that any run needs: {error}");
            found.error("open-files", message, own::OPEN_FILES_HINT);
            let findings = of_hub(found);
            Examination {
                outcome: RunOutcome { verdict: Verdict::Diff, ..RunOutcome::nothing() },
                findings,
            }
        }
    }
}

async fn examine(reach: &Arc<dyn Reach>, options: &RunOptions, stop: &Stop) -> Examination {
    let started = Instant::now();
    let deadline = started + options.deadline.min(FAR);
    let flag = Arc::new(AtomicBool::new(false));
    let mut wishes = stop.subscribe();
    let findings = tokio::select! {
        findings = all(reach, options, deadline, &flag) => Ok(findings),
        wish = wishes.wait_for(|wish| wish.urgency > Urgency::None) => {
            Err(wish.is_ok_and(|wish| wish.by_terminal))
        }
    };
    flag.store(true, Ordering::Relaxed);
    let mut outcome = RunOutcome::nothing();
    outcome.duration = started.elapsed();
    outcome.nodes = options.targets.iter().cloned().map(NodeOutcome::unknown).collect();
    match findings {
        Ok(findings) => {
            outcome.verdict = if findings.is_empty() { Verdict::Done } else { Verdict::Diff };
            Examination { outcome, findings }
        }
        Err(by_terminal) => {
            let verdict = Verdict::Interrupted { by_terminal };
            let said = Failure::said(verdict, "interrupted", "the look was interrupted", None);
            (outcome.verdict, outcome.failure) = (verdict, Some(said));
            Examination { outcome, findings: Vec::new() }
        }
    }
}

async fn all(
    reach: &Arc<dyn Reach>,
    options: &RunOptions,
    deadline: Instant,
    flag: &Arc<AtomicBool>,
) -> Vec<Finding> {
    let mut found = Findings::default();
    let has_ssh = own::check_ssh(options, &mut found).await;
    let (hub_options, source_options, flag) = (options.clone(), options.clone(), Arc::clone(flag));
    let own = tokio::task::spawn_blocking(move || own::machine(&hub_options));
    let source = tokio::task::spawn_blocking(move || own::source(&source_options, &flag));
    let nodes = nodes(reach, options, has_ssh, deadline).await;
    let mut findings = of_hub(found);
    let own_deadline = deadline.min(Instant::now() + OWN_TIMEOUT);
    for (looking, until, what) in
        [(own, own_deadline, "the state directory"), (source, deadline, "the source")]
    {
        let looked = tokio::time::timeout_at(until, looking).await;
        let found = looked.ok().and_then(Result::ok).unwrap_or_else(|| {
            let mut found = Findings::default();
            let message = format!("{what} could not be looked at in time");
            let hint = "is it on a mount that does not answer? --deadline bounds the whole look";
            found.error("deadline", message, hint);
            found
        });
        findings.extend(of_hub(found));
    }
    findings.extend(nodes);
    findings
}

fn of_hub(found: Findings) -> Vec<Finding> {
    found.into_inner().into_iter().map(|found| Finding { target: None, found }).collect()
}

/// Asks the nodes, all at once as far as `-j` allows.
async fn nodes(
    reach: &Arc<dyn Reach>,
    options: &RunOptions,
    has_ssh: bool,
    deadline: Instant,
) -> Vec<Finding> {
    let looking = tokio::task::spawn_blocking({
        let options = options.clone();
        move || own::place(&options)
    });
    let looked = tokio::time::timeout(PLACE_TIMEOUT, looking).await;
    let (place, source) = looked.ok().and_then(Result::ok).unwrap_or_default();
    let source = source.unwrap_or_else(|| options.source.clone());
    let options = &RunOptions { source, ..options.clone() };
    let slots = Arc::new(Semaphore::new(options.parallel.max(1)));
    let mut asking = JoinSet::new();
    for (at, target) in options.targets.iter().enumerate() {
        if !has_ssh && matches!(target, Target::Ssh(_)) {
            // That there is no ssh is told once, of the hub.
            continue;
        }
        let (reach, slots, target) = (Arc::clone(reach), Arc::clone(&slots), target.clone());
        let wanted = wanted(options, at, &target, place.clone());
        let options = quiet(options);
        asking.spawn(async move {
            let slot = slots.acquire_owned().await;
            let asked = ask(&*reach, &target, &options, wanted);
            let asked = match tokio::time::timeout_at(deadline, asked).await {
                Ok(asked) => asked,
                Err(_elapsed) => Asked::failed(&Failure::said(
                    Verdict::Fail,
                    "deadline",
                    "it was not looked at before the deadline",
                    Some("raise --deadline, or look at that node alone with --limit"),
                )),
            };
            drop(slot);
            (at, target, asked)
        });
    }
    let mut all = asking.join_all().await;
    all.sort_by_key(|(at, ..)| *at);
    match options.node.share {
        Some(_) => tell_other_shares(&mut all),
        None => tell_doubles(&mut all),
    }
    let of_node = |(_, target, asked): (usize, Target, Asked)| {
        let found = asked.0.findings.into_iter();
        found.map(move |found| Finding { target: Some(target.clone()), found })
    };
    all.into_iter().flat_map(of_node).collect()
}

/// What a node answered, or what it did not.
struct Asked(Examined);

impl Asked {
    fn failed(failure: &Failure) -> Self {
        let mut found = Findings::default();
        add(failure, &mut found);
        Self(Examined { directory: None, share: None, findings: found.into_inner() })
    }
}

/// Two targets that are one directory: the second would find its lease taken by the very same run.
fn tell_doubles(all: &mut [(usize, Target, Asked)]) {
    let mut seen: Vec<(Identity, String)> = Vec::new();
    for (_, target, asked) in all {
        let directory = asked.0.directory.take().filter(|directory| !directory.boot.is_empty());
        let Some(directory) = directory else { continue };
        if let Some((_, first)) = seen.iter().find(|(other, _)| *other == directory) {
            let mut found = Findings::default();
            let message = format!("it is the same directory as {first}");
            found.error("same-directory", message, "list each directory once; where all nodes mount one file system, set approach = \"shared\" in [storage]");
            asked.0.findings.extend(found.into_inner());
        } else {
            seen.push((directory, target.to_string()));
        }
    }
}

/// Nodes that do not show what the first of them shows that has seen a push.
fn tell_other_shares(all: &mut [(usize, Target, Asked)]) {
    let mut seen = all.iter().filter_map(|(at, _, asked)| Some((*at, asked.0.share?)));
    let Some((first, journal)) = seen.next() else { return };
    let name = all.iter().find(|(at, ..)| *at == first).map(|(_, target, _)| target.to_string());
    let name = name.unwrap_or_default();
    // Of a node that could not be looked at as far as this, why is told.
    let looked = all.iter_mut().filter(|(.., asked)| asked.0.directory.is_some());
    for (_, _, asked) in looked.filter(|(.., asked)| asked.0.share != Some(journal)) {
        let mut found = Findings::default();
        let message =
            format!("it does not show the journal that {name} shows: it is another share");
        let hint = "mount the same share on every node; if a push is under way, look again";
        found.error("other-share", message, hint);
        asked.0.findings.extend(found.into_inner());
    }
}

/// The same options, but nothing is remembered on the hub, and no open connection is used.
fn quiet(options: &RunOptions) -> RunOptions {
    let mut options = options.clone();
    options.link.reuse = Duration::ZERO;
    options.link.accept_new_host_keys = false;
    options.link.control_dir = std::path::PathBuf::new();
    // ssh itself learns further keys of hosts that it knows.
    options.link.ssh_options.push("UpdateHostKeys=no".to_owned());
    options
}

fn wanted(options: &RunOptions, at: usize, target: &Target, source: SourcePlace) -> Examine {
    let name = options.state_dir.file_name().unwrap_or_default();
    Examine {
        open: Open {
            // No lease is taken in its name.
            run: Txid([0; 16]),
            cluster: name.to_string_lossy().into_owned(),
            holder: format!("doctor, process {} on {}", host::process_id(), host::name()),
            directory: target.directory().to_vec(),
            state_dir: options.node.state_dir.clone(),
            make_path: options.node.make_path,
            clock: clock::wall(),
            read_only: true,
            source,
            looks_only: false,
            number: u32::try_from(at).unwrap_or(u32::MAX),
            mounted: options.node.mounted(Part::Witness),
        },
        header: header(options),
        commit: options.node.commit,
        min_free_percent: options.guard.min_free_percent,
        logins: logins(options, target),
    }
}

/// Trees and rules as the release of a push would have them, but for the rules in files, which nodes have themselves.
fn header(options: &RunOptions) -> Vec<u8> {
    let source = &options.source;
    let header = Header {
        trees: source.trees.clone(),
        capture: source.capture,
        owner: source.owner.clone(),
        rules: Rules {
            ignore: source.ignore.clone(),
            files: Vec::new(),
            protect: source.protect.clone(),
        },
    };
    let mut writer = Writer::new();
    header.encode(&mut writer);
    writer.finish()
}

/// What a push with these options asks of the sshd of `target` at most. Each target that is worked on at once has a session, on
/// one connection where connections are reused; each may have to log in, though not all of them at the same moment. One more
/// than a single target needs is asked for, so that a person can log in meanwhile.
fn logins(options: &RunOptions, target: &Target) -> Option<Logins> {
    let Target::Ssh(target) = target else { return None };
    let is_there = |other: &&Target| matches!(other, Target::Ssh(other) if (&other.host, other.port) == (&target.host, target.port));
    let targets = options.targets.iter().filter(is_there).count();
    let at_once = targets.min(options.parallel.max(1));
    let sessions = if options.link.reuse.is_zero() { 1 } else { at_once.max(2) };
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Some(Logins { startups: number(at_once.clamp(2, HANDSHAKES_MAX)), sessions: number(sessions) })
}

async fn ask(
    reach: &dyn Reach,
    target: &Target,
    options: &RunOptions,
    mut wanted: Examine,
) -> Asked {
    let Contact { mut channel, session } = match Contact::make(reach, target, options).await {
        Ok(contact) => contact,
        Err(error) => return Asked::failed(&Failure::from(&error)),
    };
    let mut found = Findings::default();
    for note in session.notes() {
        let hint = "have the shell's start files print on a terminal alone: [ -t 1 ] || return";
        found.warning("shell-noise", note.clone(), hint);
    }
    wanted.open.clock = clock::wall();
    let answer = async {
        channel.send(&ToAgent::Examine(wanted)).await?;
        channel.receive().await
    };
    let answered: Result<ToHub, channel::Error> =
        match tokio::time::timeout(LOOK_TIMEOUT, answer).await {
            Ok(answered) => answered,
            Err(_elapsed) => Err(channel::Error::Silent { seconds: LOOK_TIMEOUT.as_secs() }),
        };
    channel.finish(CLOSE_DEADLINE).await;
    // What it says at its end adds nothing.
    let _closed = session.close(CLOSE_DEADLINE).await;
    let Asked(mut examined) = match answered {
        Ok(ToHub::Examined(examined)) => Asked(Examined {
            directory: examined.directory,
            share: examined.share,
            findings: examined.findings.iter().map(shown).collect(),
        }),
        Ok(ToHub::Failed(told)) => Asked::failed(&told.into()),
        Ok(_) => {
            let message = "the agent broke the protocol: it did not say what it found";
            Asked::failed(&Failure::said(Verdict::Integrity, "protocol", message, None))
        }
        Err(error) => Asked::failed(&Failure::from(&error)),
    };
    examined.findings.splice(..0, found.into_inner());
    Asked(examined)
}

/// A finding of a node, which may be a hostile one.
fn shown(found: &message::Finding) -> message::Finding {
    message::Finding {
        check: escaped_once(&found.check),
        level: found.level,
        message: escaped_once(&found.message),
        hint: escaped_once(&found.hint),
    }
}

/// A failure as the one finding that it is.
fn add(failure: &Failure, found: &mut Findings) {
    let message = told(&failure.message, &failure.causes).replace('\n', "; ");
    let usual = match &*failure.kind {
        "refused" => "start sshd there, or correct the port of the target",
        "no-route" | "timeout" => {
            "see whether the host is up, and whether a firewall is in between"
        }
        "connection-lost" | "stream" => "look into the log of sshd on the node",
        "ssh" | "ssh-config" | "ssh-option" | "negotiation" => {
            "try `ssh` to it by hand from here, and mend what it says"
        }
        "hub" => "mend that on this host",
        _ => "mend what the message says",
    };
    found.error(&failure.kind, message, failure.hint.as_deref().unwrap_or(usual));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::target::LocalPath;
    use crate::wire::message::Level;

    #[test]
    fn fault_154_what_a_hostile_node_finds_moves_no_terminal() {
        let found = message::Finding {
            check: "\u{1b}[31m".into(),
            level: Level::Error,
            message: "two\nlines \u{202e}".into(),
            hint: "fine, with \\xff as its node escaped it".into(),
        };
        let shown = shown(&found);
        assert_eq!(shown.check, "\\u{1b}[31m");
        assert_eq!(shown.message, "two\\nlines \\u{202e}");
        assert_eq!(shown.hint, found.hint);
    }

    #[test]
    fn two_names_for_one_directory_are_told_of_the_second() {
        let base = LocalPath::new(b"/").expect("a path");
        let asked = |name: &str, boot: &str, inode| {
            let target = Target::parse(name.as_bytes(), &base).expect("a target");
            let directory = Some(Identity { boot: boot.to_owned(), device: 1, inode });
            (0, target, Asked(Examined { directory, share: None, findings: Vec::new() }))
        };
        let mut all = [
            asked("a:x", "b1", 7),
            asked("b:x", "b2", 7),
            asked("c:y", "b1", 7),
            asked("d:y", "", 7),
            asked("e:y", "", 7),
        ];
        tell_doubles(&mut all);
        let counts: Vec<usize> = all.iter().map(|(.., asked)| asked.0.findings.len()).collect();
        assert_eq!(counts, [0, 0, 1, 0, 0]);
        assert_eq!(all[2].2.0.findings[0].message, "it is the same directory as a:x");
    }
}
