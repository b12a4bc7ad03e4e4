//! When a time stamp can be trusted: whether a change after the look at a file would show in it (faults 26, 27).
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::time::Duration;

use crate::model::entry::Timestamp;
use crate::model::limits::RACY_WINDOW_MS;
use crate::os::stat::StatId;

/// How old a change must be to be trusted on the file system whose `statfs.f_type` is `file_system_type`.
///
/// A time stamp is the kernel's clock at the last tick (4 or 10 ms) before the change. Of a change that came more than
/// two ticks before the look, it is sure that every change after the look gets a later stamp. File systems known to stamp
/// so have a window of 20 ms; any other may round to two seconds, or have a server's clock.
pub fn racy_window(file_system_type: u64) -> Duration {
    const EXT: u64 = 0xef53;
    const XFS: u64 = 0x5846_5342;
    const BTRFS: u64 = 0x9123_683e;
    const TMPFS: u64 = 0x0102_1994;
    const F2FS: u64 = 0xf2f5_2010;
    const OVERLAY: u64 = 0x794c_7630;
    match file_system_type {
        EXT | XFS | BTRFS | TMPFS | F2FS | OVERLAY => Duration::from_millis(20),
        _ => Duration::from_millis(RACY_WINDOW_MS),
    }
}

/// True if nobody can have changed the file after the look at `looked_at` without a change of `id`.
///
/// A stamp without nanoseconds is taken for that of a file system that stamps whole seconds (ext3, ext4 with small
/// inodes, which say the same type), whatever `window` is.
pub fn is_settled(id: &StatId, looked_at: Timestamp, window: Duration) -> bool {
    is_older(id.ctime, looked_at, window) && is_older(id.mtime, looked_at, window)
}

/// True if `time` lies more than `window` before `looked_at`; two seconds at least if it has no nanoseconds.
pub(super) fn is_older(time: Timestamp, looked_at: Timestamp, window: Duration) -> bool {
    let coarse = Duration::from_millis(RACY_WINDOW_MS);
    let window = if time.nanos == 0 { window.max(coarse) } else { window };
    time < before(looked_at, window)
}

fn before(time: Timestamp, by: Duration) -> Timestamp {
    let seconds = time.seconds.saturating_sub(i64::try_from(by.as_secs()).unwrap_or(i64::MAX));
    match time.nanos.checked_sub(by.subsec_nanos()) {
        Some(nanos) => Timestamp { seconds, nanos },
        None => Timestamp {
            seconds: seconds.saturating_sub(1),
            nanos: time.nanos.saturating_add(1_000_000_000).saturating_sub(by.subsec_nanos()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64, nanos: u32) -> Timestamp {
        Timestamp { seconds, nanos }
    }

    #[test]
    fn fault_026_and_027_young_future_and_coarse_stamps_are_not_trusted() {
        let looked_at = time(1000, 500_000_000);
        let fine = Duration::from_millis(20);
        let settled = |mtime, ctime, window| {
            is_settled(&StatId { device: 7, inode: 1, size: 0, mtime, ctime }, looked_at, window)
        };
        let old = time(900, 1);
        assert!(settled(old, old, fine));
        assert!(settled(time(-1, 5), time(1000, 479_999_999), fine));
        assert!(!settled(old, time(1000, 480_000_000), fine), "changed 20 ms before");
        assert!(!settled(time(4_000_000_000, 1), old, fine), "modified in the future");
        assert!(!settled(old, time(999, 0), fine), "stamped in whole seconds");
        assert!(settled(old, time(998, 0), fine));
        let coarse = racy_window(0x6969);
        assert!(!settled(old, time(998, 500_000_000), coarse), "2 s on a network");
        assert!(settled(old, time(998, 499_999_999), coarse));
    }
}
