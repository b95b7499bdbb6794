//! Time as an argument: the same clock in, the same tokens out.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp, Zoned, tz::TimeZone};

/// Tells what time it is, in the zone in which dates are shown to the model.
pub trait Clock {
    /// Returns the current moment.
    fn now(&self) -> Zoned;
}

/// The machine's clock in the machine's zone.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Zoned {
        Zoned::now()
    }
}

/// A clock that starts at a given moment and advances by one second at each reading.
///
/// It advances so that messages have an order in time; it is what makes a conversation
/// repeatable to the token.
#[derive(Debug)]
pub struct FixedClock {
    start: Timestamp,
    zone: TimeZone,
    readings: AtomicI64,
}

impl FixedClock {
    /// Creates a clock whose first reading is `start`.
    pub fn new(start: Timestamp, zone: TimeZone) -> Self {
        Self { start, zone, readings: AtomicI64::new(0) }
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Zoned {
        let seconds = self.readings.fetch_add(1, Ordering::Relaxed);
        let now =
            self.start.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
        now.to_zoned(self.zone.clone())
    }
}
