//! The settings in the form the broker works with.
//!
//! Not here: what a person writes, which is `config`.

use jiff::tz::TimeZone;
use rust_decimal::Decimal;

use super::{ess::EssLimits, setup::BrokerSetup};

/// Settings that every account shares.
#[derive(Clone)]
pub(super) struct Params {
    pub latency_us: i64,
    pub taker_bps: Decimal,
    pub maker_bps: Decimal,
    pub slippage_bps: Decimal,
    pub volume_share: Decimal,
    pub metrics_us: i64,
    pub zone: TimeZone,
    pub days_per_year: u32,
    pub ess: EssLimits,
}

impl Params {
    /// # Errors
    /// A setting that cannot be used; the setup was checked before.
    pub(super) fn new(setup: &BrokerSetup) -> Result<Self, String> {
        let micros = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX).saturating_mul(1_000);
        let zone = &setup.risk.zone;
        Ok(Self {
            latency_us: micros(setup.broker.latency_ms),
            taker_bps: setup.broker.taker_commission_bps.0,
            maker_bps: setup.broker.maker_commission_bps.0,
            slippage_bps: setup.broker.slippage_bps.0,
            volume_share: setup.broker.volume_share.0,
            metrics_us: micros(setup.broker.metrics_interval_ms),
            zone: TimeZone::get(zone).map_err(|error| format!("risk.zone: `{zone}`: {error}"))?,
            days_per_year: setup.risk.days_per_year,
            ess: EssLimits::new(&setup.ess)?,
        })
    }
}
