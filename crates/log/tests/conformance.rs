//! The embedded log does what every log must do.
//!
//! Not here: what only the embedded log does.

#![expect(clippy::unwrap_used, reason = "these are tests: an error that was not expected ends them")]

use std::{
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tapedeck_log::{EmbeddedConfig, EmbeddedLog, conformance};

fn subject(compress: bool) -> conformance::Subject {
    let dir = tempfile::tempdir().unwrap();
    let open: Arc<Mutex<Weak<EmbeddedLog>>> = Arc::default();
    let opened = Arc::clone(&open);
    let config = EmbeddedConfig { compress, session_timeout: Duration::from_secs(1), ..EmbeddedConfig::default() };
    conformance::Subject {
        open: Box::new(move || {
            let log = EmbeddedLog::open(dir.path(), config.clone()).unwrap();
            *opened.lock().unwrap() = Arc::downgrade(&log);
            log
        }),
        sweep: Box::new(move |now_ms| {
            let log = open.lock().unwrap().upgrade().unwrap();
            log.run_retention(now_ms).unwrap();
        }),
    }
}

macro_rules! cases {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            conformance::run(stringify!($name), &subject(false));
        })*
    };
}

tapedeck_log::each_case!(cases);

#[test]
fn a_compressing_log_does_the_same() {
    conformance::suite(|| subject(true));
}
