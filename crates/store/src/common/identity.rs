//! What makes two events one: the ids of events, and what a fill says.
//!
//! Not here: where it is looked up.

use tapedeck_contracts::{
    Dec, EventKind,
    events::{Costs, ExecutionReport, Fill, Order, Pnl, Reason},
};

use super::{
    values::parse_uuid,
    words::{self, code},
};
use crate::Row;

/// Kinds whose ids are kept for ever. Metrics and signals are states and hints:
/// they are compared with their neighbours of the same time only.
const KINDS: &[EventKind] = &[EventKind::ExecutionReport, EventKind::Alert, EventKind::ForwardTest];

/// The kind of an event, and its id in its short form: ids of two kinds never
/// meet. None of a kind whose ids are not kept.
pub(crate) fn event_key(row: &Row) -> Option<Vec<u8>> {
    let of = row.event.kind();
    let (_, kind) = KINDS.iter().zip(0_u8..).find(|(known, _)| **known == of)?;
    let id = row.event_id.as_str().as_bytes();
    let mut bytes = Vec::with_capacity(17);
    match parse_uuid(id) {
        Some(uuid) => {
            bytes.push(kind | 0x80);
            bytes.extend_from_slice(&uuid);
        }
        None => {
            bytes.push(kind);
            bytes.extend_from_slice(id);
        }
    }
    Some(bytes)
}

/// A hash of all that a report says, but its event id and schema version. Every
/// field is named, so that a new one is not forgotten.
pub(crate) fn content(report: &ExecutionReport) -> i64 {
    let ExecutionReport {
        event_id: _,
        schema_version: _,
        timestamp,
        account: _,
        venue: _,
        symbol: _,
        exec_type,
        decision_id,
        strategy_id,
        order,
        fill,
        costs,
        pnl,
        reason,
    } = report;
    let mut digest = Digest::default();
    digest.number(timestamp.micros());
    digest.number(code(words::EXEC_TYPES, exec_type));
    optional(&mut digest, decision_id.as_deref());
    optional(&mut digest, strategy_id.as_deref());
    of_order(&mut digest, order);
    of_fill(&mut digest, fill.as_ref());
    let Costs { commission, currency, slippage_bps } = costs;
    money(&mut digest, Some(commission));
    digest.text(currency);
    // Positive and negative zero are one number.
    digest.number((slippage_bps.map_or(f64::NAN, |bps| bps + 0.0)).to_bits().cast_signed());
    let Pnl { realized, unrealized } = pnl;
    money(&mut digest, Some(realized));
    money(&mut digest, Some(unrealized));
    let Reason { code, text } = reason.clone().unwrap_or(Reason { code: String::new(), text: String::new() });
    digest.text(&code);
    digest.text(&text);
    digest.finish()
}

fn of_order(digest: &mut Digest, order: &Order) {
    let Order {
        order_id,
        client_order_id,
        side,
        order_type,
        quantity,
        limit_price,
        time_in_force,
        status,
        cum_qty,
        leaves_qty,
        avg_px,
    } = order;
    digest.text(order_id);
    digest.text(client_order_id);
    digest.number(code(words::SIDES, side));
    digest.number(code(words::ORDER_TYPES, order_type));
    digest.number(code(words::TIMES_IN_FORCE, time_in_force));
    digest.number(code(words::STATUSES, status));
    for value in [Some(quantity), limit_price.as_ref(), Some(cum_qty), Some(leaves_qty), avg_px.as_ref()] {
        money(digest, value);
    }
}

fn of_fill(digest: &mut Digest, fill: Option<&Fill>) {
    let Some(Fill { fill_id: _, execution_number, last_qty, last_px, liquidity, ref_fill_id }) = fill else { return };
    digest.number(execution_number.map_or(-1, u64::cast_signed));
    money(digest, Some(last_qty));
    money(digest, Some(last_px));
    digest.number(code(words::LIQUIDITIES, liquidity));
    optional(digest, ref_fill_id.as_deref());
}

fn optional(digest: &mut Digest, text: Option<&str>) {
    digest.number(i64::from(text.is_some()));
    digest.text(text.unwrap_or_default());
}

/// Two decimals of the same value have the same text: no trailing zeros.
fn money(digest: &mut Digest, value: Option<&Dec>) {
    let value = value.map(|value| value.normalize());
    digest.number(value.map_or(-1, |value| i64::from(value.scale())));
    digest.bytes(&value.map_or(0, |value| value.mantissa()).to_le_bytes());
}

/// A 64-bit hash (FNV-1a with a final mix) that is the same on every machine
/// and for ever, because it is stored. Not for adversaries: whoever trusts a
/// hit compares the whole.
pub(crate) struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// A text and its end, so that two texts never run into one.
    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
        self.bytes(&[0xff]);
    }

    pub(crate) fn number(&mut self, number: i64) {
        self.bytes(&number.to_le_bytes());
    }

    pub(crate) fn finish(&self) -> i64 {
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed ^= mixed >> 33;
        i64::from_ne_bytes(mixed.to_ne_bytes())
    }
}
