//! Medians, and how they are written.

use std::fmt;

/// One figure of several rounds.
#[derive(Default)]
pub struct Figure(Vec<f64>);

impl Figure {
    /// One round's.
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    /// The least value that so many percent of all do not exceed.
    pub fn percentile(&self, percent: usize) -> f64 {
        let place = (self.0.len() * percent).div_ceil(100);
        self.0
            .get(place.saturating_sub(1))
            .copied()
            .unwrap_or(f64::NAN)
    }
}

/// Median, smallest and largest: `12.3 (11.9–14.0)`; the precision says how many places. A dash where there is none.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let places = f.precision().unwrap_or(0);
        match &self.0[..] {
            [] => f.write_str("–"),
            [only] => write!(f, "{only:.places$}"),
            [first, .., last] => {
                let (lower, upper) = (self.0[(self.0.len() - 1) / 2], self.0[self.0.len() / 2]);
                let median = f64::midpoint(lower, upper);
                write!(f, "{median:.places$} ({first:.places$}–{last:.places$})")
            }
        }
    }
}
