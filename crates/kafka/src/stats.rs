//! librdkafka's statistics, as far as we tell them on: what waits, and how each
//! broker does.
//!
//! Not here: how they are printed. Labels are brokers' numbers: a few.

use std::collections::BTreeMap;

use serde::Deserialize;
use tapedeck_log::Figure;

/// The part of librdkafka's JSON that is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Statistics {
    msg_cnt: u64,
    msg_size: u64,
    txmsgs: u64,
    txmsg_bytes: u64,
    rxmsgs: u64,
    rxmsg_bytes: u64,
    brokers: BTreeMap<String, Broker>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Broker {
    nodeid: i64,
    state: String,
    txerrs: u64,
    txretries: u64,
    req_timeouts: u64,
    disconnects: u64,
    rtt: Window,
}

/// A rolling window, in µs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Window {
    avg: f64,
    p99: f64,
}

/// More brokers than a cluster of ours has; beyond them none is told of.
const MOST_BROKERS: usize = 100;

type Told = (&'static str, &'static str, bool, fn(&Statistics) -> f64);

/// Sums over all clients of the log.
const SUMS: [Told; 6] = [
    ("kafka_queue_records", "Records that wait for a broker.", false, |it| it.msg_cnt as f64),
    ("kafka_queue_bytes", "Bytes that wait for a broker.", false, |it| it.msg_size as f64),
    ("kafka_produced_records", "Records sent to brokers.", true, |it| it.txmsgs as f64),
    ("kafka_produced_bytes", "Bytes of records sent to brokers.", true, |it| it.txmsg_bytes as f64),
    ("kafka_fetched_records", "Records that brokers sent.", true, |it| it.rxmsgs as f64),
    ("kafka_fetched_bytes", "Bytes of records that brokers sent.", true, |it| it.rxmsg_bytes as f64),
];

/// The figures of all clients together.
pub(crate) fn figures(clients: &[(&'static str, Statistics)]) -> Vec<Figure> {
    let sum = |(name, help, is_counter, of): &Told| Figure {
        name,
        help,
        is_counter: *is_counter,
        label: None,
        value: clients.iter().map(|(_, statistics)| of(statistics)).sum(),
    };
    let mut figures: Vec<_> = SUMS.iter().map(sum).collect();
    for (node, brokers) in by_node(clients) {
        figures.extend(of_broker(node, &brokers));
    }
    figures
}

/// What each client tells of each broker; connections that only ask where the
/// brokers are have no number.
fn by_node<'a>(clients: &'a [(&'static str, Statistics)]) -> BTreeMap<i64, Vec<&'a Broker>> {
    let mut nodes: BTreeMap<i64, Vec<&Broker>> = BTreeMap::new();
    for broker in clients.iter().flat_map(|(_, statistics)| statistics.brokers.values()) {
        if broker.nodeid >= 0 && (nodes.len() < MOST_BROKERS || nodes.contains_key(&broker.nodeid)) {
            nodes.entry(broker.nodeid).or_default().push(broker);
        }
    }
    nodes
}

fn of_broker(node: i64, brokers: &[&Broker]) -> [Figure; 7] {
    let figure = |name, help, is_counter, value| Figure {
        name,
        help,
        is_counter,
        label: Some(("broker", node.to_string())),
        value,
    };
    let sum = |of: fn(&Broker) -> u64| brokers.iter().map(|broker| of(broker)).sum::<u64>() as f64;
    let most = |of: fn(&Broker) -> f64| brokers.iter().map(|broker| of(broker)).fold(0.0, f64::max);
    let is_up = brokers.iter().any(|broker| broker.state == "UP");
    [
        figure("kafka_broker_up", "Whether any connection to the broker is up.", false, f64::from(u8::from(is_up))),
        figure(
            "kafka_broker_rtt_ms",
            "How long the broker takes to answer, on average; 0 where nothing was asked.",
            false,
            most(|broker| broker.rtt.avg) / 1000.0,
        ),
        figure(
            "kafka_broker_rtt_p99_ms",
            "How long the broker takes to answer, 99th percentile.",
            false,
            most(|broker| broker.rtt.p99) / 1000.0,
        ),
        figure("kafka_broker_errors", "Requests that failed.", true, sum(|broker| broker.txerrs)),
        figure("kafka_broker_retries", "Requests sent again.", true, sum(|broker| broker.txretries)),
        figure("kafka_broker_timeouts", "Requests without an answer in time.", true, sum(|broker| broker.req_timeouts)),
        figure("kafka_broker_disconnects", "Connections lost.", true, sum(|broker| broker.disconnects)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_sum_clients_and_name_brokers_by_number() {
        let json = |up: &str| {
            format!(
                r#"{{"name":"x","msg_cnt":2,"msg_size":10,"txmsgs":5,"brokers":{{
                "b/1":{{"nodeid":1,"state":"{up}","rtt":{{"avg":1500,"p99":9000}},"txerrs":1}},
                "b/bootstrap":{{"nodeid":-1,"state":"DOWN"}}}}}}"#
            )
        };
        let read = |up| serde_json::from_str::<Statistics>(&json(up)).expect("the JSON is the one above");
        let figures = figures(&[("a", read("DOWN")), ("b", read("UP"))]);
        let value = |name: &str| figures.iter().find(|it| it.name == name).map(|it| (it.value, it.label.clone()));
        assert_eq!(value("kafka_queue_records"), Some((4.0, None)));
        let one = Some(("broker", "1".to_owned()));
        assert_eq!(value("kafka_broker_up"), Some((1.0, one.clone())));
        assert_eq!(value("kafka_broker_rtt_ms"), Some((1.5, one.clone())));
        assert_eq!(value("kafka_broker_errors"), Some((2.0, one)));
        assert_eq!(figures.iter().filter(|it| it.label.is_some()).count(), 7, "the bootstrap line is not a broker");
    }
}
