//! How to write an expression better: rules over its outline and over what was measured.
//!
//! A rule only speaks where it can say what to write; it never says that a line would match the
//! same, since most of the advice narrows what an expression takes.

use skidder_grok::{CompileOptions, GroupKind, Part, PartKind, PatternSet, Within, outline};

/// From this share of lines that do not match, their cost is worth a word.
const MANY_FAILING: f64 = 0.1;
/// From this share of the time, captures are worth a word.
const MUCH_FOR_CAPTURES: f64 = 0.25;

/// What was measured of the expressions.
pub(super) struct Measured {
    pub(super) lines: usize,
    /// Lines that each expression matched.
    pub(super) matched: Vec<usize>,
    pub(super) failing: usize,
    /// The share of the time that goes into captures, where it could be told.
    pub(super) captures: Option<f64>,
    pub(super) all_captures: bool,
}

/// The advice, most important first.
pub(super) fn advice(
    set: &PatternSet,
    expressions: &[String],
    options: &CompileOptions,
    measured: &Measured,
) -> Vec<String> {
    let mut advice = Vec::new();
    for (index, expression) in expressions.iter().enumerate() {
        let about = |text: String| match expressions.len() {
            1 => text,
            _ => format!("pattern {}: {text}", index + 1),
        };
        let mut found = fallback(set, expression, options);
        found.extend(whole_line_alternatives(expression));
        found.extend(chains(expression));
        found.extend(anchor(expression, measured));
        advice.extend(found.into_iter().map(about));
    }
    advice.extend(order(expressions, measured));
    if measured.all_captures {
        advice.push(
            "--all-captures (named_captures_only => false) captures every pattern: leave it out \
             and name the fields that you need"
                .into(),
        );
    } else if let Some(share) = measured
        .captures
        .filter(|share| *share >= MUCH_FOR_CAPTURES)
    {
        advice.push(format!(
            "captures take {:.0} % of the time: leave out the names of those that nobody reads, \
             `%{{IP}}` instead of `%{{IP:x}}`",
            share * 100.0
        ));
    }
    advice
}

/// Parts that need the fallback.
fn fallback(set: &PatternSet, expression: &str, options: &CompileOptions) -> Vec<String> {
    set.fallback_parts(expression, options)
        .into_iter()
        .map(|part| {
            let within = match &part.within {
                Within::Pattern(name) => format!(" of the pattern {name}"),
                _ => String::new(),
            };
            format!(
                "`{}`{within} is {}, which no automaton can run: {}",
                part.text, part.what, part.instead
            )
        })
        .collect()
}

/// Alternatives that make up the whole expression.
fn whole_line_alternatives(expression: &str) -> Option<String> {
    let parts = outline(expression);
    let text = parts
        .iter()
        .filter(|part| part.kind != PartKind::Assertion && part.kind != PartKind::Flags);
    let text: Vec<&Part<'_>> = text.collect();
    let branches = match text.as_slice() {
        [
            Part {
                kind:
                    PartKind::Group {
                        kind: GroupKind::Plain,
                        inside,
                    },
                quantifier: "",
                ..
            },
        ] => branches(&outline(&expression[inside.clone()])),
        _ => branches(&parts),
    };
    (branches > 1).then(|| {
        format!(
            "it is {branches} alternatives of whole lines: write them as a list of patterns, \
             `match => {{ \"message\" => [\"…\", \"…\"] }}`; each has its own small automaton then"
        )
    })
}

/// Alternatives that hold more than one part each; `GET|POST` is fine as it is.
fn branches(parts: &[Part<'_>]) -> usize {
    let branches: Vec<usize> = parts
        .split(|part| part.kind == PartKind::Or)
        .map(|branch| {
            let references = branch
                .iter()
                .filter(|part| matches!(part.kind, PartKind::Reference { .. }));
            references.count()
        })
        .collect();
    if branches.len() > 1 && branches.iter().all(|references| *references > 1) {
        branches.len()
    } else {
        0
    }
}

/// Several parts in a row that take anything.
fn chains(expression: &str) -> Option<String> {
    let parts = outline(expression);
    let anything: Vec<usize> = (0..parts.len())
        .filter(|index| takes_anything(expression, &parts[*index]))
        .collect();
    // The last one may take the rest.
    let inner: Vec<usize> = anything
        .iter()
        .copied()
        .filter(|index| index + 1 < parts.len())
        .collect();
    if anything.len() < 2 || inner.is_empty() {
        return None;
    }
    let better: Vec<String> = inner
        .iter()
        .filter_map(|index| narrower(expression, &parts, *index))
        .collect();
    let example = match better.first() {
        Some(_) => format!(": write {}", better.join(", ")),
        None => ": name what they may not hold, as in `[^|]*`, or write `%{NOTSPACE}`".into(),
    };
    Some(format!(
        "{} parts take anything, and where each ends must be tried{example}",
        anything.len()
    ))
}

/// `%{DATA}`, `%{GREEDYDATA}`, `.*` and the like, in a capture or not.
fn takes_anything(expression: &str, part: &Part<'_>) -> bool {
    match &part.kind {
        PartKind::Reference { name, .. } => matches!(*name, "DATA" | "GREEDYDATA"),
        PartKind::Class => {
            expression[part.range.clone()].starts_with('.')
                && part.quantifier.starts_with(['*', '+'])
        }
        PartKind::Group {
            kind: GroupKind::Plain | GroupKind::Named,
            inside,
        } => {
            let inside = &expression[inside.clone()];
            let parts = outline(inside);
            part.quantifier.is_empty()
                && parts.len() == 1
                && matches!(parts[0].kind, PartKind::Class | PartKind::Reference { .. })
                && takes_anything(inside, &parts[0])
        }
        _ => false,
    }
}

/// A form of a part that ends where the character behind it stands.
fn narrower(expression: &str, parts: &[Part<'_>], index: usize) -> Option<String> {
    let part = &parts[index];
    let next = parts.get(index + 1)?;
    if next.kind != PartKind::Character || !next.quantifier.is_empty() {
        return None;
    }
    let text = &expression[part.range.clone()];
    let character = &expression[next.range.clone()];
    let field = match &part.kind {
        PartKind::Reference { field, .. } => field.map(str::to_owned),
        PartKind::Group {
            kind: GroupKind::Named,
            ..
        } => text
            .strip_prefix("(?<")
            .and_then(|rest| rest.split_once('>'))
            .map(|(name, _)| name.to_owned()),
        _ => None,
    };
    let class = match character {
        "^" | "-" => format!(r"[^\{character}]*"),
        _ => format!("[^{character}]*"),
    };
    let better = match (field, character) {
        (Some(field), " ") => format!("%{{NOTSPACE:{field}}}"),
        (None, " ") => "%{NOTSPACE}".into(),
        (Some(field), _) => format!("(?<{field}>{class})"),
        (None, _) => class,
    };
    Some(format!("`{better}` for `{text}`"))
}

/// Nothing holds the expression to the start of the line.
fn anchor(expression: &str, measured: &Measured) -> Option<String> {
    let parts = outline(expression);
    let first = parts.first()?;
    let text = &expression[first.range.clone()];
    if takes_anything(expression, first) && parts.len() > 1 {
        let has_name = matches!(first.kind, PartKind::Reference { field: Some(_), .. })
            || matches!(
                first.kind,
                PartKind::Group {
                    kind: GroupKind::Named,
                    ..
                }
            );
        return (!has_name).then(|| {
            format!(
                "`{text}` at the start does nothing: a pattern is looked for anywhere in the line"
            )
        });
    }
    let anchored = first.kind == PartKind::Assertion && matches!(text, "^" | r"\A");
    let many = measured.failing as f64 >= MANY_FAILING * measured.lines as f64;
    let failing = measured.failing;
    (!anchored && many && failing > 0).then(|| {
        format!(
            "{failing} of {} lines do not match, and each is searched from end to end: if the \
             pattern begins where the line does, write `^` in front of it",
            measured.lines
        )
    })
}

/// The order of a list.
fn order(expressions: &[String], measured: &Measured) -> Vec<String> {
    let mut advice = Vec::new();
    let is_catch_all = |expression: &String| {
        outline(expression)
            .iter()
            .all(|part| part.kind == PartKind::Assertion || takes_anything(expression, part))
    };
    let catch_all = expressions.iter().position(is_catch_all);
    if let Some(index) = catch_all.filter(|index| index + 1 < expressions.len()) {
        advice.push(format!(
            "pattern {} matches every line, so that those behind it are never tried: put it last",
            index + 1
        ));
        return advice;
    }
    if expressions.len() < 2 {
        return advice;
    }
    let most = (0..measured.matched.len()).max_by_key(|index| measured.matched[*index]);
    if let Some(most) = most
        && most > 0
        && measured.matched[most] * 2 > measured.lines
    {
        advice.push(format!(
            "pattern {} takes {} of {} lines: if those before it would not match them anyway, put \
             it first",
            most + 1,
            measured.matched[most],
            measured.lines
        ));
    }
    for (index, _) in measured
        .matched
        .iter()
        .enumerate()
        .filter(|(_, count)| **count == 0)
    {
        advice.push(format!(
            "pattern {} matched no line of the sample",
            index + 1
        ));
    }
    advice
}

/// The expression without the captures that are written in it.
pub(super) fn without_captures(expression: &str) -> String {
    let mut plain = String::new();
    for part in outline(expression) {
        let text = &expression[part.range.clone()];
        match &part.kind {
            PartKind::Reference {
                name,
                field: Some(_),
                definition: None,
                ..
            } => {
                plain.extend(["%{", name, "}", part.quantifier]);
            }
            PartKind::Group {
                kind: kind @ (GroupKind::Plain | GroupKind::Named),
                inside,
            } => {
                let opening = &expression[part.range.start..inside.start];
                let named = *kind == GroupKind::Named;
                plain.push_str(if named { "(?:" } else { opening });
                plain.push_str(&without_captures(&expression[inside.clone()]));
                plain.extend([")", part.quantifier]);
            }
            _ => plain.push_str(text),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice_for(expressions: &[&str], matched: &[usize], failing: usize) -> Vec<String> {
        let expressions: Vec<String> = expressions.iter().map(ToString::to_string).collect();
        let measured = Measured {
            lines: matched.iter().sum::<usize>() + failing,
            matched: matched.to_vec(),
            failing,
            captures: None,
            all_captures: false,
        };
        advice(
            &PatternSet::legacy(),
            &expressions,
            &CompileOptions::default(),
            &measured,
        )
    }

    #[test]
    fn each_rule_speaks_where_it_should() {
        for (expression, failing, wanted) in [
            (r"^(?<q>.)x\k<q>", 0, "no automaton can run: capture both"),
            (
                r"^(?:%{IP:a} %{WORD:b}|%{WORD:c} %{IP:d})$",
                0,
                "it is 2 alternatives of whole lines",
            ),
            (
                "^%{DATA:a} (?<b>.*?);%{GREEDYDATA:c}",
                0,
                "`%{NOTSPACE:a}` for `%{DATA:a}`, `(?<b>[^;]*)` for `(?<b>.*?)`",
            ),
            ("%{IP:a} up", 50, "50 of 150 lines do not match"),
            (".*%{IP:a} up", 0, "`.*` at the start does nothing"),
        ] {
            let advice = advice_for(&[expression], &[100], failing);
            assert_eq!(advice.len(), 1, "{expression}: {advice:?}");
            assert!(advice[0].contains(wanted), "{expression}: {advice:?}");
        }
    }

    #[test]
    fn a_good_pattern_needs_none() {
        for expression in [
            "%{COMBINEDAPACHELOG}",
            "^%{IP:a} (?:GET|POST) %{GREEDYDATA:rest}",
            r"^%{TIMESTAMP_ISO8601:t} %{LOGLEVEL:l} \[%{NOTSPACE:x}\] %{GREEDYDATA:m}$",
        ] {
            assert_eq!(advice_for(&[expression], &[100], 0), Vec::<String>::new());
        }
    }

    #[test]
    fn lists() {
        let wanted = |advice: &[String], text: &str| advice.iter().any(|each| each.contains(text));
        let advice = advice_for(&["%{GREEDYDATA:all}", "^a"], &[10, 0], 0);
        assert!(
            wanted(&advice, "pattern 1 matches every line"),
            "{advice:?}"
        );
        let advice = advice_for(&["^a%{INT}", "^b", "^c"], &[1, 9, 0], 0);
        assert!(
            wanted(&advice, "pattern 2 takes 9 of 10 lines"),
            "{advice:?}"
        );
        assert!(wanted(&advice, "pattern 3 matched no line"), "{advice:?}");
    }

    #[test]
    fn captures_are_taken_out() {
        assert_eq!(
            without_captures(r"^%{IP:a}+ (?<b>x(?<c>y))? (?i:%{WORD:[d][e]:int}) %{OWN:x=\d}"),
            r"^%{IP}+ (?:x(?:y))? (?i:%{WORD}) %{OWN:x=\d}"
        );
    }
}
