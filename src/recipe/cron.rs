//! The crontab of the hub.

use std::time::Duration;

use minijinja::value::Value;

use super::{Error, File, Recipe, Templates, Values};
use crate::model::untrusted::Untrusted;

/// Bytes that a line may have: what Debian's cron takes of a command, less one for the end.
const LINE_BYTES_MAX: usize = 998;

/// How the crontab is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// How often a push starts.
    pub every: Duration,
    /// The form of `/etc/cron.d`, which names the user.
    pub is_system: bool,
    /// Who gets cron's mail, in the form of `/etc/cron.d`.
    pub mail_to: String,
}

/// The crontab for `values`.
///
/// # Errors
/// [`Error`]; an interval that cron does not know, or a command that is too long for it.
pub fn recipe(values: &Values, options: &Options, templates: &Templates) -> Result<Recipe, Error> {
    let minutes = minutes(options.every)?;
    let is_address = |byte: u8| byte.is_ascii_alphanumeric() || b"@._+,-".contains(&byte);
    if !options.mail_to.bytes().all(is_address) {
        let text = Untrusted::new(options.mail_to.as_bytes()).to_string();
        return Err(Error::Text {
            what: "the address",
            text,
            why: "is not one such as ops@example.org",
        });
    }
    if options.is_system && values.user.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::Contradiction {
            message: format!("the user {} has no name, which cron wants", values.user),
            hint: "name one with --user",
        });
    }
    let mut context = values.context()?;
    context.extend([
        ("schedule", Value::from(schedule(minutes)?)),
        // Where pushes are frequent, one an hour has its errors mailed, not each.
        ("is_frequent", Value::from(minutes < 60)),
        ("log_file", Value::from(values.log_file()?)),
        ("is_log_configured", Value::from(values.log_file.is_some())),
        ("mail_to", Value::from(options.mail_to.as_str())),
    ]);
    // Names in /etc/cron.d have no dots, or cron passes them by.
    let system_name = format!("hub/depsync-{}", values.cluster.replace('.', "_"));
    let (template, path) = if options.is_system {
        ("cron/cron.d", system_name.as_str())
    } else {
        ("cron/crontab", "hub/crontab")
    };
    let text = templates.fill(template, &context)?;
    if text.lines().any(|line| line.len() > LINE_BYTES_MAX) {
        return Err(Error::Contradiction {
            message: format!(
                "the command has over {LINE_BYTES_MAX} bytes, and cron would not take it"
            ),
            hint: "move the configuration, the program or the log to a shorter path",
        });
    }
    let next = if options.is_system {
        format!("copy {path} into /etc/cron.d")
    } else {
        format!("add the lines of {path} to the crontab of {}: crontab -e", values.user)
    };
    Ok(Recipe { files: vec![File::new(path, text)], next: vec![next] })
}

fn minutes(every: Duration) -> Result<u64, Error> {
    let minutes = every.as_secs() / 60;
    if minutes > 0 && Duration::from_secs(minutes.saturating_mul(60)) == every {
        return Ok(minutes);
    }
    Err(unknown())
}

/// The five fields of a crontab.
fn schedule(minutes: u64) -> Result<String, Error> {
    match minutes {
        1 => Ok("* * * * *".to_owned()),
        2..60 if 60u64.is_multiple_of(minutes) => Ok(format!("*/{minutes} * * * *")),
        60 => Ok("0 * * * *".to_owned()),
        1440 => Ok("0 0 * * *".to_owned()),
        61..1440 if 1440u64.is_multiple_of(minutes) && minutes.is_multiple_of(60) => {
            Ok(format!("0 */{} * * *", minutes / 60))
        }
        _ => Err(unknown()),
    }
}

fn unknown() -> Error {
    Error::Contradiction {
        message: "cron does not know this interval".to_owned(),
        hint: "give minutes that divide an hour (1m, 5m, 30m), hours that divide a day (1h, 6h), or 24h",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_that_cron_can_keep() {
        for (seconds, expected) in [
            (60, Some("* * * * *")),
            (300, Some("*/5 * * * *")),
            (3_600, Some("0 * * * *")),
            (21_600, Some("0 */6 * * *")),
            (86_400, Some("0 0 * * *")),
            (0, None),
            (30, None),
            (90, None),
            (420, None),
            (5_400, None),
            (18_000, None),
            (172_800, None),
        ] {
            let told = minutes(Duration::from_secs(seconds)).and_then(schedule).ok();
            assert_eq!(told.as_deref(), expected, "{seconds}");
        }
    }
}
