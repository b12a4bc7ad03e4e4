//! `depsync recipe`: ready files for this configuration, printed or put into a directory.

use std::path::{Component, Path, PathBuf};

use super::args::{ColorWhen, RecipeArgs, RecipeKind, SharedArgs};
use super::console::Console;
use super::{environment, push, refuse, usage};
use crate::config::{self, Environment, Resolved};
use crate::hub::options::Mode;
use crate::hub::outcome::Failure;
use crate::model::limits::NODES_FILE_BYTES_MAX;
use crate::model::untrusted::Untrusted;
use crate::os::{host, operator_file, program};
use crate::recipe::{
    self, File, Recipe, Templates, Values, Variables, cron, managed, nfs, systemd,
};

/// Where systemd has the units of the host itself.
const UNITS: &str = "/etc/systemd/system";

/// Makes the files and prints or writes them; gives the exit code.
pub(super) fn run(arguments: &RecipeArgs) -> u8 {
    let console = Console::new(ColorWhen::Auto, false);
    match make(&arguments.kind) {
        Ok(said) => console.results(&said).exit_code(0),
        Err(failure) => refuse(console, &failure),
    }
}

fn make(kind: &RecipeKind) -> Result<String, Failure> {
    let shared = kind.shared();
    let here = environment::read()?.working_directory;
    let output = shared.output.as_ref().map(|path| here.join(path));
    let name = match kind {
        RecipeKind::Cron(_) => "cron",
        RecipeKind::Systemd(_) => "systemd",
        RecipeKind::Nfs(_) => "nfs",
        RecipeKind::Ansible(_) => "ansible",
        RecipeKind::Puppet(_) => "puppet",
        RecipeKind::Chef(_) => "chef",
        RecipeKind::Kubernetes(_) => "kubernetes",
    };
    let templates = templates(name, shared.templates.as_ref().map(|path| here.join(path)))?;
    if shared.show_templates {
        return deliver(&templates.as_recipe(), output.as_deref(), shared.force);
    }
    let recipe = filled(kind, &templates)?;
    if matches!(kind, RecipeKind::Systemd(systemd) if systemd.install) {
        return install(recipe, shared.force);
    }
    deliver(&recipe, output.as_deref(), shared.force)
}

fn filled(kind: &RecipeKind, templates: &Templates) -> Result<Recipe, Failure> {
    let recipe = match kind {
        RecipeKind::Cron(arguments) => {
            let values = values(&arguments.shared, arguments.user.as_deref())?;
            let options = cron::Options {
                every: arguments.every,
                is_system: arguments.system,
                mail_to: arguments.mail_to.clone(),
            };
            cron::recipe(&values, &options, templates)
        }
        RecipeKind::Systemd(arguments) => {
            let values = values(&arguments.shared, arguments.user.as_deref())?;
            let options =
                systemd::Options { every: arguments.every, before: arguments.before.clone() };
            systemd::recipe(&values, &options, templates)
        }
        RecipeKind::Nfs(arguments) => {
            let values = values(&arguments.shared, None)?;
            let options = nfs::Options {
                server: arguments.server.clone(),
                export: arguments.export.clone(),
                mount: arguments.mount.clone(),
                is_ganesha: arguments.ganesha,
                is_writable: arguments.writable,
            };
            nfs::recipe(&values, &options, templates)
        }
        RecipeKind::Ansible(shared) => managed::ansible(&values(shared, None)?, templates),
        RecipeKind::Puppet(shared) => managed::puppet(&values(shared, None)?, templates),
        RecipeKind::Chef(shared) => managed::chef(&values(shared, None)?, templates),
        RecipeKind::Kubernetes(arguments) => {
            let pod = managed::Pod {
                image: arguments.image.clone(),
                server_image: arguments.server_image.clone(),
                user_id: arguments.user_id,
            };
            managed::kubernetes(&values(&arguments.shared, None)?, &pod, templates)
        }
    };
    recipe.map_err(|error: recipe::Error| error.failure())
}

/// What the configuration says, and what this host knows beside it.
fn values(shared: &SharedArgs, user: Option<&str>) -> Result<Values, Failure> {
    let mut environment = environment::read()?;
    let here = environment.working_directory.clone();
    let config = here.join(shared.config.clone().unwrap_or_else(|| push::CONFIG_FILE.into()));
    if shared.config.is_none() && !operator_file::exists(&config) {
        let hint = "name one with -c FILE, or write one with 'depsync init'".to_owned();
        return Err(usage("there is no depsync.toml in this directory", Vec::new(), Some(hint)));
    }
    let (user, variables) = runner(user, &mut environment)?;
    let settings = config::read_file(&config).map_err(|error| error.failure())?;
    let log_file = settings.log_file.as_deref().map(plain);
    let resolved = config::resolve(settings, &environment, Mode::Push);
    let Resolved { cluster, mut run } = resolved.map_err(|error| error.failure())?;
    run.source.root = plain(&run.source.root);
    let program = match &shared.program {
        Some(program) => here.join(program),
        None => program::own_path().map_err(|error| {
            let hint = Some("say where it is with --program".to_owned());
            usage("find this program", vec![error.to_string()], hint)
        })?,
    };
    let (program, config) = (plain(&program), plain(&config));
    Ok(Values { cluster, run, program, config, log_file, user, variables, host: host::name() })
}

/// Who is to run it, and the variables that must be set for that user's runs to have the state where `environment` has it.
fn runner(
    user: Option<&str>,
    environment: &mut Environment,
) -> Result<(String, Variables), Failure> {
    let own = host::user_name();
    let user = match user {
        Some(user) => config::values::user(user)
            .map_err(|error| usage(format!("--user: {error}"), Vec::new(), None))?
            .as_str()
            .to_owned(),
        None => own.clone(),
    };
    if user != own {
        // By itself, nothing of this user's environment counts.
        let home = host::home_of(&user).ok_or_else(|| {
            let hint = Some("make the user first: its home is where the state is".to_owned());
            usage(format!("/etc/passwd has no user {user}"), Vec::new(), hint)
        })?;
        *environment = Environment {
            working_directory: environment.working_directory.clone(),
            home: Some(home),
            ..Environment::default()
        };
        return Ok((user, Vec::new()));
    }
    let given = |path: &Option<PathBuf>| path.clone().filter(|path| path.is_absolute());
    let home = given(&environment.home).filter(|home| host::user_home().as_ref() != Some(home));
    let variables = [("HOME", home), ("XDG_STATE_HOME", given(&environment.state_home))];
    let set = variables.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)));
    Ok((user, set.collect()))
}

/// `path` without `.` and, where it is there, without `..`, which units do not take.
fn plain(path: &Path) -> PathBuf {
    if path.components().any(|part| part == Component::ParentDir) {
        return operator_file::real_path(path).unwrap_or_else(|_missing| path.to_owned());
    }
    path.components().collect()
}

/// The templates of `kind`, with those of `directory` over them.
fn templates(kind: &str, directory: Option<PathBuf>) -> Result<Templates, Failure> {
    let mut templates = Templates::built_in(kind);
    let Some(directory) = directory else { return Ok(templates) };
    let mut found = false;
    for name in templates.names().collect::<Vec<_>>() {
        let path = directory.join(name);
        if !operator_file::exists(&path) {
            continue;
        }
        let refused = |cause: String, hint| {
            usage(format!("read the template {}", shown(&path)), vec![cause], hint)
        };
        let bytes = operator_file::read_operator_file(&path, NODES_FILE_BYTES_MAX)
            .map_err(|error| refused(error.to_string(), error.hint().map(str::to_owned)))?;
        let text =
            String::from_utf8(bytes).map_err(|_invalid| refused("it is not UTF-8".into(), None))?;
        templates.replace(name, text);
        found = true;
    }
    if !found {
        let names: Vec<&str> = templates.names().collect();
        let hint = Some(format!("they are called {}", names.join(", ")));
        return Err(usage(
            format!("{} has no template of this kind", shown(&directory)),
            Vec::new(),
            hint,
        ));
    }
    Ok(templates)
}

/// The units of this host go into [`UNITS`]; what is for nodes is told.
fn install(mut recipe: Recipe, force: bool) -> Result<String, Failure> {
    recipe.files.retain(|file| file.path.starts_with("hub/"));
    for file in &mut recipe.files {
        file.path = file.path.trim_start_matches("hub/").to_owned();
    }
    write(&recipe, Path::new(UNITS), force)
}

fn deliver(recipe: &Recipe, output: Option<&Path>, force: bool) -> Result<String, Failure> {
    match output {
        Some(directory) => write(recipe, directory, force),
        None => Ok(recipe.text()),
    }
}

/// Writes all files, or none if one that is there differs; gives what was done and what comes next.
fn write(recipe: &Recipe, directory: &Path, force: bool) -> Result<String, Failure> {
    let mut missing: Vec<(&File, PathBuf)> = Vec::new();
    for file in &recipe.files {
        let path = directory.join(&file.path);
        let is_there = operator_file::exists(&path);
        let held = operator_file::read_operator_file(&path, file.text.len());
        if is_there && held.is_ok_and(|held| held == file.text.as_bytes()) {
            continue;
        }
        if is_there && !force {
            let hint = Some("pass --force to replace it".to_owned());
            return Err(usage(format!("{} is there and differs", shown(&path)), Vec::new(), hint));
        }
        missing.push((file, path));
    }
    let mut said = String::new();
    for (file, path) in &missing {
        operator_file::place_operator_file(path, file.text.as_bytes(), file.mode, force).map_err(
            |error| usage(format!("write {}", shown(path)), vec![error.to_string()], None),
        )?;
        said = format!("{said}wrote {}\n", shown(path));
    }
    if missing.is_empty() {
        said = format!("{} has them already\n", shown(directory));
    }
    for next in &recipe.next {
        said = format!("{said}next: {}\n", Untrusted::new(next.as_bytes()));
    }
    Ok(said)
}

fn shown(path: &Path) -> String {
    Untrusted::new(path.as_os_str().as_encoded_bytes()).to_string()
}
