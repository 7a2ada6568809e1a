//! Every event of the contract as a type, and the enum over all of them.
//!
//! Not here: what the events do. A type of this module holds and checks words.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Body, DecodeError, EventId, FieldError, Timestamp, check, decode::decode_boxed};

pub mod alert;
pub mod decision;
pub mod execution;
pub mod market;
pub mod ops;
pub mod portfolio;
pub mod risk;
pub mod signal;
pub mod task;

pub use alert::{Alert, Severity};
pub use decision::{ModelUpdate, RegimeChange, RiskDecision, TradingDecision};
pub use execution::{
    Costs, ExecType, ExecutionReport, Fill, Liquidity, Order, OrderStatus, OrderType, Pnl, Reason, Side, TimeInForce,
};
pub use market::{MarketData, MarketKind, Subscription};
pub use ops::{AuditEntry, DashboardEvent, Health, Notification};
pub use portfolio::{ForwardTest, Portfolio, TradeExecution};
pub use risk::{Drawdown, EssState, Exposure, PositionSide, PositionView, RiskCommand, RiskMetrics};
pub use signal::{Action, Compilation, Signal, SignalBody};
pub use task::{Reminder, Task, TaskState};

/// The standard envelope (contract 3.2): when, who, what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Envelope<T> {
    /// When the producer made the event.
    pub timestamp: Timestamp,
    /// Who made it.
    pub producer_service: String,
    /// The event.
    pub data: T,
}

/// What an event inside the standard envelope can say of itself.
pub trait Data: Serialize + serde::de::DeserializeOwned {
    /// Which event of the contract this is.
    const KIND: EventKind;

    /// Checks what types cannot; paths begin at `$.data`.
    ///
    /// # Errors
    /// The first field that lies.
    fn validate(&self) -> Result<(), FieldError>;

    /// The record key that the catalogue prescribes.
    fn key(&self) -> &str;

    /// When it happened, where the data says so itself.
    fn event_time(&self) -> Option<Timestamp> {
        None
    }
}

impl<T: Data> Body for Envelope<T> {
    const KIND: EventKind = T::KIND;

    fn validate(&self) -> Result<(), FieldError> {
        check::id("$.producer_service", &self.producer_service)?;
        self.data.validate()
    }

    fn key(&self) -> &str {
        self.data.key()
    }

    fn event_time(&self) -> Timestamp {
        self.data.event_time().unwrap_or(self.timestamp)
    }
}

/// Declares the kinds, the enum over the events and the one place that leads
/// from a kind to its type.
macro_rules! events {
    ($($(#[doc = $doc:literal])+ $variant:ident($body:ty) = $name:literal,)+) => {
        /// The kinds of events of the contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventKind { $($(#[doc = $doc])+ $variant,)+ }

        impl EventKind {
            /// All of them.
            pub const ALL: &'static [EventKind] = &[$(EventKind::$variant,)+];

            /// The name in the catalogue, in `ce_type` and of the schema.
            pub const fn name(self) -> &'static str {
                match self { $(EventKind::$variant => $name,)+ }
            }

            /// The JSON Schema of the body, generated from its type.
            pub fn json_schema(self) -> schemars::Schema {
                match self { $(EventKind::$variant => schemars::schema_for!($body),)+ }
            }
        }

        /// Any event of the contract, read and checked.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Event { $($(#[doc = $doc])+ $variant(Box<$body>),)+ }

        impl Event {
            /// Reads and checks the body of an event of a known kind.
            ///
            /// # Errors
            /// Says exactly where the body is wrong.
            pub fn decode(kind: EventKind, bytes: &[u8]) -> Result<Self, DecodeError> {
                Ok(match kind { $(EventKind::$variant => Event::$variant(decode_boxed::<$body>(bytes)?),)+ })
            }

            /// Which kind it is.
            pub fn kind(&self) -> EventKind {
                match self { $(Event::$variant(_) => EventKind::$variant,)+ }
            }

            /// The record key that the catalogue prescribes.
            pub fn key(&self) -> &str {
                match self { $(Event::$variant(body) => body.key(),)+ }
            }

            /// When it happened.
            pub fn event_time(&self) -> Timestamp {
                match self { $(Event::$variant(body) => body.event_time(),)+ }
            }

            /// The id in the body, where the contract has one there.
            pub fn event_id(&self) -> Option<&EventId> {
                match self { $(Event::$variant(body) => body.event_id(),)+ }
            }

            /// The body as it goes on the wire.
            ///
            /// # Errors
            /// A number that JSON cannot carry (NaN, infinity).
            pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
                // Most bodies fit, and none grows in many small steps.
                let mut json = Vec::with_capacity(512);
                self.write_json(&mut json)?;
                Ok(json)
            }

            /// Writes the body as it goes on the wire behind what a buffer holds.
            ///
            /// # Errors
            /// A number that JSON cannot carry (NaN, infinity).
            pub fn write_json(&self, buffer: &mut Vec<u8>) -> Result<(), serde_json::Error> {
                match self { $(Event::$variant(body) => serde_json::to_writer(buffer, body),)+ }
            }
        }
    };
}

events! {
    /// A price: quote, trade or bar.
    MarketData(Envelope<MarketData>) = "market_data",
    /// A wish for the market data of a symbol.
    Subscription(Envelope<Subscription>) = "subscription",
    /// A strategy's output.
    Signal(Envelope<Signal>) = "signal",
    /// A strategy was checked and loaded, or not.
    Compilation(Envelope<Compilation>) = "compilation",
    /// A fill, for readers who want nothing else.
    TradeExecution(Envelope<TradeExecution>) = "trade_execution",
    /// An account's money and positions.
    Portfolio(Envelope<Portfolio>) = "portfolio",
    /// A session of the paper broker began, stands, or ended.
    ForwardTest(Envelope<ForwardTest>) = "forward_test",
    /// A message for a person.
    Notification(Envelope<Notification>) = "notification",
    /// A message for a screen.
    Dashboard(Envelope<DashboardEvent>) = "dashboard",
    /// How a service does.
    Health(Envelope<Health>) = "health",
    /// Who did what, and why.
    Audit(Envelope<AuditEntry>) = "audit",
    /// A decision of the trading path, taken or not.
    TradingDecision(TradingDecision) = "trading_decision",
    /// A model has a new version.
    ModelUpdate(ModelUpdate) = "model_update",
    /// The market's regime changed.
    RegimeChange(RegimeChange) = "regime_change",
    /// The risk checks of a decision.
    RiskDecision(RiskDecision) = "risk_decision",
    /// What the venue says of an order.
    ExecutionReport(ExecutionReport) = "execution_report",
    /// An account's risk.
    RiskMetrics(RiskMetrics) = "risk_metrics",
    /// Something a person should know.
    Alert(Alert) = "alert",
    /// An operator's command to the broker.
    RiskCommand(RiskCommand) = "risk_command",
    /// A task was created, updated, completed, deleted.
    Task(Task) = "task",
    /// A reminder was scheduled, triggered, acknowledged.
    Reminder(Reminder) = "reminder",
    /// The newest state of a task.
    TaskState(TaskState) = "task_state",
}

/// The version of every contract now; a second one gets files of its own.
pub const SCHEMA_VERSION: &str = "1.0";

impl EventKind {
    /// The name of the file that keeps its schema (`execution_report-1.0.json`),
    /// also the value of `ce_dataschema`'s last part.
    pub fn schema_file(self) -> String {
        format!("{}-{SCHEMA_VERSION}.json", self.name())
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for EventKind {
    type Err = DecodeError;
    fn from_str(name: &str) -> Result<Self, DecodeError> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| DecodeError::UnknownKind(name.to_owned()))
    }
}
