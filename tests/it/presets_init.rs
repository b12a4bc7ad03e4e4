//! `depsync init` on homes of servers.

use std::fs;

use crate::cli_bench::{Bench, Ran};

const SERVER: &str = "repository/deployment/server";

fn write(bench: &Bench, name: &str, text: &str) {
    fs::create_dir_all(bench.at(name).parent().expect("a parent")).expect("mkdir");
    bench.write(name, text.as_bytes());
}

fn init(bench: &Bench, options: &[&str]) -> (Ran, String) {
    let ran = bench.run(&[&["init", "--force"], options].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    (ran, fs::read_to_string(bench.at("depsync.toml")).expect("read"))
}

#[test]
fn a_home_is_looked_at_and_what_is_written_is_pushed() {
    let bench = Bench::new();
    write(&bench, &format!("mi/{SERVER}/carbonapps/readme.txt"), "x");
    write(&bench, "mi/repository/tenant/1/synapse-configs/a.xml", "<a/>");
    write(&bench, "mi/conf/deployment.toml", "x");
    fs::create_dir_all(bench.at("node/repository/deployment")).expect("mkdir");
    bench.write("nodes-list.txt", b"./node\n");
    let (ran, text) = init(&bench, &["--preset", "wso2-mi", "--home", "mi"]);
    for line in [
        "preset = \"wso2-mi\"",
        "source = \"mi\"",
        "trees = [\"repository/deployment/server\", \"repository/tenant\"]",
        "nodes = \"nodes-list.txt\"",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}: {text}");
    }
    assert_eq!(
        ran.stdout,
        "found repository/deployment/server\n\
         found in it: carbonapps\n\
         not found in it: axis2services, dataservices, synapse-configs, synapse-libs\n\
         found repository/tenant\n\
         wrote depsync.toml; see what would change with 'depsync plan'\n"
    );
    assert_eq!(ran.stderr, "");
    let ran = bench.run(&["push"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(bench.at("node/repository/tenant/1/synapse-configs/a.xml").is_file());
    assert!(!bench.at("node/conf").exists());
}

#[test]
fn what_server_it_is_shows_in_its_home() {
    for (file, text, preset) in [
        ("bin/micro-integrator.sh", "", "wso2-mi"),
        ("bin/integrator.sh", "", "wso2-ei"),
        ("bin/version.txt", "WSO2 Enterprise Service Bus v5.0.0\n", "wso2-ei"),
        ("bin/api-manager.sh", "", "wso2-apim"),
        ("bin/version.txt", "WSO2 API Manager v2.6.0\n", "wso2-apim"),
        ("bin/version.txt", "WSO2 Identity Server v5.11.0\n", "wso2-is"),
        ("bin/catalina.sh", "", "tomcat"),
    ] {
        let bench = Bench::new();
        write(&bench, &format!("home/{file}"), text);
        let deployment = if preset == "tomcat" { "webapps" } else { SERVER };
        fs::create_dir_all(bench.at("home").join(deployment)).expect("mkdir");
        let (ran, written) = init(&bench, &["--home", "home"]);
        let guess = format!("guessed {preset}, ");
        assert!(
            ran.stdout.starts_with(&guess) && ran.stdout.contains(&format!(": there is {file}\n"))
        );
        assert!(written.contains(&format!("\npreset = \"{preset}\"\n")), "{written}");
        assert!(written.contains(&format!("\ntrees = [\"{deployment}\"]\n")), "{written}");
        // What is said stands over what shows.
        let (ran, written) = init(&bench, &["--home", "home", "--preset", "wso2-is"]);
        assert!(written.contains("\npreset = \"wso2-is\"\n") && !ran.stdout.contains("guessed"));
    }
}

#[test]
fn what_is_missing_or_there_twice_is_told() {
    let bench = Bench::new();
    for name in ["tenants", "tenant"] {
        fs::create_dir_all(bench.at("home/repository").join(name)).expect("mkdir");
    }
    write(&bench, "home/bin/version.txt", "WSO2 Carbon v4.4.0\n");
    let (ran, written) = init(&bench, &["--home", "home"]);
    assert!(written.contains("\n#preset = "), "{written}");
    for told in [
        "warning: nothing in the home shows what server it is; give --preset\n",
        "warning: there is no repository/deployment/server in ",
        "warning: there are both repository/tenants and repository/tenant",
    ] {
        assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
    }
}

#[test]
fn plain_takes_a_source_and_no_home() {
    let bench = Bench::with_source();
    let (ran, written) = init(&bench, &["--preset", "plain", "--source", "source"]);
    assert!(ran.stdout.starts_with("wrote depsync.toml; name"), "{}", ran.stdout);
    assert!(
        written.contains("\npreset = \"plain\"\n") && written.contains("\nsource = \"source\"\n")
    );
    let before = fs::read(bench.at("depsync.toml")).expect("read");
    bench
        .run(&["init", "--force", "--preset", "plain", "--home", "source"])
        .assert_usage(&["the preset plain knows no home", "--source"]);
    let ran = bench.run(&["init", "--force", "--preset", "wso2"]);
    assert_eq!(ran.code, 64);
    assert!(ran.stderr.contains("wso2-mi, wso2-ei"), "{}", ran.stderr);
    assert_eq!(fs::read(bench.at("depsync.toml")).expect("read"), before);
}
