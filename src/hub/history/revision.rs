//! [`Revision`]: how an operator names an earlier release.
//!
//! ```text
//! @{2}            the release that was live two releases ago; @{0} is the one that is
//! @{2 days ago}   the one that was live then
//! 3f9c            the one release whose id begins so
//! ```
//! The notation is git's.

use crate::model::manifest::ReleaseId;

/// Fewer digits of an id say nothing.
const PREFIX_DIGITS_MIN: usize = 4;
/// Names of releases in a message.
const NAMES_MAX: usize = 8;
const UNITS: [(&str, i64); 6] = [
    ("second", 1),
    ("minute", 60),
    ("hour", 3_600),
    ("day", 86_400),
    ("week", 7 * 86_400),
    ("year", 366 * 86_400),
];

/// How an operator names an earlier release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revision {
    /// So many releases ago.
    Back(usize),
    /// What was live so many seconds ago.
    Ago(i64),
    /// The one whose id begins with these digits.
    Prefix(String),
}

/// Why a revision names no release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unresolved {
    /// None begins so.
    #[error("no release begins with {prefix}; known here are {}", listed(.known.iter().map(ReleaseId::short)))]
    Unknown {
        /// What was given.
        prefix: String,
        /// The releases that are known.
        known: Vec<ReleaseId>,
    },
    /// Several begin so.
    #[error("{prefix} is the beginning of {}", listed(.found.iter().map(ToString::to_string)))]
    Ambiguous {
        /// What was given.
        prefix: String,
        /// The releases that begin so.
        found: Vec<ReleaseId>,
    },
    /// The history does not go back so far.
    #[error("the history of this cluster has {known} releases, and none before them")]
    TooEarly {
        /// How many it has.
        known: usize,
    },
}

fn listed(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(NAMES_MAX);
    let names: Vec<String> = names.take(NAMES_MAX).collect();
    match names.split_last() {
        None => "none".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, others)) if more == 0 => format!("{} and {last}", others.join(", ")),
        Some(_) => format!("{} and {more} more", names.join(", ")),
    }
}

impl Revision {
    /// Reads what an operator wrote.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix("@{").and_then(|rest| rest.strip_suffix('}')) {
            return Self::parse_braces(inner.trim());
        }
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_prefix = is_hex && (PREFIX_DIGITS_MIN..=64).contains(&text.len());
        is_prefix.then(|| Self::Prefix(text.to_ascii_lowercase()))
    }

    fn parse_braces(inner: &str) -> Option<Self> {
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !inner.is_empty() && is_digits(inner) {
            return inner.parse().ok().map(Self::Back);
        }
        let mut words = inner.split_whitespace();
        let count: i64 = words.next().filter(|word| is_digits(word))?.parse().ok()?;
        let unit = words.next()?;
        let unit = unit.strip_suffix('s').unwrap_or(unit);
        let seconds = UNITS.iter().find(|(name, _)| *name == unit)?.1.checked_mul(count)?;
        (words.next() == Some("ago") && words.next().is_none()).then_some(Self::Ago(seconds))
    }

    /// The release that is meant. `live` are those that were, newest first, with the moments from which on, in seconds; `stored`
    /// are further ones whose ids are known; `now` is the moment.
    ///
    /// # Errors
    /// [`Unresolved`].
    pub fn resolve(
        &self,
        live: &[(ReleaseId, i64)],
        stored: &[ReleaseId],
        now: i64,
    ) -> Result<ReleaseId, Unresolved> {
        let too_early = Unresolved::TooEarly { known: live.len() };
        let found = match self {
            Self::Back(count) => live.get(*count),
            Self::Ago(seconds) => {
                live.iter().find(|(_, from)| *from <= now.saturating_sub(*seconds))
            }
            Self::Prefix(prefix) => return Self::find(prefix, live, stored),
        };
        found.map(|(release, _)| *release).ok_or(too_early)
    }

    fn find(
        prefix: &str,
        live: &[(ReleaseId, i64)],
        stored: &[ReleaseId],
    ) -> Result<ReleaseId, Unresolved> {
        let mut known: Vec<ReleaseId> = Vec::new();
        for release in live.iter().map(|(release, _)| *release).chain(stored.iter().copied()) {
            if !known.contains(&release) {
                known.push(release);
            }
        }
        let fits = |release: &ReleaseId| release.to_string().starts_with(prefix);
        let found: Vec<ReleaseId> = known.iter().copied().filter(fits).collect();
        let prefix = prefix.to_owned();
        match found[..] {
            [one] => Ok(one),
            [] => Err(Unresolved::Unknown { prefix, known }),
            _ => Err(Unresolved::Ambiguous { prefix, found }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::digest::Digest;

    fn release(first: u8) -> ReleaseId {
        let mut bytes = [first; 32];
        bytes[2] = 0;
        Digest(bytes)
    }

    #[test]
    fn revisions_are_read_as_git_writes_them() {
        for (text, revision) in [
            ("@{0}", Some(Revision::Back(0))),
            ("@{12}", Some(Revision::Back(12))),
            ("@{2 days ago}", Some(Revision::Ago(172_800))),
            ("@{ 1 hour ago }", Some(Revision::Ago(3_600))),
            ("@{3 weeks ago}", Some(Revision::Ago(1_814_400))),
            ("abCD", Some(Revision::Prefix("abcd".into()))),
            ("abc", None),
            ("", None),
            ("@{}", None),
            ("@{-1}", None),
            ("@{2 days}", None),
            ("@{2 moons ago}", None),
            ("@{99999999999999999999}", None),
            ("@{9223372036854775807 days ago}", None),
            ("abcg", None),
            ("@{1}x", None),
        ] {
            assert_eq!(Revision::parse(text), revision, "{text}");
        }
        assert_eq!(Revision::parse(&"a".repeat(65)), None);
    }

    #[test]
    fn a_revision_names_one_release_or_says_why_not() {
        let live = [(release(3), 300), (release(2), 200), (release(1), 100)];
        let resolve = |text: &str| {
            let revision = Revision::parse(text).expect(text);
            revision.resolve(&live, &[release(1), release(0x12)], 1_000)
        };
        assert_eq!(resolve("@{0}"), Ok(release(3)));
        assert_eq!(resolve("@{2}"), Ok(release(1)));
        assert_eq!(resolve("@{3}"), Err(Unresolved::TooEarly { known: 3 }));
        assert_eq!(resolve("@{700 seconds ago}"), Ok(release(3)));
        assert_eq!(resolve("@{701 seconds ago}"), Ok(release(2)));
        assert_eq!(resolve("@{901 seconds ago}"), Err(Unresolved::TooEarly { known: 3 }));
        assert_eq!(resolve("0202"), Ok(release(2)));
        assert_eq!(resolve("1212"), Ok(release(0x12)), "only its manifest is there");
        let message = |text| resolve(text).expect_err("unresolved").to_string();
        assert_eq!(
            message("ffff"),
            "no release begins with ffff; known here are 030300030303, 020200020202, 010100010101 and 121200121212"
        );
        let mut close = release(1);
        close.0[31] = 9;
        let revision = Revision::parse("0101").expect("a prefix");
        let found = revision.resolve(&live, &[close], 1_000).expect_err("ambiguous").to_string();
        assert_eq!(found, format!("0101 is the beginning of {} and {close}", release(1)));
    }
}
