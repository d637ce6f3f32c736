//! What was measured, as tables, and the limits that our engine has to keep.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
};

use crate::engines::{
    GROK, OURS, PCRE2_AS_WRITTEN, PCRE2_JIT, REGEX, SCANNER_BYTES, SCANNER_MEMCHR,
};

/// The cost of one line: the median of the samples, and the least of them. The least one is what
/// is left when no neighbour on the machine disturbs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// The median.
    pub median: f64,
    /// The least.
    pub least: f64,
}

impl Cost {
    /// Of samples, of which there is at least one.
    pub fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let middle = samples.len() / 2;
        let median = if samples.len() % 2 == 1 {
            samples[middle]
        } else {
            f64::midpoint(samples[middle - 1], samples[middle])
        };
        Self {
            median,
            least: samples[0],
        }
    }
}

/// Costs by case and engine. Displays itself as the two tables.
#[derive(Debug, Default)]
pub struct Report {
    unit: &'static str,
    cases: Vec<&'static str>,
    engines: Vec<&'static str>,
    costs: BTreeMap<(&'static str, &'static str), Cost>,
    rejected: BTreeMap<String, Vec<String>>,
}

impl Report {
    /// An empty one, of costs in this unit. Limits in time are only judged in `ns`.
    pub fn new(unit: &'static str) -> Self {
        Self {
            unit,
            ..Self::default()
        }
    }

    /// Adds what one engine costs in one case.
    pub fn add(&mut self, case: &'static str, engine: &'static str, cost: Cost) {
        if !self.cases.contains(&case) {
            self.cases.push(case);
        }
        if !self.engines.contains(&engine) {
            self.engines.push(engine);
        }
        self.costs.insert((case, engine), cost);
    }

    /// Notes that an engine runs less than the others in a case.
    pub fn reject(&mut self, case: &str, engine: &str, expressions: &[&str]) {
        if !expressions.is_empty() {
            let expressions = expressions.join(" ");
            let note = format!("{engine} cannot compile {expressions}");
            self.rejected.entry(note).or_default().push(case.to_owned());
        }
    }

    fn cost(&self, case: &'static str, engine: &'static str) -> Option<Cost> {
        self.costs.get(&(case, engine)).copied()
    }
}

/// Our cost in one case, which has to be at most so many times another.
struct Limit {
    case: &'static str,
    other: Other,
    factor: f64,
}

enum Other {
    /// Another engine in the same case.
    Engine(&'static str),
    /// Ourselves in another case.
    Case(&'static str),
    /// So many nanoseconds.
    Time(f64),
}

const LIMITS: &[Limit] = &[
    limit("combined", Other::Engine(SCANNER_BYTES), 2.5),
    limit("combined", Other::Engine(SCANNER_MEMCHR), 2.5),
    limit("combined", Other::Engine(PCRE2_AS_WRITTEN), 1.0 / 1.5),
    limit("combined", Other::Engine(PCRE2_JIT), 1.0 / 1.5),
    limit("combined", Other::Engine(GROK), 1.0 / 7.0),
    limit("combined", Other::Engine(REGEX), 1.0 / 15.0),
    limit("syslog", Other::Engine(PCRE2_JIT), 1.0),
    limit("twenty-last", Other::Case("combined"), 2.0),
    limit("twenty-none", Other::Time(1_500.0), 1.0),
    limit("twenty-none-java", Other::Time(1_500.0), 1.0),
    limit("cut", Other::Time(800.0), 1.0),
];

const fn limit(case: &'static str, other: Other, factor: f64) -> Limit {
    Limit {
        case,
        other,
        factor,
    }
}

impl Limit {
    /// A line of the table; nothing when the figures for it were not measured.
    fn judge(&self, report: &Report) -> Option<String> {
        let ours = report.cost(self.case, OURS)?;
        let (name, other) = match self.other {
            Other::Engine(engine) => (engine.to_owned(), report.cost(self.case, engine)?),
            Other::Case(case) => (format!("{case} alone"), report.cost(case, OURS)?),
            Other::Time(time) if report.unit == "ns" => {
                let other = Cost {
                    median: time,
                    least: time,
                };
                (format!("{time} ns"), other)
            }
            Other::Time(_) => return None,
        };
        let (median, least) = (ours.median / other.median, ours.least / other.least);
        // "So many times as fast" reads better than a small fraction.
        let (wanted, median, least) = if self.factor < 1.0 {
            let wanted = format!("at least {:.1} × as fast", 1.0 / self.factor);
            (wanted, 1.0 / median, 1.0 / least)
        } else {
            (format!("at most {:.1} ×", self.factor), median, least)
        };
        let kept = ours.median <= self.factor * other.median;
        Some(format!(
            "| {} | {name} | {wanted} | {median:.2} | {least:.2} | {} |",
            self.case,
            if kept { "PASS" } else { "FAIL" }
        ))
    }
}

impl Display for Report {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{} a line, one thread, all captures: the median, and in brackets the least\n",
            self.unit
        )?;
        writeln!(formatter, "| | {} |", self.cases.join(" | "))?;
        writeln!(formatter, "|---|{}", "---|".repeat(self.cases.len()))?;
        for engine in &self.engines {
            write!(formatter, "| {engine} |")?;
            for case in &self.cases {
                match self.cost(case, engine) {
                    Some(cost) => write!(
                        formatter,
                        " {} ({}) |",
                        thousands(cost.median),
                        thousands(cost.least)
                    )?,
                    None => write!(formatter, " |")?,
                }
            }
            writeln!(formatter)?;
        }
        writeln!(formatter)?;
        for (note, cases) in &self.rejected {
            writeln!(formatter, "{note}: left out of {}", cases.join(", "))?;
        }
        let limits: Vec<String> = LIMITS
            .iter()
            .filter_map(|limit| limit.judge(self))
            .collect();
        if !limits.is_empty() {
            writeln!(
                formatter,
                "\n| {OURS} in | beside | wanted | median | least | |\n|---|---|---|---|---|---|\n{}",
                limits.join("\n")
            )?;
        }
        Ok(())
    }
}

/// A whole number with its thousands apart.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_the_median_and_the_least() {
        for (samples, median) in [(vec![3.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0, 2.0, 3.0], 2.5)] {
            assert_eq!(Cost::of(samples), Cost { median, least: 1.0 });
        }
    }

    #[test]
    fn limits_are_judged_by_the_median() {
        let mut report = Report::new("ns");
        let cost = |median| Cost {
            median,
            least: median / 2.0,
        };
        report.add("combined", OURS, cost(300.0));
        report.add("combined", SCANNER_BYTES, cost(100.0));
        report.add("combined", PCRE2_JIT, cost(450.0));
        report.add("cut", OURS, cost(801.0));
        report.add("twenty-last", OURS, cost(600.0));
        let text = report.to_string();
        for line in [
            "| skidder-grok | 300 (150) | 801 (400) | 600 (300) |",
            "| scanner, bytes | 100 (50) | | |",
            "| combined | scanner, bytes | at most 2.5 × | 3.00 | 3.00 | FAIL |",
            "| combined | pcre2, jit | at least 1.5 × as fast | 1.50 | 1.50 | PASS |",
            "| twenty-last | combined alone | at most 2.0 × | 2.00 | 2.00 | PASS |",
            "| cut | 800 ns | at most 1.0 × | 1.00 | 0.50 | FAIL |",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("memchr"));
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(thousands(999.6), "1,000");
        assert_eq!(thousands(123_456.0), "123,456");
        assert_eq!(thousands(7.0), "7");
    }
}
