//! From bytes to the record that they are, checked piece by piece.
//!
//! Not here: writing them (`write`), and whether the bytes were changed (`chain`).

use tapedeck_contracts::{
    Timestamp,
    events::{
        Action,
        decision::{AskingSignal, Outcome},
    },
    ids::MAX_ID_BYTES,
};

use super::{
    FailedCheck, Feature, MAX_MOVED, MAX_REASON_BYTES, MAX_REASONS, Moved, Previous, Record, RecordError, Specialist,
    VERSION, WITH_MORE,
    wire::{Cursor, Wrong},
    write::{
        ACCOUNT, CORRELATION, DOUBLE, FAILED_CHECKS, MISSING, POSITION, PREVIOUS, REJECTED, SAME_CORRELATION, SIGNAL,
        SIGNAL_CONFIDENCE, SINGLE, kind,
    },
};
use crate::forensics::{FeatureSetId, feature_set::MAX_NAMES};

impl Record {
    /// Reads the bytes of one record. Whatever the bytes are, it ends with a record
    /// that [`write`](Self::write) gives the same bytes for, or with an error.
    ///
    /// # Errors
    /// A version that is not known here, or bytes that make no record.
    pub fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        match bytes.first() {
            Some(&(VERSION | WITH_MORE)) => {}
            Some(&version) => return Err(RecordError::Version(version)),
            None => return Err(RecordError::Broken { field: "version", what: "it ends too early", at: 0 }),
        }
        let mut reader = Reader { cursor: Cursor::new(bytes), field: "version" };
        reader.record().map_err(|what| RecordError::Broken { field: reader.field, what, at: reader.cursor.at() })
    }
}

/// Reads and remembers which part it is at.
struct Reader<'a> {
    cursor: Cursor<'a>,
    field: &'static str,
}

impl<'a> Reader<'a> {
    fn at(&mut self, field: &'static str) -> &mut Cursor<'a> {
        self.field = field;
        &mut self.cursor
    }

    fn record(&mut self) -> Result<Record, Wrong> {
        let mut record = Record::default();
        let has_more = self.at("version").byte()? == WITH_MORE;
        record.chain = u32::try_from(self.at("chain").varint()?).map_err(|_| "a number that is too large")?;
        record.index = self.at("index").varint()?;
        record.feature_set = FeatureSetId(self.at("feature_set").array()?);
        let flags = self.at("flags").byte()?;
        record.action = action(flags & 3)?;
        record.outcome = if flags & REJECTED == 0 { Outcome::Accepted } else { Outcome::Rejected };
        record.time = Timestamp::from_micros(i64::from_le_bytes(self.at("time").array()?));
        record.decision_id = self.id("decision_id")?;
        record.correlation_id = match (flags & CORRELATION != 0, flags & SAME_CORRELATION != 0) {
            (false, false) => None,
            (false, true) => Some(record.decision_id.clone()),
            (true, false) => Some(self.id("correlation_id")?),
            (true, true) => return Err("two correlation ids"),
        };
        if flags & CORRELATION != 0 && record.correlation_id.as_ref() == Some(&record.decision_id) {
            return Err("the decision's id in a longer form than it needs");
        }
        record.account = if flags & ACCOUNT == 0 { None } else { Some(self.id("account")?) };
        record.symbol = self.id("symbol")?;
        record.quantity = self.at("quantity").decimal()?;
        record.position_before = if flags & POSITION == 0 { None } else { Some(self.at("position_before").decimal()?) };
        record.confidence = self.at("confidence").f64()?;
        for _ in 0..self.at("reasons").count(MAX_REASONS)? {
            record.reasons.push(self.cursor.text(MAX_REASON_BYTES)?.to_owned());
        }
        self.ensemble(&mut record)?;
        self.features(&mut record)?;
        if flags & PREVIOUS != 0 {
            record.previous = Some(self.previous(&record)?);
        }
        if has_more {
            self.more(&mut record)?;
        }
        self.at("the end").end()?;
        Ok(record)
    }

    fn id(&mut self, field: &'static str) -> Result<String, Wrong> {
        let id = self.at(field).id(MAX_ID_BYTES)?;
        if id.is_empty() { Err("an empty id") } else { Ok(id) }
    }

    fn ensemble(&mut self, record: &mut Record) -> Result<(), Wrong> {
        for _ in 0..self.at("regime_probs").count(MAX_NAMES)? {
            record.regime_probs.push(self.cursor.f64()?);
        }
        for _ in 0..self.at("specialists").count(MAX_NAMES)? {
            let version = self.id("specialists")?;
            record.specialists.push(Specialist { version, weight: self.cursor.f64()?, margin: self.cursor.f32()? });
        }
        // A count of bits, not of bytes: so the bytes left do not bound it.
        let count = self.at("risk_checks").varint()?;
        let count =
            usize::try_from(count).ok().filter(|count| *count <= MAX_NAMES).ok_or("a count that is too large")?;
        let bits = self.cursor.take(count.div_ceil(8))?;
        record.checks.extend((0..count).map(|at| bits[at / 8] >> (at % 8) & 1 == 1));
        no_bits_from(bits, count)?;
        record.base = self.at("base").f64()?;
        record.margin = self.at("margin").f64()?;
        Ok(())
    }

    fn features(&mut self, record: &mut Record) -> Result<(), Wrong> {
        let count = self.at("features").count(MAX_NAMES)?;
        let kinds = self.cursor.take(count.div_ceil(4))?;
        no_bits_from(kinds, 2 * count)?;
        for _ in 0..count {
            record.features.push(Feature { value: None, contribution: self.cursor.f32()? });
        }
        for (at, feature) in record.features.iter_mut().enumerate() {
            feature.value = match kinds[at / 4] >> (2 * (at % 4)) & 3 {
                MISSING => None,
                SINGLE => Some(f64::from(self.cursor.f32()?)),
                DOUBLE => Some(self.cursor.f64()?).filter(|value| kind(Some(*value)) == DOUBLE),
                _ => return Err("a value of no kind"),
            };
            if feature.value.is_none() && kinds[at / 4] >> (2 * (at % 4)) & 3 == DOUBLE {
                return Err("a value in a longer form than it needs");
            }
        }
        Ok(())
    }

    fn previous(&mut self, record: &Record) -> Result<Previous, Wrong> {
        let back = self.at("previous").varint()?;
        if back == 0 {
            return Err("a decision that is its own predecessor");
        }
        let index = record.index.checked_sub(back).ok_or("a decision before the chain's start")?;
        let action = action(self.cursor.byte()?)?;
        let margin = self.cursor.f32()?;
        let regime_probs = self.none_or_all(record.regime_probs.len())?;
        let weights = self.none_or_all(record.specialists.len())?;
        let mut moved = Vec::new();
        for _ in 0..self.cursor.count(MAX_MOVED)? {
            let feature = self.cursor.varint()?;
            let feature = usize::try_from(feature).ok().filter(|feature| *feature < record.features.len());
            moved.push(Moved { feature: feature.ok_or("a feature out of range")?, before: self.cursor.f32()? });
        }
        Ok(Previous { index, action, margin, regime_probs, weights, moved })
    }

    /// What the second version has beside the first.
    fn more(&mut self, record: &mut Record) -> Result<(), Wrong> {
        let flags = self.at("what there is more").byte()?;
        if flags & (FAILED_CHECKS | SIGNAL) == 0
            || flags >> 3 != 0
            || flags & (SIGNAL | SIGNAL_CONFIDENCE) == SIGNAL_CONFIDENCE
        {
            return Err("bits that mean nothing");
        }
        if flags & FAILED_CHECKS != 0 {
            let count = self.at("failed_checks").count(record.checks.len())?;
            if count == 0 {
                return Err("a list of nothing");
            }
            let mut next = 0;
            for _ in 0..count {
                let check = usize::try_from(self.cursor.varint()?).map_err(|_| "a number that is too large")?;
                if check < next || record.checks.get(check) != Some(&false) {
                    return Err("no check that failed, or one out of its order");
                }
                next = check + 1;
                let (value, limit) = (self.cursor.decimal()?, self.cursor.decimal()?);
                record.failed_checks.push(FailedCheck { check, value, limit });
            }
        }
        if flags & SIGNAL != 0 {
            let strategy_id = self.id("signal")?;
            let action = action(self.cursor.byte()?)?;
            let confidence = if flags & SIGNAL_CONFIDENCE == 0 { None } else { Some(self.cursor.f64()?) };
            record.signal = Some(AskingSignal { strategy_id, action, confidence });
        }
        Ok(())
    }

    fn none_or_all(&mut self, all: usize) -> Result<Vec<f32>, Wrong> {
        let count = self.cursor.count(all)?;
        if count != 0 && count != all {
            return Err("a list of another length");
        }
        (0..count).map(|_| self.cursor.f32()).collect()
    }
}

fn action(code: u8) -> Result<Action, Wrong> {
    match code {
        0 => Ok(Action::Buy),
        1 => Ok(Action::Sell),
        2 => Ok(Action::Hold),
        _ => Err("no action"),
    }
}

/// Bits from `used` on are zero.
fn no_bits_from(bytes: &[u8], used: usize) -> Result<(), Wrong> {
    match bytes.last() {
        Some(last) if !used.is_multiple_of(8) && last >> (used % 8) != 0 => Err("bits after its end"),
        _ => Ok(()),
    }
}
