use super::super::Surroundings;
use super::*;

fn call(arguments: &[&str]) -> (Call, Vec<String>) {
    let mut notes = Notes::default();
    let at = Surroundings {
        home: Some("/home/me".into()),
        working_directory: "/here".into(),
        script_directory: None,
    };
    let fields = arguments.iter().map(|text| Field::text(*text)).collect();
    let call = read(fields, None, &Scope::new(&at), &mut notes);
    let said = notes.finish().into_iter();
    (call, said.map(|it| format!("{}: {}", it.level.word(), it.message)).collect())
}

fn key(arguments: &[&str], section: &'static str, key: &'static str) -> Option<Value> {
    call(arguments).0.keys.remove(&(section, key))
}

#[expect(clippy::unnecessary_wraps, reason = "as a key is looked up")]
fn text(text: &str) -> Option<Value> {
    Some(Value::Text(text.into()))
}

#[test]
fn options_become_keys() {
    let list = |texts: &[&str]| Some(Value::List(texts.iter().map(|&it| it.to_owned()).collect()));
    let rsh = "ssh -i '~/k 1' -p2222 -oProxyJump=b -o 'ConnectTimeout 5' -qAl me";
    assert_eq!(key(&["-arve", rsh], "ssh", "identity"), list(&["/home/me/k 1"]));
    let options = ["Port=2222", "ProxyJump=b", "ForwardAgent=yes", "User=me"];
    assert_eq!(key(&["--rsh", rsh], "ssh", "options"), list(&options));
    assert_eq!(key(&[&format!("-e{rsh}")], "run", "connect_timeout"), text("5s"));
    assert_eq!(key(&["--rsync-path=sudo -n rsync"], "ssh", "sudo_user"), text("root"));
    assert_eq!(key(&["--rsync-path", "sudo -u w /usr/bin/rsync"], "ssh", "sudo_user"), text("w"));
    assert_eq!(key(&["--max-delete=5"], "guard", "max_delete"), text("5"));
    assert_eq!(key(&["--chown=a:b"], "source", "owner"), text("a:b"));
    assert_eq!(key(&["-rt"], "source", "owner"), text("agent"));
    assert_eq!(key(&["-a"], "source", "owner"), None);
    assert_eq!(key(&["-a", "--no-o", "--no-group"], "source", "owner"), text("agent"));
    assert_eq!(key(&["-aX", "--no-X"], "source", "xattrs"), None);
    assert_eq!(key(&["-a", "--no-D"], "source", "skip_specials"), Some(Value::Flag(true)));
    assert_eq!(key(&["--timeout", "30"], "run", "timeout"), text("30s"));
    assert_eq!(key(&["--timeout=0"], "run", "timeout"), None);
    assert_eq!(key(&["--stop-after=5"], "run", "deadline"), text("5m"));
    assert_eq!(key(&["--log-file=l"], "run", "log_file"), text("/here/l"));
    for (limit, expected) in
        [("1000", "1000K"), ("1.5m", "1536K"), ("2M", "2M"), ("10KB", "10000"), ("1024", "1M")]
    {
        assert_eq!(key(&["--bwlimit", limit], "run", "bwlimit"), text(expected), "{limit}");
    }
}

#[test]
fn what_has_no_equal_is_named() {
    for (option, named) in [
        ("-L", "lost: rsync's --copy-links has no equal"),
        ("--files-from=x", "lost: rsync's --files-from x has no equal"),
        ("--no-times", "lost: rsync's --no-times has no equal"),
        ("--bwlimit=fast", "lost: rsync's --bwlimit fast has no equal"),
        ("--chown=:g", "lost: rsync's --chown :g has no equal"),
        ("--frobnicate", "lost: rsync has no option '--frobnicate' that is known"),
        ("-w", "lost: rsync has no option '-w' that is known"),
        ("-ersh", "lost: the remote shell 'rsh' is not ssh"),
        ("-essh -F cfg", "lost: ssh's -F has no equal"),
        ("--filter=: .rsync", "lost: rsync's filter rule ': .rsync' has no equal"),
        ("--exclude-from=-", "lost: rsync's --exclude-from - has no equal"),
        ("--rsh", "lost: rsync's --rsh has no value"),
        (
            "\u{2013}delete",
            "fault: '\u{2013}delete' begins with a dash, not with hyphens: rsync takes it for a file's name",
        ),
    ] {
        assert_eq!(call(&[option]).1, [named], "{option}");
    }
    assert!(call(&["\u{2013}delete"]).0.deletes);
}

#[test]
fn everything_that_is_done_anyway_is_silent() {
    let arguments =
        ["-avzhPiS", "--stats", "--progress", "--partial-dir=x", "--no-motd", "--cc=md5"];
    let (call, said) = call(&[&arguments[..], &["--", "-a", "b"]].concat());
    assert_eq!((said.len(), call.places.len(), call.keys.len()), (0, 2, 0), "{said:?}");
}
