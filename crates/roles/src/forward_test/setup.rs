//! What the paper broker is set up with, and what can be wrong with it.
//!
//! Not here: reading the config file, which the binary does.

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use tapedeck_contracts::ids::MAX_ID_BYTES;

use super::config::{BrokerConfig, EssConfig, RiskConfig, SessionConfig, TradeSource};
use crate::{instruments::Instrument, market::config::VolumeUnit};

/// What the broker must know of a market source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceInfo {
    /// The name that its events carry.
    pub id: String,
    /// The venue of its events, where they do not say.
    pub venue: String,
    /// What its volume counts.
    pub volume_unit: VolumeUnit,
}

/// Everything the broker is set up with.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerSetup {
    /// The accounts that trade.
    pub sessions: Vec<SessionConfig>,
    /// What is known of instruments; others have no tick, a lot of 1e-8 and
    /// the quote currency of the account.
    pub instruments: Vec<Instrument>,
    /// Orders and costs.
    pub broker: BrokerConfig,
    /// Margin and drawdown.
    pub risk: RiskConfig,
    /// The emergency stop.
    pub ess: EssConfig,
    /// Where prices come from.
    pub sources: Vec<SourceInfo>,
}

impl BrokerSetup {
    /// What is wrong, each with its key and the remedy; empty where nothing is.
    pub fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        self.check_sessions(&mut wrong);
        self.check_instruments(&mut wrong);
        self.check_broker(&mut wrong);
        self.check_risk(&mut wrong);
        wrong
    }

    /// Whether a session trades decisions.
    pub fn trades_decisions(&self) -> bool {
        self.sessions.iter().any(|session| session.source == TradeSource::Decisions)
    }

    fn check_sessions(&self, wrong: &mut Vec<String>) {
        let (mut ids, mut accounts) = (BTreeSet::new(), BTreeSet::new());
        for (i, session) in self.sessions.iter().enumerate() {
            let key = format!("sessions[{i}]");
            if session.id.is_empty() || session.id.len() > MAX_ID_BYTES {
                wrong.push(format!("{key}.id: expected 1 to {MAX_ID_BYTES} bytes, found {}", session.id.len()));
            }
            if session.account.is_empty() || session.account.len() > MAX_ID_BYTES {
                wrong.push(format!(
                    "{key}.account: expected 1 to {MAX_ID_BYTES} bytes, found {}",
                    session.account.len()
                ));
            }
            if !ids.insert(&session.id) {
                wrong.push(format!("{key}.id: `{}` is the id of an earlier session; give each its own", session.id));
            }
            if !accounts.insert(&session.account) {
                let account = &session.account;
                wrong.push(format!(
                    "{key}.account: `{account}` belongs to an earlier session; give each session an account of its own"
                ));
            }
            if !self.sources.iter().any(|source| source.id == session.market_source) {
                let known: Vec<&str> = self.sources.iter().map(|source| source.id.as_str()).collect();
                let known = if known.is_empty() {
                    "there are none".to_owned()
                } else {
                    format!("there are: {}", known.join(", "))
                };
                wrong.push(format!(
                    "{key}.market_source: no source is named `{}` ({known}); name one of [[sources]]",
                    session.market_source
                ));
            }
            if *session.starting_equity <= Decimal::ZERO {
                wrong.push(format!("{key}.starting_equity: expected more than 0, found {}", session.starting_equity));
            }
            if session.max_gross.is_some_and(|max| *max <= Decimal::ZERO) {
                wrong.push(format!("{key}.max_gross: expected more than 0; leave it out to use the starting equity"));
            }
            if session.currency.is_empty() {
                wrong.push(format!("{key}.currency: expected a currency such as \"USD\""));
            }
        }
    }

    fn check_instruments(&self, wrong: &mut Vec<String>) {
        let mut seen = BTreeSet::new();
        for (i, instrument) in self.instruments.iter().enumerate() {
            let key = format!("instruments[{i}]");
            let name = format!("{}/{}", instrument.venue, instrument.symbol);
            if !seen.insert((&instrument.venue, &instrument.symbol)) {
                wrong.push(format!("{key}: {name} is listed twice; keep one"));
            }
            if instrument.tick.is_some_and(|tick| *tick <= Decimal::ZERO) {
                wrong.push(format!("{key}.tick: expected more than 0; leave it out to turn it off"));
            }
            if *instrument.lot <= Decimal::ZERO {
                wrong.push(format!("{key}.lot: expected more than 0, found {}", instrument.lot));
            }
            if instrument.margin_rate.is_some_and(|rate| *rate < Decimal::ZERO) {
                wrong.push(format!("{key}.margin_rate: expected 0 or more, such as \"0.05\" for 5 %"));
            }
            for session in &self.sessions {
                let at_venue =
                    self.sources.iter().any(|s| s.id == session.market_source && s.venue == instrument.venue);
                if at_venue && session.currency != instrument.quote_currency {
                    wrong.push(format!(
                        "{key}.quote_currency: {name} is quoted in {} and account `{}` of session `{}` is in {}; \
                         currencies are never added together: set the session's currency to {} or take the instrument out",
                        instrument.quote_currency,
                        session.account,
                        session.id,
                        session.currency,
                        instrument.quote_currency
                    ));
                }
            }
        }
    }

    fn check_broker(&self, wrong: &mut Vec<String>) {
        /// A longer way to the venue is a slip of the hand.
        const DAY_MS: u64 = 86_400_000;
        /// 100 %: so is a commission or slippage of all there is.
        const ALL_BPS: Decimal = Decimal::from_parts(10_000, 0, 0, false, 0);
        let broker = &self.broker;
        for (key, bps) in [
            ("broker.taker_commission_bps", broker.taker_commission_bps),
            ("broker.maker_commission_bps", broker.maker_commission_bps),
        ] {
            if bps.abs() >= ALL_BPS {
                wrong.push(format!("{key}: expected basis points between -10000 and 10000, found {bps}"));
            }
        }
        if *broker.slippage_bps < Decimal::ZERO || *broker.slippage_bps >= ALL_BPS {
            wrong.push(format!("broker.slippage_bps: expected 0 to 10000, found {}", broker.slippage_bps));
        }
        if *broker.volume_share <= Decimal::ZERO || *broker.volume_share > Decimal::ONE {
            wrong.push(format!(
                "broker.volume_share: expected more than 0 and at most 1, found {}",
                broker.volume_share
            ));
        }
        if broker.latency_ms > DAY_MS {
            wrong.push(format!("broker.latency_ms: expected at most a day ({DAY_MS}), found {}", broker.latency_ms));
        }
        if broker.metrics_interval_ms == 0 {
            wrong.push("broker.metrics_interval_ms: expected 1 or more".into());
        }
    }

    fn check_risk(&self, wrong: &mut Vec<String>) {
        if jiff::tz::TimeZone::get(&self.risk.zone).is_err() {
            wrong.push(format!(
                "risk.zone: `{}` is no time zone; use an IANA name such as \"UTC\" or \"America/New_York\"",
                self.risk.zone
            ));
        }
        if *self.risk.margin_rate < Decimal::ZERO {
            wrong.push(format!("risk.margin_rate: expected 0 or more, found {}", self.risk.margin_rate));
        }
        if self.risk.days_per_year == 0 {
            wrong.push("risk.days_per_year: expected 1 or more, such as 365 or 252".into());
        }
        if !(0.0..=100.0).contains(&self.ess.daily_drawdown_pct) {
            let found = self.ess.daily_drawdown_pct;
            wrong.push(format!("ess.daily_drawdown_pct: expected 0 (off) to 100, found {found}"));
        }
    }
}
