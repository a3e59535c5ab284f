//! Medians and their spread; histograms of the node.

use std::fmt;

/// Values of one measurement, round by round.
#[derive(Debug, Clone, Default)]
pub struct Series(Vec<f64>);

impl Series {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    pub fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        match self.0.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => self.0[middle],
            _ => f64::midpoint(self.0[middle - 1], self.0[middle]),
        }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.0.first().unwrap_or(&f64::NAN), self.0.last().unwrap_or(&f64::NAN));
        let digits = if self.median() < 10.0 { 3 } else { 0 };
        write!(f, "{:.digits$} ({first:.digits$}–{last:.digits$})", self.median())
    }
}

/// Observations up to each bound, in seconds.
#[derive(Debug, Clone, Default)]
pub struct Histogram(pub Vec<(f64, f64)>);

/// Bounds as the node has them where times are short.
const BOUNDS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, f64::INFINITY];

impl Histogram {
    /// Of single values, in seconds.
    pub fn of(values: impl Iterator<Item = f64>) -> Histogram {
        let mut counts = BOUNDS.map(|bound| (bound, 0.0));
        for value in values {
            for (_, count) in counts.iter_mut().filter(|(bound, _)| value <= *bound) {
                *count += 1.0;
            }
        }
        Histogram(counts.to_vec())
    }

    /// What came after `before`.
    pub fn since(&self, before: &Histogram) -> Histogram {
        let earlier =
            |bound: f64| before.0.iter().find(|(other, _)| *other == bound).map_or(0.0, |row| row.1);
        Histogram(self.0.iter().map(|(bound, count)| (*bound, count - earlier(*bound))).collect())
    }

    /// Between which bounds it lies.
    pub fn quantile(&self, share: f64) -> String {
        let all = self.0.last().map_or(0.0, |(_, count)| *count);
        let place = self.0.iter().position(|(_, count)| *count >= all * share && all > 0.0);
        let Some(place) = place else { return "nothing was measured".to_owned() };
        let ms = |bound: f64| bound * 1000.0;
        let low = place.checked_sub(1).map_or(0.0, |before| ms(self.0[before].0));
        let (high, count) = self.0[place];
        format!("{low}–{} ms ({:.2} % below)", ms(high), count / all * 100.0)
    }
}
