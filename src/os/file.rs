//! Reading an open file at a place, finding where it stores anything at all, and the room in a pipe.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Fills `into` from `file` at `offset`, short only at the end of the file.
///
/// # Errors
/// As the operating system says.
pub fn read_at(file: impl AsFd, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let file = file.as_fd();
    let mut filled = 0;
    while filled < into.len() {
        match rustix::io::pread(file, &mut into[filled..], offset.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}

/// The next run of stored bytes at or after `offset`, as start and end; `None` if there is none. What lies before it
/// reads as zeros. A file system that cannot tell holes stores everything up to its end.
///
/// # Errors
/// As the operating system says.
pub fn next_stored(file: impl AsFd, offset: u64) -> io::Result<Option<(u64, u64)>> {
    let file = file.as_fd();
    let start = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((offset, u64::MAX))),
        Err(error) => return Err(error.into()),
    };
    match rustix::fs::seek(file, SeekFrom::Hole(start)) {
        Ok(end) => Ok(Some((start, end))),
        // It was cut short between the two questions.
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Reserves room for `bytes` bytes from `offset` on, without changing the file's length.
///
/// # Errors
/// `Unsupported` where the file system cannot; `StorageFull` where there is no room.
pub fn reserve(file: impl AsFd, offset: u64, bytes: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, offset, bytes)?)
}

/// Lets a pipe hold so many bytes, if the system allows it: fewer wake-ups of both its ends. Anything but a pipe stays
/// what it is.
pub fn widen_pipe(pipe: impl AsFd) {
    const PIPE_BYTES: usize = 1024 * 1024;
    // A user who has many pipes may be refused; the stream works as well in smaller steps.
    let _unchanged = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES);
}

/// True if the process or the system has run out of something for now: the same call may succeed later.
pub fn is_exhaustion(error: &io::Error) -> bool {
    let exhaustion = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    Errno::from_io_error(error).is_some_and(|errno| exhaustion.contains(&errno))
}
