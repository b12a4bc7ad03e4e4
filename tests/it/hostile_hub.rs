//! A hub that lies: it speaks the real protocol to a real agent, and says in it what no hub would.
//!
//! After each lie the agent has ended and told why, the tree and all around it are as they were, its memory stayed within
//! bounds, and the next contact finds no stage. The lies themselves are in the files beside this one, by theme.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use depsync::model::codec::Writer;
use depsync::model::digest::{Digest, Domain};
use depsync::model::entry::{Chunk, Content, Entry, Kind, Meta, Segment, Timestamp};
use depsync::model::keep::Keep;
use depsync::model::manifest::{Body, Header, Manifest, OwnerPolicy};
use depsync::model::path::TreePath;
use depsync::model::plan::{CommitStyle, MaxDelete};
use depsync::model::want::Batches;
use depsync::wire::frame::{self, HEADER_BYTES};
use depsync::wire::message::{
    FailedClass, ManifestPart, Mounted, Offer, Open, Packing, Planned, SourcePlace, Stage, ToAgent,
    ToHub, Txid,
};
use depsync::wire::preamble;

use crate::cluster::{Name, names_below, stamps};

/// No answer takes longer, on a machine that is busy with other tests.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// What an honest conversation takes at most, in a debug build, and 64 MiB for a lie.
const PEAK_KIB_MAX: u64 = (48 + 64) * 1024;
/// Bytes of each file of the release: one chunk, and six of them start within one batch.
const FILE_BYTES: usize = 100_000;
pub(crate) const FILES: usize = 8;

pub(crate) const TXID: Txid = Txid([7; 16]);

/// What is said, and what the agent must say to it.
pub(crate) struct Lie {
    pub(crate) name: &'static str,
    /// Class and kind of the failure, and a part of its words; none where the agent just ends.
    pub(crate) told: Option<(FailedClass, &'static str, &'static str)>,
    pub(crate) act: fn(&mut Talk),
}

/// A node with a tree, a place outside that must not be touched, and an agent that is talked to.
pub(crate) struct Talk {
    pub(crate) directory: tempfile::TempDir,
    /// What the lie is about; an honest one to begin with.
    pub(crate) open: Open,
    pub(crate) offer: Offer,
    /// The manifest's bytes as they are sent.
    pub(crate) manifest: Vec<u8>,
    pub(crate) stage: Stage,
    agent: Child,
    input: Option<ChildStdin>,
    heard: Receiver<ToHub>,
    pub(crate) sequence: u32,
    peak_kib: u64,
    /// The last word, where it was heard before the end.
    pub(crate) last: Option<ToHub>,
}

/// The bytes of one file of the release: nothing that compresses, and unlike any other.
pub(crate) fn content(at: usize) -> Vec<u8> {
    let mut seed = at as u64 + 1;
    std::iter::repeat_with(|| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()
    })
    .flatten()
    .take(FILE_BYTES)
    .collect()
}

pub(crate) fn header() -> Header {
    Header { owner: OwnerPolicy::Agent, ..Header::plain() }
}

pub(crate) fn entry(path: &str, kind: Kind) -> Entry {
    let mode = if matches!(kind, Kind::Symlink(_) | Kind::HardLink(_)) { 0 } else { 0o755 };
    let path = TreePath::new(path.as_bytes()).expect("a path");
    Entry { path, kind, meta: Meta { mode, ..Meta::default() } }
}

pub(crate) fn file(at: usize) -> Kind {
    let bytes = content(at);
    let digest = Digest::of(Domain::Chunk, &bytes);
    let bytes = u32::try_from(bytes.len()).expect("short");
    Kind::File(Content::new([Segment::Chunk(Chunk { digest, bytes })]))
}

/// The root, a directory, and its files.
pub(crate) fn entries() -> Vec<Entry> {
    let root = Entry { path: TreePath::root(), ..entry("x", Kind::Directory) };
    let files = (0..FILES).map(|at| entry(&format!("dir/f{at}"), file(at)));
    [root, entry("dir", Kind::Directory)].into_iter().chain(files).collect()
}

/// The bytes that a manifest of `entries` would be, whether they may be one or not.
pub(crate) fn manifest_bytes(header: &Header, entries: &[Entry]) -> Vec<u8> {
    let mut writer = Writer::new();
    header.encode(&mut writer);
    let mut body = Body::default();
    for entry in entries {
        body.push(entry).expect("no special file");
    }
    writer.raw(&body.finish());
    writer.finish()
}

pub(crate) fn header_bytes(header: &Header) -> Vec<u8> {
    let mut writer = Writer::new();
    header.encode(&mut writer);
    writer.finish()
}

pub(crate) fn packed(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 1).expect("compressed")
}

impl Talk {
    /// A fresh node, and an agent that has been greeted.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        for name in ["n0/tree/dir", "n0/other", "outside/secret"] {
            fs::create_dir_all(at(name)).expect("a directory");
        }
        fs::write(at("n0/tree/dir/old"), "what is live").expect("a file");
        fs::write(at("n0/tree/kept"), "what is live as well").expect("a file");
        fs::write(at("outside/secret/canary"), "untouched").expect("a file");
        std::os::unix::fs::symlink(at("outside"), at("n0/way-out")).expect("a link");
        let manifest = manifest_bytes(&header(), &entries());
        let open = Open {
            run: TXID,
            cluster: "shop".into(),
            holder: "a liar".into(),
            directory: at("n0/tree").into_os_string().into_encoded_bytes(),
            state_dir: None,
            make_path: false,
            clock: Timestamp { seconds: 1_700_000_000, nanos: 0 },
            read_only: false,
            source: SourcePlace::default(),
            looks_only: false,
            number: 0,
            mounted: Mounted::OWN,
        };
        let offer = Offer {
            release: Digest::of(Domain::Tree, &manifest),
            header: header_bytes(&header()),
            no_delete: false,
            max_delete: MaxDelete::Percent(100),
            list_changes: false,
            reread: false,
            read_rate: None,
            force: false,
            min_free_percent: 0,
            commit: CommitStyle::InPlace,
        };
        let stage = Stage { txid: TXID, fence: 10, keep: Keep { releases: 1, ..Keep::default() } };
        let (agent, input, heard) = start(&directory);
        let (input, sequence, peak_kib, last) = (Some(input), 0, 0, None);
        Self {
            directory,
            open,
            offer,
            manifest,
            stage,
            agent,
            input,
            heard,
            sequence,
            peak_kib,
            last,
        }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes what no frame need be. An agent that has gone reads nothing any more.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        if let Some(input) = &mut self.input
            && input.write_all(bytes).and_then(|()| input.flush()).is_err()
        {
            self.input = None;
        }
        self.measure();
    }

    pub(crate) fn greet(&mut self) {
        self.raw(preamble::HUB);
    }

    /// Sends control bytes in a frame that is right.
    pub(crate) fn control(&mut self, control: &[u8], bulk: &[u8]) {
        let frame = frame::encode(self.sequence, control, bulk.len());
        self.sequence += 1;
        self.raw(&[&frame, bulk].concat());
    }

    pub(crate) fn send(&mut self, message: &ToAgent) {
        self.control(&message.encode(), &[]);
    }

    /// The hub is there no more.
    pub(crate) fn end(&mut self) {
        self.input = None;
    }

    /// The next message but signs of life; none at the end of the stream.
    pub(crate) fn hear(&mut self) -> Option<ToHub> {
        let heard = self.heard.recv_timeout(ANSWER_MAX);
        self.measure();
        match heard {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the agent neither answers nor ends"),
        }
    }

    /// Hears until nothing has come for `patience`, or the agent has committed or ended.
    pub(crate) fn hear_out(&mut self, patience: Duration) {
        while let Ok(message) = self.heard.recv_timeout(patience) {
            if matches!(message, ToHub::Committed { .. } | ToHub::Failed(_)) {
                self.last = Some(message);
                break;
            }
        }
        self.measure();
    }

    fn measure(&mut self) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.agent.id()));
        let peak = status.ok().and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.trim().strip_suffix(" kB")?.parse().ok()
        });
        self.peak_kib = self.peak_kib.max(peak.unwrap_or(0));
    }

    pub(crate) fn opened(&mut self) {
        self.greet();
        self.send(&ToAgent::Open(self.open.clone()));
        let heard = self.hear();
        assert!(matches!(heard, Some(ToHub::Opened(_))), "{heard:?}");
    }

    pub(crate) fn offered(&mut self) {
        self.opened();
        self.send(&ToAgent::Offer(self.offer.clone()));
        let heard = self.hear();
        assert!(matches!(heard, Some(ToHub::Lacks { manifest: true, .. })), "{heard:?}");
    }

    /// Sends one part, which is all of it if `is_last`.
    pub(crate) fn part(&mut self, raw_bytes: usize, packed: &[u8], is_last: bool) {
        let part = ManifestPart { base: None, raw_bytes, is_last };
        self.control(&ToAgent::Manifest(part).encode(), packed);
    }

    pub(crate) fn send_manifest(&mut self) {
        let manifest = self.manifest.clone();
        self.part(manifest.len(), &packed(&manifest), true);
    }

    pub(crate) fn planned(&mut self) -> Planned {
        self.offered();
        self.send_manifest();
        match self.hear() {
            Some(ToHub::Planned(planned)) => planned,
            other => panic!("no plan: {other:?}"),
        }
    }

    /// Up to Stage; gives what each batch must hold.
    pub(crate) fn staging(&mut self) -> Vec<Vec<u8>> {
        let planned = self.planned();
        self.send(&ToAgent::Stage(self.stage.clone()));
        let manifest = Manifest::from_bytes(self.manifest.clone()).expect("an honest manifest");
        let batches = Batches::new(&manifest, &planned.wanted);
        let bytes = |site: &depsync::model::want::Site| {
            content(usize::try_from(site.ordinal).expect("small"))
        };
        let batches: Vec<Vec<u8>> =
            batches.map(|batch| batch.sites.iter().flat_map(bytes).collect()).collect();
        assert_eq!(batches.len(), 2, "what the lies are about");
        batches
    }

    pub(crate) fn batch(&mut self, packing: Packing, bulk: &[u8]) {
        self.control(&ToAgent::Batch { packing }.encode(), bulk);
    }

    pub(crate) fn prepared(&mut self) {
        for batch in self.staging() {
            self.batch(Packing::Plain, &batch);
        }
        let heard = self.hear();
        assert_eq!(heard, Some(ToHub::Prepared));
    }

    /// Ends this contact, and begins another with the same node.
    pub(crate) fn again(&mut self) {
        self.end();
        while self.hear().is_some() {}
        self.agent.wait().expect("its end");
        let (agent, input, heard) = start(&self.directory);
        (self.agent, self.input, self.heard, self.sequence) = (agent, Some(input), heard, 0);
    }

    /// Waits for the end of the agent, which must come; gives its exit code and its last words.
    pub(crate) fn finish(&mut self) -> (Option<i32>, Option<ToHub>) {
        let mut last = None;
        while let Some(message) = self.hear() {
            last = Some(message);
        }
        self.end();
        (self.agent.wait().expect("its end").code(), last)
    }

    /// What the agent printed, which is nothing but where it panicked.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.at("stderr")).expect("a file")
    }

    /// Opens the node as an honest hub does, and fails unless nothing is left of what was staged.
    pub(crate) fn assert_no_stage(&mut self) {
        self.again();
        self.greet();
        self.open = Open { state_dir: None, read_only: false, ..self.open.clone() };
        self.open.directory = self.at("n0/tree").into_os_string().into_encoded_bytes();
        self.send(&ToAgent::Open(self.open.clone()));
        let Some(ToHub::Opened(opened)) = self.hear() else { panic!("the node is not usable") };
        if let Some(pending) = opened.pending {
            self.send(&ToAgent::Settle { txid: pending.txid, decided: false });
            let settled = self.hear();
            assert!(matches!(settled, Some(ToHub::Settled { .. })), "{settled:?}");
        }
        self.end();
        let (code, last) = self.finish();
        assert_eq!((code, last), (Some(0), None));
        let stage = fs::read_dir(self.at("n0/.depsync/tree/stage")).expect("a state");
        assert_eq!(stage.count(), 0, "the stage is empty");
    }
}

/// An agent that may work below `n0` alone, with memory for honest work and little more.
fn start(directory: &tempfile::TempDir) -> (Child, ChildStdin, Receiver<ToHub>) {
    let stderr = fs::File::create(directory.path().join("stderr")).expect("a file");
    let mut command = Command::new("prlimit");
    command.arg(format!("--data={}", PEAK_KIB_MAX * 1024)).arg(env!("CARGO_BIN_EXE_depsync"));
    command.arg("agent").arg("--restrict").arg(directory.path().join("n0"));
    command.env("HOME", directory.path().join("n0")).current_dir(directory.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
    let mut agent = command.spawn().expect("an agent");
    let (input, mut output) = (agent.stdin.take().unwrap(), agent.stdout.take().unwrap());
    let (says, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let mut greeting = [0; preamble::AGENT.len()];
        if output.read_exact(&mut greeting).is_err() || greeting != *preamble::AGENT {
            return;
        }
        while let Some(message) = read_message(&mut output) {
            if message != ToHub::Alive && says.send(message).is_err() {
                break;
            }
        }
    });
    (agent, input, heard)
}

/// The next message of an agent; none at its end. What an agent says is right, or the test fails by hearing nothing.
pub(crate) fn read_message(output: &mut impl Read) -> Option<ToHub> {
    let mut head = [0; HEADER_BYTES];
    output.read_exact(&mut head).ok()?;
    let header = frame::Header::parse(&head).ok()?;
    let mut control = vec![0; header.control_bytes];
    output.read_exact(&mut control).ok()?;
    ToHub::decode(&control).ok()
}

pub(crate) type Looks = (BTreeMap<PathBuf, [i64; 8]>, BTreeMap<PathBuf, Name>);

pub(crate) fn looks(talk: &Talk) -> Looks {
    (stamps(&talk.at("n0/tree")), names_below(&talk.at("outside")))
}

/// Tells every lie of `lies` to a node of its own; all that go wrong are named by their panics.
pub(crate) fn tell(lies: &[Lie]) {
    let goes_wrong = |lie: &&Lie| std::panic::catch_unwind(|| tell_one(lie)).is_err();
    let wrong: Vec<_> = lies.iter().filter(goes_wrong).map(|lie| lie.name).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn tell_one(lie: &Lie) {
    let name = lie.name;
    let mut talk = Talk::new();
    let before = looks(&talk);
    let started = Instant::now();
    (lie.act)(&mut talk);
    let (code, last) = talk.finish();
    match (lie.told, &last) {
        (Some((class, kind, words)), Some(ToHub::Failed(failed))) => {
            let said = format!("{} {}", failed.message, failed.causes.join(" "));
            assert_eq!((failed.class, failed.kind.as_str()), (class, kind), "{name}: {said}");
            assert!(said.contains(words), "{name}: {said}");
            assert_eq!(code, Some(1), "{name}");
        }
        (None, None) => assert!(code.is_some(), "{name}: killed"),
        (told, last) => panic!("{name}: {told:?} was due, and came {last:?}, exit {code:?}"),
    }
    assert!(looks(&talk) == before, "{name}: something was touched");
    assert!(talk.peak_kib > 0 && talk.peak_kib < PEAK_KIB_MAX, "{name}: {} KiB", talk.peak_kib);
    assert!(started.elapsed() < ANSWER_MAX, "{name}: {:?}", started.elapsed());
    assert_eq!(talk.stderr(), "", "{name}");
    talk.assert_no_stage();
    assert!(looks(&talk) == before, "{name}: something was touched afterwards");
}

#[test]
fn the_conversation_that_is_lied_in_commits_if_nobody_lies() {
    let mut talk = Talk::new();
    talk.prepared();
    talk.send(&ToAgent::Commit { txid: TXID });
    let heard = talk.hear();
    assert!(matches!(heard, Some(ToHub::Committed { .. })), "{heard:?}");
    assert_eq!(fs::read(talk.at("n0/tree/dir/f3")).expect("a file"), content(3));
    assert!(!talk.at("n0/tree/kept").exists());
    assert_eq!(talk.finish(), (Some(0), None));
    assert!(talk.peak_kib < PEAK_KIB_MAX - 64 * 1024, "{} KiB", talk.peak_kib);
}
