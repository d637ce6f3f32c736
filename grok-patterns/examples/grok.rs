//! Takes lines apart: `cargo run --example grok '%{IP:client} %{WORD:method}' < lines`.
#![expect(clippy::print_stdout, reason = "the captures are what is asked for")]

use std::io::BufRead;

use skidder_grok::{CompileOptions, PatternSet, Slots};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let expression = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "%{COMBINEDAPACHELOG}".to_owned());
    let matcher = PatternSet::legacy().compile(&expression, &CompileOptions::default())?;
    let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    for line in std::io::stdin().lock().split(b'\n') {
        let line = line?;
        if matcher.find(&line, &mut scratch, &mut slots)? {
            for (capture, span) in matcher.captures().iter().zip(slots.iter()) {
                let text = span.map(|(start, end)| String::from_utf8_lossy(&line[start..end]));
                println!("{} = {text:?}", capture.name);
            }
        }
    }
    Ok(())
}
