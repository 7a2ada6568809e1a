//! Decimals on the wire: a JSON number or a decimal string, exact inside. The
//! text of the number is read as it stands, so no binary float is ever between
//! a price and its digits.
//!
//! What is taken: an optional `-`, digits (leading zeros are fine in a string),
//! optionally a point with digits on both sides, optionally an exponent. Not
//! taken: `+1`, `.5`, `1.`, spaces, separators, NaN and infinity.
//!
//! Not here: rounding rules of accounts (the paper broker's), and features or
//! probabilities, which are `f64`.

use std::{collections::BTreeMap, fmt, ops::Deref};

use rust_decimal::Decimal;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeStruct};

/// At most this many significant digits are taken from outside, so that a
/// price times a quantity still fits the 28 digits of a `Decimal`.
pub const MAX_SIGNIFICANT_DIGITS: u32 = 18;
/// At most this many decimals are taken from outside.
pub const MAX_DECIMALS: u32 = 10;

/// An exact decimal as the contract carries it; written as a string without
/// trailing zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dec(pub Decimal);

impl Dec {
    /// Zero.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// Reads a decimal text, with or without exponent, exactly: a price or a
    /// quantity.
    ///
    /// # Errors
    /// Not a decimal, or more digits than the contract takes.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        read(text, INPUT).map(Self)
    }

    /// Reads a decimal text as wide as a `Decimal` holds exactly: sums of money
    /// and averages, which grow longer than any price.
    ///
    /// # Errors
    /// Not a decimal, or more digits than a `Decimal` holds.
    pub fn parse_wide(text: &str) -> Result<Self, DecimalError> {
        read(text, WIDE).map(Self)
    }
}

/// Why a text is not a decimal of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Letters, NaN, infinity, an empty text.
    #[error("not a decimal")]
    NotADecimal,
    /// More than the contract takes.
    #[error("more than {max_digits} significant digits or {max_decimals} decimals")]
    TooManyDigits {
        /// Significant digits that are taken.
        max_digits: u32,
        /// Decimals that are taken.
        max_decimals: u32,
    },
}

/// How many digits are taken.
#[derive(Clone, Copy)]
struct Limits {
    digits: u32,
    decimals: u32,
}

const INPUT: Limits = Limits { digits: MAX_SIGNIFICANT_DIGITS, decimals: MAX_DECIMALS };
const WIDE: Limits = Limits { digits: 29, decimals: Decimal::MAX_SCALE };

impl Limits {
    const fn exceeded(self) -> DecimalError {
        DecimalError::TooManyDigits { max_digits: self.digits, max_decimals: self.decimals }
    }
}

/// The digits of a text as one whole number without zeros at its end, and the
/// power of ten that makes it the value.
#[derive(Default)]
struct Digits {
    mantissa: u128,
    significant: u32,
    zeros_at_end: i64,
}

impl Digits {
    /// Takes digits up to the first byte that is none, and says how many.
    fn take(&mut self, bytes: &[u8], limits: Limits) -> Result<usize, DecimalError> {
        let mut taken = 0;
        for byte in bytes.iter().take_while(|byte| byte.is_ascii_digit()) {
            taken += 1;
            if *byte == b'0' {
                // A zero counts only once a digit follows it; before the first digit never.
                self.zeros_at_end += i64::from(self.mantissa != 0);
                continue;
            }
            let step = if self.mantissa == 0 { 1 } else { self.zeros_at_end + 1 };
            let step = u32::try_from(step).ok().filter(|step| *step <= limits.digits).ok_or(limits.exceeded())?;
            self.significant += step;
            if self.significant > limits.digits {
                return Err(limits.exceeded());
            }
            self.mantissa = self.mantissa * 10_u128.pow(step) + u128::from(byte - b'0');
            self.zeros_at_end = 0;
        }
        Ok(taken)
    }
}

fn read(text: &str, limits: Limits) -> Result<Decimal, DecimalError> {
    let bytes = text.as_bytes();
    let (negative, mut rest) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    let mut digits = Digits::default();
    let whole = digits.take(rest, limits)?;
    rest = &rest[whole..];
    let mut decimals = 0;
    if let [b'.', after @ ..] = rest {
        decimals = digits.take(after, limits)?;
        if decimals == 0 {
            return Err(DecimalError::NotADecimal);
        }
        rest = &after[decimals..];
    }
    let exponent = read_exponent(rest)?;
    if whole == 0 {
        return Err(DecimalError::NotADecimal);
    }
    if digits.mantissa == 0 {
        return Ok(Decimal::ZERO);
    }
    let decimals = i64::try_from(decimals).map_err(|_| limits.exceeded())?;
    let power = digits.zeros_at_end - decimals + exponent;
    let (mantissa, scale) = if power >= 0 {
        let factor = u32::try_from(power).ok().and_then(|power| 10_u128.checked_pow(power));
        (factor.and_then(|factor| digits.mantissa.checked_mul(factor)).ok_or(limits.exceeded())?, 0)
    } else {
        (digits.mantissa, u32::try_from(-power).map_err(|_| limits.exceeded())?)
    };
    let mantissa = i128::try_from(mantissa).map_err(|_| limits.exceeded())?;
    if scale > limits.decimals {
        return Err(limits.exceeded());
    }
    Decimal::try_from_i128_with_scale(if negative { -mantissa } else { mantissa }, scale).map_err(|_| limits.exceeded())
}

/// The exponent at the end, 0 where there is none. It saturates far beyond any
/// number that is taken, so that a huge one costs nothing.
fn read_exponent(bytes: &[u8]) -> Result<i64, DecimalError> {
    const FAR: i64 = 1_000_000_000;
    let (negative, digits) = match bytes {
        [] => return Ok(0),
        [b'e' | b'E', b'-', digits @ ..] => (true, digits),
        [b'e' | b'E', b'+', digits @ ..] | [b'e' | b'E', digits @ ..] => (false, digits),
        _ => return Err(DecimalError::NotADecimal),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(DecimalError::NotADecimal);
    }
    let size = digits.iter().fold(0, |size: i64, digit| (size * 10 + i64::from(digit - b'0')).min(FAR));
    Ok(if negative { -size } else { size })
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
        f.write_str(Written::new(self.0).as_str())
    }
}

/// A decimal as text: sign, 29 digits, a point and a zero before it at most.
struct Written {
    bytes: [u8; 34],
    from: usize,
}

impl Written {
    fn new(value: Decimal) -> Self {
        let value = value.normalize();
        let mut scale = value.scale();
        let mut rest = value.mantissa().unsigned_abs();
        let mut written = Self { bytes: [0; 34], from: 34 };
        // Most numbers fit 64 bits, where dividing is several times faster.
        while rest > u128::from(u64::MAX) {
            written.push_digit((rest % 10) as u8, &mut scale);
            rest /= 10;
        }
        let mut rest = rest as u64;
        while rest != 0 || scale > 0 {
            written.push_digit((rest % 10) as u8, &mut scale);
            rest /= 10;
        }
        if written.from == 34 || written.bytes[written.from] == b'.' {
            written.push(b'0');
        }
        if value.is_sign_negative() && !value.is_zero() {
            written.push(b'-');
        }
        written
    }

    fn push_digit(&mut self, digit: u8, scale: &mut u32) {
        self.push(b'0' + digit);
        if *scale > 0 {
            *scale -= 1;
            if *scale == 0 {
                self.push(b'.');
            }
        }
    }

    fn push(&mut self, byte: u8) {
        self.from -= 1;
        self.bytes[self.from] = byte;
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[self.from..]).expect("digits, a point and a sign are ASCII")
    }
}

impl Serialize for Dec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Written::new(self.0).as_str())
    }
}

impl<'de> Deserialize<'de> for Dec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(RAW, Reader(INPUT))
    }
}

/// The name by which `serde_json` is asked for the raw text of a value (its
/// `RawValue` asks so too). Asked this way and not through `RawValue`, other
/// formats, such as the config's TOML, can answer with a plain value.
const RAW: &str = "$serde_json::private::RawValue";

struct Reader(Limits);

impl Reader {
    fn read<E: de::Error>(&self, text: &str, shown: impl fmt::Display) -> Result<Dec, E> {
        read(text, self.0).map(Dec).map_err(|error| explain(error, shown))
    }
}

fn explain<E: de::Error>(error: DecimalError, shown: impl fmt::Display) -> E {
    match error {
        DecimalError::NotADecimal => E::custom(format_args!("expected a decimal, found {shown}")),
        DecimalError::TooManyDigits { max_digits, max_decimals } => E::custom(format_args!(
            "expected a decimal of at most {max_digits} significant digits and {max_decimals} decimals, found {shown}"
        )),
    }
}

impl<'de> de::Visitor<'de> for Reader {
    type Value = Dec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decimal")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Dec, A::Error> {
        match map.next_key::<&str>()? {
            Some(RAW) => map.next_value_seed(RawText(self.0))?.map_err(|(error, shown)| explain(error, shown)),
            _ => Err(de::Error::invalid_type(de::Unexpected::Map, &self)),
        }
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Dec, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Dec, E> {
        self.read(text, format_args!("{:?}", shorten(text)))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Dec, E> {
        self.read(&value.to_string(), value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Dec, E> {
        self.read(&value.to_string(), value)
    }

    /// Only formats that have nothing else come here (never JSON text): up to
    /// 15 digits the float stands for exactly the digits that were written.
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Dec, E> {
        let text = value.to_string();
        if text.bytes().filter(u8::is_ascii_digit).count() > 15 {
            return Err(E::custom(format_args!("{text} has too many digits for a float; write it as a string")));
        }
        self.read(&text, &text)
    }
}

/// The raw JSON text of a value, as `serde_json` hands it out. What is wrong
/// with it is told outside, where the path of an error ends at the field.
struct RawText(Limits);

type RawResult = Result<Dec, (DecimalError, String)>;

impl<'de> de::DeserializeSeed<'de> for RawText {
    type Value = RawResult;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawResult, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl de::Visitor<'_> for RawText {
    type Value = RawResult;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decimal")
    }
    fn visit_str<E: de::Error>(self, raw: &str) -> Result<RawResult, E> {
        let text = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
        Ok(read(text, self.0).map(Dec).map_err(|error| (error, shorten(raw).to_owned())))
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
            "description": "an exact decimal, as a JSON number or a string: prices and quantities of at most 18 significant digits and 10 decimals; sums of money as wide as 96 bits",
            "anyOf": [
                { "type": "number" },
                { "type": "string", "pattern": "^-?[0-9]+(\\.[0-9]+)?([eE][+-]?[0-9]+)?$" }
            ]
        })
    }
}

/// For `#[serde(deserialize_with)]`: a sum of money or an average, as wide as a
/// `Decimal` holds.
///
/// # Errors
/// Not a decimal.
pub fn wide<'de, T: From<Decimal>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_newtype_struct(RAW, Reader(WIDE)).map(|dec| T::from(dec.0))
}

/// A [`wide`] decimal, for places that `deserialize_with` does not reach, and
/// for what a role keeps of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wide(#[serde(deserialize_with = "wide", serialize_with = "as_text")] pub Decimal);

/// [`wide`], or null.
///
/// # Errors
/// Not a decimal.
pub fn wide_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Dec>, D::Error> {
    Ok(Option::<Wide>::deserialize(deserializer)?.map(|wide| Dec(wide.0)))
}

/// [`wide`] by name; a name twice is an error.
///
/// # Errors
/// Not an object of decimals.
pub fn wide_map<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Dec>, D::Error> {
    let map: BTreeMap<String, Wide> = crate::unique::map(deserializer)?;
    Ok(map.into_iter().map(|(name, wide)| (name, Dec(wide.0))).collect())
}

/// For `#[serde(serialize_with)]`: writes the decimal as a JSON number, where
/// the contract shows one, digit for digit.
///
/// # Errors
/// Those of the serializer.
pub fn as_number<S: Serializer>(value: &Dec, serializer: S) -> Result<S::Ok, S::Error> {
    // As `RawValue` does it, which would parse the text again.
    let mut raw = serializer.serialize_struct(RAW, 1)?;
    raw.serialize_field(RAW, Written::new(value.0).as_str())?;
    raw.end()
}

fn as_text<S: Serializer>(value: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
    Dec(*value).serialize(serializer)
}
