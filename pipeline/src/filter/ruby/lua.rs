//! Writes Ruby code as a script in Lua that does the same.
//!
//! Where both languages agree on what is known of the values, their own operators are used; else the
//! functions of the table `ruby`, which do as Ruby does. What has no equal is refused, with what to use
//! instead where there is something.

use std::collections::HashMap;

use super::calls;
use super::code::{Code, Kind};
use super::lexer::Refusal;
use super::tree::{Block, Call, Node, Statement};
use super::values::instance_name;
use super::walk::{assigned_names, count_assignments, leaves, mentions};

pub(super) type Written = Result<Code, Refusal>;

/// What variables of `init` are called in the script; and whether code may set them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Init,
    Code,
}

/// Writes statements as Lua.
pub(super) fn write(statements: &[Statement], role: Role) -> Result<String, Refusal> {
    let mut counts = HashMap::new();
    count_assignments(statements, &mut counts);
    let mut writer = Writer {
        out: String::new(),
        indent: 0,
        scopes: Vec::new(),
        kinds: HashMap::new(),
        counts,
        line: 1,
        loops: Vec::new(),
        labels: 0,
        role,
    };
    writer.scope(statements, &[], false)?;
    Ok(writer.out)
}

/// How a loop goes on with the next element.
struct Loop {
    label: usize,
    is_used: bool,
    /// The body is a function, which returns.
    is_function: bool,
}

pub(super) struct Writer {
    out: String,
    indent: usize,
    /// Variables that are seen, innermost last.
    scopes: Vec<Vec<String>>,
    pub(super) kinds: HashMap<String, Kind>,
    counts: HashMap<String, usize>,
    pub(super) line: usize,
    loops: Vec<Loop>,
    labels: usize,
    role: Role,
}

/// Names that mean something in a script, or in Lua.
const TAKEN: [&str; 45] = [
    "and",
    "break",
    "do",
    "else",
    "elseif",
    "end",
    "false",
    "for",
    "function",
    "goto",
    "if",
    "in",
    "local",
    "nil",
    "not",
    "or",
    "repeat",
    "return",
    "then",
    "true",
    "until",
    "while",
    "event",
    "emit",
    "now",
    "ruby",
    "re",
    "time",
    "keys",
    "array",
    "is_array",
    "json_decode",
    "json_encode",
    "url_decode",
    "null",
    "params",
    "pairs",
    "ipairs",
    "type",
    "string",
    "table",
    "math",
    "utf8",
    "next",
    "tostring",
];

pub(super) fn lua_name(name: &str) -> String {
    if TAKEN.contains(&name) || matches!(name, "error" | "pcall" | "select" | "assert" | "tonumber")
    {
        format!("{name}_")
    } else {
        name.to_owned()
    }
}

/// A text in Lua, without any sign that a configuration reads.
pub(super) fn quoted(text: &str) -> String {
    let is_plain =
        |character: char| !character.is_control() && !matches!(character, '"' | '\\' | '\'');
    if text.chars().all(is_plain) {
        return format!("\"{text}\"");
    }
    if text.contains('\\')
        && !text.contains(['\n', '\r', '\'', '\0'])
        && !text.contains("]]")
        && !text.ends_with(']')
    {
        return format!("[[{text}]]");
    }
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '"' | '\\' => out.extend(['\\', character]),
            '\'' => out.push_str("\\039"),
            '\0' => out.push_str("\\000"),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

impl Writer {
    pub(super) fn refuse<T>(&self, reason: impl Into<String>) -> Result<T, Refusal> {
        Err(Refusal {
            line: self.line,
            reason: reason.into(),
        })
    }

    fn emit(&mut self, line: &str) {
        for _ in 0..self.indent {
            self.out.push_str("  ");
        }
        self.out.push_str(line);
        self.out.push('\n');
    }

    pub(super) fn is_known(&self, name: &str) -> bool {
        self.scopes.iter().flatten().any(|each| each == name)
    }

    /// Statements with variables of their own. With `returns` the last value is given back.
    fn scope(
        &mut self,
        statements: &[Statement],
        names: &[String],
        returns: bool,
    ) -> Result<(), Refusal> {
        self.scopes.push(names.to_vec());
        let mut assigned = Vec::new();
        assigned_names(statements, &mut assigned);
        let mut hoisted = Vec::new();
        for name in assigned {
            if self.is_known(&name) || hoisted.contains(&name) {
                continue;
            }
            // The first that is seen of it is its own statement: it is declared there.
            let first = statements
                .iter()
                .find(|statement| mentions(&statement.node, &name));
            let is_plain = first.is_some_and(|statement| match &statement.node {
                Node::Assign(target, "", value) => {
                    matches!(&**target, Node::Name(target) if *target == name)
                        && !mentions(value, &name)
                }
                _ => false,
            });
            if !is_plain {
                hoisted.push(name);
            }
        }
        if !hoisted.is_empty() {
            let names: Vec<String> = hoisted.iter().map(|name| lua_name(name)).collect();
            self.emit(&format!("local {}", names.join(", ")));
            self.scopes
                .last_mut()
                .into_iter()
                .for_each(|scope| scope.extend(hoisted.iter().cloned()));
        }
        self.statements(statements, returns)?;
        self.scopes.pop();
        Ok(())
    }

    fn statements(&mut self, statements: &[Statement], returns: bool) -> Result<(), Refusal> {
        for (at, statement) in statements.iter().enumerate() {
            self.line = statement.line;
            let is_last = at + 1 == statements.len();
            self.statement(&statement.node, returns && is_last, is_last)?;
        }
        Ok(())
    }

    fn statement(&mut self, node: &Node, returns: bool, is_last: bool) -> Result<(), Refusal> {
        match node {
            Node::If(condition, then, otherwise) => {
                self.conditional(condition, then, otherwise, returns)
            }
            Node::Case(subject, cases, otherwise) => self.case(subject, cases, otherwise, returns),
            Node::Rescue(body, name, otherwise) => {
                self.rescue(body, name.as_deref(), otherwise, returns)
            }
            Node::While(condition, body) => {
                let condition = self.value(condition)?;
                self.emit(&format!("while {} do", condition.text));
                self.body(body, &[], false)?;
                self.emit("end");
                Ok(())
            }
            Node::Return(value) => {
                if self.loops.iter().any(|each| each.is_function) {
                    return self.refuse("`return` in a block is not read here");
                }
                let value = match value {
                    Some(value) if returns => self.value(value)?.text,
                    _ => String::new(),
                };
                let text = format!("return {value}");
                let text = text.trim_end();
                self.emit(&if is_last && self.indent == 0 {
                    text.to_owned()
                } else {
                    format!("do {text} end")
                });
                Ok(())
            }
            Node::Next => match self.loops.last_mut() {
                Some(each) if each.is_function => {
                    self.refuse("`next` in such a block is not read here")
                }
                Some(each) => {
                    each.is_used = true;
                    let label = each.label;
                    self.emit(&format!("goto next_{label}"));
                    Ok(())
                }
                None => {
                    self.emit("do return end");
                    Ok(())
                }
            },
            Node::Break => match self.loops.last() {
                Some(each) if !each.is_function => {
                    self.emit("break");
                    Ok(())
                }
                _ => self.refuse("`break` here is not read"),
            },
            Node::Assign(target, operator, value) => {
                self.assign(target, operator, value)?;
                if returns {
                    let value = self.value(target)?;
                    self.emit(&format!("return {}", value.text));
                }
                Ok(())
            }
            Node::Binary("<<", target, value) if !returns => {
                let pushed = self.value(node)?;
                match &**target {
                    Node::Name(name) if self.is_known(name) => {
                        let name = lua_name(name);
                        self.emit(&format!("{name} = {}", pushed.text));
                    }
                    Node::Index(table, keys) if keys.len() == 1 => {
                        let (table, key) = (self.value(table)?, self.value(&keys[0])?);
                        let value = self.value(value)?;
                        self.emit(&format!(
                            "ruby.push_at({}, {}, {})",
                            table.text, key.text, value.text
                        ));
                    }
                    _ => self.emit(&pushed.text),
                }
                Ok(())
            }
            // `a and b` as a statement.
            Node::And(left, right) if !returns => {
                let body = [Statement {
                    node: (**right).clone(),
                    line: self.line,
                }];
                self.conditional(left, &body, &[], false)
            }
            Node::Or(left, right) if !returns => {
                let body = [Statement {
                    node: (**right).clone(),
                    line: self.line,
                }];
                self.conditional(left, &[], &body, false)
            }
            Node::Call(call) => {
                if calls::is_log(call) {
                    self.emit("-- a message was logged here");
                    return Ok(());
                }
                if let Some(block) = &call.block
                    && self.each(call, block)?
                {
                    return Ok(());
                }
                self.line_of(node, returns)
            }
            other => self.line_of(other, returns),
        }
    }

    /// An expression as a statement.
    fn line_of(&mut self, node: &Node, returns: bool) -> Result<(), Refusal> {
        let code = self.value(node)?;
        if returns {
            self.emit(&format!("return {}", code.text));
        } else if code.text.ends_with(')') && code.is_atom && !code.text.starts_with('(') {
            self.emit(&code.text);
        } else {
            // A value that nobody takes.
            self.emit(&format!("local _ = {}", code.text));
        }
        Ok(())
    }

    fn body(
        &mut self,
        statements: &[Statement],
        names: &[String],
        returns: bool,
    ) -> Result<(), Refusal> {
        self.labels += 1;
        let label = self.labels;
        self.loops.push(Loop {
            label,
            is_used: false,
            is_function: returns,
        });
        self.indent += 1;
        // What a body declares must end before the label: Lua forbids to jump into it.
        let start = self.out.len();
        self.scope(statements, names, returns)?;
        let is_used = self.loops.pop().is_some_and(|each| each.is_used);
        if is_used {
            let body = self.out.split_off(start);
            self.emit("do");
            for line in body.lines() {
                self.out.push_str("  ");
                self.out.push_str(line);
                self.out.push('\n');
            }
            self.emit("end");
            self.emit(&format!("::next_{label}::"));
        }
        self.indent -= 1;
        Ok(())
    }

    fn branch(&mut self, statements: &[Statement], returns: bool) -> Result<(), Refusal> {
        self.indent += 1;
        self.scope_of_branch(statements, returns)?;
        self.indent -= 1;
        Ok(())
    }

    /// The variables of a branch are those around it, and were declared there.
    fn scope_of_branch(&mut self, statements: &[Statement], returns: bool) -> Result<(), Refusal> {
        self.statements(statements, returns)
    }

    fn conditional(
        &mut self,
        condition: &Node,
        then: &[Statement],
        otherwise: &[Statement],
        returns: bool,
    ) -> Result<(), Refusal> {
        let (negated, condition, then, otherwise) = if then.is_empty() {
            (true, condition, otherwise, then)
        } else {
            (false, condition, then, otherwise)
        };
        let code = self.value(condition)?;
        let text = if negated {
            format!("not {}", code.closed())
        } else {
            code.text
        };
        self.emit(&format!("if {text} then"));
        self.branch(then, returns)?;
        let mut rest = otherwise;
        while let [
            Statement {
                node: Node::If(condition, then, otherwise),
                line,
            },
        ] = rest
        {
            if then.is_empty() {
                break;
            }
            self.line = *line;
            let code = self.value(condition)?;
            self.emit(&format!("elseif {} then", code.text));
            self.branch(then, returns)?;
            rest = otherwise;
        }
        if !rest.is_empty() {
            self.emit("else");
            self.branch(rest, returns)?;
        }
        self.emit("end");
        Ok(())
    }

    fn case(
        &mut self,
        subject: &Node,
        cases: &[(Vec<Node>, Vec<Statement>)],
        otherwise: &[Statement],
        returns: bool,
    ) -> Result<(), Refusal> {
        self.labels += 1;
        let name = format!("case_{}", self.labels);
        let code = self.value(subject)?;
        let subject = Code::atom(name.clone(), code.kind);
        self.emit(&format!("local {name} = {}", code.text));
        for (at, (values, body)) in cases.iter().enumerate() {
            let mut tests = Vec::new();
            for value in values {
                tests.push(self.matches(&subject, value)?);
            }
            let word = if at == 0 { "if" } else { "elseif" };
            self.emit(&format!("{word} {} then", tests.join(" or ")));
            self.branch(body, returns)?;
        }
        if !otherwise.is_empty() && !cases.is_empty() {
            self.emit("else");
            self.branch(otherwise, returns)?;
        }
        if !cases.is_empty() {
            self.emit("end");
        }
        Ok(())
    }

    /// `when value`.
    fn matches(&mut self, subject: &Code, value: &Node) -> Result<String, Refusal> {
        Ok(match value {
            Node::Regex(pattern) => format!("ruby.test({}, {})", subject.text, quoted(pattern)),
            Node::Range(from, to, exclusive) => {
                let (from, to) = (self.value(from)?, self.value(to)?);
                format!(
                    "ruby.within({}, {}, {}, {exclusive})",
                    subject.text, from.text, to.text
                )
            }
            Node::Constant(class) => format!("ruby.is_a({}, {})", subject.text, quoted(class)),
            other => {
                let value = self.value(other)?;
                format!("{} == {}", subject.text, value.closed())
            }
        })
    }

    fn rescue(
        &mut self,
        body: &[Statement],
        name: Option<&str>,
        otherwise: &[Statement],
        returns: bool,
    ) -> Result<(), Refusal> {
        if returns || body.iter().any(|statement| leaves(&statement.node)) {
            return self
                .refuse("`return`, `next` or a value out of `begin … rescue` is not read here");
        }
        self.labels += 1;
        let label = self.labels;
        self.emit(&format!(
            "local ok_{label}, fault_{label} = pcall(function()"
        ));
        self.branch(body, false)?;
        self.emit("end)");
        self.emit(&format!("if not ok_{label} then"));
        self.indent += 1;
        self.scopes
            .push(name.map(str::to_owned).into_iter().collect());
        if let Some(name) = name {
            self.kinds.insert(name.to_owned(), Kind::Text);
            let name = lua_name(name);
            self.emit(&format!("local {name} = fault_{label}"));
        }
        self.statements(otherwise, false)?;
        self.scopes.pop();
        self.indent -= 1;
        self.emit("end");
        Ok(())
    }

    fn assign(
        &mut self,
        target: &Node,
        operator: &'static str,
        value: &Node,
    ) -> Result<(), Refusal> {
        let value = match operator {
            "" => self.value(value)?,
            "||" => {
                let old = self.value(target)?;
                let new = self.value(value)?;
                Code::sum(
                    format!("{} or {}", old.closed(), new.closed()),
                    Kind::Unknown,
                )
            }
            "&&" => {
                let old = self.value(target)?;
                let new = self.value(value)?;
                Code::sum(
                    format!("{} and {}", old.closed(), new.closed()),
                    Kind::Unknown,
                )
            }
            operator => {
                let (old, new) = (self.value(target)?, self.value(value)?);
                self.arithmetic(operator, &old, &new)?
            }
        };
        match target {
            Node::Name(name) => {
                if name == "event" {
                    return self.refuse("`event` cannot be set");
                }
                let kind = match self.counts.get(name) {
                    Some(1) => value.kind,
                    _ => Kind::Unknown,
                };
                self.kinds.insert(name.clone(), kind);
                let is_new = !self.is_known(name);
                if is_new {
                    self.scopes
                        .last_mut()
                        .into_iter()
                        .for_each(|scope| scope.push(name.clone()));
                }
                let word = if is_new { "local " } else { "" };
                let name = lua_name(name);
                self.emit(&format!("{word}{name} = {}", value.text));
            }
            Node::Variable(name) => {
                if self.role == Role::Code || !name.starts_with('@') {
                    return self.refuse(format!(
                        "`{name}` outlives the event, and each worker has a script of its own: count with `metrics` or \
                         `throttle`, gather with `aggregate`"
                    ));
                }
                let name = instance_name(name);
                self.emit(&format!("{name} = {}", value.text));
            }
            Node::Index(table, keys) => {
                let [key] = keys.as_slice() else {
                    return self.refuse("such an element cannot be set here");
                };
                if matches!(&**table, Node::Name(name) if name == "event") {
                    return self.refuse(
                        "`event['field'] = …` is Logstash 2; write `event.set('field', …)`",
                    );
                }
                let (table, key) = (self.value(table)?, self.value(key)?);
                self.emit(&format!(
                    "ruby.put({}, {}, {})",
                    table.text, key.text, value.text
                ));
            }
            _ => return self.refuse("this cannot be set"),
        }
        Ok(())
    }

    /// A loop over what is in a value. Answers whether the call is one.
    fn each(&mut self, call: &Call, block: &Block) -> Result<bool, Refusal> {
        let Some(receiver) = &call.receiver else {
            return Ok(false);
        };
        let names = &block.names;
        let name = |at: usize| {
            names
                .get(at)
                .map_or_else(|| "_".to_owned(), |name| lua_name(name))
        };
        let is_fields = matches!(receiver, Node::Call(call) if calls::is_event_call(call, &["to_hash", "to_hash_with_metadata"]));
        let head = match (call.name.as_str(), names.len()) {
            ("each" | "each_pair", 2) if is_fields => {
                format!("for {}, {} in ruby.each_field() do", name(0), name(1))
            }
            ("each" | "each_pair", 2) => {
                let list = self.value(receiver)?;
                format!(
                    "for {}, {} in ruby.each_pair({}) do",
                    name(0),
                    name(1),
                    list.text
                )
            }
            ("each", 0 | 1) => {
                if let Node::Range(from, to, exclusive) = receiver {
                    let (from, to) = (self.value(from)?, self.value(to)?);
                    let end = if *exclusive {
                        format!("{} - 1", to.closed())
                    } else {
                        to.text
                    };
                    format!("for {} = {}, {end} do", name(0), from.text)
                } else {
                    let list = self.value(receiver)?;
                    format!("for _, {} in ruby.each_item({}) do", name(0), list.text)
                }
            }
            ("each_with_index", 2) => {
                let list = self.value(receiver)?;
                format!(
                    "for {}, {} in ruby.each_index({}) do",
                    name(1),
                    name(0),
                    list.text
                )
            }
            ("each_key", 1) => {
                let list = self.value(receiver)?;
                format!("for {} in ruby.each_pair({}) do", name(0), list.text)
            }
            ("each_value", 1) => {
                let list = self.value(receiver)?;
                format!("for _, {} in ruby.each_pair({}) do", name(0), list.text)
            }
            ("times", 0 | 1) => {
                let count = self.value(receiver)?;
                format!("for {} = 0, {} - 1 do", name(0), count.closed())
            }
            _ => return Ok(false),
        };
        self.emit(&head);
        self.body(&block.body, names, false)?;
        self.emit("end");
        Ok(true)
    }

    /// A block as a function.
    pub(super) fn function(&mut self, block: &Block) -> Result<String, Refusal> {
        let names: Vec<String> = block.names.iter().map(|name| lua_name(name)).collect();
        let outer = std::mem::take(&mut self.out);
        let indent = self.indent;
        let result = self.body(&block.body, &block.names, true);
        self.indent = indent;
        let body = std::mem::replace(&mut self.out, outer);
        result?;
        let names = names.join(", ");
        if body.lines().count() == 1 {
            return Ok(format!("function({names}) {} end", body.trim()));
        }
        let closing = "  ".repeat(indent);
        Ok(format!("function({names})\n{body}{closing}end"))
    }
}
