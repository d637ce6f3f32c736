//! Conditions that hold for no event or for every one, and branches that nothing reaches.
//!
//! On the way down the tree the walker keeps what is known to hold or not: what the branches before
//! in the chain have left, and what the `if` around asks for. A plugin of the filters may change
//! any field, so behind one nothing is known any more; outputs change nothing.
//!
//! What comes of a variable is another thing on another machine, so conditions with `${…}` are
//! left alone.

use std::collections::HashMap;

use super::values::{Looks, Wanted, constant, exclude_each_other, is_same_field, looks};
use crate::language::{
    Code, Condition, ConditionKind, Config, Diagnostic, Diagnostics, If, Section, SourceMap, Span,
    Statement, format,
};

/// Most facts about one field that are looked at together.
const MAX_FACTS: usize = 64;

/// Looks at the conditions of all filters and outputs.
pub fn check_conditions(config: &Config, sources: &SourceMap, diagnostics: &mut Diagnostics) {
    for section in [Section::Filter, Section::Output] {
        let mut walker = Walker {
            sources,
            diagnostics,
            changes: section == Section::Filter,
        };
        walker.statements(config.section(section), &[]);
    }
}

struct Walker<'a> {
    sources: &'a SourceMap,
    diagnostics: &'a mut Diagnostics,
    /// Whether plugins change events.
    changes: bool,
}

/// Something that is known.
#[derive(Clone, Copy, Debug)]
struct Fact<'c> {
    wanted: Wanted<'c>,
    /// What to point at.
    span: Span,
    origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Origin {
    /// The condition that is looked at.
    Own,
    /// A branch before, which was not taken.
    Earlier,
    /// An `if` around.
    Around,
}

/// Why a condition cannot hold.
enum Conflict<'c> {
    /// By itself.
    Alone(Fact<'c>),
    /// Because of another part.
    With(Fact<'c>, Fact<'c>),
    /// Because of several others.
    Together,
}

impl Walker<'_> {
    fn statements(&mut self, statements: &[Statement], known: &[Fact<'_>]) {
        let mut known = known.to_vec();
        for statement in statements {
            match statement {
                Statement::Plugin(_) => {
                    if self.changes {
                        known.clear();
                    }
                }
                Statement::If(branches) => {
                    self.branches(branches, &known);
                    if self.changes && has_plugin(branches) {
                        known.clear();
                    }
                }
            }
        }
    }

    fn branches<'c>(&mut self, branches: &'c If, known: &[Fact<'c>]) {
        let mut known = known.to_vec();
        let mut seen: HashMap<String, Span> = HashMap::new();
        for branch in &branches.branches {
            let condition = &branch.condition;
            let mut own = Vec::new();
            self.facts(condition, true, Origin::Own, &mut own);
            let earlier = seen
                .insert(format::shape(condition), condition.span)
                .filter(|_| !self.has_variable(condition.span));
            let reached = match earlier {
                Some(earlier) => {
                    self.report_earlier(condition.span, earlier);
                    false
                }
                None => self.judge(condition, &known, &own),
            };
            if reached {
                let mut inside = known.clone();
                inside.extend(own.iter().map(|fact| Fact {
                    origin: Origin::Around,
                    ..*fact
                }));
                self.statements(&branch.body, &inside);
            }
            self.facts(condition, false, Origin::Earlier, &mut known);
        }
        let Some(otherwise) = &branches.otherwise else {
            return;
        };
        if let Some(first) = otherwise.first()
            && conflict(&known, &[]).is_some()
        {
            self.diagnostics.push(
                Diagnostic::warning(
                    first.span(),
                    "nothing reaches this `else`: the branches before take every event",
                )
                .code(Code::UnreachableBranch),
            );
            return;
        }
        self.statements(otherwise, &known);
    }

    /// Says what is wrong with a condition; whether it can hold.
    fn judge(&mut self, condition: &Condition, known: &[Fact<'_>], own: &[Fact<'_>]) -> bool {
        if let Some(found) = conflict(known, own) {
            self.report(condition, &found);
            return false;
        }
        if looks(condition) == Looks::AtNothing
            && !self.has_variable(condition.span)
            && constant(condition) == Some(true)
        {
            self.diagnostics.push(
                Diagnostic::warning(condition.span, "this condition holds for every event")
                    .code(Code::AlwaysHolds)
                    .hint(
                        "it looks at no field: compare a field, `[field]`, or leave the `if` out",
                    ),
            );
        }
        self.alternatives(condition, known, own);
        true
    }

    /// Says which alternatives of a condition can never be the reason why it holds.
    fn alternatives(&mut self, condition: &Condition, known: &[Fact<'_>], own: &[Fact<'_>]) {
        match &condition.kind {
            ConditionKind::And(all) => {
                for each in all {
                    self.alternatives(each, known, own);
                }
            }
            ConditionKind::Or(all) => {
                for each in all {
                    // What stands beside the whole in an `and` counts, the whole itself says nothing new.
                    let beside = own.iter().filter(|fact| !contains(fact.span, each.span));
                    let mut those: Vec<Fact<'_>> = beside.copied().collect();
                    self.facts(each, true, Origin::Own, &mut those);
                    match conflict(known, &those) {
                        Some(found) => self.report(each, &found),
                        None => self.alternatives(each, known, &those),
                    }
                }
            }
            _ => {}
        }
    }

    fn report(&mut self, condition: &Condition, conflict: &Conflict<'_>) {
        let never = |span| Diagnostic::warning(span, "this condition holds for no event");
        let finding = match conflict {
            Conflict::Alone(fact) => never(fact.span).code(Code::NeverHolds),
            Conflict::With(first, second) if first.origin == Origin::Own => {
                let (one, other) = (self.text(first.span), self.text(second.span));
                let message = format!("`{one}` and `{other}` never hold together");
                Diagnostic::warning(second.span, message)
                    .code(Code::NeverHolds)
                    .related(first.span, "the other one")
            }
            Conflict::With(first, second) if first.origin == Origin::Around => {
                let message = "this never holds inside of the `if` around it";
                Diagnostic::warning(second.span, message)
                    .code(Code::NeverHolds)
                    .related(first.span, "only events of which this is true come here")
            }
            Conflict::With(first, _) => return self.report_earlier(condition.span, first.span),
            Conflict::Together => {
                let message = "this never holds together with what is asked before";
                Diagnostic::warning(condition.span, message).code(Code::NeverHolds)
            }
        };
        self.diagnostics.push(finding);
    }

    fn report_earlier(&mut self, condition: Span, earlier: Span) {
        self.diagnostics.push(
            Diagnostic::warning(
                condition,
                "nothing reaches this branch: an earlier one takes it all",
            )
            .code(Code::UnreachableBranch)
            .related(earlier, "every event of the later branch is taken here"),
        );
    }

    /// What is known if a condition holds, or does not.
    fn facts<'c>(
        &self,
        condition: &'c Condition,
        holds: bool,
        origin: Origin,
        facts: &mut Vec<Fact<'c>>,
    ) {
        match (&condition.kind, holds) {
            (ConditionKind::And(all), true) | (ConditionKind::Or(all), false) => {
                for each in all {
                    self.facts(each, holds, origin, facts);
                }
            }
            (ConditionKind::Not(inner), _) if is_group(inner) => {
                self.facts(inner, !holds, origin, facts);
            }
            _ if self.has_variable(condition.span) => {}
            _ => facts.push(Fact {
                wanted: Wanted { condition, holds },
                span: condition.span,
                origin,
            }),
        }
    }

    fn has_variable(&self, span: Span) -> bool {
        self.sources.text(span).contains("${")
    }

    /// A piece of the configuration on one line.
    fn text(&self, span: Span) -> String {
        let words = self.sources.text(span).split_whitespace();
        words.collect::<Vec<_>>().join(" ")
    }
}

/// A reason why the own facts cannot all be true, if there is one. Without own facts: why the
/// known ones cannot.
fn conflict<'c>(known: &[Fact<'c>], own: &[Fact<'c>]) -> Option<Conflict<'c>> {
    for fact in own {
        if looks(fact.wanted.condition) == Looks::AtNothing
            && constant(fact.wanted.condition) == Some(!fact.wanted.holds)
        {
            return Some(Conflict::Alone(*fact));
        }
    }
    let subjects = if own.is_empty() { known } else { own };
    for (index, fact) in subjects.iter().enumerate() {
        let Looks::At(field) = looks(fact.wanted.condition) else {
            continue;
        };
        let is_about = |fact: &&Fact<'_>| matches!(looks(fact.wanted.condition), Looks::At(other) if is_same_field(field, other));
        if subjects[..index].iter().any(|earlier| is_about(&earlier)) {
            // The field was looked at.
            continue;
        }
        let own: Vec<Fact<'c>> = own.iter().filter(is_about).copied().collect();
        let known = known.iter().filter(is_about).rev().take(MAX_FACTS).copied();
        let known: Vec<Fact<'c>> = known.collect();
        let excluded = |facts: &[Fact<'c>]| {
            let wanted: Vec<Wanted<'c>> = facts.iter().map(|fact| fact.wanted).collect();
            exclude_each_other(field, &wanted)
        };
        if !excluded(&[own.as_slice(), &known].concat()) {
            continue;
        }
        // The smallest reason is the one to show.
        if let Some(alone) = own.iter().find(|fact| excluded(&[**fact])) {
            return Some(Conflict::Alone(*alone));
        }
        for (index, second) in own.iter().enumerate() {
            let others = own[..index].iter().chain(&known);
            for first in others {
                if excluded(&[*first, *second]) {
                    return Some(Conflict::With(*first, *second));
                }
            }
        }
        return Some(Conflict::Together);
    }
    None
}

fn is_group(condition: &Condition) -> bool {
    matches!(condition.kind, ConditionKind::And(_) | ConditionKind::Or(_))
}

fn contains(outer: Span, inner: Span) -> bool {
    outer.source == inner.source && outer.start <= inner.start && inner.end <= outer.end
}

fn has_plugin(branches: &If) -> bool {
    let has = |statements: &[Statement]| {
        statements.iter().any(|statement| match statement {
            Statement::Plugin(_) => true,
            Statement::If(inner) => has_plugin(inner),
        })
    };
    branches.branches.iter().any(|branch| has(&branch.body))
        || branches.otherwise.as_deref().is_some_and(has)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::{ParseOptions, parse};

    /// The findings of a section, as code, place and text.
    fn found_in(section: &str, statements: &str) -> Vec<String> {
        let sources = SourceMap::single("t", format!("{section} {{ {statements} }}"));
        let mut diagnostics = Diagnostics::new();
        let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
        assert!(
            !diagnostics.has_errors(),
            "{}",
            diagnostics.render(&sources, false)
        );
        let mut diagnostics = Diagnostics::new();
        check_conditions(&config, &sources, &mut diagnostics);
        let show = |each: &Diagnostic| {
            format!("{} {}", each.code.name(), sources.text(each.span.unwrap()))
        };
        diagnostics.iter().map(show).collect()
    }

    fn found(condition: &str) -> Vec<String> {
        found_in("filter", &format!("if {condition} {{ aa {{ }} }}"))
    }

    #[test]
    fn what_never_holds() {
        for (condition, culprit) in [
            (r#"[a] == "x" and [a] == "y""#, r#"[a] == "y""#),
            (r#"[a] == "x" and [b] and [a] != "x""#, r#"[a] != "x""#),
            (r#"[a] == 5 and [a] == "5""#, r#"[a] == "5""#),
            ("[a] == 5 and [a] == 5.0", "[a] == 5.0"),
            ("[a] and ![a]", "![a]"),
            ("[a] > 5 and [a] < 3", "[a] < 3"),
            ("[a] > 5 and [a] <= 5", "[a] <= 5"),
            (r#"[a] > 5 and [a] == "x""#, r#"[a] == "x""#),
            (r#"[a] in ["x", "y"] and [a] == "z""#, r#"[a] == "z""#),
            (r#"[a] == "x" and [a] =~ /^y/"#, "[a] =~ /^y/"),
            (r#"[a] == "" and [a]"#, "[a]"),
            ("[a] in []", "[a] in []"),
            (r#""x" in []"#, r#""x" in []"#),
            (r#""x" == "y""#, r#""x" == "y""#),
            ("1 > 2", "1 > 2"),
            (
                r#""x" in [tags] and "x" not in [tags]"#,
                r#""x" not in [tags]"#,
            ),
            (r#"([a] == "x" and [a] == "y") or [b]"#, r#"[a] == "y""#),
            (r#"[a] == "x" and ([b] or [a] == "y")"#, r#"[a] == "y""#),
            (r#"!([a] or [b]) and [a] == "x""#, r#"[a] == "x""#),
            (
                r#"[@metadata][k] == "x" and ![@metadata][k]"#,
                "![@metadata][k]",
            ),
        ] {
            assert_eq!(
                found(condition),
                [format!("never-holds {culprit}")],
                "{condition}"
            );
        }
        assert_eq!(found("1 == 1"), ["always-holds 1 == 1"]);
    }

    #[test]
    fn what_can_hold() {
        for condition in [
            r#"[a] == "x" and [b] == "y""#,
            r#"[a] == "x" or [a] == "y""#,
            r#"[a] != "x" and [a] != "y""#,
            "[a] > 5 and [a] < 6",
            "[a] >= 5 and [a] <= 5",
            r#"[a] > "a" and [a] < "b""#,
            r#"[a] >= "a" and [a] < "aa""#,
            r#"[a] < "b" and [a]"#,
            r#""x" in [tags] and "y" in [tags]"#,
            r#""x" in [tags] and "xy" not in [tags]"#,
            r#""x" in [a] and [a] < "b""#,
            r#""x" in [a] and [a] =~ /y/ and [a] !~ /z/"#,
            "[a] =~ /^x/ and [a] =~ /y$/",
            r#"[a] =~ /^x/ and [a] != "x""#,
            r#"[a] in ["5", "x"] and [a] > 4"#,
            r#"[a] in ["true"] and [a]"#,
            "![a] and [a] != 5",
            r#"![a] and [a] == "false""#,
            "[a] == [b] and [a] != [b]",
            r#""${LEVEL:x}" == "y""#,
            r#"[a] == "x" and [a] == "${A:y}""#,
            r#"[a] not in ["x"] and [a] not in ["y"]"#,
            "[a][0] == 1 and [a][1] == 2",
            r#"[@timestamp] > "2024""#,
        ] {
            assert_eq!(found(condition), [] as [&str; 0], "{condition}");
        }
    }

    #[test]
    fn branches_that_nothing_reaches() {
        let aa = "{ aa { } }";
        for (statements, expected) in [
            (
                format!(r#"if [a] == "x" {aa} else if [b] {aa} else if [a]  ==  "x" {aa}"#),
                &[r#"unreachable-branch [a]  ==  "x""#][..],
            ),
            (
                format!(r#"if [a] in ["x", "y"] {aa} else if [a] == "y" {aa}"#),
                &[r#"unreachable-branch [a] == "y""#],
            ),
            (
                format!("if [n] > 5 {aa} else if [n] > 7 {aa} else if [n] > 3 {aa}"),
                &["unreachable-branch [n] > 7"],
            ),
            (
                format!("if [a] {aa} else if ![a] {aa} else {aa}"),
                &["unreachable-branch aa { }"],
            ),
            (
                format!("if [a] {{ if ![a] {aa} aa {{ }} if ![a] {aa} }}"),
                &["never-holds ![a]"],
            ),
            (
                format!(r#"if [a] == "x" and [b] {aa} else if [a] == "x" {aa}"#),
                &[],
            ),
            (format!(r#"if [a] == "x" {aa} if [a] == "x" {aa}"#), &[]),
            (
                format!("if \"${{A:x}}\" in [b] {aa} else if \"${{A:x}}\" in [b] {aa}"),
                &[],
            ),
        ] {
            assert_eq!(found_in("filter", &statements), expected, "{statements}");
        }
        // An output changes no event.
        let nested = r#"if [a] == "x" { aa { } if [a] == "y" { aa { } } }"#;
        assert_eq!(found_in("filter", nested), [] as [&str; 0]);
        assert_eq!(found_in("output", nested), [r#"never-holds [a] == "y""#]);
    }

    #[test]
    fn long_chains_take_reasonable_time() {
        let chain: Vec<String> = (0..2000)
            .map(|number| format!(r#"if [a] == "v{number}" {{ aa {{ }} }} else "#))
            .collect();
        let start = std::time::Instant::now();
        let text = format!("{} if [a] == \"v7\" {{ }}", chain.concat());
        assert_eq!(
            found_in("filter", &text),
            [r#"unreachable-branch [a] == "v7""#]
        );
        let took = start.elapsed();
        assert!(took < std::time::Duration::from_secs(20), "took {took:?}");
    }
}
