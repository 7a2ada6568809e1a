//! How a program of your own emits: it opens a log and an emitter, emits a few
//! alerts without waiting for the log, and shows how the watermark follows.
//!
//! ```text
//! cargo run -p tapedeck-flow --example emit -- /tmp/tape 10000
//! ```
//!
//! End it with `kill -9` while it runs and start it again: what it had accepted is
//! sent first. Not here: reading what was emitted.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    error::Error,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tapedeck_contracts::{
    Event, EventId, Timestamp,
    events::{Alert, Severity},
};
use tapedeck_flow::{Boundaries, EmitError, Emitter, EmitterConfig, Outbound, Stop, Ticket, topics};
use tapedeck_log::{EmbeddedConfig, EmbeddedLog, Log};

/// Who this program is, in the `ce_source` of what it writes.
const NAME: &str = "example";

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().unwrap_or_else(|| "/tmp/tapedeck-example".into()));
    let count: u64 = args.next().map_or(Ok(10_000), |count| count.parse())?;

    // A log in a folder. In a program that only emits this may be any `Log`.
    let log = EmbeddedLog::open(&dir.join("log"), EmbeddedConfig::default())?;
    log.create_topics(&topics::of_catalogue(None))?;

    // The emitter has a folder of its own, for what waits.
    let config = EmitterConfig::default();
    let log_of_emitter = Arc::clone(&log) as Arc<dyn Log>;
    let emitter = Emitter::open(log_of_emitter, &dir.join("emit"), NAME, &config, Boundaries::default())?;

    // What an earlier run left is sent first. `keep` may leave out what is stale.
    let left = emitter.send_leftovers(&mut |_| true, &Stop::new())?;
    println!("an earlier run left {} records, now sent", left.sent);

    // One producer a thread.
    let mut producer = emitter.producer()?;
    let begin = Instant::now();
    let mut last = Ticket::default();
    for n in 0..count {
        let event = alert(n);
        // Full means that the log has been away for long: a source may drop and
        // count, a role would stop reading its input.
        last = match producer.emit(&event, NAME) {
            Err(EmitError::Full) => {
                producer.drop_counted();
                continue;
            }
            other => other?,
        };
        if n % (count / 5).max(1) == 0 {
            println!("accepted {}, durable up to {}", last.0, producer.durable().0);
        }
    }
    println!("{count} events were accepted in {:?}", begin.elapsed());

    // A role moves its offsets here, when what it emitted for them is durable.
    let is_durable = producer.wait_durable(last, Duration::from_secs(10));
    println!("all durable after {:?}: {is_durable}", begin.elapsed());

    let closed = emitter.close(Duration::from_secs(10));
    println!("{} records stay for the next start", closed.remaining);
    log.close();
    Ok(())
}

fn alert(n: u64) -> Outbound {
    // Events of a file or a clock take ids that are the same when made again.
    let id = EventId::from_file("example", n);
    let alert = Alert {
        event_id: id.clone(),
        timestamp: Timestamp::from_millis(i64::try_from(n).unwrap_or(0)),
        severity: Severity::Info,
        code: "EXAMPLE".into(),
        message: format!("event {n}"),
        context: Default::default(),
        source: NAME.into(),
        account: None,
        decision_id: None,
    };
    Outbound::first("alerts.v1", id, Event::Alert(Box::new(alert)))
}
