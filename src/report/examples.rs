//! Outcomes that the tests of this module show.

use std::time::Duration;

use crate::hub::outcome::{
    Change, ChangeKind, Counts, Failure, NodeOutcome, NodeState, RunOutcome, Verdict,
};
use crate::model::digest::{Digest, Domain};
use crate::model::path::TreePath;
use crate::model::target::{LocalPath, Target};

pub(super) fn path(bytes: &[u8]) -> TreePath {
    TreePath::new(bytes).expect("a valid path")
}

pub(super) fn node(target: &str, state: NodeState) -> NodeOutcome {
    let base = LocalPath::new(b"/").expect("the root");
    NodeOutcome {
        target: Target::parse(target.as_bytes(), &base).expect("a target"),
        state,
        release: state.is_at_release().then(|| Digest::of(Domain::Tree, b"example")),
        counts: Counts::default(),
        bytes_sent: 310,
        bytes_received: 120,
        duration: Duration::from_millis(84),
        phases: crate::hub::outcome::Phases::default(),
        changes: Vec::new(),
        notes: Vec::new(),
        failure: None,
    }
}

pub(super) fn run(verdict: Verdict, nodes: Vec<NodeOutcome>) -> RunOutcome {
    RunOutcome {
        verdict,
        release: Some(Digest::of(Domain::Tree, b"example")),
        nodes,
        notes: Vec::new(),
        failure: None,
        duration: Duration::from_millis(1_234),
        scan: Duration::from_millis(20),
        prepare: Some(Duration::from_millis(1_100)),
        commit_window: Some(Duration::from_millis(35)),
    }
}

pub(super) fn failure() -> Failure {
    Failure {
        verdict: Verdict::Trust,
        kind: "host-key-unknown".into(),
        message: "the host key of mi-3 is not known".to_owned(),
        causes: vec![
            "ssh ended with code 255".to_owned(),
            "Host key verification failed.".to_owned(),
        ],
        hint: Some(
            "check the key and add it with ssh-keyscan, or pass --accept-new-host-keys".to_owned(),
        ),
    }
}

/// Two nodes committed, one unchanged, one without a known key.
pub(super) fn partial() -> RunOutcome {
    let mut one = node("wso2@mi-1:/opt/wso2mi/repository/deployment/server", NodeState::Committed);
    one.counts = Counts { created: 3, updated: 2, deleted: 1, metadata: 4 };
    one.bytes_sent = 1_258_291;
    one.duration = Duration::from_millis(1_190);
    one.notes.push("the target is a link to /data/server".to_owned());
    let mut two = one.clone();
    two.target =
        node("wso2@mi-2:/opt/wso2mi/repository/deployment/server", NodeState::Committed).target;
    two.notes.clear();
    let mut four = node("mi-4:server", NodeState::Unreachable);
    four.failure = Some(failure());
    run(Verdict::Partial, vec![one, two, node("/srv/server", NodeState::Unchanged), four])
}

/// Two nodes with the same plan, one with another and one with none.
pub(super) fn plan() -> RunOutcome {
    let change = |name: &[u8], kind, bytes| Change { path: path(name), kind, bytes };
    let mut one = node("mi-1:server", NodeState::Differs);
    one.changes = vec![
        change(b"carbonapps/new.car", ChangeKind::Create, 10),
        change(b"carbonapps/old.car", ChangeKind::Delete, 5),
        change(b"conf/\x1b[31m\xff", ChangeKind::Update, 7),
        change(b"lib", ChangeKind::Type, 0),
        change(b"", ChangeKind::Metadata, 0),
    ];
    one.counts = Counts { created: 1, updated: 2, deleted: 1, metadata: 1 };
    let mut two = one.clone();
    two.target = node("mi-2:server", NodeState::Differs).target;
    let mut three = one.clone();
    three.target = node("mi-3:server", NodeState::Differs).target;
    three.changes =
        (0..60).map(|n| change(format!("f{n:02}").as_bytes(), ChangeKind::Create, 1)).collect();
    three.counts = Counts { created: 60, ..Counts::default() };
    let mut outcome =
        run(Verdict::Diff, vec![one, two, three, node("mi-4:server", NodeState::Unchanged)]);
    outcome.commit_window = None;
    outcome
}
