//! A machine with systemd as process 1 runs the units of `depsync recipe systemd --install`: three clusters, one of them over
//! ssh, one with the oddest names, under the units' hardening.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Apart, depsync, ground, require, write};
use crate::failure::{Failure, Result, at};
use crate::{program, workspace};

/// What the machine is unpacked from: the release of the hosts that this is tested on.
const SUITE: &str = "bookworm";
const MIRROR: &str = "http://deb.debian.org/debian";
const PACKAGES: &str = "--include=systemd,systemd-sysv,dbus,openssh-server,openssh-client,procps";
/// The longest that the machine may take from its start to its end.
const PATIENCE: Duration = Duration::from_mins(5);
/// The level of exposure that `systemd-analyze security` may give a service.
const LEVEL_MAX: f64 = 2.0;

/// Runs it and tells what it came to.
///
/// # Errors
/// A target differs from its source, a unit failed, or one exposes more than [`LEVEL_MAX`].
pub(super) fn run() -> Result<String> {
    require(&[
        ("debootstrap", "debootstrap"),
        ("systemd-nspawn", "systemd-container"),
        ("unshare", "util-linux"),
    ])?;
    let debian = debian()?;
    let ground = ground("machine")?;
    let share = ground.join("share");
    for (name, text) in [
        ("prepare.sh", include_str!("prepare.sh")),
        ("watch.sh", include_str!("watch.sh")),
        ("watch.service", include_str!("watch.service")),
        ("first", "one\n"),
        ("second", "two\n"),
    ] {
        write(&share.join(name), text)?;
    }
    let copy = share.join("depsync");
    std::fs::copy(depsync(), &copy).map_err(at("write", &copy))?;
    let result = share.join("result");
    let mut machine = Apart::start(
        &["--mount", "--pid", "--fork", "--mount-proc"],
        include_str!("machine.sh"),
        &[&debian, &ground],
    )?;
    let is_reached = machine.wait(PATIENCE, || result.exists());
    // It ends by itself, but nothing is left of it if it does not.
    machine.wait(Duration::from_secs(20), || false);
    drop(machine);
    let told = std::fs::read_to_string(&result).unwrap_or_default();
    judged(&told).ok_or_else(|| {
        let why = if is_reached { "the machine came to" } else { "the machine came to no result" };
        Failure::new(format!("{why}\n{told}see {}", share.display()))
    })
}

/// The figures, if all that was told is good.
fn judged(told: &str) -> Option<String> {
    let lines = |first: &'static str| {
        told.lines().filter_map(move |line| line.strip_prefix(first)?.strip_prefix(' '))
    };
    let numbers = |first: &'static str| -> Option<Vec<f64>> {
        lines(first).map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
    };
    let units: Vec<&str> = lines("unit").collect();
    let (runs, failures, levels) = (numbers("runs")?, numbers("failures")?, numbers("level")?);
    let is_good = told.ends_with("done\n")
        && units.len() == 6
        && units.iter().all(|unit| unit.ends_with(" success 0"))
        && runs.len() == 3
        && runs.iter().all(|runs| *runs >= 2.0)
        && failures.iter().all(|failures| *failures < 1.0)
        && levels.len() == 3
        && levels.iter().all(|level| *level <= LEVEL_MAX);
    let levels: Vec<String> = levels.iter().map(f64::to_string).collect();
    is_good.then(|| {
        format!(
            "systemd {}: {} runs of 3 clusters (ssh, local, odd names), all targets identical, exposure {}",
            lines("systemd").next().unwrap_or("?"),
            runs.iter().sum::<f64>(),
            levels.join(", "),
        )
    })
}

/// The unpacked Debian, made once.
fn debian() -> Result<PathBuf> {
    let home = workspace::target().join("approaches");
    let debian = home.join("debian");
    if debian.join("usr/bin/pkill").exists() {
        return Ok(debian);
    }
    let new = home.join("debian.new");
    for old in [&debian, &new] {
        if Path::exists(old) {
            std::fs::remove_dir_all(old).map_err(at("remove", old))?;
        }
    }
    std::fs::create_dir_all(&home).map_err(at("create", &home))?;
    println!("unpacking Debian {SUITE} to {}", debian.display());
    program::quiet(&[
        "debootstrap",
        "--variant=minbase",
        PACKAGES,
        SUITE,
        &new.display().to_string(),
        MIRROR,
    ])?;
    std::fs::rename(&new, &debian).map_err(at("rename", &new))?;
    Ok(debian)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_unit_or_too_few_runs_are_no_result() {
        let cluster = |name: &str| {
            format!(
                "unit depsync-{name} success 0\nunit depsync-{name}-recover success 0\nruns {name} 2\nfailures {name} 0\nlevel {name} 1.5\n"
            )
        };
        let good = ["mi", "local", "odd"].map(cluster).concat() + "systemd 252\ndone\n";
        let figures = judged(&good).unwrap_or_default();
        assert!(figures.starts_with("systemd 252: 6 runs") && figures.ends_with("1.5, 1.5, 1.5"));
        for (from, to) in [
            ("odd success 0", "odd exit-code 1"),
            ("runs mi 2", "runs mi 1"),
            ("failures mi 0", "failures mi 1"),
            ("level local 1.5", "level local 2.5"),
            ("level local 1.5\n", ""),
            ("done\n", ""),
        ] {
            assert_eq!(judged(&good.replace(from, to)), None, "{to}");
        }
    }
}
