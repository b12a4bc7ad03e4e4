//! Rules that the compiler does not know.
//!
//! Each rule is a function from a tree of files to the violations in it, so that its test can show it a
//! fabricated tree. `cargo test` runs all of them on the workspace.

mod documents;
mod faults;
mod layers;
mod lines;
mod test_code;
mod tree;

use crate::failure::{Failure, Result, at};
use crate::workspace;
use tree::Tree;

/// Checks the workspace; with `bless` it first writes the present hashes into the documents that carry one.
///
/// # Errors
/// A rule is broken, or a hash cannot be written.
pub(crate) fn run(bless: bool) -> Result {
    let mut tree = Tree::of_workspace();
    if bless {
        for (document, text) in documents::blessed(&tree).into_iter().chain(faults::blessed(&tree))
        {
            let path = workspace::root().join(document);
            std::fs::write(&path, text).map_err(at("write", &path))?;
            println!("tidy: blessed {document}");
        }
        tree = Tree::of_workspace();
    }
    let (violations, skipped) = check(&tree);
    for what in &skipped {
        println!("tidy: skipped: {what}");
    }
    for violation in &violations {
        println!("tidy: {violation}");
    }
    match violations.len() {
        0 => Ok(()),
        count => Err(Failure::new(format!("{count} untidy places"))),
    }
}

/// All violations in a tree, and what could not be checked yet.
fn check(tree: &Tree) -> (Vec<String>, Vec<String>) {
    let mut violations = layers::check(tree);
    violations.extend(lines::lengths(tree, &lines::LONG_FILES));
    violations.extend(lines::expectations(tree));
    violations.extend(lines::open_items(tree));
    violations.extend(lines::sleeps(tree));
    violations.extend(lines::workplaces(tree));
    violations.extend(documents::declared_tests(tree));
    let mut skipped = Vec::new();
    for (found, absent) in [documents::code_map(tree), documents::hashes(tree), faults::check(tree)]
    {
        violations.extend(found);
        skipped.extend(absent);
    }
    (violations, skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        let tree = Tree::of_workspace();
        assert!(tree.text("src/lib.rs").is_some(), "the workspace was not read");
        assert_eq!(check(&tree).0, Vec::<String>::new());
    }
}
