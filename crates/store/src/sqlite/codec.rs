//! How values lie in SQLite: decimals as integers of 10^-8 or as text, UUIDs as
//! 16 bytes, the words of the contract as small numbers.
//!
//! Not here: names, which have a table.

use rusqlite::{
    Row, Statement, ToSql,
    types::{ToSqlOutput, Value, ValueRef},
};
use rust_decimal::Decimal;
use tapedeck_contracts::Dec;

use super::failure::damaged;
pub(super) use crate::common::{
    values::{exact_sum, key, limit, lower_end, place, upper_end},
    words::{EXEC_TYPES, LIQUIDITIES, ORDER_TYPES, SEVERITIES, SIDES, STATUSES, TIMES_IN_FORCE, code},
};
use crate::{
    Result,
    common::{
        values::{MONEY_DECIMALS, format_uuid, parse_uuid},
        words::{self, Words},
    },
};

/// The word of a stored number.
pub(super) fn word<T: Copy>(words: &Words<T>, row: &Row<'_>, column: usize) -> Result<T> {
    words::of_code(words, row.get(column)?).ok_or_else(|| damaged("a word"))
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

/// Binds the parameters that the statement names, and leaves out the others.
pub(super) fn bind(statement: &mut Statement<'_>, named: &[(&str, &dyn ToSql)]) -> Result<()> {
    for (name, value) in named {
        if let Some(index) = statement.parameter_index(name)? {
            statement.raw_bind_parameter(index, value)?;
        }
    }
    Ok(())
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
}
