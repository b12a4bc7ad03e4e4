//! What a server's home has.

use std::path::Path;

use crate::cli::usage;
use crate::config::presets::{self, Preset};
use crate::hub::outcome::Failure;
use crate::model::untrusted::Untrusted;
use crate::os::{foreign_file, operator_file};

/// Bytes of a file of versions that are looked at.
const VERSION_BYTES_MAX: u64 = 4096;
/// Where every home of WSO2 has what is deployed.
const WSO2: &str = "wso2-mi";

/// What was found in a home.
#[derive(Debug)]
pub(super) struct Home {
    /// The given one, or the one that its files show.
    pub(super) preset: Option<Preset>,
    /// The deployment directory, and those of tenants that are there.
    pub(super) trees: Vec<String>,
    /// Lines about what there is.
    pub(super) found: Vec<String>,
    /// What is missing, or there twice.
    pub(super) warnings: Vec<String>,
}

impl Home {
    /// Looks at the home at `path`, of a server of the preset `given`, or of one that its files show. Of a home that shows
    /// nothing, the trees are WSO2's.
    ///
    /// # Errors
    /// A preset that has no home.
    pub(super) fn look(path: &Path, given: Option<Preset>) -> Result<Self, Failure> {
        let shown = Untrusted::new(path.as_os_str().as_encoded_bytes()).to_string();
        let (mut found, mut warnings) = (Vec::new(), Vec::new());
        let mut preset = given;
        if preset.is_none() {
            if let Some((guessed, sign)) = guess(path) {
                let (name, server) = (&guessed.name, &guessed.server);
                found.push(format!("guessed {name}, {server}: there is {sign}"));
                preset = Some(guessed);
            } else {
                let unknown = "nothing in the home shows what server it is; give --preset";
                warnings.push(unknown.to_owned());
            }
        }
        let known = preset.clone().or_else(|| presets::find(WSO2));
        let layout = known.and_then(|known| Some((known.deployment.clone()?, known)));
        let Some((deployment, known)) = layout else {
            let hint = Some("name the directory with --source".to_owned());
            return Err(usage("the preset plain knows no home", Vec::new(), hint));
        };
        let is_there = |tree: &String| operator_file::exists(&path.join(tree));
        if is_there(&deployment) {
            found.push(format!("found {deployment}"));
            look_into(path, &deployment, &known, &mut found);
        } else {
            warnings.push(format!("there is no {deployment} in {shown}"));
        }
        let tenants: Vec<String> =
            known.tenants.iter().filter(|tree| is_there(tree)).cloned().collect();
        found.extend(tenants.iter().map(|tree| format!("found {tree}")));
        match &tenants[..] {
            [] if !known.tenants.is_empty() => {
                found.push(format!("not found: {}; no tenants are deployed", known.tenants.join(", ")));
            }
            [one, other, ..] => warnings.push(format!(
                "there are both {one} and {other}, and a server reads one of them: take the other out of 'trees'"
            )),
            _ => {}
        }
        let trees = std::iter::once(deployment).chain(tenants).collect();
        Ok(Self { preset, trees, found, warnings })
    }
}

/// Tells which of the directories that the server reads are there.
fn look_into(home: &Path, deployment: &str, preset: &Preset, found: &mut Vec<String>) {
    let is_there = |name: &&String| operator_file::exists(&home.join(deployment).join(name));
    let (there, missing): (Vec<&String>, Vec<&String>) =
        preset.directories.iter().partition(is_there);
    for (word, names) in [("found in it", there), ("not found in it", missing)] {
        if !names.is_empty() {
            let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
            found.push(format!("{word}: {}", names.join(", ")));
        }
    }
}

/// The first preset of which the home has a sign, and the sign.
fn guess(home: &Path) -> Option<(Preset, String)> {
    presets::all().into_iter().find_map(|preset| {
        let is_there = |(file, word): &(&str, Option<&str>)| {
            let path = home.join(file);
            let Some(word) = word else { return operator_file::exists(&path) };
            let bytes = foreign_file::read_regular(&path, VERSION_BYTES_MAX).ok().flatten();
            bytes.is_some_and(|bytes| String::from_utf8_lossy(&bytes).contains(word))
        };
        let sign = preset.signs().find(is_there).map(|(file, _)| file.to_owned());
        sign.map(|sign| (preset, sign))
    })
}
