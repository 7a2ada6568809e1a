//! The places where an end of the process hurts most, by name, so that rehearsals
//! can stage it there.
//!
//! Not here: ending the process, which the binary does when it is told to.

use std::{fmt, str::FromStr, sync::Arc};

/// A place between two steps of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Boundary {
    /// An event is in the ring; nothing else knows of it.
    Ring,
    /// Half of a write to the spool is done.
    SpoolWrite,
    /// A part of what the spool held is in the log, and the spool does not say so.
    CatchUp,
    /// Records are durable in the log; who wrote them does not know it yet.
    Append,
    /// Rows are in the store; the group's offset is not moved.
    Apply,
    /// All is handled; nothing is visible yet.
    Commit,
    /// A dead letter is written; its record is not settled.
    DeadLetter,
    /// A part of the dead letters of a redrive is sent again.
    Redrive,
}

impl Boundary {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Ring,
        Self::SpoolWrite,
        Self::CatchUp,
        Self::Append,
        Self::Apply,
        Self::Commit,
        Self::DeadLetter,
        Self::Redrive,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::SpoolWrite => "spool-write",
            Self::CatchUp => "catch-up",
            Self::Append => "append",
            Self::Apply => "apply",
            Self::Commit => "commit",
            Self::DeadLetter => "dead-letter",
            Self::Redrive => "redrive",
        }
    }
}

impl FromStr for Boundary {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|boundary| boundary.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|boundary| boundary.name()).collect();
            format!("there is no boundary `{text}`; there are {}", names.join(", "))
        })
    }
}

/// Is told of each boundary that is passed; does nothing unless it was given
/// something to do.
#[derive(Clone, Default)]
pub struct Boundaries(Option<Arc<dyn Fn(Boundary) + Send + Sync>>);

impl Boundaries {
    /// Calls this at each boundary, on the thread that passes it.
    pub fn calling(at: impl Fn(Boundary) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(at)))
    }

    /// Whether anybody wants to be told.
    pub fn are_watched(&self) -> bool {
        self.0.is_some()
    }

    /// A boundary is passed.
    pub fn pass(&self, boundary: Boundary) {
        if let Some(at) = &self.0 {
            at(boundary);
        }
    }
}

impl fmt::Debug for Boundaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Boundaries(watched)" } else { "Boundaries" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_is_found_by_its_name_and_no_other() {
        for boundary in Boundary::ALL {
            assert_eq!(boundary.name().parse(), Ok(boundary));
        }
        assert!("rings".parse::<Boundary>().unwrap_err().contains("spool-write"));
    }
}
