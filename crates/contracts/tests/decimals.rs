//! Decimals are read and written digit for digit.
//!
//! Not here: rounding, which nothing on the wire does.

#![allow(clippy::unwrap_used, reason = "what fails here should stop the test")]

use proptest::prelude::*;
use rust_decimal::Decimal;
use tapedeck_contracts::{Dec, decimal::DecimalError};

/// Reads a JSON value as a decimal.
fn json(text: &str) -> Result<Dec, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// Reads a text and writes it again.
fn again(text: &str) -> String {
    Dec::parse(text).map_or_else(|error| error.to_string(), |dec| dec.to_string())
}

const TOO_MANY: &str = "more than 18 significant digits or 10 decimals";

#[test]
fn texts_are_read_exactly_and_written_without_zeros_at_the_end() {
    for (text, written) in [
        ("0", "0"),
        ("-0", "0"),
        ("0.000", "0"),
        ("0e999999999999", "0"),
        ("1.50", "1.5"),
        ("-1.50", "-1.5"),
        ("0.1", "0.1"),
        ("-0.0000000001", "-0.0000000001"),
        ("100", "100"),
        ("1e3", "1000"),
        ("1E+3", "1000"),
        ("1.5e-3", "0.0015"),
        ("1500e-3", "1.5"),
        ("12.5e1", "125"),
        ("0.00001e5", "1"),
        ("1e-10", "0.0000000001"),
        ("007", "7"),
        ("123456789012345678", "123456789012345678"),
        ("1234567890.12345678", "1234567890.12345678"),
        ("1234567890.12345678000000000000000000", "1234567890.12345678"),
        ("1000000000000000000000000000", "1000000000000000000000000000"),
        ("95000.123456789", "95000.123456789"),
    ] {
        assert_eq!(again(text), written, "{text}");
    }
}

#[test]
fn texts_with_more_than_the_contract_takes_are_refused_and_never_rounded() {
    for text in [
        "1234567890123456789",
        "0.00000000001",
        "1e-11",
        "1234567890.123456789",
        "100000000000000000000000000001",
        "1e29",
        "1e400",
        "-1e400",
        "1e-400",
        "1e99999999999999999999999",
        "9e999999999",
    ] {
        assert_eq!(again(text), TOO_MANY, "{text}");
    }
}

#[test]
fn texts_that_are_no_decimal_are_refused() {
    for text in [
        "", "-", "+1", ".5", "1.", "-.5", "1e", "1e+", "e5", "1.2.3", "1,5", " 1", "1 ", "NaN", "nan", "Infinity",
        "-inf", "0x10", "1_000", "--1", "1e5.5", "1-", "١", "1.-5", ".",
    ] {
        assert_eq!(Dec::parse(text), Err(DecimalError::NotADecimal), "{text:?}");
    }
}

#[test]
fn a_json_number_and_a_string_of_the_same_digits_are_the_same_decimal() {
    for text in ["0.1", "0.2", "0.30000000000000004e0", "123456789012345678", "95001.5", "1e3", "-2.5E-3"] {
        assert_eq!(json(text).ok(), json(&format!("{text:?}")).ok(), "{text}");
    }
}

#[test]
fn digits_that_a_binary_float_would_change_are_kept() {
    let sum = |a: &str, b: &str| Dec(json(a).unwrap().0 + json(b).unwrap().0).to_string();
    assert_eq!(sum("0.1", "0.2"), "0.3");
    assert_eq!(json("123456789012345678").unwrap().to_string(), "123456789012345678");
    assert_eq!(json("12345678.1234567891").unwrap().to_string(), "12345678.1234567891");
    assert_eq!(json("9007199254740993").unwrap().to_string(), "9007199254740993");
    assert!(json("0.30000000000000004").is_err(), "17 decimals are more than are taken, and are not rounded");
}

#[test]
fn a_huge_exponent_costs_nothing() {
    let zeros = "0".repeat(1_000_000);
    assert_eq!(again(&format!("1.5{zeros}")), "1.5");
    assert_eq!(again(&format!("0.{zeros}1")), TOO_MANY);
    assert_eq!(again(&format!("1{zeros}")), TOO_MANY);
    assert_eq!(again(&format!("1{zeros}e-1000000")), "1");
    assert_eq!(again(&format!("1e{}", "9".repeat(1_000_000))), TOO_MANY);
}

#[test]
fn wide_decimals_hold_what_sums_of_money_come_to() {
    let wide = Dec::parse_wide("-12345678901234567.12345678").unwrap();
    assert_eq!(wide.to_string(), "-12345678901234567.12345678");
    let third = Decimal::ONE / Decimal::from(3);
    assert_eq!(Dec::parse_wide(&third.to_string()).unwrap().0, third);
    assert_eq!(Dec::parse_wide(&Decimal::MAX.to_string()).unwrap().0, Decimal::MAX);
    assert!(Dec::parse_wide("79228162514264337593543950336").is_err());
}

#[test]
fn formats_other_than_json_give_decimals_too() {
    #[derive(serde::Deserialize)]
    struct Settings {
        a: Dec,
        b: Dec,
        c: Dec,
        d: Option<Dec>,
    }
    let read: Settings = toml::from_str("a = 1\nb = \"0.25\"\nc = 0.1\nd = -2.5").unwrap();
    assert_eq!([read.a, read.b, read.c, read.d.unwrap()].map(|dec| dec.to_string()), ["1", "0.25", "0.1", "-2.5"]);
    let error = toml::from_str::<Settings>("a = \"x\"\nb = 1\nc = 1").err().unwrap().to_string();
    assert!(error.contains("expected a decimal, found \"x\""), "{error}");
    let value: Dec = serde_json::from_value(serde_json::json!("12.5")).unwrap();
    assert_eq!(value.to_string(), "12.5");
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(mantissa in -999_999_999_999_999_999_i64..=999_999_999_999_999_999, scale in 0_u32..=10) {
        let dec = Dec(Decimal::new(mantissa, scale));
        let text = dec.to_string();
        prop_assert_eq!(Dec::parse(&text), Ok(dec));
        prop_assert_eq!(text.clone(), Decimal::new(mantissa, scale).normalize().to_string());
        prop_assert_eq!(json(&text), Ok(dec));
        prop_assert_eq!(json(&format!("{text:?}")), Ok(dec));
        prop_assert_eq!(serde_json::to_string(&dec).unwrap(), format!("{text:?}"));
    }

    #[test]
    fn any_decimal_is_written_as_it_is_and_read_wide(mantissa in any::<i128>(), scale in 0_u32..=28) {
        let mantissa = mantissa % (1_i128 << 96);
        let value = Decimal::from_i128_with_scale(mantissa, scale);
        let text = Dec(value).to_string();
        prop_assert_eq!(text.clone(), (value.normalize() + Decimal::ZERO).to_string());
        prop_assert_eq!(Dec::parse_wide(&text).unwrap().0, value);
    }

    #[test]
    fn an_exponent_only_moves_the_point(mantissa in 1_i64..=999_999_999, scale in 0_u32..=5, exponent in -5_i32..=9) {
        let plain = Decimal::new(mantissa, scale);
        let expected = (0..exponent.abs()).fold(plain, |value, _| {
            if exponent > 0 { value * Decimal::TEN } else { value * Decimal::new(1, 1) }
        });
        prop_assert_eq!(Dec::parse(&format!("{plain}e{exponent}")), Ok(Dec(expected)));
    }

    #[test]
    fn any_text_is_read_or_refused_and_nothing_else(text in "[-+]?[0-9]{0,22}[.]?[0-9]{0,14}([eE][-+]?[0-9]{0,6})?") {
        let ours = Dec::parse(&text);
        let plain = text.trim_start_matches('-');
        let points = plain.starts_with('.') || plain.contains(".e") || plain.contains(".E") || plain.ends_with('.');
        match (&ours, Decimal::from_str_exact(&text)) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours.0, theirs),
            (Err(DecimalError::NotADecimal), Ok(_)) => prop_assert!(points || text.starts_with('+'), "{}", text),
            _ => {}
        }
    }
}
