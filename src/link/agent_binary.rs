//! The program that is uploaded as a node's agent, known by its BLAKE3 digest: the slim one beside this very one if both
//! are of one build, else this very one, which can do all that the slim one can.
//!
//! Every run names the agent by its digest, and only one that uploads needs the bytes. So the digest is remembered
//! beside the control sockets, with the stats of the files it was computed from, and a program is read when a node asks
//! for it.

use std::io::{self, Read as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::agent::{self, digest_of};
use crate::model::entry::Timestamp;
use crate::model::limits::RACY_WINDOW_MS;
use crate::os::child::Invocation;
use crate::os::dir::Dir;
use crate::os::program::{self, Program};
use crate::os::stat::StatId;
use crate::os::{clock, durable, root};
use crate::scan::settled;

/// The file that remembers the digest.
const MEMORY: &[u8] = b"agent";
/// Longest content of it.
const MEMORY_BYTES_MAX: u64 = 1024;
/// How long packing the program may take.
const PACK_TIMEOUT: Duration = Duration::from_secs(20);
/// All nodes wait for it: 0.2 s of one processor, and a sixth less than the fastest gives.
const ZSTD_LEVEL: i32 = 9;

/// A program to upload, and its digest.
#[derive(Debug, Clone)]
pub struct AgentBinary(Arc<Known>);

#[derive(Debug)]
struct Known {
    program: Program,
    size: u64,
    digest: blake3::Hash,
    /// What it was chosen among.
    among: Candidates<StatId>,
    /// No earlier run knew it: nodes are likely to lack it.
    is_new: bool,
    raw: OnceCell<Parcel>,
    zstd: OnceCell<Parcel>,
    gzip: OnceCell<Option<Parcel>>,
}

/// What a node unpacks a program by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packer {
    /// It takes programs as they are.
    None,
    /// Packed by this machine's gzip, if it has one.
    Gzip,
    /// Packed by the library: smaller, and unpacked in a third of the time.
    Zstd,
}

/// A program as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    /// What makes the program of the bytes on the node.
    pub(super) unpack: &'static str,
    /// The bytes.
    pub(super) bytes: Arc<[u8]>,
}

/// The programs that there are to be sent, as files or by what these are known to be unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidates<T> {
    /// The one that was named, or this process's own.
    whole: T,
    /// The one beside this process's own that might be its agent, if no other was named.
    slim: Option<T>,
}

/// Which of them is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Whole,
    Slim,
}

impl AgentBinary {
    /// The program at `path`; if it is not given, the slim program that was built together with this process's own and
    /// lies beside it, or else its own. The digest is remembered in the directory `memory`.
    ///
    /// Cost: a stat of each and one small file; where one is new, or changed, they are read once. Links that are opened
    /// at the same time share what is read.
    ///
    /// # Errors
    /// The system's error if the program cannot be read. A memory that cannot be used costs time, nothing else; a slim
    /// program that cannot be used is not used.
    pub fn open(path: Option<&Path>, memory: &Path) -> io::Result<Self> {
        static LAST: Mutex<Weak<Known>> = Mutex::new(Weak::new());
        let (programs, among) = candidates(path)?;
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = last.upgrade().filter(|known| known.among == among) {
            return Ok(Self(known));
        }
        let memory = root::open_private(memory).ok();
        let remembered = memory.as_ref().and_then(|memory| recall(memory, &among));
        let is_new = remembered.is_none();
        let (choice, digest) =
            remembered.map_or_else(|| look(&programs, &among, memory.as_ref()), Ok)?;
        let (program, StatId { size, .. }) = match (choice, programs.slim.zip(among.slim)) {
            (Choice::Slim, Some(slim)) => slim,
            _ => (programs.whole, among.whole),
        };
        let (raw, zstd, gzip) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        let known = Arc::new(Known { program, size, digest, among, is_new, raw, zstd, gzip });
        *last = Arc::downgrade(&known);
        Ok(Self(known))
    }

    /// Begins to pack it if nodes are likely to ask for it, while they are still being logged in to. Needs a runtime.
    pub(super) fn prepare(&self) {
        if self.0.is_new {
            let binary = self.clone();
            // An error shows when a node asks.
            drop(tokio::spawn(async move { binary.parcel(Packer::Zstd).await.map(drop) }));
        }
    }

    /// The length of the program in bytes.
    pub fn size(&self) -> u64 {
        self.0.size
    }

    /// The BLAKE3 digest of its bytes, unkeyed, in 64 hexadecimal digits.
    pub fn digest_hex(&self) -> String {
        self.0.digest.to_hex().to_string()
    }

    /// The program as it is sent to a node that can unpack by `packer`. Made once for all links that are opened at the
    /// same time.
    ///
    /// # Errors
    /// The system's error if the program cannot be read.
    pub(super) async fn parcel(&self, packer: Packer) -> io::Result<Parcel> {
        match packer {
            Packer::Zstd => return self.0.zstd.get_or_try_init(|| self.zstd()).await.cloned(),
            Packer::Gzip => {
                if let Some(packed) = self.0.gzip.get_or_init(|| self.gzip()).await {
                    return Ok(packed.clone());
                }
            }
            Packer::None => {}
        }
        self.0.raw.get_or_try_init(|| self.raw()).await.cloned()
    }

    async fn zstd(&self) -> io::Result<Parcel> {
        let bytes = self.read(|bytes| zstd::bulk::compress(&bytes, ZSTD_LEVEL)).await?;
        Ok(Parcel { unpack: "zstd -dcq", bytes: bytes.into() })
    }

    /// `None` if this machine has no gzip, or a strange one.
    async fn gzip(&self) -> Option<Parcel> {
        // The fastest: a better ratio saves a twelfth of the bytes, and all nodes wait for it.
        let arguments = vec!["-1".into(), "-c".into()];
        let gzip = Invocation { program: "gzip".into(), arguments, environment: Vec::new() };
        let (status, packed) = gzip.filter(&self.0.program, PACK_TIMEOUT).await.ok()?;
        status.success().then(|| Parcel { unpack: "gzip -dc", bytes: packed.into() })
    }

    async fn raw(&self) -> io::Result<Parcel> {
        let bytes = self.read(Ok).await?;
        Ok(Parcel { unpack: "cat", bytes: bytes.into() })
    }

    /// The program's bytes after some work, all of it off the threads that wait.
    async fn read<F>(&self, work: F) -> io::Result<Vec<u8>>
    where
        F: FnOnce(Vec<u8>) -> io::Result<Vec<u8>> + Send + 'static,
    {
        let mut reader = self.0.program.reader()?;
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes)?;
            work(bytes)
        });
        read.await.map_err(io::Error::other)?
    }
}

/// What there is to be sent: the program at `path`, or this process's own with what lies beside it.
fn candidates(path: Option<&Path>) -> io::Result<(Candidates<Program>, Candidates<StatId>)> {
    let whole = Program::open(path)?;
    let stat = whole.stat()?;
    let beside = || program::beside(&stat, agent::NAME);
    // What is not smaller has no use; so what is read is bounded.
    let slim =
        if path.is_none() { beside() } else { None }.filter(|(_, id)| id.size < stat.id.size);
    let (slim, slim_id) = slim.unzip();
    Ok((Candidates { whole, slim }, Candidates { whole: stat.id, slim: slim_id }))
}

/// The choice among these candidates that `memory` has, and its digest.
fn recall(memory: &Dir, among: &Candidates<StatId>) -> Option<(Choice, blake3::Hash)> {
    let content = durable::read(memory, MEMORY, MEMORY_BYTES_MAX).ok()??;
    let content = String::from_utf8(content).ok()?;
    let mut words = content.split(' ');
    let digest = blake3::Hash::from_hex(words.next()?).ok()?;
    let choice = match words.next()? {
        "whole" => Choice::Whole,
        "slim" if among.slim.is_some() => Choice::Slim,
        _ => return None,
    };
    (content == record(among, choice, digest)).then_some((choice, digest))
}

// FORMAT: one line of text, the last word being the digest of all before it.
fn record(among: &Candidates<StatId>, choice: Choice, digest: blake3::Hash) -> String {
    let id = |id: &StatId| {
        let StatId { device, inode, size, mtime, ctime } = id;
        let time = |time: &Timestamp| format!("{}.{:09}", time.seconds, time.nanos);
        format!(" {device} {inode} {size} {} {}", time(mtime), time(ctime))
    };
    let choice = match choice {
        Choice::Whole => "whole",
        Choice::Slim => "slim",
    };
    let slim = among.slim.as_ref().map(id).unwrap_or_default();
    let text = format!("{digest} {choice}{}{slim}", id(&among.whole));
    format!("{text} {}\n", blake3::hash(text.as_bytes()))
}

/// Reads the programs to choose one, and remembers the choice and its digest if they are sure to be of these very
/// contents.
fn look(
    programs: &Candidates<Program>,
    among: &Candidates<StatId>,
    memory: Option<&Dir>,
) -> io::Result<(Choice, blake3::Hash)> {
    let looked_at = clock::wall();
    let slim = programs.slim.as_ref().and_then(|slim| digest_if_of_this_build(slim).ok()?);
    let (choice, digest) = match slim {
        Some(digest) => (Choice::Slim, digest),
        None => (Choice::Whole, digest_of(&programs.whole)?),
    };
    let window = Duration::from_millis(RACY_WINDOW_MS);
    let is_settled = |program: &Program, id: &StatId| {
        let is_same = program.stat().is_ok_and(|stat| stat.id == *id);
        is_same && settled::is_settled(id, looked_at, window)
    };
    let slim = programs.slim.as_ref().zip(among.slim.as_ref());
    if let Some(memory) = memory
        && is_settled(&programs.whole, &among.whole)
        && slim.is_none_or(|(program, id)| is_settled(program, id))
    {
        drop(durable::replace_lazily(memory, MEMORY, record(among, choice, digest).as_bytes()));
    }
    Ok((choice, digest))
}

/// The digest of a program that carries the mark of this build's slim one; `None` if it is another's.
fn digest_if_of_this_build(program: &Program) -> io::Result<Option<blake3::Hash>> {
    let mut bytes = Vec::new();
    program.reader()?.read_to_end(&mut bytes)?;
    let mark = memchr::memmem::find(&bytes, agent::MARK.as_bytes());
    Ok(mark.map(|_at| blake3::hash(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_remembered_for_the_very_files_it_was_made_among() {
        let id = Program::open(None).unwrap().stat().unwrap().id;
        let digest = blake3::hash(b"program");
        let directory = tempfile::tempdir().unwrap();
        let memory = root::open_private(&directory.path().join("memory")).unwrap();
        let write = |text: &str| durable::replace_lazily(&memory, MEMORY, text.as_bytes()).unwrap();
        let alone = Candidates { whole: id, slim: None };
        let both = Candidates { whole: id, slim: Some(StatId { inode: id.inode + 7, ..id }) };
        assert_eq!(recall(&memory, &alone), None, "nothing is remembered yet");
        let changes: [fn(&mut StatId); 5] = [
            |id| id.device += 1,
            |id| id.inode += 1,
            |id| id.size += 1,
            |id| id.mtime.nanos ^= 1,
            |id| id.ctime.seconds += 1,
        ];
        for (among, choice) in [(alone, Choice::Whole), (both, Choice::Whole), (both, Choice::Slim)]
        {
            write(&record(&among, choice, digest));
            assert_eq!(recall(&memory, &among), Some((choice, digest)));
            let other = if among == alone { both } else { alone };
            assert_eq!(recall(&memory, &other), None, "one came or went");
            for change in changes {
                let mut other = among;
                change(&mut other.whole);
                assert_eq!(recall(&memory, &other), None, "{other:?}");
                let mut other = both;
                other.slim.iter_mut().for_each(change);
                assert_eq!(recall(&memory, &other), None, "{other:?}");
            }
        }
        let text = record(&both, Choice::Slim, digest);
        for damaged in [
            text.replace(&digest.to_string(), &blake3::hash(b"").to_string()),
            text.replace(" slim ", " whole "),
            text.replace(" slim ", " "),
        ] {
            write(&damaged);
            assert_eq!(recall(&memory, &both), None, "{damaged}");
        }
    }

    #[test]
    fn a_slim_program_is_known_by_the_mark_of_its_build() {
        let directory = tempfile::tempdir().unwrap();
        let place = root::open_private(&directory.path().join("place")).unwrap();
        let look_at = |content: &[u8]| {
            durable::replace_lazily(&place, b"program", content).unwrap();
            let path = directory.path().join("place/program");
            digest_if_of_this_build(&Program::open(Some(&path)).unwrap()).unwrap()
        };
        let built = format!("code\0{}: usage\0code", agent::MARK);
        assert_eq!(look_at(built.as_bytes()), Some(blake3::hash(built.as_bytes())));
        let (kept, last) = agent::MARK.split_at(agent::MARK.len() - 1);
        let stale = format!("code\0{kept}{}", if last == "0" { "1" } else { "0" });
        for other in [stale.as_bytes(), kept.as_bytes(), b""] {
            assert_eq!(look_at(other), None);
        }
    }

    #[tokio::test]
    async fn a_program_is_packed_for_a_node_that_can_unpack_it() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("place");
        let content = vec![b'x'; 1 << 20];
        durable::replace_lazily(&root::open_private(&place).unwrap(), b"program", &content)
            .unwrap();
        let path = place.join("program");
        let binary = AgentBinary::open(Some(&path), directory.path()).unwrap();
        let raw = binary.parcel(Packer::None).await.unwrap();
        assert_eq!((raw.unpack, raw.bytes.len()), ("cat", 1 << 20));
        let (gzip, zstd) = (
            binary.parcel(Packer::Gzip).await.unwrap(),
            binary.parcel(Packer::Zstd).await.unwrap(),
        );
        assert_eq!((gzip.unpack, zstd.unpack), ("gzip -dc", "zstd -dcq"));
        assert!(gzip.bytes.len() < 1 << 14 && zstd.bytes.len() < 1 << 14);
        assert_eq!(zstd::bulk::decompress(&zstd.bytes, 1 << 20).unwrap(), content);
    }
}
