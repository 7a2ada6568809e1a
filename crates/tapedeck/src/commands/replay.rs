//! `tapedeck replay`: progress while it runs, and the outcome for people or for
//! scripts.
//!
//! Not here: the replay.

use std::{path::PathBuf, process::ExitCode, sync::atomic::Ordering::Relaxed};

use super::checked;
use crate::{
    cli::{ReplayArgs, Role},
    config::Config,
    deck::Deck,
    folder::Folder,
    replay::{self, Outcome},
    show,
};

pub(super) fn run(
    mut config: Config,
    data: Option<PathBuf>,
    args: &ReplayArgs,
    json: bool,
) -> anyhow::Result<ExitCode> {
    // Without a folder given, a fresh one each time.
    if data.is_none() {
        let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S");
        config.data.dir = config.data.dir.join(format!("replay-{stamp}-{}", std::process::id()));
    }
    let config = checked(replay::plan(config, args)?)?;
    let bar = show::progress(!json, 0, "{spinner} {human_pos} market events traded, {per_sec}, {elapsed}");
    let mut seen = |deck: &Deck| {
        let events = deck.gauges(Role::ForwardTest).map_or(0, |gauges| gauges.last_seq.load(Relaxed));
        bar.set_position(events);
    };
    let outcome = replay::run(&config, Folder::claim_alone(&config.data.dir)?, args, &mut seen);
    bar.finish_and_clear();
    let outcome = outcome?;
    if json {
        show::json(&outcome)
    } else {
        tell(&outcome)
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(outcome: &Outcome) {
    let topics: Vec<Vec<String>> =
        outcome.events.iter().map(|(topic, n)| vec![topic.clone(), show::thousands(*n)]).collect();
    show::table(&["topic", "events"], &topics);
    show::out("");
    let text = |value: Option<tapedeck_contracts::Dec>| value.map_or("-".into(), |value| value.to_string());
    let money: Vec<Vec<String>> = outcome
        .pnl
        .iter()
        .map(|pnl| {
            vec![
                pnl.account.clone(),
                pnl.currency.clone().unwrap_or_else(|| "-".into()),
                pnl.realized.to_string(),
                pnl.unrealized.to_string(),
                pnl.fees.to_string(),
                pnl.total.to_string(),
                text(pnl.equity),
                if pnl.adds_up { "yes".into() } else { "NO".into() },
            ]
        })
        .collect();
    show::table(&["account", "currency", "realized", "unrealized", "fees", "total", "equity", "adds up"], &money);
    show::out(&format!(
        "\n{}, {} open, {:.1} s, {} market events/s{}\ndigest {}\nkept in {dir}; look at it with: tapedeck up --roles api --data {dir}",
        show::count(outcome.fills, "execution", "executions"),
        show::count(outcome.open_orders as u64, "order", "orders"),
        outcome.elapsed_s,
        show::thousands(outcome.events_per_s as u64),
        if outcome.continued { " (continued)" } else { "" },
        outcome.digest,
        dir = outcome.data,
    ));
}
