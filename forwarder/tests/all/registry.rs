//! What is known of the files, over restarts, crashes, migrations and copies of machines.

use std::os::unix::fs::MetadataExt;

use super::support::{Place, Receiver, Running, assert_each_once, lines};

fn set_aside(place: &Place) -> Vec<String> {
    let entries = std::fs::read_dir(place.root.path().join("data")).expect("reads");
    let names = entries.map(|entry| entry.expect("reads").file_name().into_string());
    let mut names: Vec<_> = names.map(|name| name.expect("text")).collect();
    names.retain(|name| name != "registry" && name != "registry.lock");
    names
}

/// Field notes, section 3: a registry that came with an image is another machine's.
#[test]
fn stale_registry_in_an_image_is_set_aside() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log", "machine id: builder");
    place.append("app.log", &lines("a", 0..10));
    let running = Running::start(&config);
    receiver.wait_for(10);
    running.stop();
    assert_eq!(set_aside(&place), Vec::<String>::new());
    // The same machine goes on, and one that does not want to know as well.
    for (id, expected) in [("builder", 11), ("none", 12)] {
        place.append("app.log", "more\n");
        let config = place.config(&receiver, "app.log", &format!("machine id: {id}"));
        let running = Running::start(&config);
        receiver.wait_for(expected);
        running.stop();
        assert_eq!(receiver.messages().len(), expected);
    }
    // Another one starts with what is there, as new.
    let config = place.config(&receiver, "app.log", "machine id: instance-1");
    let running = Running::start(&config);
    receiver.wait_for(24);
    running.stop();
    let aside = set_aside(&place);
    assert!(
        aside.len() == 1 && aside[0].contains("other-machine"),
        "{aside:?}"
    );
    // And from now on the registry is its own.
    place.append("app.log", "last\n");
    let running = Running::start(&config);
    receiver.wait_for(25);
    running.stop();
    assert_eq!(receiver.messages().len(), 25);
}

#[test]
fn complaint_04_the_registry_of_filebeat_is_taken_over() {
    let (place, receiver) = (Place::new(), Receiver::start());
    place.append("app.log", "shipped\nnot shipped\n");
    place.append("path.log", "shipped as well\nnor this\n");
    let directory = place.root.path().join("filebeat/registry/filebeat");
    std::fs::create_dir_all(&directory).expect("creates");
    let metadata = std::fs::metadata(place.log("app.log")).expect("is there");
    let text = format!(
        "{{\"op\":\"set\",\"id\":1}}\n{{\"k\":\"filestream::logs::native::{}-{}\",\"v\":{{\"cursor\":{{\"offset\":8}},\
         \"meta\":{{\"source\":\"{}\"}},\"ttl\":-1,\"updated\":[0,0]}}}}\n\
         {{\"op\":\"set\",\"id\":2}}\n{{\"k\":\"filestream::logs::path::{path}\",\"v\":{{\"cursor\":{{\"offset\":16}},\
         \"meta\":{{\"source\":\"{path}\"}}}}}}\n",
        metadata.ino(),
        metadata.dev(),
        place.log("app.log").display(),
        path = place.log("path.log").display()
    );
    std::fs::write(directory.join("log.json"), text).expect("writes");
    let import = place.root.path().join("filebeat");
    let more = format!("import registry: {}", import.display());
    let config = place.config(&receiver, "*.log", &more);
    let running = Running::start(&config);
    receiver.wait_for(2);
    running.stop();
    assert_each_once(&receiver, "not shipped\nnor this\n");
}

/// Cut after any part of the last save, the registry is still one, and nothing is missing.
#[test]
fn complaint_09_a_torn_tail_costs_the_last_save_only() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log", "");
    place.append("app.log", &lines("a", 0..1000));
    let running = Running::start(&config);
    receiver.wait_for(1000);
    running.stop();
    let registry = place.root.path().join("data/registry");
    let mut bytes = std::fs::read(&registry).expect("reads");
    bytes.extend_from_slice(b"0123456789abcdef {\"at\":{\"numb");
    std::fs::write(&registry, bytes).expect("writes");
    place.append("app.log", "last\n");
    let running = Running::start(&config);
    receiver.wait_for(1001);
    running.stop();
    assert_each_once(&receiver, &(lines("a", 0..1000) + "last\n"));
    assert_eq!(set_aside(&place), Vec::<String>::new());
}
