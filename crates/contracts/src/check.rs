//! Small checks that many events share: each looks at one field and names it
//! when it lies.
//!
//! Not here: what fields say together, which each event knows itself.

use serde::Serialize;

use crate::{Dec, FieldError, ids::MAX_ID_BYTES};

/// Weights and probabilities may miss 1 by this much (contract 3.3).
const SUM_TOLERANCE: f64 = 1e-6;
/// Probabilities from elsewhere are often rounded to two digits.
const ROUNDED_SUM_TOLERANCE: f64 = 0.02;

/// What a check gives.
pub(crate) type Checked = Result<(), FieldError>;

/// An error where the condition does not hold; the text is made only then.
pub(crate) fn that(holds: bool, path: &str, detail: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(FieldError::new(path, detail())) }
}

/// A word of the contract as it is on the wire.
pub(crate) fn word(word: &impl Serialize) -> String {
    serde_json::to_string(word).unwrap_or_default()
}

/// An id: not empty, at most 128 bytes.
pub(crate) fn id(path: &str, id: &str) -> Checked {
    that(!id.is_empty(), path, || "expected an id, found an empty string".into())?;
    that(id.len() <= MAX_ID_BYTES, path, || {
        format!("expected an id of at most {MAX_ID_BYTES} bytes, found {} bytes", id.len())
    })
}

/// An id, where there is one.
pub(crate) fn optional_id(path: &str, given: Option<&str>) -> Checked {
    given.map_or(Ok(()), |given| id(path, given))
}

/// A text with something in it.
pub(crate) fn text(path: &str, text: &str) -> Checked {
    that(!text.trim().is_empty(), path, || "expected a text, found an empty string".into())
}

/// A version of a contract that this code reads.
pub(crate) fn version(path: &str, version: &str) -> Checked {
    that(version == "1" || version.starts_with("1."), path, || format!("expected version 1.x, found {version:?}"))
}

/// The constant that names the event in its body.
pub(crate) fn event_type(found: &str, expected: &str) -> Checked {
    that(found == expected, "$.event_type", || format!("expected {expected:?}, found {found:?}"))
}

/// A decimal over 0.
pub(crate) fn positive(path: &str, value: &Dec) -> Checked {
    that(value.is_sign_positive() && !value.is_zero(), path, || format!("expected a decimal over 0, found {value}"))
}

/// A decimal over 0, where there is one.
pub(crate) fn optional_positive(path: &str, value: Option<&Dec>) -> Checked {
    value.map_or(Ok(()), |value| positive(path, value))
}

/// A decimal of at least 0.
pub(crate) fn not_negative(path: &str, value: &Dec) -> Checked {
    that(value.is_sign_positive() || value.is_zero(), path, || {
        format!("expected a decimal of at least 0, found {value}")
    })
}

/// A decimal of at least 0, where there is one.
pub(crate) fn optional_not_negative(path: &str, value: Option<&Dec>) -> Checked {
    value.map_or(Ok(()), |value| not_negative(path, value))
}

/// A finite number.
pub(crate) fn finite(path: &str, value: f64) -> Checked {
    that(value.is_finite(), path, || format!("expected a finite number, found {value}"))
}

/// A finite number of at least 0: a percentage, a time that passed.
pub(crate) fn at_least_0(path: &str, value: f64) -> Checked {
    that(value.is_finite() && value >= 0.0, path, || format!("expected a number of at least 0, found {value}"))
}

/// A number from 0 to `most`.
pub(crate) fn up_to(path: &str, most: f64, value: f64) -> Checked {
    that((0.0..=most).contains(&value), path, || format!("expected a number from 0 to {most}, found {value}"))
}

/// Weights by name: each from 0 to 1, together 1.
pub(crate) fn weights<'a>(path: &str, weights: impl Iterator<Item = (&'a str, &'a f64)>) -> Checked {
    parts_of_1(path, weights, SUM_TOLERANCE)
}

/// Probabilities by name: each from 0 to 1, together 1, rounding allowed.
pub(crate) fn probabilities<'a>(path: &str, probabilities: impl Iterator<Item = (&'a str, &'a f64)>) -> Checked {
    parts_of_1(path, probabilities, ROUNDED_SUM_TOLERANCE)
}

fn parts_of_1<'a>(path: &str, parts: impl Iterator<Item = (&'a str, &'a f64)>, tolerance: f64) -> Checked {
    let mut sum = 0.0;
    for (name, part) in parts {
        if !(0.0..=1.0).contains(part) {
            return up_to(&format!("{path}.{name}"), 1.0, *part);
        }
        sum += part;
    }
    that((sum - 1.0_f64).abs() <= tolerance, path, || format!("expected numbers that sum to 1, found a sum of {sum}"))
}

/// How an order is priced: a limit exactly where its type has one.
pub(crate) fn limit(path: &str, order_type: crate::events::OrderType, limit: Option<&Dec>) -> Checked {
    use crate::events::OrderType;
    let wants = matches!(order_type, OrderType::Limit | OrderType::StopLimit);
    match limit {
        Some(limit) if wants => positive(path, limit),
        Some(limit) => Err(FieldError::new(path, format!("expected null for this order type, found {limit}"))),
        None => that(!wants, path, || "expected a decimal for this order type, found null".into()),
    }
}
