//! From a record to its bytes.
//!
//! Not here: reading them back (`read`).

use tapedeck_contracts::{
    events::{Action, decision::Outcome},
    ids::MAX_ID_BYTES,
};

use super::{
    MAX_MOVED, MAX_REASON_BYTES, MAX_REASONS, Previous, Record, RecordError, VERSION, WITH_MORE,
    wire::{put_decimal, put_id, put_text, put_varint},
};
use crate::forensics::feature_set::MAX_NAMES;

/// Bits of the flags.
pub(super) const REJECTED: u8 = 1 << 2;
pub(super) const ACCOUNT: u8 = 1 << 3;
pub(super) const POSITION: u8 = 1 << 4;
pub(super) const CORRELATION: u8 = 1 << 5;
/// The correlation id is the decision's own.
pub(super) const SAME_CORRELATION: u8 = 1 << 6;
pub(super) const PREVIOUS: u8 = 1 << 7;

/// Bits of what the second version has beside the first.
pub(super) const FAILED_CHECKS: u8 = 1;
pub(super) const SIGNAL: u8 = 1 << 1;
pub(super) const SIGNAL_CONFIDENCE: u8 = 1 << 2;

/// How a feature's value is kept, two bits each.
pub(super) const MISSING: u8 = 0;
pub(super) const SINGLE: u8 = 1;
pub(super) const DOUBLE: u8 = 2;

impl Record {
    /// Appends the record to `out`. Takes no memory but what `out` has not yet.
    ///
    /// # Errors
    /// A number that is not finite, an id, text or list that is empty or too long.
    /// `out` is then as before.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), RecordError> {
        self.check()?;
        let has_more = !self.failed_checks.is_empty() || self.signal.is_some();
        out.push(if has_more { WITH_MORE } else { VERSION });
        put_varint(out, u64::from(self.chain));
        put_varint(out, self.index);
        out.extend_from_slice(&self.feature_set.0);
        out.push(self.flags());
        out.extend_from_slice(&self.time.micros().to_le_bytes());
        put_id(out, &self.decision_id);
        match &self.correlation_id {
            Some(id) if *id != self.decision_id => put_id(out, id),
            _ => {}
        }
        if let Some(account) = &self.account {
            put_id(out, account);
        }
        put_id(out, &self.symbol);
        put_decimal(out, self.quantity);
        if let Some(position) = self.position_before {
            put_decimal(out, position);
        }
        out.extend_from_slice(&self.confidence.to_le_bytes());
        put_varint(out, self.reasons.len() as u64);
        self.reasons.iter().for_each(|reason| put_text(out, reason));
        self.write_ensemble(out);
        self.write_features(out);
        if let Some(previous) = &self.previous {
            self.write_previous(previous, out);
        }
        if has_more {
            self.write_more(out);
        }
        Ok(())
    }

    fn flags(&self) -> u8 {
        let action = action_code(self.action);
        let when = |holds, flag| if holds { flag } else { 0 };
        let correlation = match &self.correlation_id {
            None => 0,
            Some(id) if *id == self.decision_id => SAME_CORRELATION,
            Some(_) => CORRELATION,
        };
        action
            | correlation
            | when(self.outcome == Outcome::Rejected, REJECTED)
            | when(self.account.is_some(), ACCOUNT)
            | when(self.position_before.is_some(), POSITION)
            | when(self.previous.is_some(), PREVIOUS)
    }

    fn write_ensemble(&self, out: &mut Vec<u8>) {
        put_varint(out, self.regime_probs.len() as u64);
        self.regime_probs.iter().for_each(|probability| out.extend_from_slice(&probability.to_le_bytes()));
        put_varint(out, self.specialists.len() as u64);
        for specialist in &self.specialists {
            put_id(out, &specialist.version);
            out.extend_from_slice(&specialist.weight.to_le_bytes());
            out.extend_from_slice(&specialist.margin.to_le_bytes());
        }
        put_varint(out, self.checks.len() as u64);
        for eight in self.checks.chunks(8) {
            out.push(eight.iter().enumerate().fold(0, |bits, (at, passed)| bits | u8::from(*passed) << at));
        }
        out.extend_from_slice(&self.base.to_le_bytes());
        out.extend_from_slice(&self.margin.to_le_bytes());
    }

    fn write_features(&self, out: &mut Vec<u8>) {
        put_varint(out, self.features.len() as u64);
        for four in self.features.chunks(4) {
            out.push(four.iter().enumerate().fold(0, |bits, (at, feature)| bits | kind(feature.value) << (2 * at)));
        }
        self.features.iter().for_each(|feature| out.extend_from_slice(&feature.contribution.to_le_bytes()));
        for value in self.features.iter().filter_map(|feature| feature.value) {
            match kind(Some(value)) {
                SINGLE => out.extend_from_slice(&(value as f32).to_le_bytes()),
                _ => out.extend_from_slice(&value.to_le_bytes()),
            }
        }
    }

    fn write_previous(&self, previous: &Previous, out: &mut Vec<u8>) {
        put_varint(out, self.index - previous.index);
        out.push(action_code(previous.action));
        out.extend_from_slice(&previous.margin.to_le_bytes());
        for list in [&previous.regime_probs, &previous.weights] {
            put_varint(out, list.len() as u64);
            list.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        }
        put_varint(out, previous.moved.len() as u64);
        for moved in &previous.moved {
            put_varint(out, moved.feature as u64);
            out.extend_from_slice(&moved.before.to_le_bytes());
        }
    }

    /// What the second version has beside the first.
    fn write_more(&self, out: &mut Vec<u8>) {
        let when = |holds, flag| if holds { flag } else { 0 };
        let confidence = self.signal.as_ref().and_then(|signal| signal.confidence);
        out.push(
            when(!self.failed_checks.is_empty(), FAILED_CHECKS)
                | when(self.signal.is_some(), SIGNAL)
                | when(confidence.is_some(), SIGNAL_CONFIDENCE),
        );
        if !self.failed_checks.is_empty() {
            put_varint(out, self.failed_checks.len() as u64);
            for failed in &self.failed_checks {
                put_varint(out, failed.check as u64);
                put_decimal(out, failed.value);
                put_decimal(out, failed.limit);
            }
        }
        if let Some(signal) = &self.signal {
            put_id(out, &signal.strategy_id);
            out.push(action_code(signal.action));
            confidence.iter().for_each(|confidence| out.extend_from_slice(&confidence.to_le_bytes()));
        }
    }

    fn check(&self) -> Result<(), RecordError> {
        let ids = [("decision_id", Some(&self.decision_id)), ("symbol", Some(&self.symbol))];
        let ids = ids.into_iter().chain([("correlation_id", self.correlation_id.as_ref())]);
        let strategy = self.signal.as_ref().map(|signal| &signal.strategy_id);
        let ids = ids.chain([("account", self.account.as_ref()), ("signal", strategy)]);
        let versions = self.specialists.iter().map(|specialist| ("a version", Some(&specialist.version)));
        for (field, id) in ids.chain(versions) {
            fits(id.is_none_or(|id| !id.is_empty() && id.len() <= MAX_ID_BYTES), field, "is empty or too long")?;
        }
        let reasons_fit = self.reasons.iter().all(|reason| reason.len() <= MAX_REASON_BYTES);
        fits(self.reasons.len() <= MAX_REASONS && reasons_fit, "reasons", "are too many or too long")?;
        for (field, count) in [
            ("regime_probs", self.regime_probs.len()),
            ("specialists", self.specialists.len()),
            ("risk_checks", self.checks.len()),
            ("features", self.features.len()),
        ] {
            fits(count <= MAX_NAMES, field, "are too many")?;
        }
        let places = self.failed_checks.iter().map(|failed| failed.check);
        let is_sorted = places.clone().is_sorted_by(|one, next| one < next);
        let is_known = places.clone().all(|place| self.checks.get(place) == Some(&false));
        fits(is_sorted && is_known, "failed_checks", "are not checks that failed, in their order")?;
        let finite = |field, is_finite| fits(is_finite, field, "is not finite");
        finite("confidence", self.confidence.is_finite())?;
        let sure = self.signal.as_ref().and_then(|signal| signal.confidence);
        finite("the signal's confidence", sure.is_none_or(f64::is_finite))?;
        finite("base", self.base.is_finite())?;
        finite("margin", self.margin.is_finite())?;
        finite("a regime's probability", self.regime_probs.iter().all(|probability| probability.is_finite()))?;
        finite("a specialist's weight", self.specialists.iter().all(|specialist| specialist.weight.is_finite()))?;
        finite("a specialist's margin", self.specialists.iter().all(|specialist| specialist.margin.is_finite()))?;
        finite("a contribution", self.features.iter().all(|feature| feature.contribution.is_finite()))?;
        finite("a feature's value", self.features.iter().all(|feature| feature.value.is_none_or(f64::is_finite)))?;
        self.previous.as_ref().map_or(Ok(()), |previous| self.check_previous(previous))
    }

    fn check_previous(&self, previous: &Previous) -> Result<(), RecordError> {
        let fits = |holds, what| fits(holds, "previous", what);
        fits(previous.index < self.index, "is not before it in the chain")?;
        fits([0, self.regime_probs.len()].contains(&previous.regime_probs.len()), "has other regimes")?;
        fits([0, self.specialists.len()].contains(&previous.weights.len()), "has other specialists")?;
        fits(previous.moved.len() <= MAX_MOVED, "has too many features that moved")?;
        fits(previous.moved.iter().all(|moved| moved.feature < self.features.len()), "has unknown features")?;
        let mut numbers = previous.regime_probs.iter().chain(&previous.weights).chain([&previous.margin]);
        let is_finite = numbers.all(|number| number.is_finite());
        fits(
            is_finite && previous.moved.iter().all(|moved| moved.before.is_finite()),
            "has a number that is not finite",
        )
    }
}

fn fits(holds: bool, field: &'static str, what: &'static str) -> Result<(), RecordError> {
    if holds { Ok(()) } else { Err(RecordError::Unfit { field, what }) }
}

pub(super) const fn action_code(action: Action) -> u8 {
    match action {
        Action::Buy => 0,
        Action::Sell => 1,
        Action::Hold => 2,
    }
}

/// Four bytes are enough where they give the value back to the last bit.
pub(super) fn kind(value: Option<f64>) -> u8 {
    match value {
        None => MISSING,
        Some(value) if f64::from(value as f32).to_bits() == value.to_bits() => SINGLE,
        Some(_) => DOUBLE,
    }
}
