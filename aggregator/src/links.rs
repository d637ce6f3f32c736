//! What connects the pipelines of a process: virtual addresses, and the one standard input.
//!
//! Found here are the mistakes that no pipeline has by itself: events that would go round, an address with two
//! listeners or with none, two readers of standard input. INVARIANT: pipelines without errors form no cycle, so
//! that they can be stopped one after the other, each when nothing comes to it any more.

use std::collections::{BTreeMap, BTreeSet};

use skidder_pipeline::language::{Code, Diagnostic, Span, Spanned};

/// What one pipeline has to do with the others.
#[derive(Debug, Clone, Default)]
pub(crate) struct Links {
    /// `pipeline.id`
    pub(crate) id: String,
    /// Addresses that it listens at.
    pub(crate) listens: Vec<Spanned<String>>,
    /// Addresses that it sends to.
    pub(crate) sends: Vec<Spanned<String>>,
    /// Where it reads standard input.
    pub(crate) stdin: Vec<Span>,
}

impl Links {
    /// Whether it sends to an address that the other listens at.
    pub(crate) fn sends_to(&self, other: &Self) -> bool {
        let heard = |address: &Spanned<String>| {
            other
                .listens
                .iter()
                .any(|listened| listened.value == address.value)
        };
        self.sends.iter().any(heard)
    }
}

/// For each pipeline, by number, those that it sends to.
pub(crate) fn downstream(all: &[Links]) -> Vec<Vec<usize>> {
    all.iter()
        .map(|from| {
            let to = all.iter().enumerate();
            to.filter(|(_, to)| from.sends_to(to))
                .map(|(number, _)| number)
                .collect()
        })
        .collect()
}

/// The pipelines in an order in which each comes behind all that it sends to. Those of a cycle come in any order.
pub(crate) fn back_to_front(downstream: &[Vec<usize>]) -> Vec<usize> {
    let mut order = Vec::with_capacity(downstream.len());
    let mut seen = vec![false; downstream.len()];
    for start in 0..downstream.len() {
        // Depth first, without recursion: the path from the start, with what is left to do at each place.
        let mut path = vec![(start, 0)];
        if std::mem::replace(&mut seen[start], true) {
            continue;
        }
        while let Some((at, next)) = path.last_mut() {
            if let Some(to) = downstream[*at].get(*next) {
                *next += 1;
                if !std::mem::replace(&mut seen[*to], true) {
                    path.push((*to, 0));
                }
            } else {
                order.push(*at);
                path.pop();
            }
        }
    }
    order
}

/// The mistakes, with the number of the pipeline that each belongs to. If the pipelines are not `complete`, because some could not be
/// read, nothing is said of addresses that nobody uses.
pub(crate) fn check(all: &[Links], complete: bool) -> Vec<(usize, Diagnostic)> {
    let mut findings = Vec::new();
    let mut listeners: BTreeMap<&str, (usize, Span)> = BTreeMap::new();
    let mut stdin: Option<(usize, Span)> = None;
    let several = complete && all.len() > 1;
    let whose = |first: usize, number: usize| {
        if first == number {
            "this pipeline".to_owned()
        } else {
            format!("pipeline `{}`", all[first].id)
        }
    };
    for (number, links) in all.iter().enumerate() {
        for address in &links.listens {
            if let Some((first, place)) = listeners.get(address.value.as_str()) {
                let message = format!(
                    "{} listens at `{}` already",
                    whose(*first, number),
                    address.value
                );
                let finding = error(address.span, message)
                    .hint("give each `pipeline` input an address of its own");
                findings.push((number, related(finding, *first == number, *place)));
            } else {
                listeners.insert(&address.value, (number, address.span));
            }
        }
        for span in &links.stdin {
            match stdin {
                None => stdin = Some((number, *span)),
                Some((first, place)) => {
                    let message = format!("{} reads standard input already", whose(first, number));
                    let finding = error(*span, message)
                        .hint("read it once, and send its events on with the output `pipeline`");
                    findings.push((number, related(finding, first == number, place)));
                }
            }
        }
    }
    let downstream = downstream(all);
    let sent: BTreeSet<&str> = all
        .iter()
        .flat_map(|links| &links.sends)
        .map(|address| address.value.as_str())
        .collect();
    for (number, links) in all.iter().enumerate() {
        for address in &links.sends {
            let Some((to, _)) = listeners.get(address.value.as_str()) else {
                if !complete {
                    continue;
                }
                let message = format!("no pipeline listens at `{}`", address.value);
                let finding = Diagnostic::warning(address.span, message).code(Code::Pipeline);
                let finding = finding.did_you_mean(&address.value, listeners.keys().copied());
                findings.push((number, finding));
                continue;
            };
            if let Some(way) = way(&downstream, *to, number) {
                let ids: Vec<&str> = way.iter().map(|at| all[*at].id.as_str()).collect();
                let message = format!(
                    "events would go round for ever: `{}` sends to {}",
                    links.id,
                    ids.iter()
                        .map(|id| format!("`{id}`"))
                        .collect::<Vec<_>>()
                        .join(", which sends to ")
                );
                let finding = error(address.span, message)
                    .hint("let one of them send to a pipeline that does not lead back here");
                findings.push((number, finding));
            }
        }
        if several {
            for address in &links.listens {
                if !sent.contains(address.value.as_str()) {
                    let message = format!("no pipeline sends to `{}`", address.value);
                    let finding = Diagnostic::warning(address.span, message).code(Code::Pipeline);
                    findings.push((
                        number,
                        finding.did_you_mean(&address.value, sent.iter().copied()),
                    ));
                }
            }
        }
    }
    findings
}

fn error(span: Span, message: String) -> Diagnostic {
    Diagnostic::error(span, message).code(Code::Pipeline)
}

/// Places of other pipelines are in other texts, and cannot be shown.
fn related(finding: Diagnostic, is_same: bool, place: Span) -> Diagnostic {
    if is_same {
        finding.related(place, "here")
    } else {
        finding
    }
}

/// The pipelines on the shortest way from one to another, both included.
fn way(downstream: &[Vec<usize>], from: usize, to: usize) -> Option<Vec<usize>> {
    let mut before: Vec<Option<usize>> = vec![None; downstream.len()];
    let mut next = std::collections::VecDeque::from([from]);
    let mut seen = vec![false; downstream.len()];
    seen[from] = true;
    while let Some(at) = next.pop_front() {
        if at == to {
            let mut way = vec![at];
            while let Some(earlier) = before[way[way.len() - 1]] {
                way.push(earlier);
            }
            way.reverse();
            return Some(way);
        }
        for each in &downstream[at] {
            if !std::mem::replace(&mut seen[*each], true) {
                before[*each] = Some(at);
                next.push_back(*each);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(id: &str, listens: &[&str], sends: &[&str]) -> Links {
        let place = Span::new(0, 0, 1);
        let spanned = |names: &[&str]| {
            let names = names.iter();
            names
                .map(|name| Spanned::new((*name).to_owned(), place))
                .collect()
        };
        Links {
            id: id.into(),
            listens: spanned(listens),
            sends: spanned(sends),
            stdin: Vec::new(),
        }
    }

    fn messages(all: &[Links]) -> Vec<String> {
        let findings = check(all, true).into_iter();
        findings
            .map(|(number, finding)| format!("{}: {}", all[number].id, finding.message))
            .collect()
    }

    #[test]
    fn what_fits_is_in_order() {
        let all = [
            links("in", &[], &["a", "b"]),
            links("a", &["a"], &["out"]),
            links("b", &["b"], &["out"]),
            links("out", &["out"], &[]),
            links("alone", &[], &[]),
        ];
        assert_eq!(messages(&all), Vec::<String>::new());
        let downstream = downstream(&all);
        assert_eq!(downstream, [vec![1, 2], vec![3], vec![3], vec![], vec![]]);
        assert_eq!(back_to_front(&downstream), [3, 1, 2, 0, 4]);
    }

    #[test]
    fn cycles_are_told_with_their_way() {
        let all = [
            links("in", &[], &["a"]),
            links("a", &["a"], &["b", "c"]),
            links("b", &["b"], &["a"]),
            links("c", &["c"], &["c"]),
        ];
        assert_eq!(
            messages(&all),
            [
                "a: events would go round for ever: `a` sends to `b`, which sends to `a`",
                "b: events would go round for ever: `b` sends to `a`, which sends to `b`",
                "c: events would go round for ever: `c` sends to `c`",
            ]
        );
        assert_eq!(back_to_front(&downstream(&all)).len(), 4);
    }

    #[test]
    fn addresses_and_standard_input_are_used_once() {
        let mut all = [
            links("one", &["a", "a"], &["aa"]),
            links("two", &["a", "lonely"], &[]),
        ];
        all[0].stdin = vec![Span::new(0, 0, 1)];
        all[1].stdin = vec![Span::new(0, 0, 1)];
        assert_eq!(
            messages(&all),
            [
                "one: this pipeline listens at `a` already",
                "two: pipeline `one` listens at `a` already",
                "two: pipeline `one` reads standard input already",
                "one: no pipeline listens at `aa`",
                "one: no pipeline sends to `a`",
                "one: no pipeline sends to `a`",
                "two: no pipeline sends to `a`",
                "two: no pipeline sends to `lonely`",
            ]
        );
    }
}
