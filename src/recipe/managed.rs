//! Release files by configuration management: Ansible, Puppet, Chef, Kubernetes.

use std::collections::BTreeMap;

use minijinja::value::Value;

use super::templates::Context;
use super::values::directory_text;
use super::{Error, File, Recipe, Templates, Values};
use crate::model::target::{SshUser, Target};
use crate::model::untrusted::Untrusted;

/// Where nodes that are managed as root have release files.
const STATE_HOME: &str = "/var/lib/depsync";

/// Each file of a recipe: where it goes, and its template.
type Files = [(&'static str, &'static str)];

const ANSIBLE: &Files = &[
    ("ansible/inventory.yml", "ansible/inventory.yml"),
    ("ansible/deploy.yml", "ansible/deploy.yml"),
    ("ansible/roles/depsync_release/defaults/main.yml", "ansible/defaults.yml"),
    ("ansible/roles/depsync_release/tasks/main.yml", "ansible/tasks.yml"),
    ("ansible/roles/depsync_release/handlers/main.yml", "ansible/handlers.yml"),
    ("ansible/roles/depsync_release/meta/main.yml", "ansible/meta.yml"),
    ("ansible/roles/depsync_release/library/depsync_apply.py", "ansible/depsync_apply.py"),
];

const PUPPET: &Files = &[
    ("puppet/site.pp", "puppet/site.pp"),
    ("puppet/depsync/metadata.json", "puppet/metadata.json"),
    ("puppet/depsync/manifests/init.pp", "puppet/init.pp"),
    ("puppet/depsync/manifests/release.pp", "puppet/release.pp"),
];

const CHEF: &Files = &[
    ("chef/depsync/metadata.rb", "chef/metadata.rb"),
    ("chef/depsync/recipes/default.rb", "chef/default.rb"),
    ("chef/depsync/resources/release.rb", "chef/release.rb"),
];

const KUBERNETES: &Files = &[
    ("kubernetes/Dockerfile", "kubernetes/Dockerfile"),
    ("kubernetes/deployment.yaml", "kubernetes/deployment.yaml"),
];

/// An inventory, a playbook, and a role with the module that applies a release file.
///
/// # Errors
/// [`Error`]; a target that is not behind ssh, or is relative.
pub fn ansible(values: &Values, templates: &Templates) -> Result<Recipe, Error> {
    let mut context = values.context()?;
    let become_user = values.run.link.sudo_user.as_ref().map(SshUser::as_str);
    context.extend([
        ("nodes", Value::from(nodes(values)?)),
        ("become_user", Value::from(become_user.unwrap_or_default())),
    ]);
    let next = vec![
        "look first: ansible-playbook -i ansible/inventory.yml ansible/deploy.yml --check --diff"
            .into(),
        "then the same without --check".into(),
    ];
    filled(ANSIBLE, &context, templates, next)
}

/// A module with the defined type `depsync::release`, and what the nodes' manifest declares.
///
/// # Errors
/// [`Error`]; a relative target.
pub fn puppet(values: &Values, templates: &Templates) -> Result<Recipe, Error> {
    let cluster = &values.cluster;
    let next = vec![
        "copy puppet/depsync into the modules of the environment".into(),
        format!(
            "write the release into it: depsync release puppet/depsync/files/{cluster}.depsync"
        ),
        "declare what puppet/site.pp has in the manifest of the nodes; --noop looks first".into(),
    ];
    filled(PUPPET, &on_nodes(values)?, templates, next)
}

/// A cookbook with the resource `depsync_release`.
///
/// # Errors
/// As [`puppet`].
pub fn chef(values: &Values, templates: &Templates) -> Result<Recipe, Error> {
    let cluster = &values.cluster;
    let next = vec![
        format!(
            "write the release into the cookbook: depsync release chef/depsync/files/{cluster}.depsync"
        ),
        "put 'recipe[depsync]' on the run list of the nodes; --why-run looks first".into(),
    ];
    filled(CHEF, &on_nodes(values)?, templates, next)
}

/// What a pod is made of.
#[derive(Debug, Clone)]
pub struct Pod {
    /// The image that brings the release.
    pub image: Option<String>,
    /// The image of the server.
    pub server_image: Option<String>,
    /// The number of the user that all containers run as.
    pub user_id: u32,
}

/// An image with the release, and a deployment whose pods begin with it and stay with it.
///
/// # Errors
/// [`Error`]; targets that are not all the same directory, or an image that is no name of one.
pub fn kubernetes(values: &Values, pod: &Pod, templates: &Templates) -> Result<Recipe, Error> {
    let mut context = on_nodes(values)?;
    let directories = directories(values)?;
    let [directory] = directories.as_slice() else {
        return Err(Error::Contradiction {
            message: "the targets are not all the same directory".to_owned(),
            hint: "pods are alike: give the directory that the server has in its image to all nodes",
        });
    };
    // A label of DNS, as names of deployments are.
    let name: String = values.cluster.to_lowercase().replace(['.', '_'], "-");
    let name = name.trim_matches('-').to_owned();
    let image = |given: &Option<String>, role: &str| {
        let default = || format!("registry.example.org/{name}-{role}:1");
        let image = given.clone().unwrap_or_else(default);
        let taken = |byte: u8| byte.is_ascii_alphanumeric() || b"./:@_-".contains(&byte);
        if image.bytes().all(taken) && !image.is_empty() {
            return Ok(image);
        }
        let text = Untrusted::new(image.as_bytes()).to_string();
        Err(Error::Text { what: "the image", text, why: "is no name of one" })
    };
    let image_name = image(&pod.image, "release")?;
    context.extend([
        ("server_image", Value::from(image(&pod.server_image, "server")?)),
        ("image", Value::from(image_name.as_str())),
        ("directory", Value::from(directory.as_str())),
        ("user_id", Value::from(pod.user_id)),
        ("replicas", Value::from(values.run.targets.len())),
        ("name", Value::from(name.as_str())),
    ]);
    let cluster = &values.cluster;
    let next = vec![
        format!(
            "write the release beside the Dockerfile: depsync release kubernetes/{cluster}.depsync"
        ),
        format!("copy the program there, and build and push {image_name}"),
        "look first: kubectl diff -f kubernetes/deployment.yaml; then kubectl apply".into(),
    ];
    filled(KUBERNETES, &context, templates, next)
}

fn filled(
    files: &Files,
    context: &Context,
    templates: &Templates,
    next: Vec<String>,
) -> Result<Recipe, Error> {
    let file = |(path, template): &(&str, &'static str)| {
        Ok(File::new(*path, templates.fill(template, context)?))
    };
    Ok(Recipe { files: files.iter().map(file).collect::<Result<_, _>>()?, next })
}

/// What recipes name that run on nodes.
fn on_nodes(values: &Values) -> Result<Context, Error> {
    let mut context = values.context()?;
    let directories = directories(values)?;
    context.extend([
        ("node_program", Value::from(values.node_program())),
        ("state_home", Value::from(STATE_HOME)),
        ("directory", Value::from(directories.first().map(String::as_str).unwrap_or_default())),
        ("directories", Value::from(directories)),
    ]);
    Ok(context)
}

/// The directories of the targets, each once.
fn directories(values: &Values) -> Result<Vec<String>, Error> {
    let mut directories: Vec<String> =
        values.run.targets.iter().map(absolute).collect::<Result<_, _>>()?;
    directories.sort();
    directories.dedup();
    Ok(directories)
}

/// The directory of a target, which must not depend on whose home it starts at.
fn absolute(target: &Target) -> Result<String, Error> {
    let directory = directory_text(target)?;
    if directory.starts_with('/') {
        return Ok(directory);
    }
    Err(Error::Contradiction {
        message: format!("the target {target} starts at a home, which differs with who applies it"),
        hint: "give it as an absolute path",
    })
}

/// The nodes as an inventory has them, each under a name of its own.
fn nodes(values: &Values) -> Result<Vec<Value>, Error> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut nodes = Vec::new();
    for target in &values.run.targets {
        let Target::Ssh(ssh) = target else {
            return Err(Error::Contradiction {
                message: format!("the target {target} is on this host"),
                hint: "apply it here: depsync apply FILE --target DIR",
            });
        };
        let host = ssh.host.as_str();
        let count = seen.entry(host).or_default();
        *count = count.saturating_add(1);
        let name = if *count == 1 { host.to_owned() } else { format!("{host}-{count}") };
        nodes.push(Value::from_pairs([
            ("name", Value::from(name)),
            ("host", Value::from(host)),
            ("port", Value::from(ssh.port.unwrap_or_default())),
            ("user", Value::from(ssh.user.as_ref().map_or("", |user| user.as_str()))),
            ("directory", Value::from(absolute(target)?)),
        ]));
    }
    Ok(nodes)
}
