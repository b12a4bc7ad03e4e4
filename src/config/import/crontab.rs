//! Lines of a crontab: when, and what.

/// A line of a crontab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number, from 1.
    pub line: usize,
    /// When: the five fields, or `@daily` and the like.
    pub times: String,
    /// The user, in a crontab of the system.
    pub user: Option<String>,
    /// The command as a shell gets it: up to a `%`, which is the line's end for cron, with `\%` for that sign.
    pub command: String,
}

const NICKNAMES: &[&str] =
    &["@reboot", "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// What a command begins with, where a system's crontab would have a user.
const COMMANDS: &[&str] = &[
    "bash", "cd", "chronic", "env", "exec", "flock", "ionice", "nice", "nohup", "rsync", "setlock",
    "sh", "ssh", "sudo", "test", "timeout",
];

/// The line as one of a crontab, if it is one.
pub(super) fn entry(number: usize, line: &str) -> Option<Entry> {
    let line = line.trim();
    let mut rest = line;
    let mut times: Vec<&str> = Vec::new();
    if let Some(name) = line.split_whitespace().next().filter(|name| NICKNAMES.contains(name)) {
        times.push(name);
        rest = rest.strip_prefix(name)?.trim_start();
    } else {
        for _ in 0..5 {
            let (field, behind) = rest.split_once([' ', '\t'])?;
            if !is_field(field) {
                return None;
            }
            times.push(field);
            rest = behind.trim_start();
        }
    }
    let (first, behind) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    let has_user = !behind.is_empty()
        && !COMMANDS.contains(&first)
        && first.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && first.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c))
        && begins_command(behind.trim_start());
    let (user, command) =
        if has_user { (Some(first.to_owned()), behind.trim_start()) } else { (None, rest) };
    (!command.is_empty()).then(|| Entry {
        line: number,
        times: times.join(" "),
        user,
        command: up_to_percent(command),
    })
}

fn begins_command(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    first.starts_with(['/', '~', '.', '[']) || COMMANDS.contains(&first)
}

/// One of the five fields.
fn is_field(text: &str) -> bool {
    const NAMES: &[&str] = &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "mon",
        "tue", "wed", "thu", "fri", "sat", "sun",
    ];
    !text.is_empty()
        && text.split([',', '-', '/']).all(|part| {
            part == "*"
                || (!part.is_empty() && part.len() <= 2 && part.bytes().all(|b| b.is_ascii_digit()))
                || NAMES.contains(&part.to_ascii_lowercase().as_str())
        })
}

fn up_to_percent(command: &str) -> String {
    let mut text = String::new();
    let mut chars = command.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '%' => break,
            '\\' if chars.peek() == Some(&'%') => text.extend(chars.next()),
            _ => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_crontab_are_known() {
        let read = |line: &str| entry(3, line).map(|it| (it.times, it.user, it.command));
        let some = |times: &str, user: Option<&str>, command: &str| {
            Some((times.to_owned(), user.map(str::to_owned), command.to_owned()))
        };
        for (line, expected) in [
            ("*   *  *  *  *   /home/u/x.sh", some("* * * * *", None, "/home/u/x.sh")),
            (
                "*/5 0-3,7 * jan mon-fri rsync a b",
                some("*/5 0-3,7 * jan mon-fri", None, "rsync a b"),
            ),
            ("0 1 * * * root /x y", some("0 1 * * *", Some("root"), "/x y")),
            ("0 1 * * * flock -n l rsync a b", some("0 1 * * *", None, "flock -n l rsync a b")),
            ("@hourly\tcd /x && rsync a b", some("@hourly", None, "cd /x && rsync a b")),
            ("* * * * * a \\%d 'b' %c\\%d", some("* * * * *", None, "a %d 'b' ")),
            ("# * * * * * x", None),
            ("rsync -a b c d e f", None),
            ("* * * * *", None),
            ("* * * *", None),
            ("", None),
        ] {
            assert_eq!(read(line), expected, "{line}");
        }
    }
}
