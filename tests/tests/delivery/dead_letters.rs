//! What a real server refuses for good: the letter, the commands that look at it, and its way into the index after all.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use skidder_tests::daemon::Program;
use skidder_tests::process;

use super::{DEADLINE, server};

const LINES: &str = "42 apples\nmany pears\n7 plums\nfew figs\n";

/// An aggregator's data folder, and commands on it.
struct Letters {
    folder: tempfile::TempDir,
    output: String,
}

impl Letters {
    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Runs a command of the aggregator to its end; what it prints.
    fn run(&self, arguments: &[&str], input: &Path) -> String {
        let mut command = Program::Aggregator.command();
        command
            .args(arguments)
            .args(["--path.data", self.data().to_str().unwrap()])
            .stdin(std::fs::File::open(input).unwrap());
        // What one command prints is not to be mixed with that of another.
        let logs = tempfile::tempdir().unwrap();
        process::run("dlq", command, logs.path(), DEADLINE)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error:#}"))
    }

    fn dlq(&self, arguments: &[&str]) -> String {
        self.run(&[&["dlq"], arguments].concat(), Path::new("/dev/null"))
    }

    fn replay(&self, filter: &str, flags: &[&str]) -> String {
        let configuration = format!("filter {{ {filter} }} {}", self.output);
        let arguments = ["replay", "--api.enabled=false", "-e", &configuration];
        self.dlq(&[&arguments[..], flags].concat())
    }
}

#[test]
fn complaint_29_a_conflict_is_a_letter_until_it_is_replayed_and_arrives_once() {
    let Some(server) = server() else { return };
    let search = server.search();
    search.delete("fruit").unwrap();
    let mapping = json!({ "mappings": { "properties": { "n": { "type": "long" } } } });
    search.create("fruit", &mapping).unwrap();
    let host = server.host();
    let letters = Letters {
        folder: tempfile::tempdir().unwrap(),
        output: format!(
            "output {{ elasticsearch {{ hosts => [\"http://{host}\"] index => fruit id => es mapping_guard => false }} }}"
        ),
    };
    std::fs::create_dir(letters.data()).unwrap();
    let input = letters.folder.path().join("lines");
    std::fs::write(&input, LINES).unwrap();
    let pipeline = format!(
        "input {{ stdin {{ }} }} filter {{ dissect {{ mapping => {{ message => \"%{{n}} %{{what}}\" }} }} }} {}",
        letters.output
    );
    letters.run(&["--api.enabled=false", "-e", &pipeline], &input);
    assert_eq!(search.wait_for_count("fruit", 2, DEADLINE).unwrap(), 2);

    assert!(
        letters
            .dlq(&["list"])
            .contains("000000001.jsonl: 2 letters, ")
    );
    let stats = letters.dlq(&["stats"]);
    assert!(
        stats.contains("output\tes\t400\tmapper_parsing_exception: "),
        "{stats}"
    );
    let shown: Vec<Value> = letters
        .dlq(&["show", "--plugin", "es", "--reason", "[n]"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let originals: Vec<&str> = shown
        .iter()
        .map(|letter| letter["original"].as_str().unwrap())
        .collect();
    assert_eq!(originals, ["many pears", "few figs"]);
    for letter in &shown {
        assert_eq!(
            (&letter["status"], &letter["stage"]),
            (&json!(400), &json!("output"))
        );
        let action: Value = serde_json::from_str(letter["action"].as_str().unwrap()).unwrap();
        assert_eq!(action["index"]["_index"], "fruit");
        let document: Value = serde_json::from_str(letter["document"].as_str().unwrap()).unwrap();
        assert_eq!(document["message"], letter["original"]);
        assert!(!letter["config"].as_str().unwrap().is_empty());
    }

    // Looked at first; refused again, because nothing has been mended; and delivered when the pipeline has.
    let mended = "if [n] !~ /^[0-9]+$/ { mutate { rename => { \"n\" => \"amount\" } } }";
    let dry = letters.replay(mended, &["--through-pipeline", "--dry-run"]);
    assert_eq!(dry.lines().count(), 2, "{dry}");
    assert!(dry.contains("\"amount\":\"many\""), "{dry}");
    letters.replay(mended, &[]);
    search.refresh("fruit").unwrap();
    assert_eq!(search.count("fruit").unwrap(), 2);
    assert!(
        letters
            .dlq(&["list"])
            .contains("000000001.jsonl: 4 letters, ")
    );
    for round in 0..3 {
        // The second time there is nothing left to replay; the third time all come again, as after a kill that came
        // before the position was written.
        if round == 2 {
            let position = "plugins/inputs/dead_letter_queue/main/position";
            std::fs::remove_file(letters.data().join(position)).unwrap();
        }
        letters.replay(mended, &["--through-pipeline"]);
        let mut amounts: Vec<Value> = search
            .documents("fruit", None)
            .unwrap()
            .into_iter()
            .filter_map(|mut document| document["_source"].get_mut("amount").map(Value::take))
            .collect();
        amounts.sort_by_key(Value::to_string);
        assert_eq!(amounts, ["few", "many"]);
        assert_eq!(search.count("fruit").unwrap(), 4);
    }
    assert!(
        letters
            .dlq(&["purge", "--dry-run"])
            .contains("4 letters would be removed")
    );
    assert!(letters.dlq(&["purge"]).contains("4 letters removed"));
    assert_eq!(letters.dlq(&["list"]), "");
    search.delete("fruit").unwrap();
}
