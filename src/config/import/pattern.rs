//! rsync's patterns in gitignore's syntax, as far as they mean the same.

/// A rule of rsync's filter, as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// The line it stands on.
    pub(super) line: Option<usize>,
    pub(super) kind: RuleKind,
    /// The pattern, as rsync takes it.
    pub(super) pattern: String,
}

/// What a rule does with what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RuleKind {
    Exclude,
    Include,
    Protect,
}

/// Where patterns that begin with a slash start, seen from the source of depsync.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Anchor {
    /// Leading part that rsync saw and depsync does not.
    pub(super) above: Option<String>,
    /// Leading part that depsync sees and rsync did not.
    pub(super) below: Option<String>,
}

/// The pattern in gitignore's syntax.
///
/// # Errors
/// Why there is none that means the same.
pub(super) fn translated(pattern: &str, anchor: &Anchor) -> Result<String, &'static str> {
    if pattern.is_empty() || pattern.contains(['\n', '\r', '\0', '\u{fffd}']) {
        return Err("it is empty, or no text of one line");
    }
    if pattern.contains("[[:") || pattern.contains("[:") {
        return Err("gitignore's syntax has no classes such as [:digit:]");
    }
    let (body, only_directories) = match pattern.strip_suffix("/***") {
        // The directory and all in it: who leaves it out leaves all out.
        Some(body) => (body, true),
        None => pattern.strip_suffix('/').map_or((pattern, false), |body| (body, true)),
    };
    let (body, is_anchored) = body.strip_prefix('/').map_or((body, false), |body| (body, true));
    if body.is_empty() {
        return Err("it means the source itself");
    }
    let body = starred(body)?;
    let body = if is_anchored { anchored(&body, anchor)? } else { floating(&body) };
    let body = escaped(&body, pattern);
    Ok(if only_directories { format!("{body}/") } else { body })
}

/// `**` means the same only as a whole component at the start or the end, or with a name's rest.
fn starred(body: &str) -> Result<String, &'static str> {
    if !body.contains("**") {
        return Ok(body.to_owned());
    }
    if let Some(rest) = body.strip_prefix("**")
        && !rest.contains(['/', '*'])
    {
        return Ok(format!("*{rest}"));
    }
    let mut parts: Vec<String> = Vec::new();
    let count = body.split('/').count();
    for (at, part) in body.split('/').enumerate() {
        let is_inner = at > 0 && at.saturating_add(1) < count;
        match part {
            // Between two slashes rsync wants at least one name, gitignore none.
            "**" if is_inner => parts.extend(["*".to_owned(), "**".to_owned()]),
            "**" => parts.push(part.to_owned()),
            _ if part.contains("**") => {
                return Err("'**' within a name crosses slashes in rsync alone");
            }
            _ => parts.push(part.to_owned()),
        }
    }
    Ok(parts.join("/"))
}

fn anchored(body: &str, anchor: &Anchor) -> Result<String, &'static str> {
    let body = match &anchor.above {
        None => body,
        Some(above) => body
            .strip_prefix(above.as_str())
            .and_then(|rest| rest.strip_prefix('/'))
            .filter(|rest| !rest.is_empty())
            .ok_or("it begins at the parent of what is sent, and matches nothing below")?,
    };
    Ok(match &anchor.below {
        Some(below) => format!("/{below}/{body}"),
        None => format!("/{body}"),
    })
}

/// A pattern with a slash inside matches at any depth in rsync, and from the top alone in gitignore.
fn floating(body: &str) -> String {
    if body.contains('/') && !body.starts_with("**/") {
        format!("**/{body}")
    } else {
        body.to_owned()
    }
}

/// What only gitignore would take for more than a letter.
fn escaped(body: &str, pattern: &str) -> String {
    // Without a wildcard a backslash is a letter for rsync.
    let is_plain = !pattern.contains(['*', '?', '[']);
    let mut text = String::new();
    for c in body.chars() {
        match c {
            '\\' if is_plain => text.push_str("\\\\"),
            '{' | '}' => text.extend(['\\', c]),
            _ => text.push(c),
        }
    }
    if text.starts_with(['!', '#']) {
        text.insert(0, '\\');
    }
    if text.ends_with(' ') {
        text.pop();
        text.push_str("\\ ");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_mean_the_same() {
        for (pattern, expected) in [
            ("*.log", "*.log"),
            ("tmp/", "tmp/"),
            ("/tmp/", "/tmp/"),
            ("a/b", "**/a/b"),
            ("/a/b", "/a/b"),
            ("dir/***", "dir/"),
            ("/a/dir/***", "/a/dir/"),
            ("**.tmp", "*.tmp"),
            ("**/x", "**/x"),
            ("dir/**", "**/dir/**"),
            ("/a/**/b", "/a/*/**/b"),
            ("!x", "\\!x"),
            ("#x", "\\#x"),
            ("a\\b", "a\\\\b"),
            ("a\\*b", "a\\*b"),
            ("a{b,c}", "a\\{b,c\\}"),
            ("a ", "a\\ "),
        ] {
            assert_eq!(
                translated(pattern, &Anchor::default()).as_deref(),
                Ok(expected),
                "{pattern}"
            );
        }
        for pattern in ["", "/", "a\nb", "[[:digit:]]", "a**b/c", "/x**"] {
            assert!(translated(pattern, &Anchor::default()).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_leading_slash_starts_where_rsync_started() {
        let anchor = Anchor { above: Some("server".into()), below: None };
        assert_eq!(translated("/server/tmp", &anchor).as_deref(), Ok("/tmp"));
        assert!(translated("/tmp", &anchor).is_err() && translated("/server", &anchor).is_err());
        let anchor = Anchor { above: None, below: Some("repository/tenants".into()) };
        assert_eq!(translated("/tmp", &anchor).as_deref(), Ok("/repository/tenants/tmp"));
        assert_eq!(translated("tmp", &anchor).as_deref(), Ok("tmp"));
    }
}
