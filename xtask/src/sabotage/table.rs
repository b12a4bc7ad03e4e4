//! The table of defects: what each breaks, where, and who must notice.

use crate::failure::{Failure, Result};
use std::collections::BTreeSet;
use std::fmt;

/// The table, from the workspace's root.
pub(super) const FILE: &str = "xtask/src/sabotage/defects.toml";

/// One mistake that somebody could make.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Defect {
    /// Names it; words with dashes between.
    pub(super) name: String,
    /// Which promise breaks, in one sentence.
    pub(super) what: String,
    /// The file that is damaged, from the workspace's root.
    pub(super) file: String,
    /// What stands there, once.
    find: String,
    /// What stands there instead.
    put: String,
    /// Who must notice; one is enough.
    pub(super) caught_by: Vec<Catcher>,
    /// A catcher that does not end counts as one that failed.
    #[serde(default)]
    pub(super) hangs: bool,
}

/// What is run to notice a defect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Catcher {
    /// The tests inside the library whose names hold this.
    Library(String),
    /// The integration tests whose names hold this.
    Integration(String),
    /// The words of a task.
    Task(String),
}

impl TryFrom<String> for Catcher {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        match text.split_once(' ') {
            Some(("lib", name)) => Ok(Self::Library(name.to_owned())),
            Some(("it", name)) => Ok(Self::Integration(name.to_owned())),
            Some(("task", words)) => Ok(Self::Task(words.to_owned())),
            _ => Err(format!("{text:?} is none of 'lib NAME', 'it NAME', 'task WORDS'")),
        }
    }
}

impl fmt::Display for Catcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Library(name) => write!(f, "lib {name}"),
            Self::Integration(name) => write!(f, "it {name}"),
            Self::Task(words) => write!(f, "task {words}"),
        }
    }
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    defect: Vec<Defect>,
}

/// Reads the table.
///
/// # Errors
/// The text is no table, a name is there twice, or a defect has nobody to catch it.
pub(super) fn read(text: &str) -> Result<Vec<Defect>> {
    let table: Table =
        toml::from_str(text).map_err(|error| Failure::new(format!("{FILE}: {error}")))?;
    let mut names = BTreeSet::new();
    for defect in &table.defect {
        let name = &defect.name;
        if !names.insert(name) {
            return Err(Failure::new(format!("{FILE}: {name} is there twice")));
        }
        if defect.caught_by.is_empty() || defect.what.trim().is_empty() {
            return Err(Failure::new(format!(
                "{FILE}: {name} says not what breaks, or who notices"
            )));
        }
    }
    Ok(table.defect)
}

impl Defect {
    /// The text of the damaged file.
    ///
    /// # Errors
    /// What should be replaced is missing, is there twice, or stays what it was.
    pub(super) fn applied(&self, text: &str) -> Result<String> {
        let wrong = |what: &str| {
            Err(Failure::new(format!(
                "{}: what should be replaced in {} {what}",
                self.name, self.file
            )))
        };
        match text.match_indices(&self.find).count() {
            1 if self.find != self.put => Ok(text.replacen(&self.find, &self.put, 1)),
            1 => wrong("is replaced by itself"),
            0 => wrong("is not there"),
            count => wrong(&format!("is there {count} times")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    const ONE: &str = "[[defect]]\nname = 'one'\nwhat = 'It breaks.'\nfile = 'a.rs'\n\
                       find = 'sync()?;'\nput = ''\ncaught_by = ['lib a_test', 'it b', 'task crash power']\n";

    #[test]
    fn a_table_is_read_with_its_catchers() {
        let defects = read(ONE).expect("a table");
        let shown: Vec<String> = defects[0].caught_by.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["lib a_test", "it b", "task crash power"]);
        assert_eq!(defects[0].applied("a;\nsync()?;\nb;\n").expect("once"), "a;\n\nb;\n");
    }

    #[test]
    fn what_is_missing_or_there_twice_is_named() {
        let defects = read(ONE).expect("a table");
        let error = |text: &str| defects[0].applied(text).expect_err("not once").message;
        assert!(error("a;\n").contains("one: what should be replaced in a.rs is not there"));
        assert!(error("sync()?; sync()?;").contains("is there 2 times"));
        let same = read(&ONE.replace("put = ''", "put = 'sync()?;'")).expect("a table");
        assert!(same[0].applied("sync()?;").is_err(), "no defect at all");
    }

    #[test]
    fn tables_that_say_too_little_or_the_same_twice_are_refused() {
        for wrong in [
            [ONE, ONE].concat(),
            ONE.replace("'lib a_test', 'it b', 'task crash power'", ""),
            ONE.replace("lib a_test", "a_test"),
            ONE.replace("It breaks.", " "),
            ONE.replace("hangs", "hang").replace("put", "putt"),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_defect_of_the_table_applies_to_the_tree() {
        let at = |path: &str| std::fs::read_to_string(workspace::root().join(path));
        let defects = read(&at(FILE).expect("the table")).expect("a table");
        assert!(defects.len() >= 60, "{} defects", defects.len());
        for defect in &defects {
            let text = at(&defect.file).expect("the damaged file");
            assert_ne!(defect.applied(&text).expect("it applies"), text);
        }
    }
}
