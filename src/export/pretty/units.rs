//! Times, durations and sizes → text of a few columns.

use std::time::Duration;

use crate::time::Timestamp;

/// Time of day in UTC: `15:04:05.123`.
pub(super) fn time_of_day(at: Timestamp) -> String {
    let milliseconds = at.as_nanos() / 1_000_000;
    let seconds = milliseconds / 1000;
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:03}", seconds % 60, milliseconds % 1000)
}

/// Three digits and a unit up to a minute, then minutes and hours: `850 µs`, `12.3 ms`, `4.56 s`, `2m05s`, `1h02m`.
pub(super) fn duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    let seconds = duration.as_secs();
    match micros {
        0..1000 => format!("{micros} µs"),
        // Rounded to three digits: 999.95 ms and more is a second.
        1000..999_500 => three_digits(duration.as_secs_f64() * 1e3, "ms"),
        999_500..60_000_000 => three_digits(duration.as_secs_f64(), "s"),
        _ if seconds < 3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// Three digits and a decimal unit: `512 B`, `20.5 kB`, `1.20 GB`.
#[expect(clippy::cast_precision_loss, reason = "three digits of it are shown")]
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1e3;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while value >= 999.5
        && let Some(larger) = units.next()
    {
        value /= 1e3;
        unit = Some(larger);
    }
    three_digits(value, unit.copied().unwrap_or_default())
}

fn three_digits(value: f64, unit: &str) -> String {
    let decimals = usize::from(value < 9.995) + usize::from(value < 99.95);
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        let cases = [
            (0, "0 µs"),
            (850, "850 µs"),
            (1000, "1.00 ms"),
            (9_996, "10.0 ms"),
            (12_300, "12.3 ms"),
            (999_499, "999 ms"),
            (999_500, "1.00 s"),
            (4_560_000, "4.56 s"),
            (59_940_000, "59.9 s"),
            (59_999_999, "60.0 s"),
            (125_000_000, "2m05s"),
            (3_720_000_000, "1h02m"),
        ];
        for (micros, text) in cases {
            assert_eq!(duration(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn sizes_have_three_digits() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (20_480, "20.5 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (5_000_000_000, "5.00 GB"),
            (u64::MAX, "18.4 EB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn the_time_of_day_is_utc() {
        assert_eq!(time_of_day(Timestamp::from_nanos(0)), "00:00:00.000");
        assert_eq!(time_of_day(Timestamp::from_nanos(1_700_000_000_123_456_789)), "22:13:20.123");
    }
}
