//! `docs/complaints.md` promises a test for each complaint.

use std::collections::BTreeSet;
use std::path::Path;

use skidder_tests::environment::workspace;

const FOLDERS: &[&str] = &[
    "aggregator",
    "forwarder",
    "grok-patterns",
    "lumberjack",
    "pipeline",
    "tests",
];

#[test]
fn each_complaint_has_a_test_and_each_test_its_complaint() {
    let listed = std::fs::read_to_string(workspace().join("docs/complaints.md")).unwrap();
    let listed = listed.lines().filter_map(|line| line.strip_prefix("| "));
    let listed = listed.filter_map(|row| row.split(' ').next()?.parse().ok());
    let listed: BTreeSet<u32> = listed.collect();
    let mut tested = BTreeSet::new();
    for folder in FOLDERS {
        for part in ["src", "tests"] {
            collect(&workspace().join(folder).join(part), &mut tested).unwrap();
        }
    }
    assert_eq!(listed.len(), 40, "{listed:?}");
    assert_eq!(listed, tested, "left: the manual, right: the tests");
}

/// The numbers in the names of functions, in a directory and below it.
fn collect(directory: &Path, numbers: &mut BTreeSet<u32>) -> std::io::Result<()> {
    if !directory.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, numbers)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path)?;
            // In two parts, so that this line is none of them.
            let names = text.split(concat!("fn ", "complaint_")).skip(1);
            numbers.extend(names.filter_map(|name| name.split('_').next()?.parse::<u32>().ok()));
        }
    }
    Ok(())
}
