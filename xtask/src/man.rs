//! Documents that are generated from the command line's own definition.

use crate::failure::{Failure, Result, at};
use crate::{program, workspace};
use std::path::{Path, PathBuf};

/// Writes the manual pages to `target/man`; with `check` it also compares `docs/cli.md` with what would be
/// written now.
///
/// # Errors
/// depsync cannot be built or writes no pages; `docs/cli.md` is stale.
pub(crate) fn run(check: bool) -> Result {
    let reference = reference_path();
    if check && !reference.exists() {
        println!("man: skipped, as there is no docs/cli.md yet");
        return Ok(());
    }
    let folder = workspace::target().join("man");
    let pages = write_pages(&folder)?;
    println!("man: {pages} pages in {}", folder.display());
    if check {
        let kept = std::fs::read_to_string(&reference).map_err(at("read", &reference))?;
        if kept != generated_reference()? {
            return Err(Failure::new("docs/cli.md is stale: run cargo xtask cli-reference"));
        }
    }
    Ok(())
}

/// Writes `docs/cli.md`.
///
/// # Errors
/// depsync cannot be built or has nothing to say, or the file cannot be written.
pub(crate) fn write_reference() -> Result {
    let path = reference_path();
    let text = generated_reference()?;
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(at("create", folder))?;
    std::fs::write(&path, text).map_err(at("write", &path))
}

fn reference_path() -> PathBuf {
    workspace::root().join("docs").join("cli.md")
}

fn generated_reference() -> Result<String> {
    let text = program::output(&depsync(&["generate", "cli-reference"]))?;
    if text.is_empty() {
        return Err(Failure::new("depsync generate cli-reference printed nothing"));
    }
    Ok(text)
}

fn write_pages(folder: &Path) -> Result<usize> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(at("remove", folder))?;
    }
    std::fs::create_dir_all(folder).map_err(at("create", folder))?;
    program::run(&depsync(&["generate", "man", &folder.to_string_lossy()]))?;
    let listing = std::fs::read_dir(folder).map_err(at("read", folder))?;
    let is_page =
        |entry: &std::fs::DirEntry| entry.path().extension().is_some_and(|end| end == "1");
    match listing.filter_map(std::result::Result::ok).filter(is_page).count() {
        0 => Err(Failure::new("depsync generate man wrote no pages")),
        pages => Ok(pages),
    }
}

fn depsync(arguments: &[&str]) -> Vec<String> {
    let cargo = workspace::cargo();
    let run = [cargo.as_str(), "run", "--quiet", "--bin", "depsync", "--"];
    run.iter().chain(arguments).map(|word| (*word).to_owned()).collect()
}
