//! The parsers of [`values`] as serde takes them.

use std::path::PathBuf;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::config::values;
use crate::hub::options::{CommitStyle, MaxDelete, Require};
use crate::link::AgentProgram;
use crate::model::manifest::OwnerPolicy;
use crate::model::path::TreePath;
use crate::model::target::SshUser;
use crate::source::lint::Level;

/// A text or a whole number, as text.
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Scalar;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text or a whole number")
            }
            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_owned()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// One or several texts.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
enum Texts {
    One(String),
    Several(Vec<String>),
}

fn scalar<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: fn(&str) -> Result<T, values::Error>,
) -> Result<Option<T>, D::Error> {
    let Scalar(text) = Scalar::deserialize(deserializer)?;
    parse(&text).map(Some).map_err(D::Error::custom)
}

fn list<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: fn(&str) -> Result<T, values::Error>,
) -> Result<Vec<T>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| parse(text)).collect::<Result<_, _>>().map_err(D::Error::custom)
}

pub(super) fn paths<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<PathBuf>, D::Error> {
    Ok(match Texts::deserialize(d)? {
        Texts::One(path) => vec![path.into()],
        Texts::Several(paths) => paths.into_iter().map(PathBuf::from).collect(),
    })
}

pub(super) fn trees<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<TreePath>>, D::Error> {
    list(d, values::tree_path).map(Some)
}

pub(super) fn patterns<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    list(d, values::pattern)
}

pub(super) fn ssh_options<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    list(d, values::ssh_option)
}

pub(super) fn name<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    scalar(d, values::cluster_name)
}

pub(super) fn duration<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
    scalar(d, values::duration)
}

pub(super) fn time_limit<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
    scalar(d, values::time_limit)
}

pub(super) fn rate<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    scalar(d, values::rate)
}

pub(super) fn agent<'de, D: Deserializer<'de>>(d: D) -> Result<Option<AgentProgram>, D::Error> {
    scalar(d, values::agent)
}

pub(super) fn user<'de, D: Deserializer<'de>>(d: D) -> Result<Option<SshUser>, D::Error> {
    scalar(d, values::user)
}

pub(super) fn max_delete<'de, D: Deserializer<'de>>(d: D) -> Result<Option<MaxDelete>, D::Error> {
    scalar(d, values::max_delete)
}

pub(super) fn percent<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u8>, D::Error> {
    scalar(d, values::percent)
}

pub(super) fn tree_path<'de, D: Deserializer<'de>>(d: D) -> Result<Option<TreePath>, D::Error> {
    scalar(d, values::tree_path)
}

pub(super) fn owner<'de, D: Deserializer<'de>>(d: D) -> Result<Option<OwnerPolicy>, D::Error> {
    scalar(d, values::owner)
}

pub(super) fn lint<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Level>, D::Error> {
    scalar(d, values::lint)
}

pub(super) fn require<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Require>, D::Error> {
    scalar(d, values::require)
}

pub(super) fn commit_style<'de, D: Deserializer<'de>>(
    d: D,
) -> Result<Option<CommitStyle>, D::Error> {
    scalar(d, values::commit_style)
}

pub(super) fn parallel<'de, D: Deserializer<'de>>(d: D) -> Result<Option<usize>, D::Error> {
    scalar(d, values::parallel)
}

pub(super) fn remote_directory<'de, D: Deserializer<'de>>(
    d: D,
) -> Result<Option<String>, D::Error> {
    scalar(d, values::remote_directory)
}
