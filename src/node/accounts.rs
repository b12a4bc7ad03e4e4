//! Names of users and groups on a node, from `/etc/passwd` and `/etc/group`.
//!
//! The agent is one static program that must start anywhere, so it cannot load the system's name services: a name
//! that only a directory server knows does not resolve here, and the error says to give numbers.

use std::path::Path;

use super::error::Error;
use crate::model::entry::Owner;
use crate::model::manifest::OwnerPolicy;
use crate::os::root::{self, Missing};
use crate::os::{durable, host};

const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The owner that `policy` gives to every entry, if it is one for all.
///
/// # Errors
/// [`Error::Refused`] for a name that does not resolve; never uid 0 in its place (rule S6).
pub fn resolve(policy: &OwnerPolicy) -> Result<Option<Owner>, Error> {
    let (user, group) = match policy {
        OwnerPolicy::Named { user, group } => (user, group),
        // Only root can take over what others own; any other agent owns what it writes anyhow.
        OwnerPolicy::Agent if host::is_root() => {
            return Ok(Some(Owner { uid: host::user_id(), gid: host::group_id() }));
        }
        OwnerPolicy::Agent | OwnerPolicy::Numeric => return Ok(None),
    };
    let passwd = read("passwd")?;
    let (uid, primary) = if let Ok(uid) = user.parse::<u32>() {
        (uid, field(&passwd, 2, &uid.to_string(), 3))
    } else {
        let uid = field(&passwd, 0, user, 2).ok_or_else(|| unknown("user", user))?;
        (uid, field(&passwd, 0, user, 3))
    };
    let gid = match group {
        None => primary.ok_or_else(|| unknown("group of the user", user))?,
        Some(group) => match group.parse() {
            Ok(gid) => gid,
            Err(_) => field(&read("group")?, 0, group, 2).ok_or_else(|| unknown("group", group))?,
        },
    };
    Ok(Some(Owner { uid, gid }))
}

fn unknown(what: &str, name: &str) -> Error {
    Error::refused(
        "owner-unknown",
        format!("the {what} {name} is not in this node's /etc/passwd and /etc/group"),
        Some("create the account on the node, or give the owner by number".into()),
    )
}

fn read(name: &str) -> Result<String, Error> {
    let etc = root::open(Path::new("/etc"), Missing::Refuse).map_err(Error::Root)?;
    let bytes = match &etc.dir {
        Some(dir) => durable::read(dir, name.as_bytes(), FILE_BYTES_MAX)
            .map_err(super::error::io_error("read", name))?,
        None => None,
    };
    Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
}

/// The number in column `wanted` of the line whose column `column` is `value`.
fn field(table: &str, column: usize, value: &str, wanted: usize) -> Option<u32> {
    table
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(column) == Some(&value))
        .and_then(|fields| fields.get(wanted)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_and_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nwso2:x:802:803::/home/wso2:/bin/sh\n";
        assert_eq!(field(passwd, 0, "wso2", 2), Some(802));
        assert_eq!(field(passwd, 2, "802", 3), Some(803));
        assert_eq!(field(passwd, 0, "nobody-here", 2), None);
    }

    #[test]
    fn fault_030_a_name_unknown_on_the_node_is_refused_and_never_root() {
        let policy = OwnerPolicy::Named { user: "no-such-user-here".into(), group: None };
        let error = resolve(&policy).expect_err("it does not resolve");
        assert!(matches!(error, Error::Refused { kind: "owner-unknown", .. }));
    }
}
