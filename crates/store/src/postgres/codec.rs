//! How values are sent to PostgreSQL and read back: times as microseconds,
//! decimals digit by digit, words as their text.
//!
//! Not here: rows; each query knows its own.

use bytes::{BufMut, BytesMut};
use rust_decimal::Decimal;
use tapedeck_contracts::{Dec, Timestamp};
use tokio_postgres::{
    Row,
    types::{FromSql, IsNull, ToSql, Type, to_sql_checked},
};

use super::failure::damaged;
use crate::{
    Result,
    common::words::{self, Words},
};

type Failed = Box<dyn std::error::Error + Sync + Send>;

/// Microseconds from 1970 to 2000, where PostgreSQL counts from.
const EPOCH_US: i64 = 946_684_800_000_000;
/// PostgreSQL's first time, in 4713 BC; its last lies beyond any of ours.
const FIRST_US: i64 = -211_813_488_000_000_000;

/// A timestamptz, as microseconds since 1970. Ends of ranges that lie beyond
/// what PostgreSQL holds are its infinities; events never do (the contract's
/// years are 0 to 9999).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time(pub(super) i64);

impl Time {
    pub(super) fn of(time: Timestamp) -> Self {
        Self(time.micros())
    }

    /// As PostgreSQL counts.
    pub(super) fn binary(self) -> i64 {
        match self.0.saturating_sub(EPOCH_US) {
            _ if self.0 == i64::MAX => i64::MAX,
            early if early < FIRST_US => i64::MIN,
            time_us => time_us,
        }
    }
}

impl ToSql for Time {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> std::result::Result<IsNull, Failed> {
        out.put_i64(self.binary());
        Ok(IsNull::No)
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Time {
    fn from_sql(_: &Type, raw: &'a [u8]) -> std::result::Result<Self, Failed> {
        let time_us = i64::from_be_bytes(raw.try_into()?);
        Ok(Self(match time_us {
            i64::MIN | i64::MAX => time_us,
            time_us => time_us.saturating_add(EPOCH_US),
        }))
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::TIMESTAMPTZ
    }
}

/// A numeric, exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numeric(pub(super) Decimal);

const NEGATIVE: u16 = 0x4000;
/// Digits of PostgreSQL's numeric are four decimal digits each.
const GROUP: u128 = 10_000;
/// Groups that the 29 digits of a decimal can touch, wherever their point is.
const MOST_GROUPS: usize = 9;

impl Numeric {
    /// Appends the binary form.
    pub(super) fn put(self, out: &mut impl BufMut) {
        let value = self.0.normalize();
        let scale = value.scale();
        // Whole groups behind the point. Digits before and behind are split apart first: moved
        // to the left as a whole, 29 digits with 28 decimals still fit, 10^29 · 10^3 < 2^128.
        let shift = (4 - scale % 4) % 4;
        let mut rest = value.mantissa().unsigned_abs() * 10_u128.pow(shift);
        let behind = scale.div_ceil(4);
        let mut groups = [0_u16; MOST_GROUPS];
        let mut count = 0;
        while rest > 0 {
            groups[count] = u16::try_from(rest % GROUP).expect("invariant: below 10,000");
            rest /= GROUP;
            count += 1;
        }
        let weight = i64::try_from(count).expect("invariant: nine at most") - 1 - i64::from(behind);
        // Zeros at the end are not sent, as PostgreSQL itself leaves them out.
        let zeros = groups[..count].iter().take_while(|group| **group == 0).count();
        out.put_u16(u16::try_from(count - zeros).expect("invariant: nine at most"));
        out.put_i16(if count == 0 { 0 } else { i16::try_from(weight).expect("invariant: within nine") });
        out.put_u16(if value.is_sign_negative() && count > 0 { NEGATIVE } else { 0 });
        out.put_u16(u16::try_from(scale).expect("invariant: 28 at most"));
        groups[zeros..count].iter().rev().for_each(|group| out.put_u16(*group));
    }

    /// Reads the binary form; none of what no decimal holds.
    fn read(raw: &[u8]) -> Option<Decimal> {
        let words: Vec<u16> = raw.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        let [count, weight, sign, _, groups @ ..] = words.as_slice() else { return None };
        if groups.len() != usize::from(*count) || !matches!(*sign, 0 | NEGATIVE) {
            return None;
        }
        let mut mantissa = 0_u128;
        for group in groups {
            mantissa = mantissa.checked_mul(GROUP)?.checked_add(u128::from(*group))?;
        }
        // The last group's place: so many groups before (above 0) or behind the point.
        let exponent = (i32::from(weight.cast_signed()) - i32::from(*count) + 1) * 4;
        if exponent >= 0 {
            mantissa = mantissa.checked_mul(10_u128.checked_pow(exponent.unsigned_abs())?)?;
        }
        let mut scale = if exponent < 0 { exponent.unsigned_abs() } else { 0 };
        while scale > 0 && mantissa.is_multiple_of(10) {
            (mantissa, scale) = (mantissa / 10, scale - 1);
        }
        let mantissa = i128::try_from(mantissa).ok()?;
        Decimal::try_from_i128_with_scale(if *sign == NEGATIVE { -mantissa } else { mantissa }, scale).ok()
    }
}

impl ToSql for Numeric {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> std::result::Result<IsNull, Failed> {
        self.put(out);
        Ok(IsNull::No)
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::NUMERIC
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Numeric {
    fn from_sql(_: &Type, raw: &'a [u8]) -> std::result::Result<Self, Failed> {
        Self::read(raw).map(Self).ok_or_else(|| "more digits than a decimal holds".into())
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::NUMERIC
    }
}

/// Reads a value of any type that PostgreSQL's rows hold.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T> {
    row.try_get(column).map_err(|error| damaged(&format!("a value ({error})")))
}

/// Reads a time.
pub(super) fn time(row: &Row, column: usize) -> Result<Timestamp> {
    Ok(Timestamp::from_micros(get::<Time>(row, column)?.0))
}

/// Reads a decimal.
pub(super) fn dec(row: &Row, column: usize) -> Result<Dec> {
    Ok(Dec(get::<Numeric>(row, column)?.0))
}

/// Reads a decimal, where there is one.
pub(super) fn optional_dec(row: &Row, column: usize) -> Result<Option<Dec>> {
    Ok(get::<Option<Numeric>>(row, column)?.map(|Numeric(value)| Dec(value)))
}

/// Reads a word.
pub(super) fn word<T: Copy>(words: &Words<T>, row: &Row, column: usize) -> Result<T> {
    words::of_text(words, get(row, column)?).ok_or_else(|| damaged("a word"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn there_and_back(value: Decimal) -> Decimal {
        let mut bytes = BytesMut::new();
        Numeric(value).put(&mut bytes);
        Numeric::read(&bytes).unwrap()
    }

    proptest! {
        #[test]
        fn every_decimal_comes_back_without_zeros_at_its_end(
            mantissa in -79_228_162_514_264_337_593_543_950_335_i128..=79_228_162_514_264_337_593_543_950_335,
            shorter in 0..29_u32, scale in 0..=28_u32,
        ) {
            let value = Decimal::try_from_i128_with_scale(mantissa / 10_i128.pow(shorter), scale).unwrap();
            let back = there_and_back(value);
            prop_assert_eq!(back, value);
            prop_assert_eq!(back.scale(), value.normalize().scale());
        }
    }

    #[test]
    fn zero_has_no_digits_and_no_sign() {
        let mut bytes = BytesMut::new();
        Numeric(-Decimal::new(0, 3)).put(&mut bytes);
        assert_eq!(bytes.as_ref(), [0; 8]);
    }

    #[test]
    fn a_time_beyond_the_servers_is_its_infinity() {
        assert_eq!((Time(i64::MIN).binary(), Time(i64::MAX).binary()), (i64::MIN, i64::MAX));
        assert_eq!(Time(EPOCH_US).binary(), 0);
        let year_0 = Timestamp::parse("0000-01-01T00:00:00.000001Z").unwrap();
        assert_eq!(Time::of(year_0).binary(), year_0.micros() - EPOCH_US);
    }
}
