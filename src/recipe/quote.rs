//! How each format takes a text as one word, so that it reads back as the same text.
//!
//! The texts have no control characters: [`Values`] refuses them, since hardly any of these formats can hold a newline.
//! Templates use the functions as filters of the same name: `{{ config | shell }}`.
//!
//! [`Values`]: super::Values

/// True for texts that no format here needs to quote.
fn is_plain(text: &str) -> bool {
    let taken = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@".contains(&byte);
    !text.is_empty() && text.bytes().all(taken)
}

/// `text` with each character for which `escaped` has something else replaced by that.
fn escape(text: &str, escaped: impl Fn(char) -> Option<String>) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut done, character| {
        match escaped(character) {
            Some(other) => done.push_str(&other),
            None => done.push(character),
        }
        done
    })
}

fn with_backslash(character: char, among: &str) -> Option<String> {
    among.contains(character).then(|| format!("\\{character}"))
}

/// One word of a POSIX shell.
///
/// Guarantee: no backslash is followed by a backslash or a `%` of the same text. Some crons take those pairs for one character
/// and some do not, so that only what has none of them survives [`crontab`] on all.
pub fn shell(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let quoted = escape(text, |character| match character {
        '\'' => Some("'\"'\"'".to_owned()),
        '\\' => Some("\\''".to_owned()),
        _ => None,
    });
    format!("'{quoted}'")
}

/// A command as a crontab has it: an unescaped `%` ends a crontab's command.
pub fn crontab(command: &str) -> String {
    command.replace('%', "\\%")
}

/// One word of a systemd setting that takes words, such as `ReadWritePaths=`, and the program of `ExecStart=`.
pub fn systemd(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let quoted = escape(text, |character| match character {
        '%' => Some("%%".to_owned()),
        _ => with_backslash(character, "\\\""),
    });
    format!("\"{quoted}\"")
}

/// One argument in `ExecStart=`, where `$` stands for variables as well.
pub fn systemd_argument(text: &str) -> String {
    systemd(&text.replace('$', "$$"))
}

/// The whole value of a systemd setting that takes no words and no quotes, such as `Where=`.
///
/// # Errors
/// A text that such a value cannot hold: space at its ends, or a backslash as the last character.
pub fn systemd_value(text: &str) -> Result<String, &'static str> {
    if text.ends_with('\\') || text.trim_matches(' ') != text || text.is_empty() {
        return Err("ends with a space or a backslash, which a setting of systemd cannot");
    }
    Ok(text.replace('%', "%%"))
}

/// The name of the unit that stands for `path`, without its suffix, as `systemd-escape --path` has it.
pub fn systemd_path(path: &str) -> String {
    use std::fmt::Write as _;
    let parts: Vec<&str> =
        path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() {
        return "-".to_owned();
    }
    let mut name = String::new();
    for (at, byte) in parts.join("/").bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            _ if byte.is_ascii_alphanumeric() || b":_".contains(&byte) => name.push(byte.into()),
            b'.' if at > 0 => name.push('.'),
            // Writing to a string does not fail.
            _ => drop(write!(name, "\\x{byte:02x}")),
        }
    }
    name
}

fn octal(text: &str, among: &str) -> String {
    escape(text, |character| {
        among.contains(character).then(|| format!("\\{:03o}", u32::from(character)))
    })
}

/// One field of `/etc/fstab`.
pub fn fstab(text: &str) -> String {
    octal(text, " #\\")
}

/// A directory in `/etc/exports`.
pub fn exports(text: &str) -> String {
    octal(text, " #\\\"")
}

/// A text of a Ganesha configuration: in single quotes, where nothing is escaped, if it has none itself.
pub fn ganesha(text: &str) -> String {
    if text.contains('\'') {
        format!("\"{}\"", escape(text, |character| with_backslash(character, "\\\"")))
    } else {
        format!("'{text}'")
    }
}

/// A text of YAML, in double quotes.
pub fn yaml(text: &str) -> String {
    let quoted = escape(text, |character| match character {
        // What YAML would not print, or would take for the end of a line.
        '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
            Some(format!("\\u{:04x}", u32::from(character)))
        }
        _ => with_backslash(character, "\\\""),
    });
    format!("\"{quoted}\"")
}

/// A text of Ruby, which is one of Puppet too, in single quotes.
pub fn ruby(text: &str) -> String {
    format!("'{}'", escape(text, |character| with_backslash(character, "\\'")))
}

#[cfg(test)]
mod tests;
