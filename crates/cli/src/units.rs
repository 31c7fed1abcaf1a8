//! Lengths of time and of text as people read them.

/// `812 µs`, `12.3 ms`, `1.23 s`.
pub(crate) fn duration(nanos: u64) -> String {
    let ns = nanos as f64;
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{:.0} µs", ns / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns / 1e6),
        _ => format!("{:.2} s", ns / 1e9),
    }
}

/// A number with at most four digits behind the point, none of them a trailing zero.
pub(crate) fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.0001 {
        return format!("{value:.2e}");
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `text` filled up with spaces, or cut with `…`, to exactly `width` characters.
pub(crate) fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return format!("{text:<width$}");
    }
    let cut: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{cut}…")
}

#[cfg(test)]
mod tests {
    use super::{duration, fit, number};

    #[test]
    fn as_people_read_it() {
        let durations = [0, 999, 1_000, 812_400, 12_345_678, 1_234_567_890].map(duration);
        assert_eq!(durations, ["0 ns", "999 ns", "1 µs", "812 µs", "12.3 ms", "1.23 s"]);
        assert_eq!(
            [0.0, 1.0, 0.1234567, 0.0000012, -1.5].map(number),
            ["0", "1", "0.1235", "1.20e-6", "-1.5"]
        );
        assert_eq!([fit("abc", 5), fit("abcdef", 5), fit("äöü", 3)], ["abc  ", "abcd…", "äöü"]);
    }
}
