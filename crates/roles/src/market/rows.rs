//! From the cells of a row to a market event, checked.
//!
//! Not here: where the cells come from.

use std::borrow::Cow;

use rust_decimal::Decimal;
use tapedeck_contracts::{
    Dec, Timestamp,
    decimal::{DecimalError, MAX_DECIMALS, MAX_SIGNIFICANT_DIGITS},
    events::{MarketData, MarketKind},
};

use super::{
    columns::{Cells, Field},
    config::{BarTime, SourceConfig},
    times::{TimeReader, format_interval, parse_interval},
};

/// Turns rows of one file into events.
pub(super) struct RowMaker {
    source: String,
    venue: String,
    symbol: Option<String>,
    bar_time: BarTime,
    /// Length of the bars and its text, once it is known.
    pub(super) interval: Option<(i64, String)>,
    pub(super) times: TimeReader,
    /// Quantities that had more digits than the contract takes.
    pub(super) rounded: u64,
    /// The time of the row before, as the file has it, and its line.
    last: Option<(Timestamp, u64)>,
}

/// A cell and what is wrong with it.
pub(super) type CellError = (Option<Field>, String);

impl RowMaker {
    /// # Errors
    /// A zone, format or interval that is none.
    pub(super) fn new(config: &SourceConfig) -> Result<Self, String> {
        let interval = match &config.interval {
            None => None,
            Some(text) => Some((parse_interval(text)?, text.clone())),
        };
        Ok(Self {
            source: config.id.clone(),
            venue: config.venue.clone(),
            symbol: config.symbol.clone(),
            bar_time: config.bar_time,
            interval,
            times: TimeReader::new(&config.tz, config.time_format.as_deref())?,
            rounded: 0,
            last: None,
        })
    }

    /// The time of a row, as the file has it.
    pub(super) fn time(&mut self, cells: &Cells<Cow<'_, str>>, line: u64) -> Result<Timestamp, CellError> {
        let text = cell(cells, Field::Time).ok_or_else(|| absent(Field::Time))?;
        let before = self.last;
        let time = self.times.read(text, before.map(|(time, _)| time)).map_err(|detail| (Some(Field::Time), detail))?;
        if let Some((last, at)) = before.filter(|(last, _)| time < *last) {
            let detail = format!(
                "time goes backwards: {time} after {last} in line {at}; sort the file by time (equal times are fine)"
            );
            return Err((Some(Field::Time), detail));
        }
        self.last = Some((time, line));
        Ok(time)
    }

    /// The event of a row.
    pub(super) fn event(&mut self, cells: &Cells<Cow<'_, str>>, line: u64) -> Result<MarketData, CellError> {
        let time = self.time(cells, line)?;
        let symbol = symbol(cells, self.symbol.as_deref())?;
        let quote = Quote::of(cells)?;
        let bar = Bar::of(cells)?;
        let volume = self.quantity(cells, Field::Volume)?;
        let (kind, price) = match (&bar, &quote) {
            (Some(bar), _) => (MarketKind::Bar, bar.close),
            (None, Some(quote)) => (MarketKind::Quote, quote.mid()),
            (None, None) => (MarketKind::Trade, price(cells, Field::Price)?.ok_or_else(no_price)?),
        };
        let (timestamp, interval) = match &self.interval {
            Some((length, text)) if kind == MarketKind::Bar => {
                let end = if self.bar_time == BarTime::Open { time.plus_micros(*length) } else { time };
                (end, Some(text.clone()))
            }
            _ => (time, None),
        };
        let is_final = if kind == MarketKind::Bar { Some(finality(cells)?) } else { None };
        Ok(MarketData {
            symbol,
            price,
            volume: volume.unwrap_or_default(),
            timestamp,
            source: self.source.clone(),
            venue: Some(self.venue.clone()),
            kind: Some(kind),
            bid: quote.as_ref().map(|quote| quote.bid),
            ask: quote.as_ref().map(|quote| quote.ask),
            bid_size: self.quantity(cells, Field::BidSize)?,
            ask_size: self.quantity(cells, Field::AskSize)?,
            open: bar.as_ref().map(|bar| bar.open),
            high: bar.as_ref().map(|bar| bar.high),
            low: bar.as_ref().map(|bar| bar.low),
            close: bar.as_ref().map(|bar| bar.close),
            interval,
            is_final,
        })
    }

    fn quantity(&mut self, cells: &Cells<Cow<'_, str>>, field: Field) -> Result<Option<Dec>, CellError> {
        let value = match decimal(cells, field) {
            Err(error) => {
                let rounded = cell(cells, field).and_then(rounded).ok_or(error)?;
                self.rounded += 1;
                Some(rounded)
            }
            Ok(value) => value,
        };
        match value {
            Some(value) if value < Dec::ZERO => {
                Err((Some(field), format!("{value} is below 0, which a quantity cannot be")))
            }
            value => Ok(value),
        }
    }
}

/// The length that most gaps between bars have; of equally frequent ones the
/// shortest.
pub(super) fn likely_interval(gaps: &[i64]) -> Option<(i64, String)> {
    let mut sorted: Vec<i64> = gaps.iter().copied().filter(|gap| *gap > 0).collect();
    sorted.sort_unstable();
    let runs = sorted.chunk_by(|a, b| a == b).map(|run| (run.len(), std::cmp::Reverse(run[0])));
    let (_, std::cmp::Reverse(length)) = runs.max()?;
    Some((length, format_interval(length)?))
}

struct Quote {
    bid: Dec,
    ask: Dec,
}

impl Quote {
    fn of(cells: &Cells<Cow<'_, str>>) -> Result<Option<Self>, CellError> {
        let (Some(bid), Some(ask)) = (price(cells, Field::Bid)?, price(cells, Field::Ask)?) else {
            return Ok(None);
        };
        if bid > ask {
            return Err((Some(Field::Bid), format!("bid {bid} is above ask {ask}: are the columns swapped?")));
        }
        let quote = Self { bid, ask };
        if quote.mid().mantissa().unsigned_abs() >= 10_u128.pow(MAX_SIGNIFICANT_DIGITS) {
            return Err((
                Some(Field::Bid),
                format!(
                    "the mid of bid {bid} and ask {ask} has more than {MAX_SIGNIFICANT_DIGITS} digits: round them in the file"
                ),
            ));
        }
        Ok(Some(quote))
    }

    /// Half way between bid and ask: exact, unless that takes an 11th decimal.
    fn mid(&self) -> Dec {
        let mid = (self.bid.0 + self.ask.0) * Decimal::new(5, 1);
        Dec(mid.round_dp(MAX_DECIMALS).normalize())
    }
}

struct Bar {
    open: Dec,
    high: Dec,
    low: Dec,
    close: Dec,
}

impl Bar {
    fn of(cells: &Cells<Cow<'_, str>>) -> Result<Option<Self>, CellError> {
        let parts = (
            price(cells, Field::Open)?,
            price(cells, Field::High)?,
            price(cells, Field::Low)?,
            price(cells, Field::Close)?,
        );
        let (Some(open), Some(high), Some(low), Some(close)) = parts else {
            return Ok(None);
        };
        if high < low {
            return Err((Some(Field::High), format!("high {high} is below low {low}: are the columns swapped?")));
        }
        for (field, value) in [(Field::Open, open), (Field::Close, close)] {
            if value < low || value > high {
                return Err((
                    Some(field),
                    format!("{} {value} is not between low {low} and high {high}", field.name()),
                ));
            }
        }
        Ok(Some(Self { open, high, low, close }))
    }
}

fn cell<'a>(cells: &'a Cells<Cow<'_, str>>, field: Field) -> Option<&'a str> {
    cells[field as usize].as_deref().map(str::trim).filter(|text| !text.is_empty())
}

fn absent(field: Field) -> CellError {
    (Some(field), "is empty".into())
}

fn no_price() -> CellError {
    (
        Some(Field::Price),
        "no price: a row needs open, high, low and close (a bar), bid and ask (a quote) or price (a trade)".into(),
    )
}

fn symbol(cells: &Cells<Cow<'_, str>>, configured: Option<&str>) -> Result<String, CellError> {
    let text = cell(cells, Field::Symbol).or(configured).ok_or_else(|| {
        (Some(Field::Symbol), "no symbol: name it with `--symbol BTCUSDT` or `symbol = \"BTCUSDT\"`".to_owned())
    })?;
    // Longer than any venue's, and short enough to be a key.
    const MAX_SYMBOL_BYTES: usize = 64;
    if text.len() > MAX_SYMBOL_BYTES {
        return Err((
            Some(Field::Symbol),
            format!("a symbol has at most {MAX_SYMBOL_BYTES} bytes, this one {}", text.len()),
        ));
    }
    Ok(text.to_owned())
}

fn decimal(cells: &Cells<Cow<'_, str>>, field: Field) -> Result<Option<Dec>, CellError> {
    let Some(text) = cell(cells, field) else {
        return Ok(None);
    };
    Dec::parse(text).map(Some).map_err(|error| match error {
        DecimalError::NotADecimal => (Some(field), format!("{text:?} is not a decimal such as `1234.5`")),
        error @ DecimalError::TooManyDigits { .. } => {
            (Some(field), format!("{text:?} has {error}: round it in the file"))
        }
    })
}

/// A price that is there, where the file has its column at all.
fn price(cells: &Cells<Cow<'_, str>>, field: Field) -> Result<Option<Dec>, CellError> {
    match decimal(cells, field)? {
        Some(value) if value <= Dec::ZERO => Err((Some(field), format!("{value} is not above 0, as a price must be"))),
        None if cells[field as usize].is_some() => Err(absent(field)),
        value => Ok(value),
    }
}

/// A quantity with more digits than the contract takes (a float's noise, such
/// as `218102.59507500002`), half to even to what it takes. Prices are never
/// rounded: fills are made of them.
fn rounded(text: &str) -> Option<Dec> {
    let value = Dec::parse_wide(text).ok()?.round_dp(MAX_DECIMALS);
    Some(Dec(value.round_sf(MAX_SIGNIFICANT_DIGITS)?.normalize()))
}

fn finality(cells: &Cells<Cow<'_, str>>) -> Result<bool, CellError> {
    match cell(cells, Field::Final) {
        None | Some("true" | "True" | "TRUE" | "1") => Ok(true),
        Some("false" | "False" | "FALSE" | "0") => Ok(false),
        Some(text) => Err((Some(Field::Final), format!("{text:?} is neither `true` nor `false`"))),
    }
}
