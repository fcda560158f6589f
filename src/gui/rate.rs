//! How fast something goes: bytes a second over the last while, steady enough to be read.

use jiff::Timestamp;

/// Seconds after which what was measured counts for about a third.
const MEMORY: f64 = 4.0;

/// Nothing is told before this many seconds: the first bytes say little.
const FIRST: f64 = 1.0;

/// A speed that forgets.
#[derive(Debug, Clone, Default)]
pub struct Rate {
    began: Option<Timestamp>,
    last: Option<(Timestamp, u64)>,
    speed: f64,
}

impl Rate {
    /// So many bytes are done by `now`.
    pub fn note(&mut self, done: u64, now: Timestamp) {
        let began = *self.began.get_or_insert(now);
        let Some((then, before)) = self.last else {
            self.last = Some((now, done));
            return;
        };
        let seconds = seconds_between(then, now);
        // What comes in one go is measured together.
        if seconds < 0.05 {
            return;
        }
        let speed = done.saturating_sub(before) as f64 / seconds;
        let age = seconds_between(began, then);
        let weight = if age <= 0.0 { 1.0 } else { 1.0 - (-seconds / MEMORY.min(age + seconds)).exp() };
        self.speed += weight * (speed - self.speed);
        self.last = Some((now, done));
    }

    /// Bytes a second, once that can be told.
    pub fn per_second(&self) -> Option<u64> {
        let (began, (last, _)) = (self.began?, self.last?);
        (seconds_between(began, last) >= FIRST && self.speed >= 1.0).then_some(self.speed as u64)
    }
}

fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    (to.as_nanosecond() - from.as_nanosecond()) as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_790_000_000_000 + milliseconds).unwrap()
    }

    #[test]
    fn a_steady_speed_is_told_after_a_second() {
        let mut rate = Rate::default();
        for step in 0..10 {
            rate.note(step * 1_000_000, at(step as i64 * 100));
        }
        assert_eq!(rate.per_second(), None);
        rate.note(10_000_000, at(1_000));
        assert_eq!(rate.per_second(), Some(10_000_000));
    }

    #[test]
    fn a_speed_that_drops_is_followed_within_some_seconds() {
        let mut rate = Rate::default();
        let mut done = 0;
        for step in 0..200 {
            done += if step < 100 { 1_000_000 } else { 100_000 };
            rate.note(done, at(step * 100));
        }
        let speed = rate.per_second().unwrap();
        assert!((1_000_000..2_000_000).contains(&speed), "{speed}");
    }

    #[test]
    fn a_clock_that_is_set_back_does_no_harm() {
        let mut rate = Rate::default();
        rate.note(0, at(10_000));
        rate.note(5_000_000, at(0));
        rate.note(6_000_000, at(12_000));
        assert!(rate.per_second().is_none_or(|speed| speed < 10_000_000));
    }
}
