//! An agent that lies: a real hub reaches it through an `ssh` that leads to this test, while an honest node stands beside it.
//!
//! After each lie the hub has ended in time and not with 0, has named the liar and why, has shown nothing unescaped, and
//! had no more memory than honest work needs; the honest node is at the release, or as it was where the run had to stop.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use depsync::model::entry::Timestamp;
use depsync::model::manifest::Manifest;
use depsync::model::patch::Near;
use depsync::model::plan::{Counts, Deletes};
use depsync::model::want::{Batches, Wanted};
use depsync::wire::frame::{self, HEADER_BYTES};
use depsync::wire::message::{Failed, FailedClass, Opened, Planned, ToAgent, ToHub};
use depsync::wire::preamble;
use rustix::fs::{FileType, Mode};

use crate::cluster::{Cluster, Outcome, stamps};
use crate::hostile_hub::content;

/// No run takes longer, on a machine that is busy with other tests.
const RUN_MAX: Duration = Duration::from_secs(50);
/// Memory of its own that a hub may have: its threads' stacks, an agent of its own, and 64 MiB for a lie.
const DATA_BYTES_MAX: u64 = (128 + 64) << 20;
/// Files of the source, each of [`content`]'s length; more than any pipe takes.
const FILES: usize = 12;

/// What is said to the hub, and what must come of the run.
pub(crate) struct Lie {
    pub(crate) name: &'static str,
    /// The exit code of the run.
    pub(crate) code: i32,
    /// A part of what is said of the liar.
    pub(crate) said: &'static str,
    /// The honest node gets the release all the same.
    pub(crate) goes_on: bool,
    /// It may be heard behind the decision: then it costs the liar alone, with exit code 3.
    pub(crate) may_be_late: bool,
    /// Options of the run.
    pub(crate) options: &'static [&'static str],
    pub(crate) act: fn(&mut Talk) -> Option<()>,
}

/// The liar's end of the conversation. Whatever gives `None` means that the hub has gone.
pub(crate) struct Talk {
    input: File,
    output: File,
    pub(crate) sequence: u32,
    due: u32,
    pub(crate) manifest: Option<Manifest>,
}

pub(crate) fn opened() -> Opened {
    Opened {
        release: None,
        pending: None,
        fence: 0,
        clock: Timestamp { seconds: 1_700_000_000, nanos: 0 },
        is_root: false,
        real_path: "/srv/tree".into(),
        notes: Vec::new(),
        free: None,
        holder: None,
    }
}

pub(crate) fn planned(wanted: Wanted) -> Planned {
    Planned {
        is_clean: false,
        counts: Counts { created: 30, updated: 0, deleted: 0, metadata: 0 },
        deletes: Deletes { lost: 0, of: 0 },
        wanted,
        near: Near::default(),
        notes: Vec::new(),
        refusal: None,
    }
}

pub(crate) fn failed(class: FailedClass, text: &str) -> ToHub {
    let text = text.to_owned();
    ToHub::Failed(Failed {
        class,
        kind: text.clone(),
        message: text.clone(),
        causes: vec![text.clone(); 3],
        hint: Some(text),
        holder: None,
    })
}

/// The first `count` chunks.
pub(crate) fn wanted(count: u64) -> Wanted {
    let mut wanted = Wanted::default();
    (0..count).for_each(|ordinal| wanted.push(ordinal));
    wanted
}

impl Talk {
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Option<()> {
        self.output.write_all(bytes).ok()
    }

    pub(crate) fn control(&mut self, control: &[u8]) -> Option<()> {
        let frame = frame::encode(self.sequence, control, 0);
        self.sequence += 1;
        self.raw(&frame)
    }

    pub(crate) fn say(&mut self, message: &ToHub) -> Option<()> {
        self.control(&message.encode())
    }

    /// The hub's next message but signs of life, with its bulk bytes.
    pub(crate) fn hear(&mut self) -> Option<(ToAgent, Vec<u8>)> {
        loop {
            let mut head = [0; HEADER_BYTES];
            self.input.read_exact(&mut head).ok()?;
            let header = frame::Header::parse(&head).expect("a hub's frame");
            let mut control = vec![0; header.control_bytes];
            self.input.read_exact(&mut control).ok()?;
            header.verify(self.due, &control).expect("a hub's frame");
            self.due += 1;
            let mut bulk = vec![0; header.bulk_bytes];
            self.input.read_exact(&mut bulk).ok()?;
            match ToAgent::decode(&control).expect("a hub's message") {
                ToAgent::Alive => {}
                message => return Some((message, bulk)),
            }
        }
    }

    /// Until the hub goes.
    pub(crate) fn hear_out(&mut self) -> Option<()> {
        while self.hear().is_some() {}
        None
    }

    pub(crate) fn greet(&mut self) -> Option<()> {
        self.raw(preamble::AGENT)?;
        let mut greeting = [0; preamble::HUB.len()];
        self.input.read_exact(&mut greeting).ok()?;
        assert_eq!(greeting, *preamble::HUB);
        Some(())
    }

    /// Until the hub wants the directory opened.
    pub(crate) fn asked(&mut self) -> Option<()> {
        self.greet()?;
        let (open, _) = self.hear()?;
        assert!(matches!(open, ToAgent::Open(_)), "{open:?}");
        Some(())
    }

    /// Until the offer.
    pub(crate) fn offered(&mut self) -> Option<()> {
        self.asked()?;
        self.say(&ToHub::Opened(opened()))?;
        let (offer, _) = self.hear()?;
        assert!(matches!(offer, ToAgent::Offer(_)), "{offer:?}");
        Some(())
    }

    /// Until the manifest is here.
    pub(crate) fn informed(&mut self) -> Option<()> {
        self.offered()?;
        self.say(&ToHub::Lacks { manifest: true, base: None })?;
        let mut bytes = Vec::new();
        loop {
            let (message, bulk) = self.hear()?;
            let ToAgent::Manifest(part) = message else { panic!("{message:?}") };
            bytes.extend(zstd::bulk::decompress(&bulk, part.raw_bytes).expect("a part"));
            if part.is_last {
                break;
            }
        }
        self.manifest = Some(Manifest::from_bytes(bytes).expect("a manifest"));
        Some(())
    }

    /// Until Stage, with `planned` as the plan.
    pub(crate) fn staging(&mut self, planned: Planned) -> Option<()> {
        self.informed()?;
        self.say(&ToHub::Planned(planned))?;
        let (stage, _) = self.hear()?;
        assert!(matches!(stage, ToAgent::Stage(_)), "{stage:?}");
        Some(())
    }

    /// Takes all batches of the first ten chunks, and keeps none.
    pub(crate) fn staged(&mut self) -> Option<()> {
        let wanted = wanted(10);
        self.staging(planned(wanted.clone()))?;
        let count = Batches::new(self.manifest.as_ref()?, &wanted).count();
        for _ in 0..count {
            let (batch, _) = self.hear()?;
            assert!(matches!(batch, ToAgent::Batch { .. }), "{batch:?}");
        }
        Some(())
    }

    /// Says that it is prepared, and waits for the decision.
    pub(crate) fn decided(&mut self) -> Option<()> {
        self.staged()?;
        self.say(&ToHub::Prepared)?;
        let (commit, _) = self.hear()?;
        assert!(matches!(commit, ToAgent::Commit { .. }), "{commit:?}");
        Some(())
    }
}

/// A source, an honest node, and an `ssh` that leads to whoever opens the two pipes.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let mut cluster = Cluster::new(1);
        cluster.wrapper = vec!["prlimit".into(), format!("--data={DATA_BYTES_MAX}")];
        for at in 0..FILES {
            cluster.write(format!("dir/f{at:02}"), content(at));
        }
        cluster.write_on(0, "old", "what is live");
        let at = |name: &str| cluster.path().join(name);
        fs::create_dir(at("bin")).expect("a directory");
        for name in ["in", "out"] {
            let mode = Mode::RUSR | Mode::WUSR;
            rustix::fs::mknodat(rustix::fs::CWD, at(name), FileType::Fifo, mode, 0)
                .expect("a pipe");
        }
        let text = format!(
            "#!/bin/sh\ncat <'{}' &\nexec cat >'{}'\n",
            at("out").display(),
            at("in").display()
        );
        crate::ssh_server::script(&at("bin/ssh"), &text);
        let config = "[ssh]\nagent = \"/usr/bin/depsync\"\nreuse = \"0s\"\n";
        fs::write(at("depsync.toml"), config).expect("a configuration");
        Self { cluster }
    }

    /// Begins to listen as the agent; `act` is called once for the one contact there is.
    pub(crate) fn listen(&self, act: impl FnOnce(&mut Talk) + Send + 'static) {
        let at = |name: &str| self.cluster.path().join(name);
        let (input, output) = (at("in"), at("out"));
        // Whoever is not called waits at the pipe for ever, and ends with the test.
        std::thread::spawn(move || {
            let Ok(output) = File::options().write(true).open(output) else { return };
            let Ok(input) = File::open(input) else { return };
            let mut talk = Talk { input, output, sequence: 0, due: 0, manifest: None };
            act(&mut talk);
        });
    }

    fn command(&self, what: &str, options: &[&str]) -> Command {
        let mut command = self.cluster.command(what);
        let path = std::env::var("PATH").unwrap_or_default();
        let bin = self.cluster.path().join("bin");
        command.env("PATH", format!("{}:{path}", bin.display()));
        command
            .arg("--source")
            .arg(self.cluster.source())
            .arg("--node")
            .arg(&self.cluster.nodes[0]);
        command.args(["--node", "liar:/srv/tree"]);
        command.args(["--connect-timeout", "10s"]).args(options);
        if !options.contains(&"--timeout") {
            command.args(["--timeout", "10s"]);
        }
        command
    }

    pub(crate) fn run(&self, what: &str, options: &[&str]) -> Outcome {
        Outcome::of(&mut self.command(what, options))
    }
}

fn line(outcome: &Outcome) -> String {
    let is_liars =
        |line: &&serde_json::Value| line["type"] == "node" && line["target"] == "liar:/srv/tree";
    outcome.lines.iter().find(is_liars).map(ToString::to_string).unwrap_or_default()
}

fn is_plain(text: &str) -> bool {
    text.chars().all(|character| character == '\n' || !character.is_control())
}

/// Tells every lie of `lies` to a hub of its own; all that go wrong are named by their panics.
pub(crate) fn tell(lies: &[Lie]) {
    let goes_wrong = |lie: &&Lie| std::panic::catch_unwind(|| tell_one(lie)).is_err();
    let wrong: Vec<_> = lies.iter().filter(goes_wrong).map(|lie| lie.name).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn tell_one(lie: &Lie) {
    let (name, act) = (lie.name, lie.act);
    let scene = Scene::new();
    let node: &Path = &scene.cluster.nodes[0];
    let before = stamps(node);
    scene.listen(move |talk| {
        act(talk);
    });
    let started = Instant::now();
    let outcome = scene.run("push", lie.options);
    assert!(started.elapsed() < RUN_MAX, "{name}: {:?}", started.elapsed());
    let liar = line(&outcome);
    let is_late = lie.may_be_late && outcome.code == Some(3);
    assert!(is_late || outcome.code == Some(lie.code), "{name}: {liar} {outcome:?}");
    assert_ne!(lie.code, 0, "{name}");
    assert!(is_late || liar.contains(lie.said), "{name}: {liar}");
    assert!(!liar.contains("\"committed\"") && !liar.contains("\"unchanged\""), "{name}: {liar}");
    assert!(is_plain(&outcome.stderr), "{name}: {:?}", outcome.stderr);
    if lie.goes_on || is_late {
        scene.cluster.assert_same();
    } else {
        assert!(stamps(node) == before, "{name}: the honest node was touched");
    }
    assert_eq!(scene.cluster.staged(0), Vec::<PathBuf>::new(), "{name}");
}
