//! The filter `script`: what scripts can do, and that none of them can do harm.

mod support;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bumpalo::Bump;
use proptest::prelude::*;
use skidder_pipeline::event::{Event, MESSAGE, Value, write_json};
use skidder_pipeline::filter::Scratch;
use skidder_pipeline::language::{Diagnostics, EscapeStyle, ParseOptions, SourceMap, parse};
use skidder_pipeline::{CompileOptions, Files, Pipeline, compile};

use support::events::{NOW, compiled, run};

/// What some code makes of an event, as JSON.
fn scripted(code: &str, event: &str) -> String {
    let filter = format!("script {{ code => '{code}' }}");
    run(&filter, &[event]).trim_end().to_owned()
}

#[test]
fn fields_are_read_set_and_removed() {
    for (code, event, expected) in [
        (
            r#"event:set("kb", event:get("bytes") / 1024)"#,
            r#"{"bytes":2048}"#,
            r#"{"bytes":2048,"kb":2.0}"#,
        ),
        (
            r#"event.set("kb", event.get("bytes") // 1024)"#,
            r#"{"bytes":2048}"#,
            r#"{"bytes":2048,"kb":2}"#,
        ),
        (
            r#"event:set("[a][b]", event:get("[a][c]") .. "!")"#,
            r#"{"a":{"c":"x"}}"#,
            r#"{"a":{"c":"x","b":"x!"}}"#,
        ),
        (
            r#"event:set("b", event:remove("a"))"#,
            r#"{"a":[1,{"x":null},[]]}"#,
            r#"{"b":[1,{"x":null},[]]}"#,
        ),
        (
            r#"event:set("n", nil) event:set("t", {1, 2, {z = true, a = null}}) event:set("e", array())"#,
            "{}",
            r#"{"n":null,"t":[1,2,{"a":null,"z":true}],"e":[]}"#,
        ),
        (
            r#"event:set("h", event:has("n")) event:set("g", event:has("m")) event:set("v", event:get("n") == nil)"#,
            r#"{"n":null}"#,
            r#"{"n":null,"h":true,"g":false,"v":true}"#,
        ),
        (
            r#"event:tag("x") event:tag("x") event:untag("y")"#,
            r#"{"tags":["y"]}"#,
            r#"{"tags":["x"]}"#,
        ),
        (
            r"for _, name in ipairs(event:names()) do event:set(name:upper(), event:remove(name)) end",
            r#"{"b":1,"a":2}"#,
            r#"{"B":1,"A":2}"#,
        ),
        (
            r#"local t = event:to_table() event:set("n", #keys(t)) event:set("first", keys(t)[1])"#,
            r#"{"b":1,"a":2}"#,
            r#"{"b":1,"a":2,"n":2,"first":"a"}"#,
        ),
        (
            r#"event:set("[@metadata][x]", 1) event:set("y", event:get("[@metadata]").x)"#,
            "{}",
            r#"{"y":1}"#,
        ),
        (
            r#"event:set("t", event:sprintf("%{a}-%{[b][c]}"))"#,
            r#"{"a":1,"b":{"c":"z"}}"#,
            r#"{"a":1,"b":{"c":"z"},"t":"1-z"}"#,
        ),
        (
            r#"event:set("big", event:get("n"))"#,
            r#"{"n":123456789012345678901234567890}"#,
            r#"{"n":123456789012345678901234567890,"big":"123456789012345678901234567890"}"#,
        ),
    ] {
        assert_eq!(scripted(code, event), expected, "{code}");
    }
}

#[test]
fn times_texts_and_json() {
    for (code, event, expected) in [
        (
            r#"event:set("@timestamp", time.parse("2024-02-29T10:00:00.5Z")) event:set("t", event:get("@timestamp"):format("yyyy.MM.dd"))"#,
            "{}",
            r#"{"@timestamp":"2024-02-29T10:00:00.500Z","t":"2024.02.29"}"#,
        ),
        (
            r#"event:set("s", time.parse("10/Oct/2000:13:55:36 -0700", "dd/MMM/yyyy:HH:mm:ss Z"):seconds())"#,
            "{}",
            r#"{"s":971211336}"#,
        ),
        (
            r#"local t = time.at(1.5) event:set("d", (t + 10) - t) event:set("l", t < now()) event:set("n", now())"#,
            "{}",
            r#"{"d":10.0,"l":true,"n":"2024-06-15T12:00:00.000Z"}"#,
        ),
        (
            r#"local k, v = event:get("m"):match("(%w+)=(%w+)") event:set(k, v)"#,
            r#"{"m":"a=b"}"#,
            r#"{"m":"a=b","a":"b"}"#,
        ),
        (
            r#"local n = 0 for k, v in event:get("m"):gmatch("(%w+)=(%w+)") do event:set(k, v) n = n + 1 end event:set("n", n)"#,
            r#"{"m":"a=1 b=2"}"#,
            r#"{"m":"a=1 b=2","a":"1","b":"2","n":2}"#,
        ),
        (
            r#"event:set("m", (event:get("m"):gsub("%d+", function(d) return d * 2 end)))"#,
            r#"{"m":"a1b20"}"#,
            r#"{"m":"a2b40"}"#,
        ),
        (
            r#"event:set("m", (event:get("m"):gsub("", "-"))) event:set("r", ("ab"):rep(3, ","))"#,
            r#"{"m":"abc"}"#,
            r#"{"m":"-a-b-c-","r":"ab,ab,ab"}"#,
        ),
        (
            r#"event:set("p", ("a,b,,c"):split(",")) event:set("t", ("  x "):trim()) event:set("f", {("hello"):find("l+")})"#,
            "{}",
            r#"{"p":["a","b","","c"],"t":"x","f":[3,4]}"#,
        ),
        (
            r##"event:set("v", {re.match(event:get("m"), [[(\d+)-(\w+)]])}) event:set("g", re.gsub(event:get("m"), [[\d]], "#"))"##,
            r#"{"m":"x 12-ab"}"#,
            r#"{"m":"x 12-ab","v":["12","ab"],"g":"x ##-ab"}"#,
        ),
        (
            r#"local v, fault = json_decode(event:get("m")) event:set("v", v) event:set("b", json_encode({x = {1}})) event:set("f", (json_decode("{")) == nil)"#,
            r#"{"m":"{\"a\":[1,null]}"}"#,
            r#"{"m":"{\"a\":[1,null]}","v":{"a":[1,null]},"b":"{\"x\":[1]}","f":true}"#,
        ),
        (
            r#"local t = {3, 1, 2} table.sort(t) table.insert(t, 1, 0) table.remove(t) event:set("t", t)"#,
            "{}",
            r#"{"t":[0,1,2]}"#,
        ),
        (
            r#"local ok, fault = pcall(error, "no") event:set("ok", ok) event:set("f", fault)"#,
            "{}",
            r#"{"ok":false,"f":"no"}"#,
        ),
    ] {
        assert_eq!(scripted(code, event), expected, "{code}");
    }
}

#[test]
fn events_are_dropped_and_made() {
    let code = r#"if event:get("x") == 1 then event:cancel() end"#;
    assert_eq!(scripted(code, r#"{"x":1}"#), "");
    assert_eq!(scripted(code, r#"{"x":2}"#), r#"{"x":2}"#);
    let code = r#"
        for i, part in ipairs(event:get("parts")) do
            local copy = event:to_table()
            copy.parts = nil
            copy.part = part
            emit(copy)
        end
        event:cancel()"#;
    assert_eq!(
        scripted(code, r#"{"a":0,"parts":["x","y"]}"#),
        "{\"@timestamp\":\"2024-06-15T12:00:00.000Z\",\"@version\":\"1\",\"a\":0,\"part\":\"x\"}\n\
         {\"@timestamp\":\"2024-06-15T12:00:00.000Z\",\"@version\":\"1\",\"a\":0,\"part\":\"y\"}"
    );
    // The common options apply to all of them.
    let filter =
        r#"script { code => 'emit({ b = 2 })' add_field => { "c" => "3" } add_tag => "t" }"#;
    assert_eq!(
        run(filter, &[r#"{"a":1}"#]),
        "{\"a\":1,\"c\":\"3\",\"tags\":[\"t\"]}\n\
         {\"@timestamp\":\"2024-06-15T12:00:00.000Z\",\"@version\":\"1\",\"b\":2,\"c\":\"3\",\"tags\":[\"t\"]}\n"
    );
}

#[test]
fn what_is_not_utf8_passes_through() {
    let (pipeline, _) =
        compiled(r#"script { code => 'event:set("copy", event:get("message") .. "!") event:set("n", #event:get("message"))' }"#)
            .unwrap();
    let arena = Bump::new();
    let mut event = Event::new_in(&arena);
    let text = b"a\xff\x00\xc3b";
    event.fields.push_new(MESSAGE, Value::Text(text));
    let mut seen = false;
    pipeline
        .filters
        .run(event, &arena, NOW, &mut Scratch::default(), |event| {
            let copy = event
                .fields
                .iter()
                .find(|(name, _)| name.as_str() == "copy");
            let copy = copy.and_then(|(_, value)| value.as_text());
            assert_eq!(copy, Some(&b"a\xff\x00\xc3b!"[..]));
            seen = true;
        });
    assert!(seen);
}

#[test]
fn a_failure_is_tagged_with_its_line_and_loses_nothing() {
    let filter = |code: &str| {
        format!(
            "script {{ code => '{code}' tag_with_exception_message => true add_field => {{ done => yes }} }} \
             mutate {{ copy => {{ '[@metadata][script][error]' => error }} }}"
        )
    };
    for (code, message) in [
        (
            "local a = 1\nlocal b = a.x.y",
            "code:2: attempt to index a number value (local \"a\")",
        ),
        ("event:cancel()\nemit({})\nerror(\"mine\")", "code:3: mine"),
        (
            "\n\nevent:set(\"@timestamp\", 1)",
            "code:3: @timestamp cannot be set to a integer",
        ),
        ("event:get(\"[a\")", "code:1: "),
        ("event:set(\"x\", print)", ""),
        ("local t = {} t.t = t event:set(\"x\", t)", "holds itself"),
        (
            "event:set(\"x\", function() end)",
            "a function is no value for a field",
        ),
        ("emit(1)", "emit needs a table"),
        ("(\"a\"):match(\"[\")", "malformed pattern"),
        ("re.test(\"a\", \"(?=a)\")", "look-around"),
        ("event:get(nil)", "must be a text, not a nil"),
    ] {
        let code = code.replace("field \\\"x\\\"", "field \"x\"");
        let out = run(&filter(&code), &[r#"{"a":1}"#]);
        assert_eq!(out.lines().count(), 1, "{code}: {out}");
        assert!(out.contains(r#""a":1"#), "{code}: {out}");
        if message.is_empty() {
            assert!(!out.contains("_scriptexception"), "{code}: {out}");
            continue;
        }
        assert!(out.contains(r#""_scriptexception""#), "{code}: {out}");
        assert!(!out.contains(r#""done""#), "{code}: {out}");
        let plain = out.replace("\\\"", "\"").replace('\'', "\"");
        assert!(plain.contains(message), "{code}: {out}");
    }
}

#[test]
fn a_script_that_runs_away_is_stopped_and_its_event_tagged() {
    for (code, limit) in [
        ("while true do end", "max_instructions"),
        (
            "repeat local ok = pcall(function() while true do end end) until false",
            "max_instructions",
        ),
        ("local function f() return f() end f()", "max_instructions"),
        (
            "local function f() return 1 + f() end f()",
            "max_memory|stack overflow",
        ),
        (
            "local t = {} while true do t[#t + 1] = (\"x\"):rep(1000) end",
            "max_memory|max_instructions",
        ),
        ("local s = \"x\" while true do s = s .. s end", "max_memory"),
        ("local s = (\"x\"):rep(1e12)", "max_memory"),
        ("local s = (\"\"):rep(9e18)", ""),
        (
            "pcall(string.rep, \"x\", 1e12) event:cancel()",
            "max_memory",
        ),
        (
            "local t = {} while true do pcall(function() t[#t + 1] = (\"x\"):rep(100000) .. #t end) end",
            "max_memory|max_instructions",
        ),
        (
            "(\"a\"):rep(3000):match((\".-\"):rep(12) .. \"b\")",
            "max_instructions",
        ),
        (
            "(\"a\"):rep(100000):find((\"a*\"):rep(20) .. \"b\")",
            "max_instructions",
        ),
        (
            "(\"a\"):rep(1000000):find((\"a\"):rep(500000) .. \"b\", 1, true)",
            "",
        ),
        (
            "local s = (\"x\"):rep(1000) event:set(\"a\", s:gsub(\".\", s:gsub(\".\", s)))",
            "max_memory|max_instructions",
        ),
        (
            "re.gsub((\"x\"):rep(10000), \"x\", (\"y\"):rep(100000))",
            "max_memory",
        ),
        (
            "local big = (\"x\"):rep(100000) local t = {} for i = 1, 1000 do t[i] = big end event:set(\"a\", t)",
            "max_memory",
        ),
        (
            "local t = {} for i = 1, 40 do t = { t, t } end event:set(\"a\", t)",
            "max_memory",
        ),
        (
            "for i = 1, 1e9 do emit({ n = i }) end",
            "max_memory|max_instructions",
        ),
        (
            "for i = 1, 1e9 do event:set(\"a\", \"x\") end",
            "max_memory|max_instructions",
        ),
        (
            "local t = {} for i = 1, 1e9 do t[i] = i end table.sort(t)",
            "max_memory|max_instructions",
        ),
        ("table.sort({ 3, 1, 2 }, function() return true end)", ""),
        (
            "local t = {} for i = 1, 10000 do t[i] = -i end table.sort(t, function(a, b) while true do end end)",
            "max_instructions",
        ),
        (
            "for w in (\"x\"):rep(1000000):gmatch(\"\") do end",
            "max_instructions",
        ),
        ("string.format(\"%99.99f\", 1e300):rep(1e6)", "max_memory"),
        ("table.unpack({}, 1, 1e7)", "too many results"),
        ("table.concat({}, \"x\", 1, 1e15)", "invalid value"),
        ("json_decode((\"[\"):rep(100000))", ""),
        ("local t = setmetatable({}, {})", "setmetatable"),
        (
            "local s = (\"x\"):rep(4000000) while true do local t = s .. \"y\" end",
            "max_instructions|timeout",
        ),
    ] {
        let filter = format!("script {{ code => '{code}' tag_with_exception_message => true }}");
        let start = Instant::now();
        // Twice: the machine goes on, or is a new one.
        let out = run(&filter, &[r#"{"a":1}"#, r#"{"a":1}"#]);
        let took = start.elapsed();
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), 2, "{code}: {out}");
        for line in lines {
            if limit.is_empty() {
                assert!(!line.contains("_script"), "{code}: {line}");
                continue;
            }
            let known = limit.split('|').any(|limit| line.contains(limit));
            assert!(known, "{code}: {line}");
            let tag = if limit.contains("max_") {
                "_scriptlimit"
            } else {
                "_scriptexception"
            };
            assert!(line.contains(tag) || limit.contains('|'), "{code}: {line}");
        }
        // A limit of time that nobody feels is none; a busy machine may be ten times slower.
        assert!(took < Duration::from_mins(1), "{code} took {took:?}");
    }
}

#[test]
fn nothing_of_the_host_can_be_reached() {
    for name in [
        "os",
        "io",
        "package",
        "require",
        "debug",
        "load",
        "loadstring",
        "loadfile",
        "dofile",
        "collectgarbage",
        "coroutine",
        "setmetatable",
        "getmetatable",
        "rawset",
        "rawget",
        "string.dump",
        "string.pack",
        "table.move",
        "print",
        "warn",
    ] {
        let out = scripted(&format!("event:set(\"there\", {name} ~= nil)"), "{}");
        assert_eq!(out, r#"{"there":false}"#, "{name}");
    }
    let out = scripted(
        "event:set(\"a\", tostring({}) .. tostring(string.rep))",
        "{}",
    );
    assert_eq!(out, r#"{"a":"tablefunction"}"#);
    // Byte code is no script.
    let error = compiled("script { code => '\u{1b}Lua' }")
        .map(|_| ())
        .unwrap_err();
    assert!(error.contains("binary chunk"), "{error}");
}

#[test]
fn what_cannot_run_is_refused_with_its_place() {
    for (filter, messages) in [
        (
            "script { code => 'local x =\n\n  y +' }",
            &["code:3:", "test:3"][..],
        ),
        (
            "script { code => 'x = 1' init => 'error(\"no\")' }",
            &["init:1: no"],
        ),
        (
            "script { code => 'x = 1' init => 'event:get(\"a\")' }",
            &["there is no event"],
        ),
        (
            "script { code => 'x = 1' init => 'while true do end' }",
            &["max_instructions"],
        ),
        ("script { }", &["needs the option `code`"]),
        (
            "script { code => 'x = 1' path => '/x.lua' }",
            &["exclude each other"],
        ),
        ("script { path => '/x.lua' }", &["/x.lua: cannot be read"]),
        (
            "script { code => 'x = 1' max_memory => '10kb' }",
            &["at least 1mb"],
        ),
        (
            "script { code => 'x = 1' max_instructions => 1 }",
            &["1000 or more", "between 1000"],
        ),
        ("script { code => 'x = 1' cod => 1 }", &["`code`"]),
    ] {
        let error = compiled(filter).map(|_| ()).unwrap_err();
        let told = messages.iter().any(|message| error.contains(message));
        assert!(told, "{filter}: {error}");
    }
}

#[test]
fn init_and_parameters_are_there() {
    let filter = r#"script {
        init => 'names = { [200] = "fine" } count = 0'
        script_params => { "field" => "status" "list" => [1, 2] }
        code => 'count = count + 1
            event:set("name", names[event:get(params.field)])
            event:set("count", count)
            event:set("list", params.list)'
    }"#;
    assert_eq!(
        run(filter, &[r#"{"status":200}"#, r#"{"status":404}"#]),
        "{\"status\":200,\"name\":\"fine\",\"count\":1,\"list\":[1,2]}\n\
         {\"status\":404,\"name\":null,\"count\":2,\"list\":[1,2]}\n"
    );
}

/// One file, whose contents can be changed.
struct Given(Mutex<Vec<u8>>);

impl Files for Given {
    fn read(&self, _path: &std::path::Path) -> std::io::Result<Vec<u8>> {
        let contents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(contents.clone())
    }

    fn list(&self, _directory: &std::path::Path) -> std::io::Result<Vec<std::path::PathBuf>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

fn compiled_file(filter: &str, contents: &str) -> Result<Pipeline, String> {
    let sources = SourceMap::single("test", format!("filter {{ {filter} }}"));
    let mut diagnostics = Diagnostics::new();
    let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
    let options = CompileOptions {
        ecs: false,
        escape_style: EscapeStyle::None,
        files: &Given(Mutex::new(contents.as_bytes().to_vec())),
    };
    compile(&config, &options, &mut diagnostics).ok_or_else(|| diagnostics.render(&sources, false))
}

#[test]
fn a_file_is_read_again_when_it_changes() {
    let filter = "script { path => '/etc/shop.lua' script_params => { by => 3 } }";
    let first = "local by\nfunction register(p) by = p.by end\n\
                 function filter(event) event:set('n', event:get('n') * by) end";
    let pipeline = compiled_file(filter, first).unwrap_or_else(|error| panic!("{error}"));
    let mut scratch = Scratch::default();
    let mut result = || {
        let arena = Bump::new();
        let mut event = Event::new_in(&arena);
        let name = skidder_pipeline::event::Name::new("n");
        event.fields.push_new(name, Value::Integer(2));
        let mut out = Vec::new();
        pipeline
            .filters
            .run(event, &arena, NOW, &mut scratch, |event| {
                write_json(&event, &mut out);
            });
        String::from_utf8(out).unwrap()
    };
    assert_eq!(result(), r#"{"n":6}"#);
    let file = &pipeline.watched_files[0];
    let second = "function filter(event) event:set('n', 0) end";
    file.load(second.as_bytes().to_vec()).unwrap();
    assert_eq!(result(), r#"{"n":0}"#);
    // What cannot run changes nothing.
    for (bad, message) in [
        ("function filter(", "shop.lua:1:"),
        ("x = 1", "no `function filter(event)"),
        ("function filter() end error('top')", "shop.lua:1: top"),
    ] {
        let error = file.load(bad.as_bytes().to_vec()).unwrap_err();
        assert!(error.contains(message), "{bad}: {error}");
        assert_eq!(result(), r#"{"n":0}"#);
    }
    let failing = "\nfunction filter(event)\n  error('x')\nend";
    file.load(failing.as_bytes().to_vec()).unwrap();
    assert!(result().contains("_scriptexception"), "{}", result());
    let error = compiled_file(filter, "function filter(")
        .map(|_| ())
        .unwrap_err();
    assert!(error.contains("shop.lua:1:"), "{error}");
}

#[test]
fn the_memory_of_a_machine_is_given_back_after_it_was_full() {
    let filter = r#"script { code => 'kept = kept or {} for i = 1, 100 do kept[#kept + 1] = ("x"):rep(10000) .. #kept end event:set("n", #kept)' }"#;
    let events = vec!["{}"; 60];
    let out = run(filter, &events);
    let failed = out.matches("_scriptlimit").count();
    // Some fail when it is full, and those behind go on with a new one.
    assert!((1..=10).contains(&failed), "{out}");
    assert!(
        out.trim_end()
            .lines()
            .last()
            .is_some_and(|last| last.contains(r#""n":"#)),
        "{out}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any text that is Lua or nearly so.
    #[test]
    fn no_script_does_harm(code in r#"(event:(get|set|remove|tag|cancel)|emit|for i=1,9 do|end|if|then|local x|=|\(|\)|"a"|"\[b\]"|,|\{|\}| |x|\.\.|#|1|nil|:rep|:match|while true do|pcall|error|function|return){0,30}"#) {
        let filter = format!("script {{ code => '{code}' max_instructions => 10000 }}");
        if compiled(&filter).is_ok() {
            let out = run(&filter, &[r#"{"a":"x","b":[1,2]}"#]);
            // It is there, unless the script has dropped it in its right mind.
            prop_assert!(!out.is_empty() || code.contains("cancel"), "{code}");
        }
    }

    /// Values survive the way to Lua and back.
    #[test]
    fn values_come_back_as_they_were(text in ".*", integer: i64, float: f64, boolean: bool, list in prop::collection::vec(any::<i32>(), 0..5)) {
        prop_assume!(float.is_finite());
        let arena = Bump::new();
        let (pipeline, _) = compiled("script { code => 'event:set(\"copy\", event:get(\"all\"))' }").unwrap();
        let json = serde_json::json!({ "all": { "text": text, "integer": integer, "float": float, "boolean": boolean, "list": list, "null": null } });
        let json = json.to_string();
        let fields = skidder_pipeline::event::read_json_object(json.as_bytes(), skidder_pipeline::event::JsonLimits::default(), &arena).unwrap();
        let mut event = Event::new_in(&arena);
        event.fields = fields;
        let mut out = Vec::new();
        pipeline.filters.run(event, &arena, NOW, &mut Scratch::default(), |event| write_json(&event, &mut out));
        let out: serde_json::Value = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(&out["all"], &out["copy"]);
    }
}
