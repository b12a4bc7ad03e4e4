//! A hub by hand: a test says each message itself, to a real agent in a thread.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::JoinHandle;

use depsync::model::codec::Writer;
use depsync::model::keep::Keep;
use depsync::model::manifest::Manifest;
use depsync::model::plan::{CommitStyle, MaxDelete};
use depsync::node::agent::{self, AgentOptions};
use depsync::os::clock;
use depsync::wire::frame::{self, HEADER_BYTES, Header};
use depsync::wire::message::{
    Failed, ManifestPart, Mounted, Offer, Open, Opened, Packing, Planned, SourcePlace, Stage,
    ToAgent, ToHub, Txid,
};
use depsync::wire::preamble::{AGENT, HUB};

/// One conversation with an agent.
pub(crate) struct Spoken {
    stream: UnixStream,
    sent: u32,
    heard: u32,
    agent: JoinHandle<()>,
}

impl Spoken {
    /// Greets an agent.
    pub(crate) fn greet() -> Self {
        let (stream, far) = UnixStream::pair().unwrap();
        let input = far.try_clone().unwrap();
        let agent = std::thread::spawn(move || {
            drop(agent::serve(input, far, &AgentOptions::default()));
        });
        let mut spoken = Self { stream, sent: 0, heard: 0, agent };
        spoken.stream.write_all(HUB).unwrap();
        let mut greeting = [0; AGENT.len()];
        spoken.stream.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, AGENT);
        spoken
    }

    /// How the target at `node` is named.
    pub(crate) fn naming(node: &Path) -> Open {
        Open {
            run: Txid([9; 16]),
            cluster: "by-hand".into(),
            holder: "a test".into(),
            directory: node.as_os_str().as_encoded_bytes().to_vec(),
            state_dir: None,
            make_path: false,
            clock: clock::wall(),
            read_only: false,
            source: SourcePlace::default(),
            looks_only: false,
            number: 0,
            mounted: Mounted::OWN,
        }
    }

    /// Greets an agent and opens the target at `node`.
    pub(crate) fn open(node: &Path) -> (Self, Opened) {
        let mut spoken = Self::greet();
        spoken.say(&ToAgent::Open(Self::naming(node)));
        match spoken.hear() {
            ToHub::Opened(opened) => (spoken, opened),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn say(&mut self, message: &ToAgent) {
        self.say_with(message, &[]);
    }

    pub(crate) fn say_with(&mut self, message: &ToAgent, bulk: &[u8]) {
        let head = frame::encode(self.sent, &message.encode(), bulk.len());
        self.sent += 1;
        self.stream.write_all(&[&head[..], bulk].concat()).unwrap();
    }

    /// The next answer that is no sign of life.
    pub(crate) fn hear(&mut self) -> ToHub {
        loop {
            let mut head = [0; HEADER_BYTES];
            self.stream.read_exact(&mut head).unwrap();
            let header = Header::parse(&head).unwrap();
            let mut control = vec![0; header.control_bytes];
            self.stream.read_exact(&mut control).unwrap();
            header.verify(self.heard, &control).unwrap();
            self.heard += 1;
            match ToHub::decode(&control).unwrap() {
                ToHub::Alive => {}
                message => return message,
            }
        }
    }

    #[track_caller]
    pub(crate) fn hear_failed(&mut self) -> Failed {
        match self.hear() {
            ToHub::Failed(failed) => failed,
            other => panic!("no failure: {other:?}"),
        }
    }

    /// An offer of the release of `manifest`.
    pub(crate) fn offer_of(manifest: &Manifest) -> Offer {
        let mut header = Writer::new();
        manifest.header().encode(&mut header);
        Offer {
            release: manifest.id(),
            header: header.finish(),
            no_delete: false,
            max_delete: MaxDelete::Percent(100),
            list_changes: false,
            reread: false,
            read_rate: None,
            force: false,
            min_free_percent: 0,
            commit: CommitStyle::InPlace,
        }
    }

    /// Says `offer` and, if it is lacking, the whole of `manifest`; gives the answer.
    pub(crate) fn offer(&mut self, offer: Offer, manifest: &Manifest) -> ToHub {
        self.say(&ToAgent::Offer(offer));
        match self.hear() {
            ToHub::Lacks { manifest: true, .. } => {}
            ToHub::Lacks { manifest: false, .. } => return self.hear(),
            other => return other,
        }
        let bytes = manifest.as_bytes();
        let part = ManifestPart { base: None, raw_bytes: bytes.len(), is_last: true };
        let packed = zstd::bulk::compress(bytes, 1).unwrap();
        self.say_with(&ToAgent::Manifest(part), &packed);
        self.hear()
    }

    /// Offers the release of `manifest`, which is taken.
    pub(crate) fn plan(&mut self, manifest: &Manifest) -> Planned {
        match self.offer(Self::offer_of(manifest), manifest) {
            ToHub::Planned(planned) => planned,
            other => panic!("{other:?}"),
        }
    }

    /// Has the agent stage what was planned, with `bytes` as all that is wanted; gives the answer.
    pub(crate) fn stage(&mut self, txid: Txid, fence: u64, bytes: &[u8]) -> ToHub {
        self.say(&ToAgent::Stage(Stage {
            txid,
            fence,
            keep: Keep { releases: 3, ..Keep::default() },
        }));
        if !bytes.is_empty() {
            self.say_with(&ToAgent::Batch { packing: Packing::Plain }, bytes);
        }
        self.hear()
    }

    /// Brings the agent to be prepared for the release of `manifest`, of which all is wanted.
    pub(crate) fn prepare(&mut self, manifest: &Manifest, txid: Txid, fence: u64, bytes: &[u8]) {
        self.plan(manifest);
        let answer = self.stage(txid, fence, bytes);
        assert_eq!(answer, ToHub::Prepared);
    }

    /// Ends the stream, and waits for the agent's end.
    pub(crate) fn end(self) {
        drop(self.stream);
        self.agent.join().unwrap();
    }
}
