//! Alerts to many sockets: from the post to the arrival at each, and at the last.
//!
//! Not here: slow sockets, which a test holds.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_tungstenite::{connect_async, tungstenite::Message};

use crate::figures;

/// Alerts sent, one after another.
const ALERTS: usize = 100;
/// Between two alerts: a rate that no operator sees outside of a bad day.
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) fn run(url: &str, clients: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(broadcast(url, clients))
}

async fn broadcast(url: &str, clients: usize) -> anyhow::Result<()> {
    let socket = url.replacen("http", "ws", 1) + "/ws/alerts";
    // Every client reports every alert once.
    let (report, mut arrived) = mpsc::channel::<(usize, Instant)>(clients * 4);
    let mut tasks = Vec::new();
    for _ in 0..clients {
        let (mut stream, _) = connect_async(&socket).await?;
        // The first message says `connected`.
        stream.next().await;
        let report = report.clone();
        tasks.push(tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                let Message::Text(text) = message else { continue };
                let Some(n) = number(&text) else { continue };
                if report.send((n, Instant::now())).await.is_err() {
                    break;
                }
            }
        }));
    }
    let mut all = Vec::new();
    let mut last = Vec::new();
    for n in 0..ALERTS {
        let body = alert(n);
        let target = format!("{url}/api/v1/events/alerts.v1");
        let posted = Instant::now();
        let post = tokio::task::spawn_blocking(move || {
            ureq::post(target).header("content-type", "application/json").send(body).map(|_| ())
        });
        let mut latest = posted;
        for _ in 0..clients {
            let (got, at) = tokio::time::timeout(Duration::from_secs(30), arrived.recv()).await?.unwrap_or((n, posted));
            anyhow::ensure!(got == n, "alert {got} came where {n} was waited for");
            all.push(at - posted);
            latest = latest.max(at);
        }
        post.await??;
        last.push(latest - posted);
        tokio::time::sleep(PAUSE).await;
    }
    figures::print(&format!("alert posted -> each of {clients} sockets"), all, "");
    figures::print(&format!("alert posted -> the last of {clients} sockets"), last, "");
    tasks.into_iter().for_each(|task| task.abort());
    Ok(())
}

fn number(text: &str) -> Option<usize> {
    let rest = &text[text.find("bench alert ")? + "bench alert ".len()..];
    rest.split('"').next()?.parse().ok()
}

fn alert(n: usize) -> String {
    let unique = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!(
        r#"{{"event_id":"bench-{n}-{unique}","timestamp":"2026-01-01T00:00:00Z","severity":"INFO","code":"BENCH","message":"bench alert {n}","context":{{}},"source":"bench","account":null,"decision_id":null}}"#
    )
}
