//! The order of the layers: the order of the modules in `src/lib.rs`.

use super::tree::Tree;
use std::collections::BTreeSet;

/// The modules that `src/lib.rs` declares, lowest layer first.
pub(super) fn modules(tree: &Tree) -> Vec<&str> {
    let text = tree.text("src/lib.rs").unwrap_or_default();
    let declared = |line: &'_ str| -> Option<(usize, usize)> {
        let rest = line.strip_suffix(';')?;
        let name = rest.rsplit(' ').next()?;
        let before = rest.strip_suffix(name)?.trim_end();
        (before == "mod" || before.ends_with(" mod")).then(|| (rest.len() - name.len(), rest.len()))
    };
    text.lines()
        .filter_map(|line| declared(line).and_then(|(start, end)| line.get(start..end)))
        .collect()
}

/// The module below `src` that a file belongs to; none for the crate roots.
pub(super) fn module_of(path: &str) -> Option<&str> {
    let inner = path.strip_prefix("src/")?;
    let module = inner.split('/').next()?;
    let module = module.strip_suffix(".rs").unwrap_or(module);
    (!["lib", "main", "bin"].contains(&module)).then_some(module)
}

/// Files that name a module of their own layer's users.
pub(super) fn check(tree: &Tree) -> Vec<String> {
    let order = modules(tree);
    let rank = |module: &str| order.iter().position(|name| *name == module);
    let mut found = Vec::new();
    let mut undeclared = BTreeSet::new();
    for (path, text) in tree.rust_below("src/") {
        let Some(module) = module_of(path) else { continue };
        let Some(own) = rank(module) else {
            if undeclared.insert(module) {
                found.push(format!("{path}: src/lib.rs does not declare its module {module}"));
            }
            continue;
        };
        for (number, name) in named(text) {
            if rank(&name).is_some_and(|other| other > own) {
                found.push(format!(
                    "{path}:{number}: names crate::{name}, which src/lib.rs declares below {module}"
                ));
            }
        }
    }
    found
}

/// The modules that a text names after `crate::`, with line numbers; comments do not count.
fn named(text: &str) -> Vec<(usize, String)> {
    let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    let mut line = 1;
    let mut parts = code.split("crate::");
    line += parts.next().unwrap_or_default().matches('\n').count();
    for part in parts {
        match part.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group).map(|name| (line, name))),
            None => found.push((line, identifier(part))),
        }
        line += part.matches('\n').count();
    }
    found
}

/// The first names of the members of a `use` group, whose inner groups are left out.
fn group_heads(group: &str) -> impl Iterator<Item = String> {
    let mut depth = 1;
    let mut flat = String::new();
    for letter in group.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ if depth == 1 => flat.push(letter),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    let heads: Vec<String> = flat.split(',').map(|member| identifier(member.trim())).collect();
    heads.into_iter()
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIB: (&str, &str) =
        ("src/lib.rs", "//! x\npub mod low;\nmod mid;\npub(crate) mod high;\n");

    #[test]
    fn lower_layers_may_be_named() {
        let tree = Tree::fabricated(&[
            LIB,
            ("src/main.rs", "use crate::high::A;\n"),
            ("src/bin/other.rs", "use crate::high::A;\n"),
            ("src/high/mod.rs", "use crate::{low::{self, A}, mid};\nfn f() { crate::high::g() }\n"),
            ("src/low.rs", "/// See [`crate::high`].\nfn f() {} // crate::high\n"),
        ]);
        assert_eq!(check(&tree), Vec::<String>::new());
    }

    #[test]
    fn higher_layers_are_caught_in_tests_and_groups_too() {
        let tree = Tree::fabricated(&[
            LIB,
            (
                "src/low.rs",
                "fn f() {\n    crate::mid::g();\n}\n#[cfg(test)]\nmod tests { use crate::high::A; }\n",
            ),
            ("src/mid/a/b.rs", "use crate::{\n    low::{high, B},\n    high::C,\n};\n"),
            ("src/stray.rs", ""),
        ]);
        assert_eq!(
            check(&tree),
            [
                "src/low.rs:2: names crate::mid, which src/lib.rs declares below low",
                "src/low.rs:5: names crate::high, which src/lib.rs declares below low",
                "src/mid/a/b.rs:1: names crate::high, which src/lib.rs declares below mid",
                "src/stray.rs: src/lib.rs does not declare its module stray",
            ]
        );
    }
}
