//! Single values as people write them: durations, rates, shares, names. Each parser's error shows what is taken.

use std::time::Duration;

use crate::hub::advise::Since;
use crate::hub::history::Revision;
use crate::hub::options::{CommitStyle, MaxDelete, Require};
use crate::link::AgentProgram;
use crate::model::manifest::OwnerPolicy;
use crate::model::path::TreePath;
use crate::model::target::SshUser;
use crate::model::untrusted::Untrusted;
use crate::source::lint::Level;

/// Text that is not taken, and what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not {expected}")]
pub struct Error {
    /// The text, escaped.
    pub text: String,
    /// What is taken, with examples.
    pub expected: &'static str,
}

fn error(text: &str, expected: &'static str) -> Error {
    Error { text: Untrusted::new(text.as_bytes()).to_string(), expected }
}

/// Digits alone, without sign.
fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())?
}

/// Longest duration taken: ten years, far below any overflow of a clock.
const DURATION_MAX: Duration = Duration::from_hours(10 * 366 * 24);

/// `500ms`, `20s`, `2m`, `1h30m`; a bare number is seconds.
///
/// # Errors
/// Anything else, units not from large to small, or over ten years.
pub fn duration(text: &str) -> Result<Duration, Error> {
    let refused = || error(text, "a duration such as 500ms, 20s, 2m, 1h30m or a number of seconds");
    if let Some(seconds) = digits(text) {
        return Some(Duration::from_secs(seconds))
            .filter(|sum| *sum <= DURATION_MAX)
            .ok_or_else(refused);
    }
    // From large to small, so that `30m1h`, which is likely a slip, is refused.
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1u64)];
    let mut units = units.iter();
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = split_while(rest, |byte| byte.is_ascii_digit());
        let (unit, after) = split_while(after, |byte| byte.is_ascii_alphabetic());
        let millis =
            units.find(|(name, _)| *name == unit).map(|(_, millis)| *millis).ok_or_else(refused)?;
        let part = digits::<u64>(number)
            .and_then(|number| number.checked_mul(millis))
            .ok_or_else(refused)?;
        sum = sum.checked_add(Duration::from_millis(part)).ok_or_else(refused)?;
        rest = after;
    }
    if text.is_empty() || sum > DURATION_MAX { Err(refused()) } else { Ok(sum) }
}

/// A duration above zero.
///
/// # Errors
/// As [`duration`], and zero.
pub fn time_limit(text: &str) -> Result<Duration, Error> {
    match duration(text)? {
        Duration::ZERO => Err(error(text, "a time limit, which is above zero, such as 20s or 2m")),
        limit => Ok(limit),
    }
}

/// How an earlier release is named.
///
/// # Errors
/// Anything else.
pub fn revision(text: &str) -> Result<Revision, Error> {
    let expected = "a release: at least 4 digits of its id, @{1}, or '@{2 days ago}'";
    Revision::parse(text).ok_or_else(|| error(text, expected))
}

/// `2026-11-01`, which begins in UTC, `2026-11-01T08:00Z`, or how long ago: `7d`.
///
/// # Errors
/// Anything else; a bare number, which could be either.
pub fn since(text: &str) -> Result<Since, Error> {
    let expected = "a date such as 2026-11-01, or a time ago such as 7d or 36h";
    let date = || {
        let date: jiff::civil::Date = text.parse().ok().filter(|_| text.len() == 10)?;
        Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    if text.contains('-') {
        let at = date().or_else(|| text.parse().ok()).map(|at: jiff::Timestamp| at.as_second());
        return at.map(Since::At).ok_or_else(|| error(text, expected));
    }
    let ago = duration(text).ok().filter(|_| text.bytes().any(|byte| byte.is_ascii_alphabetic()));
    ago.map(Since::Ago).ok_or_else(|| error(text, expected))
}

fn split_while(text: &str, taken: impl Fn(u8) -> bool) -> (&str, &str) {
    text.split_at(text.bytes().take_while(|byte| taken(*byte)).count())
}

/// `512K`, `10M`, `1G` or a bare number: bytes a second in powers of 1024, above zero.
///
/// # Errors
/// Anything else.
pub fn rate(text: &str) -> Result<u64, Error> {
    let (number, unit) = split_while(text, |byte| byte.is_ascii_digit());
    let factor = match unit {
        "" => Some(1),
        "K" | "k" => Some(1 << 10),
        "M" | "m" => Some(1 << 20),
        "G" | "g" => Some(1u64 << 30),
        _ => None,
    };
    factor
        .and_then(|factor| digits::<u64>(number)?.checked_mul(factor))
        .filter(|rate| *rate > 0)
        .ok_or_else(|| error(text, "a rate in bytes a second, such as 512K or 10M"))
}

/// `N` or `P%`.
fn count_or_percent(text: &str) -> Option<(u64, bool)> {
    match text.strip_suffix('%') {
        Some(share) => {
            digits::<u64>(share).filter(|share| *share <= 100).map(|share| (share, true))
        }
        None => digits::<u64>(text).map(|count| (count, false)),
    }
}

/// `N` or `P%`: the most files and links that may go from a node.
///
/// # Errors
/// Anything else, or a share over 100 %.
pub fn max_delete(text: &str) -> Result<MaxDelete, Error> {
    match count_or_percent(text) {
        Some((share, true)) => u8::try_from(share).ok().map(MaxDelete::Percent),
        Some((count, false)) => Some(MaxDelete::Count(count)),
        None => None,
    }
    .ok_or_else(|| error(text, "a number of files such as 100, or a share such as 50%"))
}

/// `reachable`, `all`, `N` or `P%`: the nodes that must be prepared before any commits.
///
/// # Errors
/// Anything else, zero, or a share over 100 %.
pub fn require(text: &str) -> Result<Require, Error> {
    let refused =
        || error(text, "reachable, all, a number of nodes such as 3, or a share such as 80%");
    match text {
        "reachable" => Ok(Require::Reachable),
        "all" => Ok(Require::All),
        _ => match count_or_percent(text).filter(|(number, _)| *number > 0).ok_or_else(refused)? {
            (share, true) => u8::try_from(share).map(Require::Percent).ok(),
            (count, false) => usize::try_from(count).map(Require::Count).ok(),
        }
        .ok_or_else(refused),
    }
}

/// `in-place` or `swap`: how a release becomes live.
///
/// # Errors
/// Anything else.
pub fn commit_style(text: &str) -> Result<CommitStyle, Error> {
    match text {
        "in-place" => Ok(CommitStyle::InPlace),
        "swap" => Ok(CommitStyle::Swap),
        _ => Err(error(text, "in-place or swap")),
    }
}

/// `5%`: a share.
///
/// # Errors
/// Anything else, or over 100 %.
pub fn percent(text: &str) -> Result<u8, Error> {
    count_or_percent(text)
        .filter(|(_, is_share)| *is_share)
        .and_then(|(share, _)| u8::try_from(share).ok())
        .ok_or_else(|| error(text, "a share such as 5%"))
}

/// `numeric`, `agent` or `USER[:GROUP]`.
///
/// # Errors
/// Anything else.
pub fn owner(text: &str) -> Result<OwnerPolicy, Error> {
    let name = |name: &str| SshUser::new(name.as_bytes()).ok().map(|name| name.as_str().to_owned());
    let refused =
        || error(text, "numeric, agent, or a user with or without a group such as wso2:wso2");
    match text {
        "numeric" => Ok(OwnerPolicy::Numeric),
        "agent" => Ok(OwnerPolicy::Agent),
        _ => match text.split_once(':') {
            Some((user, group)) => name(user)
                .zip(name(group))
                .map(|(user, group)| OwnerPolicy::Named { user, group: Some(group) }),
            None => name(text).map(|user| OwnerPolicy::Named { user, group: None }),
        }
        .ok_or_else(refused),
    }
}

/// The name of a cluster, which becomes the name of a directory.
///
/// # Errors
/// Anything but 1 to 64 of `[A-Za-z0-9._-]`, not starting with `.` or `-`.
pub fn cluster_name(text: &str) -> Result<String, Error> {
    let taken = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let fits = (1..=64).contains(&text.len()) && !text.starts_with(['.', '-']);
    if fits && text.bytes().all(taken) {
        Ok(text.to_owned())
    } else {
        Err(error(
            text,
            "a name of at most 64 letters, digits, '.', '_' and '-' that starts with a letter or digit",
        ))
    }
}

/// A path below the source.
///
/// # Errors
/// Anything that [`TreePath::new`] refuses, and the empty path.
pub fn tree_path(text: &str) -> Result<TreePath, Error> {
    TreePath::new(text.trim_end_matches('/').as_bytes())
        .ok()
        .filter(|path| !path.is_root())
        .ok_or_else(|| error(text, "a path below the source, without '..' and a leading slash"))
}

/// A login name.
///
/// # Errors
/// Anything that [`SshUser::new`] refuses.
pub fn user(text: &str) -> Result<SshUser, Error> {
    SshUser::new(text.as_bytes()).map_err(|_refused| error(text, "a login name"))
}

/// `Key=value`, as `ssh -o` takes it.
///
/// # Errors
/// Anything else, or a control character.
pub fn ssh_option(text: &str) -> Result<String, Error> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    let fits = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if fits && !value.is_empty() && !text.bytes().any(|byte| byte.is_ascii_control()) {
        Ok(text.to_owned())
    } else {
        Err(error(text, "an option of ssh such as Compression=no"))
    }
}

/// `upload`, or the absolute path of an agent installed on each node.
///
/// # Errors
/// Anything else; the path becomes part of a command line, so it is made of `[A-Za-z0-9._+/-]` alone.
pub fn agent(text: &str) -> Result<AgentProgram, Error> {
    let taken = |byte: u8| byte.is_ascii_alphanumeric() || b"._+/-".contains(&byte);
    match text {
        "upload" => Ok(AgentProgram::Upload),
        _ if text.starts_with('/') && !text.ends_with('/') && text.bytes().all(taken) => {
            Ok(AgentProgram::Installed(text.to_owned()))
        }
        _ => Err(error(text, "upload, or an absolute path such as /usr/bin/depsync")),
    }
}

/// An absolute path on the nodes.
///
/// # Errors
/// Anything else, a `..` component or a control character.
pub fn remote_directory(text: &str) -> Result<String, Error> {
    crate::model::target::LocalPath::new(text.as_bytes())
        .map(|_checked| text.to_owned())
        .map_err(|_refused| error(text, "an absolute path without '..', such as /var/lib/depsync"))
}

/// What a finding of lint does.
///
/// # Errors
/// Anything but `off`, `warn` and `deny`.
pub fn lint(text: &str) -> Result<Level, Error> {
    match text {
        "off" => Ok(Level::Off),
        "warn" => Ok(Level::Warn),
        "deny" => Ok(Level::Deny),
        _ => Err(error(text, "off, warn or deny")),
    }
}

/// The name of a preset.
///
/// # Errors
/// Anything else.
pub fn preset(text: &str) -> Result<String, Error> {
    if super::presets::NAMES.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(error(text, "wso2-mi, wso2-ei, wso2-apim, wso2-is, tomcat or plain"))
}

/// Nodes worked on at once.
///
/// # Errors
/// Anything but 1 to 10,000.
pub fn parallel(text: &str) -> Result<usize, Error> {
    digits(text)
        .filter(|count| (1..=crate::model::limits::NODES_MAX).contains(count))
        .ok_or_else(|| error(text, "a number of nodes from 1 to 10000"))
}

/// One rule in gitignore's syntax, on one line.
///
/// # Errors
/// A line break or NUL, or a pattern that cannot be matched.
pub fn pattern(text: &str) -> Result<String, Error> {
    let refused = || error(text, "a pattern in gitignore's syntax, such as *.log or /tmp/");
    if text.contains(['\n', '\r', '\0']) {
        return Err(refused());
    }
    let mut builder = ignore::gitignore::GitignoreBuilder::new("");
    builder.add_line(None, text).map_err(|_refused| refused())?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_date_or_a_time_ago() {
        for (text, expected) in [
            ("2026-11-01", Since::At(1_793_491_200)),
            ("2026-11-01T08:00:01Z", Since::At(1_793_520_001)),
            ("1970-01-01", Since::At(0)),
            ("7d", Since::Ago(Duration::from_hours(7 * 24))),
            ("1d12h", Since::Ago(Duration::from_hours(36))),
        ] {
            assert_eq!(since(text), Ok(expected), "{text}");
        }
        for text in
            ["", "7", "20261101", "2026-13-01", "2026-11", "yesterday", "-7d", "11d-", "99999d"]
        {
            let message = since(text).expect_err(text).to_string();
            assert!(message.contains("2026-11-01"), "{message}");
        }
    }

    #[test]
    fn durations() {
        for (text, millis) in [
            ("0", 0),
            ("20", 20_000),
            ("500ms", 500),
            ("20s", 20_000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1d1ms", 86_400_001),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "s",
            "1.5s",
            "-1",
            "30m1h",
            "1m1m",
            "1 s",
            "5x",
            "1h30",
            "99999999999999999999",
            "99999d",
            "18446744073709551615",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(time_limit("0s").is_err());
        assert!(duration("soon").expect_err("refused").to_string().contains("1h30m"));
    }

    #[test]
    fn rates_and_shares() {
        assert_eq!(rate("512K"), Ok(512 * 1024));
        assert_eq!(rate("10M"), Ok(10 << 20));
        assert_eq!(rate("7"), Ok(7));
        for text in ["", "0", "K", "10MB", "1.5M", "-1K", "99999999999999G"] {
            assert!(rate(text).is_err(), "{text}");
        }
        assert_eq!(max_delete("50%"), Ok(MaxDelete::Percent(50)));
        assert_eq!(max_delete("0"), Ok(MaxDelete::Count(0)));
        assert!(
            max_delete("101%").is_err() && max_delete("%").is_err() && max_delete("-1").is_err()
        );
        assert_eq!(require("80%"), Ok(Require::Percent(80)));
        assert_eq!(require("3"), Ok(Require::Count(3)));
        assert!(require("0").is_err() && require("most").is_err() && require("0%").is_err());
        assert_eq!(percent("5%"), Ok(5));
        assert!(percent("5").is_err());
    }

    #[test]
    fn names() {
        assert_eq!(cluster_name("mi-prod.1").as_deref(), Ok("mi-prod.1"));
        for text in ["", ".", "..", "-x", "a/b", "a b", "ü", &"x".repeat(65)] {
            assert!(cluster_name(text).is_err(), "{text}");
        }
        assert_eq!(
            owner("wso2:staff"),
            Ok(OwnerPolicy::Named { user: "wso2".into(), group: Some("staff".into()) })
        );
        assert!(
            owner("a:").is_err()
                && owner(":a").is_err()
                && owner("a:b:c").is_err()
                && owner("").is_err()
        );
        assert!(agent("/usr/bin/depsync").is_ok() && agent("upload").is_ok());
        assert!(agent("depsync").is_err() && agent("/x y").is_err() && agent("/x;y").is_err());
        assert!(ssh_option("ProxyJump=a").is_ok());
        assert!(
            ssh_option("ProxyJump").is_err()
                && ssh_option("-oX=y").is_err()
                && ssh_option("A=b\nc").is_err()
        );
        assert!(
            tree_path("a/b/").is_ok()
                && tree_path("/a").is_err()
                && tree_path("a/../b").is_err()
                && tree_path("").is_err()
        );
        assert!(pattern("*.log").is_ok() && pattern("a\nb").is_err());
    }
}
