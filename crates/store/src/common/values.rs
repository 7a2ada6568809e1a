//! Values that every store orders and sums alike: UUIDs, places in the log, the
//! ends of pages, and sums that are exact or refused.
//!
//! Not here: how they lie in a store.

use rust_decimal::{Decimal, RoundingStrategy};
use tapedeck_contracts::Timestamp;

use crate::{Origin, PageKey, Result, StoreError};

/// Only the form that is written back byte for byte: 36 bytes, lower case.
pub(crate) fn parse_uuid(text: &[u8]) -> Option<[u8; 16]> {
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

/// The usual form of a UUID.
pub(crate) fn format_uuid(bytes: &[u8]) -> String {
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

const OFFSET_BITS: u32 = 48;

/// Partition and offset as one number that sorts as the pair does.
///
/// # Errors
/// Beyond 2^15 partitions or 2^48 offsets: fatal, since no log has them.
pub(crate) fn place(origin: &Origin) -> Result<i64> {
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
pub(crate) fn key(time_us: i64, place: i64) -> PageKey {
    let place = place.unsigned_abs();
    PageKey {
        timestamp: Timestamp::from_micros(time_us),
        partition: u32::try_from(place >> OFFSET_BITS).expect("invariant: 15 bits"),
        offset: place & ((1 << OFFSET_BITS) - 1),
    }
}

/// The exclusive upper end of a newest-first page, as (time, place).
pub(crate) fn upper_end(to: Option<Timestamp>, after: Option<PageKey>) -> (i64, i64) {
    let to = to.map_or((i64::MAX, i64::MAX), |to| (to.micros(), i64::MIN));
    let after = after.map_or((i64::MAX, i64::MAX), |key| {
        (key.timestamp.micros(), pack(key.partition, key.offset).unwrap_or(i64::MAX))
    });
    to.min(after)
}

/// The inclusive lower end.
pub(crate) fn lower_end(from: Option<Timestamp>) -> i64 {
    from.map_or(i64::MIN, Timestamp::micros)
}

/// A limit as SQL takes it.
pub(crate) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// Decimals that money and turnover are kept with.
pub(crate) const MONEY_DECIMALS: u32 = 8;

/// The sum, exact; none where it has more digits than a decimal holds.
pub(crate) fn exact_sum(a: Decimal, b: Decimal) -> Option<Decimal> {
    let scale = a.scale().max(b.scale());
    let aligned = |value: Decimal| value.mantissa().checked_mul(10_i128.checked_pow(scale - value.scale())?);
    let sum = aligned(a)?.checked_add(aligned(b)?)?;
    Decimal::try_from_i128_with_scale(sum, scale).ok().map(|sum| sum.normalize())
}

/// amount · part / whole, rounded half to even to 8 decimals; none where it does
/// not fit.
pub(crate) fn money_share(amount: Decimal, part: Decimal, whole: Decimal) -> Option<Decimal> {
    if part == whole || whole.is_zero() {
        return Some(amount);
    }
    let share = amount.checked_mul(part)?.checked_div(whole)?;
    Some(share.round_dp_with_strategy(MONEY_DECIMALS, RoundingStrategy::MidpointNearestEven).normalize())
}

/// The product, rounded once, half to even, to 8 decimals; none where it is too large.
pub(crate) fn money_product(a: Decimal, b: Decimal) -> Option<Decimal> {
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
    use tapedeck_contracts::Dec;

    use super::*;

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
