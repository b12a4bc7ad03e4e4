//! Lies of a hub about frames, messages, their order, and where an agent should work.

use depsync::model::codec::Writer;
use depsync::model::limits::FRAME_BYTES_MAX;
use depsync::wire::frame;
use depsync::wire::message::{FailedClass, Packing, Stage, ToAgent, ToHub, Txid};
use depsync::wire::preamble;

use crate::hostile_hub::{Lie, TXID, Talk, tell};

type Told = Option<(FailedClass, &'static str, &'static str)>;

const NO_FRAME: Told = Some((FailedClass::Fail, "connection", "read a frame"));
const NO_MESSAGE: Told = Some((FailedClass::Fail, "connection", "read a message"));
const NO_HUB: Told = Some((FailedClass::Fail, "connection", "no hub's greeting"));
const GONE: Told = Some((FailedClass::Fail, "connection", "the hub is gone"));
const DISORDER: Told = Some((FailedClass::Integrity, "protocol", "came out of its order"));
const UNPREPARED: Told = Some((FailedClass::Integrity, "protocol", "not prepared"));
const OUTSIDE: Told = Some((FailedClass::Trust, "restricted", "may not work in"));

const fn lie(name: &'static str, told: Told, act: fn(&mut Talk)) -> Lie {
    Lie { name, told, act }
}

/// The head of a frame of these lengths.
fn head(control: u32, bulk: u32) -> Vec<u8> {
    [control, bulk, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn greeted_raw(talk: &mut Talk, bytes: &[u8]) {
    talk.greet();
    talk.raw(bytes);
}

fn greeted_control(talk: &mut Talk, control: &[u8]) {
    talk.greet();
    talk.control(control, &[]);
}

/// What `change` makes of the bytes of an honest Open.
fn open_with(talk: &mut Talk, change: fn(&mut Vec<u8>)) {
    let mut control = ToAgent::Open(talk.open.clone()).encode();
    change(&mut control);
    greeted_control(talk, &control);
}

pub(crate) const WIRE: &[Lie] = &[
    lie("greeting of another version, and a flood", NO_HUB, |talk| {
        let mut greeting = *preamble::HUB;
        greeting[13] ^= 0x40;
        talk.raw(&greeting);
        talk.raw(&vec![0; 80 * 1024]);
    }),
    lie("noise without end in place of a greeting", NO_HUB, |talk| {
        talk.raw(&vec![b'x'; 1 << 20]);
    }),
    lie("an end behind the greeting", GONE, |talk| {
        talk.greet();
        talk.end();
    }),
    lie("control bytes of 2^31", NO_FRAME, |talk| greeted_raw(talk, &head(1 << 31, 0))),
    lie("bulk bytes of 2^32 - 1", NO_FRAME, |talk| greeted_raw(talk, &head(1, u32::MAX))),
    lie("both lengths huge, so that their sum wraps", NO_FRAME, |talk| {
        greeted_raw(talk, &head(u32::MAX, 17));
    }),
    lie("a frame one byte longer than any may be", NO_FRAME, |talk| {
        let most = u32::try_from(FRAME_BYTES_MAX).expect("small");
        greeted_raw(talk, &head(most, 1));
    }),
    lie("a check that does not fit", NO_FRAME, |talk| {
        let mut bytes = frame::encode(0, &ToAgent::Open(talk.open.clone()).encode(), 0);
        bytes[12] ^= 1;
        greeted_raw(talk, &bytes);
    }),
    lie("a sequence that begins at 1", NO_FRAME, |talk| {
        talk.sequence = 1;
        greeted_control(talk, &ToAgent::Open(talk.open.clone()).encode());
    }),
    lie("a frame twice", NO_FRAME, |talk| {
        talk.opened();
        talk.sequence = 0;
        talk.send(&ToAgent::Alive);
    }),
    lie("a frame left out", NO_FRAME, |talk| {
        talk.opened();
        talk.sequence = 7;
        talk.send(&ToAgent::Offer(talk.offer.clone()));
    }),
    lie("an end within a frame", None, |talk| {
        talk.opened();
        let bytes = frame::encode(1, &ToAgent::Offer(talk.offer.clone()).encode(), 0);
        talk.raw(&bytes[..bytes.len() - 1]);
        talk.end();
    }),
    lie("no message at all in a frame", NO_MESSAGE, |talk| greeted_control(talk, &[])),
    lie("a message of an unknown kind", NO_MESSAGE, |talk| greeted_control(talk, &[200])),
    lie("a byte behind a message", NO_MESSAGE, |talk| open_with(talk, |control| control.push(0))),
    lie("a message cut short", NO_MESSAGE, |talk| {
        open_with(talk, |control| control.truncate(control.len() - 1));
    }),
    lie("a truth that is neither", NO_MESSAGE, |talk| {
        let mut control = ToAgent::Settle { txid: TXID, decided: true }.encode();
        *control.last_mut().expect("bytes") = 2;
        greeted_control(talk, &control);
    }),
    lie("a padded number", NO_MESSAGE, |talk| {
        let mut control = vec![4];
        control.extend(TXID.0);
        control.extend([0x81, 0x00, 0x01]);
        greeted_control(talk, &control);
    }),
    lie("a number of 65 bits", NO_MESSAGE, |talk| {
        let mut control = vec![4];
        control.extend(TXID.0);
        control.extend([0xff; 9]);
        control.extend([0x02, 0x01]);
        greeted_control(talk, &control);
    }),
    lie("a text of 2^63 bytes", NO_MESSAGE, |talk| {
        let mut writer = Writer::new();
        writer.u8(0);
        writer.raw(&TXID.0);
        writer.u64(1 << 63);
        greeted_control(talk, &writer.finish());
    }),
    lie("a list of 2^32 directories", NO_MESSAGE, |talk| {
        open_with(talk, |control| {
            control.pop();
            let mut writer = Writer::append_to(std::mem::take(control));
            writer.u64(1 << 32);
            *control = writer.finish();
        });
    }),
    lie("a text that is no text", NO_MESSAGE, |talk| {
        open_with(talk, |control| control[18] = 0xff);
    }),
    lie("an unknown packing", NO_MESSAGE, |talk| greeted_control(talk, &[5, 4])),
    lie("a manifest's part of 2^63 bytes", NO_MESSAGE, |talk| {
        let mut writer = Writer::new();
        writer.u8(3);
        writer.bool(false);
        writer.u64(1 << 63);
        writer.bool(true);
        greeted_control(talk, &writer.finish());
    }),
    lie("four mebibytes that are a message of nothing", NO_MESSAGE, |talk| {
        greeted_control(talk, &vec![8; FRAME_BYTES_MAX]);
    }),
    lie("bulk bytes behind a message that has none, and disorder", DISORDER, |talk| {
        talk.greet();
        talk.control(&ToAgent::Abort.encode(), &vec![0; FRAME_BYTES_MAX - 1]);
    }),
];

pub(crate) const ORDER: &[Lie] = &[
    lie("an offer before the opening", DISORDER, |talk| {
        talk.greet();
        talk.send(&ToAgent::Offer(talk.offer.clone()));
    }),
    lie("a stage before the opening", DISORDER, |talk| {
        talk.greet();
        talk.send(&ToAgent::Stage(talk.stage.clone()));
    }),
    lie("two openings", DISORDER, |talk| {
        talk.opened();
        talk.send(&ToAgent::Open(talk.open.clone()));
    }),
    lie("a commit of nothing", DISORDER, |talk| {
        talk.opened();
        talk.send(&ToAgent::Commit { txid: TXID });
    }),
    lie("a stage of nothing", DISORDER, |talk| {
        talk.opened();
        talk.send(&ToAgent::Stage(talk.stage.clone()));
    }),
    lie("a manifest that nobody asked for", DISORDER, |talk| {
        talk.opened();
        talk.send_manifest();
    }),
    lie("a batch that nobody asked for", DISORDER, |talk| {
        talk.opened();
        talk.batch(Packing::Plain, b"bytes");
    }),
    lie("an offer in place of the manifest", DISORDER, |talk| {
        talk.offered();
        talk.send(&ToAgent::Offer(talk.offer.clone()));
    }),
    lie("an abort in place of the manifest", DISORDER, |talk| {
        talk.offered();
        talk.send(&ToAgent::Abort);
    }),
    lie("a commit in place of the stage", DISORDER, |talk| {
        talk.planned();
        talk.send(&ToAgent::Commit { txid: TXID });
    }),
    lie(
        "a stage where nothing may change",
        Some((FailedClass::Integrity, "protocol", "a change within a plan")),
        |talk| {
            talk.opened();
            talk.again();
            talk.open.read_only = true;
            talk.planned();
            talk.send(&ToAgent::Stage(talk.stage.clone()));
        },
    ),
    lie("two stages", DISORDER, |talk| {
        talk.staging();
        talk.send(&ToAgent::Stage(talk.stage.clone()));
    }),
    lie("a commit in place of the batches", DISORDER, |talk| {
        talk.staging();
        talk.send(&ToAgent::Commit { txid: TXID });
    }),
    lie("a settlement within the stage", DISORDER, |talk| {
        let batches = talk.staging();
        talk.batch(Packing::Plain, &batches[0]);
        talk.send(&ToAgent::Settle { txid: TXID, decided: true });
    }),
    lie("an abort within the stage", GONE, |talk| {
        let batches = talk.staging();
        talk.batch(Packing::Plain, &batches[0]);
        talk.send(&ToAgent::Abort);
    }),
    lie("an end within the stage", GONE, |talk| {
        let batches = talk.staging();
        talk.batch(Packing::Plain, &batches[0]);
        talk.end();
    }),
    lie("a commit of another transaction", DISORDER, |talk| {
        talk.prepared();
        talk.send(&ToAgent::Commit { txid: Txid([8; 16]) });
    }),
    lie("a batch more than wanted", DISORDER, |talk| {
        talk.prepared();
        talk.batch(Packing::Plain, b"more");
    }),
    lie("a stage behind the stage", DISORDER, |talk| {
        talk.prepared();
        talk.send(&ToAgent::Stage(Stage { txid: Txid([8; 16]), ..talk.stage.clone() }));
    }),
    lie("an end in place of the decision", GONE, |talk| {
        talk.prepared();
        talk.end();
    }),
    lie("a decision for what was never prepared", UNPREPARED, |talk| {
        talk.opened();
        talk.send(&ToAgent::Settle { txid: TXID, decided: true });
    }),
    lie(
        "a decision against what was never prepared",
        Some((FailedClass::Integrity, "state-damaged", "journal")),
        |talk| {
            talk.opened();
            talk.send(&ToAgent::Settle { txid: TXID, decided: false });
        },
    ),
    lie("the decision for another transaction than the pending one", UNPREPARED, |talk| {
        talk.prepared();
        talk.again();
        talk.opened();
        talk.send(&ToAgent::Settle { txid: Txid([8; 16]), decided: true });
    }),
    lie(
        "an offer over an undecided transaction",
        Some((FailedClass::Integrity, "undecided", "not decided")),
        |talk| {
            talk.prepared();
            talk.again();
            talk.opened();
            talk.send(&ToAgent::Offer(talk.offer.clone()));
        },
    ),
    lie("signs of life by the thousand, and an end", None, |talk| {
        talk.opened();
        for _ in 0..5_000 {
            talk.send(&ToAgent::Alive);
        }
        talk.end();
    }),
    lie(
        "a lower fence than was seen",
        Some((FailedClass::Busy, "stale-fence", "a newer run")),
        |talk| {
            talk.prepared();
            talk.send(&ToAgent::Abort);
            assert_eq!(talk.hear(), Some(ToHub::Aborted));
            talk.again();
            talk.stage.fence = 9;
            talk.opened();
            talk.send(&ToAgent::Offer(talk.offer.clone()));
            let lacks = talk.hear();
            assert!(matches!(lacks, Some(ToHub::Lacks { manifest: true, .. })), "{lacks:?}");
            talk.send_manifest();
            assert!(matches!(talk.hear(), Some(ToHub::Planned(_))));
            talk.send(&ToAgent::Stage(talk.stage.clone()));
        },
    ),
    lie(
        "a fence that leaves no room for another",
        Some((FailedClass::Integrity, "protocol", "fence")),
        |talk| {
            talk.stage.fence = u64::MAX;
            talk.planned();
            talk.send(&ToAgent::Stage(talk.stage.clone()));
        },
    ),
    lie("a stage of what was refused", Some((FailedClass::Fail, "refused", "free")), |talk| {
        talk.offer.min_free_percent = 100;
        assert!(talk.planned().refusal.is_some());
        talk.send(&ToAgent::Stage(talk.stage.clone()));
    }),
];

fn opened_at(talk: &mut Talk, directory: &str) {
    talk.open.directory = directory.as_bytes().to_vec();
    talk.greet();
    talk.send(&ToAgent::Open(talk.open.clone()));
}

fn state_at(talk: &mut Talk, name: &str, make_path: bool) {
    talk.open.state_dir = talk.at(name).to_str().map(str::to_owned);
    talk.open.make_path = make_path;
    talk.greet();
    talk.send(&ToAgent::Open(talk.open.clone()));
}

pub(crate) const PLACES: &[Lie] = &[
    lie("a directory outside what is allowed", OUTSIDE, |talk| {
        let outside = talk.at("outside/secret").display().to_string();
        opened_at(talk, &outside);
    }),
    lie("a directory reached through a link", OUTSIDE, |talk| {
        let through = talk.at("n0/way-out/secret").display().to_string();
        opened_at(talk, &through);
    }),
    lie("a directory reached through ..", OUTSIDE, |talk| {
        let up = talk.at("n0/tree/../../outside/secret").display().to_string();
        opened_at(talk, &up);
    }),
    lie("a relative directory that leads up", OUTSIDE, |talk| {
        opened_at(talk, "../outside/secret");
    }),
    lie("the directory that holds what is allowed", OUTSIDE, |talk| {
        let all = talk.directory.path().display().to_string();
        opened_at(talk, &all);
    }),
    lie("a directory to be made outside", OUTSIDE, |talk| {
        talk.open.make_path = true;
        let outside = talk.at("outside/new/tree").display().to_string();
        opened_at(talk, &outside);
    }),
    lie("the root of the system", Some((FailedClass::Fail, "target", "")), |talk| {
        opened_at(talk, "/");
    }),
    lie("a directory with NUL in its name", Some((FailedClass::Fail, "target", "")), |talk| {
        let odd = format!("{}/n0/tr\0ee", talk.directory.path().display());
        opened_at(talk, &odd);
    }),
    lie("a file as directory", Some((FailedClass::Fail, "target", "not a directory")), |talk| {
        let file = talk.at("n0/tree/kept").display().to_string();
        opened_at(talk, &file);
    }),
    lie("state outside what is allowed", OUTSIDE, |talk| state_at(talk, "outside/state", false)),
    lie("state to be made outside", OUTSIDE, |talk| state_at(talk, "outside/a/b/state", true)),
    lie("state through a link", OUTSIDE, |talk| state_at(talk, "n0/way-out/state", true)),
];

#[test]
fn fault_145_and_148_and_149_lies_about_frames_and_messages() {
    tell(WIRE);
}

#[test]
fn fault_155_lies_about_the_order_of_things() {
    tell(ORDER);
}

#[test]
fn fault_155_lies_about_the_place_to_work_in() {
    tell(PLACES);
}
