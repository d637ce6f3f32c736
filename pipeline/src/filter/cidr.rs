//! The filter `cidr`: whether an address lies in one of some networks. It succeeds if so, and the
//! options of every filter say what follows.
//!
//! PERF: networks become sorted ranges, so a list of any length costs one binary search.
//!
//! COMPAT (logstash-filter-cidr): what is no address or no network is skipped. An address of version
//! 4 lies in no network of version 6.

use std::net::IpAddr;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use super::common::template;
use super::reload::{Reloadable, WatchedFile};
use super::text::text_of;
use super::{Context, Filter, Outcome, ScratchSlot};
use crate::compile::Build;
use crate::event::{Event, Path, Value};
use crate::language::Options;
use crate::template::Template;

/// Default of `refresh_interval`.
const REFRESH_INTERVAL: f64 = 600.0;

/// The filter.
#[derive(Debug)]
pub struct Cidr {
    addresses: Addresses,
    networks: Arc<Reloadable<Networks>>,
    /// Networks with fields of the event in them.
    filled: Vec<Template>,
    slot: ScratchSlot,
}

#[derive(Debug)]
enum Addresses {
    Field(Path),
    Texts(Vec<Template>),
}

impl Cidr {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Option<Self> {
        let field = options.field("address_field");
        let texts = options.strings("address").unwrap_or_default();
        let texts: Vec<Template> = texts
            .iter()
            .filter_map(|text| template(options, "address", &text.value))
            .collect();
        if options.has("address") && options.has("address_field") {
            options.error(
                "address",
                "`address` and `address_field` exclude each other; remove one of them",
            );
        }
        let addresses = match field {
            Some(field) => Addresses::Field(Path::from(&field.value)),
            None => Addresses::Texts(texts),
        };
        if !options.has("address") && !options.has("address_field") {
            options.missing("address");
        }
        let separator = options.string("separator").unwrap_or_else(|| "\n".into());
        // COMPAT: a configuration without escapes has no other way to write these.
        let separator = match separator.as_str() {
            r"\n" => "\n".to_owned(),
            r"\t" => "\t".to_owned(),
            _ => separator,
        };
        let interval = options
            .number("refresh_interval")
            .unwrap_or(REFRESH_INTERVAL);
        let path = options.spanned_string("network_path");
        let written = options.strings("network").unwrap_or_default();
        if path.is_some() && !written.is_empty() {
            options.error(
                "network",
                "`network` and `network_path` exclude each other; put all networks into one",
            );
        }
        if path.is_none() && written.is_empty() && !options.has("network_path") {
            options.missing("network");
        }
        let mut fixed = Vec::new();
        let mut filled = Vec::new();
        for text in written {
            let template = template(options, "network", &text.value)?;
            if !template.is_literal() {
                filled.push(template);
                continue;
            }
            for network in text.value.split(',') {
                let network = network.trim();
                if parse_network(network.as_bytes()).is_none() {
                    let message = format!("`{network}` is no network and is skipped");
                    options.diagnostics().warning(text.span, message);
                }
                fixed.push(network.to_owned());
            }
        }
        let mut networks = Networks::of(fixed.iter().map(String::as_bytes));
        if let Some(path) = &path {
            let contents = build.files.read(FilePath::new(&path.value));
            let read = contents
                .map_err(|error| format!("cannot be read: {error}"))
                .and_then(|contents| read_networks(&contents, &separator));
            match read {
                Ok(read) => networks = read,
                Err(error) => {
                    let message = format!("list of networks {}: {error}", path.value);
                    options.error("network_path", message);
                }
            }
        }
        let networks = Arc::new(Reloadable::new(networks));
        if let Some(path) = path
            && let Ok(interval) = Duration::try_from_secs_f64(interval)
            && !interval.is_zero()
        {
            let shared = Arc::clone(&networks);
            let load = move |contents: Vec<u8>| {
                shared.replace(read_networks(&contents, &separator)?);
                Ok(())
            };
            let file = WatchedFile::new(path.value.into(), interval, load);
            build.watched.push(file);
        }
        Some(Self {
            addresses,
            networks,
            filled,
            slot: build.slots.take(),
        })
    }

    fn contains<'b>(
        &'b self,
        address: &[u8],
        event: &Event<'b>,
        context: &mut Context<'_, 'b>,
    ) -> bool {
        let Some(address) = parse_address(address) else {
            return false;
        };
        let networks = self.networks.read(context.scratch, self.slot);
        if networks.contain(address) {
            return true;
        }
        self.filled.iter().any(|template| {
            let text = template.fill(event, context.now, context.arena);
            let mut networks = text.split(|byte| *byte == b',');
            networks.any(|network| {
                let range = parse_network(network.trim_ascii());
                range.is_some_and(|range| range.contains(address))
            })
        })
    }
}

impl Filter for Cidr {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        Outcome::of(match &self.addresses {
            Addresses::Texts(texts) => texts.iter().any(|text| {
                let address = text.fill(event, context.now, context.arena);
                self.contains(address, event, context)
            }),
            Addresses::Field(field) => {
                let values = match field.get(event) {
                    None => &[],
                    Some(Value::Array(values)) => values.as_slice(),
                    Some(value) => std::slice::from_ref(value),
                };
                values.iter().any(|value| {
                    let address = text_of(value, context.arena);
                    self.contains(address, event, context)
                })
            }
        })
    }
}

/// An address as a number; the version stands beside it, since their numbers overlap.
#[derive(Clone, Copy, Debug)]
struct Address {
    is_v6: bool,
    number: u128,
}

/// A network as its first and last address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    is_v6: bool,
    first: u128,
    last: u128,
}

impl Range {
    fn contains(&self, address: Address) -> bool {
        self.is_v6 == address.is_v6 && (self.first..=self.last).contains(&address.number)
    }
}

/// Some networks: ranges in order that do not touch.
#[derive(Debug)]
struct Networks(Box<[Range]>);

impl Networks {
    /// Those of the texts that are networks.
    fn of<'t>(texts: impl Iterator<Item = &'t [u8]>) -> Self {
        let mut ranges: Vec<Range> = texts.filter_map(parse_network).collect();
        ranges.sort_unstable();
        ranges.dedup_by(|next, before| {
            let touches = next.is_v6 == before.is_v6 && next.first <= before.last.saturating_add(1);
            if touches {
                before.last = before.last.max(next.last);
            }
            touches
        });
        Self(ranges.into())
    }

    fn contain(&self, address: Address) -> bool {
        let key = (address.is_v6, address.number);
        let behind = self
            .0
            .partition_point(|range| (range.is_v6, range.first) <= key);
        behind > 0 && self.0[behind - 1].contains(address)
    }
}

/// The networks of a file. One without any is an error, as a file that is being written would be.
fn read_networks(contents: &[u8], separator: &str) -> Result<Networks, String> {
    let text = String::from_utf8_lossy(contents);
    let texts: Vec<&str> = if separator.is_empty() {
        vec![&text]
    } else {
        text.split(separator).collect()
    };
    let networks = Networks::of(texts.iter().map(|text| text.trim().as_bytes()));
    if networks.0.is_empty() {
        return Err("it has no network in it; is the `separator` right?".to_owned());
    }
    Ok(networks)
}

fn parse_address(text: &[u8]) -> Option<Address> {
    let address: IpAddr = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
    Some(match address {
        IpAddr::V4(address) => Address {
            is_v6: false,
            number: u32::from(address).into(),
        },
        IpAddr::V6(address) => Address {
            is_v6: true,
            number: address.into(),
        },
    })
}

/// `10.0.0.0/8`, `10.0.0.0/255.0.0.0`, `fe80::/10`, or an address alone.
fn parse_network(text: &[u8]) -> Option<Range> {
    let text = std::str::from_utf8(text).ok()?;
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let Address { is_v6, number } = parse_address(address.as_bytes())?;
    let width: u32 = if is_v6 { 128 } else { 32 };
    let bits = match prefix {
        None => width,
        Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => prefix.parse().ok()?,
        Some(mask) => {
            let mask = parse_address(mask.as_bytes()).filter(|mask| mask.is_v6 == is_v6)?;
            let bits = (mask.number << (128 - width)).leading_ones();
            // A mask with holes is none.
            (bits == mask.number.count_ones()).then_some(bits)?
        }
    };
    let free = width.checked_sub(bits)?;
    let hosts = 1_u128.checked_shl(free).map_or(u128::MAX, |size| size - 1);
    let first = number & !hosts;
    Some(Range {
        is_v6,
        first,
        last: first | hosts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        let networks = Networks::of(
            [
                "10.0.0.0/8",
                "10.1.0.0/16",
                "192.168.1.7",
                "172.16.0.0/255.240.0.0",
                "fe80::/10",
                "::/0",
                "1.2.3.4/33",
                "1.2.3.0/255.0.255.0",
                "x",
                "",
            ]
            .iter()
            .map(|text| text.as_bytes()),
        );
        assert_eq!(networks.0.len(), 4, "{networks:?}");
        for (address, expected) in [
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("9.255.255.255", false),
            ("192.168.1.7", true),
            ("192.168.1.8", false),
            ("172.31.0.1", true),
            ("172.32.0.1", false),
            ("ffff::", true),
            ("::", true),
        ] {
            let parsed = parse_address(address.as_bytes()).unwrap();
            assert_eq!(networks.contain(parsed), expected, "{address}");
        }
        let all = Networks::of(["0.0.0.0/0".as_bytes()].into_iter());
        assert!(all.contain(parse_address(b"255.255.255.255").unwrap()));
        assert!(!all.contain(parse_address(b"::1").unwrap()));
    }

    #[test]
    fn files_of_networks() {
        assert!(read_networks(b"10.0.0.0/8\r\n\n1.2.3.4\n", "\n").is_ok());
        assert!(read_networks(b"10.0.0.0/8;1.2.3.4", ";").is_ok());
        assert!(read_networks(b"10.0.0.0/8;1.2.3.4", "").is_err());
        assert!(read_networks(b"", "\n").is_err());
    }
}
