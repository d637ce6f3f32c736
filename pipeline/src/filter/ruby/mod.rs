//! The filter `ruby` of Logstash: not run, but read, and told what to write instead.
//!
//! Code that is a filter of its own is answered with that filter ([`native`]); other code with a `script`
//! that does the same ([`lua`]), which the reader can take over as it is. Code that is not understood is
//! pointed at, with what there is for it.

mod calls;
mod code;
mod expressions;
mod lexer;
mod lua;
mod native;
mod parser;
mod tree;
mod values;
mod walk;

use crate::language::{Code, Diagnostic, Options, Span};

use lexer::Refusal;
use lua::Role;

/// The longest code that is read.
const MAX_CODE_BYTES: usize = 256 << 10;

/// What to write in place of a `ruby` filter with this code; or the line that is not understood, and
/// why.
pub fn replacement(code: &str, init: Option<&str>) -> Result<String, (usize, String)> {
    write(code, init).map_err(|refusal| (refusal.line, refusal.reason))
}

fn write(code: &str, init: Option<&str>) -> Result<String, Refusal> {
    if code.len() > MAX_CODE_BYTES {
        let reason = format!("code of more than {MAX_CODE_BYTES} bytes is not read");
        return Err(Refusal { line: 1, reason });
    }
    let statements = parser::parse(code)?;
    if init.is_none()
        && let Some(filters) = native::filters(&statements)
    {
        return Ok(filters);
    }
    let code = lua::write(&statements, Role::Code)?;
    let init = match init {
        Some(init) => {
            let init = parser::parse(init).and_then(|init| lua::write(&init, Role::Init));
            let init = init.map_err(|refusal| Refusal {
                reason: format!("init: {}", refusal.reason),
                ..refusal
            })?;
            format!("  init => '\n{}  '\n", indented(&init))
        }
        None => String::new(),
    };
    Ok(format!(
        "script {{\n{init}  code => '\n{}  '\n  tag_on_exception => \"_rubyexception\"\n}}\n",
        indented(&code)
    ))
}

fn indented(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for line in text.lines() {
        out.extend(["    ", line, "\n"]);
    }
    out
}

/// Refuses the filter and tells what to write.
pub(super) fn refuse(options: &mut Options<'_>) {
    let code = options.spanned_string("code");
    let init = options.string("init");
    let has_path = options.has("path");
    for name in [
        "path",
        "script_params",
        "tag_on_exception",
        "tag_with_exception_message",
    ] {
        options.value(name);
    }
    let plugin = options.plugin();
    let others: Vec<&str> = plugin
        .attributes
        .iter()
        .map(|attribute| attribute.name.value.as_str())
        .filter(|name| !matches!(*name, "code" | "init"))
        .collect();
    let refusal = |span: Span, message: &str| {
        Diagnostic::error(span, message.to_owned()).code(Code::UnknownPlugin)
    };
    let finding = match code {
        Some(code) => match write(&code.value, init.as_deref()) {
            Ok(text) => {
                let also = if others.is_empty() {
                    String::new()
                } else {
                    format!(" (and the other options: `{}`)", others.join("`, `"))
                };
                let mut finding = refusal(plugin.span, "`ruby` code does not run here, and need not")
                    .hint(format!("write instead{also}:\n{text}"));
                if others.is_empty() {
                    finding.suggestion = Some(text.trim_end().to_owned());
                }
                finding
            }
            Err(Refusal { line, reason }) => {
                let span = super::script::line_span(&code.value, code.span, Some(line));
                refusal(span, "`ruby` code does not run here")
                    .label(format!("code:{line}: {reason}"))
                    .hint(
                        "write it as a `script`, in Lua: `event:get(\"field\")`, `event:set(\"field\", value)`, \
                         `event:remove`, `event:tag`, `event:cancel`, `emit`",
                    )
            }
        },
        None if has_path => refusal(plugin.name.span, "`ruby` files do not run here").hint(
            "write the file in Lua, with the same two functions, `register(params)` and `filter(event)`, and name \
             it in `script { path => … }`",
        ),
        None => refusal(plugin.name.span, "`ruby` code does not run here")
            .hint("write `script { code => '…' }`, in Lua"),
    };
    options.diagnostics().push(finding);
}
