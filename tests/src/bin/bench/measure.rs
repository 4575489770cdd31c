//! Numbers: series of measurements, and how they are written.

/// Measurements of one thing, in microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    pub(crate) fn push(&mut self, microseconds: f64) {
        self.0.push(microseconds);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The value below which this part of the measurements lies.
    fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (sorted.len().saturating_sub(1)) as f64 * part;
        let at = |index: f64| sorted.get(index as usize).copied().unwrap_or(f64::NAN);
        let below = at(place.floor());
        below + (at(place.ceil()) - below) * place.fract()
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub(crate) fn p10(&self) -> f64 {
        self.quantile(0.1)
    }

    pub(crate) fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    /// Median and p10.
    pub(crate) fn text(&self) -> String {
        if self.0.is_empty() {
            "–".into()
        } else {
            format!("{} ({})", time(self.median()), time(self.p10()))
        }
    }
}

/// A time in microseconds, with three digits and a unit.
pub(crate) fn time(microseconds: f64) -> String {
    if microseconds < 1000.0 {
        format!("{} µs", digits(microseconds))
    } else {
        format!("{} ms", digits(microseconds / 1000.0))
    }
}

/// A number with three digits, or all of those before the point.
pub(crate) fn digits(number: f64) -> String {
    match number {
        _ if number >= 100.0 => format!("{number:.0}"),
        _ if number >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[f64]) -> Series {
        Series(values.to_vec())
    }

    #[test]
    fn quantiles_lie_between_the_measurements() {
        assert_eq!(series(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(series(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!(series(&[1.0, 2.0]).p10(), 1.1);
        assert_eq!(series(&[1.0, 2.0, 6.0]).mean(), 3.0);
        assert_eq!(series(&[]).text(), "–");
    }

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!(time(64.25), "64.2 µs");
        assert_eq!(time(1234.0), "1.23 ms");
        assert_eq!(time(2_345_678.0), "2346 ms");
    }
}
