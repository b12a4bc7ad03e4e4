//! One tree for all nodes by NFS, instead of a copy on each: the server's exports and the nodes' mounts.

use minijinja::value::Value;

use super::templates::Context;
use super::values::{directory_text, path_text, text};
use super::{Error, File, Recipe, Templates, Values, quote};
use crate::model::target::{SshHost, SshUser, Target};

/// Bytes that the name of a unit may have.
const UNIT_BYTES_MAX: usize = 255;

/// How the files are made.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server's name or address; this host if not given.
    pub server: Option<String>,
    /// The directory to export; the source if not given.
    pub export: Option<String>,
    /// Where nodes mount it; their targets' directory if not given.
    pub mount: Option<String>,
    /// The server is NFS-Ganesha, not the kernel.
    pub is_ganesha: bool,
    /// Nodes may write.
    pub is_writable: bool,
}

/// One export and where it is mounted.
struct Share {
    number: usize,
    export: String,
    mount: String,
}

impl Share {
    fn value(&self) -> Value {
        Value::from_pairs([
            ("number", Value::from(self.number)),
            ("export", Value::from(self.export.as_str())),
            ("mount", Value::from(self.mount.as_str())),
        ])
    }
}

/// The files for `values`.
///
/// # Errors
/// [`Error`]; no node behind ssh, or no one place to mount at.
pub fn recipe(values: &Values, options: &Options, templates: &Templates) -> Result<Recipe, Error> {
    let is_shared = values.run.node.share.is_some();
    let mut clients: Vec<String> =
        values.remote().map(|target| target.host.as_str().to_owned()).collect();
    clients.sort_unstable();
    clients.dedup();
    if clients.is_empty() {
        return Err(Error::Contradiction {
            message: "no node is another host, so there is nobody to export to".to_owned(),
            hint: "list the nodes as host:dir",
        });
    }
    if is_shared && values.run.targets.iter().any(|target| matches!(target, Target::Local(_))) {
        clients.push(values.host.clone());
    }
    if is_shared && options.export.is_none() {
        return Err(Error::Contradiction {
            message: "the approach is \"shared\", and which directory is the share is not known"
                .to_owned(),
            hint: "name the server's directory with --export DIR; it is another than the source",
        });
    }
    let is_root = |user: &SshUser| user.as_str() == "root";
    let has_root = values.remote().any(|target| target.user.as_ref().is_some_and(is_root));
    let server = server(values, options)?;
    let shares = shares(values, options)?;
    let mut context: Context = values.context()?;
    context.extend([
        ("server", Value::from(server)),
        ("clients", Value::from(clients)),
        ("shares", Value::from(shares.iter().map(Share::value).collect::<Vec<_>>())),
        ("is_writable", Value::from(options.is_writable || is_shared)),
        ("squashes_root", Value::from(!(is_shared && has_root))),
    ]);
    let (path, template, load) = if options.is_ganesha {
        ("server/ganesha.conf", "nfs/ganesha.conf", "systemctl restart nfs-ganesha")
    } else {
        ("server/exports", "nfs/exports", "exportfs -ra")
    };
    let mut files = vec![
        File::new(path, templates.fill(template, &context)?),
        File::new("node/fstab", templates.fill("nfs/fstab", &context)?),
    ];
    let mut units = Vec::new();
    for share in &shares {
        let mut context = context.clone();
        let unit = format!("{}.mount", quote::systemd_path(&share.mount));
        if unit.len() > UNIT_BYTES_MAX {
            return Err(Error::Contradiction {
                message: format!(
                    "the unit of the mount would have a name of over {UNIT_BYTES_MAX} bytes"
                ),
                hint: "mount at a shorter path",
            });
        }
        context.push(("share", share.value()));
        let text = templates.fill("nfs/directory.mount", &context)?;
        files.push(File::new(format!("node/{unit}"), text));
        units.push(unit);
    }
    let next = vec![
        format!("on the server: add {path} to its configuration, then {load}"),
        "on each node: either add node/fstab to /etc/fstab, then mount -a".to_owned(),
        format!(
            "or /etc/systemd/system/: {0}; systemctl daemon-reload; systemctl enable --now {0}",
            units.iter().map(|unit| quote::shell(unit)).collect::<Vec<_>>().join(" ")
        ),
    ];
    Ok(Recipe { files, next })
}

/// The server as mounts name it: an IPv6 address in brackets.
fn server(values: &Values, options: &Options) -> Result<String, Error> {
    let server = options.server.as_deref().unwrap_or(&values.host);
    if server.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(format!("[{server}]"));
    }
    let name = text("the server", server.as_bytes())?;
    SshHost::new(name.as_bytes()).map(|_checked| name.clone()).map_err(|_refused| Error::Text {
        what: "the server",
        text: name,
        why: "is not a host name or an address",
    })
}

/// What is exported and where it is mounted: each tree by itself, unless the options say otherwise.
fn shares(values: &Values, options: &Options) -> Result<Vec<Share>, Error> {
    let source = path_text("the source", &values.run.source.root)?;
    let mut roots: Vec<String> = Vec::new();
    for target in values.run.targets.iter().filter(|target| matches!(target, Target::Ssh(_))) {
        roots.push(directory_text(target)?);
    }
    roots.sort();
    roots.dedup();
    let root = match (&options.mount, roots.as_slice()) {
        (Some(mount), _) => mount.clone(),
        (None, [root]) => root.clone(),
        (None, _) => {
            return Err(Error::Contradiction {
                message: "the nodes have their targets in different directories".to_owned(),
                hint: "say with --mount DIR where they are to mount the export",
            });
        }
    };
    let export = options.export.clone().unwrap_or(source);
    let is_whole = options.export.is_some() || options.mount.is_some();
    let mut shares = Vec::new();
    for (number, tree) in (1..).zip(&values.run.source.trees) {
        let tree = text("the tree", tree.as_bytes())?;
        let below = |root: &str| {
            if is_whole || tree.is_empty() {
                root.to_owned()
            } else {
                format!("{}/{tree}", root.trim_end_matches('/'))
            }
        };
        shares.push(Share { number, export: below(&export), mount: below(&root) });
        if is_whole {
            break;
        }
    }
    for share in &shares {
        for (what, path) in [("the export", &share.export), ("the mount", &share.mount)] {
            let path = text(what, path.as_bytes())?;
            if !path.starts_with('/') {
                let why = "is not an absolute path";
                return Err(Error::Text { what, text: path, why });
            }
        }
    }
    Ok(shares)
}
