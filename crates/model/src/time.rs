//! Time as Lambda and Datadog give it: nanoseconds or milliseconds since 1970, always UTC.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment: nanoseconds since 1970-01-01T00:00:00Z. Wraps in the year 2554.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct UnixNanos(pub u64);

impl UnixNanos {
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    pub const fn from_secs(s: u64) -> Self {
        Self(s.saturating_mul(1_000_000_000))
    }

    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// Time from `earlier` to here; zero when the clocks disagree and `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Reads RFC 3339 as AWS writes it: `2024-07-30T19:55:53.018Z`, with any number of fraction digits
    /// or none, `Z` or a numeric offset. `None` for anything else and for years outside 1970..=2553.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let (date, rest) = text.split_once(['T', 't', ' '])?;
        let mut parts = date.splitn(3, '-');
        let (y, m, d) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
        let zone = rest.find(['Z', 'z', '+', '-'])?;
        let (clock, zone) = rest.split_at_checked(zone)?;
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
        let mut parts = clock.splitn(3, ':');
        let (h, min, s) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
        if !(1970..=2553).contains(&y) || !(1..=12).contains(&m) || !(1..=31).contains(&d) {
            return None;
        }
        if h > 23 || min > 59 || s > 60 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let nanos = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
        let nanos = nanos.fold(0, |n, b| n * 10 + u64::from(b - b'0'));
        let secs = days_from_civil(y, m, d) * 86_400 + h * 3600 + min * 60 + s;
        let secs = i64::try_from(secs).ok()?.checked_sub(offset_secs(zone)?)?;
        Some(Self(u64::try_from(secs).ok()?.checked_mul(1_000_000_000)?.checked_add(nanos)?))
    }

    /// `2024-07-30T19:55:53.018Z`: RFC 3339 with milliseconds, as the Telemetry API writes it.
    pub fn to_rfc3339_millis(self) -> String {
        let (secs, millis) = (self.as_secs(), self.as_millis() % 1000);
        let (y, m, d) = civil_from_days(secs / 86_400);
        let s = secs % 86_400;
        format!("{y:04}-{m:02}-{d:02}T{:02}:{:02}:{:02}.{millis:03}Z", s / 3600, s / 60 % 60, s % 60)
    }
}

impl Add<Duration> for UnixNanos {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for UnixNanos {
    type Output = Self;
    fn sub(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Debug for UnixNanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.as_secs(), self.0 % 1_000_000_000)
    }
}

/// A length in milliseconds with fractions, as Lambda reports durations. Never negative, never NaN.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug, Default)]
pub struct Millis(f64);

impl Millis {
    /// `None` for a negative, infinite or NaN length.
    pub fn new(ms: f64) -> Option<Self> {
        (ms.is_finite() && ms >= 0.0).then_some(Self(ms))
    }

    pub fn get(self) -> f64 {
        self.0
    }

    pub fn as_secs(self) -> f64 {
        self.0 / 1000.0
    }

    pub fn to_duration(self) -> Duration {
        Duration::try_from_secs_f64(self.0 / 1000.0).unwrap_or(Duration::MAX)
    }
}

impl From<Duration> for Millis {
    fn from(d: Duration) -> Self {
        Self(d.as_secs_f64() * 1000.0)
    }
}

fn number(text: &str, digits: usize) -> Option<u64> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

fn offset_secs(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (h, m) = rest.split_once(':').or_else(|| rest.split_at_checked(2))?;
    let (h, m) = (number(h, 2)?, number(m, 2)?);
    (h < 24 && m < 60).then(|| sign * i64::try_from(h * 3600 + m * 60).unwrap_or(0))
}

/// Days since 1970-01-01 of a date in the Gregorian calendar, from 1970 on (years counted from March, so
/// that the leap day is the last).
fn days_from_civil(y: u64, m: u64, d: u64) -> u64 {
    let (y, m) = if m > 2 { (y, m - 3) } else { (y - 1, m + 9) };
    y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + d - 1 - 719_468
}

fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (d, m) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    (yoe + era * 400 + u64::from(m <= 2), m, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339() {
        let check = |text: &str, want: Option<u64>| {
            assert_eq!(UnixNanos::parse_rfc3339(text).map(UnixNanos::as_nanos), want, "{text}");
        };
        check("1970-01-01T00:00:00Z", Some(0));
        check("2024-07-30T19:55:53.018Z", Some(1_722_369_353_018_000_000));
        check("2024-07-30T19:55:53Z", Some(1_722_369_353_000_000_000));
        check("2024-07-30T21:55:53.018+02:00", Some(1_722_369_353_018_000_000));
        check("2024-02-29T12:00:00.123456789Z", Some(1_709_208_000_123_456_789));
        check("2000-03-01T00:00:00Z", Some(951_868_800_000_000_000));
        for bad in
            ["", "2024", "2024-07-30T19:55:53", "2024-13-30T19:55:53Z", "2024-07-30T19:55:5Z", "x-y-zT::Z"]
        {
            check(bad, None);
        }
        for (year, day) in (1970..2500).zip(1..28) {
            let text = format!("{year}-11-{day:02}T01:02:03.004Z");
            assert_eq!(UnixNanos::parse_rfc3339(&text).unwrap().to_rfc3339_millis(), text);
        }
    }

    #[test]
    fn clocks_that_disagree_give_zero() {
        assert_eq!(UnixNanos(5).since(UnixNanos(9)), Duration::ZERO);
        assert_eq!(UnixNanos(u64::MAX) + Duration::from_secs(1), UnixNanos(u64::MAX));
        assert_eq!(Millis::new(-1.0), None);
        assert_eq!(Millis::new(f64::NAN), None);
    }
}
