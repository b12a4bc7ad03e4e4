use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Target, Error> {
    let base = LocalPath::new(b"/etc/cluster").expect("an absolute path");
    Target::parse(text.as_bytes(), &base)
}

fn normal(text: &str) -> String {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).to_string()
}

#[test]
fn each_form_has_one_normal_form() {
    for (text, expected) in [
        ("root@192.168.0.10:/opt/wso2mi/server", "root@192.168.0.10:/opt/wso2mi/server"),
        ("mi-1:/srv/x///", "mi-1:/srv/x"),
        ("mi-1:/srv//x/./y", "mi-1:/srv/x/y"),
        ("mi-1:x", "mi-1:x"),
        ("mi-1:~/x/", "mi-1:x"),
        ("mi-1:./x", "mi-1:x"),
        ("mi-1:a b/c:d@e", "mi-1:a b/c:d@e"),
        ("mi-1:/a@[x", "mi-1:/a@[x"),
        ("mi-1:./22", "mi-1:./22"),
        ("mi-1:./~x", "mi-1:./~x"),
        ("mi-1:./:x", "mi-1:./:x"),
        ("ssh:/x", "ssh:/x"),
        ("ssh://mi-1/srv/x", "mi-1:/srv/x"),
        ("ssh://u@mi-1:2222/srv/x", "ssh://u@mi-1:2222/srv/x"),
        ("ssh://mi-1:22/~/x", "ssh://mi-1:22/~/x"),
        ("ssh://mi-1/~/x", "mi-1:x"),
        ("/srv/x/", "/srv/x"),
        ("./x", "/etc/cluster/x"),
        (".", "/etc/cluster"),
        ("../x", "/etc/x"),
        (".././../../x", "/x"),
        ("file:///srv/x", "/srv/x"),
    ] {
        assert_eq!(normal(text), expected, "{text}");
        assert_eq!(normal(&normal(text)), expected, "{text} again");
    }
}

#[test]
fn an_explicit_port_stays_distinct() {
    assert_ne!(parse("ssh://h:22/x").expect("valid"), parse("h:/x").expect("valid"));
    assert_eq!(parse("ssh://h/x").expect("valid"), parse("h:/x").expect("valid"));
}

#[test]
fn fault_128_ipv6_is_read_in_brackets_alone() {
    for (text, expected) in [
        ("[2001:db8::1]:/x", "[2001:db8::1]:/x"),
        ("[2001:DB8:0:0::1]:/x", "[2001:db8::1]:/x"),
        ("u@[fe80::1%eth0]:x", "u@[fe80::1%eth0]:x"),
        ("ssh://[2001:db8::1]:22/x", "ssh://[2001:db8::1]:22/x"),
        ("ssh://u@[::1]/x", "u@[::1]:/x"),
    ] {
        assert_eq!(normal(text), expected, "{text}");
    }
    for text in [
        "::1:/x",
        "::1",
        "2001:db8::1:/x",
        "2001:db8::1",
        "fe80::1%eth0:/x",
        "u@fe80::1:22:/x",
        "ssh://::1/x",
        "ssh://2001:db8::1:22/x",
        "[::1/x",
        "[::1]x:/y",
        "[mi-1]:/x",
        "[1.2.3.4]:/x",
        "[::1]",
        "[::1]22:/x",
        "[fe80::1%]:/x",
        "[fe80::1%25eth0]:/x",
        "[fe80::1%-e]:/x",
        "[fe80::1%e$]:/x",
        "[2001:db8::1]:22",
        "ssh://[2001:db8::1]:22",
        "1:2:3:4:5:6:7:8:/x",
    ] {
        assert!(parse(text).is_err(), "{text} was read as {:?}", parse(text));
    }
}

#[test]
fn fault_129_ports_are_1_to_65535() {
    for port in ["0", "65536", "abc", "", "-1", "+22", "22 ", "99999999999"] {
        let error = parse(&format!("ssh://h:{port}/x")).expect_err(port);
        assert!(matches!(error, Error::Port { .. }), "{port}: {error}");
    }
    assert!(parse("ssh://h:1/x").is_ok() && parse("ssh://h:65535/x").is_ok());
    assert!(
        parse("h:22").is_err() && parse("h:2222/x").is_err(),
        "a number is not taken for a path"
    );
}

#[test]
fn fault_130_hosts_hold_nothing_that_a_shell_would_read() {
    for host in [
        "a b", "a;b", "$(b)", "a'b", "a\"b", "a\nb", "a\0b", "a`b", "a|b", "a*", "ü", ".", "a_b",
        "a\\b", "a%b",
    ] {
        assert!(parse(&format!("{host}:/x")).is_err(), "{host}");
        assert!(parse(&format!("ssh://{host}/x")).is_err(), "{host}");
        assert!(parse(&format!("{host}@h:/x")).is_err() || host == "." || host == "a_b", "{host}");
    }
}

#[test]
fn fault_131_nothing_starts_with_a_dash() {
    for text in ["-oProxyCommand=x:/x", "-h:/x", "-u@h:/x", "ssh://-h/x", "ssh://-u@h/x"] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn fault_132_user_and_host_are_there_once() {
    for text in [
        "user@:/x",
        "@host:/x",
        "a@b@host:/x",
        "user@",
        "@host",
        "ssh://a@b@h/x",
        "ssh://@h/x",
        "ssh:///x",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn what_could_mean_two_things_is_refused() {
    for text in [
        "",
        "word",
        "a/b",
        "a/b:c",
        "~/x",
        "host:",
        "host:/",
        "host:~",
        "host:~/",
        "host:~user/x",
        "host:/~x",
        "/",
        "///",
        "host::x",
        "host:../x",
        "host:a/../b",
        "/a/../b",
        "./a/../b",
        "file:x",
        "file:/x",
        "file://h/x",
        "file:///",
        "http://h/x",
        "rsync://h/x",
        "host://x",
        "ssh://h",
        "ssh://h/",
        "ssh://h/~",
        "ssh://h/~u/x",
        "ssh://h/a%20b",
        "h:/a\tb",
        "../../..",
    ] {
        assert!(parse(text).is_err(), "{text} was read as {:?}", parse(text));
    }
    assert!(parse("word").expect_err("bare").hint().is_some_and(|hint| hint.contains("./dir")));
}

#[test]
fn paths_are_bytes() {
    let base = LocalPath::new(b"/").expect("the root");
    let target = Target::parse(b"h:/a\xff\xfe", &base).expect("valid");
    assert_eq!(target.directory(), b"/a\xff\xfe");
    assert_eq!(target.to_string(), "h:/a\\xff\\xfe");
    assert_eq!(Target::parse(b"./x", &base).expect("valid").directory(), b"/x");
}

proptest! {
    #[test]
    fn what_prints_reads_back(text in "([a-z]{1,3}@)?(\\[[0-9a-f:]{2,9}\\]|[a-z0-9.]{1,5})(:[0-9]{1,3})?[:/][-~./a-z0-9: @%]{1,12}", scheme in any::<bool>()) {
        let text = if scheme { format!("ssh://{text}") } else { text };
        if let Ok(target) = parse(&text) {
            let shown = target.to_string();
            prop_assert_eq!(parse(&shown), Ok(target), "{} shown as {}", text, shown);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_panic(text in proptest::collection::vec(any::<u8>(), 0..40)) {
        let base = LocalPath::new(b"/base").expect("absolute");
        if let Ok(Target::Ssh(target)) = Target::parse(&text, &base) {
            prop_assert!(!target.host.as_str().starts_with('-'));
            prop_assert!(!target.path.as_bytes().is_empty());
        }
    }
}
