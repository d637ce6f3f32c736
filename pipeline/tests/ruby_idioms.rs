//! What is proposed in place of `ruby` filters: each proposal is compiled and run on an event, and gives
//! what the code gives in Logstash. The expected results are Ruby's, worked out by hand.

mod support;

use proptest::prelude::*;
use skidder_pipeline::filter::ruby::replacement;

use support::events::{compiled, run};

fn proposed(code: &str) -> String {
    replacement(code, None).unwrap_or_else(|(line, reason)| panic!("{code}\nline {line}: {reason}"))
}

/// Code, an event, and what the code makes of it.
const IDIOMS: &[(&str, &str, &str)] = &[
    // Arithmetic on fields.
    (
        "event.set('kb', event.get('bytes') / 1024)",
        r#"{"bytes":5000}"#,
        r#"{"bytes":5000,"kb":4}"#,
    ),
    (
        "event.set('kb', event.get('bytes') / 1024.0)",
        r#"{"bytes":512}"#,
        r#"{"bytes":512,"kb":0.5}"#,
    ),
    (
        "event.set('kb', event.get('bytes').to_i / 1024)",
        r#"{"bytes":"5000 B"}"#,
        r#"{"bytes":"5000 B","kb":4}"#,
    ),
    (
        "event.set('d', event.get('a').to_f - event.get('b').to_f)",
        r#"{"a":"1.5","b":1}"#,
        r#"{"a":"1.5","b":1,"d":0.5}"#,
    ),
    (
        "event.set('ms', (event.get('s').to_f * 1000).to_i)",
        r#"{"s":"0.25"}"#,
        r#"{"s":"0.25","ms":250}"#,
    ),
    (
        "event.set('r', (event.get('s').to_f * 100).round(1))",
        r#"{"s":0.12345}"#,
        r#"{"s":0.12345,"r":12.3}"#,
    ),
    (
        "event.set('t', event.get('a') + event.get('b'))",
        r#"{"a":"x","b":"y"}"#,
        r#"{"a":"x","b":"y","t":"xy"}"#,
    ),
    (
        "event.set('t', event.get('a') + event.get('b'))",
        r#"{"a":1,"b":2.5}"#,
        r#"{"a":1,"b":2.5,"t":3.5}"#,
    ),
    (
        "event.set('m', -7 / 2)\nevent.set('n', -7 % 3)",
        "{}",
        r#"{"m":-4,"n":2}"#,
    ),
    (
        "event.set('p', 100 * event.get('a') / event.get('b'))",
        r#"{"a":1,"b":3}"#,
        r#"{"a":1,"b":3,"p":33}"#,
    ),
    // Conversions and texts.
    (
        "event.set('n', event.get('n').to_i)",
        r#"{"n":"12"}"#,
        r#"{"n":12}"#,
    ),
    (
        "event.set('n', event.get('n').to_f)",
        r#"{"n":"1.5"}"#,
        r#"{"n":1.5}"#,
    ),
    (
        "event.set('n', event.get('n').to_s)",
        r#"{"n":12}"#,
        r#"{"n":"12"}"#,
    ),
    (
        "event.set('x', event.get('x').upcase)",
        r#"{"x":"abc"}"#,
        r#"{"x":"ABC"}"#,
    ),
    (
        "event.set('x', event.get('x').downcase)",
        r#"{"x":"ÄBC"}"#,
        r#"{"x":"äbc"}"#,
    ),
    (
        "event.set('x', event.get('x').strip)",
        r#"{"x":" a b "}"#,
        r#"{"x":"a b"}"#,
    ),
    (
        "event.set('y', event.get('x').strip.downcase.capitalize)",
        r#"{"x":" aBC "}"#,
        r#"{"x":" aBC ","y":"Abc"}"#,
    ),
    (
        "event.set('x', event.get('x').split(','))",
        r#"{"x":"a,b,"}"#,
        r#"{"x":["a","b"]}"#,
    ),
    (
        "event.set('x', event.get('x').join('-'))",
        r#"{"x":["a","b"]}"#,
        r#"{"x":"a-b"}"#,
    ),
    (
        "event.set('first', event.get('x').split(' ').first)",
        r#"{"x":" a  b"}"#,
        r#"{"x":" a  b","first":"a"}"#,
    ),
    (
        "event.set('last', event.get('path').split('/')[-1])",
        r#"{"path":"/a/b/c"}"#,
        r#"{"path":"/a/b/c","last":"c"}"#,
    ),
    (
        "event.set('x', event.get('x').gsub(/[0-9]+/, '#'))",
        r#"{"x":"a1b22"}"#,
        r#"{"x":"a#b#"}"#,
    ),
    (
        "event.set('x', event.get('x').gsub('.', '_').gsub('-', '_'))",
        r#"{"x":"a.b-c"}"#,
        r#"{"x":"a_b_c"}"#,
    ),
    (
        "event.set('x', event.get('x').sub(/^v/, ''))",
        r#"{"x":"v1v"}"#,
        r#"{"x":"1v"}"#,
    ),
    (
        "event.set('len', event.get('x').length)",
        r#"{"x":"äb"}"#,
        r#"{"x":"äb","len":2}"#,
    ),
    (
        "event.set('short', event.get('x')[0..2])",
        r#"{"x":"äbcd"}"#,
        r#"{"x":"äbcd","short":"äbc"}"#,
    ),
    (
        "event.set('short', event.get('x')[1, 2])",
        r#"{"x":"abcd"}"#,
        r#"{"x":"abcd","short":"bc"}"#,
    ),
    (
        "event.set('full', \"#{event.get('a')}:#{event.get('b')}\")",
        r#"{"a":"x","b":1.0}"#,
        r#"{"a":"x","b":1.0,"full":"x:1.0"}"#,
    ),
    (
        "event.set('has', event.get('x').include?('bc'))",
        r#"{"x":"abcd"}"#,
        r#"{"x":"abcd","has":true}"#,
    ),
    (
        "event.set('n', event.get('h').hex)",
        r#"{"h":"0xff"}"#,
        r#"{"h":"0xff","n":255}"#,
    ),
    (
        "event.set('x', event.get('x').tr('_', ' '))",
        r#"{"x":"a_b"}"#,
        r#"{"x":"a b"}"#,
    ),
    (
        "event.set('x', event.get('x').to_s.reverse)",
        r#"{"x":12}"#,
        r#"{"x":"21"}"#,
    ),
    (
        "event.set('t', '%.2f' % event.get('x'))\nevent.set('u', '%03d/%s' % [event.get('x'), nil])",
        r#"{"x":7.126}"#,
        r#"{"x":7.126,"t":"7.13","u":"007/"}"#,
    ),
    (
        "event.set('t', sprintf('%05.1f%% %x', event.get('x'), 255))",
        r#"{"x":"2.5"}"#,
        r#"{"x":"2.5","t":"002.5% ff"}"#,
    ),
    (
        "event.tag('five') if event.get('x') =~ /^5/",
        r#"{"x":"500"}"#,
        r#"{"x":"500","tags":["five"]}"#,
    ),
    // Fields.
    ("event.remove('a')", r#"{"a":1,"b":2}"#, r#"{"b":2}"#),
    (
        "event.set('b', event.remove('a'))",
        r#"{"a":1}"#,
        r#"{"b":1}"#,
    ),
    (
        "event.set('[b][c]', event.get('a'))",
        r#"{"a":1}"#,
        r#"{"a":1,"b":{"c":1}}"#,
    ),
    (
        "event.set('s', 'fixed')",
        r#"{"a":1}"#,
        r#"{"a":1,"s":"fixed"}"#,
    ),
    (
        "event.tag('seen')",
        r#"{"a":1}"#,
        r#"{"a":1,"tags":["seen"]}"#,
    ),
    ("event.cancel", r#"{"a":1}"#, ""),
    (
        "event.cancel if event.get('level') == 'debug'",
        r#"{"level":"debug"}"#,
        "",
    ),
    (
        "event.cancel if event.get('level') == 'debug'",
        r#"{"level":"info"}"#,
        r#"{"level":"info"}"#,
    ),
    (
        "event.cancel if event.get('n').to_i > 5",
        r#"{"n":"6"}"#,
        "",
    ),
    (
        "event.cancel unless event.get('tags').include?('keep')",
        r#"{"tags":["keep"]}"#,
        r#"{"tags":["keep"]}"#,
    ),
    (
        "event.remove('a') if event.get('a').nil?",
        r#"{"a":null}"#,
        "{}",
    ),
    (
        "event.remove('a') if event.get('a').nil? || event.get('a').empty?",
        r#"{"a":""}"#,
        "{}",
    ),
    // Conditions.
    (
        "if event.get('a') then event.set('b', 'yes') else event.set('b', 'no') end",
        r#"{"a":0}"#,
        r#"{"a":0,"b":"yes"}"#,
    ),
    (
        "if event.get('status').to_i >= 500\n  event.set('class', 'error')\nelsif event.get('status').to_i >= 400\n  event.set('class', 'client')\nelse\n  event.set('class', 'ok')\nend",
        r#"{"status":"404"}"#,
        r#"{"status":"404","class":"client"}"#,
    ),
    (
        "event.set('side', event.get('port') == 443 ? 'tls' : 'plain')",
        r#"{"port":443}"#,
        r#"{"port":443,"side":"tls"}"#,
    ),
    (
        "case event.get('code')\nwhen 1, 2 then event.set('x', 'low')\nwhen /^a/ then event.set('x', 'a')\nelse event.set('x', 'other')\nend",
        r#"{"code":2}"#,
        r#"{"code":2,"x":"low"}"#,
    ),
    (
        "if event.get('m') =~ /user=(\\w+)/\n  event.set('user', $1)\nend",
        r#"{"m":"user=bob x"}"#,
        r#"{"m":"user=bob x","user":"bob"}"#,
    ),
    (
        "m = event.get('m').match(/(\\d+)-(\\d+)/)\nif m\n  event.set('from', m[1].to_i)\n  event.set('to', m[2].to_i)\nend",
        r#"{"m":"x 3-14"}"#,
        r#"{"m":"x 3-14","from":3,"to":14}"#,
    ),
    (
        "event.set('ip', event.get('m')[/\\d+\\.\\d+/])",
        r#"{"m":"at 10.2"}"#,
        r#"{"m":"at 10.2","ip":"10.2"}"#,
    ),
    (
        "event.set('x', event.get('x') || 'none')",
        "{}",
        r#"{"x":"none"}"#,
    ),
    (
        "event.set('n', event.get('a')&.length)",
        "{}",
        r#"{"n":null}"#,
    ),
    // Times.
    (
        "event.set('seen', Time.now.to_i)",
        "{}",
        r#"{"seen":1718452800}"#,
    ),
    (
        "event.set('seen', Time.now)",
        "{}",
        r#"{"seen":"2024-06-15T12:00:00.000Z"}"#,
    ),
    (
        "event.set('day', Time.now.utc.strftime('%Y-%m-%d at %H'))",
        "{}",
        r#"{"day":"2024-06-15 at 12"}"#,
    ),
    (
        "event.set('day', Time.now.utc.strftime('%Y \"at\"1'))",
        "{}",
        r#"{"day":"2024 \"at\"1"}"#,
    ),
    (
        "event.set('at', Time.at(event.get('s') / 1000.0))",
        r#"{"s":1500}"#,
        r#"{"s":1500,"at":"1970-01-01T00:00:01.500Z"}"#,
    ),
    (
        "event.set('@timestamp', LogStash::Timestamp.at(event.get('s')))",
        r#"{"s":1500}"#,
        r#"{"s":1500,"@timestamp":"1970-01-01T00:25:00.000Z"}"#,
    ),
    (
        "event.set('lag', Time.now.to_f - event.get('s'))",
        r#"{"s":1718452790}"#,
        r#"{"s":1718452790,"lag":10.0}"#,
    ),
    // Objects, arrays, loops.
    (
        "event.to_hash.each do |k, v|\n  if v.nil? || v == ''\n    event.remove(k)\n  end\nend",
        r#"{"a":1,"b":null,"c":""}"#,
        r#"{"a":1}"#,
    ),
    (
        "event.to_hash.each { |k, v| event.set(k.gsub('.', '_'), event.remove(k)) if k.include?('.') }",
        r#"{"a.b":1,"c":2}"#,
        r#"{"c":2,"a_b":1}"#,
    ),
    (
        "event.to_hash.keys.each { |k| event.set(k.downcase, event.remove(k)) if k =~ /[A-Z]/ }",
        r#"{"ABC":1,"d":2}"#,
        r#"{"d":2,"abc":1}"#,
    ),
    (
        "h = event.get('h')\nh.each do |k, v|\n  event.set(\"h_#{k}\", v)\nend\nevent.remove('h')",
        r#"{"h":{"a":1,"b":"x"}}"#,
        r#"{"h_a":1,"h_b":"x"}"#,
    ),
    ("event.get('pairs').each do |p|\n  k, = 0\nend", "", ""),
    (
        "event.get('list').each do |item|\n  next if item['skip']\n  event.set(item['name'], item['value'])\nend",
        r#"{"list":[{"name":"a","value":1},{"name":"b","skip":true},{"name":"c","value":[2]}]}"#,
        r#"{"list":[{"name":"a","value":1},{"name":"b","skip":true},{"name":"c","value":[2]}],"a":1,"c":[2]}"#,
    ),
    (
        "out = {}\nevent.get('kv').split('&').each { |p| k = p.split('=')[0]; out[k] = p.split('=')[1] }\nevent.set('out', out)",
        r#"{"kv":"b=1&a=2"}"#,
        r#"{"kv":"b=1&a=2","out":{"a":"2","b":"1"}}"#,
    ),
    (
        "names = event.get('users').map { |u| u['name'].upcase }\nevent.set('names', names)\nevent.set('count', names.size)",
        r#"{"users":[{"name":"a"},{"name":"b"}]}"#,
        r#"{"users":[{"name":"a"},{"name":"b"}],"names":["A","B"],"count":2}"#,
    ),
    (
        "event.set('big', event.get('n').select { |n| n > 2 }.sort.uniq)\nevent.set('sum', event.get('n').sum)\nevent.set('max', event.get('n').max)",
        r#"{"n":[3,1,5,3]}"#,
        r#"{"n":[3,1,5,3],"big":[3,5],"sum":12,"max":5}"#,
    ),
    (
        "total = 0\nevent.get('n').each_with_index do |n, i|\n  total += n * i\nend\nevent.set('total', total)",
        r#"{"n":[5,6,7]}"#,
        r#"{"n":[5,6,7],"total":20}"#,
    ),
    (
        "a = event.get('a') || []\na << 'x'\nevent.set('a', a)",
        "{}",
        r#"{"a":["x"]}"#,
    ),
    (
        "h = event.get('h')\nh['new'] = h.delete('old') if h.key?('old')\nevent.set('h', h)",
        r#"{"h":{"old":1,"x":2}}"#,
        r#"{"h":{"new":1,"x":2}}"#,
    ),
    (
        "if event.get('x').is_a?(Array)\n  event.set('x', event.get('x').first)\nend",
        r#"{"x":[7,8]}"#,
        r#"{"x":7}"#,
    ),
    (
        "i = 0\nwhile i < 3\n  event.set(\"f#{i}\", i)\n  i += 1\nend",
        "{}",
        r#"{"f0":0,"f1":1,"f2":2}"#,
    ),
    // JSON and escapes.
    (
        "event.set('p', JSON.parse(event.get('m')))",
        r#"{"m":"{\"a\":[1]}"}"#,
        r#"{"m":"{\"a\":[1]}","p":{"a":[1]}}"#,
    ),
    (
        "begin\n  event.set('p', JSON.parse(event.get('m'))['a'])\nrescue => e\n  event.tag('bad')\nend",
        r#"{"m":"{"}"#,
        r#"{"m":"{","tags":["bad"]}"#,
    ),
    (
        "event.set('j', event.get('h').to_json)",
        r#"{"h":{"a":1}}"#,
        r#"{"h":{"a":1},"j":"{\"a\":1}"}"#,
    ),
    (
        "event.set('u', URI.decode(event.get('u')))",
        r#"{"u":"a%20b+c"}"#,
        r#"{"u":"a b+c"}"#,
    ),
    (
        "event.set('v', CGI.unescape(event.get('u')))",
        r#"{"u":"a%20b+c"}"#,
        r#"{"u":"a%20b+c","v":"a b c"}"#,
    ),
    (
        "event.set('id', Digest::SHA1.hexdigest(event.get('m')))",
        r#"{"m":"abc"}"#,
        r#"{"m":"abc","id":"a9993e364706816aba3e25717850c26c9cd0d89d"}"#,
    ),
    // Events.
    (
        "event.get('items').each do |i|\n  copy = event.clone\n  copy.remove('items')\n  copy.set('item', i)\n  new_event_block.call(copy)\nend\nevent.cancel",
        r#"{"@timestamp":"x","a":1,"items":["p"]}"#,
        "",
    ),
];

#[test]
fn proposals_give_what_ruby_gives() {
    let mut ran = 0;
    for (code, event, expected) in IDIOMS {
        if event.is_empty() || expected.is_empty() && code.contains("clone") {
            continue;
        }
        let filters = proposed(code);
        let out = run(&filters, &[event]);
        assert_eq!(out.trim_end(), *expected, "{code}\n---\n{filters}");
        ran += 1;
    }
    assert!(ran >= 60, "{ran}");
}

#[test]
fn new_events_are_proposed_as_emitted_ones() {
    let code = "event.get('items').each do |i|\n  copy = event.clone\n  copy.remove('items')\n  copy.set('item', i)\n  new_event_block.call(copy)\nend\nevent.cancel";
    let out = run(&proposed(code), &[r#"{"a":1,"items":["p","q"]}"#]);
    let stamp = r#""@timestamp":"2024-06-15T12:00:00.000Z","@version":"1""#;
    assert_eq!(
        out,
        format!("{{{stamp},\"a\":1,\"item\":\"p\"}}\n{{{stamp},\"a\":1,\"item\":\"q\"}}\n")
    );
}

#[test]
fn a_filter_is_proposed_where_there_is_one() {
    for (code, expected) in [
        ("event.remove('a')", "mutate { remove_field => [\"a\"] }\n"),
        ("event.cancel", "drop { }\n"),
        (
            "event.cancel if rand <= 0.90",
            "drop { percentage => 90 }\n",
        ),
        (
            "event.set('x', event.get('x').upcase)",
            "mutate { uppercase => [\"x\"] }\n",
        ),
        (
            "event.set('n', event.get('n').to_i)",
            "mutate { convert => { \"n\" => \"integer\" } }\n",
        ),
        (
            "event.set('p', JSON.parse(event.get('m')))",
            "json { source => \"m\" target => \"p\" }\n",
        ),
        (
            "event.cancel if event.get('level') == 'debug'",
            "if [level] == \"debug\" {\n  drop { }\n}\n",
        ),
        (
            "if event.get('[a][b]') =~ /^x/\n  event.tag('t')\n  event.remove('c')\nend",
            "if [a][b] =~ /^x/ {\n  mutate { add_tag => [\"t\"] }\n  mutate { remove_field => [\"c\"] }\n}\n",
        ),
    ] {
        assert_eq!(proposed(code), expected, "{code}");
        let filter = proposed(code);
        assert!(compiled(&filter).is_ok(), "{filter}");
    }
    let text = proposed("event.set('kb', event.get('bytes') / 1024)");
    assert_eq!(
        text,
        "script {\n  code => '\n    event:set(\"kb\", ruby.div(event:get(\"bytes\"), 1024))\n  '\n  tag_on_exception => \"_rubyexception\"\n}\n"
    );
}

#[test]
fn what_ruby_refuses_is_refused() {
    for code in [
        "event.set('x', event.get('missing') + 1)",
        "event.set('x', event.get('missing').upcase + 'a')",
        "event.set('x', event.get('text') + 1)",
        "event.set('x', event.get('n') / 0)",
        "event.set('x', event.get('missing')['a'])",
        "event.set('x', event.get('n') < 'a')",
        "raise 'no'",
        "event.set('[x]|[y]', event.get('n'))",
        "event.remove('[x')",
        "event.set('x', JSON.parse(event.get('text'))['a'])",
        "event.set('@timestamp', event.get('text'))\nevent.set('y', 1)",
        "event.get('n').each { |x| event.remove(x) }",
    ] {
        let filters = proposed(code);
        let out = run(&filters, &[r#"{"n":1,"text":"t"}"#]);
        assert!(out.contains("_rubyexception"), "{code}: {out}\n{filters}");
        assert!(!out.contains("\"x\":"), "{code}: {out}");
    }
}

/// A filter must not drop what Ruby keeps because it fails.
#[test]
fn a_missing_field_drops_nothing_that_ruby_keeps() {
    for code in [
        "event.cancel unless event.get('tags').include?('keep')",
        "event.cancel if !event.get('tags').include?('keep')",
        "if event.get('tags').include?('keep') then event.tag('x') else event.cancel end",
        "event.cancel if event.get('tags').include?('a') || event.get('n') == 1",
    ] {
        let out = run(&proposed(code), &[r#"{"n":1}"#]);
        assert_eq!(out, "{\"n\":1,\"tags\":[\"_rubyexception\"]}\n", "{code}");
    }
    let code = "event.cancel if event.get('tags').include?('drop')";
    assert_eq!(run(&proposed(code), &[r#"{"tags":["drop"]}"#]), "");
    assert_eq!(run(&proposed(code), &[r#"{"n":1}"#]), "{\"n\":1}\n");
}

#[test]
fn the_finding_shows_what_to_write() {
    let error = compiled("ruby { code => \"event.set('a', event.get('b').to_i * 2)\" }")
        .map(|_| ())
        .unwrap_err();
    for part in [
        "`ruby` code does not run here",
        "test:1:10",
        "script {",
        "event:set(\"a\", ruby.to_i(event:get(\"b\")) * 2)",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let error = compiled("ruby { code => \"event.cancel\" add_tag => x }")
        .map(|_| ())
        .unwrap_err();
    assert!(
        error.contains("drop { }") && error.contains("`add_tag`"),
        "{error}"
    );
    for (code, parts) in [
        (
            "x = 1\ny = Net::HTTP.get('x')",
            &["code:2: `Net::HTTP`", "no filter asks over the network"][..],
        ),
        (
            "event.set('a', Base64.decode64('x'))",
            &["code:1: `Base64`"],
        ),
        (
            "event.set('h', Resolv.getname('1.2.3.4'))",
            &["the filter `dns`"],
        ),
        ("event['a'] = 1", &["event.set"]),
        ("@n += 1", &["outlives the event"]),
        ("event.set('t', Time.now.to_s)", &["write `.utc`"]),
        ("def x; end", &["`def`"]),
        (
            "event.set('a', event.get('b').frobnicate)",
            &["`frobnicate`"],
        ),
        (
            "x = event.get('a') =~ /[]+/",
            &["code:1: regular expression"],
        ),
        ("`ls`", &["run programs"]),
        ("event.set('a', 'x", &["not closed"]),
    ] {
        let error = compiled(&format!(
            "ruby {{ code => '{}' }}",
            code.replace('\'', "\"")
        ))
        .map(|_| ())
        .unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{code}: {part}: {error}");
        }
        assert!(error.contains("script"), "{error}");
    }
    let error = compiled("ruby { path => '/etc/x.rb' }")
        .map(|_| ())
        .unwrap_err();
    assert!(error.contains("register(params)"), "{error}");
    let error = compiled("ruby { code => 'event.cancel' cod => 1 }")
        .map(|_| ())
        .unwrap_err();
    assert!(error.contains("no option `cod`"), "{error}");
}

#[test]
fn init_goes_with_the_code() {
    let filters = replacement(
        "event.set('name', @names[event.get('code')])",
        Some("@names = { '200' => 'fine' }"),
    )
    .unwrap();
    let out = run(&filters, &[r#"{"code":"200"}"#]);
    assert_eq!(out, "{\"code\":\"200\",\"name\":\"fine\"}\n", "{filters}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Nothing that looks like Ruby does harm, and every proposal compiles.
    #[test]
    fn proposals_compile(code in r#"(event\.(get|set|remove|tag)\('a'\)|event\.cancel|x = | x|1|2\.5|'t'|"q#\{1\}"|\.to_i|\.each \{ \|k, v\| | \}|if |unless |end|\n|;| \+ | == |nil|\[0\]|/a(b)/| =~ |\(|\)|, |\.map \{ \|v\| |case|when|else|@v|\$1|begin|rescue|return|next|\?|:|!){0,20}"#) {
        if let Ok(filters) = replacement(&code, None) {
            let result = compiled(&filters).map(|_| ());
            prop_assert!(result.is_ok(), "{code}\n{filters}\n{result:?}");
            run(&filters, &[r#"{"a":[1]}"#]);
        }
    }
}
