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
        assert_eq!((nodes(1), nodes(0)), ("1 node".to_owned(), "0 nodes".to_owned()));
    }
}
