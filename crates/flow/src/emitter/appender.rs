//! The thread that calls the log and waits for it, so that the sender never does.
//!
//! Not here: what is sent and when.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread::{JoinHandle, Thread},
};

use tapedeck_log::{Log, LogError, Placement};

use super::{batch::Batch, topics::Topics};

/// One call is out at a time: that keeps the order.
const QUEUE: usize = 1;

enum Job {
    Append(Batch),
    Topics,
}

/// What the log said.
pub(super) enum Answer {
    /// To a batch, which comes back with it.
    Append(Batch, Result<Vec<Placement>, LogError>),
    /// To the question which topics there are.
    Topics(Result<Topics, LogError>),
    /// Nothing, and it never will: the thread is gone.
    Ended,
}

/// The sender's side of it.
pub(super) struct Appender {
    jobs: Option<SyncSender<Job>>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
    out: bool,
}

impl Appender {
    /// Starts the thread; `sender` is woken by each answer.
    ///
    /// # Errors
    /// There can be no more threads.
    pub(super) fn start(log: Arc<dyn Log>, name: &str, sender: Thread) -> io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(QUEUE);
        let (answer, answers) = sync_channel(QUEUE);
        let run = move || {
            for job in queue {
                let said = match job {
                    Job::Append(batch) => {
                        let result = call(|| log.append_kept(&batch.records));
                        Answer::Append(batch, result)
                    }
                    Job::Topics => Answer::Topics(call(|| Topics::ask(log.as_ref()))),
                };
                if answer.send(said).is_err() {
                    return;
                }
                sender.unpark();
            }
        };
        let thread = std::thread::Builder::new().name(format!("append-{name}")).spawn(run)?;
        Ok(Self { jobs: Some(jobs), answers, thread: Some(thread), out: false })
    }

    /// Whether the log has not answered yet.
    pub(super) fn is_out(&self) -> bool {
        self.out
    }

    /// Gives the log a batch; it must have answered before.
    pub(super) fn append(&mut self, batch: Batch) {
        self.give(Job::Append(batch));
    }

    /// Asks the log for its topics; it must have answered before.
    pub(super) fn ask_topics(&mut self) {
        self.give(Job::Topics);
    }

    /// What the log said, where it did.
    pub(super) fn answer(&mut self) -> Option<Answer> {
        let answer = match self.answers.try_recv() {
            Ok(answer) => answer,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Answer::Ended,
        };
        self.out = false;
        Some(answer)
    }

    /// Ends the thread, unless the log has not answered: then it is left alone.
    pub(super) fn end(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take().filter(|_| !self.out) {
            let _ = thread.join();
        }
    }

    fn give(&mut self, job: Job) {
        debug_assert!(!self.out, "one call at a time");
        self.out = true;
        if let Some(jobs) = &self.jobs {
            // Where the thread is gone, the next look for an answer says so.
            let _ = jobs.try_send(job);
        }
    }
}

/// Asks the log; a panic there is an error of it.
fn call<T>(ask: impl FnOnce() -> Result<T, LogError>) -> Result<T, LogError> {
    catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|_| Err(LogError::Fatal("the log panicked".into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_is_gone_is_an_answer() {
        let (jobs, (_, answers)) = (sync_channel(QUEUE).0, sync_channel(QUEUE));
        let mut appender = Appender { jobs: Some(jobs), answers, thread: None, out: false };
        appender.ask_topics();
        assert!(matches!(appender.answer(), Some(Answer::Ended)));
        assert!(!appender.is_out());
    }
}
