//! What holds for the reader of the language whatever the text is.

use proptest::prelude::*;
use skidder_pipeline::language::format::{FormatError, format, says_same};
use skidder_pipeline::language::{
    Attribute, CompareOperator, Condition, ConditionKind, Config, Diagnostics, HashEntry,
    MAX_DEPTH, MAX_SOURCE_BYTES, Number, Operand, OperandKind, ParseOptions, Plugin, Section,
    SourceMap, Span, Spanned, Stage, Statement, Value, parse,
};

const REAL: &str = r#"
# A pipeline as people write them.
input {
  beats { port => 5044 ssl => true ssl_certificate => "/etc/a.crt" codec => json { charset => "UTF-8" } }
  file { path => [ "/var/log/a.log", '/var/log/b.log' ] start_position => beginning }
}
filter {
  if [type] == "apache" and !([status] >= 500 or "x" in [tags]) {
    grok { match => { "message" => "%{COMBINEDAPACHELOG}" } match => { "other" => "\"%{WORD:w}\"" } }
    date { match => [ "timestamp", "dd/MMM/yyyy:HH:mm:ss Z" ] }
  } else if [message] =~ /^\/api\/(a|b)$/ {
    mutate { convert => { "bytes" => "integer" 1 => 2.5 } remove_field => [ "timestamp" ] }
  } else { drop { percentage => 40 } } # done
}
output { elasticsearch { hosts => ["localhost:9200"] index => "logs-%{+YYYY.MM.dd}" } }
"#;

/// Words and signs of the language, for texts that get far into the parser.
const PIECES: [&str; 52] = [
    "input", "filter", "output", "{", "}", "{", "}", "[", "]", "(", ")", "if", "else", "else if",
    "and", "or", "xor", "nand", "not in", "in", "==", "!=", "=~", "!~", "<=", ">", "!", "=>", "=>",
    ",", "\"a\"", "'b'", "/c/", "\"", "'", "/", "\\\"", "#", "\n", "\r\n", "[a]", "[a][b]", "grok",
    "mutate", "x", "5", "-1.5", "1.", "007", "${A}", "ü", "\u{0}",
];

fn read(text: &str) -> (Config, Diagnostics, SourceMap) {
    let sources = SourceMap::single("t", text);
    let mut diagnostics = Diagnostics::new();
    let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
    (config, diagnostics, sources)
}

/// Reads a text and checks what must hold for any.
fn check(text: &str) {
    let (config, diagnostics, sources) = read(text);
    let inside = |span: Span| {
        assert!(
            text.get(span.range()).is_some(),
            "{span:?} is not inside of {text:?}"
        );
    };
    for diagnostic in diagnostics.iter() {
        let span = diagnostic.span.expect("the parser always knows the place");
        inside(span);
        for related in &diagnostic.related {
            inside(related.span);
        }
        assert!(!diagnostic.message.is_empty());
    }
    let rendered = diagnostics.render(&sources, true);
    assert_eq!(rendered.is_empty(), diagnostics.is_empty());
    check_format(text, &config);
    for section in Section::ALL {
        for statement in config.section(section) {
            check_statement(statement, &inside);
        }
    }
}

/// What follows the grammar can be formatted; that changes no meaning, and once is enough.
fn check_format(text: &str, config: &Config) {
    match format("t", text, ParseOptions::default()) {
        Ok(formatted) => {
            let (again, diagnostics, _) = read(&formatted);
            assert!(!diagnostics.has_errors(), "{text:?} became {formatted:?}");
            assert!(says_same(config, &again), "{text:?} became {formatted:?}");
            let twice = format("t", &formatted, ParseOptions::default());
            assert_eq!(twice.as_ref(), Ok(&formatted), "of {text:?}");
        }
        Err(FormatError::Grammar(diagnostics)) => assert!(!diagnostics.is_empty()),
        Err(error) => panic!("{text:?}: {error}"),
    }
}

fn check_statement(statement: &Statement, inside: &impl Fn(Span)) {
    inside(statement.span());
    match statement {
        Statement::Plugin(plugin) => check_plugin(plugin, inside),
        Statement::If(branches) => {
            assert!(!branches.branches.is_empty());
            for branch in &branches.branches {
                inside(branch.span);
                check_condition(&branch.condition, inside);
                for inner in &branch.body {
                    check_statement(inner, inside);
                }
            }
            for inner in branches.otherwise.iter().flatten() {
                check_statement(inner, inside);
            }
        }
    }
}

fn check_plugin(plugin: &Plugin, inside: &impl Fn(Span)) {
    inside(plugin.span);
    inside(plugin.name.span);
    for (index, attribute) in plugin.attributes.iter().enumerate() {
        inside(attribute.name.span);
        check_value(&attribute.value, inside);
        let is_same = |other: &Attribute| other.name.value == attribute.name.value;
        assert!(
            !plugin.attributes[..index].iter().any(is_same),
            "names are unequal"
        );
    }
}

fn check_value(value: &Spanned<Value>, inside: &impl Fn(Span)) {
    inside(value.span);
    match &value.value {
        Value::Array(values) => {
            for inner in values {
                check_value(inner, inside);
            }
        }
        Value::Hash(entries) => {
            for HashEntry { key, value } in entries {
                check_value(key, inside);
                check_value(value, inside);
            }
        }
        Value::Plugin(plugin) => check_plugin(plugin, inside),
        Value::Number(_) | Value::Bareword(_) | Value::String(_) => {}
    }
}

fn check_condition(condition: &Condition, inside: &impl Fn(Span)) {
    inside(condition.span);
    match &condition.kind {
        ConditionKind::And(all) | ConditionKind::Or(all) => {
            assert!(all.len() >= 2);
            for inner in all {
                check_condition(inner, inside);
            }
        }
        ConditionKind::Xor(left, right) | ConditionKind::Nand(left, right) => {
            check_condition(left, inside);
            check_condition(right, inside);
        }
        ConditionKind::Not(inner) => check_condition(inner, inside),
        ConditionKind::Compare { left, right, .. } => {
            inside(left.span);
            inside(right.span);
        }
        ConditionKind::Match {
            subject, pattern, ..
        } => {
            inside(subject.span);
            inside(pattern.span);
        }
        ConditionKind::In {
            needle, haystack, ..
        } => {
            inside(needle.span);
            inside(haystack.span);
        }
        ConditionKind::Truthy(operand) => inside(operand.span),
    }
}

/// Cuts a range out of a text and puts another piece there.
fn mutate(text: &str, start: usize, length: usize, piece: &str) -> String {
    let boundary = |mut index: usize| {
        while !text.is_char_boundary(index) {
            index -= 1;
        }
        index
    };
    let start = boundary(start % text.len());
    let end = boundary((start + length).min(text.len())).max(start);
    format!("{}{piece}{}", &text[..start], &text[end..])
}

fn word() -> impl Strategy<Value = String> {
    "[a-z_][a-z0-9_]{1,6}"
}

fn text() -> impl Strategy<Value = String> {
    // Neither quotes nor backslashes: those have tests of their own.
    "[ -!#-&(-\\[\\]-~\nü]{0,8}"
}

fn spanned(value: Value) -> Spanned<Value> {
    Spanned::new(value, Span::default())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|integer| Value::Number(Number::Integer(integer))),
        (-1_000_000..1_000_000_i32)
            .prop_map(|number| Value::Number(Number::Decimal(f64::from(number) / 8.0))),
        word().prop_map(Value::Bareword),
        text().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone().prop_map(spanned), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(word(), inner.clone(), 0..4).prop_map(|entries| {
                let entry = |(key, value): (String, Value)| HashEntry {
                    key: spanned(Value::String(key)),
                    value: spanned(value),
                };
                Value::Hash(entries.into_iter().map(entry).collect())
            }),
            (word(), prop::collection::btree_map(word(), inner, 0..3))
                .prop_map(|(name, options)| Value::Plugin(Box::new(plugin_of(name, options)))),
        ]
    })
}

fn plugin_of(name: String, options: std::collections::BTreeMap<String, Value>) -> Plugin {
    let attribute = |(name, value): (String, Value)| Attribute {
        name: Spanned::new(name, Span::default()),
        value: spanned(value),
    };
    Plugin {
        name: Spanned::new(name, Span::default()),
        attributes: options.into_iter().map(attribute).collect(),
        span: Span::default(),
    }
}

/// A value as one may write it; `space` is what stands where some space may stand.
fn print(value: &Value, space: &str) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Bareword(word) => word.clone(),
        Value::String(text) => format!("\"{text}\""),
        Value::Array(values) => {
            let values: Vec<_> = values
                .iter()
                .map(|value| print(&value.value, space))
                .collect();
            format!(
                "[{space}{}{space}]",
                values.join(&format!("{space},{space}"))
            )
        }
        Value::Hash(entries) => {
            let print_entry = |entry: &HashEntry| {
                let value = print(&entry.value.value, space);
                format!("\"{}\"{space}=>{space}{value} ", entry.key_text())
            };
            format!(
                "{{{space}{}}}",
                entries.iter().map(print_entry).collect::<String>()
            )
        }
        Value::Plugin(plugin) => print_plugin(plugin, space),
    }
}

fn print_plugin(plugin: &Plugin, space: &str) -> String {
    let print_attribute = |attribute: &Attribute| {
        let value = print(&attribute.value.value, space);
        format!("{}{space}=>{space}{value}\n", attribute.name.value)
    };
    let attributes: String = plugin.attributes.iter().map(print_attribute).collect();
    format!("{}{space}{{{space}{attributes}}}", plugin.name.value)
}

proptest! {
    // Shrunk failures are printed in full, so none are kept in files.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_can_be_read(text in "\\PC{0,200}") {
        check(&text);
    }

    #[test]
    fn any_pieces_can_be_read(
        pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..60),
        inside in any::<bool>(),
    ) {
        let text = pieces.join(" ");
        check(&if inside { format!("filter {{ {text}") } else { text });
    }

    #[test]
    fn any_damage_to_a_real_configuration_can_be_read(
        damages in prop::collection::vec(
            (any::<usize>(), 0..40_usize, prop::sample::select(PIECES.to_vec())),
            1..6,
        ),
    ) {
        let mut text = REAL.to_owned();
        for (start, length, piece) in damages {
            text = mutate(&text, start, length, piece);
            if text.is_empty() {
                break;
            }
            check(&text);
        }
    }

    #[test]
    fn what_is_written_is_what_is_read(
        name in word(),
        options in prop::collection::btree_map(word(), value(), 0..4),
        space in prop::sample::select(vec!["", " ", "\n", " # a } \" comment\n"]),
    ) {
        let plugin = plugin_of(name, options);
        let text = format!("filter {{ {} }}", print_plugin(&plugin, space));
        let (config, diagnostics, sources) = read(&text);
        prop_assert!(diagnostics.is_empty(), "{}", diagnostics.render(&sources, false));
        let [Statement::Plugin(found)] = config.filters.as_slice() else {
            panic!("one plugin was written: {text}");
        };
        let (expected, found) =
            (Value::Plugin(Box::new(plugin)), Value::Plugin(Box::new(found.clone())));
        prop_assert!(found.means_same(&expected), "{text}\n{found:?}");
        check_format(&text, &config);
    }

    #[test]
    fn whole_configurations_can_be_formatted(
        sections in prop::collection::vec(section(), 0..4),
        spaces in prop::collection::vec(prop::sample::select(SPACES.to_vec()), 1..40),
    ) {
        // Pieces with one kind of space or another between them.
        let mut text = String::new();
        let mut spaces = spaces.iter().cycle();
        for piece in sections.concat() {
            text.push_str(&piece);
            text.push_str(spaces.next().copied().unwrap_or_default());
        }
        let (config, diagnostics, sources) = read(&text);
        prop_assert!(!diagnostics.has_errors(), "{}", diagnostics.render(&sources, false));
        check_format(&text, &config);
        let kept = |text: &str| text.matches("# c").count();
        let formatted = format("t", &text, ParseOptions::default()).unwrap_or_default();
        prop_assert_eq!(kept(&text), kept(&formatted), "{}", text);
    }
}

/// What may stand where white space may.
const SPACES: [&str; 8] = [
    " ",
    "  ",
    "\n",
    "\n\n\n",
    "\t",
    " # c } \" x\n",
    "\n# c\n",
    "\n\n  # c ü\n# c\n\n",
];

/// A section as its pieces; any space may stand between them.
fn section() -> impl Strategy<Value = Vec<String>> {
    let name = prop::sample::select(vec!["input", "filter", "output"]);
    (name, prop::collection::vec(statement(), 0..4)).prop_map(|(name, statements)| {
        let mut pieces = vec![name.to_owned(), "{".to_owned()];
        pieces.extend(statements.concat());
        pieces.push("}".to_owned());
        pieces
    })
}

fn statement() -> impl Strategy<Value = Vec<String>> {
    let options = prop::collection::btree_map(word(), value(), 0..4);
    let plugin = (word(), options).prop_map(|(name, options)| {
        // A word of the language before a brace is no plugin.
        let plugin = plugin_of(format!("p{name}"), options);
        print_plugin(&plugin, "\u{0}")
            .split('\u{0}')
            .map(str::to_owned)
            .collect()
    });
    let leaf: BoxedStrategy<Vec<String>> = plugin.boxed();
    leaf.prop_recursive(3, 12, 3, |inner| {
        let body = prop::collection::vec(inner, 0..3).prop_map(|all| all.concat());
        let branch = (condition(), body.clone());
        (prop::collection::vec(branch, 1..3), prop::option::of(body)).prop_map(
            |(branches, otherwise)| {
                let mut pieces = Vec::new();
                for (index, (condition, body)) in branches.into_iter().enumerate() {
                    pieces.extend((index > 0).then(|| "else".to_owned()));
                    pieces.push("if".to_owned());
                    pieces.extend(condition);
                    pieces.push("{".to_owned());
                    pieces.extend(body);
                    pieces.push("}".to_owned());
                }
                if let Some(body) = otherwise {
                    pieces.extend(["else", "{"].map(str::to_owned));
                    pieces.extend(body);
                    pieces.push("}".to_owned());
                }
                pieces
            },
        )
    })
}

fn condition() -> impl Strategy<Value = Vec<String>> {
    let pieces = |pieces: &[&str]| pieces.iter().map(|piece| (*piece).to_owned()).collect();
    let leaf = prop::sample::select(vec![
        pieces(&["[a]"]),
        pieces(&["[a b][0]", "==", "\"x # y\""]),
        pieces(&["5", "<=", "[n]"]),
        pieces(&["[m]", "=~", "/^\\/a b\"#/"]),
        pieces(&["[m]", "!~", "'c'"]),
        pieces(&["\"a\"", "in", "[tags]"]),
        pieces(&["[a]", "not in", "[", "\"a\"", ",", "5", "]"]),
        pieces(&["!", "[a]"]),
    ]);
    leaf.prop_recursive(3, 8, 2, |inner: BoxedStrategy<Vec<String>>| {
        let join = prop::sample::select(vec!["and", "or"]);
        prop_oneof![
            (inner.clone(), join, inner.clone()).prop_map(|(mut left, join, right)| {
                left.push(join.to_owned());
                left.extend(right);
                left
            }),
            (any::<bool>(), inner).prop_map(|(not, inner)| {
                let mut pieces: Vec<String> = not.then(|| "!".to_owned()).into_iter().collect();
                pieces.push("(".to_owned());
                pieces.extend(inner);
                pieces.push(")".to_owned());
                pieces
            }),
        ]
    })
}

/// Every configuration that the repository has, good or bad.
#[test]
fn every_configuration_here_can_be_formatted() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for folder in [
        "tests/diagnostics",
        "tests/diagnostics/compile",
        "../examples/aggregator",
    ] {
        for entry in std::fs::read_dir(root.join(folder)).expect("the folder is there") {
            let path = entry.expect("the folder can be read").path();
            if path
                .extension()
                .is_some_and(|extension| extension == "conf")
            {
                let text = std::fs::read_to_string(&path).expect("a configuration is text");
                let (config, ..) = read(&text);
                check_format(&text, &config);
                seen += 1;
            }
        }
    }
    for manual in ["configuration.md", "aggregator.md", "filters.md"] {
        let text = std::fs::read_to_string(root.join("../docs").join(manual)).expect("a page");
        for block in text.split("```logstash").skip(1) {
            let (_, block) = block.split_once('\n').expect("a block has lines");
            let (block, _) = block.split_once("```").expect("a block is closed");
            let (config, ..) = read(block);
            check_format(block, &config);
            seen += 1;
        }
    }
    check_format(REAL, &read(REAL).0);
    assert!(seen > 100, "the configurations are found: {seen}");
}

#[test]
fn the_real_configuration_is_right() {
    let (config, diagnostics, sources) = read(REAL);
    assert!(
        diagnostics.is_empty(),
        "{}",
        diagnostics.render(&sources, false)
    );
    assert_eq!(
        (
            config.inputs.len(),
            config.filters.len(),
            config.outputs.len()
        ),
        (2, 1, 1)
    );
}

#[test]
fn sections_of_all_sources_are_merged_in_order() {
    let mut sources = SourceMap::new();
    sources.add("10.conf", "filter { aa { } } output { oo { } }");
    sources.add("20.conf", "filter { bb { } if [x] { cc { } } }");
    sources.add("30.conf", "filter { dd { ");
    let mut diagnostics = Diagnostics::new();
    let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
    assert_eq!((config.filters.len(), config.outputs.len()), (3, 1));
    assert_eq!(sources.text(config.filters[1].span()), "bb { }");
    let text = diagnostics.render(&sources, false);
    assert_eq!(
        diagnostics.error_count(),
        1,
        "a source does not end in another: {text}"
    );
    assert!(text.contains("30.conf:1:13"), "{text}");
}

#[test]
fn nesting_is_bounded() {
    let nests: [(&str, &str); 6] = [
        ("filter { x { aa => ", "["),
        ("filter { x { aa => ", "{ bb => "),
        ("filter { ", "if [a] { "),
        ("filter { if ", "("),
        ("filter { if ", "!("),
        ("filter { x { ", "codec => yy { "),
    ];
    for (start, nest) in nests {
        let (_, diagnostics, sources) = read(&format!("{start}{}", nest.repeat(100_000)));
        let text = diagnostics.render(&sources, false);
        assert_eq!(diagnostics.error_count(), 1, "{nest}");
        assert!(
            text.contains(&format!("nested deeper than {MAX_DEPTH} levels")),
            "{nest}"
        );
    }
    let fits = MAX_DEPTH - 3;
    let (open, close) = ("[".repeat(fits), "]".repeat(fits));
    assert!(
        !read(&format!("filter {{ x {{ aa => {open}{close} }} }}"))
            .1
            .has_errors()
    );
    let (open, close) = ("(".repeat(fits), ")".repeat(fits));
    assert!(
        !read(&format!("filter {{ if {open}[a]{close} {{ }} }}"))
            .1
            .has_errors()
    );
}

#[test]
fn long_conditions_are_flat() {
    let text = format!(
        "filter {{ if [a] {} {{ }} }}",
        "or [b] == 1 ".repeat(50_000)
    );
    let (config, diagnostics, _) = read(&text);
    assert!(diagnostics.is_empty());
    let Statement::If(branches) = &config.filters[0] else {
        panic!("a branch")
    };
    let ConditionKind::Or(all) = &branches.branches[0].condition.kind else {
        panic!("a list")
    };
    assert_eq!(all.len(), 50_001);
    // The grouping that nests at every turn is bounded like all other nesting.
    let text = format!(
        "filter {{ if [a] {} [z] {{ }} }}",
        "and [b] and [c] or ".repeat(50_000)
    );
    assert!(read(&text).1.has_errors());
}

#[test]
fn a_source_that_is_too_big_is_refused() {
    let text = " ".repeat(MAX_SOURCE_BYTES + 1);
    assert!(read(&text).1.has_errors());
    assert!(!read(&text[1..]).1.has_errors());
}

/// Dictionaries are written into configurations.
#[test]
fn big_hashes_are_read_in_reasonable_time() {
    let entries: Vec<String> = (0..100_000)
        .map(|key| format!("\"{key}\" => \"{key}\"\n"))
        .collect();
    let entries = entries.concat();
    let text = format!("filter {{ x {{ aa => {{ {entries} }} aa => {{ {entries} }} }} }}");
    let start = std::time::Instant::now();
    let (config, diagnostics, _) = read(&text);
    assert!(diagnostics.is_empty());
    let [Statement::Plugin(plugin)] = config.filters.as_slice() else {
        panic!("a plugin")
    };
    let [Attribute { value, .. }] = plugin.attributes.as_slice() else {
        panic!("one option")
    };
    assert!(matches!(&value.value, Value::Hash(entries) if entries.len() == 100_000));
    let took = start.elapsed();
    assert!(took < std::time::Duration::from_secs(20), "took {took:?}");
}

/// Mistakes on every line cost no more than their number.
#[test]
fn many_mistakes_are_read_in_reasonable_time() {
    for line in [
        "\"\n",
        "x => \"\n",
        "if /\n",
        "grok { [\n",
        "}\n",
        "a => {\n",
        "x { \"a\\\" }\n",
    ] {
        let text = format!("filter {{\n{}", line.repeat(20_000));
        let start = std::time::Instant::now();
        let (_, diagnostics, _) = read(&text);
        assert!(diagnostics.has_errors());
        let took = start.elapsed();
        assert!(
            took < std::time::Duration::from_secs(20),
            "{line:?} took {took:?}"
        );
    }
}

#[test]
fn grouping_is_that_of_logstash() {
    let grouped = |condition: &str| {
        let (config, diagnostics, _) = read(&format!("filter {{ if {condition} {{ }} }}"));
        let warned = !diagnostics.is_empty() && !diagnostics.has_errors();
        let Some(Statement::If(branches)) = config.filters.first() else {
            return (String::new(), warned);
        };
        (print_condition(&branches.branches[0].condition), warned)
    };
    let plain = |text: &str| (text.to_owned(), false);
    assert_eq!(grouped("[a] and [b] or [c]"), plain("((a & b) | c)"));
    assert_eq!(grouped("[a] or [b] and [c]"), plain("(a | (b & c))"));
    assert_eq!(
        grouped("[a] or [b] and [c] or [d]"),
        plain("(a | (b & c) | d)")
    );
    assert_eq!(
        grouped("[a] and [b] or [c] and [d]"),
        plain("((a & b) | (c & d))")
    );
    assert_eq!(grouped("([a] or [b]) and ![c]"), plain("((a | b) & !c)"));
    assert_eq!(grouped("[a] xor [b]"), plain("(a ^ b)"));
    assert_eq!(grouped("[a]and[b]or[c]"), plain("((a & b) | c)"));
    assert_eq!(grouped("[a] and [b] and [c]"), plain("(a & b & c)"));
    let odd = ("(a & ((b & c) | d))".to_owned(), true);
    assert_eq!(grouped("[a] and [b] and [c] or [d]"), odd);
    for refused in [
        "[a] xor [b] xor [c]",
        "[a] and [b] nand [c]",
        "[a] nand [b] or [c]",
    ] {
        let (_, diagnostics, _) = read(&format!("filter {{ if {refused} {{ }} }}"));
        assert!(diagnostics.has_errors(), "{refused}");
        assert!(
            diagnostics
                .iter()
                .all(|diagnostic| diagnostic.stage == Stage::Compile)
        );
    }
}

fn print_condition(condition: &Condition) -> String {
    let join = |all: &[Condition], sign: &str| {
        let all: Vec<_> = all.iter().map(print_condition).collect();
        format!("({})", all.join(sign))
    };
    match &condition.kind {
        ConditionKind::And(all) => join(all, " & "),
        ConditionKind::Or(all) => join(all, " | "),
        ConditionKind::Xor(left, right) => {
            format!("({} ^ {})", print_condition(left), print_condition(right))
        }
        ConditionKind::Not(inner) => format!("!{}", print_condition(inner)),
        ConditionKind::Truthy(Operand {
            kind: OperandKind::Field(field),
            ..
        }) => field.keys().join("."),
        other => panic!("not expected: {other:?}"),
    }
}

#[test]
fn white_space_stands_where_the_grammar_wants_it() {
    let good = [
        "filter{aa{bb=>1 cc=>[2,3] dd=>{\"e\"=>1\"f\"=>2gg=>3}}}",
        "filter{if[a]==1{}else if[b]{}elseif(1==1){}else{}}",
        "filter { if5 == [a] { } else { } elsewhere { } iffy { } }",
        "filter { if5not in [\"a\", \"b\"] { } else if-5in[a] { } }",
        "filter{}input{}filter{}#end",
        "filter { \"aa\" { 'bb' => 1 } }",
        "filter { if [a] not \n in [b] { } if [a]in[b] { } if \"a\"in[b] { } }",
        "filter { if [field with space] { } }",
        "filter { aa { bb => 1 # comment\n cc => 2 } }",
        "",
    ];
    for text in good {
        let (_, diagnostics, sources) = read(text);
        assert!(
            diagnostics.is_empty(),
            "{}",
            diagnostics.render(&sources, false)
        );
    }
    let bad = [
        "filter { aa { bb => [1]cc => 2 } }",
        "filter { aa { bb => \"1\"cc => 2 } }",
        "filter { aa { bb => 1# comment\n cc => 2 } }",
        "filter { aa { bb => { cc => 1, dd => 2 } } }",
        "filter { aa { bb => [1 2] } }",
        "filter { if [a] notin [b] { } }",
        "filter { if [a] not\tin [b] { } }",
        "filter { if [a] andnot [b] { } }",
    ];
    for text in bad {
        let (_, diagnostics, _) = read(text);
        assert_eq!(diagnostics.error_count(), 1, "{text}");
    }
}

#[test]
fn operators_are_read_whole() {
    let symbols = [
        ("==", CompareOperator::Equal),
        ("!=", CompareOperator::NotEqual),
        ("<", CompareOperator::Less),
        ("<=", CompareOperator::LessOrEqual),
        (">", CompareOperator::Greater),
        (">=", CompareOperator::GreaterOrEqual),
    ];
    for (symbol, expected) in symbols {
        let (config, _, _) = read(&format!("filter {{ if [a]{symbol}-1 {{ }} }}"));
        let Statement::If(branches) = &config.filters[0] else {
            panic!("a branch")
        };
        let ConditionKind::Compare { operator, .. } = branches.branches[0].condition.kind else {
            panic!("a comparison");
        };
        assert_eq!((operator, operator.symbol()), (expected, symbol));
    }
}
