//! Source trees to measure on, and changes to them. The same name and seed give the same bytes every time.
//!
//! ```text
//! mi     a deployment directory: 60 applications (0.2 to 8 MB zips) and 3,000 configuration files
//! small  100,000 files of 0.2 to 8 KB in 1,000 folders
//! big    one file of 512 MB; large: the same with 2 GB
//! huge   1,000,000 files of 0 to 199 bytes in 4,000 folders
//! files-N  N files of 200 to 2,000 bytes, 100 to a folder
//! ```

mod random;
mod zip;

use crate::failure::{Failure, Result, at};
use random::Random;
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// What `cargo xtask workload` can do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Act {
    /// Make a tree: mi, small, big, large, huge or files-N
    Make {
        /// The tree's name
        name: String,
        /// Where; it must not exist
        folder: PathBuf,
    },
    /// Change a tree: none, one, percent, rename, edit (big, large) or recar (mi)
    Change {
        /// The tree's name
        name: String,
        /// The change
        change: String,
        /// The tree
        folder: PathBuf,
        /// Another number, another change of this kind
        #[arg(default_value_t = 1)]
        seed: u32,
    },
}

/// Does one act of the command line.
///
/// # Errors
/// There is no such tree or change, or it cannot be written.
pub(crate) fn act(act: Act) -> Result {
    match act {
        Act::Make { name, folder } => make(&name, &folder),
        Act::Change { name, change: what, folder, seed } => change(&name, &what, &folder, seed),
    }
}

/// How many applications `mi` has.
const CARS: usize = 60;

const MEGABYTE: usize = 1 << 20;

/// Whether there is a tree of that name.
pub(crate) fn is_tree(name: &str) -> bool {
    ["mi", "small", "big", "large", "huge"].contains(&name) || files_of(name).is_some()
}

/// Whether there is a change of that name.
pub(crate) fn is_change(name: &str) -> bool {
    ["none", "one", "percent", "rename", "edit", "recar"].contains(&name)
}

/// How many files the tree `files-N` has; none for other trees.
pub(crate) fn files_of(name: &str) -> Option<usize> {
    name.strip_prefix("files-")?.parse().ok().filter(|count| *count > 0)
}

/// Makes a tree. It appears under its name only when it is whole.
///
/// # Errors
/// There is no such tree (code 2), `folder` exists, or it cannot be written.
pub(crate) fn make(name: &str, folder: &Path) -> Result {
    if folder.exists() {
        return Err(Failure::new(format!("{} exists already", folder.display())));
    }
    if !is_tree(name) {
        return Err(Failure::unavailable(format!("there is no workload {name}")));
    }
    let part = folder.with_added_extension("part");
    if part.exists() {
        std::fs::remove_dir_all(&part).map_err(at("remove", &part))?;
    }
    std::fs::create_dir_all(&part).map_err(at("create", &part))?;
    match name {
        "mi" => make_mi(&part)?,
        "small" => make_small(&part)?,
        "big" => make_blob(&part, 512)?,
        "large" => make_blob(&part, 2048)?,
        "huge" => make_huge(&part)?,
        _ => make_files(&part, files_of(name).unwrap_or_default())?,
    }
    std::fs::rename(&part, folder).map_err(at("rename", &part))
}

fn make_mi(folder: &Path) -> Result {
    const KINDS: [&str; 10] = [
        "api",
        "sequences",
        "proxy-services",
        "endpoints",
        "local-entries",
        "inbound-endpoints",
        "tasks",
        "templates",
        "message-stores",
        "message-processors",
    ];
    for number in 0..CARS {
        write(&car_path(folder, number), &car(number, None))?;
    }
    let mut random = Random::new("mi");
    for (number, kind) in KINDS.iter().cycle().take(3000).enumerate() {
        let bytes = random.between(500, 9000);
        let text = random.text(bytes);
        write(&folder.join(format!("synapse-configs/default/{kind}/Item{number}.xml")), &text)?;
    }
    Ok(())
}

fn make_small(folder: &Path) -> Result {
    let place = |number| folder.join(format!("d{:03}/f{number}.xml", number % 1000));
    make_pieces("small", 100_000, (200, 8000), &place)
}

fn make_files(folder: &Path, count: usize) -> Result {
    let place = |number| folder.join(format!("d{:05}/f{number}.xml", number / 100));
    make_pieces("files", count, (200, 2000), &place)
}

/// Files of a number and a piece of one pool, half of which is text, with lengths from `bytes.0` on and below `bytes.1`.
fn make_pieces(
    seed: &str,
    count: usize,
    bytes: (usize, usize),
    place: &dyn Fn(usize) -> PathBuf,
) -> Result {
    let mut random = Random::new(seed);
    let mut pool = random.text(MEGABYTE);
    pool.extend(random.bytes(MEGABYTE));
    for number in 0..count {
        let bytes = random.between(bytes.0, bytes.1);
        let start = random.below(pool.len() - bytes);
        let mut data = format!("{number}\n").into_bytes();
        data.extend_from_slice(pool.get(start..start + bytes).unwrap_or_default());
        write(&place(number), &data)?;
    }
    Ok(())
}

fn make_blob(folder: &Path, megabytes: usize) -> Result {
    let path = folder.join("blob.bin");
    let mut random = Random::new("blob");
    let mut file = File::create(&path).map_err(at("create", &path))?;
    for _ in 0..megabytes {
        file.write_all(&random.bytes(MEGABYTE)).map_err(at("write", &path))?;
    }
    Ok(())
}

fn make_huge(folder: &Path) -> Result {
    let place = |inner: usize| folder.join(format!("d{:02}/e{inner}", inner % 40));
    for inner in 0..4000 {
        std::fs::create_dir_all(place(inner)).map_err(at("create", folder))?;
    }
    let data = [b'x'; 200];
    for number in 0..1_000_000 {
        let path = place(number % 4000).join(format!("f{number}"));
        let bytes = data.get(..number % 200).unwrap_or_default();
        std::fs::write(&path, bytes).map_err(at("write", &path))?;
    }
    Ok(())
}

fn car_path(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("carbonapps/App{number}_1.0.{number}.car"))
}

/// An application, always the same for its number, or with one artifact edited.
fn car(number: usize, edit: Option<u32>) -> Vec<u8> {
    let mut random = Random::new(&format!("car{number}"));
    let bytes = random.choice(&[200_000, 500_000, 1_000_000, 2_000_000, 4_000_000, 8_000_000]);
    let mut entries = vec![("artifacts.xml".to_owned(), random.text(2000))];
    let mut done = 0;
    for artifact in 0.. {
        if done >= bytes {
            break;
        }
        let mut data = if artifact % 3 == 0 { random.text(20_000) } else { random.bytes(60_000) };
        done += data.len();
        if let Some(seed) = edit.filter(|_| artifact == 3) {
            data.extend_from_slice(format!("edit{seed}").repeat(40).as_bytes());
        }
        entries.push((format!("lib_{artifact}/artifact{artifact}.xml"), data));
    }
    zip::archive(&entries)
}

/// Changes a tree in place.
///
/// # Errors
/// There is no such change (code 2), the tree is not of that name, or it cannot be written.
pub(crate) fn change(name: &str, what: &str, folder: &Path, seed: u32) -> Result {
    let mut random = Random::new(&format!("{name} {what} {seed}"));
    match what {
        "none" => Ok(()),
        "one" | "percent" => {
            let all = files(folder)?;
            let count = if what == "one" { 1 } else { (all.len() / 100).max(1) };
            random.sample(&all, count).iter().try_for_each(|path| append(path, seed))
        }
        "rename" => {
            let first = children(folder)?.into_iter().min();
            let first =
                first.ok_or_else(|| Failure::new(format!("{} is empty", folder.display())))?;
            let new = first.with_added_extension(format!("moved{seed}"));
            std::fs::rename(&first, new).map_err(at("rename", &first))
        }
        "edit" => edit_blob(&folder.join("blob.bin"), &mut random),
        "recar" => {
            let numbers: Vec<usize> = (0..CARS).collect();
            let chosen = random.sample(&numbers, 5);
            chosen.into_iter().try_for_each(|number| {
                let path = car_path(folder, number);
                if !path.exists() {
                    return Err(Failure::new(format!("{} is no mi tree", folder.display())));
                }
                write(&path, &car(number, Some(seed)))
            })
        }
        _ => Err(Failure::unavailable(format!("there is no change {what}"))),
    }
}

/// Overwrites 100 places of 4 KB and puts 1 KB before all of it.
fn edit_blob(path: &Path, random: &mut Random) -> Result {
    let mut file = File::options().write(true).open(path).map_err(at("open", path))?;
    let bytes = file.metadata().map_err(at("read", path))?.len();
    let bytes = usize::try_from(bytes).expect("invariant: file sizes fit into 64 bits");
    for _ in 0..100 {
        let place =
            u64::try_from(random.below(bytes - 4096)).expect("invariant: offsets fit into 64 bits");
        file.seek(SeekFrom::Start(place)).map_err(at("write", path))?;
        file.write_all(&random.bytes(4096)).map_err(at("write", path))?;
    }
    let new = path.with_extension("new");
    let mut longer = File::create(&new).map_err(at("create", &new))?;
    longer.write_all(&random.bytes(1024)).map_err(at("write", &new))?;
    let mut old = File::open(path).map_err(at("open", path))?;
    std::io::copy(&mut old, &mut longer).map_err(at("write", &new))?;
    std::fs::rename(&new, path).map_err(at("rename", &new))
}

fn append(path: &Path, seed: u32) -> Result {
    let mut file = File::options().append(true).open(path).map_err(at("open", path))?;
    file.write_all(format!("<!-- {seed} -->\n").as_bytes()).map_err(at("write", path))
}

fn write(path: &Path, data: &[u8]) -> Result {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).map_err(at("create", folder))?;
    std::fs::write(path, data).map_err(at("write", path))
}

/// All files below a folder, in the order of their paths.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for child in children(&folder)? {
            let kind = std::fs::symlink_metadata(&child).map_err(at("read", &child))?;
            if kind.is_dir() {
                folders.push(child);
            } else if kind.is_file() {
                found.push(child);
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn children(folder: &Path) -> Result<Vec<PathBuf>> {
    let listing = std::fs::read_dir(folder).map_err(at("read", folder))?;
    listing.map(|entry| entry.map(|entry| entry.path()).map_err(at("read", folder))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edited_application_differs_in_one_artifact_only() {
        let (old, new, again) = (car(7, None), car(7, Some(1)), car(7, Some(1)));
        assert_eq!(new, again);
        assert_eq!(new.len(), old.len() + 40 * "edit1".len());
        assert_ne!(car(7, Some(2)), new);
    }

    #[test]
    fn changes_follow_from_their_seed() {
        let base = std::env::temp_dir().join(format!("xtask-workload-{}", std::process::id()));
        for copy in ["a", "b"] {
            for number in 0..300 {
                write(&base.join(copy).join(format!("d{}/f{number}", number % 3)), b"x").unwrap();
            }
            change("small", "percent", &base.join(copy), 4).unwrap();
            change("small", "rename", &base.join(copy), 4).unwrap();
        }
        let changed = |copy: &str| -> Vec<PathBuf> {
            let root = base.join(copy);
            let all = files(&root).unwrap();
            assert_eq!(all.len(), 300);
            let longer = all.iter().filter(|path| std::fs::metadata(path).unwrap().len() > 1);
            longer.map(|path| path.strip_prefix(&root).unwrap().to_path_buf()).collect()
        };
        assert_eq!(changed("a").len(), 3);
        assert_eq!(changed("a"), changed("b"));
        assert!(base.join("a/d0.moved4").exists());
        assert_eq!(change("small", "more", &base, 1).unwrap_err().code, 2);
        std::fs::remove_dir_all(&base).unwrap();
    }
}
