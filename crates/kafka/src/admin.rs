//! The client for rare questions: making and deleting topics, their properties.
//!
//! Not here: what the questions are for.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use futures_executor::block_on;
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicResult},
    config::RDKafkaLogLevel,
    error::{KafkaResult, RDKafkaErrorCode as Code},
};
use tapedeck_log::Result;

use crate::{
    client::Client,
    error::{log_error, refused},
    watch::Watcher,
};

/// Properties of a topic, by name.
pub(crate) type Properties = BTreeMap<String, String>;

/// Asks as an administrator.
pub(crate) struct Admin {
    native: AdminClient<Watcher>,
    client: Arc<Client>,
}

impl Admin {
    pub(crate) fn new(client: &Arc<Client>) -> Result<Self> {
        let mut config = client.native_config();
        // Nobody reads what this client says beside its answers, so it says nothing.
        config.set("statistics.interval.ms", "0").set_log_level(RDKafkaLogLevel::Emerg);
        let native = config
            .create_with_context(Watcher::new(&client.book, "admin"))
            .map_err(|error| log_error(&error, "start librdkafka"))?;
        Ok(Self { native, client: Arc::clone(client) })
    }

    /// Makes topics; one that came to be meanwhile stays.
    pub(crate) fn create_topics(&self, topics: &[NewTopic<'_>]) -> Result<()> {
        let begin = Instant::now();
        self.look_around(begin)?;
        let answer = block_on(self.native.create_topics(topics, &self.options()));
        self.each(answer, begin, "create", "Create on topic", &[Code::TopicAlreadyExists])
    }

    /// Deletes topics by their names on the cluster.
    pub(crate) fn delete_topics(&self, topics: &[&str]) -> Result<()> {
        let begin = Instant::now();
        self.look_around(begin)?;
        let answer = block_on(self.native.delete_topics(topics, &self.options()));
        self.each(answer, begin, "delete", "Delete on topic", &[])
    }

    /// Gives a topic so many partitions in all.
    pub(crate) fn create_partitions(&self, topic: &str, partitions: u32) -> Result<()> {
        let begin = Instant::now();
        self.look_around(begin)?;
        let wanted = [NewPartitions::new(topic, partitions as usize)];
        let answer = block_on(self.native.create_partitions(&wanted, &self.options()));
        self.each(answer, begin, "add partitions to", "Alter on topic", &[])
    }

    /// The properties of topics, by their names on the cluster; one that may not be
    /// described, or is gone, is left out.
    pub(crate) fn properties(&self, topics: &[&str]) -> Result<BTreeMap<String, Properties>> {
        let begin = Instant::now();
        self.look_around(begin)?;
        let wanted: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let answers = block_on(self.native.describe_configs(&wanted, &self.options()))
            .map_err(|error| self.client.explain(&error, begin, "read the properties of topics"))?;
        let mut all = BTreeMap::new();
        for (topic, answer) in topics.iter().zip(answers) {
            let resource = match answer {
                Ok(resource) => resource,
                Err(Code::UnknownTopicOrPartition) => continue,
                Err(code) => {
                    let doing = format!("read the properties of topic `{topic}`");
                    return Err(refused(code, "", &doing, &format!("DescribeConfigs on topic `{topic}`")));
                }
            };
            let entry = |entry: rdkafka::admin::ConfigEntry| Some((entry.name, entry.value?));
            all.insert((*topic).to_owned(), resource.entries.into_iter().filter_map(entry).collect());
        }
        Ok(all)
    }

    /// Hears anew who answers for the whole cluster: librdkafka asks the broker that it
    /// last heard of, waits for it where it is dead, and by itself hears of another
    /// after minutes.
    fn look_around(&self, begin: Instant) -> Result<()> {
        let metadata = self.native.inner().fetch_metadata(None, self.client.timeout());
        metadata.map(drop).map_err(|error| self.client.explain(&error, begin, "ask for the brokers of the cluster"))
    }

    fn each(
        &self,
        answer: KafkaResult<Vec<TopicResult>>,
        begin: Instant,
        verb: &str,
        right: &str,
        fine: &[Code],
    ) -> Result<()> {
        let answers = answer.map_err(|error| self.client.explain(&error, begin, &format!("{verb} topics")))?;
        self.client.forget_topics();
        for answer in answers {
            if let Err((topic, code)) = answer
                && !fine.contains(&code)
            {
                let needs = format!("{right} `{topic}`");
                return Err(refused(code, "", &format!("{verb} topic `{topic}`"), &needs));
            }
        }
        Ok(())
    }

    fn options(&self) -> AdminOptions {
        let timeout = Some(self.client.timeout());
        AdminOptions::new().request_timeout(timeout).operation_timeout(timeout)
    }
}
