//! Our names and the cluster's: a prefix stands before each topic, group and
//! transactional id, so that two decks share a cluster and neither sees the other.
//!
//! Not here: which names there are.

/// The prefix, and both ways over it.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    prefix: String,
}

impl Names {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The cluster's name of ours.
    pub(crate) fn outer(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Our name of the cluster's; none where it is another deck's, or one that
    /// Kafka keeps for itself (`__consumer_offsets`).
    pub(crate) fn inner<'a>(&self, name: &'a str) -> Option<&'a str> {
        let inner = name.strip_prefix(self.prefix.as_str())?;
        (!inner.is_empty() && !inner.starts_with("__")).then_some(inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_back_from_the_cluster_as_it_went() {
        for prefix in ["", "prod."] {
            let names = Names::new(prefix);
            assert_eq!(names.inner(&names.outer("trade-executions")), Some("trade-executions"));
            assert_eq!(names.inner(&names.outer("__consumer_offsets")), None);
        }
    }

    #[test]
    fn names_of_another_deck_are_not_ours() {
        let names = Names::new("prod.");
        for other in ["test.alerts.v1", "alerts.v1", "prod.", "__transaction_state", "prod"] {
            assert_eq!(names.inner(other), None, "{other}");
        }
    }
}
