//! Times keep their microseconds and have a zone.
//!
//! Not here: calendars of sessions.

use proptest::prelude::*;
use tapedeck_contracts::{Timestamp, time::TimeError};

fn again(text: &str) -> String {
    Timestamp::parse(text).map_or_else(|error| error.to_string(), |time| time.to_string())
}

#[test]
fn times_are_written_in_utc_with_microseconds() {
    for (text, written) in [
        ("2024-01-01T12:00:00Z", "2024-01-01T12:00:00.000000Z"),
        ("2024-01-01T12:00:00.000Z", "2024-01-01T12:00:00.000000Z"),
        ("2024-01-01t12:00:00z", "2024-01-01T12:00:00.000000Z"),
        ("2024-01-01 12:00:00Z", "2024-01-01T12:00:00.000000Z"),
        ("2025-10-21T14:30:00.123456Z", "2025-10-21T14:30:00.123456Z"),
        ("2025-10-21T14:30:00.1Z", "2025-10-21T14:30:00.100000Z"),
        ("2025-10-21T14:30:00.123456999Z", "2025-10-21T14:30:00.123456Z"),
        ("2025-10-21T14:30:00+01:00", "2025-10-21T13:30:00.000000Z"),
        ("2025-10-21T14:30:00.5-05:30", "2025-10-21T20:00:00.500000Z"),
        ("2024-03-01T00:30:00+01:00", "2024-02-29T23:30:00.000000Z"),
        ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.000000Z"),
        ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ] {
        assert_eq!(again(text), written, "{text}");
    }
}

#[test]
fn a_time_without_a_zone_says_what_to_add() {
    assert_eq!(Timestamp::parse("2024-01-01T12:00:00"), Err(TimeError::NoZone));
    assert_eq!(Timestamp::parse("2024-01-01T12:00:00.123456"), Err(TimeError::NoZone));
}

#[test]
fn texts_that_are_no_time_are_refused() {
    for text in [
        "",
        "now",
        "2024-01-01",
        "2024-01-01T12:00Z",
        "2024-13-01T12:00:00Z",
        "2024-00-01T12:00:00Z",
        "2023-02-29T12:00:00Z",
        "1900-02-29T12:00:00Z",
        "2024-01-32T12:00:00Z",
        "2024-01-00T12:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T12:60:00Z",
        "2024-01-01T12:00:61Z",
        "2024-01-01T12:00:00.Z",
        "2024-01-01T12:00:00 Z",
        "2024-01-01T12:00:00+0100",
        "2024-01-01T12:00:00+24:00",
        "2024-01-01T12:00:00ZZ",
        "20240101T120000Z",
        "-024-01-01T12:00:00Z",
        "2024-01-01T12:00:0éZ",
        "1700000000",
        "2024-01-01T12:00:00+01:00[Europe/Paris]",
    ] {
        assert_eq!(Timestamp::parse(text), Err(TimeError::NotATime), "{text:?}");
    }
}

#[test]
fn a_time_that_rfc_3339_cannot_write_is_not_put_on_the_wire() {
    assert!(serde_json::to_string(&Timestamp::from_micros(i64::MAX)).is_err());
    assert!(serde_json::to_string(&Timestamp::from_micros(i64::MIN)).is_err());
}

proptest! {
    #[test]
    fn times_agree_with_the_calendar_of_jiff(micros in -62_167_219_200_000_000_i64..253_402_300_799_000_000) {
        let time = Timestamp::from_micros(micros);
        let text = time.to_string();
        let theirs = jiff::Timestamp::from_microsecond(micros).ok();
        if let Some(theirs) = theirs {
            prop_assert_eq!(&text, &format!("{theirs:.6}"));
        }
        prop_assert_eq!(Timestamp::parse(&text), Ok(time));
    }

    #[test]
    fn an_offset_moves_the_clock_and_not_the_instant(micros in 0_i64..4_000_000_000_000_000, minutes in -1_439_i64..=1_439) {
        let moved = Timestamp::from_micros(micros + minutes * 60_000_000).to_string();
        let sign = if minutes < 0 { '-' } else { '+' };
        let text = format!("{}{sign}{:02}:{:02}", moved.trim_end_matches('Z'), minutes.abs() / 60, minutes.abs() % 60);
        prop_assert_eq!(Timestamp::parse(&text), Ok(Timestamp::from_micros(micros)));
    }
}
