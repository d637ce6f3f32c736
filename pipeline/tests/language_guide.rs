//! The examples of `docs/configuration.md` are read: a guide that lies is worse than none.

use skidder_pipeline::language::{Diagnostics, ParseOptions, SourceMap, parse};

const GUIDE: &str = include_str!("../../docs/configuration.md");

#[test]
fn examples_of_the_guide_are_read_as_it_says() {
    let mut checked = [0, 0];
    for block in GUIDE.split("```logstash").skip(1) {
        let (kind, rest) = block.split_once('\n').expect("a block has lines");
        let (text, _) = rest.split_once("```").expect("a block is closed");
        let refused = kind.trim() == "refused";
        assert!(
            refused || kind.is_empty(),
            "a kind of block without a meaning: {kind}"
        );
        let sources = SourceMap::single("docs/configuration.md", text);
        let mut diagnostics = Diagnostics::new();
        parse(&sources, ParseOptions::default(), &mut diagnostics);
        let found = diagnostics.render(&sources, false);
        if refused {
            assert_eq!(diagnostics.error_count(), 1, "{text}\n{found}");
        } else {
            assert!(diagnostics.is_empty(), "{text}\n{found}");
        }
        checked[usize::from(refused)] += 1;
    }
    assert!(checked[0] >= 5 && checked[1] >= 3, "the examples are found");
}

#[test]
fn the_finding_in_the_guide_is_printed_like_that() {
    let shown = GUIDE
        .split("```\n")
        .find(|block| block.starts_with("error: "))
        .expect("a finding");
    let line = shown
        .lines()
        .find_map(|line| line.strip_prefix("1 | "))
        .expect("its source");
    let sources = SourceMap::single("main.conf", line);
    let mut diagnostics = Diagnostics::new();
    parse(&sources, ParseOptions::default(), &mut diagnostics);
    assert_eq!(diagnostics.render(&sources, false), shown);
}
