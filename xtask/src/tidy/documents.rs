//! Documents that must keep up with the code they describe.

use super::layers;
use super::tree::Tree;

/// A document, and the files whose hash it carries: a name with `/` at its end stands for all below it.
const DESCRIBED: [(&str, &[&str]); 2] = [
    (
        "docs/protocol.md",
        &[
            "src/wire/message.rs",
            "src/wire/message/",
            "src/wire/frame.rs",
            "src/model/delta/apply.rs",
            "src/model/patch.rs",
        ],
    ),
    (
        "docs/format.md",
        &[
            "src/model/codec.rs",
            "src/model/manifest.rs",
            "src/model/manifest/",
            "src/scan/index.rs",
            "src/scan/record.rs",
        ],
    ),
];

const MARK: &str = "source-hash: ";

/// Modules that the code map of `ARCHITECTURE.md` leaves out; the second list says what was not checked.
pub(super) fn code_map(tree: &Tree) -> (Vec<String>, Vec<String>) {
    let Some(text) = tree.text("ARCHITECTURE.md") else {
        return (Vec::new(), vec!["there is no ARCHITECTURE.md yet".to_owned()]);
    };
    let is_named = |module: &str| {
        let names = [
            format!("`{module}`"),
            format!("`{module}/"),
            format!("`{module}.rs"),
            format!("src/{module}"),
        ];
        names.iter().any(|name| text.contains(name))
    };
    let missing = layers::modules(tree).into_iter().filter(|module| !is_named(module));
    (
        missing
            .map(|module| format!("ARCHITECTURE.md: does not name the module {module}"))
            .collect(),
        Vec::new(),
    )
}

/// Files of the integration tests that `tests/it/main.rs` does not declare.
pub(super) fn declared_tests(tree: &Tree) -> Vec<String> {
    let text = tree.text("tests/it/main.rs").unwrap_or_default();
    let is_declared = |name: &str| {
        let item = format!("mod {name};");
        text.lines().any(|line| line.trim() == item || line.trim().ends_with(&format!(" {item}")))
    };
    let mut found = Vec::new();
    for (path, _) in tree.rust_below("tests/it/") {
        let inner = path.trim_start_matches("tests/it/");
        let name = match inner.split_once('/') {
            Some((folder, "mod.rs")) => folder,
            Some(_) => continue,
            None => inner.trim_end_matches(".rs"),
        };
        if name != "main" && !is_declared(name) {
            found.push(format!("{path}: tests/it/main.rs does not declare it, so it never runs"));
        }
    }
    found
}

/// Documents that carry another hash than that of the files they describe; the second list says what was not
/// checked.
pub(super) fn hashes(tree: &Tree) -> (Vec<String>, Vec<String>) {
    let (mut found, mut skipped) = (Vec::new(), Vec::new());
    for (document, sources) in DESCRIBED {
        let (Some(text), Some(code)) = (tree.text(document), code_of(tree, sources)) else {
            let absent =
                if tree.text(document).is_none() { document } else { "one of these files" };
            let sources = sources.join(", ");
            skipped.push(format!("the hash of {sources} in {document}: there is no {absent} yet"));
            continue;
        };
        if carried(text) != Some(hash(&code).as_str()) {
            let sources = sources.join(", ");
            found.push(format!(
                "{document}: {sources}: something has changed: mend what is said of it, then run cargo xtask tidy --bless"
            ));
        }
    }
    (found, skipped)
}

/// The documents that carry a stale hash or none, with the present one.
pub(super) fn blessed(tree: &Tree) -> Vec<(&'static str, String)> {
    let mut changed = Vec::new();
    for (document, sources) in DESCRIBED {
        let (Some(text), Some(code)) = (tree.text(document), code_of(tree, sources)) else {
            continue;
        };
        let new = hash(&code);
        let blessed = match carried(text) {
            Some(old) if old == new => continue,
            Some(old) => text.replacen(&format!("{MARK}{old}"), &format!("{MARK}{new}"), 1),
            None => format!("{}\n\n<!-- {MARK}{new} -->\n", text.trim_end()),
        };
        changed.push((document, blessed));
    }
    changed
}

/// The texts of `sources`, one behind the other; `None` if one is missing.
fn code_of(tree: &Tree, sources: &[&str]) -> Option<String> {
    let mut code = String::new();
    for source in sources {
        if source.ends_with('/') {
            code.extend(tree.rust_below(source).map(|(_, text)| text));
        } else {
            code.push_str(tree.text(source)?);
        }
    }
    Some(code)
}

/// The hash that a document carries.
fn carried(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(MARK)?;
    Some(rest.split(|letter: char| !letter.is_ascii_hexdigit()).next().unwrap_or_default())
}

/// FNV-1a with 64 bits, in hexadecimal: it only has to tell one version of a file from the next.
fn hash(text: &str) -> String {
    let mixed = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{mixed:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_missing_from_the_code_map_are_caught() {
        let lib = ("src/lib.rs", "mod low;\npub mod high;\nmod top;\n");
        assert_eq!(code_map(&Tree::fabricated(&[lib])).1.len(), 1);
        let map = ("ARCHITECTURE.md", "- `low/`: x\n- `src/top.rs` y, which is high up\n");
        let (found, skipped) = code_map(&Tree::fabricated(&[lib, map]));
        assert_eq!(found, ["ARCHITECTURE.md: does not name the module high"]);
        assert_eq!(skipped, Vec::<String>::new());
    }

    #[test]
    fn undeclared_tests_are_caught() {
        let tree = Tree::fabricated(&[
            ("tests/it/main.rs", "mod a;\npub(crate) mod d;\n"),
            ("tests/it/a.rs", ""),
            ("tests/it/b.rs", ""),
            ("tests/it/c/mod.rs", ""),
            ("tests/it/c/inner.rs", ""),
            ("tests/it/d/mod.rs", ""),
        ]);
        assert_eq!(
            declared_tests(&tree),
            [
                "tests/it/b.rs: tests/it/main.rs does not declare it, so it never runs",
                "tests/it/c/mod.rs: tests/it/main.rs does not declare it, so it never runs",
            ]
        );
    }

    #[test]
    fn stale_documents_are_caught_and_blessed() {
        let code = ("src/wire/message.rs", "enum Message {}\n");
        let frame = ("src/wire/frame.rs", "struct Frame;\n");
        let apply = ("src/model/delta/apply.rs", "fn apply() {}\n");
        let patch = ("src/model/patch.rs", "fn diff() {}\n");
        let stale = ("docs/protocol.md", "# P\n\nsource-hash: 0123\nrest\n");
        let tree = Tree::fabricated(&[code, frame, apply, patch, stale]);
        let (found, skipped) = hashes(&tree);
        assert_eq!((found.len(), skipped.len()), (1, 1), "{found:?} {skipped:?}");
        let [(document, text)] = blessed(&tree).try_into().unwrap();
        assert!(text.ends_with("\nrest\n"), "{text}");
        let tree = Tree::fabricated(&[code, frame, apply, patch, (document, &text)]);
        assert_eq!(hashes(&tree).0, Vec::<String>::new());
        assert_eq!(blessed(&tree), Vec::<(&str, String)>::new());
        let inner = ("src/wire/message/to_hub.rs", "enum ToHub {}\n");
        let tree = Tree::fabricated(&[code, frame, apply, patch, inner, (document, &text)]);
        assert_eq!(hashes(&tree).0.len(), 1, "a file below the folder counts");

        let tree = Tree::fabricated(&[code, frame, apply, patch, ("docs/protocol.md", "# P\n")]);
        let [(document, text)] = blessed(&tree).try_into().unwrap();
        let tree = Tree::fabricated(&[code, frame, apply, patch, (document, &text)]);
        assert_eq!(hashes(&tree).0, Vec::<String>::new());
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(hash(""), "cbf29ce484222325");
        assert_eq!(hash("a"), "af63dc4c8601ec8c");
    }
}
