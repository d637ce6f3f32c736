//! Looks for the word that the instance is about to go, and drains when it comes.
//!
//! | notice | what is done |
//! |---|---|
//! | `autoscaling/target-lifecycle-state` is `Terminated` | drain, with heartbeats, then complete the hooks |
//! | `spot/instance-action` | drain |
//! | `events/recommendations/rebalance` | drain |
//!
//! Each notice is heard once. Reading goes on after such a drain: what is written until the very end is shipped
//! as long as there is somebody to ship it, and after a recommendation an instance may live for hours.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use super::Settings;
use super::autoscaling::{AutoScaling, AutoScalingError};
use super::facts::Facts;
use super::imds::{Imds, ImdsError};
use crate::config::Config;
use crate::drain::{self, Drained};
use crate::health::Health;
use crate::reload::Reloader;

/// Between two words that it is still draining; the shortest time a hook can have is 30 s.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A notice of a spot interruption comes so long before the end.
const SPOT_PATIENCE: Duration = Duration::from_mins(2);
/// Notices remembered at most; there are a handful in the life of an instance.
const MAX_HEARD: usize = 256;
/// The first facts are waited for so many times the limit of one request.
const FIRST_FACTS: u32 = 3;

const LIFECYCLE: &str = "/latest/meta-data/autoscaling/target-lifecycle-state";
const SPOT: &str = "/latest/meta-data/spot/instance-action";
const REBALANCE: &str = "/latest/meta-data/events/recommendations/rebalance";

/// The config with what is known of the host; without it if the metadata service does not answer in time.
pub async fn with_first_facts(mut config: Config) -> Config {
    let Some(settings) = config.network.cloud.clone() else {
        return config;
    };
    let imds = Imds::new(settings.metadata.clone(), settings.timeout);
    let limit = settings.timeout * FIRST_FACTS;
    let reason = match tokio::time::timeout(limit, Facts::of(&imds, &settings)).await {
        Ok(Ok(facts)) => {
            let mut network = (*config.network).clone();
            network.facts = Some(Rc::new(facts));
            config.network = Rc::new(network);
            return config;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the metadata service is slow".to_owned(),
    };
    warn!("events carry nothing of the cloud for now, it is tried again: {reason}");
    config
}

/// Watches for ever.
pub async fn run(
    mut configs: watch::Receiver<Rc<Config>>,
    health: &Rc<Health>,
    reloader: &Rc<Reloader>,
) {
    let mut known: Option<(Rc<Settings>, Imds)> = None;
    let mut heard = HashSet::new();
    let mut silent = false;
    loop {
        let settings = configs.borrow_and_update().network.cloud.clone();
        let Some(settings) = settings else {
            if configs.changed().await.is_err() {
                return std::future::pending().await;
            }
            continue;
        };
        // Its token is used until the endpoint changes.
        let (_, imds) = match known.take() {
            Some((old, imds)) if old == settings => known.insert((old, imds)),
            _ => {
                let imds = Imds::new(settings.metadata.clone(), settings.timeout);
                known.insert((Rc::clone(&settings), imds))
            }
        };
        let looked = look(&settings, imds, &configs, health, reloader, &mut heard).await;
        match looked {
            Ok(()) => silent = false,
            Err(error) if silent => debug!("{error}"),
            Err(error) => {
                warn!(
                    "notices that the instance is about to go cannot be seen, it is tried again: {error}"
                );
                silent = true;
            }
        }
        sleep(settings.interval).await;
    }
}

async fn look(
    settings: &Settings,
    imds: &Imds,
    configs: &watch::Receiver<Rc<Config>>,
    health: &Health,
    reloader: &Reloader,
    heard: &mut HashSet<String>,
) -> Result<(), ImdsError> {
    let known = configs.borrow().network.facts.clone();
    let facts = match known.filter(|facts| facts.answer(settings)) {
        Some(facts) => facts,
        None => {
            let facts = Facts::of(imds, settings).await?;
            info!(
                fields = facts.pairs().len(),
                "events carry what the cloud says of this instance"
            );
            reloader.set_facts(facts.clone());
            Rc::new(facts)
        }
    };
    if heard.len() > MAX_HEARD {
        heard.clear();
    }
    for (path, what, patience) in [
        (LIFECYCLE, "the end of a lifecycle", settings.drain_timeout),
        (SPOT, "a spot interruption", SPOT_PATIENCE),
        (REBALANCE, "a rebalance recommendation", SPOT_PATIENCE),
    ] {
        let Some(notice) = imds.get(path).await? else {
            // It may come again, as when an instance is put back from a warm pool.
            heard.retain(|known| !known.starts_with(path));
            continue;
        };
        let notice = notice.trim();
        let is_end = path == LIFECYCLE;
        let key = format!("{path} {notice}");
        if heard.contains(&key) || (is_end && notice != "Terminated") {
            continue;
        }
        info!(notice, "the cloud announces {what}: draining");
        let done = if is_end {
            terminate(settings, imds, &facts, health).await
        } else {
            tell(&drain::drain(health, patience, false).await);
            true
        };
        if done {
            heard.insert(key);
        }
    }
    Ok(())
}

fn tell(drained: &Drained) {
    let text = drained.text();
    let seconds = drained.seconds;
    if drained.is_complete() {
        info!(seconds, "{}", text.trim_end());
    } else {
        error!(seconds, "{}", text.trim_end());
    }
}

/// Drains, and lets the instance go. False if Auto Scaling has to be told again.
async fn terminate(settings: &Settings, imds: &Imds, facts: &Facts, health: &Health) -> bool {
    let group = facts.find("cloud.autoscaling.group.name");
    let (Some(group), Some(region), Some(instance)) = (
        group,
        facts.find("cloud.region"),
        facts.find("cloud.instance.id"),
    ) else {
        tell(&drain::drain(health, settings.drain_timeout, false).await);
        warn!(
            "no lifecycle hook is completed, the group is not known: allow tags in the instance's metadata \
             (InstanceMetadataTags), or set `autoscaling group`"
        );
        return true;
    };
    let autoscaling = AutoScaling {
        imds,
        endpoint: settings.autoscaling.as_ref(),
        region,
        group,
        instance,
    };
    // The time of the hook may be shorter than the drain.
    let beating = async {
        loop {
            for hook in hooks_of(settings, &autoscaling).await.iter().flatten() {
                match autoscaling.heartbeat(hook).await {
                    Ok(()) => debug!(hook, "told Auto Scaling that it is still draining"),
                    Err(error) => warn!(hook, "no heartbeat: {error}"),
                }
            }
            sleep(HEARTBEAT).await;
        }
    };
    tokio::select! {
        drained = drain::drain(health, settings.drain_timeout, false) => tell(&drained),
        () = beating => {}
    }
    let Some(hooks) = hooks_of(settings, &autoscaling).await else {
        return false;
    };
    let mut done = true;
    for hook in &hooks {
        match autoscaling.complete(hook).await {
            Ok(()) => info!(hook, group, "the lifecycle hook is completed"),
            Err(error) if error.is_over() => {
                warn!(hook, group, "there is nothing to complete: {error}");
            }
            Err(error) => {
                error!(
                    hook,
                    group, "the lifecycle hook is not completed, it is tried again: {error}"
                );
                done = false;
            }
        }
    }
    done
}

async fn hooks_of(settings: &Settings, autoscaling: &AutoScaling<'_>) -> Option<Vec<String>> {
    if let Some(hook) = &settings.hook {
        return Some(vec![hook.clone()]);
    }
    let told = |error: &AutoScalingError| {
        error!("the group's lifecycle hooks are not known, `lifecycle hook` can name one: {error}");
    };
    autoscaling.hooks().await.inspect_err(told).ok()
}
