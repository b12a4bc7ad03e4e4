//! Licence expressions: are they satisfied by a list of accepted licences?

/// Whether an SPDX expression can be satisfied with the `accepted` licences alone.
///
/// `AND` binds more tightly than `OR`; the old notation `MIT/Apache-2.0` means `OR`. A licence with an
/// exception (`A WITH B`) must itself be on the list.
///
/// # Errors
/// What is wrong with the expression.
pub(super) fn is_satisfied(expression: &str, accepted: &[String]) -> Result<bool, String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words, accepted };
    let satisfied = reader.alternatives()?;
    match reader.words.first() {
        None => Ok(satisfied),
        Some(word) => Err(format!("unexpected {word}")),
    }
}

struct Reader<'a> {
    words: &'a [&'a str],
    accepted: &'a [String],
}

impl Reader<'_> {
    fn take(&mut self, word: &str) -> bool {
        match self.words.split_first() {
            Some((first, rest)) if *first == word => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }

    fn alternatives(&mut self) -> Result<bool, String> {
        let mut satisfied = self.conjunction()?;
        while self.take("OR") {
            satisfied |= self.conjunction()?;
        }
        Ok(satisfied)
    }

    fn conjunction(&mut self) -> Result<bool, String> {
        let mut satisfied = self.licence()?;
        while self.take("AND") {
            satisfied &= self.licence()?;
        }
        Ok(satisfied)
    }

    fn licence(&mut self) -> Result<bool, String> {
        if self.take("(") {
            let satisfied = self.alternatives()?;
            return if self.take(")") { Ok(satisfied) } else { Err("missing )".to_owned()) };
        }
        let mut name = self.word()?;
        if self.take("WITH") {
            name = format!("{name} WITH {}", self.word()?);
        }
        Ok(self.accepted.contains(&name))
    }

    fn word(&mut self) -> Result<String, String> {
        match self.words.split_first() {
            Some((word, rest)) if !["AND", "OR", "WITH", "(", ")"].contains(word) => {
                self.words = rest;
                Ok((*word).to_owned())
            }
            Some((word, _)) => Err(format!("unexpected {word}")),
            None => Err("unexpected end".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str, expected: Result<bool, &str>) {
        let accepted = ["MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"];
        let found = is_satisfied(expression, &accepted.map(str::to_owned));
        assert_eq!(found, expected.map_err(str::to_owned), "{expression}");
    }

    #[test]
    fn expressions_are_evaluated() {
        check("MIT", Ok(true));
        check("GPL-3.0-only", Ok(false));
        check("MIT OR GPL-3.0-only", Ok(true));
        check("MIT AND GPL-3.0-only", Ok(false));
        check("MIT/Apache-2.0", Ok(true));
        check("GPL-2.0/AGPL-3.0", Ok(false));
        check("(MIT OR Apache-2.0) AND Unicode-3.0", Ok(true));
        check("(MIT OR Apache-2.0) AND NCSA", Ok(false));
        // AND first: this is MIT or (GPL and NCSA).
        check("MIT OR GPL-3.0-only AND NCSA", Ok(true));
        check("NCSA AND GPL-3.0-only OR MIT", Ok(true));
        check("Apache-2.0 WITH LLVM-exception", Ok(true));
        check("MIT WITH LLVM-exception", Ok(false));
        check("GPL-2.0-only WITH Classpath-exception-2.0 OR MIT", Ok(true));
    }

    #[test]
    fn broken_expressions_are_refused() {
        check("", Err("unexpected end"));
        check("MIT OR", Err("unexpected end"));
        check("MIT Apache-2.0", Err("unexpected Apache-2.0"));
        check("(MIT", Err("missing )"));
        check("MIT)", Err("unexpected )"));
        check("AND MIT", Err("unexpected AND"));
    }
}
