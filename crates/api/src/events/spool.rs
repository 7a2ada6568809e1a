//! `?ack=spool`: events that are answered for once they are in this process's
//! ring, whether the log is there or not.
//!
//! Not here: how they get from there into the log, which the emitter does.

use std::sync::Mutex;

use tapedeck_flow::emitter::{EmitError, Producer};

use super::{EventResult, Line};
use crate::{
    app::lock,
    problem::{FieldProblem, Problem},
};

/// A full ring and spool empty as fast as the log takes events: seconds, where
/// it takes any.
const FULL_RETRY_S: u64 = 5;

/// Emits the good lines in their order. Once nothing can be taken any more, the
/// rest is refused, and the problem says why; what was taken before is kept.
pub(super) fn emit(producer: &Mutex<Producer>, lines: Vec<Line>) -> (Vec<EventResult>, Option<Problem>) {
    let mut producer = lock(producer);
    let mut stopped: Option<Problem> = None;
    let result = |line: Line| {
        let refused = |error| EventResult::Rejected { line: line.line, error };
        let (id, record) = match line.outcome {
            Ok(event) => event,
            Err(error) => return refused(error),
        };
        let failed = |detail: String| FieldProblem { path: "$".into(), detail };
        if let Some(problem) = &stopped {
            return refused(failed(problem.detail.clone()));
        }
        match producer.emit_record(&record) {
            Ok(_) => EventResult::Accepted {
                line: line.line,
                event_id: id.0,
                partition: None,
                offset: None,
                ack: Some("spool"),
            },
            Err(error @ (EmitError::TooLarge { .. } | EmitError::UnknownTopic(_))) => {
                refused(failed(error.to_string()))
            }
            Err(error) => {
                let problem = Problem::unavailable(
                    format!("this process can keep no more events for the log: {error}"),
                    FULL_RETRY_S,
                );
                let error = failed(problem.detail.clone());
                stopped = Some(problem);
                refused(error)
            }
        }
    };
    let results = lines.into_iter().map(result).collect();
    (results, stopped)
}
