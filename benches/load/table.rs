//! Rows of figures, and the median over the rounds.

use std::collections::BTreeMap;
use std::fmt;

pub(crate) struct Table {
    title: String,
    columns: &'static [&'static str],
    /// In order of appearance.
    names: Vec<&'static str>,
    rounds: BTreeMap<&'static str, Vec<Vec<f64>>>,
}

impl Table {
    pub(crate) fn new(title: &str, columns: &'static [&'static str]) -> Self {
        Self { title: title.to_owned(), columns, names: Vec::new(), rounds: BTreeMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(crate) fn add(&mut self, name: &'static str, figures: &[f64]) {
        assert_eq!(figures.len(), self.columns.len());
        if !self.names.contains(&name) {
            self.names.push(name);
        }
        self.rounds.entry(name).or_default().push(figures.to_vec());
    }
}

fn figure(value: f64) -> String {
    if value.is_nan() {
        "-".to_owned()
    } else if value >= 1000.0 {
        let digits = format!("{value:.0}");
        let mut text = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        text
    } else if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// Median, smallest and largest.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        writeln!(f, "{:<18}{}", "", self.columns.iter().map(|c| format!("{c:>28}")).collect::<String>())?;
        for name in &self.names {
            write!(f, "{name:<18}")?;
            for column in 0..self.columns.len() {
                let (middle, low, high) = spread(self.rounds[name].iter().map(|round| round[column]).collect());
                write!(f, "{:>28}", format!("{} ({}-{})", figure(middle), figure(low), figure(high)))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
