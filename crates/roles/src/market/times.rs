//! Times as files write them: RFC 3339, date and time with or without zone,
//! compact digits, epochs, or a format of the config.
//!
//! Not here: which column they are in.

use jiff::{
    civil::DateTime,
    fmt::strtime,
    tz::{AmbiguousOffset, Offset, TimeZone},
};
use tapedeck_contracts::{Timestamp, events::market::interval_micros};

/// Reads the times of one file.
#[derive(Clone, Debug)]
pub(super) struct TimeReader {
    zone: TimeZone,
    format: Option<String>,
    /// Whether a time came without a zone, so that the configured one was taken.
    pub(super) zone_assumed: bool,
}

/// A time as it stands in a text.
enum Read {
    Instant(i64),
    Local(DateTime),
}

impl TimeReader {
    /// A reader for times of this zone where they name none, in this format
    /// where there is one.
    ///
    /// # Errors
    /// No such zone, or no such format.
    pub(super) fn new(zone: &str, format: Option<&str>) -> Result<Self, String> {
        let zone = TimeZone::get(zone).map_err(|_| {
            format!(
                "`tz`: there is no time zone `{zone}`; use a name such as `UTC`, `Europe/Berlin` or `America/New_York`"
            )
        })?;
        if let Some(format) = format {
            check_format(format)?;
        }
        Ok(Self { zone, format: format.map(str::to_owned), zone_assumed: false })
    }

    /// Reads a time. Where clocks were set back and the text can mean two
    /// instants, the first one that is not before `after` is taken.
    ///
    /// # Errors
    /// What is wrong with the text, and what helps.
    pub(super) fn read(&mut self, text: &str, after: Option<Timestamp>) -> Result<Timestamp, String> {
        let read = match &self.format {
            Some(format) => by_format(format, text)?,
            None => by_shape(text).ok_or_else(|| {
                format!("{text:?} is not a time: RFC 3339, `2024-01-31 23:59:59.123`, `20240131 235959123` or an epoch is understood; give `time_format` for others")
            })?,
        };
        match read {
            Read::Instant(micros) => Ok(Timestamp::from_micros(micros)),
            Read::Local(local) => {
                self.zone_assumed = true;
                self.resolve(local, after)
            }
        }
    }

    fn resolve(&self, local: DateTime, after: Option<Timestamp>) -> Result<Timestamp, String> {
        let out_of_range = |_| format!("{local} is out of range");
        let at = |offset: Offset| {
            offset.to_timestamp(local).map(|at| Timestamp::from_micros(at.as_microsecond())).map_err(out_of_range)
        };
        match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => at(offset),
            AmbiguousOffset::Gap { .. } => {
                let zone = self.zone.iana_name().unwrap_or("this zone");
                Err(format!(
                    "{local} does not exist in {zone}, where clocks were set forward over it: `tz` is another one"
                ))
            }
            AmbiguousOffset::Fold { before, after: later } => {
                let first = at(before)?;
                if after.is_some_and(|after| first < after) { at(later) } else { Ok(first) }
            }
        }
    }
}

fn check_format(format: &str) -> Result<(), String> {
    let sample = jiff::Zoned::new(jiff::Timestamp::UNIX_EPOCH, TimeZone::UTC);
    let fail = |error: jiff::Error| format!("`time_format` {format:?}: {error}; an example is `%d.%m.%Y %H:%M:%S%.f`");
    let text = strtime::format(format, &sample).map_err(fail)?;
    strtime::parse(format, &text).map_err(fail)?;
    by_format(format, &text).map(|_| ())
}

fn by_format(format: &str, text: &str) -> Result<Read, String> {
    let fail = |error: jiff::Error| format!("{text:?} is not a time of `time_format` {format:?}: {error}");
    let parsed = strtime::parse(format, text).map_err(fail)?;
    if parsed.offset().is_some() || parsed.timestamp().is_some() {
        return Ok(Read::Instant(parsed.to_timestamp().map_err(fail)?.as_microsecond()));
    }
    match parsed.to_datetime() {
        Ok(local) => Ok(Read::Local(local)),
        Err(_) => {
            parsed.to_date().map(|date| Read::Local(date.to_datetime(jiff::civil::Time::midnight()))).map_err(fail)
        }
    }
}

/// A time recognised by its shape.
fn by_shape(text: &str) -> Option<Read> {
    let whole = text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = &text[whole..];
    let dated = matches!(whole, 8 | 14 | 17) && !rest.starts_with('.');
    if !dated && whole >= 8 && (rest.is_empty() || rest.starts_with('.')) {
        return epoch(&text[..whole], rest.strip_prefix('.').unwrap_or_default()).map(Read::Instant);
    }
    civil(text)
}

/// An epoch in s, ms, µs or ns, told by its number of digits (all of them between
/// 1973 and 2286). Below 9 digits it is more likely a row number.
fn epoch(whole: &str, fraction: &str) -> Option<i64> {
    let number: i64 = whole.parse().ok()?;
    let micros_per_unit: i64 = match whole.len() {
        9..=11 => 1_000_000,
        12..=13 => 1_000,
        15..=16 => 1,
        18..=19 => return Some(number / 1_000),
        _ => return None,
    };
    let mut part = 0;
    let mut worth = micros_per_unit;
    for digit in fraction.bytes() {
        worth /= 10;
        part += i64::from(digit.is_ascii_digit().then(|| digit - b'0')?) * worth;
    }
    number.checked_mul(micros_per_unit)?.checked_add(part)
}

/// Date, time and zone, with separators or without.
fn civil(text: &str) -> Option<Read> {
    let mut scan = Scan(text.as_bytes());
    let year = scan.digits(4)?;
    let between = scan.any(b"-/.");
    let month = scan.digits(2)?;
    if scan.any(b"-/.") != between {
        return None;
    }
    let day = scan.digits(2)?;
    let (mut hour, mut minute, mut second, mut nanos) = (0, 0, 0, 0);
    if !scan.0.is_empty() {
        let split = scan.any(b" Tt").is_some();
        if !split && between.is_some() {
            return None;
        }
        hour = scan.digits(2)?;
        let colon = scan.any(b":");
        minute = scan.digits(2)?;
        if colon.is_none() || scan.any(b":").is_some() {
            second = scan.digits(2)?;
            let point = scan.any(b".,");
            if point.is_some() || colon.is_none() {
                nanos = scan.fraction(point.is_some())?;
            }
        }
    }
    let (year, month, day) = (i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    let (hour, minute, second) = (i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, i8::try_from(second).ok()?);
    let local = DateTime::new(year, month, day, hour, minute, second, nanos).ok()?;
    match scan.zone()? {
        None => Some(Read::Local(local)),
        Some(offset) => Some(Read::Instant(offset.to_timestamp(local).ok()?.as_microsecond())),
    }
}

/// What is left of a text.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn digits(&mut self, count: usize) -> Option<i32> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        head.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i32::from(digit - b'0')))
    }

    fn any(&mut self, set: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        set.contains(first).then(|| {
            self.0 = rest;
            *first
        })
    }

    /// Nanoseconds of a fraction; at least one digit where one is `due`.
    fn fraction(&mut self, due: bool) -> Option<i32> {
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count > 9 || (due && count == 0) {
            return None;
        }
        let digits = self.digits(count)?;
        Some(digits * 10_i32.pow(u32::try_from(9 - count).ok()?))
    }

    /// The zone at the end: none, `Z`, `UTC`, or an offset. The outer option
    /// tells whether the text ends well.
    fn zone(&mut self) -> Option<Option<Offset>> {
        self.any(b" ");
        if self.0.is_empty() {
            return Some(None);
        }
        if [&b"Z"[..], b"z", b"UTC", b"GMT"].contains(&self.0) {
            return Some(Some(Offset::UTC));
        }
        let sign = if self.any(b"+-")? == b'-' { -1 } else { 1 };
        let hours = self.digits(2)?;
        self.any(b":");
        let minutes = if self.0.is_empty() { 0 } else { self.digits(2)? };
        if !self.0.is_empty() || minutes > 59 {
            return None;
        }
        Some(Some(Offset::from_seconds(sign * (hours * 3_600 + minutes * 60)).ok()?))
    }
}

/// The length of a bar as the contract writes it, in µs: `1m`, `15s`, `4h`, `1d`.
///
/// # Errors
/// Another text.
pub fn parse_interval(text: &str) -> Result<i64, String> {
    interval_micros(text)
        .ok_or_else(|| format!("`interval` {text:?}: expected a number and `s`, `m`, `h` or `d`, such as `1m`"))
}

/// A length of whole seconds in the largest unit that fits.
pub(super) fn format_interval(micros: i64) -> Option<String> {
    if micros <= 0 || micros % 1_000_000 != 0 {
        return None;
    }
    let seconds = micros / 1_000_000;
    let (unit, letter) =
        [(86_400, 'd'), (3_600, 'h'), (60, 'm')].into_iter().find(|(unit, _)| seconds % unit == 0).unwrap_or((1, 's'));
    Some(format!("{}{letter}", seconds / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(zone: &str, text: &str) -> String {
        match TimeReader::new(zone, None).unwrap().read(text, None) {
            Ok(time) => time.to_string(),
            Err(error) => error,
        }
    }

    #[test]
    fn every_shape_of_one_instant_reads_the_same() {
        for text in [
            "2020-01-01T17:00:00.065Z",
            "2020-01-01T17:00:00.065000+00:00",
            "2020-01-01 18:00:00.065+01:00",
            "2020-01-01 17:00:00.065",
            "2020/01/01 17:00:00,065",
            "2020.01.01 17:00:00.065 UTC",
            "20200101 170000065",
            "20200101170000065",
            "20200101T170000.065Z",
            "2020-01-01 12:00:00.065-0500",
            "1577898000.065",
            "1577898000065",
            "1577898000065000",
            "1577898000065000123",
            "1577898000065.000",
        ] {
            assert_eq!(read("UTC", text), "2020-01-01T17:00:00.065000Z", "{text}");
        }
        assert_eq!(read("UTC", "2020-01-02"), "2020-01-02T00:00:00.000000Z");
        assert_eq!(read("UTC", "20200102"), "2020-01-02T00:00:00.000000Z");
        assert_eq!(read("UTC", "2020-01-02 03:04"), "2020-01-02T03:04:00.000000Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "abc",
            "12345",
            "2020-13-01",
            "2020-01-01 25:00:00",
            "2020-01-01 10:00:00 nowhere",
            "2020-01-0110:00",
            "2020-01/01",
            "01/02/2020",
            "1577898000,5",
            "2020-01-01 10:00:00.",
        ] {
            assert!(read("UTC", text).contains("is not a time"), "{text}: {}", read("UTC", text));
        }
    }

    #[test]
    fn a_local_time_takes_the_offset_of_its_day() {
        assert_eq!(read("Europe/Berlin", "2024-01-15 12:00:00"), "2024-01-15T11:00:00.000000Z");
        assert_eq!(read("Europe/Berlin", "2024-07-15 12:00:00"), "2024-07-15T10:00:00.000000Z");
        assert_eq!(read("Europe/Berlin", "2024-07-15 12:00:00Z"), "2024-07-15T12:00:00.000000Z");
    }

    #[test]
    fn an_hour_that_clocks_jumped_over_is_refused() {
        assert!(read("Europe/Berlin", "2024-03-31 02:30:00").contains("does not exist in Europe/Berlin"));
    }

    #[test]
    fn an_hour_that_comes_twice_goes_on_forward() {
        let mut reader = TimeReader::new("Europe/Berlin", None).unwrap();
        let first = reader.read("2024-10-27 02:59:00", None).unwrap();
        let second = reader.read("2024-10-27 02:00:00", Some(first)).unwrap();
        assert_eq!(first.to_string(), "2024-10-27T00:59:00.000000Z");
        assert_eq!(second.to_string(), "2024-10-27T01:00:00.000000Z");
    }

    #[test]
    fn a_format_of_the_config_reads_what_it_says() {
        let mut reader = TimeReader::new("Asia/Tokyo", Some("%d.%m.%Y %H:%M:%S%.f")).unwrap();
        assert_eq!(reader.read("31.12.2023 09:00:00.5", None).unwrap().to_string(), "2023-12-31T00:00:00.500000Z");
        assert!(reader.read("2023-12-31", None).unwrap_err().contains("`time_format`"));
        let mut days = TimeReader::new("UTC", Some("%m/%d/%Y")).unwrap();
        assert_eq!(days.read("12/31/2023", None).unwrap().to_string(), "2023-12-31T00:00:00.000000Z");
        let mut zoned = TimeReader::new("UTC", Some("%Y-%m-%d %H:%M %z")).unwrap();
        assert_eq!(zoned.read("2023-12-31 01:00 +0100", None).unwrap().to_string(), "2023-12-31T00:00:00.000000Z");
        assert!(TimeReader::new("UTC", Some("%Q!")).is_err());
        assert!(TimeReader::new("Mars/Base", None).unwrap_err().contains("Mars/Base"));
    }

    #[test]
    fn an_interval_is_a_number_and_a_unit() {
        for (text, seconds) in [("1s", 1), ("1m", 60), ("15m", 900), ("4h", 14_400), ("1d", 86_400)] {
            assert_eq!(parse_interval(text), Ok(seconds * 1_000_000));
            assert_eq!(format_interval(seconds * 1_000_000).as_deref(), Some(text));
        }
        for text in ["", "m", "0m", "-1m", "1", "1w", "1.5m", "99999d", "99999999999999s", "1é"] {
            assert!(parse_interval(text).is_err(), "{text}");
        }
        assert_eq!(format_interval(500), None);
    }
}
