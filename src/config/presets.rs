//! What is known of servers: the table in `presets.toml`, which is data alone.

use serde::Deserialize;

use super::values;
use crate::model::path::TreePath;
use crate::source::Layout;
use crate::source::lint::{self, Kinds, Level};

/// The value of `times` by which changed files are given later ones.
const LATER: &str = "later";
const TABLE: &str = include_str!("presets.toml");

/// The names, in the order of the table.
pub const NAMES: [&str; 6] = ["wso2-mi", "wso2-ei", "wso2-apim", "wso2-is", "tomcat", "plain"];

/// One preset as the table has it; why each value is what it is stands there too, and in docs/presets.md.
#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "the head of the table explains each key")]
pub struct Preset {
    pub name: String,
    pub server: String,
    pub deployment: Option<String>,
    pub tenants: Vec<String>,
    pub times: String,
    pub signs: Vec<String>,
    pub directories: Vec<String>,
    pub exclude: Vec<String>,
    pub exclude_home: Vec<String>,
    pub exploded: Vec<String>,
    pub protect: Vec<String>,
    pub lint: String,
    pub lint_kinds: Vec<String>,
}

#[derive(Deserialize)]
struct Table {
    preset: Vec<Preset>,
}

/// All presets.
///
/// # Panics
/// Never: the table is a part of the program, and a test reads it.
pub fn all() -> Vec<Preset> {
    let table: Table = toml::from_str(TABLE).expect("invariant: the table was tested");
    table.preset
}

/// The preset `name`.
pub fn find(name: &str) -> Option<Preset> {
    all().into_iter().find(|preset| preset.name == name)
}

impl Preset {
    /// What a source takes from it; none if nothing is known of where its files are.
    pub(super) fn layout(&self) -> Option<Layout> {
        // A test reads every path of the table.
        let path = |text: &String| TreePath::new(text.as_bytes()).ok();
        let paths = |texts: &[String]| texts.iter().filter_map(path).collect();
        let file = |sign: &String| path(&split(sign).0.to_owned());
        Some(Layout {
            name: self.name.clone(),
            deployment: self.deployment.as_ref().and_then(path)?,
            tenants: paths(&self.tenants),
            // A file of versions is in the home of other products too.
            signs: self
                .signs
                .iter()
                .filter(|sign| split(sign).1.is_none())
                .filter_map(file)
                .collect(),
            directories: paths(&self.directories),
            exclude: self.exclude.clone(),
            exclude_home: self.exclude_home.clone(),
            protect: self.protect.clone(),
            exploded: self.exploded.clone(),
            gives_later_times: self.times == LATER,
        })
    }

    /// What is looked for in its files.
    pub(super) fn lint(&self) -> lint::Options {
        lint::Options {
            level: values::lint(&self.lint).unwrap_or(Level::Off),
            kinds: Kinds::named(self.lint_kinds.iter().map(String::as_str)),
            ..lint::Options::default()
        }
    }

    /// Files of a home, each with a word that is in it, if one must be.
    pub fn signs(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.signs.iter().map(|sign| split(sign))
    }
}

fn split(sign: &str) -> (&str, Option<&str>) {
    sign.split_once(": ").map_or((sign, None), |(file, word)| (file, Some(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_of_the_table_is_one() {
        let all = all();
        assert_eq!(all.iter().map(|preset| &*preset.name).collect::<Vec<_>>(), NAMES);
        for preset in &all {
            let name = &preset.name;
            let is_path = |text: &str| values::tree_path(text).is_ok();
            let signs: Vec<_> = preset.signs().map(|(file, _)| file.to_owned()).collect();
            let paths = preset.tenants.iter().chain(&preset.directories).chain(&signs);
            assert!(paths.chain(&preset.deployment).all(|text| is_path(text)), "{name}");
            let rules = preset.exclude.iter().chain(&preset.exclude_home).chain(&preset.protect);
            assert!(rules.clone().all(|rule| values::pattern(rule).is_ok()), "{name}");
            assert!(preset.exclude_home.iter().all(|rule| rule.starts_with('/')), "{name}");
            // What is ignored or protected on a node is not seen to have been rejected there.
            assert!(!rules.clone().any(|rule| rule.contains(".back")), "{name}");
            assert!(values::lint(&preset.lint).is_ok(), "{name}");
            assert!([LATER, "exact"].contains(&&*preset.times), "{name}");
            assert!(preset.exploded.iter().all(|one| is_path(one) && !one.contains('/')), "{name}");
            let none = Kinds::named([]);
            let is_kind = |word: &String| Kinds::named([&**word]) != none;
            assert!(preset.lint_kinds.iter().all(is_kind), "{name}");
            assert_eq!(preset.layout().is_some(), preset.name != "plain");
        }
        assert!(find("wso2-mi").is_some() && find("mi").is_none());
    }
}
