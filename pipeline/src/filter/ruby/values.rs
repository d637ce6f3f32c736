//! Writes expressions of Ruby as expressions of Lua.

use super::calls;
use super::code::{Code, Kind};
use super::lua::{Writer, Written, lua_name, quoted};
use super::tree::{Node, Statement};

impl Writer {
    /// The value of an expression.
    pub(super) fn value(&mut self, node: &Node) -> Written {
        Ok(match node {
            Node::Nil => Code::atom("nil", Kind::Unknown),
            Node::True => Code::atom("true", Kind::Boolean),
            Node::False => Code::atom("false", Kind::Boolean),
            Node::Integer(value) if *value < 0 => Code::sum(value.to_string(), Kind::Integer),
            Node::Integer(value) => Code::atom(value.to_string(), Kind::Integer),
            Node::Float(value) => {
                let text = format!("{value:?}");
                if *value < 0.0 {
                    Code::sum(text, Kind::Float)
                } else {
                    Code::atom(text, Kind::Float)
                }
            }
            Node::Text(text) => Code::atom(quoted(text), Kind::Text),
            Node::Joined(parts) => self.joined(parts)?,
            Node::Regex(_) => {
                return self.refuse("a regular expression as a value is not read here");
            }
            Node::Array(values) => {
                let mut texts = Vec::new();
                for value in values {
                    let value = self.value(value)?;
                    texts.push(if value.text == "nil" {
                        "null".into()
                    } else {
                        value.text
                    });
                }
                Code::atom(format!("array({{{}}})", texts.join(", ")), Kind::Unknown)
            }
            Node::Hash(pairs) => {
                let mut texts = Vec::new();
                for (key, value) in pairs {
                    let (key, value) = (self.value(key)?, self.value(value)?);
                    let value = if value.text == "nil" {
                        "null".into()
                    } else {
                        value.text
                    };
                    // `[[x]]` would be read as a text.
                    texts.push(format!("[ {} ] = {value}", key.text));
                }
                Code::atom(format!("{{{}}}", texts.join(", ")), Kind::Unknown)
            }
            Node::Name(name) => return self.name(name),
            Node::Variable(name) => match name.strip_prefix('$').map(str::parse::<u8>) {
                Some(Ok(number)) => Code::atom(format!("ruby.group({number})"), Kind::Unknown),
                Some(Err(_)) => return self.refuse(format!("`{name}` is not read here")),
                None => Code::atom(instance_name(name), Kind::Unknown),
            },
            Node::Constant(name) => return self.refuse(calls::constant(name)),
            Node::Call(call) => return calls::write(self, call),
            Node::Index(receiver, keys) => self.index(receiver, keys)?,
            Node::Not(inner) => {
                let inner = self.value(inner)?;
                Code::sum(format!("not {}", inner.closed()), Kind::Boolean)
            }
            Node::Negative(inner) => {
                let inner = self.value(inner)?;
                if inner.kind.is_number() {
                    Code::sum(format!("-{}", inner.closed()), inner.kind)
                } else {
                    Code::atom(format!("ruby.sub(0, {})", inner.text), Kind::Unknown)
                }
            }
            Node::And(left, right) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                Code::sum(
                    format!("{} and {}", left.closed(), right.closed()),
                    same(left.kind, right.kind),
                )
            }
            Node::Or(left, right) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                Code::sum(
                    format!("{} or {}", left.closed(), right.closed()),
                    same(left.kind, right.kind),
                )
            }
            Node::Binary(operator, left, right) => self.binary(operator, left, right)?,
            Node::If(condition, then, otherwise) => self.choice(condition, then, otherwise)?,
            Node::Range(..) => return self.refuse("a range as a value is not read here"),
            Node::Assign(..) | Node::While(..) | Node::Case(..) | Node::Rescue(..) => {
                return self
                    .refuse("this as a value is not read here; write it on a line of its own");
            }
            Node::Return(_) | Node::Next | Node::Break => {
                return self.refuse("`return`, `next` and `break` are no values");
            }
        })
    }

    fn joined(&mut self, parts: &[Node]) -> Written {
        let mut texts = Vec::new();
        for part in parts {
            let code = self.value(part)?;
            texts.push(match code.kind {
                Kind::Text => code.closed(),
                Kind::LocalTime => return self.refuse(calls::LOCAL_TIME),
                _ => format!("ruby.to_s({})", code.text),
            });
        }
        Ok(if texts.len() == 1 {
            Code::atom(texts.remove(0), Kind::Text)
        } else {
            Code::sum(texts.join(" .. "), Kind::Text)
        })
    }

    fn name(&self, name: &str) -> Written {
        if self.is_known(name) {
            let kind = self.kinds.get(name).copied().unwrap_or(Kind::Unknown);
            return Ok(Code::atom(lua_name(name), kind));
        }
        match name {
            "event" => self.refuse("the event as a value is not read here"),
            _ => self.refuse(format!("`{name}` is not known here")),
        }
    }

    fn index(&mut self, receiver: &Node, keys: &[Node]) -> Written {
        if matches!(receiver, Node::Name(name) if name == "event") {
            return self.refuse("`event['field']` is Logstash 2; write `event.get('field')`");
        }
        let table = self.value(receiver)?;
        Ok(match keys {
            [Node::Range(from, to, exclusive)] => {
                let (from, to) = (self.value(from)?, self.value(to)?);
                Code::atom(
                    format!(
                        "ruby.range({}, {}, {}, {exclusive})",
                        table.text, from.text, to.text
                    ),
                    Kind::Unknown,
                )
            }
            [Node::Regex(pattern)] => Code::atom(
                format!("ruby.match_at({}, {}, 0)", table.text, quoted(pattern)),
                Kind::Unknown,
            ),
            [Node::Regex(pattern), group] => {
                let group = self.value(group)?;
                Code::atom(
                    format!(
                        "ruby.match_at({}, {}, {})",
                        table.text,
                        quoted(pattern),
                        group.text
                    ),
                    Kind::Unknown,
                )
            }
            [key] => {
                let key = self.value(key)?;
                Code::atom(
                    format!("ruby.at({}, {})", table.text, key.text),
                    Kind::Unknown,
                )
            }
            [from, count] => {
                let (from, count) = (self.value(from)?, self.value(count)?);
                Code::atom(
                    format!("ruby.at({}, {}, {})", table.text, from.text, count.text),
                    Kind::Unknown,
                )
            }
            _ => return self.refuse("such an element is not read here"),
        })
    }

    /// `a ? b : c`, and `if` as a value.
    fn choice(&mut self, condition: &Node, then: &[Statement], otherwise: &[Statement]) -> Written {
        let ([then], true) = (then, otherwise.len() <= 1) else {
            return self.refuse("`if` as a value with more than one statement is not read here");
        };
        let condition = self.value(condition)?;
        let then = self.value(&then.node)?;
        let otherwise = match otherwise {
            [otherwise] => self.value(&otherwise.node)?,
            _ => Code::atom("nil", Kind::Unknown),
        };
        let kind = same(then.kind, otherwise.kind);
        // `a and b or c` is the same only if `b` is never nil or false.
        if matches!(then.kind, Kind::Integer | Kind::Float | Kind::Text) || then.text == "true" {
            let text = format!(
                "{} and {} or {}",
                condition.closed(),
                then.closed(),
                otherwise.closed()
            );
            return Ok(Code::sum(text, kind));
        }
        let text = format!(
            "(function() if {} then return {} else return {} end end)()",
            condition.text, then.text, otherwise.text
        );
        Ok(Code::atom(text, kind))
    }

    fn binary(&mut self, operator: &'static str, left: &Node, right: &Node) -> Written {
        if matches!(operator, "=~" | "!~") {
            let ((text, Node::Regex(pattern)) | (Node::Regex(pattern), text)) = (left, right)
            else {
                return self.refuse("`=~` needs a regular expression that is written there");
            };
            let text = self.value(text)?;
            let test = format!("ruby.test({}, {})", text.text, quoted(pattern));
            return Ok(if operator == "=~" {
                Code::atom(test, Kind::Boolean)
            } else {
                Code::sum(format!("not {test}"), Kind::Boolean)
            });
        }
        let is_literal = |node: &Node| {
            matches!(
                node,
                Node::Nil
                    | Node::True
                    | Node::False
                    | Node::Integer(_)
                    | Node::Float(_)
                    | Node::Text(_)
            )
        };
        // `'%d of %d' % [a, b]`
        if let ("%", Node::Text(_), Node::Array(values)) = (operator, left, right) {
            let format = self.value(left)?;
            let mut texts = vec![format.text];
            for value in values {
                texts.push(self.value(value)?.text);
            }
            let text = format!("ruby.format({})", texts.join(", "));
            return Ok(Code::atom(text, Kind::Text));
        }
        let plain = is_literal(left) || is_literal(right);
        let (left, right) = (self.value(left)?, self.value(right)?);
        let compared = left.kind == right.kind && left.kind != Kind::Unknown
            || left.kind.is_number() && right.kind.is_number()
            || left.kind.is_time() && right.kind.is_time();
        let (l, r) = (left.closed(), right.closed());
        let boolean = |text| Ok(Code::sum(text, Kind::Boolean));
        match operator {
            "==" if plain || compared => boolean(format!("{l} == {r}")),
            "!=" if plain || compared => boolean(format!("{l} ~= {r}")),
            "==" => Ok(Code::atom(
                format!("ruby.equal({}, {})", left.text, right.text),
                Kind::Boolean,
            )),
            "!=" => boolean(format!("not ruby.equal({}, {})", left.text, right.text)),
            "<" | ">" | "<=" | ">=" if compared => boolean(format!("{l} {operator} {r}")),
            "<" => Ok(Code::atom(
                format!("ruby.less({}, {})", left.text, right.text),
                Kind::Boolean,
            )),
            ">" => Ok(Code::atom(
                format!("ruby.less({}, {})", right.text, left.text),
                Kind::Boolean,
            )),
            "<=" => Ok(Code::atom(
                format!("ruby.at_most({}, {})", left.text, right.text),
                Kind::Boolean,
            )),
            ">=" => Ok(Code::atom(
                format!("ruby.at_most({}, {})", right.text, left.text),
                Kind::Boolean,
            )),
            "<<" => Ok(Code::atom(
                format!("ruby.push({}, {})", left.text, right.text),
                Kind::Unknown,
            )),
            operator => self.arithmetic(operator, &left, &right),
        }
    }

    pub(super) fn arithmetic(&self, operator: &str, left: &Code, right: &Code) -> Written {
        let (l, r) = (left.closed(), right.closed());
        let numbers = left.kind.is_number() && right.kind.is_number();
        let kind = if numbers {
            if left.kind == right.kind {
                left.kind
            } else {
                Kind::Float
            }
        } else {
            Kind::Unknown
        };
        if numbers && matches!(operator, "+" | "-" | "*" | "%") {
            return Ok(Code::sum(format!("{l} {operator} {r}"), kind));
        }
        if operator == "+" && left.kind == Kind::Text && right.kind == Kind::Text {
            return Ok(Code::sum(format!("{l} .. {r}"), Kind::Text));
        }
        if operator == "%" && left.kind == Kind::Text {
            let text = format!("ruby.format({}, {})", left.text, right.text);
            return Ok(Code::atom(text, Kind::Text));
        }
        if operator == "/" && numbers {
            let sign = if kind == Kind::Integer { "//" } else { "/" };
            return Ok(Code::sum(format!("{l} {sign} {r}"), kind));
        }
        if left.kind.is_time() && matches!(operator, "+" | "-") {
            let kind = if right.kind.is_time() {
                Kind::Float
            } else {
                left.kind
            };
            return Ok(Code::sum(format!("{l} {operator} {r}"), kind));
        }
        let name = match operator {
            "+" => "add",
            "-" => "sub",
            "*" => "mul",
            "/" => "div",
            "%" => "mod",
            "**" => "pow",
            "&" | "|" | "^" if left.kind == Kind::Integer && right.kind == Kind::Integer => {
                let sign = if operator == "^" { "~" } else { operator };
                return Ok(Code::sum(format!("{l} {sign} {r}"), Kind::Integer));
            }
            other => return self.refuse(format!("`{other}` is not read here")),
        };
        Ok(Code::atom(
            format!("ruby.{name}({}, {})", left.text, right.text),
            kind,
        ))
    }
}

/// The name of `@x` in Lua.
pub(super) fn instance_name(name: &str) -> String {
    format!("at_{}", name.trim_start_matches('@'))
}

fn same(left: Kind, right: Kind) -> Kind {
    if left == right { left } else { Kind::Unknown }
}
