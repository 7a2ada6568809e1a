//! Exact arithmetic of the paper broker. A product of two inputs fits an
//! `i128`, so a figure is rounded once, half to even, from its exact value;
//! what does not fit is an error, never a silently rounded number.
//!
//! Not here: what the figures mean.

use rust_decimal::{Decimal, RoundingStrategy};
use tapedeck_contracts::{
    Dec,
    decimal::{MAX_DECIMALS, MAX_SIGNIFICANT_DIGITS},
};

/// Money is rounded to so many decimals where it arises.
pub(super) const MONEY_DECIMALS: u32 = 8;

/// A figure does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a figure of the account does not fit {MAX_SIGNIFICANT_DIGITS} significant digits; trade smaller quantities or another currency"
)]
pub(super) struct Overflow;

/// Quantity times price, rounded to money.
pub(super) fn notional(quantity: Decimal, price: Decimal) -> Result<Decimal, Overflow> {
    let mantissa = quantity.mantissa().checked_mul(price.mantissa()).ok_or(Overflow)?;
    rounded(mantissa, quantity.scale() + price.scale())
}

/// So many basis points of an amount, rounded to money.
pub(super) fn bps_of(amount: Decimal, bps: Decimal) -> Result<Decimal, Overflow> {
    let mantissa = amount.mantissa().checked_mul(bps.mantissa()).ok_or(Overflow)?;
    rounded(mantissa, amount.scale() + bps.scale() + 4)
}

/// `amount · part / whole`, rounded to money; `whole` is more than 0.
pub(super) fn share_of(amount: Decimal, part: Decimal, whole: Decimal) -> Result<Decimal, Overflow> {
    let amount = shifted(amount, MONEY_DECIMALS)?;
    let (part, whole) = aligned(part, whole)?;
    let mantissa = match amount.checked_mul(part) {
        Some(product) => div_half_even(product, whole),
        None => long_share(amount, part, whole).ok_or(Overflow)?,
    };
    Decimal::try_from_i128_with_scale(mantissa, MONEY_DECIMALS).map_err(|_| Overflow)
}

/// An exact sum.
pub(super) fn plus(a: Decimal, b: Decimal) -> Result<Decimal, Overflow> {
    if a.is_zero() {
        return Ok(b);
    }
    if b.is_zero() {
        return Ok(a);
    }
    let sum = a.checked_add(b).ok_or(Overflow)?;
    // `checked_add` makes room by dropping decimals; that would be a rounded sum.
    if sum.scale() < a.scale().max(b.scale()) && !sum.is_zero() { Err(Overflow) } else { Ok(sum) }
}

/// An exact difference.
pub(super) fn minus(a: Decimal, b: Decimal) -> Result<Decimal, Overflow> {
    plus(a, -b)
}

/// The largest multiple of `step` that is not above a value of 0 or more.
pub(super) fn floor_to(value: Decimal, step: Decimal) -> Result<Decimal, Overflow> {
    to_grid(value.mantissa(), value.scale(), step, false)
}

/// `price` moved by `bps` against a buyer (`up`) or a seller, then to the tick
/// in the same direction. Without a tick the grid is the finest that the
/// contract can carry.
pub(super) fn slipped(price: Decimal, bps: Decimal, tick: Option<Decimal>, up: bool) -> Result<Decimal, Overflow> {
    let whole = 10_i128.pow(bps.scale() + 4);
    let factor = if up { whole + bps.mantissa() } else { whole - bps.mantissa() };
    let mantissa = price.mantissa().checked_mul(factor).ok_or(Overflow)?;
    let scale = price.scale() + bps.scale() + 4;
    let step = match tick {
        Some(tick) => tick,
        None if bps.is_zero() => return Ok(price),
        None => Decimal::new(1, MAX_DECIMALS.min(18_u32.saturating_sub(integer_digits(price)))),
    };
    to_grid(mantissa, scale, step, up)
}

/// A limit price on the tick, on the side that is better for the order.
pub(super) fn limit_on_tick(limit: Decimal, tick: Option<Decimal>, buy: bool) -> Result<Decimal, Overflow> {
    match tick {
        None => Ok(limit),
        Some(tick) => to_grid(limit.mantissa(), limit.scale(), tick, !buy),
    }
}

/// How many lots of `volume · share` (over `price`, where volume is in the
/// quote currency) a fill may take, as a quantity: rounded down, exactly.
pub(super) fn volume_cap(
    volume: Decimal,
    share: Decimal,
    price: Option<Decimal>,
    lot: Decimal,
) -> Result<Decimal, Overflow> {
    let mantissa = volume.mantissa().checked_mul(share.mantissa()).ok_or(Overflow)?;
    let scale = volume.scale() + share.scale();
    match price {
        None => to_grid(mantissa, scale, lot, false),
        Some(price) => {
            // floor(volume · share / (price · lot)) lots: one division, no rounded quotient between.
            let lot_price = price.mantissa().checked_mul(lot.mantissa()).ok_or(Overflow)?;
            let lots = div_grid(mantissa, scale, lot_price, price.scale() + lot.scale(), false)?;
            multiple(lots, lot)
        }
    }
}

/// The middle of two prices, exact.
pub(super) fn mid(bid: Decimal, ask: Decimal) -> Result<Decimal, Overflow> {
    let sum = plus(bid, ask)?;
    let mantissa = sum.mantissa().checked_mul(5).ok_or(Overflow)?;
    Ok(Decimal::try_from_i128_with_scale(mantissa, sum.scale() + 1).map_err(|_| Overflow)?.normalize())
}

/// A sum of money or a quantity for the wire, exact: the contract takes as many
/// digits.
pub(super) fn sum(value: Decimal) -> Dec {
    Dec(value.normalize())
}

/// A price for the wire, exact.
pub(super) fn wire(value: Decimal) -> Result<Dec, Overflow> {
    let value = value.normalize();
    let limit = 10_u128.pow(MAX_SIGNIFICANT_DIGITS);
    let mut mantissa = value.mantissa().unsigned_abs();
    // Zeros at the end of a whole number carry size, not precision.
    while mantissa >= limit && value.scale() == 0 && mantissa.is_multiple_of(10) {
        mantissa /= 10;
    }
    if value.scale() > MAX_DECIMALS || mantissa >= limit { Err(Overflow) } else { Ok(Dec(value)) }
}

/// A price for display: rounded half to even to what the wire can carry.
pub(super) fn shown(value: Decimal) -> Dec {
    let decimals = MAX_DECIMALS.min(18_u32.saturating_sub(integer_digits(value)));
    Dec(value.round_dp_with_strategy(decimals, RoundingStrategy::MidpointNearestEven).normalize())
}

/// `cost / quantity` for display; zero where there is no quantity.
pub(super) fn average(cost: Decimal, quantity: Decimal) -> Dec {
    cost.checked_div(quantity).map_or(Dec::ZERO, shown)
}

/// The nearest float: one division of two whole numbers, the same on every machine.
pub(super) fn to_f64(value: Decimal) -> f64 {
    /// Beyond this a float does not hold every whole number.
    const EXACT: u128 = 1 << 53;
    let value = if value.mantissa().unsigned_abs() < EXACT { value } else { value.normalize() };
    value.mantissa() as f64 / POWERS[value.scale() as usize]
}

/// A float as money; what is not finite or too large is an error.
pub(super) fn from_f64(value: f64) -> Result<Decimal, Overflow> {
    let units = (value * POWERS[MONEY_DECIMALS as usize]).round();
    if !units.is_finite() || units.abs() >= 1e26 {
        return Err(Overflow);
    }
    Ok(Decimal::from_i128_with_scale(units as i128, MONEY_DECIMALS))
}

/// Powers of ten for the 28 decimals that a `Decimal` may have; written out,
/// because `powi` may differ from machine to machine.
const POWERS: [f64; 29] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22, 1e23, 1e24, 1e25, 1e26, 1e27, 1e28,
];

fn integer_digits(value: Decimal) -> u32 {
    let whole = value.mantissa().unsigned_abs() / 10_u128.pow(value.scale());
    whole.checked_ilog10().map_or(0, |log| log + 1)
}

/// Rounds to money, half to even. An amount of 10^18 or more is an error, so
/// that sums of amounts have room.
fn rounded(mantissa: i128, scale: u32) -> Result<Decimal, Overflow> {
    let (mantissa, scale) = match scale.checked_sub(MONEY_DECIMALS) {
        None | Some(0) => (mantissa, scale),
        // 10^39 is more than twice any i128: nothing is left of it.
        Some(by) => (10_i128.checked_pow(by).map_or(0, |unit| div_half_even(mantissa, unit)), MONEY_DECIMALS),
    };
    if mantissa.unsigned_abs() >= 10_u128.pow(18 + scale) {
        return Err(Overflow);
    }
    Decimal::try_from_i128_with_scale(mantissa, scale).map_err(|_| Overflow)
}

/// `n / d`, half to even; d is more than 0.
fn div_half_even(n: i128, d: i128) -> i128 {
    let (quotient, rest) = (n / d, (n % d).abs());
    let up = match rest.cmp(&(d - rest)) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => quotient % 2 != 0,
        std::cmp::Ordering::Less => false,
    };
    if up { quotient + n.signum() } else { quotient }
}

/// `n · part / whole`, half to even, where the product has no room: bit by bit,
/// with a quotient and a rest that never exceed `n` and three times `whole`.
fn long_share(n: i128, part: i128, whole: i128) -> Option<i128> {
    let (each, each_rest) = (n.abs() / whole, n.abs() % whole);
    let (mut quotient, mut rest) = (0_i128, 0_i128);
    for bit in (0..i128::BITS - part.leading_zeros()).rev() {
        let one = part >> bit & 1;
        quotient = quotient.checked_mul(2)?.checked_add(one * each)?;
        rest = rest.checked_mul(2)?.checked_add(one * each_rest)?;
        quotient = quotient.checked_add(rest / whole)?;
        rest %= whole;
    }
    let up = rest > whole - rest || (rest == whole - rest && quotient % 2 != 0);
    Some((quotient + i128::from(up)) * n.signum())
}

/// The mantissa at another, larger number of decimals.
fn shifted(value: Decimal, scale: u32) -> Result<i128, Overflow> {
    let by = scale.checked_sub(value.scale()).ok_or(Overflow)?;
    value.mantissa().checked_mul(10_i128.checked_pow(by).ok_or(Overflow)?).ok_or(Overflow)
}

fn aligned(a: Decimal, b: Decimal) -> Result<(i128, i128), Overflow> {
    let scale = a.scale().max(b.scale());
    Ok((shifted(a, scale)?, shifted(b, scale)?))
}

/// The multiple of `step` at or below (`up`: above) `mantissa / 10^scale`.
fn to_grid(mantissa: i128, scale: u32, step: Decimal, up: bool) -> Result<Decimal, Overflow> {
    let steps = div_grid(mantissa, scale, step.mantissa(), step.scale(), up)?;
    multiple(steps, step)
}

fn multiple(steps: i128, step: Decimal) -> Result<Decimal, Overflow> {
    let mantissa = steps.checked_mul(step.mantissa()).ok_or(Overflow)?;
    Ok(Decimal::try_from_i128_with_scale(mantissa, step.scale()).map_err(|_| Overflow)?.normalize())
}

/// `(n / 10^n_scale) / (d / 10^d_scale)` as a whole number, rounded down or up.
fn div_grid(n: i128, n_scale: u32, d: i128, d_scale: u32, up: bool) -> Result<i128, Overflow> {
    let scale = n_scale.max(d_scale);
    let power = |by: u32| 10_i128.checked_pow(by).ok_or(Overflow);
    let n = n.checked_mul(power(scale - n_scale)?).ok_or(Overflow)?;
    let d = d.checked_mul(power(scale - d_scale)?).ok_or(Overflow)?;
    let floor = n.div_euclid(d);
    Ok(if up && n.rem_euclid(d) != 0 { floor + 1 } else { floor })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        Decimal::from_str_exact(text).unwrap()
    }

    #[test]
    fn money_is_rounded_half_to_even_from_the_exact_product() {
        assert_eq!(notional(d("0.00000001"), d("0.5")), Ok(Decimal::ZERO));
        assert_eq!(notional(d("0.00000003"), d("0.5")), Ok(d("0.00000002")));
        assert_eq!(notional(d("-0.00000003"), d("0.5")), Ok(d("-0.00000002")));
        // 36 digits before rounding: a product cut to 28 digits first would end in ...89.
        assert_eq!(notional(d("12345678.1234567891"), d("1.0000000001")), Ok(d("12345678.12469136")));
    }

    #[test]
    fn a_share_is_rounded_once_and_keeps_the_sign() {
        assert_eq!(share_of(d("100"), d("1"), d("3")), Ok(d("33.33333333")));
        assert_eq!(share_of(d("-100"), d("2"), d("3")), Ok(d("-66.66666667")));
        assert_eq!(share_of(d("0.00000001"), d("0.5"), d("1")), Ok(Decimal::ZERO));
    }

    #[test]
    fn a_share_of_what_has_no_room_as_a_product_is_as_exact() {
        let (cost, held) = (d("123456789012345.12345678"), d("999999999999999.99999999"));
        assert_eq!(share_of(cost, held, held), Ok(cost));
        assert_eq!(share_of(-cost, d("333333333333333.33333333"), held), Ok(d("-41152263004115.04115226")));
        assert_eq!(long_share(5, 1, 2), Some(2), "half to even");
        assert_eq!(long_share(-7, 1, 2), Some(-4));
        for (n, part, whole) in [(1_000_003, 17, 99), (-77, 5, 6), (9, 0, 4), (12, 7, 7)] {
            assert_eq!(long_share(n, part, whole), Some(div_half_even(n * part, whole)));
        }
    }

    #[test]
    fn slippage_and_tick_both_go_against_the_order() {
        assert_eq!(slipped(d("100"), d("1"), Some(d("0.1")), true), Ok(d("100.1")));
        assert_eq!(slipped(d("100"), d("1"), Some(d("0.1")), false), Ok(d("99.9")));
        assert_eq!(slipped(d("100"), d("1"), None, true), Ok(d("100.01")));
        assert_eq!(slipped(d("100.03"), d("0"), Some(d("0.05")), false), Ok(d("100")));
        assert_eq!(slipped(d("0.0000000012"), d("1"), None, true), Ok(d("0.0000000013")));
    }

    #[test]
    fn a_cap_in_quote_currency_never_rounds_up() {
        // 10 % of 300 at 3 is exactly 10; at 3.0000001 it is a lot less.
        assert_eq!(volume_cap(d("300"), d("0.1"), Some(d("3")), d("1")), Ok(d("10")));
        assert_eq!(volume_cap(d("300"), d("0.1"), Some(d("3.0000001")), d("1")), Ok(d("9")));
        assert_eq!(volume_cap(d("37"), d("0.1"), None, d("0.5")), Ok(d("3.5")));
    }

    #[test]
    fn what_the_wire_cannot_carry_is_an_error() {
        assert!(wire(d("9999999999.99999999")).is_ok());
        assert_eq!(wire(d("19999999999.99999999")), Err(Overflow));
        assert_eq!(notional(d("999999999999999999"), d("999999999999999999")), Err(Overflow));
        assert_eq!(plus(d("9999999999999999999999999999"), d("0.1")), Err(Overflow));
    }
}
