//! A source with a mistake in it, live: it stops where the mistake is, and
//! nobody else does.
//!
//! Not here: what a mistake is.

use super::*;

/// Runs the role until this is so of the log, and a moment of its gauges.
fn run_until(bench: &Bench, sources: &[SourceConfig], done: impl Fn(&Context) -> bool) -> Phase {
    let ctx = Context {
        log: Arc::clone(&bench.log) as Arc<dyn Log>,
        stop: Stop::new(),
        member: "m".into(),
        gauges: Arc::new(Gauges::default()),
        boundaries: Default::default(),
        aside: Aside::DeadLetter,
        emitter: None,
        budget: Default::default(),
    };
    thread::scope(|scope| {
        let role = scope.spawn(|| run(&ctx, &CONFIG, sources, &Arc::new(Progress::default())));
        while !done(&ctx) {
            assert!(!role.is_finished(), "the role ended: {:?}", ctx.gauges.phase());
            thread::yield_now();
        }
        let phase = ctx.gauges.phase();
        ctx.stop.request();
        role.join().unwrap().unwrap();
        phase
    })
}

#[test]
fn a_bad_line_stops_its_own_source_which_says_so_once_and_the_others_go_on() {
    let bench = Bench::new();
    let path = write(bench.path(), "f.csv", "time,symbol,price\n2024-01-01,A,1\n2024-01-02,A,2\n2024-01-03,A,x\n");
    let at_once = write(bench.path(), "g.csv", "time,symbol,price\nnever,A,1\n");
    let sources = [file_source("f", path), file_source("g", at_once), trades(&bench)];
    let stopped = |source: &str| bench.state(source).and_then(|state| state.stopped);
    // Twice: after a start it stops again, and has been said.
    for _ in 0..2 {
        let phase = run_until(&bench, &sources, |ctx| {
            let told =
                matches!(ctx.gauges.phase(), Phase::Blocked(text) if text.contains("`f`") && text.contains("`g`"));
            told && stopped("f").is_some()
                && stopped("g").is_some()
                && bench.state(&sources[2].id).is_some_and(|state| state.done == Some(60))
        });
        let Phase::Blocked(text) = phase else { panic!("{phase:?}") };
        assert!(text.contains("source `f` stopped behind its event 2: "), "{text}");
        assert!(text.contains("f.csv:4: column 3 `price`: \"x\" is not a decimal"), "{text}");
    }
    assert!(stopped("g").unwrap().contains("g.csv:2: column 1 `time`"), "{:?}", stopped("g"));
    assert_eq!((bench.numbered("f").len(), bench.state("f").unwrap().acked), (2, 2));
    let alerts = bench.records("alerts.v1");
    assert_eq!(alerts.len(), 2);
    let bodies: Vec<_> = alerts.iter().map(|alert| String::from_utf8_lossy(alert.value.as_deref().unwrap())).collect();
    assert!(bodies.iter().all(|body| body.contains("SOURCE_STOPPED") && body.contains("CRITICAL")), "{bodies:?}");
}
