use bumpalo::Bump;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::file::statistics::Statistics;
use parquet::record::Field;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use skidder_pipeline::event::{Event, JsonLimits, Timestamp, read_json_object};

use super::super::collector::{Closed, Collector, Incoming};
use super::super::journal::{Known, Replay};
use super::super::object::{Body, Encoding, PART_BYTES, Position};
use super::super::options::tests::read as read_options;
use super::super::row::Record;
use super::*;
use crate::ack::Ack;

/// 2026-11-26T08:00:00.123456789Z
const TIME: Timestamp = Timestamp::new(1_795_680_000, 123_456_789);

fn columns(text: &str) -> Columns {
    let (options, findings) = read_options(&format!(
        "bucket => logs format => parquet columns => {{ {text} }}"
    ));
    assert_eq!(findings, "");
    options.columns
}

/// The row of an event with these fields.
fn row(columns: &Columns, fields: &str) -> Row {
    let arena = Bump::new();
    let mut event = Event::with_timestamp_in(TIME, &arena);
    let fields = read_json_object(fields.as_bytes(), JsonLimits::default(), &arena).unwrap();
    for (name, value) in fields.iter() {
        event.fields.set(name, value.copy_in(&arena));
    }
    let mut row = Row::default();
    columns.read(&event, &mut row);
    row
}

fn object(columns: &Columns, rows: &[Row], encoding: Encoding) -> Vec<Bytes> {
    let mut body = Body::new(encoding, columns).unwrap();
    for row in rows {
        body.add(Record::Row(row)).unwrap();
    }
    body.finish().unwrap()
}

fn packed(columns: &Columns, rows: &[Row]) -> Bytes {
    object(columns, rows, Encoding::ParquetZstd).concat().into()
}

fn reader(object: Bytes) -> SerializedFileReader<Bytes> {
    SerializedFileReader::new(object).unwrap()
}

/// Rows as the crate's own reader has them, with what the column of the whole event means.
fn read_back(object: Bytes) -> Vec<Json> {
    let reader = reader(object);
    let rows = reader.get_row_iter(None).unwrap();
    rows.map(|row| {
        let columns = row.unwrap().into_columns();
        let columns = columns.into_iter().map(|(name, field)| {
            let value = match field {
                Field::Null => Json::Null,
                Field::Bool(value) => json!(value),
                Field::Long(number) | Field::TimestampMicros(number) => json!(number),
                Field::Double(number) => json!(number),
                Field::Str(text) if name == WHOLE => serde_json::from_str(&text).unwrap(),
                Field::Str(text) => json!(text),
                other => panic!("{other:?}"),
            };
            (name, value)
        });
        Json::Object(columns.collect())
    })
    .collect()
}

#[test]
fn without_being_told_there_are_the_time_the_message_and_the_event() {
    let columns = Columns::default();
    let rows = [
        row(&columns, r#"{ "message": "GET /", "status": 200 }"#),
        row(&columns, r#"{ "status": 404 }"#),
        row(&columns, r#"{ "message": ["GET /"] }"#),
    ];
    let object = packed(&columns, &rows);
    let event = |more: Json| {
        let mut event = json!({ "@timestamp": "2026-11-26T08:00:00.123456789Z", "@version": "1" });
        let fields = event.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        event
    };
    let micros = 1_795_680_000_123_456_i64;
    assert_eq!(
        read_back(object.clone()),
        [
            json!({ "timestamp": micros, "message": "GET /",
                    "event": event(json!({ "message": "GET /", "status": 200 })) }),
            json!({ "timestamp": micros, "message": null, "event": event(json!({ "status": 404 })) }),
            json!({ "timestamp": micros, "message": null, "event": event(json!({ "message": ["GET /"] })) }),
        ]
    );
    let misfits = rows.each_ref().map(|row| Record::Row(row).misfits());
    assert_eq!(misfits, [0, 0, 1]);
    let reader = reader(object);
    let metadata = reader.metadata();
    assert_eq!(metadata.file_metadata().created_by(), Some(CREATED_BY));
    let mut schema = Vec::new();
    parquet::schema::printer::print_schema(&mut schema, metadata.file_metadata().schema());
    assert_eq!(
        String::from_utf8(schema).unwrap(),
        "message events {\n  OPTIONAL INT64 timestamp (TIMESTAMP(MICROS,true));\n  \
         OPTIONAL BYTE_ARRAY message (STRING);\n  OPTIONAL BYTE_ARRAY event (STRING);\n}\n"
    );
    // What lets a reader pass over a row group.
    let times = metadata.row_group(0).column(0).statistics();
    let Some(Statistics::Int64(times)) = times else {
        panic!("{times:?}")
    };
    assert_eq!(
        (times.min_opt(), times.null_count_opt()),
        (Some(&micros), Some(0))
    );
    assert!(metadata.row_group(0).column(2).statistics().is_none());
}

#[test]
fn row_groups_are_bounded_and_so_is_what_waits() {
    let columns = Columns::default();
    let line = "x".repeat(10_000);
    let rows: Vec<Row> = (0..100)
        .map(|number| row(&columns, &format!(r#"{{ "message": "{number} {line}" }}"#)))
        .collect();
    let mut table = Table::new(Parts::default(), &columns, false).unwrap();
    let (mut most, mut added) = (0, 0);
    while table.chunks < 3 * 3 {
        table.add(&rows[added % rows.len()]).unwrap();
        added += 1;
        assert!(table.raw_bytes < ROW_GROUP_BYTES);
        // A vector that grows has up to twice of what is in it.
        let of_columns = table.waiting.len() * (COLUMN_BYTES + 3 * CHUNK_BYTES);
        let besides = TABLE_BYTES + of_columns + (64 << 10);
        assert!(table.held_bytes() <= 2 * table.raw_bytes + besides);
        most = most.max(table.held_bytes());
    }
    assert!(most > ROW_GROUP_BYTES, "what waits is counted: {most}");
    // What has not been packed counts whole, and is what is stored then.
    let guessed = table.stored_bytes();
    let stored = table.finish().unwrap().bytes;
    assert!(guessed.abs_diff(stored) < stored / 50, "{guessed} {stored}");

    let small = row(&Columns::default(), "{}");
    let mut table = Table::new(Parts::default(), &columns, true).unwrap();
    for _ in 0..ROW_GROUP_ROWS {
        assert_eq!(table.chunks, 0);
        table.add(&small).unwrap();
    }
    assert_eq!((table.chunks, table.rows), (3, 0));
}

#[test]
fn the_same_rows_make_the_same_bytes_in_parts_that_the_server_wants() {
    let columns = columns("'n' => 'n:long' 'even' => 'even:boolean' 'message' => 'message:string'");
    let rows: Vec<Row> = (0..12_000_u64)
        .map(|number| {
            let random = format!(
                "{:032x}",
                xxhash_rust::xxh3::xxh3_128(&number.to_le_bytes())
            );
            let even = number % 2 == 0;
            let text = random.repeat(20);
            row(
                &columns,
                &format!(r#"{{ "n": {number}, "even": {even}, "message": "{text}" }}"#),
            )
        })
        .collect();
    for encoding in [Encoding::Parquet, Encoding::ParquetZstd] {
        let parts = object(&columns, &rows, encoding);
        assert_eq!(parts, object(&columns, &rows, encoding));
        let (last, full) = parts.split_last().unwrap();
        assert!(full.iter().all(|part| part.len() == PART_BYTES));
        assert!(last.len() <= PART_BYTES);
        assert_eq!(
            full.is_empty(),
            encoding == Encoding::ParquetZstd,
            "{}",
            last.len()
        );
        let reader = reader(parts.concat().into());
        assert_eq!(reader.metadata().num_row_groups(), 2);
        let back = read_back(parts.concat().into());
        assert_eq!(back.len(), rows.len());
        for (number, row) in back.iter().enumerate() {
            assert_eq!(
                (&row["n"], &row["even"]),
                (&json!(number), &json!(number % 2 == 0))
            );
            assert_eq!(row["message"], row["event"]["message"]);
        }
    }
}

#[test]
fn each_form_of_an_object_takes_each_form_of_an_event() {
    let columns = Columns::default();
    let one = row(&columns, r#"{ "message": "a" }"#);
    let again = || row(&Columns::default(), r#"{ "message": "a" }"#);
    let as_text = Record::Text(b"a\n", &again);
    let mut body = Body::new(Encoding::ParquetZstd, &columns).unwrap();
    body.add(as_text).unwrap();
    let remade = body.finish().unwrap().concat();
    assert_eq!(packed(&columns, &[one]), remade);
    let mut body = Body::new(Encoding::None, &columns).unwrap();
    body.add(Record::Row(&again())).unwrap();
    let line = body.finish().unwrap().concat();
    let line = String::from_utf8(line).unwrap();
    assert!(line.ends_with("\"message\":\"a\"}\n"), "{line}");
}

/// Gives a collector that many events of each of some partitions, as the options have them written.
fn collect(collector: &mut Collector, options: &str, events: u32, partitions: &[&str]) {
    let (options, _) = read_options(options);
    let ack = Ack::new(Box::new(|| {}));
    for number in 0..events {
        let fields = format!(r#"{{ "message": "{number}" }}"#);
        let again = || row(&options.columns, &fields);
        let row = again();
        let line = format!("{number}\n");
        for partition in partitions {
            ack.hold(1);
            let event = Incoming {
                position: Position {
                    record: 1,
                    event: number,
                },
                partition,
                record: if options.encoding.has_columns() {
                    Record::Row(&row)
                } else {
                    Record::Text(line.as_bytes(), &again)
                },
                ack: &ack,
            };
            collector.add(&event, || "t".to_owned()).unwrap();
        }
    }
}

#[test]
fn what_was_planned_is_made_again_in_its_form_whatever_the_options_say_now() {
    const TABLES: &str = "bucket => logs format => parquet";
    const LINES: &str = "bucket => logs encoding => zstd codec => line { format => '%{message}' }";
    let collector = |options: &str, known: Vec<Known>| {
        let (options, findings) = read_options(options);
        assert_eq!(findings, "");
        Collector::new(Arc::new(options), 7, Replay::new(known))
    };
    let bytes = |closed: &Closed| closed.parts.concat();
    for (before, now) in [
        (TABLES, TABLES),
        (TABLES, LINES),
        (LINES, TABLES),
        (LINES, LINES),
    ] {
        let mut first = collector(before, vec![]);
        collect(&mut first, before, 100, &["a/"]);
        first.close_all();
        let made = first.next_closed().unwrap();
        let known = Known {
            plan: made.plan.clone(),
            stored: false,
        };
        let mut second = collector(now, vec![known]);
        collect(&mut second, now, 110, &["a/"]);
        let again = second.next_closed().unwrap();
        assert_eq!(again.plan, made.plan);
        if now == before || before == TABLES {
            assert_eq!(bytes(&again), bytes(&made));
        } else {
            let text = zstd::stream::decode_all(bytes(&again).as_slice()).unwrap();
            let text = String::from_utf8(text).unwrap();
            assert_eq!(text.lines().count(), 100);
            let line: Json = serde_json::from_str(text.lines().last().unwrap()).unwrap();
            assert_eq!(line["message"], "99");
        }
        // What comes after it is of today's form.
        second.close_all();
        let rest = second.next_closed().unwrap();
        let is_table = Encoding::of_key(&rest.plan.key).has_columns();
        assert_eq!((rest.plan.events, is_table), (10, now == TABLES));
    }
}

#[test]
fn rows_that_wait_count_for_memory() {
    const OPTIONS: &str =
        "bucket => logs format => parquet max_memory_bytes => '4 MiB' size_file => '2 MiB'";
    let (options, _) = read_options(OPTIONS);
    let limit = options.max_memory_bytes;
    let mut collector = Collector::new(Arc::new(options), 7, Replay::default());
    let partitions: Vec<String> = (0..50).map(|at| format!("{at}/")).collect();
    let partitions: Vec<&str> = partitions.iter().map(String::as_str).collect();
    let mut given = 0;
    // The first is closed to make room, long before it has its size; packed it takes little.
    while collector.has_room() && collector.uploads() == 0 {
        assert!(collector.held() < limit);
        collect(&mut collector, OPTIONS, 100, &partitions);
        given += 100 * partitions.len();
    }
    // Each takes a hundred bytes and more, and each object twenty thousand.
    assert!((10_000..60_000).contains(&given), "{given}");
    assert!(collector.held() < limit);
}

#[test]
fn rows_that_wait_count_a_quarter_for_the_size_of_an_object() {
    const OPTIONS: &str = "bucket => logs format => parquet size_file => '100 KiB'";
    let options = Arc::new(read_options(OPTIONS).0);
    let mut collector = Collector::new(options, 7, Replay::default());
    collect(&mut collector, OPTIONS, 8_000, &["a/"]);
    let full = collector.next_closed().unwrap();
    let waited = full.plan.events * 104;
    assert!((390 << 10..420 << 10).contains(&waited), "{waited}");
}

#[test]
fn a_row_group_that_was_written_gives_its_memory_back() {
    let options =
        "bucket => logs format => parquet max_memory_bytes => '128 MiB' size_file => '64 MiB'";
    let (options, _) = read_options(options);
    let line = "x".repeat(1 << 20);
    let row = row(&options.columns, &format!(r#"{{ "message": "{line}" }}"#));
    let mut collector = Collector::new(Arc::new(options), 7, Replay::default());
    let ack = Ack::new(Box::new(|| {}));
    let mut held = vec![0];
    for number in 0..20 {
        ack.hold(1);
        let event = Incoming {
            position: Position {
                record: 1,
                event: number,
            },
            partition: "a/",
            record: Record::Row(&row),
            ack: &ack,
        };
        collector.add(&event, || "t".to_owned()).unwrap();
        held.push(collector.held());
    }
    let most = held.iter().max().unwrap();
    assert!(
        (ROW_GROUP_BYTES..2 * ROW_GROUP_BYTES + (4 << 20)).contains(most),
        "{held:?}"
    );
    assert!(
        held.is_sorted_by(|before, after| before <= after || *after < 64 << 10),
        "{held:?}"
    );
    assert!(!held.is_sorted(), "{held:?}");
    collector.close_all();
    let closed = collector.next_closed().unwrap();
    collector.ended(closed.held);
    assert_eq!(collector.held(), 0);
}

/// Fields `a` to `e` of an event, and what has to be in the columns `a` to `e` of the five types.
fn fields() -> impl Strategy<Value = (Json, Vec<Json>)> {
    let value = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|number| json!(number)),
        (-1000_i64..1000).prop_map(|number| json!(number)),
        any::<f64>()
            .prop_filter("JSON has it", |number| number.is_finite())
            .prop_map(|number| json!(number)),
        ".*".prop_map(|text| json!(text)),
        any::<i64>().prop_map(|number| json!(number.to_string())),
        Just(json!(["a"])),
    ];
    let values = proptest::collection::vec(proptest::option::of(value), 5);
    values.prop_map(|values| {
        let mut event = serde_json::Map::new();
        let mut expected = Vec::new();
        for (at, value) in values.into_iter().enumerate() {
            let cell = match (at, &value) {
                (0, Some(Json::String(text))) => json!(text),
                (1, Some(Json::Number(number))) => match (number.as_i64(), number.as_f64()) {
                    (Some(integer), _) => json!(integer),
                    (_, Some(float)) if float.fract() == 0.0 && float.abs() <= 2f64.powi(53) => {
                        json!(float as i64)
                    }
                    _ => Json::Null,
                },
                (1, Some(Json::String(text))) => text
                    .parse::<i64>()
                    .map_or(Json::Null, |number| json!(number)),
                (2, Some(Json::Number(number))) => match number.as_i64() {
                    Some(integer) if integer.unsigned_abs() > 1 << 53 => Json::Null,
                    _ => json!(number.as_f64()),
                },
                (2, Some(Json::String(text))) => match text.parse::<i64>() {
                    Ok(integer) if integer.unsigned_abs() <= 1 << 53 => json!(integer as f64),
                    Err(_) if text.contains(['.', 'e', 'E']) => text
                        .parse::<f64>()
                        .map_or(Json::Null, |number| json!(number)),
                    _ => Json::Null,
                },
                (3, Some(Json::Bool(value))) => json!(value),
                _ => Json::Null,
            };
            expected.push(cell);
            if let Some(value) = value {
                event.insert(["a", "b", "c", "d", "e"][at].to_owned(), value);
            }
        }
        (Json::Object(event), expected)
    })
}

/// Whether two values are the same, but for the last digit of a fraction, which the reader of this test is not careful with.
fn is_same(left: &Json, right: &Json) -> bool {
    match (left.as_f64(), right.as_f64()) {
        (Some(one), Some(other)) => (one - other).abs() <= one.abs() * 1e-14,
        _ => left == right,
    }
}

proptest! {
    #[test]
    fn what_went_in_comes_out(all in proptest::collection::vec(fields(), 1..60)) {
        let columns = columns(
            "'a' => 'a:string' 'b' => 'b:long' 'c' => '[c]:double' 'd' => 'd:boolean' 'e' => 'e:timestamp'"
        );
        let rows: Vec<Row> = all.iter().map(|(fields, _)| row(&columns, &fields.to_string())).collect();
        let back = read_back(packed(&columns, &rows));
        prop_assert_eq!(back.len(), all.len());
        for ((fields, expected), (back, row)) in all.iter().zip(back.iter().zip(&rows)) {
            let cells: Vec<&Json> = ["a", "b", "c", "d", "e"].map(|name| &back[name]).to_vec();
            prop_assert_eq!(&cells, &expected.iter().collect::<Vec<_>>());
            for (name, value) in fields.as_object().unwrap() {
                prop_assert!(is_same(&back["event"][name], value), "{} {}", back, value);
            }
            // What is there and is not in its column has been counted.
            let there = fields.as_object().unwrap().values().filter(|value| !value.is_null());
            let fitting = expected.iter().filter(|cell| !cell.is_null());
            let misfits = Record::Row(row).misfits() as usize;
            prop_assert_eq!(misfits, there.count() - fitting.count());
        }
    }
}
