//! Into a real search server, over links that each forwarder has to each aggregator.
//!
//! What is asked of the indices is here, too: each writer's lines have an index of their own, so that
//! they can be counted.

use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;
use skidder_tests::daemon::{BeatsInput, Daemon};
use skidder_tests::environment::{self, loopback};
use skidder_tests::servers::{OPENSEARCH_2, Search, Server};
use skidder_tests::site::{Site, elasticsearch_output};
use skidder_tests::wait;
use skidder_tests::writers::{Tally, tally};

use crate::cluster::Cluster;
use crate::gate::Gate;
use crate::scene::{End, Scene};
use crate::schedule::{self, Fault, Habit, Part, Step};
use crate::writer::{Arrived, Writer};
use crate::{DEADLINE, KILLS, RECEIVERS, Run, alone, finish, habits, report, seconds};

/// A cluster that comes back is found within a second.
pub(crate) const QUICK: &str =
    "retry_initial_interval => 1 retry_max_interval => 1 resurrect_delay => 1 timeout => 10";
/// A disk queue of many small files.
pub(crate) const PERSISTED: &[&str] = &[
    "--queue.type",
    "persisted",
    "--queue.page_capacity",
    "256kb",
];
/// What can happen to a way to the cluster.
pub(crate) const REFUSALS: &[Fault] = &[
    Fault::TooMany,
    Fault::TooMany,
    Fault::Unavailable,
    Fault::NoAnswer,
    Fault::HalfAnswer,
    Fault::Stall,
    Fault::Refuse,
];

/// The index of a writer's lines.
pub(crate) fn index(app: &str) -> String {
    format!("chaos-{app}")
}

/// What tells a writer how many of its lines have arrived, by the first server that answers.
pub(crate) fn arrived(searches: &[Search], app: &str) -> Arrived {
    let (searches, index) = (searches.to_vec(), index(app));
    Box::new(move || count(&searches, &index).ok())
}

fn count(searches: &[Search], index: &str) -> Result<u64> {
    let mut last = anyhow!("there is no server to ask");
    for search in searches {
        match search.refresh(index).and_then(|()| search.count(index)) {
            Ok(count) => return Ok(count),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Carries out a schedule while the writers write, waits until every line is in the index of its writer, and
/// ends all daemons; then each line has to be there once, and nothing else. If that is not so, the ends of all
/// logs are printed, and all are kept.
pub(crate) fn weather(
    scene: &mut Scene,
    run: &Run,
    steps: &[Step],
    mut writers: Vec<Writer>,
) -> Result<()> {
    println!("to come: {}", schedule::counts(steps));
    let outcome = survive(scene, run, steps, &mut writers);
    if outcome.is_err() {
        println!("{}", scene.logs());
        scene.keep_logs()?;
    }
    outcome
}

fn survive(scene: &mut Scene, run: &Run, steps: &[Step], writers: &mut [Writer]) -> Result<()> {
    scene.run(steps, run.time)?;
    finish(writers)?;
    scene.check()?;
    let cluster = scene.cluster.as_mut().context("there is no cluster")?;
    cluster.wait()?;
    let searches = cluster.searches();
    let settled = Instant::now();
    let complete = wait::until("every line in the index", DEADLINE, || {
        for writer in &*writers {
            let count = count(&searches, &index(&writer.name));
            let count = count.map_err(|error| format!("{error:#}"))?;
            if count < writer.written() {
                let (name, written) = (&writer.name, writer.written());
                return Err(format!("{name} has {count} of {written}"));
            }
        }
        Ok(())
    });
    let waited = settled.elapsed().as_secs_f64();
    println!("waited {waited:.1}s for the rest");
    match &complete {
        // Nothing may come or vanish at the end.
        Ok(()) => scene.finish()?,
        Err(error) => println!("{error:#}"),
    }
    for (place, gate) in scene.gates.iter().enumerate() {
        println!("gate {place}: {} requests disturbed", gate.disturbed());
    }
    look(scene, searches[0], writers).and(complete)
}

/// Whether each line is in the indices once, and nothing else; prints the counts.
fn look(scene: &Scene, search: Search, writers: &[Writer]) -> Result<()> {
    let mut wrong = Vec::new();
    let (mut lines, mut different) = (0, 0);
    for writer in writers {
        let (name, written) = (&writer.name, writer.written());
        let messages = search.every(&index(name), "message")?;
        let messages = messages.iter().filter_map(Value::as_str);
        let tally = tally(writer.first, written, messages);
        let (missing, damaged) = (tally.missing.len() as u64, tally.damaged.len());
        let twice = tally.duplicates;
        println!("{name}: {written} written, {missing} missing, {twice} twice, {damaged} damaged");
        lines += written;
        different += written - missing;
        if tally != Tally::default() {
            wrong.push(report::explain(
                search,
                writer,
                &tally,
                &scene.site.path().join(name),
            )?);
        }
    }
    let documents = search.count("_all")?;
    println!("{lines} lines written, {documents} documents, {different} different lines in them");
    if !wrong.is_empty() {
        bail!("not every line is there once\n{}", wrong.join("\n"));
    }
    ensure!(documents == lines, "{documents} documents of {lines} lines");
    Ok(())
}

#[test]
fn every_line_is_in_the_index_once() {
    let _alone = alone();
    let Some(server) = Server::start_or_skip(&OPENSEARCH_2, &[]) else {
        return;
    };
    let run = Run::new("CHAOS", 110);
    let host = server.host();
    let site = Site::new().unwrap();
    let apps = Run::apps(&site);
    let mut scene = Scene::new(site);
    let searches = [server.search()];
    scene.cluster = Some(Cluster::new(vec![server]));
    let mut ports = Vec::new();
    for place in 0..RECEIVERS {
        let gate = Gate::to(&host).unwrap();
        let input = BeatsInput {
            port: environment::free_port().unwrap(),
            ..scene.site.input()
        };
        let output =
            elasticsearch_output(&loopback(gate.port).to_string(), &index("%{app}"), QUICK);
        let name = format!("aggregator-{place}");
        let pipeline = format!("{input}{output}");
        let mut daemon = Daemon::aggregator(scene.site.path(), &name, &pipeline)
            .unwrap()
            .with_arguments(&["--pipeline.shutdown_timeout", "5s"]);
        if place > 0 {
            daemon = daemon.with_arguments(PERSISTED);
        }
        daemon.start_listening(input.port).unwrap();
        ports.push(input.port);
        scene.ends.push(End::Aggregator(daemon));
        scene.gates.push(gate);
    }
    for apps in &apps {
        scene.add_forwarder(apps, &ports, "").unwrap();
    }
    let writers = run.writers(&apps, |app, _| arrived(&searches, app));
    let mut habits = habits(KILLS, KILLS, scene.links.len());
    habits.extend((0..RECEIVERS).map(|place| Habit {
        parts: vec![Part::Gate(place)],
        faults: REFUSALS,
        pause: seconds(3, 15),
        lasts: seconds(1, 12),
    }));
    habits.push(Habit {
        parts: vec![Part::Node(0)],
        faults: &[Fault::Kill],
        pause: seconds(25, 60),
        lasts: seconds(1, 10),
    });
    let steps = schedule::plan(run.seed, run.time, &habits);
    weather(&mut scene, &run, &steps, writers.unwrap()).unwrap();
}
