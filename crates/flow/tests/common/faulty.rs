//! A real log whose appends to chosen topics fail for a while.
//!
//! Not here: everything else, which is the real log's.

use std::sync::{Arc, Mutex};

use tapedeck_log::{Log, LogAround, LogError, Placement, Record, Result};

/// Says whether an append of these records fails.
pub(crate) type Fails = Box<dyn FnMut(&[Record]) -> bool + Send>;

/// The log, and when its appends fail.
pub(crate) struct Faulty {
    log: Arc<dyn Log>,
    fails: Mutex<Fails>,
}

impl Faulty {
    pub(crate) fn around(log: Arc<dyn Log>, fails: impl FnMut(&[Record]) -> bool + Send + 'static) -> Arc<dyn Log> {
        Arc::new(Self { log, fails: Mutex::new(Box::new(fails)) })
    }
}

impl LogAround for Faulty {
    fn under(&self) -> &dyn Log {
        &*self.log
    }

    fn append(&self, records: Vec<Record>) -> Result<Vec<Placement>> {
        if (self.fails.lock().unwrap())(&records) {
            return Err(LogError::Transient("the disk is full".into()));
        }
        self.log.append(records)
    }
}
