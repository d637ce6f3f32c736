//! Changed configurations of a running process: what is new, what is gone, what is refused.
//!
//! Everything is read, checked and built before anything is stopped, in a thread that may take its time. INVARIANT: a
//! pipeline that runs is only replaced by one that has no error, neither by itself nor with the others; what is
//! refused changes nothing, is said once, and is looked at again when it has changed again.

use std::sync::Arc;

use tracing::{error, warn};

use super::{Plan, Shared};
use crate::links::{self, Links};
use crate::settings::Settings;

/// Where configurations come from.
pub trait Source: Send + Sync {
    /// The pipelines as the configuration has them now; nothing if that cannot be read, which has been said.
    fn find(&self) -> Option<Vec<Found>>;

    /// Builds a pipeline; nothing if it is refused, which has been said.
    fn build(&self, settings: &Settings, shared: &Shared) -> Option<Plan>;
}

/// A pipeline of the configuration.
pub struct Found {
    /// Its settings.
    pub settings: Settings,
    /// Another one if anything of it has changed, settings or text.
    pub fingerprint: u64,
}

/// A pipeline that runs, or that was tried.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: String,
    pub(super) fingerprint: u64,
    /// It could not start or has failed: it is tried again even if it has not changed.
    pub(super) failed: bool,
    /// If it runs.
    pub(super) links: Option<Links>,
    pub(super) reloadable: bool,
}

/// What is to be done.
#[derive(Default)]
pub(super) struct Change {
    /// Pipelines that are not there any more.
    pub(super) gone: Vec<String>,
    /// New ones, and new forms of those that run.
    pub(super) plans: Vec<Plan>,
    /// What was tried, whatever came of it.
    pub(super) tried: Vec<(String, u64)>,
}

/// Compares the configuration with what is known.
pub(super) fn look(source: &dyn Source, known: &[Known], shared: &Arc<Shared>) -> Change {
    let mut change = Change::default();
    let Some(found) = source.find() else {
        return change;
    };
    // Those that stay come first: of two with the same address the new one is refused.
    let mut all: Vec<Links> = Vec::new();
    for Found {
        settings,
        fingerprint,
    } in &found
    {
        let id = &settings.pipeline_id;
        let before = known.iter().find(|known| known.id == *id);
        let running = before.and_then(|before| before.links.as_ref());
        if let Some(before) = before
            && before.fingerprint == *fingerprint
            && !before.failed
        {
            all.extend(running.cloned());
            continue;
        }
        change.tried.push((id.clone(), *fingerprint));
        if let (Some(running), Some(false)) = (running, before.map(|before| before.reloadable)) {
            warn!(
                pipeline = id,
                "its configuration has changed, but it is not started anew, because it reads standard input or pipeline.reloadable is false"
            );
            all.push(running.clone());
            continue;
        }
        match source.build(settings, shared) {
            Some(plan) => change.plans.push(plan),
            None => {
                all.extend(running.cloned());
                if running.is_some() {
                    error!(
                        pipeline = id,
                        "its configuration has changed and is refused: it runs as before"
                    );
                }
            }
        }
    }
    change.gone = known
        .iter()
        .filter(|known| known.links.is_some())
        .map(|known| &known.id)
        .filter(|id| !found.iter().any(|found| found.settings.pipeline_id == **id))
        .cloned()
        .collect();
    refuse_what_does_not_fit(&mut change, all);
    change
}

/// Takes out the plans that do not go with what stays, or with each other.
fn refuse_what_does_not_fit(change: &mut Change, stays: Vec<Links>) {
    if change.plans.is_empty() {
        return;
    }
    let mut all = stays;
    let first = all.len();
    all.extend(change.plans.iter().map(|plan| plan.links.clone()));
    let wrong = links::check(&all, false);
    let wrong: Vec<_> = wrong
        .into_iter()
        .filter(|(_, finding)| finding.is_error())
        .collect();
    let only_others = wrong.iter().all(|(number, _)| *number < first);
    for (number, finding) in &wrong {
        error!(pipeline = all[*number].id, "{}", finding.message);
    }
    let mut number = first;
    change.plans.retain(|plan| {
        let refused =
            !wrong.is_empty() && (only_others || wrong.iter().any(|(at, _)| *at == number));
        number += 1;
        if refused {
            error!(
                pipeline = plan.links.id,
                "its configuration has changed and is refused: everything runs as before"
            );
        }
        !refused
    });
}
