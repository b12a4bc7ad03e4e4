//! The units, read by systemd's own parser.

use std::process::Command;

use crate::cli_bench::Bench;
use crate::prerequisite::require;
use crate::recipe_files::{CLUSTER, ODD, toml};

/// Nodes have an agent that is surely there, as what verifies a unit looks at its program.
const AGENT: &str = "[ssh]\nagent = \"/bin/true\"\n";

fn analyze(arguments: &[&str], files: &[std::path::PathBuf]) -> String {
    let output = Command::new("systemd-analyze")
        .args(["--man=no", "--no-pager"])
        .args(arguments)
        .args(files)
        .output()
        .expect("systemd-analyze");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    text(output.stdout) + &text(output.stderr)
}

/// The units that are made of `config`.
fn units(bench: &Bench, config: &str, arguments: &[&str]) -> Vec<std::path::PathBuf> {
    let ran = bench.run(
        &[&["recipe", arguments[0], "-c", config, "-o", "out", "--force"], &arguments[1..]]
            .concat(),
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let list = |name: &str| {
        let entries = std::fs::read_dir(bench.at("out").join(name)).expect("list");
        entries.map(|entry| entry.expect("an entry").path()).collect::<Vec<_>>()
    };
    let directories = list(".");
    let names = directories.iter().filter_map(|path| path.file_name()?.to_str());
    names.flat_map(list).filter(|path| path.extension().is_some_and(|end| end != "conf")).collect()
}

#[test]
fn systemd_finds_nothing_to_say_about_the_units() {
    if !require("systemd_finds_nothing_to_say_about_the_units", &["systemd-analyze"]) {
        return;
    }
    let bench = Bench::with_source();
    bench.write("depsync.toml", format!("{CLUSTER}{AGENT}").as_bytes());
    std::fs::create_dir(bench.at(ODD)).expect("mkdir");
    let odd = bench.at(ODD).display().to_string();
    let remote = format!("h:{odd}/x");
    let text = format!(
        "[cluster]\nname = \"o.d-d\"\nsource = {}\n[[node]]\ntarget = {}\n[[node]]\ntarget = {}\n[[node]]\n\
         target = \"g:relative\"\n[storage]\nstate_dir = {}\n{AGENT}",
        toml(&format!("{odd}/source")),
        toml(&format!("{odd}/node")),
        toml(&remote),
        toml(&format!("{odd}/s")),
    );
    bench.write(&format!("{ODD}/depsync.toml"), text.as_bytes());
    let odd_config = format!("{odd}/depsync.toml");
    for (config, arguments) in [
        ("depsync.toml", &["systemd", "--before", "wso2mi.service"][..]),
        (&odd_config, &["systemd", "--every", "1h30m"]),
        ("depsync.toml", &["nfs", "--server", "2001:db8::1"]),
        (&odd_config, &["nfs", "--server", "h", "--mount", &odd]),
    ] {
        drop(std::fs::remove_dir_all(bench.at("out")));
        let units = units(&bench, config, arguments);
        let units: Vec<_> = units
            .into_iter()
            .filter(|path| !path.ends_with("fstab") && !path.ends_with("exports"))
            .collect();
        assert!(!units.is_empty());
        assert_eq!(analyze(&["verify"], &units), "", "{arguments:?}");
    }
}

#[test]
fn the_units_expose_little() {
    if !require("the_units_expose_little", &["systemd-analyze"]) {
        return;
    }
    let bench = Bench::with_source();
    bench.write("depsync.toml", format!("{CLUSTER}{AGENT}").as_bytes());
    let arguments = ["systemd", "--user", "nobody", "--program", "/usr/bin/true"];
    for unit in units(&bench, "depsync.toml", &arguments) {
        if unit.extension().is_some_and(|end| end == "timer") {
            continue;
        }
        let text = std::fs::read_to_string(&unit).expect("a unit");
        // The configuration of this test lies in /tmp, which no operator's does.
        std::fs::write(&unit, text.replace("PrivateTmp=no", "PrivateTmp=yes")).expect("written");
        let told = analyze(&["security", "--offline=true", "--threshold=20"], &[unit]);
        let level = told
            .lines()
            .find_map(|line| line.split_once("exposure level for "))
            .expect("a level")
            .1;
        let level: f64 =
            level.split_whitespace().nth(1).expect("a number").parse().expect("a number");
        assert!(level <= 2.0, "{told}");
    }
}

#[test]
fn a_node_whose_agent_is_the_slim_program_recovers_by_the_whole_one_beside_it() {
    let bench = Bench::with_source();
    for (agent, program) in [
        ("/opt/d/depsync-agent", "/opt/d/depsync"),
        ("/opt/d/my-depsync-agent", "/opt/d/my-depsync-agent"),
        ("upload", "/usr/local/bin/depsync"),
    ] {
        let config = format!("{CLUSTER}[ssh]\nagent = \"{agent}\"\n");
        bench.write("depsync.toml", config.as_bytes());
        let ran = bench.run(&["recipe", "systemd"]);
        let start = format!("ExecStart={program} agent --recover ");
        assert_eq!(ran.stdout.matches(&start).count(), 1, "{agent}: {}", ran.stdout);
    }
}

#[test]
fn nodes_that_need_the_same_share_a_unit() {
    let bench = Bench::with_source();
    let cluster = format!(
        "{CLUSTER}[[node]]\ntarget = \"root@mi-3:/srv/x\"\n[[node]]\ntarget = \"./node\"\n"
    );
    bench.write("depsync.toml", cluster.as_bytes());
    let ran = bench.run(&["recipe", "systemd"]);
    for words in [
        "# --- hub/depsync-mi-recover.service ---",
        "# --- node-1/depsync-mi-recover-1.service ---",
        "# --- node-2/depsync-mi-recover-2.service ---",
        "# For mi-3; the program is to be installed there as /usr/local/bin/depsync.",
        "# For mi-1 mi-2; the program",
        "agent --recover /opt/wso2mi/server\n",
        "agent --recover /srv/x\n",
    ] {
        assert_eq!(ran.stdout.matches(words).count(), 1, "{words}: {}", ran.stdout);
    }
}
