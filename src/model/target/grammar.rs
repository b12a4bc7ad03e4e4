//! Reads targets. Whatever could mean two things is refused, with the way to write each of them.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::net::Ipv6Addr;

use super::{Error, LocalPath, RemotePath, SshHost, SshTarget, SshUser, Target};
use crate::model::limits::PATH_BYTES_MAX;
use crate::model::untrusted::Untrusted;

/// Longest host or login name.
const WORD_BYTES_MAX: usize = 255;

/// See [`Target::parse`].
pub(super) fn parse(text: &[u8], base: &LocalPath) -> Result<Target, Error> {
    if text.is_empty() {
        return Err(Error::Empty);
    }
    if text.iter().any(u8::is_ascii_control) {
        return Err(Error::Control);
    }
    if let Some(rest) = text.strip_prefix(b"ssh://") {
        return parse_url(rest).map(Target::Ssh);
    }
    if let Some(rest) = text.strip_prefix(b"file:") {
        return parse_file_url(rest);
    }
    let first = text.split(|&byte| byte == b'/').next().unwrap_or_default();
    if first.is_empty() || matches!(first, b"." | b"..") {
        return local(text, base);
    }
    if scheme_of(text) {
        return Err(Error::Url { what: "only ssh:// and file:// are known" });
    }
    parse_scp(text).map(Target::Ssh)
}

/// True if the text starts as a URL does: a scheme and `://`.
fn scheme_of(text: &[u8]) -> bool {
    let scheme =
        text.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(byte));
    text.get(scheme.count()..).is_some_and(|rest| rest.starts_with(b"://"))
}

fn parse_file_url(rest: &[u8]) -> Result<Target, Error> {
    let path = rest
        .strip_prefix(b"//")
        .filter(|path| path.starts_with(b"/"))
        .ok_or(Error::Url { what: "a file address is file:/// and an absolute path" })?;
    refuse_percent(path)?;
    refuse_root(LocalPath::new(path)?.0).map(|path| Target::Local(LocalPath(path)))
}

/// A local path; leading `..` components are taken off `base`.
fn local(text: &[u8], base: &LocalPath) -> Result<Target, Error> {
    if text.starts_with(b"/") {
        return refuse_root(normal_path(text)?).map(|path| Target::Local(LocalPath(path)));
    }
    let mut directory: Vec<&[u8]> = base.0.split(|&byte| byte == b'/').collect();
    let mut rest = text;
    loop {
        let (first, after) = split_at_byte(rest, b'/').unwrap_or((rest, b""));
        match first {
            b".." => drop(directory.pop()),
            b"." => {}
            b"" if !after.is_empty() => {}
            _ => break,
        }
        rest = after;
    }
    directory.push(rest);
    let mut path = b"/".to_vec();
    path.extend(directory.join(&b'/'));
    refuse_root(normal_path(&path)?).map(|path| Target::Local(LocalPath(path)))
}

/// What follows `ssh://`.
fn parse_url(rest: &[u8]) -> Result<SshTarget, Error> {
    let (authority, path) =
        split_at_byte(rest, b'/').ok_or(Error::Path { what: "there is none after the host" })?;
    let (user, place) = split_user(authority)?;
    let (host, port) = if let Some(inside) = place.strip_prefix(b"[") {
        let (address, after) = split_at_byte(inside, b']').ok_or_else(|| ipv6_error(place))?;
        let port = match after {
            [] => None,
            [b':', port @ ..] => Some(parse_port(port)?),
            _ => return Err(ipv6_error(place)),
        };
        (parse_ipv6(address)?, port)
    } else if let Some((host, port)) = split_at_byte(place, b':') {
        if port.contains(&b':') {
            return Err(ipv6_error(place));
        }
        (SshHost::new(host)?, Some(parse_port(port)?))
    } else {
        (SshHost::new(place)?, None)
    };
    refuse_percent(path)?;
    let path = if let Some(home) = path.strip_prefix(b"~/") {
        home_path(home)?
    } else if path.starts_with(b"~") {
        return Err(Error::Path { what: "another user's home is not taken; write the whole path" });
    } else {
        let mut absolute = b"/".to_vec();
        absolute.extend_from_slice(path);
        absolute_path(&absolute)?
    };
    Ok(SshTarget { user, host, port, path })
}

/// `[user@]host:path`.
fn parse_scp(text: &[u8]) -> Result<SshTarget, Error> {
    let bare = || Error::Bare { text: Untrusted::new(text).to_string() };
    let before_colon = text.split(|&byte| byte == b':').next().unwrap_or_default();
    let at = before_colon.iter().position(|&byte| byte == b'@');
    let after_user = at.and_then(|at| text.get(at.saturating_add(1)..)).unwrap_or(text);
    let (host, path) = if let Some(inside) = after_user.strip_prefix(b"[") {
        let (address, after) = split_at_byte(inside, b']').ok_or_else(|| ipv6_error(after_user))?;
        let path =
            after.strip_prefix(b":").ok_or(Error::Path { what: "there is none after the host" })?;
        (parse_ipv6(address)?, path)
    } else {
        // The first colon of the text ends the host, unless a slash or an '@' of the path stands before it.
        let (authority, path) = split_at_byte(text, b':').ok_or_else(bare)?;
        if authority.contains(&b'/') {
            return Err(bare());
        }
        let (_, host) = split_user(authority)?;
        refuse_bare_ipv6(host, path)?;
        (SshHost::new(host)?, path)
    };
    let authority =
        text.strip_suffix(path).and_then(|text| text.strip_suffix(b":")).unwrap_or(text);
    let (user, _) = split_user(authority)?;
    let path = match path {
        [] => return Err(Error::Path { what: "there is none after the colon" }),
        [b'/', ..] => absolute_path(path)?,
        [b':', ..] => return Err(Error::Path { what: "it starts with a colon" }),
        b"~" => home_path(b"")?,
        [b'~', b'/', home @ ..] => home_path(home)?,
        _ if needs_dot(path) => {
            return Err(Error::Path {
                what: "a number could be a port, a '~' another home; write ssh://host:22/dir, an absolute path, or ./ before it",
            });
        }
        _ => home_path(path)?,
    };
    Ok(SshTarget { user, host, port: None, path })
}

/// Refuses `2001:db8::1:dir`, of which the first group would be taken for a host.
fn refuse_bare_ipv6(host: &[u8], path: &[u8]) -> Result<(), Error> {
    let mut text = host.to_vec();
    text.push(b':');
    text.extend_from_slice(path);
    let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
    for end in ends.chain([text.len()]) {
        let candidate = text.get(..end).unwrap_or_default();
        let address = candidate.split(|&byte| byte == b'%').next().unwrap_or_default();
        if as_ipv6(address).is_some() {
            return Err(ipv6_error(candidate));
        }
    }
    Ok(())
}

/// Splits `[user@]host`.
fn split_user(authority: &[u8]) -> Result<(Option<SshUser>, &[u8]), Error> {
    match split_at_byte(authority, b'@') {
        Some((_, host)) if host.contains(&b'@') => Err(Error::TwoAt),
        Some((user, host)) => Ok((Some(SshUser::new(user)?), host)),
        None => Ok((None, authority)),
    }
}

fn parse_port(text: &[u8]) -> Result<u16, Error> {
    std::str::from_utf8(text)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .filter(|port| *port != 0)
        .ok_or_else(|| Error::Port { text: Untrusted::new(text).to_string() })
}

/// An IPv6 address with optional zone, in the one form it prints in.
fn parse_ipv6(text: &[u8]) -> Result<SshHost, Error> {
    let (address, zone) = match split_at_byte(text, b'%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let address = as_ipv6(address).ok_or_else(|| ipv6_error(text))?;
    let Some(zone) = zone else { return Ok(SshHost(address.to_string())) };
    // `%25eth0` is how a URL would escape `%eth0`: it could mean either.
    let taken = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    word(zone, taken)
        .filter(|zone| !zone.starts_with("25"))
        .map(|zone| SshHost(format!("{address}%{zone}")))
        .ok_or_else(|| ipv6_error(text))
}

fn as_ipv6(text: &[u8]) -> Option<Ipv6Addr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn ipv6_error(text: &[u8]) -> Error {
    Error::Ipv6 { text: Untrusted::new(text).to_string() }
}

/// A word of the bytes that `taken` takes, not empty, not too long and not starting with `-`.
pub(super) fn word(bytes: &[u8], taken: impl Fn(&u8) -> bool) -> Option<String> {
    let fits = !bytes.is_empty() && bytes.len() <= WORD_BYTES_MAX && !bytes.starts_with(b"-");
    (fits && bytes.iter().all(taken)).then(|| String::from_utf8_lossy(bytes).into_owned())
}

/// True if a path relative to the remote home must be written with `./` in front, or it would be misread.
pub(super) fn needs_dot(path: &[u8]) -> bool {
    let first = path.split(|&byte| byte == b'/').next().unwrap_or_default();
    first.starts_with(b"~")
        || path.starts_with(b":")
        || (!first.is_empty() && first.iter().all(u8::is_ascii_digit))
}

fn absolute_path(path: &[u8]) -> Result<RemotePath, Error> {
    let path = refuse_root(normal_path(path)?)?;
    if path.starts_with(b"/~") {
        return Err(Error::Path { what: "'/~' starts it, which could be a home" });
    }
    Ok(RemotePath(path))
}

fn home_path(path: &[u8]) -> Result<RemotePath, Error> {
    let path = normal_path(path)?;
    let relative = path.strip_prefix(b"/").unwrap_or(&path);
    if relative.is_empty() {
        return Err(Error::Path { what: "it is the whole home directory" });
    }
    Ok(RemotePath(relative.into()))
}

/// Drops doubled and trailing slashes and `.` components; refuses `..` and what is too long.
pub(super) fn normal_path(path: &[u8]) -> Result<Box<[u8]>, Error> {
    let mut normal = Vec::with_capacity(path.len());
    for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
        if name == b".." {
            return Err(Error::Path { what: "a '..' inside it could lead anywhere" });
        }
        if !normal.is_empty() || path.starts_with(b"/") {
            normal.push(b'/');
        }
        normal.extend_from_slice(name);
    }
    if normal.is_empty() && path.starts_with(b"/") {
        normal.push(b'/');
    }
    if normal.len() > PATH_BYTES_MAX {
        return Err(Error::Path { what: "it is over 4095 bytes long" });
    }
    Ok(normal.into())
}

fn refuse_root(path: Box<[u8]>) -> Result<Box<[u8]>, Error> {
    if *path == *b"/" {
        return Err(Error::Path { what: "it is the root of the file system" });
    }
    Ok(path)
}

/// Percent escapes are not decoded in paths, so what looks like one is refused instead of being misread.
fn refuse_percent(path: &[u8]) -> Result<(), Error> {
    let escaped = path.windows(3).any(|bytes| {
        matches!(bytes, [b'%', one, other] if one.is_ascii_hexdigit() && other.is_ascii_hexdigit())
    });
    if escaped { Err(Error::Url { what: "percent escapes are not decoded" }) } else { Ok(()) }
}

fn split_at_byte(bytes: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&other| other == byte)?;
    Some((bytes.get(..at)?, bytes.get(at.checked_add(1)?..)?))
}
