//! `GET /ws/alerts`: one client's socket, from its first message to its close.
//!
//! Not here: reading the log for all.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{
        State, WebSocketUpgrade,
        ws::{CloseFrame, Message, Utf8Bytes, WebSocket, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use serde_json::json;
use tapedeck_contracts::events::Severity;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, MissedTickBehavior, interval, interval_at, timeout},
};
use utoipa::IntoParams;
use uuid::Uuid;

use super::{
    hub::{self, Live},
    replay::Replay,
    seq,
};
use crate::{
    app::{App, now},
    layers::check_origin,
    params::Params,
    problem::{Problem, ProblemBody},
    routes::alerts::SEVERITIES,
};

/// What a client may send at most; it has little to say.
const MAX_MESSAGE_BYTES: usize = 4_096;
/// Read buffer of a socket: thousands of them must fit into memory.
const READ_BUFFER_BYTES: usize = 1_024;
/// How often a send that waits looks at how far the client is behind.
const LOOK: Duration = Duration::from_millis(100);
/// A client that takes no byte for so long is as good as gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the closing frame may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// `since` is no place in this log.
const BAD_SINCE: u16 = 4400;
/// The client is too far behind.
const SLOW: u16 = 4008;
/// The server ends.
const GOING_AWAY: u16 = 1001;
/// The log cannot be read.
const TRY_AGAIN: u16 = 1013;

/// Which alerts, and from where.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SocketParams {
    /// One severity: that bad or worse. Several, with commas: just these.
    severity: Option<String>,
    /// The `seq` of the last message seen; what came after it is sent first.
    since: Option<String>,
}

/// The severities that a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Filter {
    AtLeast(Severity),
    OneOf(Vec<Severity>),
}

impl Filter {
    fn parse(text: Option<&str>) -> Result<Self, Problem> {
        let Some(text) = text else { return Ok(Self::AtLeast(Severity::Info)) };
        let one = |word: &str| {
            let known = SEVERITIES.iter().find(|(name, _)| *name == word.trim());
            known.map(|(_, severity)| *severity).ok_or_else(|| {
                Problem::bad("severity", format!("expected INFO, WARNING, ERROR or CRITICAL, found {word:?}"))
            })
        };
        let mut all = text.split(',').map(one).collect::<Result<Vec<_>, _>>()?;
        Ok(if all.len() == 1 { Self::AtLeast(all.remove(0)) } else { Self::OneOf(all) })
    }

    fn takes(&self, severity: Severity) -> bool {
        match self {
            Self::AtLeast(least) => severity >= *least,
            Self::OneOf(all) => all.contains(&severity),
        }
    }
}

/// What a socket waits for.
enum Next {
    Event(Result<Arc<Live>, RecvError>),
    Message(Option<Message>),
    Heartbeat,
    Closing,
}

/// Why a socket ends.
#[derive(Debug)]
enum End {
    /// The client went, or its connection did.
    Gone,
    /// We close, with a code and a reason.
    Close(u16, &'static str),
}

const SLOW_END: End = End::Close(SLOW, "slow consumer; reconnect with ?since=");

/// Alerts as they come. The first message is `connected`; then every alert after
/// `since` (or after now), each with its `seq`; `heartbeat` every 30 s. Slow
/// clients are closed with 4008, a `since` that is no seq with 4400.
#[utoipa::path(get, path = "/ws/alerts", operation_id = "alerts_socket", tag = "sockets", params(SocketParams), responses(
    (status = 101, description = "A WebSocket of JSON messages: connected, alert, heartbeat, gap, pong"),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn alerts(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    uri: Uri,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    check_origin(&headers)?;
    let mut query = Params::of(&uri)?;
    let params = SocketParams { severity: query.text("severity")?, since: query.text("since")? };
    query.finish()?;
    let filter = Filter::parse(params.severity.as_deref())?;
    app.hub.ready().map_err(|why| Problem::unavailable(format!("the log cannot answer now: {why}"), 1))?;
    let upgrade = upgrade.map_err(|error| {
        Problem::new(
            StatusCode::UPGRADE_REQUIRED,
            format!("this is a WebSocket; ask with `Upgrade: websocket` ({error})"),
        )
    })?;
    let seat = Arc::clone(&app.sockets).try_acquire_owned();
    let seat = seat
        .map_err(|_| Problem::unavailable(format!("{} sockets are open, the most that are", app.ws.max_clients), 5))?;
    let upgrade = upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let _seat = seat;
        app.metrics.ws_clients.inc();
        let (live, until) = app.hub.subscribe();
        let mut session = Session { app: Arc::clone(&app), socket, live, filter, seen: until.clone() };
        let end = session.run(params.since.as_deref(), until).await;
        session.close(end).await;
        app.metrics.ws_clients.dec();
    }))
}

struct Session {
    app: Arc<App>,
    socket: WebSocket,
    live: Receiver<Arc<Live>>,
    filter: Filter,
    /// What the client had already when it came, by partition.
    seen: Vec<u64>,
}

impl Session {
    async fn run(&mut self, since: Option<&str>, until: Vec<u64>) -> End {
        let next = match since {
            None => until.clone(),
            Some(text) => match read_since(&self.app, text, &until).await {
                Some(next) => next,
                None => return self.refuse_since().await,
            },
        };
        self.seen.clone_from(&next);
        let connected = json!({ "type": "connected", "session": Uuid::new_v4().to_string(), "seq": seq::write(&next) });
        if let Err(end) = self.send(connected.to_string().into()).await {
            return end;
        }
        if let Err(end) = self.replay(Replay { next, until }).await {
            return end;
        }
        self.follow().await
    }

    async fn refuse_since(&mut self) -> End {
        let problem =
            Problem::bad("since", "not a seq of this log; connect without it and read /api/alerts for what was");
        let text = String::from_utf8(problem.body("/ws/alerts", "")).unwrap_or_default();
        match self.send(format!("{{\"type\":\"error\",\"problem\":{text}}}").into()).await {
            Ok(()) => End::Close(BAD_SINCE, "since is not a seq of this log"),
            Err(end) => end,
        }
    }

    /// Sends what lies between the client's seq and the live queue.
    async fn replay(&mut self, mut replay: Replay) -> Result<(), End> {
        while !replay.done() {
            let hub = Arc::clone(&self.app.hub);
            let page = self.app.log(move |log| replay.page(log.as_ref(), &hub)).await;
            let page = page.map_err(|_| End::Close(TRY_AGAIN, "the log cannot be read now; reconnect with ?since="))?;
            if page.gap {
                self.seen.iter_mut().zip(&page.replay.next).for_each(|(seen, next)| *seen = (*seen).max(*next));
                self.send(hub::gap(&page.replay.next)).await?;
            }
            for (severity, text) in page.events {
                if self.filter.takes(severity) {
                    self.send(text).await?;
                    self.app.metrics.ws_sent.inc();
                }
            }
            replay = page.replay;
        }
        Ok(())
    }

    /// Sends alerts as they come, until somebody ends.
    async fn follow(&mut self) -> End {
        let every = Duration::from_secs(self.app.ws.heartbeat_s.max(1));
        let mut heartbeat = interval_at(Instant::now() + every, every);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut closing = self.app.hub.closing();
        if *closing.borrow_and_update() {
            return End::Close(GOING_AWAY, "the server ends");
        }
        loop {
            let next = tokio::select! {
                event = self.live.recv() => Next::Event(event),
                message = self.socket.recv() => Next::Message(message.and_then(Result::ok)),
                _ = heartbeat.tick() => Next::Heartbeat,
                _ = closing.changed() => Next::Closing,
            };
            let result = match next {
                Next::Event(Ok(event)) => self.event(&event).await,
                Next::Event(Err(RecvError::Lagged(_))) => Err(SLOW_END),
                Next::Message(Some(message)) => self.answer(&message).await,
                Next::Message(None) => Err(End::Gone),
                Next::Heartbeat => {
                    let beat = json!({ "type": "heartbeat", "timestamp": now() });
                    self.send(beat.to_string().into()).await
                }
                Next::Closing | Next::Event(Err(RecvError::Closed)) => Err(End::Close(GOING_AWAY, "the server ends")),
            };
            if let Err(end) = result {
                return end;
            }
        }
    }

    async fn event(&mut self, event: &Live) -> Result<(), End> {
        let text = match event {
            // A client whose way here led over the same gap was told of it.
            Live::Gap { to, .. } if to.iter().all(|(partition, to)| self.seen[*partition] >= *to) => return Ok(()),
            Live::Gap { text, .. } => text,
            Live::Alert { partition, offset, text, severity } => {
                if *offset < self.seen[*partition] || !self.filter.takes(*severity) {
                    return Ok(());
                }
                self.app.metrics.ws_sent.inc();
                text
            }
        };
        self.send(text.clone()).await
    }

    async fn answer(&mut self, message: &Message) -> Result<(), End> {
        let Message::Text(text) = message else {
            return if matches!(message, Message::Close(_)) { Err(End::Gone) } else { Ok(()) };
        };
        let is_ping = text.as_str().trim() == "ping"
            || serde_json::from_str::<serde_json::Value>(text.as_str()).is_ok_and(|value| value["type"] == "ping");
        if !is_ping {
            return Ok(());
        }
        self.send(json!({ "type": "pong", "timestamp": now() }).to_string().into()).await
    }

    /// Sends a text. A client that stops reading is found out while we wait:
    /// by how many events it is behind, or by time.
    async fn send(&mut self, text: Utf8Bytes) -> Result<(), End> {
        let send = timeout(SEND_TIMEOUT, self.socket.send(Message::Text(text)));
        tokio::pin!(send);
        let mut look = interval(LOOK);
        loop {
            tokio::select! {
                biased;
                sent = &mut send => return match sent {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(_)) => Err(End::Gone),
                    Err(_) => Err(SLOW_END),
                },
                _ = look.tick() => if self.live.len() > self.app.ws.queue_events {
                    return Err(SLOW_END);
                },
            }
        }
    }

    async fn close(mut self, end: End) {
        let End::Close(code, reason) = end else { return };
        if code == SLOW {
            self.app.metrics.ws_slow.inc();
        }
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        let _ = timeout(CLOSE_TIMEOUT, async {
            if self.socket.send(Message::Close(Some(frame))).await.is_ok() {
                // Until the client has answered, or gone: a reset would take the
                // frame from it.
                while let Some(Ok(_)) = self.socket.recv().await {}
            }
        })
        .await;
    }
}

/// The positions of a seq, where the log has not ended before them. The live
/// queue may begin a moment before what another process has sent already.
async fn read_since(app: &App, text: &str, until: &[u64]) -> Option<Vec<u64>> {
    let next = seq::read(text, app.hub.partitions())?;
    if next.iter().zip(until).all(|(next, until)| next <= until) {
        return Some(next);
    }
    let ends = app.log(|log| {
        let topic = log.topics()?.into_iter().find(|topic| &*topic.config.name == super::ALERTS);
        Ok(topic.map(|topic| topic.partitions.iter().map(|partition| partition.end).collect::<Vec<_>>()))
    });
    let ends = ends.await.ok().flatten()?;
    next.iter().zip(&ends).all(|(next, end)| next <= end).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_severity_is_a_floor_and_several_are_a_choice() {
        let floor = Filter::parse(Some("ERROR")).unwrap();
        assert!(floor.takes(Severity::Critical) && floor.takes(Severity::Error) && !floor.takes(Severity::Warning));
        let choice = Filter::parse(Some("INFO,CRITICAL")).unwrap();
        assert!(choice.takes(Severity::Info) && choice.takes(Severity::Critical) && !choice.takes(Severity::Error));
        assert!(Filter::parse(Some("LOUD")).is_err());
    }
}
