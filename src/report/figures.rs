//! Sizes and durations as people read them.

use std::time::Duration;

/// `17 B`, `1.2 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Tenths, rounded half up, without floating point.
    let mut tenths = u128::from(bytes).saturating_mul(10);
    let mut unit = "B";
    for next in UNITS {
        tenths = tenths.saturating_add(512) / 1024;
        unit = next;
        if tenths < 10_240 {
            break;
        }
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// `35 ms`, `1.2 s`, `2 m 05 s`, `1 h 02 m`.
pub fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{millis} ms"),
        1..60 => format!("{}.{} s", seconds, duration.subsec_millis() / 100),
        60..3600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3600, seconds / 60 % 60),
    }
}

/// `42 s`, `5 m`, `3 h`, `12 d`: so many seconds, in the largest unit that fits.
pub fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} m", seconds / 60),
        seconds @ 3_600..86_400 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// A moment in seconds since 1970, in UTC, as RFC 3339 has it: `2026-11-28T11:44:04Z`.
pub fn utc(seconds: i64) -> String {
    // Beyond the year 9999 there is no such form.
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}

/// `9999`, `12.3 k`, `1.2 M`.
pub fn count(count: u64) -> String {
    const UNITS: [&str; 3] = ["k", "M", "G"];
    if count < 10_000 {
        return count.to_string();
    }
    let (mut tenths, mut unit) = (u128::from(count).saturating_mul(10), "");
    for next in UNITS {
        tenths /= 1_000;
        unit = next;
        if tenths < 10_000 {
            break;
        }
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// `1 node`, `2 nodes`.
pub fn nodes(count: usize) -> String {
    if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (count, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_258_291, "1.2 MiB"),
            (1 << 40, "1.0 TiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), shown);
        }
        for (millis, shown) in [
            (0, "0 ms"),
            (35, "35 ms"),
            (1_250, "1.2 s"),
            (59_999, "59.9 s"),
            (125_000, "2 m 05 s"),
            (3_720_000, "1 h 02 m"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), shown);
        }
        for (seconds, shown) in
            [(-5, "0 s"), (59, "59 s"), (60, "1 m"), (7_199, "1 h"), (86_400, "1 d")]
        {
            assert_eq!(age(seconds), shown);
        }
        assert_eq!(utc(1_795_866_244), "2026-11-28T11:44:04Z");
        assert_eq!(utc(i64::MAX), i64::MAX.to_string());
        for (number, shown) in [
            (0, "0"),
            (9_999, "9999"),
            (12_345, "12.3 k"),
            (999_999, "999.9 k"),
            (1_000_000, "1.0 M"),
            (u64::MAX, "18446744073.7 G"),
        ] {
            assert_eq!(count(number), shown);
        }
        assert_eq!((nodes(1), nodes(0)), ("1 node".to_owned(), "0 nodes".to_owned()));
    }
}
