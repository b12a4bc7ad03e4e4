use std::path::Path;

use super::*;

fn read(text: &str) -> Result<Settings, Error> {
    Reader { path: Path::new("/depsync.toml"), text }.read(true)
}

fn refused(text: &str) -> (String, Option<String>) {
    let failure = read(text).expect_err(text).failure();
    (failure.message, failure.hint)
}

#[test]
fn every_key_is_taken() {
    let settings = read(
        r#"
        [cluster]
        name = "mi-prod"
        preset = "wso2-mi"
        source = "home"
        trees = ["repository/deployment/server", "repository/tenants"]
        [[node]]
        target = "wso2@mi-1:server"
        labels = ["blue"]
        identity = "key"
        [[node]]
        target = "./local"
        [ssh]
        identity = ["/k1", "k2"]
        known_hosts = "known"
        options = ["Compression=no"]
        reuse = "0"
        agent = "/usr/bin/depsync"
        sudo_user = "wso2"
        [guard]
        max_delete = 100
        allow_empty = true
        min_free = "7%"
        marker = "release.txt"
        protect = ["*.back"]
        [source]
        exclude = ["*.log"]
        exclude_from = "list"
        xattrs = true
        acls = true
        hard_links = true
        owner = "wso2:wso2"
        safe_links = true
        skip_specials = true
        lint = "deny"
        [rollout]
        require = "all"
        parallel = 3
        [keep]
        releases = 9
        [storage]
        approach = "copy"
        state_dir = "/var/lib/depsync"
        commit = "swap"
        [run]
        timeout = 30
        connect_timeout = "5s"
        deadline = "1h30m"
        lock_timeout = 0
        bwlimit = "10M"
        log_file = "log"
        "#,
    )
    .expect("all keys");
    assert_eq!(settings.source.as_deref(), Some(Path::new("/home")));
    assert_eq!(settings.identities, [Path::new("/k1"), Path::new("/k2")]);
    assert_eq!(settings.exclude_from, [Path::new("/list")]);
    assert_eq!(settings.max_delete, Some(MaxDelete::Count(100)));
    assert_eq!(settings.deadline, Some(Duration::from_mins(90)));
    assert_eq!(settings.timeout, Some(Duration::from_secs(30)));
    assert_eq!(settings.bytes_per_second_max, Some(10 << 20));
    assert_eq!(settings.trees.map(|trees| trees.len()), Some(2));
    let Some(Nodes::Configured(nodes)) = settings.nodes else { panic!("no nodes") };
    assert_eq!(nodes[1].target.to_string(), "/local");
    assert_eq!(nodes[0].identity.as_deref(), Some(Path::new("/key")));
}

#[test]
fn an_unknown_key_shows_its_line_and_the_nearest_one() {
    let (message, hint) =
        refused("[cluster]\nname = \"a\"\n\n[guard]\n  max_delet = \"50%\" # cap\n");
    assert_eq!(
        message,
        "/depsync.toml:5: unknown key 'max_delet' in [guard]\n  5 |   max_delet = \"50%\" # cap\n    |   ^^^^^^^^^"
    );
    assert_eq!(hint.as_deref(), Some("did you mean 'max_delete'?"));
}

#[test]
fn keys_that_are_not_taken_are_each_told_why() {
    for (text, message, hint) in [
        (
            "[ssh]\nmax_delete = 1",
            "unknown key 'max_delete' in [ssh]",
            "'max_delete' is a key of [guard]",
        ),
        ("[guards]\nx = 1", "unknown section or key 'guards'", "did you mean [guard]?"),
        ("name = \"x\"", "unknown section or key 'name'", "'name' is a key of [cluster]"),
        ("source = \"x\"", "'source' is a section, not a key", "write it below [cluster]"),
        ("[keep]\nzzzzz = 1", "unknown key 'zzzzz' in [keep]", "[keep] takes releases"),
        (
            "[cluster]\npreset = \"wso2-m\"",
            "unknown preset 'wso2-m'\n  2 | preset = \"wso2-m\"\n    |          ^^^^^^^^",
            "did you mean 'wso2-mi'?",
        ),
        (
            "[cluster]\npreset = \"zzzzzzzzz\"",
            "unknown preset 'zzzzzzzzz'",
            "the presets are wso2-mi, wso2-ei, wso2-apim, wso2-is, tomcat, plain",
        ),
        ("[zzzzz]", "unknown section or key 'zzzzz'", "the sections are"),
        (
            "[[node]]\ntarget = \"a:x\"\nlabel = []",
            "unknown key 'label' in [node]",
            "did you mean 'labels'?",
        ),
    ] {
        let (told, hinted) = refused(text);
        assert!(told.contains(message), "{text}: {told}");
        assert!(hinted.clone().is_some_and(|hinted| hinted.contains(hint)), "{text}: {hinted:?}");
    }
}

#[test]
fn what_later_versions_take_is_refused_by_name() {
    for text in [
        "[gate]\nhttp = \"x\"",
        "[hooks]\npre_push = \"x\"",
        "[rollout]\nstrategy = \"rolling\"",
        "[rollout]\nstagger = \"2s\"",
    ] {
        let (message, _) = refused(text);
        assert!(message.contains("supported by this version"), "{text}: {message}");
    }
}

#[test]
fn a_value_that_is_not_taken_shows_its_line_and_what_is() {
    for (text, line, message) in [
        ("[run]\ndeadline = \"soon\"", 2, "1h30m"),
        ("[run]\ntimeout = 0", 2, "above zero"),
        ("[guard]\n\nallow_empty = \"yes\"", 3, "boolean"),
        ("[guard]\nprotect = [\n\"a\",\n\"b\\nc\"]", 2, "gitignore"),
        ("[keep]\nreleases = -1", 2, "-1"),
        ("[cluster]\nname = \"../x\"", 2, "a name of"),
        ("[cluster]\ntrees = [\"/etc\"]", 2, "below the source"),
        ("[[node]]\ntarget = \"word\"", 2, "neither a host"),
        ("[[node]]\ntarget = \"a:x\"\n[[node]]\ntarget = \"a:~/x\"", 4, "listed twice"),
        ("[cluster]\nnodes = \"n\"\n[[node]]\ntarget = \"a:x\"", 2, "both"),
        ("[cluster\nname = 1", 1, ""),
        ("[[node]]\nlabels = []", 1, "target"),
    ] {
        let (told, _) = refused(text);
        assert!(told.starts_with(&format!("/depsync.toml:{line}: ")), "{text}: {told}");
        assert!(told.contains(message), "{text}: {told}");
    }
}
