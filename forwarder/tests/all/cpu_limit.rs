//! `cpu limit`: under a flood the process keeps to its share of a core.

use std::time::{Duration, Instant};

use super::support::{Place, Program, Receiver};

/// What all threads of the process have used, in seconds.
fn used(id: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("reads");
    let (_, behind_name) = stat.rsplit_once(')').expect("has a name");
    let ticks = |field: usize| {
        let text = behind_name.split_whitespace().nth(field);
        text.and_then(|text| text.parse::<f64>().ok())
            .expect("a number")
    };
    // Fields 14 and 15; the name is the second. A tick is a hundredth of a second.
    (ticks(11) + ticks(12)) / 100.0
}

#[test]
fn a_flood_takes_no_more_than_its_share_of_a_core() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "*.log", "cpu limit: 10%");
    let flood = "one line of a flood that comes faster than it may be read\n".repeat(1_500_000);
    place.append("app.log", &flood);
    let mut program = Program::start(
        &["run", "--config", config.to_str().expect("text")],
        place.root.path(),
    );
    receiver.wait_for(1);
    std::thread::sleep(Duration::from_secs(1));
    let (before, started, shipped) = (used(program.id()), Instant::now(), receiver.total());
    std::thread::sleep(Duration::from_secs(4));
    let share = (used(program.id()) - before) / started.elapsed().as_secs_f64();
    let shipped = receiver.total() - shipped;
    println!("{:.1} % of a core, {shipped} lines", share * 100.0);
    assert!(share < 0.13, "{:.1} %", share * 100.0);
    assert!(shipped > 1000, "{shipped} lines");
    assert!(
        receiver.total() < 1_500_000,
        "the flood was too small to tell"
    );
    program.signal(rustix::process::Signal::TERM);
    assert_eq!(program.wait(), 0);
}
