//! The steps of a request by name, and the time spent in each.
//!
//! The same words stand in function names, access log, metrics and documentation.

/// The steps in the order in which a request takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Receive,
    Route,
    Guard,
    Lookup,
    Forward,
    Shape,
    Finish,
}

impl Step {
    pub const ALL: [Self; 7] =
        [Self::Receive, Self::Route, Self::Guard, Self::Lookup, Self::Forward, Self::Shape, Self::Finish];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Route => "route",
            Self::Guard => "guard",
            Self::Lookup => "lookup",
            Self::Forward => "forward",
            Self::Shape => "shape",
            Self::Finish => "finish",
        }
    }
}

/// Microseconds spent per step; a step that was not taken has 0.
///
/// `Finish` is the time from the response head to the body's last byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings([u32; Step::ALL.len()]);

impl Timings {
    /// Adds to a step; a step may be taken twice (a retry, a revalidation). Saturates after 71 minutes.
    pub fn add(&mut self, step: Step, micros: u64) {
        let place = &mut self.0[step as usize];
        *place = place.saturating_add(u32::try_from(micros).unwrap_or(u32::MAX));
    }

    #[must_use]
    pub fn get(&self, step: Step) -> u32 {
        self.0[step as usize]
    }

    /// The steps that took time, in order.
    pub fn taken(&self) -> impl Iterator<Item = (Step, u32)> + '_ {
        Step::ALL.into_iter().map(|step| (step, self.get(step))).filter(|(_, micros)| *micros > 0)
    }
}
