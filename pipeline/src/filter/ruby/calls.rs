//! What calls of Ruby are in a script.

use super::code::{Code, Kind};
use super::lexer::Refusal;
use super::lua::{Writer, Written, quoted};
use super::tree::{Call, Node};

/// Why a time of the machine is not shown.
pub(super) const LOCAL_TIME: &str = "a time as a text depends on the zone of the machine; write `.utc` before it is turned into one";

/// Functions of the table `ruby` that take the receiver and as many arguments: Ruby's name, ours, the
/// number of arguments, and what they give.
const METHODS: &[(&str, &str, usize, Kind)] = &[
    ("to_i", "to_i", 0, Kind::Integer),
    ("to_f", "to_f", 0, Kind::Float),
    ("upcase", "upcase", 0, Kind::Text),
    ("downcase", "downcase", 0, Kind::Text),
    ("capitalize", "capitalize", 0, Kind::Text),
    ("strip", "strip", 0, Kind::Text),
    ("lstrip", "lstrip", 0, Kind::Text),
    ("rstrip", "rstrip", 0, Kind::Text),
    ("chomp", "chomp", 0, Kind::Text),
    ("hex", "hex", 0, Kind::Integer),
    ("reverse", "reversed", 0, Kind::Unknown),
    ("size", "size", 0, Kind::Integer),
    ("length", "size", 0, Kind::Integer),
    ("count", "size", 0, Kind::Integer),
    ("empty?", "is_empty", 0, Kind::Boolean),
    ("first", "first", 0, Kind::Unknown),
    ("last", "last", 0, Kind::Unknown),
    ("sort", "sort", 0, Kind::Unknown),
    ("uniq", "uniq", 0, Kind::Unknown),
    ("compact", "compact", 0, Kind::Unknown),
    ("flatten", "flatten", 0, Kind::Unknown),
    ("sum", "sum", 0, Kind::Unknown),
    ("min", "least", 0, Kind::Unknown),
    ("max", "most", 0, Kind::Unknown),
    ("keys", "keys", 0, Kind::Unknown),
    ("values", "values", 0, Kind::Unknown),
    ("floor", "floor", 0, Kind::Integer),
    ("ceil", "ceil", 0, Kind::Integer),
    ("abs", "abs", 0, Kind::Unknown),
    ("dup", "copy", 0, Kind::Unknown),
    ("clone", "copy", 0, Kind::Unknown),
    ("join", "join", 0, Kind::Text),
    ("join", "join", 1, Kind::Text),
    ("include?", "includes", 1, Kind::Boolean),
    ("member?", "includes", 1, Kind::Boolean),
    ("key?", "has_key", 1, Kind::Boolean),
    ("has_key?", "has_key", 1, Kind::Boolean),
    ("start_with?", "starts_with", 1, Kind::Boolean),
    ("end_with?", "ends_with", 1, Kind::Boolean),
    ("delete", "delete", 1, Kind::Unknown),
    ("merge", "merge", 1, Kind::Unknown),
    ("push", "push", 1, Kind::Unknown),
    ("append", "push", 1, Kind::Unknown),
    ("concat", "add", 1, Kind::Unknown),
    ("fetch", "fetch", 1, Kind::Unknown),
    ("fetch", "fetch", 2, Kind::Unknown),
    ("dig", "dig", 1, Kind::Unknown),
    ("dig", "dig", 2, Kind::Unknown),
    ("dig", "dig", 3, Kind::Unknown),
    ("fdiv", "fdiv", 1, Kind::Float),
];

/// Methods with a block: Ruby's name and ours.
const BLOCKS: &[(&str, &str, Kind)] = &[
    ("map", "map", Kind::Unknown),
    ("collect", "map", Kind::Unknown),
    ("select", "select", Kind::Unknown),
    ("filter", "select", Kind::Unknown),
    ("reject", "reject", Kind::Unknown),
    ("any?", "any", Kind::Boolean),
    ("all?", "all", Kind::Boolean),
    ("find", "find", Kind::Unknown),
    ("detect", "find", Kind::Unknown),
    ("sort_by", "sort_by", Kind::Unknown),
];

/// Whether a call is one of these of the event.
pub(super) fn is_event_call(call: &Call, names: &[&str]) -> bool {
    is_event(call.receiver.as_ref()) && names.contains(&call.name.as_str())
}

pub(super) fn is_event(receiver: Option<&Node>) -> bool {
    matches!(receiver, Some(Node::Name(name)) if name == "event")
}

/// Whether a call only writes to the log.
pub(super) fn is_log(call: &Call) -> bool {
    let is_logger = match &call.receiver {
        Some(Node::Variable(name)) => name == "@logger",
        Some(Node::Name(name)) => name == "logger",
        _ => false,
    };
    is_logger
        && matches!(
            call.name.as_str(),
            "debug" | "info" | "warn" | "error" | "fatal" | "trace"
        )
}

/// Why a constant is not read, and what to use.
pub(super) fn constant(name: &str) -> String {
    let instead = match name.split("::").next().unwrap_or(name) {
        "Digest" | "OpenSSL" => "the filter `fingerprint` hashes",
        "Base64" => "no filter decodes Base64 yet",
        "Resolv" | "Socket" | "IPSocket" => "the filter `dns` resolves names and addresses",
        "IPAddr" => "the filter `cidr` looks for networks",
        "Net" | "HTTP" | "Faraday" | "Manticore" => "no filter asks over the network",
        "File" | "IO" | "Dir" | "YAML" | "CSV" => "the filters `translate` and `csv` read tables",
        "ENV" => "write `${NAME}` in the configuration",
        "SecureRandom" => "the filter `uuid` makes identifiers",
        "Time" | "DateTime" | "Date" => "the filter `date` reads times",
        "Process" | "Kernel" | "Thread" | "Mutex" => {
            "a filter reaches nothing outside of its event"
        }
        _ => "write what is meant as a `script`",
    };
    format!("`{name}` is not read here: {instead}")
}

/// Writes a call.
pub(super) fn write(writer: &mut Writer, call: &Call) -> Written {
    if is_event(call.receiver.as_ref()) {
        return event(writer, call);
    }
    match &call.receiver {
        None => function(writer, call),
        Some(Node::Constant(name)) => of_constant(writer, call, name),
        Some(Node::Name(name)) if name == "new_event_block" => new_event(writer, call),
        Some(receiver) => {
            if call.is_safe {
                let value = writer.value(receiver)?;
                let inner = method(writer, call, Code::atom("it", Kind::Unknown))?;
                let text = format!(
                    "(function(it) if it == nil then return nil end return {} end)({})",
                    inner.text, value.text
                );
                return Ok(Code::atom(text, Kind::Unknown));
            }
            let value = writer.value(receiver)?;
            method(writer, call, value)
        }
    }
}

fn arguments(writer: &mut Writer, call: &Call) -> Result<Vec<Code>, Refusal> {
    call.arguments
        .iter()
        .map(|argument| writer.value(argument))
        .collect()
}

fn event(writer: &mut Writer, call: &Call) -> Written {
    let arguments = arguments(writer, call)?;
    let texts: Vec<&str> = arguments.iter().map(|code| code.text.as_str()).collect();
    let made = |text: String, kind| Ok(Code::atom(text, kind));
    match (call.name.as_str(), texts.as_slice()) {
        ("get", [name]) => {
            let kind = if matches!(*name, "\"@timestamp\"" | "\"[@timestamp]\"") {
                Kind::Utc
            } else {
                Kind::Unknown
            };
            made(format!("event:get({name})"), kind)
        }
        ("set", [name, value]) => made(format!("event:set({name}, {value})"), Kind::Unknown),
        ("remove", [name]) => made(format!("event:remove({name})"), Kind::Unknown),
        ("include?", [name]) => made(format!("event:has({name})"), Kind::Boolean),
        ("tag", [name]) => made(format!("event:tag({name})"), Kind::Unknown),
        ("cancel", []) => made("event:cancel()".into(), Kind::Unknown),
        ("to_hash", []) => made("event:to_table()".into(), Kind::Unknown),
        ("timestamp", []) => made("event:get(\"@timestamp\")".into(), Kind::Utc),
        ("sprintf", [text]) => made(format!("event:sprintf({text})"), Kind::Text),
        ("to_json", []) => made("json_encode(event:to_table())".into(), Kind::Text),
        ("clone", []) => made("event:to_table()".into(), Kind::Event),
        (name, _) => writer.refuse(format!("`event.{name}` is not read here")),
    }
}

fn function(writer: &mut Writer, call: &Call) -> Written {
    let arguments = arguments(writer, call)?;
    match (call.name.as_str(), arguments.as_slice()) {
        ("rand", []) => Ok(Code::atom("math.random()", Kind::Float)),
        ("rand", [most]) if most.kind == Kind::Integer => Ok(Code::atom(
            format!("math.random(0, {} - 1)", most.closed()),
            Kind::Integer,
        )),
        ("raise", [text]) if text.kind == Kind::Text => {
            Ok(Code::atom(format!("error({})", text.text), Kind::Unknown))
        }
        ("Integer", [value]) => Ok(Code::atom(
            format!("ruby.integer({})", value.text),
            Kind::Integer,
        )),
        ("Float", [value]) => Ok(Code::atom(
            format!("ruby.float({})", value.text),
            Kind::Float,
        )),
        ("String", [value]) => Ok(Code::atom(format!("ruby.to_s({})", value.text), Kind::Text)),
        ("sprintf" | "format", [_, ..]) => {
            let texts: Vec<&str> = arguments.iter().map(|code| code.text.as_str()).collect();
            let text = format!("ruby.format({})", texts.join(", "));
            Ok(Code::atom(text, Kind::Text))
        }
        ("puts" | "print" | "p", _) => {
            writer.refuse("what is written to the output is not seen; take it out")
        }
        ("sleep", _) => writer.refuse("the filter `sleep` slows down"),
        (name, _) => writer.refuse(format!("`{name}` is not known here")),
    }
}

fn of_constant(writer: &mut Writer, call: &Call, name: &str) -> Written {
    let arguments = arguments(writer, call)?;
    let made = |text: String, kind| Ok(Code::atom(text, kind));
    match (name, call.name.as_str(), arguments.as_slice()) {
        ("JSON" | "LogStash::Json", "parse" | "load", [text]) => {
            made(format!("ruby.json_parse({})", text.text), Kind::Unknown)
        }
        ("JSON" | "LogStash::Json", "generate" | "dump", [value]) => {
            made(format!("json_encode({})", value.text), Kind::Text)
        }
        ("Time", "now", []) => made("now()".into(), Kind::LocalTime),
        ("Time", "at", [seconds]) => made(format!("time.at({})", seconds.text), Kind::LocalTime),
        ("LogStash::Timestamp", "at", [seconds]) => {
            made(format!("time.at({})", seconds.text), Kind::Utc)
        }
        ("LogStash::Timestamp", "now" | "new", []) => made("now()".into(), Kind::Utc),
        ("LogStash::Timestamp", "new" | "coerce" | "parse_iso8601", [value]) => {
            made(format!("ruby.timestamp({})", value.text), Kind::Utc)
        }
        ("LogStash::Event", "new", []) => made("{}".into(), Kind::Event),
        ("LogStash::Event", "new", [fields]) => made(fields.text.clone(), Kind::Event),
        ("URI" | "URI::DEFAULT_PARSER", "decode" | "unescape", [text]) => {
            made(format!("url_decode({})", text.text), Kind::Text)
        }
        ("CGI", "unescape", [text]) | ("URI", "decode_www_form_component", [text]) => {
            made(format!("url_decode({}, true)", text.text), Kind::Text)
        }
        _ => writer.refuse(constant(name)),
    }
}

/// `new_event_block.call(event)`.
fn new_event(writer: &mut Writer, call: &Call) -> Written {
    let [argument] = call.arguments.as_slice() else {
        return writer.refuse("`new_event_block.call` needs one event");
    };
    let value = writer.value(argument)?;
    if call.name != "call" || value.kind != Kind::Event {
        return writer.refuse("only `event.clone` and `LogStash::Event.new(…)` are events here");
    }
    Ok(Code::atom(format!("emit({})", value.text), Kind::Unknown))
}

fn method(writer: &mut Writer, call: &Call, receiver: Code) -> Written {
    let value = receiver.text.as_str();
    if receiver.kind == Kind::Event {
        return made_event(writer, call, &receiver);
    }
    if let Some(block) = &call.block {
        let Some((_, ours, kind)) = BLOCKS.iter().find(|(name, ..)| *name == call.name) else {
            return writer.refuse(format!("`{}` with a block is not read here", call.name));
        };
        let function = writer.function(block)?;
        return Ok(Code::atom(
            format!("ruby.{ours}({value}, {function})"),
            *kind,
        ));
    }
    let patterned = match (call.name.as_str(), call.arguments.as_slice()) {
        ("gsub" | "sub", [Node::Regex(pattern), by]) => {
            let by = writer.value(by)?;
            Some((
                format!(
                    "ruby.{}_re({value}, {}, {})",
                    call.name,
                    quoted(pattern),
                    by.text
                ),
                Kind::Text,
            ))
        }
        ("split", [Node::Regex(pattern)]) => Some((
            format!("ruby.split_re({value}, {})", quoted(pattern)),
            Kind::Unknown,
        )),
        ("match", [Node::Regex(pattern)]) => Some((
            format!("ruby.match({value}, {})", quoted(pattern)),
            Kind::Unknown,
        )),
        ("match?", [Node::Regex(pattern)]) => Some((
            format!("ruby.test({value}, {})", quoted(pattern)),
            Kind::Boolean,
        )),
        ("scan", [Node::Regex(pattern)]) => Some((
            format!("ruby.scan({value}, {})", quoted(pattern)),
            Kind::Unknown,
        )),
        ("is_a?" | "kind_of?" | "instance_of?", [Node::Constant(class)]) => Some((
            format!("ruby.is_a({value}, {})", quoted(class)),
            Kind::Boolean,
        )),
        ("respond_to?", [Node::Text(name)]) if name == "each" => {
            Some((format!("ruby.is_list({value})"), Kind::Boolean))
        }
        ("respond_to?", [Node::Text(name)]) if matches!(name.as_str(), "keys" | "each_pair") => {
            Some((format!("ruby.is_a({value}, \"Hash\")"), Kind::Boolean))
        }
        _ => None,
    };
    if let Some((text, kind)) = patterned {
        return Ok(Code::atom(text, kind));
    }
    let arguments = arguments(writer, call)?;
    let texts: Vec<&str> = arguments.iter().map(|code| code.text.as_str()).collect();
    let made = |text: String, kind| Ok(Code::atom(text, kind));
    if receiver.kind.is_time() {
        return time(writer, call, &receiver, &arguments);
    }
    match (call.name.as_str(), texts.as_slice()) {
        ("nil?", []) => {
            return Ok(Code::sum(
                format!("{} == nil", receiver.closed()),
                Kind::Boolean,
            ));
        }
        ("to_s" | "to_str", []) => {
            return if receiver.kind == Kind::Text {
                Ok(receiver)
            } else {
                made(format!("ruby.to_s({value})"), Kind::Text)
            };
        }
        // Texts are bytes here, and a symbol is a text.
        ("to_sym" | "freeze" | "scrub", []) | ("force_encoding", [_]) => return Ok(receiver),
        // What is rescued is its message.
        ("message", []) if receiver.kind == Kind::Text => return Ok(receiver),
        ("to_json", []) => return made(format!("json_encode({value})"), Kind::Text),
        ("round", []) => return made(format!("ruby.round({value})"), Kind::Integer),
        ("round", [digits]) => return made(format!("ruby.round({value}, {digits})"), Kind::Float),
        ("zero?", []) => {
            return Ok(Code::sum(
                format!("{} == 0", receiver.closed()),
                Kind::Boolean,
            ));
        }
        ("positive?", []) => return made(format!("ruby.less(0, {value})"), Kind::Boolean),
        ("negative?", []) => return made(format!("ruby.less({value}, 0)"), Kind::Boolean),
        ("between?", [least, most]) => {
            return made(
                format!("ruby.within({value}, {least}, {most}, false)"),
                Kind::Boolean,
            );
        }
        ("==" | "eql?" | "equal?", [other]) => {
            return made(format!("ruby.equal({value}, {other})"), Kind::Boolean);
        }
        ("split", []) => return made(format!("ruby.split({value})"), Kind::Unknown),
        ("split", [by]) => return made(format!("ruby.split({value}, {by})"), Kind::Unknown),
        ("split", [by, most]) => {
            return made(format!("ruby.split({value}, {by}, {most})"), Kind::Unknown);
        }
        ("gsub", [from, by]) => {
            return made(format!("ruby.gsub({value}, {from}, {by})"), Kind::Text);
        }
        ("sub", [from, by]) => {
            return made(format!("ruby.sub_first({value}, {from}, {by})"), Kind::Text);
        }
        ("tr", [from, to]) if is_one(&call.arguments[0]) && is_one(&call.arguments[1]) => {
            return made(format!("ruby.gsub({value}, {from}, {to})"), Kind::Text);
        }
        // A text in the range of bytes of another: only its first place.
        ("index", [text]) => return made(format!("ruby.index({value}, {text})"), Kind::Unknown),
        ("call", _) => return writer.refuse("only `new_event_block` is called here"),
        _ => {}
    }
    let known = METHODS
        .iter()
        .find(|(name, _, count, _)| *name == call.name && *count == texts.len());
    let Some((_, ours, _, kind)) = known else {
        return writer.refuse(format!("the method `{}` is not read here", call.name));
    };
    let mut all = vec![value];
    all.extend(&texts);
    let kind = match (*ours, receiver.kind) {
        ("abs", kind) => kind,
        _ => *kind,
    };
    made(format!("ruby.{ours}({})", all.join(", ")), kind)
}

/// Methods of an event that the code has made, which is a table here.
fn made_event(writer: &mut Writer, call: &Call, receiver: &Code) -> Written {
    let arguments = arguments(writer, call)?;
    let texts: Vec<&str> = arguments.iter().map(|code| code.text.as_str()).collect();
    let value = receiver.text.as_str();
    let name = match call.arguments.first() {
        Some(Node::Text(name)) if !name.contains(['[', ']']) => quoted(name),
        Some(_) => {
            return writer.refuse("of an event that is made here, only fields at the top are set");
        }
        None => String::new(),
    };
    match (call.name.as_str(), texts.as_slice()) {
        ("get", [_]) => Ok(Code::atom(
            format!("ruby.at({value}, {name})"),
            Kind::Unknown,
        )),
        ("set", [_, new]) => Ok(Code::atom(
            format!("ruby.put({value}, {name}, {new})"),
            Kind::Unknown,
        )),
        ("remove", [_]) => Ok(Code::atom(
            format!("ruby.delete({value}, {name})"),
            Kind::Unknown,
        )),
        ("clone", []) => Ok(Code::atom(format!("ruby.copy({value})"), Kind::Event)),
        (other, _) => writer.refuse(format!("`{other}` of a new event is not read here")),
    }
}

fn time(writer: &Writer, call: &Call, receiver: &Code, arguments: &[Code]) -> Written {
    let value = receiver.closed();
    let is_utc = receiver.kind == Kind::Utc;
    let made = |text: String, kind| Ok(Code::atom(text, kind));
    let part = |pattern: &str| {
        made(
            format!("ruby.to_i({value}:format(\"{pattern}\"))"),
            Kind::Integer,
        )
    };
    match (call.name.as_str(), call.arguments.as_slice()) {
        ("to_i", []) => made(format!("ruby.to_i({})", receiver.text), Kind::Integer),
        ("to_f", []) => made(format!("ruby.to_f({})", receiver.text), Kind::Float),
        ("time" | "clone" | "dup" | "to_time", []) => Ok(receiver.clone()),
        ("utc" | "getutc" | "gmtime" | "getgm", []) => Ok(Code {
            kind: Kind::Utc,
            ..receiver.clone()
        }),
        ("nil?", []) => Ok(Code::sum(format!("{value} == nil"), Kind::Boolean)),
        (
            "year" | "month" | "mon" | "day" | "mday" | "hour" | "min" | "sec" | "yday"
            | "strftime" | "iso8601" | "to_s",
            _,
        ) if !is_utc => writer.refuse(LOCAL_TIME),
        ("year", []) => part("yyyy"),
        ("month" | "mon", []) => part("MM"),
        ("day" | "mday", []) => part("dd"),
        ("hour", []) => part("HH"),
        ("min", []) => part("mm"),
        ("sec", []) => part("ss"),
        ("yday", []) => part("DDD"),
        ("strftime", [Node::Text(format)]) => match joda(format) {
            Ok(pattern) => made(format!("{value}:format({})", quoted(&pattern)), Kind::Text),
            Err(sign) => writer.refuse(format!("`%{sign}` of `strftime` is not read here")),
        },
        // A timestamp of Logstash is a text with milliseconds.
        ("to_s" | "to_iso8601" | "to_json", []) if arguments.is_empty() => {
            made(format!("ruby.to_s({})", receiver.text), Kind::Text)
        }
        ("iso8601", [Node::Integer(3)]) => made(
            format!("{value}:format({})", quoted("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'")),
            Kind::Text,
        ),
        (name, _) => writer.refuse(format!("`{name}` of a time is not read here")),
    }
}

/// A format of `strftime` as a pattern of Joda.
fn joda(format: &str) -> Result<String, char> {
    let mut pattern = String::new();
    let mut literal = String::new();
    let mut characters = format.chars();
    let close = |literal: &mut String, pattern: &mut String| {
        if !literal.is_empty() {
            pattern.push('\'');
            pattern.push_str(&literal.replace('\'', "''"));
            pattern.push('\'');
            literal.clear();
        }
    };
    while let Some(character) = characters.next() {
        if character != '%' {
            if character.is_alphabetic() || character == '\'' {
                literal.push(character);
            } else {
                close(&mut literal, &mut pattern);
                pattern.push(character);
            }
            continue;
        }
        let sign = characters.next().unwrap_or('%');
        let part = match sign {
            'Y' => "yyyy",
            'm' => "MM",
            'd' => "dd",
            'H' => "HH",
            'M' => "mm",
            'S' => "ss",
            'L' => "SSS",
            'y' => "yy",
            'j' => "DDD",
            'b' | 'h' => "MMM",
            'B' => "MMMM",
            'a' => "EEE",
            'A' => "EEEE",
            'F' => "yyyy-MM-dd",
            'T' => "HH:mm:ss",
            'z' => "Z",
            other => return Err(other),
        };
        close(&mut literal, &mut pattern);
        pattern.push_str(part);
    }
    close(&mut literal, &mut pattern);
    Ok(pattern)
}

fn is_one(node: &Node) -> bool {
    matches!(node, Node::Text(text) if text.chars().count() == 1 && !matches!(text.as_str(), "-" | "^" | "\\"))
}
