//! From an event posted to an event that a query finds, at 1,000 events/s.
//!
//! Not here: what the recorder can do at most (`stored`).

use std::{
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tapedeck_contracts::Timestamp;

use crate::{figures, fill::report};

/// Posts of 10 events every 10 ms are 1,000 events/s.
const EVERY: Duration = Duration::from_millis(10);
const EVENTS: u64 = 10;
/// One post in so many is waited for by a thread of its own.
const SAMPLE: u64 = 20;

pub(crate) fn run(url: &str, time: Duration) -> anyhow::Result<()> {
    let agent = ureq::Agent::new_with_defaults();
    let began = Instant::now();
    let mut waiting = Vec::new();
    let mut accepted = Vec::new();
    // Beyond the ids that `fill` makes, so that nothing is a duplicate.
    let base = 1 << 40;
    for post in 0.. {
        let due = EVERY * post;
        if due >= time {
            break;
        }
        thread::sleep(due.saturating_sub(began.elapsed()));
        let mut body = String::new();
        for event in 0..EVENTS {
            let n = base + u64::from(post) * EVENTS + event;
            let mut report = report(n);
            report.account = "BENCH".into();
            report.timestamp = now();
            if event == 0 {
                // A symbol of its own, so that one query finds this event alone.
                report.symbol = format!("BENCH{post}");
            }
            body.push_str(&serde_json::to_string(&report)?);
            body.push('\n');
        }
        let posted = Instant::now();
        agent
            .post(format!("{url}/api/v1/events/exec.reports.v1"))
            .header("content-type", "application/x-ndjson")
            .send(body)?;
        accepted.push(posted.elapsed());
        if u64::from(post) % SAMPLE == 0 {
            let target = format!("{url}/api/fills?account=BENCH&symbol=BENCH{post}&limit=1");
            waiting.push(thread::spawn(move || seen(&target, posted)));
        }
    }
    let mut samples = Vec::new();
    for thread in waiting {
        samples.push(thread.join().map_err(|_| anyhow::anyhow!("a waiting thread panicked"))??);
    }
    figures::print("POST of 10 events, durable", accepted, "");
    figures::print("event posted -> queryable at 1,000/s", samples, "");
    Ok(())
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(since.as_micros() as i64)
}

fn seen(target: &str, posted: Instant) -> anyhow::Result<Duration> {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    loop {
        let body = agent.get(target).call()?.body_mut().read_to_string()?;
        if body.contains("fill_id") {
            return Ok(posted.elapsed());
        }
        anyhow::ensure!(posted.elapsed() < Duration::from_secs(30), "not queryable after 30 s: {body}");
        thread::sleep(Duration::from_millis(1));
    }
}
