//! The form, by example.

use super::*;

fn formatted(text: &str) -> String {
    let once = format("t", text, ParseOptions::default()).unwrap();
    let twice = format("t", &once, ParseOptions::default()).unwrap();
    assert_eq!(once, twice, "a second run changes nothing");
    once
}

#[test]
fn everything_gets_its_place() {
    let text = r#"
# top

input{beats{port=>5044}stdin{}}
filter {


  if [a]=="x"and![b]or(("c"in[tags])) {
  grok{match=>{"message"=>["%{A}",
    "%{B}" # second
  ]} # after match
  # before tag
  add_tag => [ 'a','b' ]
    }}
  # why not
  elseif[n]not   in["a",'b']{drop{}}else{

    mutate { # inside
    }
    # last
  }
}# behind
output { stdout { codec => rubydebug { metadata=>true } } } # the end
# really
"#;
    let expected = r#"# top

input {
  beats { port => 5044 }
  stdin { }
}

filter {
  if [a] == "x" and ![b] or (("c" in [tags])) {
    grok {
      match => {
        "message" => [
          "%{A}",
          "%{B}" # second
        ]
      } # after match
      # before tag
      add_tag => ['a', 'b']
    }
  }
  # why not
  else if [n] not in ["a", 'b'] {
    drop { }
  } else {
    mutate { # inside
    }
    # last
  }
} # behind

output {
  stdout { codec => rubydebug { metadata => true } }
} # the end
# really
"#;
    assert_eq!(formatted(text), expected);
}

#[test]
fn what_is_too_wide_is_broken_and_groups_stay() {
    let text = r#"filter { mutate { gsub => ["a", "b", "c",
 "d", "e", "f"] convert => { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" => "integer" "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb" => "float" } }

 if [a] == 1 or
 [b] == 2 { } } filter{}"#;
    let expected = r#"filter {
  mutate {
    gsub => [
      "a", "b", "c",
      "d", "e", "f"
    ]
    convert => {
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" => "integer"
      "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb" => "float"
    }
  }

  if [a] == 1 or
      [b] == 2 { }
}

filter { }
"#;
    assert_eq!(formatted(text), expected);
}

#[test]
fn comments_may_stand_anywhere() {
    let text = "filter # 1\n{ # 2\n if # 3\n [a] # 4\n not # 5\n in # 6\n [ # 7\n 'x' # 8\n , # 9\n \
                'y' ] # 10\n { # 11\n aa # 12\n { # 13\n bb # 14\n => # 15\n cc # 16\n { # 17\n } # 18\n } # 19\n \
                } # 20\n else # 21\n { # 22\n } # 23\n } # 24\n";
    let out = formatted(text);
    for number in 1..=24 {
        assert!(out.contains(&format!("# {number}\n")), "{number}\n{out}");
    }
    formatted("filter { if [a] not \n # own line\n in [b] { } }");
    let out = formatted("filter { if [a] # why not \n # own line\n in [b] { } }");
    assert!(out.contains("# why not\n      # own line\n"), "{out}");
    formatted("filter { aa { bb =>\n\n# own line\n\n# two\n 5 } }");
}

#[test]
fn what_touches_is_told_apart() {
    let text =
        "filter { aa { bb => { \"a\" => 5bc => 6 } dd => 1.5 } if5 == [a]and[b]or-5in[c] { } }";
    let out = formatted(text);
    assert!(
        out.contains(r#"bb => { "a" => 5 bc => 6 } dd => 1.5"#),
        "{out}"
    );
    assert!(
        out.contains("if 5 == [a] and [b] or -5 in [c] { }"),
        "{out}"
    );
}

#[test]
fn nothing_is_made_of_nothing_and_wrong_texts_are_refused() {
    assert_eq!(formatted(""), "");
    assert_eq!(formatted("\n\n"), "");
    assert_eq!(formatted("\r\n# only\r\n"), "# only\n");
    let error = format("t", "filter { grok { match => } }", ParseOptions::default());
    let Err(FormatError::Grammar(diagnostics)) = error else {
        panic!("refused")
    };
    assert_eq!(diagnostics.error_count(), 1);
}

#[test]
fn an_empty_list_far_to_the_right_stays_a_list() {
    let far = "x".repeat(WIDTH);
    let out = formatted(&format!(
        "filter {{ if \"{far}\" in [] and [a] == [] {{ aa {{ bb => [ ] }} }} }}"
    ));
    assert!(out.contains("in [] and [a] == [] {"), "{out}");
    let out = formatted(&format!("filter {{ {far} {{ {far} => [\n] }} }}"));
    assert!(out.contains("=> []\n"), "{out}");
}
