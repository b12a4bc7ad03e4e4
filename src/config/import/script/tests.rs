use super::super::notes::{Keys, Value};
use super::super::{Finding, Nodes, command, script};
use super::*;

fn at() -> Surroundings {
    Surroundings {
        home: Some("/home/me".into()),
        working_directory: "/here".into(),
        script_directory: Some("/scripts".into()),
    }
}

fn import(text: &str) -> Imported {
    script(text.as_bytes(), &at()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> Error {
    script(text.as_bytes(), &at()).expect_err(text)
}

fn checks(imported: &Imported) -> Vec<&'static str> {
    let mut checks: Vec<_> = imported.findings.iter().map(|finding| finding.check).collect();
    checks.sort_unstable();
    checks.dedup();
    checks
}

fn listed(targets: &[&str]) -> Nodes {
    Nodes::Listed(targets.iter().map(|&target| target.to_owned()).collect())
}

/// What a text copies, and to where.
fn copies(text: &str) -> (Option<String>, Vec<String>, Nodes) {
    let imported = import(text);
    (imported.source, imported.trees, imported.nodes)
}

#[test]
fn sources_and_targets_are_found_however_they_are_written() {
    for (text, source, nodes) in [
        ("rsync -a /s/ h:/t", "/s", listed(&["h:/t"])),
        ("/usr/bin/rsync -a /s/. me@h:t/", "/s", listed(&["me@h:t"])),
        ("sudo -u x nice -n 5 rsync -a /s/ h:/t", "/s", listed(&["h:/t"])),
        ("flock -n /l rsync -a /s/ h:/t", "/s", listed(&["h:/t"])),
        ("flock -n /l -c 'rsync -a /s/ h:/t'", "/s", listed(&["h:/t"])),
        ("bash -c \"rsync -a /s/ h:/t\"", "/s", listed(&["h:/t"])),
        ("timeout 60 rsync -a /s/ h:/t", "/s", listed(&["h:/t"])),
        ("cd /s && rsync -a ./ h:/t", "/s", listed(&["h:/t"])),
        ("cd /s; rsync -a sub/ h:/t", "/s/sub", listed(&["h:/t"])),
        ("cd; rsync -a sub/ h:/t", "/home/me/sub", listed(&["h:/t"])),
        ("rsync -a sub/ h:/t", "/here/sub", listed(&["h:/t"])),
        ("rsync -a '/s d/$x'/ 'h:/t d%'", "/s d/$x", listed(&["h:/t d%"])),
        ("A=/s/; B=\"${A}b/\"\nrsync -a \"$B\" h:/t", "/s/b", listed(&["h:/t"])),
        ("export A=/s\nR='rsync -a --delete'\n$R $A/ h:/t", "/s", listed(&["h:/t"])),
        ("rsync -a \\\n  /s/ \\\n  h:/t", "/s", listed(&["h:/t"])),
        ("rsync -a /s/ h:/t & rsync -a /s/ i:/t", "/s", listed(&["h:/t", "i:/t"])),
        ("for x in a b; do rsync -a /s/ $x:/t; done", "/s", listed(&["a:/t", "b:/t"])),
        ("n='a b'\nfor x in $n; do rsync -a /s/ $x:/t; done", "/s", listed(&["a:/t", "b:/t"])),
        (
            "n=(a b)\nfor x in \"${n[@]}\"\ndo\nrsync -a /s/ \"$x:/t\"\ndone",
            "/s",
            listed(&["a:/t", "b:/t"]),
        ),
        ("if ! rsync -a /s/ h:/t; then echo; fi", "/s", listed(&["h:/t"])),
        ("sync() { rsync -a /s/ h:/t; }\nsync", "/s", listed(&["h:/t"])),
        ("rsync -a /s/ /local/t", "/s", listed(&["/local/t"])),
        ("rsync -a /s/* h:/t", "/s", listed(&["h:/t"])),
        ("rsync -aR /./s/ h:/t", "/s", listed(&["h:/t/s"])),
        ("rsync -a /a/s h:/t", "/a/s", listed(&["h:/t/s"])),
        ("* * * * * root rsync -a ~/s/ h:/t", "/home/me/s", listed(&["h:/t"])),
        ("* * * * * cd /s && rsync -a ./ h:/t\\%d", "/s", listed(&["h:/t%d"])),
        ("for x in `cat list`; do rsync -a /s/ $x; done", "/s", Nodes::File("/here/list".into())),
        ("while read x; do rsync -a /s/ $x; done < /l", "/s", Nodes::File("/l".into())),
        ("cat /l | while read -r x; do rsync -a /s/ \"$x\"; done", "/s", Nodes::File("/l".into())),
        (
            "while read x; do rsync -a /s/ $x; done < <(grep -v '#' /l)",
            "/s",
            Nodes::File("/l".into()),
        ),
        (
            "mapfile -t n < /l\nfor x in \"${n[@]}\"; do rsync -a /s/ $x; done",
            "/s",
            Nodes::File("/l".into()),
        ),
        (
            "D=$(dirname \"$0\")\nfor x in $(cat $D/l); do rsync -a /s/ $x; done",
            "/s",
            Nodes::File("/scripts/l".into()),
        ),
    ] {
        let expected = (Some(source.to_owned()), Vec::new(), nodes);
        assert_eq!(copies(text), expected, "{text}");
    }
}

#[test]
fn two_trees_of_one_server_are_one_configuration() {
    let trees = vec!["repository/deployment/server".to_owned(), "repository/tenants".to_owned()];
    let text = "H=/o/mi\nfor x in a b; do\n\
        rsync -a $H/repository/deployment/server/ $x:/r/repository/deployment/server\n\
        rsync -a $H/repository/tenants/ $x:/r/repository/tenants --exclude=/tmp\ndone";
    assert_eq!(copies(text), (Some("/o/mi".into()), trees.clone(), listed(&["a:/r", "b:/r"])));
    let exclude = Value::List(vec!["/repository/tenants/tmp".into()]);
    assert_eq!(import(text).keys.get(&("source", "exclude")), Some(&exclude));
    assert!(checks(&import(text)).contains(&"several"), "the first leaves nothing out");
    let nodes = Nodes::File("/l".into());
    let text = "for x in $(cat /l); do\n\
        rsync -a /o/mi/repository/deployment/server $x/repository/deployment\n\
        rsync -a /o/mi/repository/tenants $x/repository/\ndone";
    assert_eq!(copies(text), (Some("/o/mi".into()), trees, nodes.clone()));
    // Both into the same place: that is no cluster's configuration.
    let text = "for x in $(cat /l); do\nrsync -a /o/s/ $x\nrsync -a /o/t/ $x\ndone";
    assert_eq!(copies(text), (Some("/o/s".into()), Vec::new(), nodes));
    assert!(checks(&import(text)).contains(&"several"));
}

#[test]
fn what_is_not_certain_is_said_and_not_guessed() {
    for (text, check, source, nodes) in [
        ("rsync -a $1 h:/t", "source", None, listed(&["h:/t"])),
        ("rsync -a $(find /s) h:/t", "source", None, listed(&["h:/t"])),
        ("rsync -a /s/ $(hosts):/t", "target", Some("/s"), Nodes::None),
        ("rsync -a /s/ h::mod/t", "daemon", Some("/s"), Nodes::None),
        ("rsync -a /s/ rsync://h/t", "daemon", Some("/s"), Nodes::None),
        ("rsync -a /s/ h:", "target", Some("/s"), Nodes::None),
        ("rsync -a ~you/s/ h:/t", "source", None, listed(&["h:/t"])),
        (
            "for x in $(cat /l); do rsync -a /s/ me@$x:/t; done",
            "nodes-file",
            Some("/s"),
            Nodes::None,
        ),
        ("rsync -a --exclude={a,b} /s/ h:/t", "braces", Some("/s"), listed(&["h:/t"])),
        ("rsync -a /s/ h:/t\nrsync -a /x/ i:/u", "several", Some("/s"), listed(&["h:/t"])),
    ] {
        let imported = import(text);
        assert!(checks(&imported).contains(&check), "{text}: {:?}", imported.findings);
        assert_eq!((imported.source.as_deref(), imported.nodes), (source, nodes), "{text}");
    }
}

#[test]
fn a_text_without_rsync_is_refused() {
    assert!(matches!(
        refused("echo rsync is nice\n# rsync -a /s/ h:/t\n"),
        Error::NotRsync { calls: None }
    ));
    assert!(
        matches!(refused("cat <<E\nrsync -a /s/ h:/t\nE\n"), Error::NotRsync { .. }),
        "a here-document"
    );
    let error = refused("* * * * * /home/u/rsync-for-carbon-depsync.sh");
    assert!(error.hint().contains("/home/u/rsync-for-carbon-depsync.sh"), "{}", error.hint());
    assert!(matches!(refused("rsync -a h:/s/ /t"), Error::Fetches));
    assert!(matches!(refused("rsync -a $1 $2"), Error::Unclear { .. }));
    assert!(matches!(refused("rsync"), Error::Unclear { .. }));
    assert!(matches!(
        refused("a\nrsync -e 'ssh /s/ h:/t\n"),
        Error::Unterminated { line: 2, what: "quote" }
    ));
    assert_eq!(script(b"\x7fELF\0\0", &at()), Err(Error::Binary));
    assert_eq!(script(&vec![b'a'; (1 << 20) + 1], &at()), Err(Error::TooLarge));
    assert!(matches!(script(b"rsync -a /\xff/ h:/\xfe", &at()), Err(Error::Unclear { .. })));
}

/// The findings of the faults in `text`.
fn faults(text: &str) -> Vec<&'static str> {
    let findings: Vec<Finding> = import(text).findings;
    let mut checks: Vec<_> =
        findings.iter().filter(|it| it.level == Level::Fault).map(|it| it.check).collect();
    checks.sort_unstable();
    checks
}

#[test]
fn a_fault_is_named_only_where_the_script_has_it() {
    // The one that every rsync has, and those of this call.
    assert_eq!(faults("rsync -a --delay-updates --timeout=5 /s/ h:/t"), ["drift"]);
    let with = |lines: &str| {
        let mut faults = faults(lines);
        faults.retain(|check| !matches!(*check, "drift" | "burst" | "timeout"));
        faults
    };
    for (text, expected) in [
        ("rsync -a --delete /s/ h:/t", &["delete"][..]),
        ("rsync -a --delete --max-delete=9 /s/ h:/t", &[]),
        ("rsync -a /s/ h:/t\necho", &["status"]),
        ("rsync -a /s/ h:/t\necho $?", &[]),
        ("rsync -a /s/ h:/t || exit 1\necho", &[]),
        ("if rsync -a /s/ h:/t; then echo; fi", &[]),
        ("for x in a b; do rsync -a /s/ $x:/t || exit; done", &["serial"]),
        ("for x in a b; do rsync -a /s/ $x:/t & done", &["status"]),
        ("set -e\nfor x in a b; do rsync -a /s/ $x:/t; done", &["serial", "status"]),
        ("trap 'rm -rf /l' EXIT\nmkdir /l || exit\nrsync -a /s/ h:/t", &["lock", "trap"]),
        ("mkdir /l || exit\ntrap 'rm -rf /l' EXIT\nrsync -a /s/ h:/t", &["lock"]),
        ("mkdir /var/log/x\nrsync -a /s/ h:/t", &[]),
        ("#!/bin/sh\npushd /\nrsync -a /s/ h:/t", &["pushd"]),
        ("#!/bin/bash\npushd /\nrsync -a /s/ h:/t", &[]),
        ("#!bin/sh\nrsync -a /s/ h:/t", &["interpreter"]),
        ("rsync -a /s/ h:/t >> /tmp/log", &["log"]),
        ("rsync -a /s/ h:/t >> /var/log/x", &[]),
        ("rsync -a -e 'ssh -oStrictHostKeyChecking=no' /s/ h:/t", &["host-keys"]),
        ("rsync -a -e 'ssh -o UserKnownHostsFile=/dev/null' /s/ h:/t", &["known-hosts"]),
        ("rsync -a /a/s h:/t", &["slash"]),
        ("s= /s/\nrsync -a $s h:/t", &["blank"]),
        ("echo ====\nrsync -a /s/ h:/t", &[]),
        ("rsync -a /s/ h:/t\r\n", &["crlf"]),
        ("* * * * * rsync -a /s/ h:/t", &[]),
    ] {
        assert_eq!(with(text), expected, "{text}");
    }
}

#[test]
fn only_lines_of_the_crontab_that_sync_are_replaced() {
    let lines = |text: &str| import(text).cron.iter().map(|entry| entry.line).collect::<Vec<_>>();
    assert_eq!(lines("0 1 * * * /x/backup.sh\n* * * * * rsync -a /s/ h:/t\n"), [2]);
    assert_eq!(lines("rsync -a /s/ h:/t\n* * * * * /x/sync.sh\n0 1 * * * df\n"), [2]);
}

#[test]
fn a_command_is_taken_as_its_words_are() {
    let words: Vec<String> =
        ["rsync", "-az", "--exclude", "*.tmp x", "src/", "h:/t $x"].map(str::to_owned).into();
    let imported = command(&words, &at()).expect("an rsync");
    assert_eq!(imported.source.as_deref(), Some("/here/src"));
    assert_eq!(imported.nodes, listed(&["h:/t $x"]));
    let exclude = Value::List(vec!["*.tmp x".into()]);
    assert_eq!(imported.keys, Keys::from([(("source", "exclude"), exclude)]));
    assert!(matches!(command(&["ls".into()], &at()), Err(Error::NotRsync { .. })));
    assert!(matches!(command(&[], &at()), Err(Error::NotRsync { .. })));
}

#[test]
fn includes_keep_their_meaning() {
    let imported = import("rsync -a --include='*/' --include='*.car' --exclude='*' /s/ h:/t");
    let expected = ["*", "!*.car", "!*/"].map(str::to_owned).into();
    assert_eq!(imported.keys.get(&("source", "exclude")), Some(&Value::List(expected)));
    let imported = import("rsync -a -f 'P *.back' -f'- x' --filter '+ y' /s/ h:/t");
    assert_eq!(imported.keys.get(&("guard", "protect")), Some(&Value::List(vec!["*.back".into()])));
}

#[test]
fn loops_within_loops_and_doubling_values_are_bounded() {
    let many = (0..200).map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
    let text = format!("for a in {many}; do for b in {many}; do rsync -a /s/ $a-$b:/t; done; done");
    assert!(matches!(refused(&text), Error::TooMuch));
    let doubling = format!("a=xxxx\n{}rsync -a /s/ h:/t", "a=\"$a$a\"\n".repeat(60));
    assert!(matches!(refused(&doubling), Error::TooMuch));
}

proptest::proptest! {
    #[test]
    fn any_text_is_taken_or_refused(text in "[-a-z \\n'\"`$(){}<>|&;=~/:*#\\\\\u{2013}\u{201c}]{0,80}") {
        for text in [text.clone(), format!("rsync -a /s/ h:/t {text}")] {
            let said = match script(text.as_bytes(), &at()) {
                Ok(imported) => imported.findings.into_iter().map(|it| it.message + &it.instead).collect(),
                Err(error) => vec![error.to_string(), error.hint()],
            };
            proptest::prop_assert!(!said.concat().chars().any(char::is_control));
        }
    }

    #[test]
    fn any_bytes_are_taken_or_refused(bytes: Vec<u8>) {
        drop(script(&bytes, &at()));
    }
}
