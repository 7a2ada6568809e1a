//! How values lie in SQLite: decimals as integers
//! of 10^-8 or as text, UUIDs as 16 bytes, the words of
//! the contract as small numbers; and sums that are exact or refused.
//!
//! Not here: names, which have a table.

use rusqlite::{
    Row, Statement, ToSql,
    types::{ToSqlOutput, Value, ValueRef},
};
use rust_decimal::{Decimal, RoundingStrategy};
use tapedeck_contracts::{
    Dec, Timestamp,
    events::{ExecType, Liquidity, OrderStatus, OrderType, Severity, Side, TimeInForce},
};

use super::failure::damaged;
use crate::{Origin, PageKey, Result, StoreError};

// A word is stored as its place in its list: append to these, never reorder.
pub(super) const EXEC_TYPES: &[ExecType] = &[
    ExecType::New,
    ExecType::Trade,
    ExecType::Canceled,
    ExecType::Replaced,
    ExecType::Rejected,
    ExecType::Expired,
    ExecType::TradeCorrect,
    ExecType::TradeCancel,
];
pub(super) const STATUSES: &[OrderStatus] = &[
    OrderStatus::New,
    OrderStatus::PartiallyFilled,
    OrderStatus::Filled,
    OrderStatus::Canceled,
    OrderStatus::Rejected,
    OrderStatus::Expired,
];
pub(super) const SIDES: &[Side] = &[Side::Buy, Side::Sell];
pub(super) const ORDER_TYPES: &[OrderType] =
    &[OrderType::Market, OrderType::Limit, OrderType::Stop, OrderType::StopLimit];
pub(super) const TIMES_IN_FORCE: &[TimeInForce] =
    &[TimeInForce::Gtc, TimeInForce::Day, TimeInForce::Ioc, TimeInForce::Fok];
pub(super) const LIQUIDITIES: &[Liquidity] = &[Liquidity::Maker, Liquidity::Taker];
pub(super) const SEVERITIES: &[Severity] = &[Severity::Info, Severity::Warning, Severity::Error, Severity::Critical];

/// The stored number of a word.
pub(super) fn code<T: PartialEq>(words: &[T], word: &T) -> i64 {
    let at = words.iter().position(|known| known == word).expect("invariant: every word of the contract is listed");
    i64::try_from(at).expect("invariant: the lists are short")
}

/// The word of a stored number.
pub(super) fn word<T: Copy>(words: &[T], row: &Row<'_>, column: usize) -> Result<T> {
    let number: i64 = row.get(column)?;
    usize::try_from(number).ok().and_then(|at| words.get(at)).copied().ok_or_else(|| damaged("a word"))
}

/// An id as it is stored and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Id<'a> {
    /// A UUID in its usual form.
    Uuid([u8; 16]),
    /// Any other text.
    Text(&'a str),
}

impl<'a> Id<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        parse_uuid(text.as_bytes()).map_or(Self::Text(text), Self::Uuid)
    }
}

impl ToSql for Id<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Uuid(bytes) => ValueRef::Blob(bytes),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// Only the form that is written back byte for byte: 36 bytes, lower case.
fn parse_uuid(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != 36 {
        return None;
    }
    let mut bytes = [0_u8; 16];
    let mut nibbles = 0;
    for (at, &byte) in text.iter().enumerate() {
        let digit = match (byte, at) {
            (b'-', 8 | 13 | 18 | 23) => continue,
            (_, 8 | 13 | 18 | 23) => return None,
            (b'0'..=b'9', _) => byte - b'0',
            (b'a'..=b'f', _) => byte - b'a' + 10,
            _ => return None,
        };
        bytes[nibbles / 2] = bytes[nibbles / 2] << 4 | digit;
        nibbles += 1;
    }
    Some(bytes)
}

/// Reads an id back.
pub(super) fn id(row: &Row<'_>, column: usize) -> Result<String> {
    optional_id(row, column)?.ok_or_else(|| damaged("an id"))
}

/// Reads an id back, where there is one.
pub(super) fn optional_id(row: &Row<'_>, column: usize) -> Result<Option<String>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        ValueRef::Text(text) => String::from_utf8(text.to_vec()).map(Some).map_err(|_| damaged("an id")),
        ValueRef::Blob(bytes) if bytes.len() == 16 => Ok(Some(format_uuid(bytes))),
        _ => Err(damaged("an id")),
    }
}

fn format_uuid(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Reads a decimal back.
pub(super) fn decimal(row: &Row<'_>, column: usize) -> Result<Decimal> {
    optional_decimal(row, column)?.ok_or_else(|| damaged("a decimal"))
}

/// Reads a decimal back, where there is one.
pub(super) fn optional_decimal(row: &Row<'_>, column: usize) -> Result<Option<Decimal>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(units) => Ok(Some(of_units(units))),
        ValueRef::Text(text) => std::str::from_utf8(text)
            .ok()
            .and_then(|text| Decimal::from_str_exact(text).ok())
            .map(Some)
            .ok_or_else(|| damaged("a decimal")),
        _ => Err(damaged("a decimal")),
    }
}

/// A decimal as it is stored: an integer of 10^-8 where that holds it, which is
/// small, and quick to write and to read; else its text. Either way exact.
pub(super) fn stored(value: Decimal) -> Value {
    let units = 10_i128
        .checked_pow(MONEY_DECIMALS.saturating_sub(value.scale()))
        .filter(|_| value.scale() <= MONEY_DECIMALS)
        .and_then(|unit| i64::try_from(value.mantissa().checked_mul(unit)?).ok());
    units.map_or_else(|| Value::Text(Dec(value).to_string()), Value::Integer)
}

/// Without zeros at its end: 64 bits are divided several times faster than the
/// 96 of a decimal.
fn of_units(mut units: i64) -> Decimal {
    let mut scale = MONEY_DECIMALS;
    while scale > 0 && units % 10 == 0 {
        units /= 10;
        scale -= 1;
    }
    Decimal::new(units, scale)
}

const OFFSET_BITS: u32 = 48;

/// Partition and offset as one number that sorts as the pair does.
///
/// # Errors
/// Beyond 2^15 partitions or 2^48 offsets: fatal, since no log has them.
pub(super) fn place(origin: &Origin) -> Result<i64> {
    pack(origin.partition, origin.offset).ok_or_else(|| {
        StoreError::Fatal(format!(
            "{}/{}/{} lies beyond what the store can order (32,768 partitions of 2^48 records)",
            origin.topic, origin.partition, origin.offset
        ))
    })
}

fn pack(partition: u32, offset: u64) -> Option<i64> {
    let fits = partition < 1 << 15 && offset < 1 << OFFSET_BITS;
    fits.then(|| i64::try_from(u64::from(partition) << OFFSET_BITS | offset).expect("invariant: 63 bits"))
}

/// The place in a list of a row with this time and place.
pub(super) fn key(time_us: i64, place: i64) -> PageKey {
    let place = place.unsigned_abs();
    PageKey {
        timestamp: Timestamp::from_micros(time_us),
        partition: u32::try_from(place >> OFFSET_BITS).expect("invariant: 15 bits"),
        offset: place & ((1 << OFFSET_BITS) - 1),
    }
}

/// The exclusive upper end of a newest-first page, as (time, place).
pub(super) fn upper_end(to: Option<Timestamp>, after: Option<PageKey>) -> (i64, i64) {
    let to = to.map_or((i64::MAX, i64::MAX), |to| (to.micros(), i64::MIN));
    let after = after.map_or((i64::MAX, i64::MAX), |key| {
        (key.timestamp.micros(), pack(key.partition, key.offset).unwrap_or(i64::MAX))
    });
    to.min(after)
}

/// The inclusive lower end.
pub(super) fn lower_end(from: Option<Timestamp>) -> i64 {
    from.map_or(i64::MIN, Timestamp::micros)
}

/// A limit as SQL takes it.
pub(super) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// Binds the parameters that the statement names, and leaves out the others.
pub(super) fn bind(statement: &mut Statement<'_>, named: &[(&str, &dyn ToSql)]) -> Result<()> {
    for (name, value) in named {
        if let Some(index) = statement.parameter_index(name)? {
            statement.raw_bind_parameter(index, value)?;
        }
    }
    Ok(())
}

/// Decimals that money and turnover are kept with.
const MONEY_DECIMALS: u32 = 8;

/// The sum, exact; none where it has more digits than a decimal holds.
pub(super) fn exact_sum(a: Decimal, b: Decimal) -> Option<Decimal> {
    let scale = a.scale().max(b.scale());
    let aligned = |value: Decimal| value.mantissa().checked_mul(10_i128.checked_pow(scale - value.scale())?);
    let sum = aligned(a)?.checked_add(aligned(b)?)?;
    Decimal::try_from_i128_with_scale(sum, scale).ok().map(|sum| sum.normalize())
}

/// amount · part / whole, rounded half to even to 8 decimals; none where it does
/// not fit.
pub(super) fn money_share(amount: Decimal, part: Decimal, whole: Decimal) -> Option<Decimal> {
    if part == whole || whole.is_zero() {
        return Some(amount);
    }
    let share = amount.checked_mul(part)?.checked_div(whole)?;
    Some(share.round_dp_with_strategy(MONEY_DECIMALS, RoundingStrategy::MidpointNearestEven).normalize())
}

/// The product, rounded once, half to even, to 8 decimals; none where it is too large.
pub(super) fn money_product(a: Decimal, b: Decimal) -> Option<Decimal> {
    let mantissa = a.mantissa().checked_mul(b.mantissa())?;
    let scale = a.scale() + b.scale();
    if scale <= MONEY_DECIMALS {
        return Decimal::try_from_i128_with_scale(mantissa, scale).ok().map(|value| value.normalize());
    }
    let unit = 10_i128.checked_pow(scale - MONEY_DECIMALS)?;
    let (quotient, rest) = (mantissa.div_euclid(unit), mantissa.rem_euclid(unit));
    let up = rest * 2 > unit || rest * 2 == unit && quotient % 2 != 0;
    let rounded = quotient + i128::from(up);
    Decimal::try_from_i128_with_scale(rounded, MONEY_DECIMALS).ok().map(|value| value.normalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_comes_back_byte_for_byte_and_other_texts_stay_texts() {
        let uuid = "550e8400-e29b-41d4-a716-446655440000";
        let Id::Uuid(bytes) = Id::of(uuid) else { panic!("not a UUID") };
        assert_eq!(format_uuid(&bytes), uuid);
        for text in ["550E8400-e29b-41d4-a716-446655440000", "F1", "", "550e8400e29b-41d4-a716-446655440000-"] {
            assert_eq!(Id::of(text), Id::Text(text));
        }
    }

    #[test]
    fn a_decimal_comes_back_exact_and_is_an_integer_where_that_holds_it() {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        let cases = [
            ("95000.12", true),
            ("-0.00000001", true),
            ("0", true),
            ("92233720368.54775807", true),
            ("92233720368.54775808", false),
            ("0.000000001", false),
            ("-79228162514264337593543950335", false),
        ];
        for (text, is_integer) in cases {
            let value = Decimal::from_str_exact(text).unwrap();
            assert_eq!(matches!(stored(value), Value::Integer(_)), is_integer, "{text}");
            let back = conn.query_row("SELECT ?1", [stored(value)], |row| Ok(decimal(row, 0))).unwrap();
            assert_eq!(Dec(back.unwrap()).to_string(), text);
        }
    }

    #[test]
    fn products_are_rounded_half_to_even_at_eight_decimals() {
        let product = |a: &str, b: &str| {
            Dec(money_product(Decimal::from_str_exact(a).unwrap(), Decimal::from_str_exact(b).unwrap()).unwrap())
                .to_string()
        };
        assert_eq!(product("0.00000001", "0.5"), "0");
        assert_eq!(product("0.00000003", "0.5"), "0.00000002");
        assert_eq!(product("-0.00000003", "0.5"), "-0.00000002");
        assert_eq!(product("-0.00000001", "0.5"), "0");
        assert_eq!(product("123456789.123456789", "1000000000.5"), "123456789185185183.56172839");
    }

    #[test]
    fn a_sum_that_would_lose_digits_is_refused() {
        let large = Decimal::from_str_exact("79228162514264337593543950335").unwrap();
        assert_eq!(exact_sum(large, Decimal::new(1, 1)), None);
        let sum = exact_sum(Decimal::new(1, 10), Decimal::from(99_999_999_999_999_999_i64)).unwrap();
        assert_eq!(Dec(sum).to_string(), "99999999999999999.0000000001");
    }

    #[test]
    fn places_sort_as_partition_then_offset() {
        assert!(pack(0, (1 << 48) - 1).unwrap() < pack(1, 0).unwrap());
        assert_eq!(pack(1 << 15, 0), None);
        let there = key(7, pack(3, 42).unwrap());
        assert_eq!((there.timestamp.micros(), there.partition, there.offset), (7, 3, 42));
    }
}
