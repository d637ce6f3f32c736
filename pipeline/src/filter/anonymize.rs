//! The filter `anonymize`: puts a keyed hash in the place of a field's value, so that equal values
//! stay equal and nothing else is known of them.
//!
//! COMPAT (logstash-filter-anonymize): the older sibling of `fingerprint`, always keyed; with
//! `MURMUR3` the key is ignored.

use super::common::put;
use super::fingerprint::network_bits;
use super::hash::{Encoding, Hasher, Sha};
use super::{Context, Filter, Outcome};
use crate::event::{Array, Event, Path, Value};
use crate::language::Options;

/// The filter.
pub struct Anonymize {
    fields: Vec<Path>,
    hasher: Hasher,
}

#[derive(Clone, Copy)]
enum Algorithm {
    Sha(Sha),
    Md5,
    Murmur3,
    Network,
}

const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("SHA1", Algorithm::Sha(Sha::One)),
    ("SHA256", Algorithm::Sha(Sha::Two256)),
    ("SHA384", Algorithm::Sha(Sha::Two384)),
    ("SHA512", Algorithm::Sha(Sha::Two512)),
    ("MD5", Algorithm::Md5),
    ("MURMUR3", Algorithm::Murmur3),
    ("IPV4_NETWORK", Algorithm::Network),
];

impl Anonymize {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>) -> Option<Self> {
        if !options.has("fields") {
            options.missing("fields");
        }
        let fields = options.fields("fields");
        let algorithm = options.enumeration("algorithm", ALGORITHMS);
        let algorithm = if options.has("algorithm") {
            algorithm?
        } else {
            Algorithm::Sha(Sha::One)
        };
        let key = options.required_string("key")?;
        let hasher = match algorithm {
            Algorithm::Sha(variant) => Hasher::sha(variant, Some(&key), Encoding::Hex),
            Algorithm::Md5 => Hasher::Md5(Some(key.into_bytes().into()), Encoding::Hex),
            Algorithm::Murmur3 => Hasher::Murmur3,
            Algorithm::Network => Hasher::Network(network_bits(options, "key")?),
        };
        Some(Self {
            fields: fields?
                .iter()
                .map(|field| Path::from(&field.value))
                .collect(),
            hasher,
        })
    }
}

impl Filter for Anonymize {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let arena = context.arena;
        let mut applied = false;
        for field in &self.fields {
            let hash = match field.get(event) {
                None => continue,
                Some(Value::Array(values)) => {
                    let mut hashes = Array::with_capacity_in(values.len(), arena);
                    for value in values.iter() {
                        // What is no address tells nothing when it is gone.
                        let hash = self.hasher.hash(value, arena);
                        hashes.push(hash.unwrap_or(Value::Null));
                    }
                    Value::array(hashes, arena)
                }
                Some(value) => self.hasher.hash(value, arena).unwrap_or(Value::Null),
            };
            applied |= put(field, hash, event, arena);
        }
        Outcome::of(applied)
    }
}
