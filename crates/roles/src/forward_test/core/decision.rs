//! Decisions as the paper broker trades them: what was accepted, each in its
//! account's session alone.
//!
//! Not here: making decisions, and what becomes of an order.

use tapedeck_contracts::{
    Timestamp,
    events::{Action, TradingDecision, decision::Outcome},
};

use super::{Broker, BrokerError, Cause, Emit, Output, TradeSource, book, note_late};

impl Broker {
    /// Takes a decision. A HOLD and one that was rejected never trade; one for an
    /// account that trades no decisions is counted and ignored. `late` and
    /// `event_time` are as with a signal.
    ///
    /// # Errors
    /// Poison: a figure that does not fit.
    pub fn decision(
        &mut self,
        cause: Cause<'_>,
        decision: &TradingDecision,
        event_time: Timestamp,
        late: bool,
    ) -> Result<Vec<Output>, BrokerError> {
        self.finish_restore()?;
        let Self { params, tape, accounts, .. } = self;
        let account = decision.account.as_ref().and_then(|name| {
            accounts.iter_mut().find(|account| account.id == *name && account.trades == TradeSource::Decisions)
        });
        let Some(account) = account else {
            self.ignore();
            return Ok(Vec::new());
        };
        if decision.action == Action::Hold || decision.outcome == Outcome::Rejected {
            return Ok(Vec::new());
        }
        let now = tape.sources[account.source].state.time.unwrap_or(event_time);
        let mut emit = Emit::new(cause, now, 0);
        let symbol = tape.symbol_named(account.source, &decision.symbol);
        if late {
            let text = format!("a decision for {} came after its market event was passed", decision.symbol);
            let by = [("decision_id", decision.decision_id.as_str().into())];
            note_late(account, "DECISION_LATE", text, &decision.symbol, &by, &mut emit);
        }
        book::take_decision(account, tape, params, symbol, decision, late, &mut emit)?;
        Ok(emit.outputs)
    }
}
