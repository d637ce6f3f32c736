//! A decompression bomb against the memory of the process itself, not only against our own
//! account of it. Alone in its binary, so that no other test's memory is measured.
#![cfg(target_os = "linux")]

use libdeflater::{CompressionLvl, Compressor};
use skidder_lumberjack::{ByteBudget, Decoder, LimitName, Limits, ProtocolError, Step};

const MIB: usize = 1024 * 1024;
/// What the bombs would take if they went off.
const INFLATED: usize = 64 * MIB;
const LIMIT: usize = 8 * MIB;
const BOMBS: usize = 20;

/// Resident memory at its highest, in bytes.
fn peak_resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("a peak");
    let kibibytes = line.trim().trim_end_matches(" kB");
    kibibytes.parse::<usize>().expect("a number") * 1024
}

/// A window with a `C` frame that inflates to [`INFLATED`] bytes.
fn bomb() -> Vec<u8> {
    let mut compressor = Compressor::new(CompressionLvl::default());
    let zeros = vec![0; INFLATED];
    let mut body = vec![0; compressor.zlib_compress_bound(zeros.len())];
    let length = compressor
        .zlib_compress(&zeros, &mut body)
        .expect("the bound is enough");
    body.truncate(length);
    [
        &b"2W\0\0\0\x012C"[..],
        &(length as u32).to_be_bytes(),
        &body,
    ]
    .concat()
}

#[test]
fn a_bomb_costs_the_process_no_more_than_the_limit() {
    let bomb = bomb();
    assert!(bomb.len() < MIB);
    // Making it took memory: forget that peak.
    if let Err(error) = std::fs::write("/proc/self/clear_refs", "5") {
        assert!(
            std::env::var_os("SKIDDER_REQUIRE_ALL").is_none_or(|value| value != "1"),
            "the peak cannot be reset: {error}"
        );
        println!("SKIPPED: the peak of resident memory cannot be reset: {error}");
        return;
    }
    let before = peak_resident();
    assert!(before < INFLATED, "the peak was not reset: {before}");
    let limits = Limits {
        max_inflated_bytes: LIMIT,
        ..Limits::default()
    };
    let budget = ByteBudget::new(usize::MAX);
    // All connections stay open: what one bomb leaves behind is counted as often.
    let mut decoders = Vec::new();
    for _ in 0..BOMBS {
        let mut decoder = Decoder::new(limits.clone(), budget.account());
        let mut rest = &bomb[..];
        let error = loop {
            let taken = decoder.feed(rest);
            rest = &rest[taken..];
            match decoder.step() {
                Ok(Step::NeedInput) => {}
                Ok(step) => panic!("{step:?} from a bomb"),
                Err(error) => break error,
            }
        };
        assert!(
            matches!(
                error,
                ProtocolError::LimitExceeded {
                    limit: LimitName::InflatedBytes,
                    ..
                }
            ),
            "{error:?}"
        );
        decoders.push(decoder);
    }
    let grown = peak_resident() - before;
    let allowed = LIMIT + BOMBS * 2 * bomb.len() + 4 * MIB;
    assert!(grown <= allowed, "grew by {grown} bytes");
}
