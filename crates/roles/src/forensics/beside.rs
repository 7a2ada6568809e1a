//! A thread that does one piece of work at a time beside its owner, who waits for the
//! answer before it gives the next.
//!
//! Not here: what the work is.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use tapedeck_flow::Failure;

/// The owner's side of it; dropping it waits for what was given.
pub(super) struct Beside<J, A> {
    name: &'static str,
    work: fn(J) -> A,
    thread: Option<Thread<J, A>>,
}

struct Thread<J, A> {
    jobs: SyncSender<J>,
    answers: Receiver<A>,
    handle: JoinHandle<()>,
}

impl<J: Send + 'static, A: Send + 'static> Beside<J, A> {
    /// Nothing runs yet.
    pub(super) fn new(name: &'static str, work: fn(J) -> A) -> Self {
        Self { name, work, thread: None }
    }

    /// Starts the thread, where it does not run.
    ///
    /// # Errors
    /// Transient where there can be no more threads.
    pub(super) fn start(&mut self) -> Result<(), Failure> {
        if self.thread.is_some() {
            return Ok(());
        }
        let ((jobs, inbox), (answer, answers), work) = (sync_channel::<J>(1), sync_channel(1), self.work);
        let run = move || {
            for job in inbox {
                if answer.send(work(job)).is_err() {
                    return;
                }
            }
        };
        let handle = thread::Builder::new().name(self.name.to_owned()).spawn(run);
        let handle = handle.map_err(|error| Failure::Transient(format!("no thread can be started: {error}")))?;
        self.thread = Some(Thread { jobs, answers, handle });
        Ok(())
    }

    /// Gives it work, which it must be waiting for.
    pub(super) fn give(&mut self, job: J) {
        if let Some(thread) = &self.thread {
            // Where the thread is gone, asking for the answer says so.
            let _ = thread.jobs.send(job);
        }
    }

    /// Waits for the answer to what was given. A panic of the thread goes on here.
    pub(super) fn answer(&mut self) -> A {
        let thread = self.thread.take().expect("work was given before its answer is asked for");
        match thread.answers.recv() {
            Ok(answer) => {
                self.thread = Some(thread);
                answer
            }
            Err(_) => match thread.handle.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => unreachable!("the thread ends only when nobody asks any more"),
            },
        }
    }
}

impl<J, A> Drop for Beside<J, A> {
    fn drop(&mut self) {
        if let Some(Thread { jobs, answers, handle }) = self.thread.take() {
            drop(jobs);
            drop(answers);
            // A panic there was told on its own.
            let _ = handle.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_answered_and_a_panic_goes_on_with_who_asks() {
        let mut beside = Beside::new("test", |n: u32| {
            assert_ne!(n, 3, "three");
            n * 2
        });
        beside.start().unwrap();
        for n in 0..3 {
            beside.give(n);
            assert_eq!(beside.answer(), n * 2);
        }
        beside.give(3);
        let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| beside.answer()));
        assert!(asked.is_err());
    }

    #[test]
    fn what_was_given_is_done_before_its_owner_goes() {
        let (done, seen) = sync_channel::<u32>(1);
        let mut beside = Beside::new("test", |done: SyncSender<u32>| {
            std::thread::yield_now();
            done.send(7).unwrap();
        });
        beside.start().unwrap();
        beside.give(done);
        drop(beside);
        assert_eq!(seen.try_recv(), Ok(7));
    }
}
