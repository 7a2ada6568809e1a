//! The files of a market: any bytes under any settings are refused with their
//! place, or are rows that make events of the contract.
//!
//! Not here: the merging of several files.
#![no_main]

use std::{fs, path::PathBuf};

use libfuzzer_sys::fuzz_target;
use tapedeck_fuzz::seed;
use tapedeck_roles::market::{config::SourceConfig, inspect};

const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia"];
const FORMATS: [Option<&str>; 4] = [None, Some("%d.%m.%Y %H:%M:%S%.f"), Some("%s"), Some("%Y-%m-%d %H:%M %z")];
const INTERVALS: [Option<&str>; 4] = [None, Some("1m"), Some("1d"), Some("3s")];

fuzz_target!(
    init: seed(SAMPLES.map(|(setting, text)| [&[setting], text.as_bytes()].concat())),
    |input: &[u8]| {
        let Some((setting, bytes)) = input.split_first() else { return };
        let path = PathBuf::from(format!("/dev/shm/tapedeck-fuzz-market-{}", std::process::id()));
        fs::write(&path, bytes).expect("there is room in memory");
        match inspect(&path, &source(usize::from(*setting))) {
            Err(error) => assert!(!error.to_string().is_empty()),
            Ok(summary) => {
                assert!(summary.events.is_none_or(|events| events > 0));
                assert!(summary.last_time.is_none_or(|last| last >= summary.first_time));
                assert!(!summary.symbols.is_empty());
            }
        }
        fs::remove_file(&path).expect("it was just written");
    }
);

/// Two bits each choose zone, format and interval; one the symbol, one the end
/// of a bar that its time is.
fn source(setting: usize) -> SourceConfig {
    let mut source: SourceConfig = toml::from_str("id = \"f\"\nkind = \"file\"").expect("the rest has defaults");
    source.tz = ZONES[setting & 3].into();
    source.time_format = FORMATS[setting >> 2 & 3].map(str::to_owned);
    source.interval = INTERVALS[setting >> 4 & 3].map(str::to_owned);
    source.symbol = (setting >> 6 & 1 == 0).then(|| "BTCUSDT".to_owned());
    if setting >> 7 == 1 {
        source.bar_time = tapedeck_roles::market::config::BarTime::Close;
    }
    source
}

const SAMPLES: [(u8, &str); 9] = [
    (0, "time,open,high,low,close,volume\n2024-01-31 23:58:00,1,2,0.5,1.5,7\n2024-01-31 23:59:00,1.5,2,1,1,8\n"),
    (0x40, "symbol;timestamp;bid;ask;bid_size;ask_size\nEURUSD;1700000000000;1.05;1.06;1e3;2\n"),
    (1, "20231029 023000123,1.5,1.6,1.4,1.55,0\n20231029 023100123,1.5,1.6,1.4,1.55,0\n"),
    (4, "Zeit\tKurs\n31.01.2024 23:59:59.123456\t12.5\n"),
    (
        0x40,
        "{\"symbol\":\"A\",\"timestamp\":\"2024-01-01T00:00:00Z\",\"price\":\"1.5\",\"volume\":218102.59507500002}\n",
    ),
    (
        0x40,
        "{\"timestamp\":\"2024-01-01T00:00:00Z\",\"producer_service\":\"m\",\"data\":{\"symbol\":\"A\",\"timestamp\":\"2024-01-01T00:00:00Z\",\"price\":1}}\n",
    ),
    (0x90, "\u{feff}\"date\",\"open\",\"high\",\"low\",\"close\"\r\n\"2024-03-31T02:30\",\"1\",\"2\",\"1\",\"1\"\r\n"),
    (0, "open_time|open|high|low|close|volume|is_final\n1700000000|1|1|1|1|1|true\n1700000060|1|1|1|1|1|false\n"),
    (3, "time,price\n2011-12-30 12:00:00,1\n99999999999999999,1\n"),
];
