//! What the command line refuses, and that nothing has happened then.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::cli_bench::{Bench, Ran, USAGE};

#[test]
fn help_and_version_succeed_and_mistakes_are_usage() {
    let bench = Bench::new();
    for arguments in
        [&["--help"][..], &["--version"], &["help"], &["push", "-h"], &["push", "--help"]]
    {
        let ran = bench.run(arguments);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}");
        assert!(ran.stdout.contains("depsync"), "{arguments:?}");
    }
    for arguments in [
        &[][..],
        &["frob"],
        &["push", "--frob"],
        &["push", "a", "b"],
        &["push", "-j", "0"],
        &["push", "--deadline", "soon"],
        &["push", "--max-delete", "101%"],
        &["push", "--owner", "a:b:c"],
        &["push", "-v", "-q"],
        &["completions", "cmd"],
    ] {
        let ran = bench.run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (USAGE, ""), "{arguments:?}");
        assert!(!ran.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_misspelt_option_is_told_the_right_one() {
    let ran = Bench::new().run(&["push", "--max-delet", "5"]);
    assert_eq!(ran.code, USAGE);
    assert!(ran.stderr.contains("--max-delete"), "{}", ran.stderr);
}

#[test]
fn what_is_missing_is_named_with_a_way_out() {
    let bench = Bench::with_source();
    bench.run(&["push"]).assert_usage(&["no source is given", "hint: ", "depsync init"]);
    bench.run(&["push", "source"]).assert_usage(&["no nodes are given", "--node TARGET"]);
    bench.run(&["push", "source", "--nodes", "missing"]).assert_usage(&[
        "read the nodes file",
        "missing",
        "caused by",
    ]);
    bench
        .run(&["push", "source", "-c", "missing.toml"])
        .assert_usage(&["read the configuration", "missing.toml"]);
}

#[test]
fn what_is_said_twice_is_refused() {
    let bench = Bench::with_source();
    bench.write("nodes", b"./node\n");
    for arguments in [
        &["push", "source", "--source", "source", "--node", "./node"][..],
        &["push", "source", "--node", "./node", "--nodes", "nodes"],
        &["push", "source", "--node", "./node", "--node", "./node/"],
    ] {
        bench.run(arguments).assert_usage(&[]);
    }
    assert!(bench.node_is_untouched());
}

#[test]
fn fault_126_the_grammar_of_the_file_takes_all_usual_forms() {
    let bench = Bench::with_source();
    for nodes in [&b"\xef\xbb\xbf# c\r\n\r\n \t./node \t# c\r\n"[..], b"./node", b"\n./node\n\n"] {
        let ran = bench.push_to(nodes);
        assert_ne!(ran.code, USAGE, "{}", ran.stderr);
    }
}

#[test]
fn fault_127_duplicates_are_refused() {
    let bench = Bench::with_source();
    bench.push_to(b"./node\n./node/\n").assert_usage(&["line 2", "the same target as line 1"]);
    assert!(bench.node_is_untouched());
}

#[test]
fn fault_128_an_ipv6_address_is_never_misread() {
    let bench = Bench::with_source();
    for nodes in ["2001:db8::1:/x", "::1:/x", "fe80::1%eth0:/x", "[2001:db8::1]:22", "[::1:/x"] {
        bench.push_to(nodes.as_bytes()).assert_usage(&["line 1"]);
    }
}

#[test]
fn fault_129_a_port_is_1_to_65535() {
    let bench = Bench::with_source();
    for port in ["0", "65536", "abc", ""] {
        bench
            .push_to(format!("ssh://h:{port}/x").as_bytes())
            .assert_usage(&["is not a port from 1 to 65535"]);
    }
}

#[test]
fn fault_130_a_host_holds_nothing_a_shell_would_read() {
    let bench = Bench::with_source();
    for host in ["a b", "a;b", "$(b)", "a'b", "a\"b", "a`b`"] {
        bench.push_to(format!("{host}:/x").as_bytes()).assert_usage(&["is not a host"]);
    }
    bench.push_to(b"a\0b:/x").assert_usage(&["not a text"]);
}

#[test]
fn fault_131_nothing_that_starts_with_a_dash_runs_a_command() {
    let bench = Bench::with_source();
    let canary = bench.at("canary");
    let option = format!("-oProxyCommand=touch${{IFS}}{}", canary.display());
    for node in [
        format!("{option}:/x"),
        format!("{option}@h:/x"),
        format!("ssh://{option}/x"),
        format!("ssh://{option}@h/x"),
        format!("ssh://-h/x;touch {}", canary.display()),
        format!("$(touch {}):/x", canary.display()),
    ] {
        bench.push_to(node.as_bytes()).assert_usage(&["line 1"]);
        let by_option = bench.run(&["push", "source", &format!("--node={node}")]);
        by_option.assert_usage(&["is not a target"]);
        assert!(!canary.exists(), "{node} ran a command");
    }
}

#[test]
fn fault_132_user_and_host_are_there_once() {
    let bench = Bench::with_source();
    for node in ["user@:/x", "@host:/x", "a@b@host:/x"] {
        bench.push_to(node.as_bytes()).assert_usage(&["line 1"]);
    }
}

#[test]
fn fault_133_an_empty_list_is_no_success() {
    let bench = Bench::with_source();
    bench.push_to(b"").assert_usage(&["names no node"]);
    bench.push_to(b"# all gone\n\n").assert_usage(&["names no node"]);
    bench.push_to(&vec![b'x'; 10_000_000]).assert_usage(&["over"]);
    bench.push_to(&std::fs::read("/bin/true").expect("a program")).assert_usage(&["not a text"]);
}

#[test]
fn fault_134_one_bad_line_stops_all_and_all_bad_lines_are_listed() {
    let bench = Bench::with_source();
    let ran = bench.push_to(b"./node\nword\nh:/x # fine\nssh://h:0/x\n-o@h:/x\n");
    ran.assert_usage(&["3 bad lines", "line 2: word", "line 4: ssh://h:0/x", "line 5: -o@h:/x"]);
    assert!(bench.node_is_untouched());
}

#[test]
fn fault_135_a_list_that_others_could_change_is_refused() {
    let bench = Bench::with_source();
    let push = |name: &str| bench.run(&["push", "source", "--nodes", name]);
    let path = bench.write("open", b"./node\n");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("chmod");
    push("open").assert_usage(&["others may write it", "chmod go-w"]);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        bench.at("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("mkfifo");
    push("fifo").assert_usage(&["not a regular file"]);
    push("source").assert_usage(&["not a regular file"]);
    if rustix::process::geteuid().is_root() {
        bench.write("mine", b"./node\n");
        symlink("mine", bench.at("foreign")).expect("symlink");
        std::os::unix::fs::lchown(bench.at("foreign"), Some(65_534), None).expect("lchown");
        push("foreign").assert_usage(&["belongs to another user"]);
    }
    assert!(bench.node_is_untouched());
}

#[test]
fn limit_that_matches_nothing_is_refused() {
    let bench = Bench::with_source();
    let ran = bench.run(&["push", "source", "--node", "./node", "--limit", "web-*"]);
    ran.assert_usage(&["--limit web-* matches no node"]);
}

#[test]
fn flags_stand_over_the_environment_and_both_over_the_file() {
    let bench = Bench::with_source();
    bench.write("depsync.toml", b"[cluster]\nsource = \"source\"\nnodes = \"from-file\"\n");
    bench.run(&["push"]).assert_usage(&["from-file"]);
    let with_variable = |arguments: &[&str]| {
        let output = bench.command(arguments).env("DEPSYNC_NODES", "from-variable").output();
        Ran::of(output.expect("the program starts"))
    };
    with_variable(&["push"]).assert_usage(&["from-variable"]);
    with_variable(&["push", "--nodes", "from-flag"]).assert_usage(&["from-flag"]);
    with_variable(&["push", "--node", "word"]).assert_usage(&["'word' is not a target"]);
}
