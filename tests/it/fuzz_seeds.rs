//! Writes `fuzz/corpus/<decoder>/seed-…`: what depsync itself would write, from which a fuzzer begins.

use std::error::Error;
use std::fs;
use std::path::Path;

use depsync::model::codec::{Reader, Writer};
use depsync::model::delta;
use depsync::model::digest::{Digest, Domain};
use depsync::model::entry::{Entry, Kind, Meta, Timestamp};
use depsync::model::keep::Keep;
use depsync::model::later::{Given, Times};
use depsync::model::manifest::{Builder, Capture, Manifest};
use depsync::model::patch::{Cutter, Known, Near, diff};
use depsync::model::path::TreePath;
use depsync::model::plan::{Change, ChangeKind, CommitStyle, Counts, Deletes, MaxDelete};
use depsync::model::want::Wanted;
use depsync::node::journal::{Record, Standing};
use depsync::node::steps::{Step, Steps};
use depsync::wire::frame;
use depsync::wire::message::{
    Examine, Examined, Failed, FailedClass, Finding, Free, Identity, Level, Logins, ManifestPart,
    Mounted, Offer, Open, Opened, Packing, Pending, Planned, SourcePlace, Stage, ToAgent, ToHub,
    Txid,
};
use depsync::wire::preamble;
use zstd::stream::raw::{Encoder, InBuffer, Operation as _, OutBuffer};

use crate::archives;
use crate::cluster::{Cluster, Outcome};
use crate::decoders::small_manifest;

const TXID: Txid = Txid([7; 16]);
const TIME: Timestamp = Timestamp { seconds: 1_700_000_000, nanos: 5 };

type Done = Result<(), Box<dyn Error>>;

fn put(decoder: &str, name: &str, bytes: &[u8]) -> Done {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(decoder);
    fs::create_dir_all(&directory)?;
    Ok(fs::write(directory.join(format!("seed-{name}")), bytes)?)
}

#[test]
#[ignore = "it writes files of the repository: for whoever changes what depsync writes"]
fn the_seeds_of_the_corpus_are_written() -> Done {
    messages()?;
    trees()?;
    wants()?;
    lists()?;
    texts()?;
    put("lint", "car", &archives::car("Shop", "1.4.0", "<api/>"))?;
    put("lint", "xml", archives::descriptor("Shop & Co", "1").as_bytes())?;
    later_times()?;
    let cluster = Cluster::new(1);
    cluster.write("dir/one", "one");
    cluster.write("dir/two", vec![7; 30_000]);
    cluster.push(&[]).expect(0);
    cluster.write("dir/one", "another");
    std::fs::remove_file(cluster.at("dir/two"))?;
    cluster.push(&[]).expect(0);
    let file = cluster.path().join("seed.depsync");
    Outcome::of(cluster.command("release").arg(&file).arg(cluster.source())).expect(0);
    put("release", "file", &fs::read(file)?)?;
    from_state(&cluster.state(0))
}

fn later_times() -> Done {
    let given = |path: &str, seconds| {
        let path = TreePath::new(path.as_bytes())?;
        let given = Timestamp { seconds, ..TIME };
        Ok::<_, Box<dyn Error>>(Given { path, content: Digest([5; 32]), own: TIME, given })
    };
    let files = vec![given("api/a.xml", -9)?, given("api/b.xml", 1_700_000_002)?];
    let mut writer = Writer::new();
    Times { source: Digest([3; 32]), release: Digest([4; 32]), files }.encode(&mut writer);
    put("times", "two", &writer.finish())
}

fn messages() -> Done {
    let digest = Digest([3; 32]);
    let open = Open {
        run: TXID,
        cluster: "shop".into(),
        holder: "process 1 on hub".into(),
        directory: b"/srv/shop".to_vec(),
        state_dir: Some("/srv/state".into()),
        make_path: true,
        clock: TIME,
        read_only: false,
        source: SourcePlace { boot: "id".into(), ancestry: vec![(1, 2), (1, 300)] },
        looks_only: false,
        number: 0,
        mounted: Mounted::OWN,
    };
    let mut header = Writer::new();
    small_manifest().header().encode(&mut header);
    let header = header.finish();
    let examine = Examine {
        open: open.clone(),
        header: header.clone(),
        commit: CommitStyle::Swap,
        min_free_percent: 5,
        logins: Some(Logins { startups: 8, sessions: 300 }),
    };
    let offer = Offer {
        release: digest,
        header,
        no_delete: false,
        max_delete: MaxDelete::Percent(50),
        list_changes: true,
        reread: false,
        read_rate: None,
        force: false,
        min_free_percent: 5,
        commit: CommitStyle::Swap,
    };
    let all = [
        ToAgent::Open(open),
        ToAgent::Settle { txid: TXID, decided: true },
        ToAgent::Offer(offer),
        ToAgent::Manifest(ManifestPart { base: Some(digest), raw_bytes: 9, is_last: true }),
        ToAgent::Stage(Stage { txid: TXID, fence: 300, keep: Keep::default() }),
        ToAgent::Batch { packing: Packing::Fresh },
        ToAgent::Batch { packing: Packing::Patch { bytes: 1000 } },
        ToAgent::Commit { txid: TXID },
        ToAgent::Abort,
        ToAgent::Alive,
        ToAgent::Examine(examine),
    ];
    let mut speech = preamble::HUB.to_vec();
    let mut short = Vec::new();
    for (at, message) in (0u32..).zip(&all) {
        let control = message.encode();
        put("to-agent", &format!("{at:02}"), &control)?;
        speech.extend(frame::encode(at, &control, 0));
        short.push(u8::try_from(control.len()).unwrap_or(u8::MAX));
        short.push(0);
        short.extend(control);
    }
    put("stream", "greeted", &speech)?;
    put("stream", "framed", &short)?;
    put("frame", "speech", &speech[preamble::HUB.len()..])?;
    for (at, message) in answers().iter().enumerate() {
        put("to-hub", &format!("{at:02}"), &message.encode())?;
    }
    Ok(())
}

fn answers() -> Vec<ToHub> {
    let digest = Digest([3; 32]);
    let failed = Failed {
        class: FailedClass::Guard,
        kind: "max-delete".into(),
        message: "it would delete too much".into(),
        causes: vec!["a cause".into()],
        hint: Some("raise it".into()),
        holder: Some(TXID),
    };
    let finding = Finding {
        check: "clock".into(),
        level: Level::Warning,
        message: "its clock is ahead".into(),
        hint: "set it".into(),
    };
    let directory = Identity { boot: "id".into(), device: 1, inode: 300 };
    let opened = Opened {
        release: Some(digest),
        pending: Some(Pending { txid: TXID, release: digest }),
        fence: 300,
        clock: TIME,
        is_root: true,
        real_path: "/srv/shop".into(),
        notes: vec!["a note".into()],
        free: Some(Free { bytes: 1 << 40, inodes: Some(500) }),
        holder: Some("process 7 on hub".into()),
    };
    let planned = Planned {
        is_clean: false,
        counts: Counts { created: 1, updated: 2, deleted: 3, metadata: 4 },
        deletes: Deletes { lost: 3, of: 300 },
        wanted: wanted(),
        near: Near::default(),
        notes: Vec::new(),
        refusal: Some(failed.clone()),
    };
    let path = TreePath::new(b"b/c").expect("a path");
    vec![
        ToHub::Opened(opened),
        ToHub::Settled { release: Some(digest) },
        ToHub::Lacks { manifest: true, base: None },
        ToHub::Changes(vec![Change { path, kind: ChangeKind::Update, bytes: 5 }]),
        ToHub::Planned(planned),
        ToHub::Prepared,
        ToHub::Committed { window_us: 1000 },
        ToHub::Aborted,
        ToHub::Alive,
        ToHub::Failed(failed),
        ToHub::Examined(Examined {
            directory: Some(directory),
            share: None,
            findings: vec![finding],
        }),
    ]
}

fn wanted() -> Wanted {
    let mut wanted = Wanted::default();
    for ordinal in [0, 1, 4, 5, 7] {
        wanted.push(ordinal);
    }
    wanted
}

/// The small manifest with a directory under another name and a file more.
fn other_manifest() -> Manifest {
    let small = small_manifest();
    let mut entries: Vec<Entry> = small.entries().collect();
    for entry in &mut entries {
        if let Some(below) = entry.path.as_bytes().strip_prefix(b"b") {
            entry.path = TreePath::new(&[b"moved", below].concat()).expect("a path");
        }
    }
    let path = TreePath::new(b"link").expect("a path");
    let kind = Kind::Symlink(Box::from(&b"e"[..]));
    entries.push(Entry { path, kind, meta: Meta { mtime: TIME, ..Meta::default() } });
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    let mut builder = Builder::new(small.header().clone());
    for entry in &entries {
        builder.push(entry).expect("no special file");
    }
    builder.finish().expect("a tree")
}

fn trees() -> Done {
    let (base, other) = (small_manifest(), other_manifest());
    put("manifest", "small", base.as_bytes())?;
    put("manifest", "other", other.as_bytes())?;
    let told = delta::encode(&base, &other);
    put("delta", "whole", &[&other.id().0[..], &told].concat())?;
    put("delta", "led", &[&other.id().0[..], &told[32..]].concat())?;
    put("delta", "same", &[&base.id().0[..], &delta::encode(&base, &base)].concat())
}

fn wants() -> Done {
    let mut writer = Writer::new();
    wanted().encode(&mut writer);
    put("wanted", "chunks", &writer.finish())?;
    let cutter = Cutter::new(b"run");
    let text: Vec<u8> = (0..6000u32).flat_map(u32::to_le_bytes).collect();
    let mut near = Near { chunks: wanted(), ..Near::default() };
    for piece in cutter.cut(&text) {
        assert!(near.pieces.push(cutter.id(piece)), "few pieces");
    }
    let mut writer = Writer::new();
    near.encode(&mut writer);
    put("wanted", "near", &writer.finish())?;
    let patch = diff(&cutter, &Known::new(near), [&text[100..], b"more"]).ok_or("no patch")?;
    put("patch", "real", &[&[0, 2, 0], &patch[..]].concat())?;
    // Three literal bytes, pieces 0 to 2 of 1, 2 and 3 bytes, one more byte.
    put("patch", "small", &[10, 0, 0, 4, 6, 7, 0, 2, b'a', b'b', b'c', b'd'])?;
    let mut packed = Vec::new();
    let mut encoder = Encoder::new(1)?;
    for (at, raw) in text.chunks(3000).take(4).enumerate() {
        let mut into = Vec::with_capacity(8000);
        let mut output = OutBuffer::around(&mut into);
        encoder.run(&mut InBuffer::around(raw), &mut output)?;
        while encoder.flush(&mut output)? > 0 {}
        let [high, low] = u16::try_from(raw.len())?.to_be_bytes();
        packed.extend(u16::try_from(into.len())?.to_le_bytes());
        // The sizes here are those of the decoder's own framing: 15 bits, and whether it begins anew.
        packed.extend([high, low & 0x7f | if at == 0 { 0x80 } else { 0 }]);
        packed.extend(into);
    }
    put("batches", "continued", &packed)
}

fn lists() -> Done {
    let digest = Digest([9; 32]);
    let path = |text: &str| TreePath::new(text.as_bytes()).expect("a path");
    let meta = Meta { mode: 0o755, mtime: TIME, ..Meta::default() };
    let list = vec![
        Step::MakeDir { path: path("a") },
        Step::Install { number: 1, inode: 300, path: path("a/b") },
        Step::Move { from: path("c"), to: path("d"), inode: 5 },
        Step::Remove { number: 2, path: path("e") },
        Step::SetMeta { path: path("a"), is_directory: true, meta },
    ];
    put(
        "steps",
        "all",
        &Steps { before: Some(digest), after: digest, capture: Capture::default(), list }.encode(),
    )?;
    let records = [
        Record::Checkpoint(Standing::default()),
        Record::Begin { txid: TXID, fence: 3, release: digest },
        Record::Prepared { txid: TXID, steps: digest },
        Record::Committing { txid: TXID },
        Record::Committed { txid: TXID },
        Record::Aborted { txid: TXID },
    ];
    let payload = |record: &Record| {
        let payload = record.encode();
        [&[u8::try_from(payload.len()).unwrap_or(u8::MAX)], &payload[..]].concat()
    };
    put("journal", "payloads", &records[..5].iter().flat_map(payload).collect::<Vec<_>>())?;
    let aborted = [&records[1], &records[2], &records[5]];
    put("journal", "aborted", &aborted.into_iter().flat_map(payload).collect::<Vec<_>>())
}

fn texts() -> Done {
    for (decoder, name, text) in [
        (
            "nodes",
            "usual",
            "\u{feff}# nodes\r\nweb-1:/srv/shop\nuser@web-2:shop # two\n\nssh://web-3:22/srv\n/local\n",
        ),
        ("nodes", "bad", "web-1:/srv\nweb-1:/srv\n-bad:/x\n[2001:db8::1]:/srv\n"),
        ("target", "ssh", "user@web-1:/srv/shop"),
        ("target", "url", "ssh://user@web-1:2222/~/shop"),
        ("target", "ipv6", "[fe80::1%eth0]:dir"),
        ("target", "local", "./tree"),
        (
            "config",
            "usual",
            "[cluster]\nname = \"shop\"\nsource = \"src\"\nnodes = \"nodes\"\n[guard]\nmax_delete = \"10%\"\n[run]\ntimeout = \"5m\"\n",
        ),
        ("config", "init", include_str!("../../src/cli/init.toml")),
        ("config", "node", "[[node]]\ntarget = \"web-1:/srv\"\nlabels = [\"a\"]\n"),
        ("config", "unknown", "[clustr]\nname = \"x\"\n[ssh]\nreuse = \"5x\"\n"),
        ("import", "page", include_str!("import/page.sh")),
        ("import", "while", include_str!("import/while.sh")),
        ("import", "typos", include_str!("import/typos.sh")),
        ("import", "crontab", include_str!("import/crontab")),
        ("preamble", "agent", "Welcome\n\0depsync-agent\0\u{2}\0\nrest"),
        ("preamble", "need", "\0depsync-need\0Linux x86_64 zstd\n\0depsync-need\0\n"),
        ("preamble", "fail", "\0depsync-fail\0no-space cannot write\n"),
        ("mux", "hello", "\0\0\0\u{8}\0\0\0\u{1}\0\0\0\u{4}"),
    ] {
        put(decoder, name, text.as_bytes())?;
    }
    let exit = [0, 0, 0, 12, 0x80, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 3];
    put("mux", "exit", &exit)
}

/// What a real run left on a node.
fn from_state(state: &Path) -> Done {
    put("journal", "real", &fs::read(state.join("journal"))?)?;
    for (at, file) in fs::read_dir(state.join("manifest"))?.enumerate() {
        let bytes = fs::read(file?.path())?;
        if bytes.len() < 16 * 1024 {
            put("manifest", &format!("real-{at}"), &bytes)?;
        }
    }
    for area in fs::read_dir(state.join("kept"))? {
        let bytes = fs::read(area?.path().join("list"))?;
        let body = &bytes[..bytes.len().saturating_sub(Digest::BYTES)];
        assert_eq!(Digest::of(Domain::State, body).0, bytes[body.len()..]);
        put("kept", "real", body)?;
    }
    let bytes = fs::read(state.join("index"))?;
    let (rest, trailer) = bytes.split_at(bytes.len() - 8 - Digest::BYTES);
    let foot = usize::try_from(u64::from_le_bytes(trailer[..8].try_into()?))?;
    let (records, foot) = rest.split_at(rest.len() - foot);
    let mut reader = Reader::new(foot, "foot");
    let version = reader.u64()?;
    let (_device, _inode) = (reader.u64()?, reader.u64()?);
    let mut writer = Writer::new();
    for number in [version, 1, 2] {
        writer.u64(number);
    }
    writer.raw(reader.rest());
    let foot = writer.finish();
    let length = u16::try_from(foot.len())?.to_le_bytes();
    put("index", "real", &[&length[..], records, &foot].concat())
}
