//! The lies of an agent.

use depsync::model::codec::Writer;
use depsync::model::digest::Digest;
use depsync::model::limits::{FRAME_BYTES_MAX, PIECES_MAX};
use depsync::model::patch::{Cutter, Near};
use depsync::model::plan::{Counts, Deletes};
use depsync::model::want::Wanted;
use depsync::wire::frame;
use depsync::wire::message::{FailedClass, Opened, Pending, Planned, ToHub, Txid};

use crate::hostile_agent::{Lie, Scene, Talk, failed, opened, planned, tell, wanted};
use crate::{hostile_hub_content, hostile_hub_words};

/// What would move a terminal, forge a line, or turn the text around.
const ESCAPES: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\nok  forged line\n\u{9b}31m\u{202e}txt\u{0}";

/// A lie that costs the liar alone.
const fn lie(name: &'static str, said: &'static str, act: fn(&mut Talk) -> Option<()>) -> Lie {
    Lie { name, code: 3, said, goes_on: true, may_be_late: false, options: &[], act }
}

/// A lie that stops the run.
const fn stop(
    name: &'static str,
    code: i32,
    said: &'static str,
    act: fn(&mut Talk) -> Option<()>,
) -> Lie {
    Lie { name, code, said, goes_on: false, may_be_late: false, options: &[], act }
}

/// As [`stop`], where the hub may have decided by the time it hears of it.
const fn race(name: &'static str, said: &'static str, act: fn(&mut Talk) -> Option<()>) -> Lie {
    Lie { may_be_late: true, ..stop(name, 8, said, act) }
}

fn head(control: u32, bulk: u32) -> Vec<u8> {
    [control, bulk, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn answer(talk: &mut Talk, control: &[u8]) -> Option<()> {
    talk.asked()?;
    talk.control(control)?;
    talk.hear_out()
}

fn plan(talk: &mut Talk, planned: Planned) -> Option<()> {
    talk.informed()?;
    talk.say(&ToHub::Planned(planned))?;
    talk.hear_out()
}

/// A plan whose wanted chunks are these ranges, each as a gap and a length.
fn raw_plan(talk: &mut Talk, ranges: &[(u64, u64)]) -> Option<()> {
    talk.informed()?;
    let mut writer = Writer::new();
    writer.raw(&[4, 0, 1, 0, 0, 0, 0, 0]);
    writer.list(ranges, |writer, (gap, length)| {
        writer.u64(*gap);
        writer.u64(*length);
    });
    writer.raw(&[0, 0, 0, 0]);
    talk.control(&writer.finish())?;
    talk.hear_out()
}

pub(crate) const WIRE: &[Lie] = &[
    lie("another version", "version", |talk| {
        talk.raw(b"\0depsync-agent\0\xff\xff\n")?;
        talk.hear_out()
    }),
    lie("noise without end", "", |talk| {
        loop {
            talk.raw(&[b'x'; 4096])?;
        }
    }),
    lie("a call for an upload where an agent is installed", "", |talk| {
        talk.raw(b"\0depsync-need\0Linux x86_64\n")?;
        talk.hear_out()
    }),
    lie("a script's word with escapes", "", |talk| {
        talk.raw(b"\0depsync-fail\0\x1b[2J \x1b]0;owned\x07\n")?;
        talk.hear_out()
    }),
    lie("an end in place of opened", "connection-lost", Talk::asked),
    lie("an end within a frame", "connection-lost", |talk| {
        talk.asked()?;
        let bytes = frame::encode(0, &ToHub::Opened(opened()).encode(), 0);
        talk.raw(&bytes[..bytes.len() - 1])
    }),
    lie("a check that does not fit", "protocol", |talk| {
        talk.asked()?;
        let mut bytes = frame::encode(0, &ToHub::Opened(opened()).encode(), 0);
        bytes[12] ^= 1;
        talk.raw(&bytes)?;
        talk.hear_out()
    }),
    lie("a sequence that begins at 1", "protocol", |talk| {
        talk.sequence = 1;
        answer(talk, &ToHub::Opened(opened()).encode())
    }),
    lie("a frame twice", "protocol", |talk| {
        talk.offered()?;
        talk.sequence = 0;
        talk.say(&ToHub::Lacks { manifest: true, base: None })?;
        talk.hear_out()
    }),
    lie("control bytes of 2^31", "protocol", |talk| {
        talk.asked()?;
        talk.raw(&head(1 << 31, 0))?;
        talk.hear_out()
    }),
    lie("lengths whose sum wraps", "protocol", |talk| {
        talk.asked()?;
        talk.raw(&head(u32::MAX, 17))?;
        talk.hear_out()
    }),
    lie("bulk bytes, which no agent sends", "protocol", |talk| {
        talk.asked()?;
        talk.raw(&frame::encode(0, &ToHub::Opened(opened()).encode(), 1000))?;
        talk.raw(&[0; 1000])?;
        talk.hear_out()
    }),
    lie("no message in a frame", "protocol", |talk| answer(talk, &[])),
    lie("an unknown message", "protocol", |talk| answer(talk, &[77])),
    lie("a byte behind a message", "protocol", |talk| answer(talk, &[7, 0])),
    lie("four mebibytes that are a message of nothing", "protocol", |talk| {
        answer(talk, &vec![5; FRAME_BYTES_MAX])
    }),
    lie("a failure of an unknown class", "protocol", |talk| answer(talk, &[9, 99, 0, 0, 0, 0, 0])),
    lie("2^32 notes", "protocol", |talk| {
        let mut control = ToHub::Opened(opened()).encode();
        control.pop();
        control.extend([0x80, 0x80, 0x80, 0x80, 0x10]);
        answer(talk, &control)
    }),
    lie("a text longer than any may be", "protocol", |talk| {
        let mut writer = Writer::new();
        writer.raw(&[9, 0]);
        writer.bytes(&[b'x'; 17_000]);
        answer(talk, &writer.finish())
    }),
];

pub(crate) const ORDER: &[Lie] = &[
    stop("prepared in place of opened", 8, "Prepared came out", |talk| {
        answer(talk, &ToHub::Prepared.encode())
    }),
    stop("committed in place of opened", 8, "Committed came out", |talk| {
        answer(talk, &ToHub::Committed { window_us: 1 }.encode())
    }),
    stop("opened twice", 8, "Opened came out", |talk| {
        talk.offered()?;
        talk.say(&ToHub::Opened(opened()))?;
        talk.hear_out()
    }),
    stop("a settlement that nobody asked for", 8, "Settled came out", |talk| {
        talk.offered()?;
        talk.say(&ToHub::Settled { release: Some(Digest([1; 32])) })?;
        talk.hear_out()
    }),
    stop("changes that nobody asked for", 8, "Changes came out", |talk| {
        talk.informed()?;
        talk.say(&ToHub::Changes(Vec::new()))?;
        talk.hear_out()
    }),
    stop("aborted in place of a plan", 8, "Aborted came out", |talk| {
        talk.informed()?;
        talk.say(&ToHub::Aborted)?;
        talk.hear_out()
    }),
    stop("a plan of megabytes in place of opened", 8, "Planned came out", |talk| {
        let mut wanted = Wanted::default();
        (0..1_000_000).for_each(|at| wanted.push(at * 2));
        answer(talk, &ToHub::Planned(planned(wanted)).encode())
    }),
    race("prepared, and nothing was staged", "Prepared came out", |talk| {
        talk.staging(planned(wanted(30)))?;
        talk.say(&ToHub::Prepared)?;
        talk.hear_out()
    }),
    stop("committed in place of prepared", 8, "Committed came out", |talk| {
        talk.staged()?;
        talk.say(&ToHub::Committed { window_us: 1 })?;
        talk.hear_out()
    }),
    race("committed before the decision", "Committed came out", |talk| {
        talk.staged()?;
        let prepared = frame::encode(talk.sequence, &ToHub::Prepared.encode(), 0);
        let committed = ToHub::Committed { window_us: 1 }.encode();
        let committed = frame::encode(talk.sequence + 1, &committed, 0);
        talk.raw(&[prepared, committed].concat())?;
        talk.hear_out()
    }),
    lie("prepared in place of committed", "Prepared came out", |talk| {
        talk.decided()?;
        talk.say(&ToHub::Prepared)?;
        talk.hear_out()
    }),
    lie("an end in place of committed", "pending", Talk::decided),
    lie("that the decision cannot be carried out", "pending", |talk| {
        talk.decided()?;
        talk.say(&failed(FailedClass::Pending, "not now"))
    }),
    lie("that nothing changed, behind the decision", "failed", |talk| {
        talk.decided()?;
        talk.say(&failed(FailedClass::Fail, "nothing changed"))
    }),
    lie("a pending transaction that no hub began", "connection-lost", |talk| {
        talk.asked()?;
        let pending = Some(Pending { txid: Txid([3; 16]), release: Digest([3; 32]) });
        talk.say(&ToHub::Opened(Opened { pending, ..opened() }))?;
        let (settle, _) = talk.hear()?;
        let decided =
            depsync::wire::message::ToAgent::Settle { txid: Txid([3; 16]), decided: false };
        assert_eq!(settle, decided);
        Some(())
    }),
    lie("a base that no hub knows", "connection-lost", |talk| {
        talk.offered()?;
        talk.say(&ToHub::Lacks { manifest: true, base: Some(Digest([6; 32])) })?;
        talk.hear().map(drop)
    }),
    stop("a fence that leaves no room for another", 8, "fence", |talk| {
        talk.asked()?;
        talk.say(&ToHub::Opened(Opened { fence: u64::MAX, ..opened() }))?;
        talk.hear_out()
    }),
    stop("that another run is there", 4, "busy", |talk| {
        talk.asked()?;
        talk.say(&failed(FailedClass::Busy, "busy"))
    }),
    stop("that a guard refuses", 5, "guard", |talk| {
        talk.asked()?;
        talk.say(&failed(FailedClass::Guard, "guard"))
    }),
];

pub(crate) const CONTENT: &[Lie] = &[
    stop("chunks that the release does not have", 8, "does not have", |talk| {
        plan(talk, planned(wanted(10_000)))
    }),
    stop("2^32 chunks", 8, "does not have", |talk| raw_plan(talk, &[(0, 1 << 32)])),
    stop("2^63 chunks, far behind the last", 8, "does not have", |talk| {
        raw_plan(talk, &[(1 << 62, 1 << 63)])
    }),
    lie("ranges whose end wraps", "protocol", |talk| raw_plan(talk, &[(u64::MAX, 2)])),
    lie("ranges that touch", "protocol", |talk| raw_plan(talk, &[(0, 1), (0, 1)])),
    lie("an empty range", "protocol", |talk| raw_plan(talk, &[(5, 0)])),
    lie("counts that overflow", "connection-lost", |talk| {
        let most = u64::MAX;
        let counts = Counts { created: most, updated: most, deleted: most, metadata: most };
        talk.staging(Planned {
            counts,
            deletes: Deletes { lost: most, of: 0 },
            ..planned(wanted(1))
        })
    }),
    lie("as many pieces as there may be, and of nothing", "connection-lost", |talk| {
        let cutter = Cutter::new(b"another run");
        let mut near = Near { chunks: wanted(u64::from(u16::MAX)), ..Near::default() };
        while near.pieces.push(cutter.id(&near.pieces.len().to_le_bytes())) {}
        assert_eq!(near.pieces.len(), PIECES_MAX);
        talk.staging(Planned { near, ..planned(wanted(30)) })?;
        talk.hear().map(drop)
    }),
    stop("escapes in a failure", 1, "owned", |talk| {
        talk.asked()?;
        talk.say(&failed(FailedClass::Fail, ESCAPES))
    }),
    lie("escapes in notes and paths", "owned", |talk| {
        talk.asked()?;
        let notes = vec![ESCAPES.to_owned(); 200];
        talk.say(&ToHub::Opened(Opened { real_path: ESCAPES.into(), notes, ..opened() }))?;
        talk.hear().map(drop)
    }),
    stop("escapes in a refusal", 1, "owned", |talk| {
        let ToHub::Failed(refusal) = failed(FailedClass::Fail, ESCAPES) else { return None };
        plan(talk, Planned { refusal: Some(refusal), ..planned(wanted(1)) })
    }),
    lie("notes of four megabytes", "connection-lost", |talk| {
        talk.asked()?;
        let notes = vec!["n".repeat(16 * 1024); 250];
        talk.say(&ToHub::Opened(Opened { notes, ..opened() }))?;
        talk.hear().map(drop)
    }),
    Lie {
        options: &["--timeout", "2s"],
        ..lie("silence", "timeout", |talk| {
            talk.asked()?;
            talk.hear_out()
        })
    },
    Lie {
        options: &["--deadline", "6s"],
        code: 1,
        goes_on: false,
        ..lie("signs of life without end", "", |talk| {
            talk.asked()?;
            loop {
                talk.say(&ToHub::Alive)?;
            }
        })
    },
    Lie {
        options: &["--deadline", "6s"],
        code: 1,
        goes_on: false,
        ..lie("signs of life, and nothing is read", "", |talk| {
            talk.staging(planned(wanted(30)))?;
            loop {
                talk.say(&ToHub::Alive)?;
            }
        })
    },
];

#[test]
fn fault_148_and_149_and_154_lies_of_an_agent_about_frames_and_messages() {
    tell(WIRE);
}

#[test]
fn fault_154_lies_of_an_agent_about_the_order_of_things() {
    tell(ORDER);
}

#[test]
fn fault_154_lies_of_an_agent_about_what_it_needs() {
    tell(CONTENT);
}

#[test]
fn there_are_sixty_named_lies_and_more() {
    use hostile_hub_content::{BATCHES, MANIFESTS};
    use hostile_hub_words::{ORDER as OUT_OF_ORDER, PLACES, WIRE as FRAMES};
    let of_hubs = [FRAMES, OUT_OF_ORDER, PLACES, MANIFESTS, BATCHES].into_iter().flatten();
    let of_agents = [WIRE, ORDER, CONTENT].into_iter().flatten();
    let hubs: std::collections::BTreeSet<_> = of_hubs.clone().map(|lie| lie.name).collect();
    let agents: std::collections::BTreeSet<_> = of_agents.clone().map(|lie| lie.name).collect();
    assert_eq!((hubs.len(), agents.len()), (of_hubs.count(), of_agents.count()), "a name twice");
    assert!(hubs.len() >= 60 && agents.len() >= 30, "{} and {}", hubs.len(), agents.len());
}

#[test]
fn the_liar_commits_with_the_rest_if_it_does_not_lie_too_early() {
    let scene = Scene::new();
    scene.listen(|talk| {
        if talk.decided().is_some() {
            talk.say(&ToHub::Committed { window_us: 1 });
        }
    });
    // Whoever holds a node's account can say what it likes of that node, and of no other.
    let outcome = scene.run("push", &[]);
    outcome.expect(0);
    scene.cluster.assert_same();
}
