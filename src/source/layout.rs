//! [`Layout`]: where a kind of server has what is deployed to it, and what is never synchronised there.
//!
//! A source is either the server's **home**, which has the deployment directory below it, or **the deployment directory
//! itself**. In a home the trees are the deployment directory and those of tenants that are there; else the tree is the root.

use std::io;

use super::{Error, Note, Options};
use crate::model::path::TreePath;
use crate::os::dir::Dir;

/// Where a kind of server has what is deployed to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The kind of server, for messages.
    pub name: String,
    /// The deployment directory below the home.
    pub deployment: TreePath,
    /// Where tenants' deployment directories may be below the home.
    pub tenants: Vec<TreePath>,
    /// Files below a home by which it is known.
    pub signs: Vec<TreePath>,
    /// Names in a deployment directory, of which one at least is there; any will do if there are none.
    pub directories: Vec<TreePath>,
    /// Ignore rules; one that begins with a slash starts at the deployment directory.
    pub exclude: Vec<String>,
    /// Ignore rules of a home.
    pub exclude_home: Vec<String>,
    /// Rules naming what nodes keep, as `exclude`.
    pub protect: Vec<String>,
    /// Directories below one of these names are deployed as one, by a server that looks for newer files in them.
    pub exploded: Vec<String>,
    /// Changed files are given later times, for a server that takes close ones for one.
    pub gives_later_times: bool,
}

impl Options {
    /// Changed files are given later times than the deployed ones' where theirs are close.
    pub fn gives_later_times(&self) -> bool {
        self.layout.as_ref().is_some_and(|layout| layout.gives_later_times)
    }

    /// These options for the source at `root`, with trees and rules by their layout, if they have one. The operator's trees
    /// stand over the layout's; the operator's rules come last, and so win.
    ///
    /// # Errors
    /// [`Error::Layout`] if the source is neither the home nor the deployment directory, and trees were not given.
    pub fn placed(&self, root: &Dir) -> Result<(Self, Option<Note>), Error> {
        let Some(layout) = &self.layout else { return Ok((self.clone(), None)) };
        let has_trees = *self.trees != [TreePath::root()];
        let is_home = exists(root, &layout.deployment);
        if !is_home && !has_trees {
            layout.check_deployment(root)?;
        }
        let mut placed = Self { layout: None, ..self.clone() };
        let mut note = None;
        if is_home && !has_trees {
            let tenants: Vec<_> =
                layout.tenants.iter().filter(|tree| exists(root, tree)).cloned().collect();
            if let [one, other, ..] = &tenants[..] {
                note = Some(Note::TwoTenants { path: one.clone(), other: other.clone() });
            }
            placed.trees = std::iter::once(layout.deployment.clone()).chain(tenants).collect();
        }
        let at = |rules: &[String]| rules.iter().map(|rule| layout.rule(rule, is_home)).collect();
        let mut ignore: Vec<String> = at(&layout.exclude);
        if is_home {
            ignore.extend(layout.exclude_home.iter().cloned());
        }
        placed.ignore.splice(..0, ignore);
        let protect: Vec<String> = at(&layout.protect);
        placed.protect.splice(..0, protect);
        Ok((placed, note))
    }
}

impl Layout {
    /// Refuses what is a home without its deployment directory, and what is neither. A root with nothing in it is left to the
    /// guard against empty sources.
    fn check_deployment(&self, root: &Dir) -> Result<(), Error> {
        let sign = self.signs.iter().find(|sign| exists(root, sign)).cloned();
        let is_deployment = self.directories.is_empty()
            || self.directories.iter().any(|name| exists(root, name))
            || root.names().is_ok_and(|names| names.is_empty());
        if sign.is_none() && is_deployment {
            return Ok(());
        }
        Err(Error::Layout {
            name: self.name.clone(),
            deployment: self.deployment.clone(),
            sign,
            directories: self.directories.clone(),
        })
    }

    fn rule(&self, rule: &str, is_home: bool) -> String {
        if is_home && rule.starts_with('/') {
            return format!("/{}{rule}", self.deployment);
        }
        rule.to_owned()
    }
}

/// False only if there is surely nothing: what cannot be looked at is told by the walk.
fn exists(root: &Dir, path: &TreePath) -> bool {
    let Some((parent, name)) = path.split_last() else { return true };
    match root.open_path(&parent).and_then(|dir| dir.find(name)) {
        Ok(found) => found.is_some(),
        Err(error) => {
            !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        }
    }
}
