//! The catalogue is the contract's table of topics.
//!
//! Not here: what logs make of it.

use tapedeck_contracts::{
    EventKind,
    catalogue::{Catalogue, dlq_of, group_of, origin_of_dlq, state_topic},
};

/// Topic, event, key, partitions, retention in hours (0 for ever), cleanup.
const CONTRACT: &str = "
    market-data-updates     market_data       symbol            8  24    delete
    symbol-subscriptions    subscription      symbol            2  168   compact
    strategy-signals        signal            symbol            4  168   delete
    strategy-compilations   compilation       strategy_id       2  168   delete
    trade-executions        trade_execution   symbol            4  720   delete
    portfolio-updates       portfolio         account           4  168   delete
    forward-test-events     forward_test      session_id        4  168   delete
    user-notifications      notification      user_id           2  24    delete
    realtime-updates        dashboard         user_id|symbol    2  1     delete
    service-health          health            service           2  168   compact,delete
    audit-logs              audit             actor             2  8760  delete
    trading_decisions       trading_decision  symbol            8  168   delete
    model_updates           model_update      specialist        2  720   delete
    regime_changes          regime_change     symbol            2  720   delete
    risk_decisions          risk_decision     symbol            4  720   delete
    exec.reports.v1         execution_report  symbol            8  720   delete
    risk.metrics.v1         risk_metrics      account           4  720   delete
    alerts.v1               alert             account|source    4  720   delete
    risk-commands           risk_command      account           2  720   delete
    task-events             task              user_id           4  720   delete
    reminders               reminder          user_id           4  720   delete
    task-updates            task_state        task_id           4  0     compact
";

#[test]
fn topics_are_those_of_the_contract() {
    let mut named = 0;
    for line in CONTRACT.lines().filter(|line| !line.trim().is_empty()) {
        let [name, event, key, partitions, hours, cleanup] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let topic = Catalogue::get().topic(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(topic.event.map(EventKind::name), Some(event), "{name}");
        assert_eq!(topic.key.replace(" or ", "|"), key, "{name}");
        assert_eq!(topic.partitions.to_string(), partitions, "{name}");
        assert_eq!(topic.retention_hours.to_string(), hours, "{name}");
        assert_eq!(topic.retention().is_none(), hours == "0", "{name}");
        assert_eq!((topic.compact, topic.delete), (cleanup.contains("compact"), cleanup.contains("delete")), "{name}");
        named += 1;
    }
    let events = Catalogue::get().topics().filter(|topic| topic.event.is_some()).count();
    assert_eq!((named, events), (EventKind::ALL.len(), EventKind::ALL.len()), "each kind has one topic");
}

#[test]
fn state_topics_are_compact_and_kept_and_carry_no_event() {
    let none =
        |topic: &&tapedeck_contracts::catalogue::Topic| topic.event.is_none() && origin_of_dlq(&topic.name).is_none();
    let state: Vec<_> = Catalogue::get().topics().filter(none).collect();
    assert!(state.iter().any(|topic| topic.name == state_topic("strategy")));
    for topic in state {
        assert!(topic.name.starts_with("tapedeck.") && topic.name.ends_with(".state"), "{}", topic.name);
        assert!(topic.compact && !topic.delete && topic.retention().is_none(), "{}", topic.name);
    }
}

#[test]
fn every_topic_with_events_has_dead_letters_in_as_many_partitions_kept_for_14_days() {
    for topic in Catalogue::get().topics().filter(|topic| topic.event.is_some()) {
        let dead = Catalogue::get().topic(&dlq_of(&topic.name)).unwrap_or_else(|| panic!("{} has none", topic.name));
        assert_eq!((dead.partitions, dead.retention_hours), (topic.partitions, 14 * 24), "{}", dead.name);
        assert_eq!((dead.event, dead.delete, dead.compact), (None, true, false), "{}", dead.name);
        assert_eq!(origin_of_dlq(&dead.name), Some(topic.name.as_str()));
    }
}

#[test]
fn names_of_groups_and_dead_letter_topics_follow_from_roles_and_topics() {
    assert_eq!(group_of("forward-test"), "tapedeck.forward-test");
    assert_eq!(dlq_of("alerts.v1"), "alerts.v1.dlq");
}
