//! Decimals on the wire: a JSON number or a decimal string, exact inside. The
//! text of the number is read as it stands, so no binary float is ever between
//! a price and its digits.
//!
//! Not here: rounding rules of accounts (the paper broker's), and features or
//! probabilities, which are `f64`.

use std::{fmt, ops::Deref};

use rust_decimal::Decimal;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::RawValue;

/// At most this many significant digits are taken from outside, so that a
/// price times a quantity still fits the 28 digits of a `Decimal`.
pub const MAX_SIGNIFICANT_DIGITS: usize = 18;
/// At most this many decimals are taken from outside.
pub const MAX_DECIMALS: u32 = 10;

/// An exact decimal as the contract carries it; written as a string without
/// trailing zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dec(pub Decimal);

impl Dec {
    /// Zero.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// Reads a decimal text, with or without exponent, exactly.
    ///
    /// # Errors
    /// Not a decimal, or more digits than the contract takes.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        let (mantissa, exponent) = split_exponent(text)?;
        let digits = mantissa.trim_start_matches('-');
        if !well_formed(digits) {
            return Err(DecimalError::NotADecimal);
        }
        let value = Decimal::from_str_exact(mantissa).map_err(|_| DecimalError::TooManyDigits)?;
        let value = if exponent == 0 { value } else { shift(value, exponent)? };
        // `+ ZERO` turns a negative zero into zero.
        let value = value.normalize();
        if value.scale() > MAX_DECIMALS || significant_digits(value) > MAX_SIGNIFICANT_DIGITS {
            return Err(DecimalError::TooManyDigits);
        }
        Ok(Self(if value.is_zero() { Decimal::ZERO } else { value }))
    }
}

/// Why a text is not a decimal of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Letters, NaN, infinity, an empty text.
    #[error("not a decimal")]
    NotADecimal,
    /// More than the contract takes.
    #[error("more than {MAX_SIGNIFICANT_DIGITS} significant digits or {MAX_DECIMALS} decimals")]
    TooManyDigits,
}

fn split_exponent(text: &str) -> Result<(&str, i32), DecimalError> {
    match text.find(['e', 'E']) {
        None => Ok((text, 0)),
        Some(at) => {
            let exponent: i32 = text[at + 1..].parse().map_err(|_| DecimalError::NotADecimal)?;
            // Beyond this no accepted number is left, and shifting stays cheap.
            if exponent.abs() > 40 {
                return Err(DecimalError::TooManyDigits);
            }
            Ok((&text[..at], exponent))
        }
    }
}

fn well_formed(digits: &str) -> bool {
    let mut points = 0;
    let only_digits = digits.bytes().all(|b| {
        points += usize::from(b == b'.');
        b.is_ascii_digit() || b == b'.'
    });
    only_digits
        && points <= 1
        && digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.ends_with(|c: char| c.is_ascii_digit())
}

/// Moves the decimal point; exact or an error.
fn shift(value: Decimal, exponent: i32) -> Result<Decimal, DecimalError> {
    let scale = i64::from(value.scale()) - i64::from(exponent);
    let mantissa = value.mantissa();
    if mantissa == 0 {
        return Ok(Decimal::ZERO);
    }
    if scale >= 0 {
        let scale = u32::try_from(scale).map_err(|_| DecimalError::TooManyDigits)?;
        return Decimal::try_from_i128_with_scale(mantissa, scale).map_err(|_| DecimalError::TooManyDigits);
    }
    let power = u32::try_from(-scale).map_err(|_| DecimalError::TooManyDigits)?;
    let grown = 10_i128.checked_pow(power).and_then(|factor| mantissa.checked_mul(factor));
    grown.and_then(|m| Decimal::try_from_i128_with_scale(m, 0).ok()).ok_or(DecimalError::TooManyDigits)
}

fn significant_digits(value: Decimal) -> usize {
    let mut mantissa = value.mantissa().unsigned_abs();
    // Zeros at the end of a whole number carry size, not precision.
    while mantissa != 0 && mantissa % 10 == 0 {
        mantissa /= 10;
    }
    mantissa.checked_ilog10().map_or(1, |log| log as usize + 1)
}

impl Deref for Dec {
    type Target = Decimal;
    fn deref(&self) -> &Decimal {
        &self.0
    }
}

impl From<Decimal> for Dec {
    fn from(value: Decimal) -> Self {
        Self(value)
    }
}

impl fmt::Display for Dec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.normalize(), f)
    }
}

impl Serialize for Dec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Dec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let text = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
        Self::parse(text).map_err(|error| match error {
            DecimalError::NotADecimal => de::Error::custom(format_args!("expected a decimal, found {}", shorten(raw))),
            DecimalError::TooManyDigits => de::Error::custom(format_args!("{} has {error}", shorten(raw))),
        })
    }
}

/// What an error message shows of a value: enough to find it.
fn shorten(raw: &str) -> &str {
    const SHOWN: usize = 60;
    match raw.char_indices().nth(SHOWN) {
        None => raw,
        Some((at, _)) => &raw[..at],
    }
}

impl JsonSchema for Dec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Decimal".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "an exact decimal, as a JSON number or a string: at most 18 significant digits and 10 decimals",
            "anyOf": [
                { "type": "number" },
                { "type": "string", "pattern": "^-?[0-9]+(\\.[0-9]+)?([eE][+-]?[0-9]+)?$" }
            ]
        })
    }
}

/// For `#[serde(serialize_with)]`: writes the decimal as a JSON number, where
/// the contract shows one, digit for digit.
///
/// # Errors
/// Those of the serializer.
pub fn as_number<S: Serializer>(value: &Dec, serializer: S) -> Result<S::Ok, S::Error> {
    let raw = RawValue::from_string(value.to_string()).map_err(serde::ser::Error::custom)?;
    raw.serialize(serializer)
}
