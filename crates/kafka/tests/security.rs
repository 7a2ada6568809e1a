//! On a secured broker: each way to say who we are, and what is said when it is
//! wrong. Each error is told apart, and none shows a password.
//!
//! Not here: what an authorised client can do, which is the same everywhere.

#![expect(clippy::unwrap_used, reason = "these are tests: an error that was not expected ends them")]

use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use tapedeck_kafka::{Acl, AclOperation, AclResource, KafkaConfig, KafkaLog};
use tapedeck_log::{GroupOffset, Headers, Log as _, LogError, Record, TopicConfig, TopicPartition};
use tapedeck_testbed::{self as testbed, Cluster};

/// One secured broker for all tests that run at a time; it ends with the last of them.
fn cluster() -> Option<Arc<Cluster>> {
    static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap();
    if let Some(cluster) = shared.upgrade() {
        return Some(cluster);
    }
    let cluster = Arc::new(Cluster::start_secure()?);
    *shared = Arc::downgrade(&cluster);
    Some(cluster)
}

fn at(cluster: &Cluster, listener: &str, protocol: &str) -> KafkaConfig {
    KafkaConfig {
        bootstrap_servers: cluster.secret(listener),
        security_protocol: protocol.into(),
        ca_file: if protocol.ends_with("ssl") { cluster.secret("CA_FILE") } else { String::new() },
        request_timeout_ms: 5_000,
        ..KafkaConfig::default()
    }
}

fn admin(cluster: &Cluster) -> KafkaConfig {
    KafkaConfig {
        sasl_username: cluster.secret("ADMIN_USER"),
        sasl_password: cluster.secret("ADMIN_PASSWORD"),
        ..at(cluster, "SASL_SSL", "sasl_ssl")
    }
}

fn deck(cluster: &Cluster) -> KafkaConfig {
    KafkaConfig {
        sasl_username: cluster.secret("DECK_USER"),
        sasl_password: cluster.secret("DECK_PASSWORD"),
        ..admin(cluster)
    }
}

fn topic(name: &str) -> TopicConfig {
    TopicConfig {
        name: name.into(),
        partitions: 1,
        retention: None,
        retention_bytes: None,
        delete: true,
        compact: false,
    }
}

fn record(topic: &str) -> Record {
    Record {
        topic: topic.into(),
        partition: None,
        key: Some(Bytes::from_static(b"AAPL")),
        value: Some(Bytes::from_static(b"{}")),
        headers: Headers::new(),
        timestamp_ms: None,
    }
}

fn fatal<T>(result: tapedeck_log::Result<T>) -> String {
    match result {
        Err(LogError::Fatal(text)) => text,
        Err(other) => panic!("not fatal: {other}"),
        Ok(_) => panic!("it worked"),
    }
}

fn right(resource: AclResource, name: &str, operation: AclOperation) -> Acl {
    Acl { principal: "User:deck".into(), resource, name: name.into(), is_prefix: false, operation }
}

#[test]
fn every_mechanism_lets_a_known_user_write() {
    let Some(cluster) = &cluster() else { return };
    let names = testbed::name("mechanisms");
    KafkaLog::connect(&admin(cluster)).unwrap().create_topics(&[topic(&names)]).unwrap();
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        for (listener, protocol) in [("SASL_SSL", "sasl_ssl"), ("SASL", "sasl_plaintext")] {
            let whole = at(cluster, listener, protocol);
            let config = KafkaConfig {
                sasl_mechanism: mechanism.into(),
                security_protocol: whole.security_protocol,
                bootstrap_servers: whole.bootstrap_servers,
                ..admin(cluster)
            };
            let log = KafkaLog::connect(&config).unwrap_or_else(|error| panic!("{mechanism} over {protocol}: {error}"));
            log.append(vec![record(&names)]).unwrap_or_else(|error| panic!("{mechanism} over {protocol}: {error}"));
        }
    }
}

#[test]
fn a_certificate_says_who_a_client_is() {
    let Some(cluster) = &cluster() else { return };
    let names = testbed::name("certificates");
    let superuser = KafkaLog::connect(&admin(cluster)).unwrap();
    superuser.create_topics(&[topic(&names)]).unwrap();
    superuser.create_acls(&[right(AclResource::Topic, &names, AclOperation::Write)]).unwrap();
    let config = KafkaConfig {
        certificate_file: cluster.secret("CERTIFICATE_FILE"),
        key_file: cluster.secret("KEY_FILE"),
        ..at(cluster, "SSL", "ssl")
    };
    let log = KafkaLog::connect(&config).unwrap();
    until_allowed(|| log.append(vec![record(&names)]).map(drop));
}

#[test]
fn tls_without_a_certificate_is_enough_where_none_is_asked_for() {
    let Some(cluster) = &cluster() else { return };
    KafkaLog::connect(&at(cluster, "TLS", "ssl")).unwrap();
}

#[test]
fn a_wrong_password_says_whose_and_not_which() {
    let Some(cluster) = &cluster() else { return };
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let config = KafkaConfig { sasl_password: "hunter2".into(), sasl_mechanism: mechanism.into(), ..deck(cluster) };
        let text = fatal(KafkaLog::connect(&config));
        assert!(
            text.contains("user `deck`") && text.contains(mechanism) && text.contains("kafka.sasl_password"),
            "{text}"
        );
        assert!(!text.contains("hunter2") && !format!("{config:?}").contains("hunter2"), "{text}");
    }
}

#[test]
fn an_unknown_authority_is_named_as_the_reason() {
    let Some(cluster) = &cluster() else { return };
    let config = KafkaConfig { ca_file: cluster.secret("OTHER_CA_FILE"), ..deck(cluster) };
    let text = fatal(KafkaLog::connect(&config));
    assert!(text.contains("kafka.ca_file") && text.contains("not signed by"), "{text}");
}

#[test]
fn an_expired_certificate_is_told_from_an_unknown_one() {
    let Some(cluster) = &cluster() else { return };
    let with = |certificate: &str, key: &str| KafkaConfig {
        certificate_file: cluster.secret(certificate),
        key_file: cluster.secret(key),
        ..at(cluster, "SSL", "ssl")
    };
    let expired = fatal(KafkaLog::connect(&with("EXPIRED_CERTIFICATE_FILE", "EXPIRED_KEY_FILE")));
    assert!(expired.contains("kafka.certificate_file") && expired.contains("expired"), "{expired}");
    let stranger = fatal(KafkaLog::connect(&with("STRANGER_CERTIFICATE_FILE", "STRANGER_KEY_FILE")));
    assert!(stranger.contains("kafka.certificate_file") && !stranger.contains("expired"), "{stranger}");
    let none = fatal(KafkaLog::connect(&at(cluster, "SSL", "ssl")));
    assert!(none.contains("kafka.certificate_file"), "{none}");
}

#[test]
fn the_wrong_protocol_is_not_taken_for_a_dead_broker() {
    let Some(cluster) = &cluster() else { return };
    for (listener, protocol) in [("SASL_SSL", "plaintext"), ("SASL", "ssl")] {
        let config = KafkaConfig { request_timeout_ms: 2_000, ..at(cluster, listener, protocol) };
        let Err(error) = KafkaLog::connect(&config) else { panic!("{protocol} on {listener} worked") };
        assert!(error.to_string().contains("kafka.security_protocol"), "{error}");
    }
}

#[test]
fn a_missing_right_is_named_for_each_thing_that_is_tried() {
    let Some(cluster) = &cluster() else { return };
    let (names, group) = (testbed::name("rights"), testbed::name("rights-group"));
    let superuser = KafkaLog::connect(&admin(cluster)).unwrap();
    superuser.create_topics(&[topic(&names)]).unwrap();
    let log = KafkaLog::connect(&deck(cluster)).unwrap();
    let new = testbed::name("rights-new");
    let text = fatal(log.create_topics(&[topic(&new)]));
    assert!(text.contains("Missing ACL: Create on topic") && text.contains(&new), "{text}");
    let text = fatal(log.create_acls(&[right(AclResource::Topic, &names, AclOperation::Write)]));
    assert!(text.contains("Missing ACL: Alter on the cluster"), "{text}");
    // Not even that it is there may be seen: the broker answers as for one that is not.
    superuser.create_acls(&[right(AclResource::Topic, &names, AclOperation::Describe)]).unwrap();
    until_allowed(|| log.bounds(&TopicPartition::new(&*names, 0)).map(drop));
    let text = fatal(log.append(vec![record(&names)]));
    assert!(text.contains(&format!("Missing ACL: Write on topic `{names}`")), "{text}");
    let text = fatal(log.committed(&group));
    assert!(text.contains(&format!("Missing ACL: Describe on group `{group}`")), "{text}");
    let to = [GroupOffset { partition: TopicPartition::new(&*names, 0), next: 0 }];
    let text = fatal(log.reset_offsets(&group, &to));
    assert!(text.contains("Missing ACL") && text.contains(&group), "{text}");
}

#[test]
fn rights_that_are_given_are_enough() {
    let Some(cluster) = &cluster() else { return };
    let (names, group) = (testbed::name("given"), testbed::name("given-group"));
    let superuser = KafkaLog::connect(&admin(cluster)).unwrap();
    superuser.create_topics(&[topic(&names)]).unwrap();
    let all = [
        right(AclResource::Topic, &names, AclOperation::Write),
        right(AclResource::Topic, &names, AclOperation::Read),
        Acl { is_prefix: true, ..right(AclResource::Group, "given-", AclOperation::Read) },
        Acl { is_prefix: true, ..right(AclResource::TransactionalId, &group, AclOperation::Write) },
    ];
    superuser.create_acls(&all).unwrap();
    superuser.create_acls(&all).unwrap();
    let log = KafkaLog::connect(&deck(cluster)).unwrap();
    until_allowed(|| log.append(vec![record(&names)]).map(drop));
    let next = log.bounds(&TopicPartition::new(&*names, 0)).unwrap().1;
    let to = [GroupOffset { partition: TopicPartition::new(&*names, 0), next }];
    until_allowed(|| log.reset_offsets(&group, &to));
    assert_eq!(log.committed(&group).unwrap(), to);
}

/// Brokers learn of new rights one after the other, within moments.
fn until_allowed(mut act: impl FnMut() -> tapedeck_log::Result<()>) {
    testbed::until("a right is known", || match act() {
        Ok(()) => Some(()),
        Err(LogError::Fatal(text)) if text.contains("Missing ACL") || text.contains("no topic") => None,
        Err(other) => panic!("{other}"),
    });
}

#[test]
fn an_address_where_nobody_listens_says_what_was_tried() {
    let config = KafkaConfig {
        bootstrap_servers: "127.0.0.1:1,no-such-host.invalid:9092".into(),
        request_timeout_ms: 2_000,
        ..KafkaConfig::default()
    };
    let Err(error) = KafkaLog::connect(&config) else { panic!("it worked") };
    let text = error.to_string();
    assert!(error.is_transient(), "{text}");
    for part in ["127.0.0.1:1", "no-such-host.invalid", "plaintext", "Connection refused", "resolve"] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

#[test]
fn a_config_that_cannot_work_is_refused_before_a_broker_is_asked() {
    let wrong = |config: KafkaConfig| fatal(KafkaLog::connect(&config));
    let base = || KafkaConfig { bootstrap_servers: "127.0.0.1:1".into(), ..KafkaConfig::default() };
    let text = wrong(KafkaConfig { security_protocol: "tls".into(), ..base() });
    assert!(text.contains("kafka.security_protocol is `tls`") && text.contains("sasl_ssl"), "{text}");
    let text = wrong(KafkaConfig { security_protocol: "sasl_ssl".into(), sasl_username: "deck".into(), ..base() });
    assert!(text.contains("kafka.sasl_password is empty"), "{text}");
    let text = wrong(KafkaConfig { security_protocol: "ssl".into(), ca_file: "/nowhere/ca.pem".into(), ..base() });
    assert!(text.contains("kafka.ca_file `/nowhere/ca.pem`"), "{text}");
    let properties = [("no.such.property".to_owned(), "1".to_owned())].into();
    let text = wrong(KafkaConfig { properties, ..base() });
    assert!(text.contains("no.such.property"), "{text}");
}
