//! The table of faults in `docs/safety.md`: each row has a test that carries its number, or a reason why it has none.
//!
//! ```text
//! <!-- faults -->
//! | 031 | source empty | `fault_031_…` |        the names of tests are written by `cargo xtask tidy --bless`
//! | 066 | EIO on the journal | none: … |        the reason is written by hand
//! <!-- end of faults -->
//! ```

use super::tree::Tree;
use std::collections::{BTreeMap, BTreeSet};

const DOCUMENT: &str = "docs/safety.md";
const START: &str = "<!-- faults -->";
const END: &str = "<!-- end of faults -->";
/// The rows that must be there.
const ROWS: std::ops::RangeInclusive<u16> = 1..=159;
/// What a cell without tests starts with.
const NONE: &str = "none: ";

/// One row of the table.
struct Row<'a> {
    number: u16,
    what: &'a str,
    cell: &'a str,
}

/// Rows that are missing, that name tests which are not there, or that have neither tests nor reason; the second list
/// says what was not checked.
pub(super) fn check(tree: &Tree) -> (Vec<String>, Vec<String>) {
    let Some(text) = tree.text(DOCUMENT) else {
        return (Vec::new(), vec![format!("the table of faults: there is no {DOCUMENT} yet")]);
    };
    let tests = tests(tree);
    let rows = rows(text);
    let seen: BTreeSet<u16> = rows.iter().map(|row| row.number).collect();
    let mut found: Vec<String> = ROWS
        .filter(|number| !seen.contains(number))
        .map(|number| format!("{DOCUMENT}: the table of faults has no row {number:03}"))
        .collect();
    for row in &rows {
        let place = format!("{DOCUMENT}: row {:03} of the table of faults", row.number);
        let known = tests.get(&row.number);
        match row.cell.strip_prefix(NONE) {
            Some(_) if known.is_some() => found.push(format!(
                "{place} says that there is no test, and there is: run cargo xtask tidy --bless"
            )),
            Some(reason) if reason.trim().len() < 10 => {
                found.push(format!("{place} gives no reason"));
            }
            Some(_) => {}
            None if known.is_none() => found.push(format!("{place} has neither test nor reason")),
            None => found.extend(
                named(row.cell)
                    .filter(|name| !known.is_some_and(|known| known.contains(*name)))
                    .map(|name| format!("{place} names {name}, which is not there")),
            ),
        }
    }
    (found, Vec::new())
}

/// The document with the names of all tests in its table, if that changes it.
pub(super) fn blessed(tree: &Tree) -> Option<(&'static str, String)> {
    let text = tree.text(DOCUMENT)?;
    let (before, rest) = text.split_once(START)?;
    let (_, after) = rest.split_once(END)?;
    let tests = tests(tree);
    let lines = rows(text).into_iter().map(|row| {
        let cell = match tests.get(&row.number) {
            Some(names) => {
                names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            }
            None if row.cell.starts_with(NONE) => row.cell.to_owned(),
            None => NONE.to_owned(),
        };
        format!("| {:03} | {} | {cell} |\n", row.number, row.what)
    });
    let table: String = lines.collect();
    let head = "| row | fault | test |\n|---|---|---|\n";
    let new = format!("{before}{START}\n{head}{table}{END}{after}");
    (new != text).then_some((DOCUMENT, new))
}

fn rows(text: &str) -> Vec<Row<'_>> {
    let table = text.split_once(START).and_then(|(_, rest)| rest.split_once(END));
    let (table, _) = table.unwrap_or_default();
    let row = |line: &'_ str| -> Option<(usize, usize)> {
        let first = line.find('|')?;
        let second = line.get(first + 1..)?.find('|')? + first + 1;
        Some((first + 1, second))
    };
    let mut found = Vec::new();
    for line in table.lines() {
        let Some((start, end)) = row(line) else { continue };
        let Some(number) = line.get(start..end).and_then(|cell| cell.trim().parse().ok()) else {
            continue;
        };
        let rest = line.get(end + 1..).unwrap_or_default();
        let Some((what, cell)) = rest.split_once('|') else { continue };
        found.push(Row {
            number,
            what: what.trim(),
            cell: cell.trim().trim_end_matches('|').trim(),
        });
    }
    found
}

/// The names in a cell.
fn named(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').filter(|part| part.starts_with("fault_"))
}

/// The tests of each row, by the number in their names.
fn tests(tree: &Tree) -> BTreeMap<u16, BTreeSet<String>> {
    let mut found: BTreeMap<u16, BTreeSet<String>> = BTreeMap::new();
    let folders = ["src/", "tests/", "xtask/tests/"];
    for (_, text) in folders.into_iter().flat_map(|folder| tree.rust_below(folder)) {
        for part in text.split("fn fault_").skip(1) {
            let name: String = part
                .chars()
                .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
                .collect();
            for number in numbers(&name) {
                found.entry(number).or_default().insert(format!("fault_{name}"));
            }
        }
    }
    found
}

/// The rows in the name of a test, `fault_` left out: `031_…`, `043_and_052_…`, `036_to_041_…`.
fn numbers(name: &str) -> Vec<u16> {
    let mut words = name.split('_');
    let mut found: Vec<u16> = words.next().and_then(|word| word.parse().ok()).into_iter().collect();
    while let (Some(&last), Some(joint)) = (found.last(), words.next()) {
        let Some(next) = words.next().and_then(|word| word.parse().ok()) else { break };
        match joint {
            "and" => found.push(next),
            "to" => found.extend(last.saturating_add(1)..=next),
            _ => break,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(rows: &[(u16, &str)]) -> String {
        let all = ROWS.filter(|n| !rows.iter().any(|(row, _)| row == n));
        let rest = all.map(|n| format!("| {n:03} | x | none: it is tested elsewhere |\n"));
        let own = rows.iter().map(|(n, cell)| format!("| {n:03} | y | {cell} |\n"));
        format!(
            "# S\n{START}\n{}{}{END}\nrest\n",
            own.collect::<String>(),
            rest.collect::<String>()
        )
    }

    #[test]
    fn rows_need_a_test_that_is_there_or_a_reason() {
        let code = ("tests/it/a.rs", "fn fault_031_empty() {}\nfn fault_032_half() {}\n");
        let text = document(&[
            (31, "none: because nobody wrote it"),
            (32, "`fault_032_half`, `fault_032_gone`"),
            (33, "none: "),
            (34, "`fault_034_never`"),
        ]);
        let text = text.replace("| 035 |", "| x35 |");
        let (found, _) = check(&Tree::fabricated(&[code, (DOCUMENT, &text)]));
        let words =
            ["no row 035", "031 of the table of faults says", "fault_032_gone", "033", "034"];
        assert_eq!(found.len(), words.len(), "{found:?}");
        for (found, words) in found.iter().zip(words) {
            assert!(found.contains(words), "{found}");
        }
    }

    #[test]
    fn blessing_writes_the_names_and_keeps_the_reasons() {
        let code = ("src/a.rs", "fn fault_031_b() {}\nfn fault_031_a() {}\n");
        let text = document(&[(31, "none: because nobody wrote it")]);
        let (_, text) = blessed(&Tree::fabricated(&[code, (DOCUMENT, &text)])).expect("a change");
        assert!(text.contains("| 031 | y | `fault_031_a`, `fault_031_b` |"), "{text}");
        assert!(text.contains("none: it is tested elsewhere") && text.ends_with("\nrest\n"));
        let tree = Tree::fabricated(&[code, (DOCUMENT, &text)]);
        assert_eq!(check(&tree).0, Vec::<String>::new());
        assert_eq!(blessed(&tree), None);
    }

    #[test]
    fn a_name_may_carry_several_rows() {
        assert_eq!(numbers("031_empty"), [31]);
        assert_eq!(numbers("043_and_052_extras_and_9_lives"), [43, 52]);
        assert_eq!(numbers("036_to_041_all"), [36, 37, 38, 39, 40, 41]);
        assert_eq!(numbers("of_nothing"), Vec::<u16>::new());
    }
}
