//! Any bytes can be read as JSON: no panic, what is accepted is accepted again after it was written, and equal.
#![no_main]

use bumpalo::Bump;
use libfuzzer_sys::fuzz_target;
use skidder_pipeline::event::{
    Event, JsonLimits, Timestamp, read_json, write_json, write_json_value,
};

fuzz_target!(|data: &[u8]| {
    let arena = Bump::new();
    let Ok(value) = read_json(data, JsonLimits::default(), &arena) else {
        return;
    };
    let mut first = Vec::new();
    write_json_value(&value, &mut first);
    let again = read_json(&first, JsonLimits::default(), &arena).expect("what we wrote is JSON");
    let mut second = Vec::new();
    write_json_value(&again, &mut second);
    assert_eq!(first, second);

    let mut events = Vec::new();
    if Event::all_from_json(data, Timestamp::new(0, 0), &arena, &mut events).is_ok() {
        for event in &events {
            first.clear();
            write_json(event, &mut first);
            assert!(std::str::from_utf8(&first).is_ok());
        }
    }
});
