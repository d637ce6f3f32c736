//! A virtual machine of Lua for one script in one worker.
//!
//! What is loaded of Lua: the base functions that only compute, `math`, `table`, `utf8` and `string`,
//! with those taken out or written anew that loop in C for as long as their arguments say. There is no
//! `io`, `os`, `debug`, `package`, `require`, `load`, `coroutine`, `setmetatable` or `collectgarbage`, and no
//! byte code is loaded: a script cannot reach anything but its event.
//!
//! INVARIANT: a machine that ran out of memory is thrown away; the next event gets a new one.

use std::rc::Rc;

use bumpalo::Bump;
use mlua::chunk::ChunkMode;
use mlua::{
    Error, Function, HookTriggers, Lua, LuaOptions, Result, StdLib, Table, Value as LuaValue,
    VmState,
};

use super::host::{Host, Paths, line_of, message_of};
use super::library::{Shared, is_memory, library};
use super::meter::{LOOK_EVERY, Limit, Limits, Meter};
use crate::event::Event;
use crate::filter::{Context, OwnedValue};
use crate::language::EscapeStyle;

/// What the code of an option is called in messages.
const CODE: &str = "code";
/// What the code of `init` is called.
const INIT: &str = "init";
/// The function that a file must have.
const FILTER: &str = "filter";
/// The function that a file may have; it gets `script_params`.
const REGISTER: &str = "register";

/// What a script consists of.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) text: Box<[u8]>,
    pub(super) kind: SourceKind,
    pub(super) parameters: OwnedValue,
    pub(super) limits: Limits,
    pub(super) escape_style: EscapeStyle,
}

/// Where a script comes from.
#[derive(Clone, Debug)]
pub(super) enum SourceKind {
    /// The option `code`: runs for each event, after `init` has run once.
    Code { init: Option<Box<str>> },
    /// A file of this name, which defines functions.
    File { name: Box<str> },
}

/// Why a script cannot be used, or did not come to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The part of the script: `code`, `init` or the name of the file.
    pub(super) chunk: String,
    pub(super) line: Option<usize>,
    pub(super) message: String,
    pub(super) limit: Option<Limit>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(formatter, "{}:{line}: {}", self.chunk, self.message),
            None => write!(formatter, "{}: {}", self.chunk, self.message),
        }
    }
}

/// The machine.
pub(super) struct Vm {
    lua: Lua,
    meter: Rc<Meter>,
    shared: Shared,
    enter: Function,
    paths: Paths,
    chunk: String,
    escape_style: EscapeStyle,
}

impl Vm {
    /// A machine with the script in it, whose parts that run once have run.
    pub(super) fn new(source: &Source) -> std::result::Result<Self, Failure> {
        let chunk = match &source.kind {
            SourceKind::Code { .. } => CODE,
            SourceKind::File { name } => name,
        };
        let meter = Rc::new(Meter::new(source.limits, chunk));
        let failure = |error: &Error, chunk: &str| failure_of(error, chunk, &meter);
        let (lua, shared, parts) =
            sandbox(&meter, source.limits).map_err(|error| failure(&error, chunk))?;
        let [env, enter, _leave, set_main] = parts;
        let env = env.as_table().cloned();
        let (Some(env), Some(enter), Some(set_main)) = (
            env,
            enter.as_function().cloned(),
            set_main.as_function().cloned(),
        ) else {
            return Err(failure(&Error::runtime("the prelude is broken"), chunk));
        };
        let vm = Self {
            lua,
            meter: Rc::clone(&meter),
            shared,
            enter,
            paths: Paths::new(),
            chunk: chunk.to_owned(),
            escape_style: source.escape_style,
        };
        if let SourceKind::Code { init: Some(init) } = &source.kind {
            vm.meter.set_chunk(INIT);
            vm.load(init.as_bytes(), INIT, &env)
                .and_then(|init| init.call::<()>(()))
                .map_err(|error| failure(&error, INIT))?;
            vm.meter.set_chunk(chunk);
            vm.meter.start();
        }
        vm.prepare(source, chunk, &env, &set_main)
            .map_err(|error| failure(&error, chunk))?;
        Ok(vm)
    }

    fn prepare(
        &self,
        source: &Source,
        chunk: &str,
        env: &Table,
        set_main: &Function,
    ) -> Result<()> {
        let arena = Bump::new();
        let parameters = source.parameters.copied_in(&arena);
        let parameters = self.shared.converter(&self.lua).to_lua(&parameters)?;
        env.raw_set("params", &parameters)?;
        let loaded = self.load(&source.text, chunk, env)?;
        let main = match source.kind {
            SourceKind::Code { .. } => loaded,
            SourceKind::File { .. } => {
                loaded.call::<()>(())?;
                if let Some(register) = env.raw_get::<Option<Function>>(REGISTER)? {
                    register.call::<()>(parameters)?;
                }
                env.raw_get::<Option<Function>>(FILTER)?.ok_or_else(|| {
                    Error::runtime(
                        "the file has no `function filter(event) … end`, which is called for each event",
                    )
                })?
            }
        };
        set_main.call::<()>(main)?;
        Ok(())
    }

    fn load(&self, text: &[u8], chunk: &str, env: &Table) -> Result<Function> {
        self.lua
            .load(text)
            .set_name(format!("={chunk}"))
            .set_mode(ChunkMode::Text)
            .set_environment(env.clone())
            .into_function()
    }

    /// Runs the script on an event. What it did to the fields of the event stays also when it
    /// failed.
    pub(super) fn run<'b>(
        &mut self,
        event: &mut Event<'b>,
        context: &mut Context<'_, 'b>,
    ) -> std::result::Result<(), Failure> {
        self.meter.start();
        let mut host = Host::new(event, context, self.escape_style, &mut self.paths);
        let (lua, shared) = (&self.lua, &self.shared);
        let result = lua.scope(|scope| {
            let ask = scope.create_function_mut(
                |lua, (question, first, second): (u8, LuaValue, LuaValue)| {
                    host.answer(shared.converter(lua), question, &first, &second)
                },
            )?;
            self.enter.call::<()>(ask)
        });
        let (is_cancelled, emitted) = (host.is_cancelled, host.emitted);
        match result {
            // A script that caught everything has not come to its end all the same.
            Ok(()) if self.meter.hit().is_none() => {
                if is_cancelled {
                    event.cancel();
                }
                context.emitted.extend(emitted);
                Ok(())
            }
            Ok(()) => Err(failure_of(&Error::runtime(""), &self.chunk, &self.meter)),
            Err(error) => Err(failure_of(&error, &self.chunk, &self.meter)),
        }
    }

    /// Bytes that the machine takes.
    #[cfg(test)]
    pub(super) fn used_memory(&self) -> usize {
        self.lua.used_memory()
    }
}

/// A machine without a script: Lua's harmless parts, the prelude, and the limits.
fn sandbox(meter: &Rc<Meter>, limits: Limits) -> Result<(Lua, Shared, [LuaValue; 4])> {
    let libraries = StdLib::MATH | StdLib::TABLE | StdLib::STRING | StdLib::UTF8;
    let lua = Lua::new_with(libraries, LuaOptions::new())?;
    lua.set_memory_limit(limits.memory)?;
    let shared = Shared::new(Rc::clone(meter), lua.create_table()?);
    let library = library(&lua, &shared)?;
    let prelude = lua
        .load(include_str!("prelude.lua"))
        .set_name("=prelude")
        .into_function()?;
    let parts: (LuaValue, LuaValue, LuaValue, LuaValue) =
        prelude.call((LuaValue::Nil, library, shared.array.clone()))?;
    lua.load(include_str!("ruby.lua"))
        .set_name("=ruby")
        .call::<()>(parts.0.clone())?;
    let with = Rc::clone(meter);
    let triggers = HookTriggers::new().every_nth_instruction(LOOK_EVERY);
    lua.set_hook(triggers, move |_, debug| {
        with.look(|| {
            let chunk = debug.source().short_src.map(std::borrow::Cow::into_owned);
            (chunk, debug.current_line())
        })?;
        Ok(VmState::Continue)
    })?;
    Ok((lua, shared, [parts.0, parts.1, parts.2, parts.3]))
}

fn failure_of(error: &Error, chunk: &str, meter: &Meter) -> Failure {
    let limit = match meter.hit() {
        None if is_memory(error) => Some(Limit::Memory),
        hit => hit,
    };
    let message = match limit {
        Some(limit) => meter.describe(limit),
        None => message_of(error),
    };
    let line = line_of(error, chunk).or(meter.line());
    // Lua's own messages begin with the place.
    let message = match line {
        Some(line) => match message.strip_prefix(&format!("{chunk}:{line}: ")) {
            Some(message) => message.to_owned(),
            None => message,
        },
        None => message,
    };
    Failure {
        chunk: chunk.to_owned(),
        line,
        message,
        limit,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_machine_is_small() {
        let source = Source {
            text: b"event:tag('x')"[..].into(),
            kind: SourceKind::Code { init: None },
            parameters: OwnedValue::Object(Vec::new()),
            limits: Limits {
                instructions: 1000,
                memory: 1 << 20,
                timeout: Duration::from_secs(1),
            },
            escape_style: EscapeStyle::None,
        };
        let vm = Vm::new(&source)
            .map_err(|failure| failure.to_string())
            .unwrap();
        let used = vm.used_memory();
        // What docs/decisions/0007 says, with some room.
        assert!((20_000..250_000).contains(&used), "{used} bytes");
    }
}
