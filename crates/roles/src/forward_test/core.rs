//! The paper broker's core: market events, signals, decisions and commands in, reports
//! out. A function of what it is given and of its state: no clock, no I/O.
//!
//! A market event goes, in this order, through: the minute and day that it
//! ends, DAY orders that it ends, fills of orders accepted before it, the mark,
//! the emergency stop, the figures that are due. Figures are due at the first
//! event of each `metrics_interval`, a session's at the first of each hour
//! (both counted from the epoch, in event time).
//!
//! Alerts: `ESS_TRIPPED` and `PNL_MISMATCH` (critical), `SEQUENCE_GAP` (error),
//! `SIGNAL_LATE`, `DECISION_LATE` and `RISK_COMMAND_IGNORED` (warning), `ESS_COOLING` and
//! `ESS_ARMED` (info).
//!
//! Not here: reading and writing the log, and waiting for signals.

use std::collections::HashMap;

use tapedeck_contracts::{
    Event, EventId, Timestamp,
    events::{
        EssState, MarketData, RiskCommand, Severity, Signal, TimeInForce, portfolio::ForwardTestKind,
        risk::RiskCommandKind,
    },
};

use super::{
    account::{Account, AccountState},
    book,
    config::TradeSource,
    ess::{EssRecord, Passed, Trip},
    fills,
    money::Overflow,
    params::Params,
    performance::Performance,
    report::{self, Emit, reason},
    risk::Peaks,
    setup::BrokerSetup,
    state::{self, Changes},
    tape::{Price, Tape},
};

mod decision;

const HOUR_US: i64 = 3_600_000_000;

/// What the event at hand is, for ids and headers.
#[derive(Clone, Copy, Debug)]
pub struct Cause<'a> {
    /// Its id.
    pub event_id: &'a EventId,
    /// The sequencer's number of the event, or of the last market event taken.
    pub seq: Option<u64>,
}

/// An event that the broker says.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Where it goes.
    pub topic: &'static str,
    /// Derived from its cause.
    pub id: EventId,
    /// The event.
    pub event: Event,
}

/// Why the broker cannot go on. After an error the broker is in between two
/// states: drop it and restore another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// This event cannot be handled, however often it is tried.
    #[error("{0}")]
    Poison(String),
    /// Nothing can be handled.
    #[error("{0}")]
    Fatal(String),
}

impl From<Overflow> for BrokerError {
    fn from(overflow: Overflow) -> Self {
        Self::Poison(overflow.to_string())
    }
}

/// The paper broker.
#[derive(Clone)]
pub struct Broker {
    params: Params,
    tape: Tape,
    accounts: Vec<Account>,
    sessions: HashMap<String, usize>,
    ignored: u64,
    ignored_dirty: bool,
    /// Keys were restored, and what follows from them is not made yet.
    waiting: Option<state::Waiting>,
}

impl Broker {
    /// A broker whose accounts have not begun.
    ///
    /// # Errors
    /// The first thing that is wrong with the setup.
    pub fn new(setup: BrokerSetup) -> Result<Self, String> {
        if let Some(wrong) = setup.check().into_iter().next() {
            return Err(wrong);
        }
        let params = Params::new(&setup)?;
        let mut tape = Tape::new(&setup);
        let mut accounts = Vec::new();
        let mut sessions = HashMap::new();
        for session in &setup.sessions {
            let start = session.starting_equity.0;
            let source = tape.source(&session.market_source).ok_or("a session's source was checked to be there")?;
            let state = AccountState {
                currency: session.currency.clone(),
                start,
                cash: start,
                realized: Default::default(),
                commission: Default::default(),
                orders: 0,
                executions: 0,
                late_signals: 0,
                time: None,
                metrics_due: Timestamp::default(),
                session_due: Timestamp::default(),
                mismatch: false,
                peaks: Peaks::new(start),
                ess: EssRecord::new(start, &params.ess).map_err(|error| error.to_string())?,
                performance: Performance::new(start),
            };
            tape.sources[source].accounts.push(accounts.len());
            sessions.insert(session.id.clone(), accounts.len());
            accounts.push(Account::new(session, source, state));
        }
        Ok(Self { params, tape, accounts, sessions, ignored: 0, ignored_dirty: false, waiting: None })
    }

    /// Takes back a key that [`Broker::take_changed`] gave, in any order,
    /// before the first event.
    ///
    /// # Errors
    /// The value is not what this version wrote, or belongs to an account in
    /// another currency.
    pub fn restore(&mut self, key: &str, value: &[u8]) -> Result<(), String> {
        let waiting = self.waiting.get_or_insert_default();
        state::restore(&mut self.tape, &mut self.accounts, &mut self.ignored, waiting, key, value)
    }

    /// Takes a market event. One of a source that no account listens to, and a
    /// bar that is not final, change nothing.
    ///
    /// # Errors
    /// Poison: a figure that does not fit.
    pub fn market(&mut self, cause: Cause<'_>, data: &MarketData) -> Result<Vec<Output>, BrokerError> {
        self.finish_restore()?;
        let Some(source) = self.tape.source(&data.source) else { return Ok(Vec::new()) };
        let Some(price) = self.tape.read(source, data)? else { return Ok(Vec::new()) };
        let now = self.tape.advance(source, data.timestamp);
        let mut emit = Emit::new(cause, now, 0);
        let Self { params, tape, accounts, .. } = self;
        for at in 0..tape.sources[source].accounts.len() {
            let account = &mut accounts[tape.sources[source].accounts[at]];
            begin_event(account, tape, params, &mut emit)?;
            account.filled = fills::fill(account, tape, params, &price, &mut emit)?;
        }
        tape.mark(&price);
        for at in 0..tape.sources[source].accounts.len() {
            let account = &mut accounts[tape.sources[source].accounts[at]];
            finish_event(account, tape, params, &price, &mut emit)?;
        }
        Ok(emit.outputs)
    }

    /// Takes a signal. `late` says that the market event at its root was passed
    /// before it came: it is traded at once, marked, counted and alerted. Its own
    /// time, `event_time`, is told only where the account has none yet: the time
    /// of an account is that of its newest market event.
    ///
    /// # Errors
    /// Poison: a figure that does not fit.
    pub fn signal(
        &mut self,
        cause: Cause<'_>,
        signal: &Signal,
        event_time: Timestamp,
        late: bool,
    ) -> Result<Vec<Output>, BrokerError> {
        self.finish_restore()?;
        let traded = |at: &usize| self.accounts[*at].trades == TradeSource::Signals;
        let Some(at) = self.sessions.get(&signal.session_id).copied().filter(traded) else {
            self.ignore();
            return Ok(Vec::new());
        };
        let Self { params, tape, accounts, .. } = self;
        let account = &mut accounts[at];
        let now = tape.sources[account.source].state.time.unwrap_or(event_time);
        let mut emit = Emit::new(cause, now, 0);
        let symbol = tape.symbol_named(account.source, &signal.market_data.symbol);
        if late {
            let name = &signal.market_data.symbol;
            let text = format!("a signal of {} for {name} came after its market event was passed", signal.strategy_id);
            let by = [
                ("strategy_id", signal.strategy_id.as_str().into()),
                ("signal_event_id", cause.event_id.as_str().into()),
            ];
            note_late(account, "SIGNAL_LATE", text, name, &by, &mut emit);
        }
        book::take_signal(account, tape, params, symbol, signal, late, &mut emit)?;
        Ok(emit.outputs)
    }

    /// Counts a signal or decision that no account may trade: that of a market source which
    /// its session does not listen to.
    pub fn ignore(&mut self) {
        self.ignored += 1;
        self.ignored_dirty = true;
    }

    /// Takes an operator's command.
    ///
    /// # Errors
    /// Poison: a figure that does not fit.
    pub fn command(&mut self, cause: Cause<'_>, command: &RiskCommand) -> Result<Vec<Output>, BrokerError> {
        self.finish_restore()?;
        let Self { params, tape, accounts, .. } = self;
        let Some(account) = accounts.iter_mut().find(|account| account.id == command.account) else {
            let mut emit = Emit::new(cause, command.timestamp, 0);
            let text = format!("no session trades account {}; the command was not carried out", command.account);
            let named = [("account", command.account.as_str().into()), ("actor", command.actor.as_str().into())];
            emit.alert(Severity::Warning, "RISK_COMMAND_IGNORED", text, None, &named);
            return Ok(emit.outputs);
        };
        let now = account.state.time.unwrap_or(command.timestamp);
        let mut emit = Emit::new(cause, now, 0);
        match command.command {
            RiskCommandKind::Trip => {
                let text = format!("{} ({})", command.reason, command.actor);
                trip(account, tape, Trip::Operator, &text, &mut emit)?;
                if command.flatten == Some(true) {
                    book::flatten(account, tape, params, &mut emit)?;
                }
            }
            // Arming what is armed changes nothing.
            RiskCommandKind::Arm if account.state.ess.state == EssState::Armed => return Ok(Vec::new()),
            RiskCommandKind::Arm => {
                let equity = account.equity();
                account.state.ess.arm(now, equity, &params.ess)?;
                let text = format!("armed by {}: {}", command.actor, command.reason);
                emit.alert(Severity::Info, "ESS_ARMED", text, Some(&account.id), &[]);
            }
        }
        account.dirty = true;
        report::figures(&mut emit, tape, params, account)?;
        Ok(emit.outputs)
    }

    /// The alert for numbers of the sequencer, `from` to `to` inclusive, that
    /// never came; `cause` is the event after them, and `after` its time, which
    /// is the alert's where the source has none yet.
    pub fn note_gap(&mut self, source: &str, from: u64, to: u64, cause: Cause<'_>, after: Timestamp) -> Vec<Output> {
        let known = self.tape.source(source).and_then(|at| self.tape.sources[at].state.time);
        // Several gaps may be noted before one event: each has an ordinal of its own.
        let ordinal = report::GAP_ORDINALS + (from % u64::from(report::GAP_ORDINALS)) as u32;
        let mut emit = Emit::new(cause, known.unwrap_or(after), ordinal);
        let text = format!("market events {from} to {to} of source {source} never came; orders may have missed fills");
        let context = [("source", source.into()), ("from", from.into()), ("to", to.into())];
        emit.alert(Severity::Error, "SEQUENCE_GAP", text, None, &context);
        emit.outputs
    }

    /// The source has no more events: the last figures of its accounts.
    ///
    /// # Errors
    /// Poison: a figure that does not fit.
    pub fn end_of_input(&mut self, source: &str, cause: Cause<'_>) -> Result<Vec<Output>, BrokerError> {
        self.finish_restore()?;
        let Some(source) = self.tape.source(source) else { return Ok(Vec::new()) };
        let now = self.tape.sources[source].state.time.unwrap_or_default();
        let mut emit = Emit::new(cause, now, report::END_ORDINALS);
        for account in self.accounts.iter().filter(|a| a.source == source && a.state.time.is_some()) {
            report::figures(&mut emit, &self.tape, &self.params, account)?;
            report::session(&mut emit, &self.params, account, ForwardTestKind::Stopped)?;
        }
        Ok(emit.outputs)
    }

    /// The keys that changed since the last call; no value deletes.
    pub fn take_changed(&mut self) -> Vec<(String, Option<Vec<u8>>)> {
        let mut changes = Changes::new();
        if std::mem::take(&mut self.ignored_dirty) {
            changes.push(state::ignored_changed(self.ignored));
        }
        state::tape_changed(&mut self.tape, &mut changes);
        for account in &mut self.accounts {
            state::account_changed(account, &self.tape, &mut changes);
        }
        changes
    }

    /// Orders that are open, of all accounts.
    pub fn open_orders(&self) -> usize {
        self.accounts.iter().map(|account| account.orders.len()).sum()
    }

    /// Signals and decisions of no configured session, or of another source than its session's.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Signals and decisions that came after the market event at their root was passed.
    pub fn late_signals(&self) -> u64 {
        self.accounts.iter().map(|account| account.state.late_signals).sum()
    }

    /// Sortino ratio of a session so far; none under 20 days.
    pub fn sortino(&self, session: &str) -> Option<f64> {
        let account = &self.accounts[*self.sessions.get(session)?];
        account.state.performance.sortino(self.params.days_per_year)
    }

    fn finish_restore(&mut self) -> Result<(), BrokerError> {
        match self.waiting.take() {
            None => Ok(()),
            Some(waiting) => Ok(state::finish(&mut self.tape, &mut self.accounts, waiting)?),
        }
    }
}

/// Counts and alerts what came after the market event at its root was passed.
fn note_late(
    account: &mut Account,
    code: &str,
    text: String,
    symbol: &str,
    by: &[(&str, serde_json::Value)],
    emit: &mut Emit<'_>,
) {
    account.state.late_signals += 1;
    account.dirty = true;
    let own = [("symbol", symbol.into()), ("late_signals", account.state.late_signals.into())];
    emit.alert(Severity::Warning, code, text, Some(&account.id), &[by, &own].concat());
}

/// What comes before fills: the account's first event, a new day, DAY orders.
fn begin_event(account: &mut Account, tape: &Tape, params: &Params, emit: &mut Emit<'_>) -> Result<(), Overflow> {
    let now = emit.now;
    let equity = account.equity();
    let state = &mut account.state;
    let first = state.time.is_none();
    state.time = Some(now);
    account.dirty = true;
    if first {
        state.peaks.week_end = now;
        state.metrics_due = now;
        state.session_due = next_on_grid(now, HOUR_US);
        state.ess.since.get_or_insert(now);
    }
    if first || now >= state.peaks.day_end {
        if !first {
            state.performance.close_day(equity);
        }
        state.peaks.roll(now, equity, &params.zone);
        state.ess.new_peak(equity, &params.ess)?;
    }
    if first {
        let day_end = account.state.peaks.day_end;
        // DAY orders of before the first event live through its day.
        for order in account.orders.iter_mut().filter(|order| order.time_in_force == TimeInForce::Day) {
            order.expires_at.get_or_insert(day_end);
            order.dirty = true;
        }
        report::session(emit, params, account, ForwardTestKind::Started)?;
    }
    if !account.orders.is_empty() {
        book::expire(account, tape, emit)?;
    }
    Ok(())
}

/// What comes after fills: value, emergency stop, figures.
fn finish_event(
    account: &mut Account,
    tape: &Tape,
    params: &Params,
    price: &Price,
    emit: &mut Emit<'_>,
) -> Result<(), Overflow> {
    account.revalue(price.symbol, price.mark)?;
    let equity = account.equity();
    account.state.peaks.take(equity);
    account.state.ess.take_equity(equity, &params.ess)?;
    let stopped = watch(account, tape, params, emit)?;
    let state = &mut account.state;
    let due = emit.now >= state.metrics_due;
    if due {
        state.metrics_due = next_on_grid(emit.now, params.metrics_us);
    }
    if due || account.filled || stopped {
        check_identity(account, emit);
        report::figures(emit, tape, params, account)?;
    }
    if emit.now >= account.state.session_due {
        account.state.session_due = next_on_grid(emit.now, HOUR_US);
        report::session(emit, params, account, ForwardTestKind::Metrics)?;
    }
    Ok(())
}

/// The emergency stop: what time brings, then what trips. Says whether it changed.
fn watch(account: &mut Account, tape: &Tape, params: &Params, emit: &mut Emit<'_>) -> Result<bool, Overflow> {
    let (now, equity) = (emit.now, account.equity());
    let mut changed = false;
    while let Some(passed) = account.state.ess.pass_time(now, equity, &params.ess)? {
        changed = true;
        let (code, text) = match passed {
            Passed::Cooling => ("ESS_COOLING", "the hold is over; trading starts after the cool-down"),
            Passed::Armed => ("ESS_ARMED", "the cool-down is over; trading goes on"),
        };
        emit.alert(Severity::Info, code, text.into(), Some(&account.id), &[]);
    }
    if account.state.ess.state != EssState::Armed {
        return Ok(changed);
    }
    let tripped = account.state.ess.tripped_by(equity, &params.ess).or_else(|| stale(account, tape, params, now));
    if let Some((why, text)) = tripped {
        changed = true;
        trip(account, tape, why, &text, emit)?;
    }
    Ok(changed)
}

fn stale(account: &Account, tape: &Tape, params: &Params, now: Timestamp) -> Option<(Trip, String)> {
    let held = account.positions.iter().filter(|position| !position.held.quantity.is_zero());
    let stale = held
        .map(|position| &tape.symbols[position.symbol])
        .find(|symbol| account.state.ess.is_stale(now, symbol.state.time, symbol.state.interval_us, &params.ess))?;
    Some((Trip::StaleData, format!("the last price of {} is of {}", stale.name, stale.state.time)))
}

/// Stops trading: open orders are canceled, positions kept.
fn trip(account: &mut Account, tape: &Tape, why: Trip, text: &str, emit: &mut Emit<'_>) -> Result<(), Overflow> {
    account.state.ess.trip(emit.now, why, text);
    account.dirty = true;
    book::cancel(account, tape, emit, |_| Some(reason("ess_tripped", text)))?;
    let context = [
        ("reason", why.code().into()),
        ("equity", account.equity().normalize().to_string().into()),
        ("daily_drawdown_pct", account.state.peaks.drawdown(account.equity()).daily.into()),
    ];
    emit.alert(Severity::Critical, "ESS_TRIPPED", format!("trading stopped: {text}"), Some(&account.id), &context);
    Ok(())
}

/// Alerts once when Σ realized − Σ commission + unrealized is no longer what
/// the equity made.
fn check_identity(account: &mut Account, emit: &mut Emit<'_>) {
    let broken = !account.identity_holds();
    if broken && !account.state.mismatch {
        let context = [
            ("equity", account.equity().normalize().to_string().into()),
            ("starting_equity", account.state.start.normalize().to_string().into()),
            ("realized", account.state.realized.normalize().to_string().into()),
            ("commission", account.state.commission.normalize().to_string().into()),
            ("unrealized", account.unrealized().normalize().to_string().into()),
        ];
        let text = "realized - commission + unrealized is not equity - start: the account's books are wrong";
        emit.alert(Severity::Critical, "PNL_MISMATCH", text.into(), Some(&account.id), &context);
    }
    account.state.mismatch = broken;
}

/// The first multiple of `step_us` after `now`.
fn next_on_grid(now: Timestamp, step_us: i64) -> Timestamp {
    now.plus_micros(step_us.saturating_sub(now.micros().rem_euclid(step_us)))
}
