//! Stamps the programs of one build with a digest of what they are built from, so that the hub can tell whether the
//! `depsync-agent` beside it is its own.
//!
//! Not a matter of security, but of staleness: FNV-1a over names and contents, in the order of the names.
#![expect(clippy::disallowed_methods, reason = "what the program leaves to os is not there yet")]

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let mut files = vec![PathBuf::from("Cargo.lock"), PathBuf::from("Cargo.toml")];
    println!("cargo:rerun-if-changed=Cargo.lock");
    println!("cargo:rerun-if-changed=Cargo.toml");
    println!("cargo:rerun-if-changed=src");
    add_files_below(Path::new("src"), &mut files)?;
    files.sort();
    let mut stamp = Fnv::new();
    // The same sources make other programs for another machine.
    stamp.add(env::var("TARGET").unwrap_or_default().as_bytes());
    for file in &files {
        stamp.add(file.as_os_str().as_encoded_bytes());
        match fs::read(file) {
            Ok(bytes) => stamp.add(&bytes),
            // A package has its lock file only where it is the root.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    println!("cargo:rustc-env=DEPSYNC_STAMP={:032x}", stamp.0);
    Ok(())
}

fn add_files_below(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            add_files_below(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// FNV-1a of 128 bits.
struct Fnv(u128);

impl Fnv {
    fn new() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }

    /// Takes `bytes`, and their length, so that they cannot be taken for others.
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().copied().chain((bytes.len() as u64).to_le_bytes()) {
            self.0 =
                (self.0 ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }
}
