//! [`Overflow`]: records that a walk has made anew, in a file without a name once they would take much memory, so that the
//! first look at a million files holds some megabytes of them, and not a hundred.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::io::{self, BufWriter, Write as _};
use std::sync::{Mutex, PoisonError};

use super::index::{Index, Slot};
use super::listing::Part;
use super::record::Sums;
use crate::os::File;
use crate::os::dir::Dir;
use crate::os::unnamed;

/// What the file is called until it is open.
const NAME: &[u8] = b"walk";
const BUFFER_BYTES: usize = 256 * 1024;

/// Where records go that do not stay in memory.
#[derive(Debug)]
pub(super) struct Beside {
    /// The file is made here.
    pub(super) directory: Dir,
    /// So many bytes of them stay.
    pub(super) memory_bytes: usize,
}

/// The records of one walk.
#[derive(Debug)]
pub(super) struct Overflow<'a> {
    beside: Option<&'a Beside>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    in_memory: usize,
    file: Option<BufWriter<File>>,
    length: u64,
    failed: Option<io::Error>,
}

impl<'a> Overflow<'a> {
    pub(super) fn new(beside: Option<&'a Beside>) -> Self {
        Self { beside, taken: Mutex::default() }
    }

    /// Takes the record of the directory `inode`; where it is from now on.
    pub(super) fn take(&self, inode: u64, record: Box<[u8]>, sums: Sums) -> Part {
        let Some(Beside { directory, memory_bytes }) = self.beside else {
            return Part::Fresh(record, sums);
        };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let in_memory = taken.in_memory.saturating_add(record.len());
        if in_memory <= *memory_bytes || taken.failed.is_some() {
            taken.in_memory = in_memory;
            return Part::Fresh(record, sums);
        }
        match taken.append(directory, &record) {
            Ok(offset) => Part::Overflown(Slot::new(inode, offset, &record, sums)),
            Err(error) => {
                taken.failed = Some(error);
                Part::Fresh(record, sums)
            }
        }
    }

    /// Ends the walk; what was put into the file is read from there.
    ///
    /// # Errors
    /// As the operating system says: something of it could not be written.
    pub(super) fn finish(self) -> io::Result<Index> {
        let taken = self.taken.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = taken.failed {
            return Err(error);
        }
        let file = taken.file.map(|file| file.into_inner().map_err(io::IntoInnerError::into_error));
        Ok(file.transpose()?.map_or_else(Index::empty, Index::of_records))
    }
}

impl Taken {
    /// Puts `record` at the end of the file; where it begins there.
    fn append(&mut self, directory: &Dir, record: &[u8]) -> io::Result<u64> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none
                .insert(BufWriter::with_capacity(BUFFER_BYTES, unnamed::create(directory, NAME)?)),
        };
        file.write_all(record)?;
        let offset = self.length;
        self.length = offset.saturating_add(record.len() as u64);
        Ok(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::root::{self, Missing};

    fn beside(path: &std::path::Path, memory_bytes: usize) -> Beside {
        let directory =
            root::open(path, Missing::Refuse).expect("opened").dir.expect("a directory");
        Beside { directory, memory_bytes }
    }

    fn record(number: u64) -> Box<[u8]> {
        let length = usize::try_from(number % 700).expect("small");
        number.to_le_bytes().repeat(length).into()
    }

    #[test]
    fn what_does_not_fit_into_memory_is_read_from_a_file_that_nobody_sees() {
        let directory = tempfile::tempdir().expect("a directory");
        let beside = beside(directory.path(), 5_000);
        drop(beside.directory.create_file(NAME, 0o600).expect("left by one that died"));
        let overflow = Overflow::new(Some(&beside));
        let take = |number| overflow.take(number, record(number), Sums::default());
        let parts: Vec<Part> = (0..2_000).map(take).collect();
        let index = overflow.finish().expect("written");
        assert!(beside.directory.names().expect("listed").is_empty());
        let mut in_memory = 0;
        for (number, part) in (0..).zip(&parts) {
            match part {
                Part::Fresh(bytes, _) => {
                    in_memory += bytes.len();
                    assert_eq!(*bytes, record(number));
                }
                Part::Overflown(slot) => {
                    assert_eq!(index.record(slot).as_deref(), Some(&*record(number)));
                }
                Part::Recorded(_) => panic!("{number} was in no index"),
            }
        }
        assert!((1..=5_000).contains(&in_memory), "{in_memory}");
    }

    #[test]
    fn a_file_that_cannot_be_made_is_an_error_and_no_loss() {
        let directory = tempfile::tempdir().expect("a directory");
        let beside = beside(directory.path(), 0);
        drop(directory);
        let overflow = Overflow::new(Some(&beside));
        for number in 1..3 {
            let part = overflow.take(number, record(number), Sums::default());
            assert!(matches!(part, Part::Fresh(bytes, _) if bytes == record(number)));
        }
        assert!(overflow.finish().is_err());
    }
}
