//! The course of a number in one line of letters.

/// Letters in a line.
const WIDTH: usize = 24;
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Gathers values; when there are too many, neighbours become their mean.
#[derive(Debug, Default)]
pub(super) struct Spark {
    /// Sum and count of neighbours.
    places: Vec<(f64, u32)>,
    /// Values that go into one place.
    each: u32,
}

impl Spark {
    pub(super) fn add(&mut self, value: Option<f64>) {
        let Some(value) = value.filter(|value| value.is_finite()) else { return };
        self.each = self.each.max(1);
        match self.places.last_mut() {
            Some((sum, count)) if *count < self.each => {
                *sum += value;
                *count += 1;
            }
            _ => self.places.push((value, 1)),
        }
        if self.places.len() > 2 * WIDTH {
            self.each *= 2;
            self.places = self.places.chunks(2).map(|two| two.iter().fold((0.0, 0), |(a, n), (b, m)| (a + b, n + m))).collect();
        }
    }

    /// Nothing for less than two values.
    pub(super) fn line(&self) -> String {
        if self.places.len() < 2 {
            return String::new();
        }
        let means: Vec<f64> = self.places.iter().map(|(sum, count)| sum / f64::from(*count)).collect();
        let (low, high) = means.iter().fold((f64::MAX, f64::MIN), |(low, high), mean| (low.min(*mean), high.max(*mean)));
        let letter = |mean: &f64| {
            let part = if high > low { (mean - low) / (high - low) } else { 0.0 };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 7")]
            let height = (part * 7.0).round() as usize;
            HEIGHTS.get(height).copied().unwrap_or('▁')
        };
        let step = means.len().div_ceil(WIDTH);
        means.iter().step_by(step).map(letter).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_the_course_however_many_values_there_are() {
        let mut spark = Spark::default();
        assert_eq!(spark.line(), "");
        (0..8).for_each(|n| spark.add(Some(f64::from(n))));
        spark.add(None);
        assert_eq!(spark.line(), "▁▂▃▄▅▆▇█");
        (0..100_000).for_each(|n| spark.add(Some(f64::from(n))));
        assert!(spark.line().chars().count() <= WIDTH);
        assert!(spark.line().starts_with('▁') && spark.line().ends_with(['▇', '█']), "{}", spark.line());
    }
}
