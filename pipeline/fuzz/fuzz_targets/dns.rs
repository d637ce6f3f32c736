//! Any bytes as the answer of a name server, to a question that they may belong to.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skidder_pipeline::filter::dns::message::{MAX_NAME_BYTES, RecordType, Reply, question, reply};

fuzz_target!(|data: &[u8]| {
    let Some((&first, rest)) = data.split_first() else {
        return;
    };
    let kind = [RecordType::A, RecordType::Aaaa, RecordType::Ptr][usize::from(first % 3)];
    let asked = question(0x0107, "a.example", kind).expect("it is a name");
    // The head of an answer to it, whatever comes behind.
    let mut message = asked.clone();
    message[2..4].copy_from_slice(&[0x81, 0x80]);
    message[7] = first >> 2;
    message.extend_from_slice(rest);
    for message in [message.as_slice(), data] {
        if let Some(Reply::Found(text)) = reply(message, 0x0107, "a.example", kind) {
            assert!(text.len() <= 4 * MAX_NAME_BYTES + 4, "{}", text.len());
            assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
        }
    }
    if let Ok(name) = std::str::from_utf8(rest) {
        if let Some(asked) = question(1, name, kind) {
            assert!(asked.len() <= 12 + MAX_NAME_BYTES + 2 + 4);
        }
    }
});
