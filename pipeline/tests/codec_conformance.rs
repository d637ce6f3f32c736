//! Conformance of the codecs and of the tokenizer below them.

mod support;

use skidder_pipeline::codec::Tokenizer;

use support::{as_str, elements, run_cases};

#[test]
fn tokenizer() {
    run_cases(
        "tokenizer",
        |_| true,
        |case| {
            let delimiter = case.text("delimiter").ok_or("no delimiter")?;
            let mut tokenizer = Tokenizer::new(delimiter.as_bytes(), 1 << 20);
            for (at, chunk) in elements(case.get("chunks").ok_or("no chunks")?)
                .iter()
                .enumerate()
            {
                let [data, expected] = elements(chunk) else {
                    return Err(format!("chunk {at} is malformed"));
                };
                let data = as_str(data).ok_or("data")?;
                let expected: Vec<_> = elements(expected).iter().filter_map(as_str).collect();
                let mut tokens = Vec::new();
                tokenizer.feed(data.as_bytes(), case.arena, |token| {
                    tokens.push(String::from_utf8_lossy(token.bytes).into_owned());
                });
                if tokens != expected {
                    return Err(format!("chunk {at}: {tokens:?} instead of {expected:?}"));
                }
            }
            Ok(())
        },
    );
}
