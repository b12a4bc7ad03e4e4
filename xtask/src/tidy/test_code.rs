//! Which parts of the sources are only there for tests.

use super::tree::Tree;
use std::collections::BTreeSet;

/// The text with its `#[cfg(test)]` items blanked, so that line numbers stay.
///
/// Relies on formatted code: an item ends at the first line that closes at its own indentation.
pub(super) fn blanked(text: &str) -> String {
    let mut kept = Vec::new();
    let mut until: Option<String> = None;
    let mut started = false;
    for line in text.lines() {
        let indent: String = line.chars().take_while(|letter| *letter == ' ').collect();
        if until.is_none() && is_marker(line.trim_start()) {
            until = Some(indent.clone());
            started = false;
        }
        let Some(own) = &until else {
            kept.push(line);
            continue;
        };
        kept.push("");
        let code = line.trim();
        let is_first = !started && !code.starts_with("#[") && !code.starts_with("//");
        started |= is_first;
        // An item of one line ends on it; a longer one with a closing brace below its first letter.
        let ends = if is_first {
            code.ends_with(';') || code.ends_with('}')
        } else {
            started && code.starts_with('}')
        };
        if ends && indent == *own {
            until = None;
        }
    }
    kept.join("\n")
}

fn is_marker(line: &str) -> bool {
    line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test")
}

/// The files of modules that are declared under `#[cfg(test)]`, and the folders of their inner modules.
pub(super) fn paths(tree: &Tree) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (path, text) in tree.rust_below("src/") {
        let folder = match path.strip_suffix("mod.rs").or_else(|| path.strip_suffix("lib.rs")) {
            Some(folder) => folder.to_owned(),
            None => format!("{}/", path.trim_end_matches(".rs")),
        };
        let mut lines = text.lines().map(str::trim).skip_while(|line| !is_marker(line));
        while lines.next().is_some() {
            let item = lines.clone().find(|line| !line.starts_with("#[")).unwrap_or_default();
            if let Some(name) = item.strip_suffix(';').and_then(|item| item.rsplit_once("mod ")) {
                found.insert(format!("{folder}{}.rs", name.1));
                found.insert(format!("{folder}{}/", name.1));
            }
            while lines.clone().next().is_some_and(|line| !is_marker(line)) {
                lines.next();
            }
        }
    }
    found
}

/// Whether a file belongs to a module that is only there for tests.
pub(super) fn covers(paths: &BTreeSet<String>, file: &str) -> bool {
    paths.iter().any(|path| {
        if path.ends_with('/') { file.starts_with(path.as_str()) } else { path == file }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_items_are_blanked_and_lines_stay() {
        let text = "fn a() {}\n#[cfg(test)]\nuse x;\nfn b() {\n    #[cfg(test)]\n    fn inner() {\n        one();\n    }\n    two();\n}\n#[cfg(test)]\n#[expect(unused, reason = \"x\")]\nmod tests {\n    fn c() {\n    }\n}\nfn d() {}";
        let expected = "fn a() {}\n\n\nfn b() {\n\n\n\n\n    two();\n}\n\n\n\n\n\n\nfn d() {}";
        assert_eq!(blanked(text), expected);
    }

    #[test]
    fn files_of_test_modules_are_found() {
        let tree = Tree::fabricated(&[
            ("src/lib.rs", "mod a;\n#[cfg(test)]\nmod fixtures;\n"),
            ("src/a.rs", "mod b;\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\npub(crate) mod more;\n"),
        ]);
        let paths = paths(&tree);
        for file in ["src/fixtures.rs", "src/fixtures/deep.rs", "src/a/tests.rs", "src/a/more.rs"] {
            assert!(covers(&paths, file), "{file}");
        }
        for file in ["src/a.rs", "src/a/b.rs"] {
            assert!(!covers(&paths, file), "{file}");
        }
    }
}
