//! File systems in image files: made, mounted, and copied as they are on the disk at one moment.
//!
//! What a mounted file system has not written yet is not in its image. A copy of the image is what a machine would find
//! after it lost power at that moment.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::SeekFrom as Seek;

use crate::failure::{Failure, Result, at};
use crate::program;

/// A write that takes longer than this hangs.
const QUIET_TIME_MAX: Duration = Duration::from_secs(20);
const COPY_BYTES: usize = 1 << 20;
/// The file that is synced in order to have everything else's names written.
const PROBE: &str = "probe";

/// A file system, and how it is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As it comes: data before the names that lead to it.
    Ext4,
    /// Data at any time, blocks given out at once: names may lead to blocks that were never written.
    Ext4Writeback,
    /// Its log is forced up to what is synced.
    Xfs,
    /// What is synced is logged by itself, without what was done before it.
    Btrfs,
}

/// An image, mounted for as long as this lives.
#[derive(Debug)]
pub(crate) struct Disk {
    image: PathBuf,
    place: PathBuf,
    /// The file in which the kernel counts what was written to the device.
    counts: PathBuf,
}

/// How often a device was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Writes(u64);

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Ext4, Self::Ext4Writeback, Self::Xfs, Self::Btrfs];

    /// Its name, in words of the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Ext4Writeback => "ext4-writeback",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// Whether it can be shut down without a last word.
    pub(crate) fn can_shut_down(self) -> bool {
        self != Self::Btrfs
    }

    fn make(self) -> &'static [&'static str] {
        match self {
            Self::Ext4 | Self::Ext4Writeback => {
                &["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"]
            }
            Self::Xfs => &["mkfs.xfs", "-q", "-f"],
            Self::Btrfs => &["mkfs.btrfs", "-q", "-f"],
        }
    }

    /// Nothing is written before it is asked for; what the kernel does by itself, the tests do on purpose.
    fn options(self) -> &'static str {
        match self {
            Self::Ext4 | Self::Btrfs => "loop,noatime,nodiscard,commit=300",
            Self::Ext4Writeback => {
                "loop,noatime,nodiscard,commit=300,data=writeback,nodelalloc,noauto_da_alloc"
            }
            Self::Xfs => "loop,noatime,nodiscard",
        }
    }

    /// Copies of three of them that fit into a few gigabytes.
    pub(crate) fn copies_max(self) -> usize {
        match self {
            Self::Ext4 | Self::Ext4Writeback => 400,
            Self::Xfs => 24,
            Self::Btrfs => 60,
        }
    }

    fn bytes(self) -> u64 {
        match self {
            Self::Ext4 | Self::Ext4Writeback => 64 << 20,
            Self::Xfs => 320 << 20,
            Self::Btrfs => 128 << 20,
        }
    }
}

impl Disk {
    /// An empty one in the new file `image`, mounted at `place`.
    ///
    /// # Errors
    /// The image cannot be made or mounted.
    pub(crate) fn create(kind: Kind, image: &Path, place: &Path) -> Result<Self> {
        let file = File::create(image).map_err(at("create", image))?;
        file.set_len(kind.bytes()).map_err(at("extend", image))?;
        let image_word = image.display().to_string();
        program::quiet(&[kind.make(), &[&image_word]].concat())?;
        let disk = Self::mount(kind, image, place)?;
        let probe = disk.place.join(PROBE);
        std::fs::write(&probe, "0").map_err(at("write", &probe))?;
        Ok(disk)
    }

    /// Mounts what is in `image`; whatever was cut short in it is made good by the kernel.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub(crate) fn mount(kind: Kind, image: &Path, place: &Path) -> Result<Self> {
        std::fs::create_dir_all(place).map_err(at("create", place))?;
        let (from, to) = (image.display().to_string(), place.display().to_string());
        program::quiet(&["mount", "-o", kind.options(), &from, &to])?;
        let (image, place) = (image.to_path_buf(), place.to_path_buf());
        let mut disk = Self { image, place, counts: PathBuf::new() };
        let device = program::output(&["findmnt", "-n", "-o", "SOURCE", "-M", &to])?;
        let name = device.trim().trim_start_matches("/dev/").to_owned();
        disk.counts = Path::new("/sys/block").join(name).join("stat");
        Ok(disk)
    }

    /// Unmounts it.
    ///
    /// # Errors
    /// Somebody still uses it.
    pub(crate) fn unmount(self) -> Result {
        let place = self.place.display().to_string();
        // The program was waited for; a thread of it may still be on its way out.
        let unmounted = program::quiet(&["umount", &place]);
        std::mem::forget(self);
        unmounted
    }

    /// Where it is mounted.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// Writes everything to the disk.
    ///
    /// # Errors
    /// As the operating system says.
    pub(crate) fn sync(&self) -> Result {
        let root = File::open(&self.place).map_err(at("open", &self.place))?;
        rustix::fs::syncfs(&root).map_err(|error| at("sync", &self.place)(error.into()))
    }

    /// Has all names written, but no data that may wait: a file that has nothing to do with the others is synced. Btrfs
    /// writes that file alone.
    ///
    /// # Errors
    /// As the operating system says.
    pub(crate) fn sync_names(&self) -> Result {
        let path = self.place.join(PROBE);
        let mut file = File::options().write(true).open(&path).map_err(at("open", &path))?;
        file.write_all(b"1").and_then(|()| file.sync_all()).map_err(at("sync", &path))
    }

    /// Has one file written, with what the file system thinks it needs.
    ///
    /// # Errors
    /// As the operating system says.
    pub(crate) fn sync_file(path: &Path) -> Result {
        let file = File::open(path).map_err(at("open", path))?;
        file.sync_all().map_err(at("sync", path))
    }

    /// Ends the file system without writing what it has not written.
    ///
    /// # Errors
    /// It cannot be.
    pub(crate) fn shut_down(&self) -> Result {
        let place = self.place.display().to_string();
        program::quiet(&["xfs_io", "-r", "-x", "-F", "-c", "shutdown", &place])
    }

    /// How often the device was written to, once nothing is on its way to it.
    ///
    /// # Errors
    /// Its count cannot be read, or it never comes to rest.
    pub(crate) fn writes(&self) -> Result<Writes> {
        let deadline = Instant::now() + QUIET_TIME_MAX;
        loop {
            let text = std::fs::read_to_string(&self.counts).map_err(at("read", &self.counts))?;
            let count = |index| {
                text.split_whitespace().nth(index).and_then(|word| word.parse::<u64>().ok())
            };
            match (count(4), count(8)) {
                (Some(writes), Some(0)) => return Ok(Writes(writes)),
                (Some(_), Some(_)) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1)); // poll: the count itself decides
                }
                _ => return Err(Failure::new(format!("{}: no rest", self.counts.display()))),
            }
        }
    }

    /// Copies the image as it is on the disk now; whatever is written meanwhile makes it begin anew.
    ///
    /// # Errors
    /// It cannot be copied, or never comes to rest.
    pub(crate) fn copy_to(&self, to: &Path) -> Result<Writes> {
        let deadline = Instant::now() + QUIET_TIME_MAX;
        loop {
            let before = self.writes()?;
            copy(&self.image, to).map_err(at("copy to", to))?;
            if self.writes()? == before {
                return Ok(before);
            }
            if Instant::now() > deadline {
                return Err(Failure::new(format!("{}: no rest", self.image.display())));
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let place = self.place.display().to_string();
        if let Err(failure) = program::quiet(&["umount", "-l", &place]) {
            println!("left behind: {failure}");
        }
    }
}

/// Copies what `from` holds, and leaves its holes out.
///
/// # Errors
/// As the operating system says.
pub(crate) fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut source = File::open(from)?;
    let length = source.metadata()?.len();
    let mut target = File::create(to)?;
    target.set_len(length)?;
    let mut buffer = vec![0_u8; COPY_BYTES];
    let mut offset = 0;
    while offset < length {
        offset = match rustix::fs::seek(&source, Seek::Data(offset)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let hole = rustix::fs::seek(&source, Seek::Hole(offset))?;
        source.seek(SeekFrom::Start(offset))?;
        target.seek(SeekFrom::Start(offset))?;
        while offset < hole {
            let wanted = usize::try_from(hole - offset).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            let part = buffer.get_mut(..wanted).unwrap_or_default();
            source.read_exact(part)?;
            target.write_all(part)?;
            offset += wanted as u64;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_bytes_and_the_holes() {
        let base = std::env::temp_dir().join(format!("xtask-image-{}", std::process::id()));
        std::fs::create_dir_all(&base).unwrap();
        let (from, to) = (base.join("from"), base.join("to"));
        let mut file = File::create(&from).unwrap();
        file.set_len(3 << 20).unwrap();
        file.seek(SeekFrom::Start(1 << 20)).unwrap();
        file.write_all(b"in the middle").unwrap();
        copy(&from, &to).unwrap();
        let (one, other) = (std::fs::read(&from).unwrap(), std::fs::read(&to).unwrap());
        std::fs::remove_dir_all(&base).unwrap();
        assert_eq!(one.len(), 3 << 20);
        assert!(one == other, "the copy is another");
    }
}
