//! `depsync doctor` and an agent that lies, while an honest node stands beside it.

use std::fs;

use depsync::model::codec::Writer;
use depsync::wire::message::{
    Examined, FINDINGS_MAX, FailedClass, Finding, Identity, Level, ToAgent, ToHub,
};

use crate::cluster::{Outcome, stamps};
use crate::doctor::{assert_found, findings};
use crate::hostile_agent::{Scene, Talk, failed, opened};
use crate::ssh_server::script;

/// What would move a terminal, forge a line, or turn the text around.
const ESCAPES: &str = "\u{1b}[2J\u{7}\r\nthe hub\n\u{9b}31m\u{202e}txt\u{0}";

/// Has the hub look at an honest node and at one that does `act`; gives what it said in JSON.
fn look(act: fn(&mut Talk) -> Option<()>, options: &[&str]) -> Outcome {
    let scene = Scene::new();
    let ssh = scene.cluster.path().join("bin/ssh");
    let text = fs::read_to_string(&ssh).expect("a script");
    let version = "#!/bin/sh\n[ \"$1\" = -V ] && { echo OpenSSH_9.9p1 >&2; exit 0; }\n";
    script(&ssh, &text.replacen("#!/bin/sh\n", version, 1));
    let before = stamps(&scene.cluster.nodes[0]);
    scene.listen(move |talk| {
        act(talk);
    });
    let outcome = scene.run("doctor", options);
    assert_eq!(stamps(&scene.cluster.nodes[0]), before);
    outcome
}

/// Until the hub wants to know what is found.
fn asked(talk: &mut Talk) -> Option<()> {
    talk.greet()?;
    let (examine, _) = talk.hear()?;
    assert!(matches!(examine, ToAgent::Examine(_)), "{examine:?}");
    Some(())
}

fn found(text: &str, count: usize) -> Examined {
    let finding = Finding {
        check: text.to_owned(),
        level: Level::Error,
        message: text.to_owned(),
        hint: text.to_owned(),
    };
    let directory = Some(Identity { boot: text.to_owned(), device: 1, inode: u64::MAX });
    Examined { directory, share: None, findings: vec![finding; count] }
}

#[test]
fn fault_154_what_a_liar_finds_is_shown_escaped_and_bounded() {
    let act = |talk: &mut Talk| {
        asked(talk)?;
        talk.say(&ToHub::Examined(found(ESCAPES, FINDINGS_MAX)))?;
        talk.hear_out()
    };
    let outcome = look(act, &[]);
    outcome.expect(2);
    let lines = outcome.lines.iter().filter(|line| line["type"] == "finding");
    for line in lines.clone() {
        assert_eq!(line["target"], "liar:/srv/tree");
        for key in ["check", "message", "hint"] {
            let text = line[key].as_str().expect("a text");
            assert!(text.contains("\\u{1b}") && !text.chars().any(char::is_control), "{text:?}");
            assert!(!text.contains('\u{202e}'), "{text:?}");
        }
    }
    assert_eq!(lines.count(), FINDINGS_MAX);
}

#[test]
fn fault_154_an_agent_that_breaks_the_order_or_the_bounds_of_a_look_is_one_finding() {
    let expected = ["srv protocol error"];
    let out_of_order = |talk: &mut Talk| {
        asked(talk)?;
        talk.say(&ToHub::Opened(opened()))?;
        talk.hear_out()
    };
    assert_found(&look(out_of_order, &[]), &expected);
    let too_many = |talk: &mut Talk| {
        asked(talk)?;
        let mut writer = Writer::new();
        writer.raw(&[10, 0]);
        writer.list(&[(); FINDINGS_MAX + 1], |writer, ()| writer.raw(&[0; 4]));
        talk.control(&writer.finish())?;
        talk.hear_out()
    };
    assert_found(&look(too_many, &[]), &expected);
    let silent = |talk: &mut Talk| {
        asked(talk)?;
        talk.hear_out()
    };
    assert_found(&look(silent, &["--timeout", "1s"]), &["srv timeout error"]);
    let refuses = |talk: &mut Talk| {
        asked(talk)?;
        talk.say(&failed(FailedClass::Pending, ESCAPES))?;
        talk.hear_out()
    };
    let outcome = look(refuses, &[]);
    assert_eq!(findings(outcome.expect(2)).len(), 1);
}
