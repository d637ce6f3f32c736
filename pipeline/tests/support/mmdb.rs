//! Writes small databases in MaxMind's format (version 2.0), for tests and benches.
//!
//! The file is a search tree of nodes of two 32-bit records, sixteen zero bytes, the records' data,
//! and the metadata behind a marker. Addresses of version 4 lie below `::/96`.
#![allow(
    dead_code,
    reason = "every test and bench uses its own part of the writer"
)]

use std::net::IpAddr;

/// Data of a record.
pub(crate) enum Data {
    Text(&'static str),
    Double(f64),
    Short(u16),
    Number(u32),
    Long(u64),
    Flag(bool),
    List(Vec<Self>),
    Map(Vec<(&'static str, Self)>),
}

use Data::{Double, Flag, List, Long, Map, Number, Short, Text};

/// A database of some type with these networks and what is known of them.
pub(crate) fn database(kind: &'static str, networks: &[(&str, u8, Data)]) -> Vec<u8> {
    const EMPTY: Record = Record::Nothing;
    let mut nodes = vec![[EMPTY; 2]];
    let mut data = Vec::new();
    for (address, length, record) in networks {
        let offset = data.len();
        write(record, &mut data);
        let (bits, length) = match address.parse().expect("an address") {
            IpAddr::V4(address) => (u128::from(u32::from(address)), length + 96),
            IpAddr::V6(address) => (u128::from(address), *length),
        };
        let mut node = 0;
        for place in 0..length {
            let side = (bits >> (127 - place) & 1) as usize;
            if place + 1 == length {
                nodes[node][side] = Record::Data(offset);
            } else {
                node = match nodes[node][side] {
                    Record::Node(next) => next,
                    _ => {
                        nodes.push([EMPTY; 2]);
                        nodes[node][side] = Record::Node(nodes.len() - 1);
                        nodes.len() - 1
                    }
                };
            }
        }
    }
    let mut file = Vec::new();
    for record in nodes.iter().flatten() {
        let number = match record {
            Record::Nothing => nodes.len(),
            Record::Node(node) => *node,
            Record::Data(offset) => nodes.len() + 16 + offset,
        };
        file.extend((number as u32).to_be_bytes());
    }
    file.extend([0; 16]);
    file.extend(data);
    file.extend(b"\xAB\xCD\xEFMaxMind.com");
    let metadata = Map(vec![
        ("binary_format_major_version", Short(2)),
        ("binary_format_minor_version", Short(0)),
        ("build_epoch", Long(1_700_000_000)),
        ("database_type", Text(kind)),
        ("description", Map(vec![("en", Text("for tests"))])),
        ("ip_version", Short(6)),
        ("languages", List(vec![Text("en")])),
        ("node_count", Number(nodes.len() as u32)),
        ("record_size", Short(32)),
    ]);
    write(&metadata, &mut file);
    file
}

/// A database of cities, with one city.
pub(crate) fn cities() -> Vec<u8> {
    // A place that is on no map.
    let names = Map(vec![("en", Text("Nowhere"))]);
    let country = Map(vec![("iso_code", Text("XX")), ("names", names)]);
    let nowhere = Map(vec![("country", country)]);
    database(
        "GeoLite2-City",
        &[
            ("216.160.83.56", 29, seattle()),
            ("2001:db8::", 32, nowhere),
        ],
    )
}

/// A city, with as much of it as MaxMind knows.
pub(crate) fn seattle() -> Data {
    let names = |name| Map(vec![("names", Map(vec![("en", Text(name))]))]);
    let coded = |key, code, name| {
        let names = Map(vec![("en", Text(name))]);
        Map(vec![(key, Text(code)), ("names", names)])
    };
    Map(vec![
        ("city", names("Seattle")),
        ("continent", coded("code", "NA", "North America")),
        ("country", coded("iso_code", "US", "United States")),
        (
            "location",
            Map(vec![
                ("latitude", Double(47.6062)),
                ("longitude", Double(-122.3321)),
                ("metro_code", Short(819)),
                ("time_zone", Text("America/Los_Angeles")),
            ]),
        ),
        ("postal", Map(vec![("code", Text("98106"))])),
        (
            "subdivisions",
            List(vec![coded("iso_code", "WA", "Washington")]),
        ),
    ])
}

/// A database of autonomous systems, with one.
pub(crate) fn systems() -> Vec<u8> {
    let system = Map(vec![
        ("autonomous_system_number", Number(64_500)),
        ("autonomous_system_organization", Text("Example, Inc.")),
    ]);
    database("GeoLite2-ASN", &[("2001:db8::", 32, system)])
}

/// A database of who hides, with one.
pub(crate) fn hidden() -> Vec<u8> {
    let traits = Map(vec![("is_tor_exit_node", Flag(true))]);
    database("GeoIP2-Anonymous-IP", &[("192.0.2.0", 24, traits)])
}

#[derive(Clone, Copy)]
enum Record {
    Nothing,
    Node(usize),
    Data(usize),
}

fn write(data: &Data, out: &mut Vec<u8>) {
    match data {
        Text(text) => {
            control(2, text.len(), out);
            out.extend(text.as_bytes());
        }
        Double(double) => {
            control(3, 8, out);
            out.extend(double.to_be_bytes());
        }
        Short(number) => {
            control(5, 2, out);
            out.extend(number.to_be_bytes());
        }
        Number(number) => {
            control(6, 4, out);
            out.extend(number.to_be_bytes());
        }
        Long(number) => {
            control(9, 8, out);
            out.extend(number.to_be_bytes());
        }
        Flag(flag) => control(14, usize::from(*flag), out),
        List(values) => {
            control(11, values.len(), out);
            for value in values {
                write(value, out);
            }
        }
        Map(entries) => {
            control(7, entries.len(), out);
            for (name, value) in entries {
                write(&Text(name), out);
                write(value, out);
            }
        }
    }
}

/// The byte of type and size, with those that belong to it.
fn control(kind: u8, size: usize, out: &mut Vec<u8>) {
    let short = size.min(29) as u8;
    assert!(size < 29 + 256, "longer sizes are not needed here");
    if kind > 7 {
        out.extend([short, kind - 7]);
    } else {
        out.push(kind << 5 | short);
    }
    if size >= 29 {
        out.push((size - 29) as u8);
    }
}
