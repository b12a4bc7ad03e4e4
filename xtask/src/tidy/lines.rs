//! Rules about single lines, and about how many of them a file may have.

use super::test_code;
use super::tree::Tree;

/// No file of code is longer.
const LINES_MAX: usize = 500;

/// Files that are longer all the same, with the lines they have now: the number may only shrink.
pub(super) const LONG_FILES: [(&str, usize); 0] = [];

const CODE: [&str; 3] = ["src/", "tests/", "xtask/"];

// Put together here, so that this file does not break the rules it states.
const OPEN_ITEM: &str = concat!("TO", "DO");
const SLEEP: &str = concat!("thread::", "sleep");
// The second and third are not all of their parent, which is where targets of examples live.
const WORKPLACES: [&str; 3] =
    [concat!("/wo", "rk/"), concat!("/sr", "v/lab"), concat!("/sr", "v/src")];

/// Files that are too long, and exceptions that are out of date.
pub(super) fn lengths(tree: &Tree, exceptions: &[(&str, usize)]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in CODE.iter().flat_map(|folder| tree.rust_below(folder)) {
        let count = text.lines().count();
        let most =
            exceptions.iter().find(|(name, _)| *name == path).map_or(LINES_MAX, |(_, most)| *most);
        if count > most {
            found.push(format!("{path}: {count} lines are more than {most}"));
        }
    }
    for (path, most) in exceptions {
        let count = tree.text(path).map_or(0, |text| text.lines().count());
        if count <= LINES_MAX {
            found.push(format!(
                "{path}: no longer an exception to the length of files: strike it out"
            ));
        } else if count < *most {
            found.push(format!("{path}: has shrunk to {count} lines: write that down as its most"));
        }
    }
    found
}

/// `expect` messages outside tests that do not name the invariant that would be broken.
pub(super) fn expectations(tree: &Tree) -> Vec<String> {
    let test_paths = test_code::paths(tree);
    let mut found = Vec::new();
    for (path, text) in
        tree.rust_below("src/").filter(|(path, _)| !test_code::covers(&test_paths, path))
    {
        let code = test_code::blanked(text);
        let mut line = 1;
        for (index, part) in code.split(".expect(").enumerate() {
            let message = part.trim_start().strip_prefix('"');
            if index > 0 && message.is_some_and(|message| !message.starts_with("invariant:")) {
                found.push(format!(
                    "{path}:{line}: the message of expect does not start with invariant:"
                ));
            }
            line += part.matches('\n').count();
        }
    }
    found
}

/// Open items that name no issue.
pub(super) fn open_items(tree: &Tree) -> Vec<String> {
    let names_issue = |rest: &str| {
        let number = rest.strip_prefix("(#").and_then(|rest| rest.split_once(')'));
        number.is_some_and(|(number, _)| {
            !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
        })
    };
    in_code(tree, |_, line| line.split(OPEN_ITEM).skip(1).any(|rest| !names_issue(rest)))
        .map(|place| format!("{place}: {OPEN_ITEM} without an issue: write {OPEN_ITEM}(#123)"))
        .collect()
}

/// Sleeping in place of waiting. A test or a task may sleep between two looks at what it waits for, on a line
/// that says so with `// poll:`; in the program only `os` may.
pub(super) fn sleeps(tree: &Tree) -> Vec<String> {
    let is_allowed = |path: &str, line: &str| match path.strip_prefix("src/") {
        Some(inner) => inner.starts_with("os/") || inner == "os.rs",
        None => line.contains("// poll:"),
    };
    in_code(tree, |path, line| line.contains(SLEEP) && !is_allowed(path, line))
        .map(|place| format!("{place}: {SLEEP}: wait on the thing itself, with a deadline"))
        .collect()
}

/// Paths of the place where someone worked.
pub(super) fn workplaces(tree: &Tree) -> Vec<String> {
    let is_path_part = |letter: char| letter.is_alphanumeric() || "_.~$}*-/)".contains(letter);
    let names_one = |line: &str| {
        WORKPLACES.iter().any(|place| {
            let starts = line.match_indices(place).map(|(start, _)| start);
            starts.into_iter().any(|start| {
                let before = line.get(..start).and_then(|before| before.chars().next_back());
                !before.is_some_and(is_path_part)
            })
        })
    };
    let mut found = Vec::new();
    for (path, text) in tree.files() {
        for (index, _) in text.lines().enumerate().filter(|(_, line)| names_one(line)) {
            found.push(format!("{path}:{}: names a directory of a workplace", index + 1));
        }
    }
    found
}

/// `path:line` of the lines of code that break a rule.
fn in_code(tree: &Tree, breaks: impl Fn(&str, &str) -> bool) -> impl Iterator<Item = String> {
    let mut found = Vec::new();
    for (path, text) in CODE.iter().flat_map(|folder| tree.rust_below(folder)) {
        for (index, _) in text.lines().enumerate().filter(|(_, line)| breaks(path, line)) {
            found.push(format!("{path}:{}", index + 1));
        }
    }
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_caught_and_exceptions_only_shrink() {
        let (long, fits) = ("x\n".repeat(LINES_MAX + 1), "x\n".repeat(LINES_MAX));
        let longer = "x\n".repeat(LINES_MAX + 9);
        let tree = Tree::fabricated(&[
            ("src/a.rs", &long),
            ("src/b.rs", &fits),
            ("tests/it/c.rs", &longer),
            ("xtask/d.rs", &longer),
            ("docs/e.md", &long),
        ]);
        assert_eq!(
            lengths(&tree, &[("tests/it/c.rs", LINES_MAX + 9), ("xtask/d.rs", LINES_MAX + 8)]),
            ["src/a.rs: 501 lines are more than 500", "xtask/d.rs: 509 lines are more than 508"]
        );
        assert_eq!(
            lengths(
                &tree,
                &[
                    ("src/a.rs", 501),
                    ("tests/it/c.rs", 600),
                    ("src/b.rs", 700),
                    ("xtask/d.rs", 509)
                ]
            ),
            [
                "tests/it/c.rs: has shrunk to 509 lines: write that down as its most",
                "src/b.rs: no longer an exception to the length of files: strike it out",
            ]
        );
    }

    #[test]
    fn expect_must_name_an_invariant_outside_tests() {
        let tree = Tree::fabricated(&[
            ("src/lib.rs", "mod a;\n#[cfg(test)]\nmod t;\n"),
            ("src/t.rs", "fn f() { x.expect(\"fine\") }\n"),
            (
                "src/a.rs",
                "fn f() {\n    x.expect(\"invariant: y\");\n    x.expect(\n        \"no\",\n    );\n    p.expect(b'x');\n}\n\
                 #[cfg(test)]\nmod tests {\n    fn g() { x.expect(\"fine\") }\n}\n",
            ),
        ]);
        assert_eq!(
            expectations(&tree),
            ["src/a.rs:3: the message of expect does not start with invariant:"]
        );
    }

    #[test]
    fn open_items_need_an_issue() {
        let text = format!("// {OPEN_ITEM}(#12): x\n// {OPEN_ITEM}: y\n// {OPEN_ITEM}(me) z\n");
        let tree = Tree::fabricated(&[("tests/it/a.rs", &text)]);
        let found = open_items(&tree);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("tests/it/a.rs:2: "), "{found:?}");
        assert!(found[1].starts_with("tests/it/a.rs:3: "), "{found:?}");
    }

    #[test]
    fn sleeping_is_caught_but_polling_is_not() {
        let (bare, polls) =
            (format!("std::{SLEEP}(x);\n"), format!("{SLEEP}(x); // poll: the file\n"));
        let tree = Tree::fabricated(&[
            ("src/a.rs", &polls),
            ("src/os/clock.rs", &bare),
            ("tests/it/b.rs", &bare),
            ("xtask/src/c.rs", &polls),
        ]);
        let found = sleeps(&tree);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("src/a.rs:1: "), "{found:?}");
        assert!(found[1].starts_with("tests/it/b.rs:1: "), "{found:?}");
    }

    #[test]
    fn workplaces_are_caught() {
        let [work, serve, _] = WORKPLACES;
        let text = format!("see {work}x\nhome/runner{work}y\n\"{serve}/z\"\n\"/srv/x\"\n");
        let tree = Tree::fabricated(&[("docs/a.md", &text), ("b.toml", &format!("{work}\n"))]);
        assert_eq!(
            workplaces(&tree),
            [
                "b.toml:1: names a directory of a workplace",
                "docs/a.md:1: names a directory of a workplace",
                "docs/a.md:3: names a directory of a workplace",
            ]
        );
    }
}
