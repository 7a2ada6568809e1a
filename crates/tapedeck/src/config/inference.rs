//! The inference section beside the sessions: whose decisions they are, on which
//! market, and whether any are made.
//!
//! Not here: what is wrong within the section, which the role says.

use tapedeck_roles::{
    forward_test::config::{SessionConfig, TradeSource},
    inference::{
        InferenceConfig,
        config::{Enabled, Trigger},
    },
};

use super::Config;

impl Config {
    /// The `[inference]` section, with account and market source of the session that
    /// trades decisions where it names none itself.
    pub(crate) fn inference(&self) -> InferenceConfig {
        let mut section = self.inference_section.clone();
        let account = section.account.as_ref();
        let session = trading(self).find(|session| account.is_none_or(|account| *account == session.account));
        if let Some(session) = session {
            section.account.get_or_insert_with(|| session.account.clone());
            section.source.get_or_insert_with(|| session.market_source.clone());
        }
        section
    }

    /// Whether the inference role decides on what the market sends.
    pub(crate) fn decides(&self) -> bool {
        match self.inference_section.enabled {
            Enabled::Yes => true,
            Enabled::No => false,
            Enabled::Auto => self.trades_decisions() || self.inference_section.models.dir.is_some(),
        }
    }

    /// Whether a session trades decisions.
    pub(crate) fn trades_decisions(&self) -> bool {
        trading(self).next().is_some()
    }
}

fn trading(config: &Config) -> impl Iterator<Item = &SessionConfig> {
    config.sessions.iter().filter(|session| session.source == TradeSource::Decisions)
}

/// What is wrong, each with its key and its remedy.
pub(super) fn check(config: &Config) -> Vec<String> {
    let section = &config.inference_section;
    let mut wrong: Vec<String> = section.wrong().into_iter().map(|text| format!("inference.{text}")).collect();
    let accounts: Vec<&str> = trading(config).map(|session| session.account.as_str()).collect();
    if config.decides() && section.account.is_none() && accounts.len() > 1 {
        wrong.push(format!(
            "inference.account: several sessions trade decisions, and a decision is for one account: name one of {}",
            accounts.join(", ")
        ));
    }
    if let Some(source) = &section.source
        && !config.sources.is_empty()
        && !config.sources.iter().any(|known| known.id == *source)
    {
        let known: Vec<&str> = config.sources.iter().map(|source| source.id.as_str()).collect();
        wrong.push(format!("inference.source: no source is named `{source}` (there are: {})", known.join(", ")));
    }
    let whole = config.inference();
    let session = trading(config).find(|session| whole.account.as_ref() == Some(&session.account));
    if let (Some(session), Some(source)) = (session, &section.source)
        && config.decides()
        && session.market_source != *source
    {
        wrong.push(format!(
            "inference.source: `{source}` is not what session `{}` listens to (`{}`), so its orders would not fill; leave \
             `source` out",
            session.id, session.market_source
        ));
    }
    // Signals that are decided on may name the session whose account trades the decisions.
    let asks = config.decides() && section.trigger == Trigger::Signals;
    for strategy in config.strategies.iter().filter(|_| !asks) {
        if let Some(session) = trading(config).find(|session| session.id == strategy.session_id) {
            wrong.push(format!(
                "strategies `{}`: session `{}` trades decisions, so none of its signals would trade; give it a session \
                 whose source is \"signals\", or decide on them: inference.trigger = \"signals\"",
                strategy.id, session.id
            ));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::load;

    const SESSION: &str = "\n[[sources]]\nid = \"m\"\nkind = \"generator\"\nvenue = \"SIM\"\nsymbols = [\"BTC\"]\n\
        [[sessions]]\nid = \"s\"\naccount = \"A\"\nmarket_source = \"m\"\nsource = \"decisions\"\n";

    fn config(text: &str) -> Config {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load(Some(file.path()), &BTreeMap::new()).unwrap()
    }

    #[test]
    fn the_section_of_the_defaults_is_that_of_the_role() {
        assert_eq!(config("").inference_section, InferenceConfig::default());
    }

    #[test]
    fn it_decides_where_somebody_trades_decisions_or_brings_models() {
        assert!(!config("").decides());
        assert!(config("[inference]\nenabled = \"yes\"").decides());
        assert!(config("[inference.models]\ndir = \"models\"").decides());
        let traded = config(SESSION);
        assert!(traded.decides() && traded.check().is_empty(), "{:?}", traded.check());
        assert_eq!(traded.inference().account.as_deref(), Some("A"));
        assert_eq!(traded.inference().source.as_deref(), Some("m"));
        assert!(!config(&format!("[inference]\nenabled = \"no\"\n{SESSION}")).decides());
    }

    #[test]
    fn what_the_sessions_do_not_agree_with_is_named_with_its_line() {
        let second =
            SESSION[SESSION.find("[[sessions]]").unwrap()..].replace("\"s\"", "\"t\"").replace("\"A\"", "\"B\"");
        let said = config(&format!("{SESSION}{second}")).check().join("; ");
        assert!(said.contains("inference.account: several sessions") && said.contains("A, B"), "{said}");
        let strategy = "[[strategies]]\nid = \"x\"\nkind = \"breakout\"\nsession_id = \"s\"\n";
        let said = config(&format!("{strategy}{SESSION}")).check().join("; ");
        assert!(said.contains(":1: strategies `x`: session `s` trades decisions"), "{said}");
        let asked = config(&format!("[inference]\ntrigger = \"signals\"\n{strategy}{SESSION}"));
        assert!(asked.check().is_empty(), "{:?}", asked.check());
        let said = config(&format!("[inference]\nband = 0.5\nsource = \"n\"\n{SESSION}")).check().join("; ");
        assert!(said.contains(":2: inference.band") && said.contains(":3: inference.source"), "{said}");
    }
}
