//! `format`: configurations in one form.
//!
//! Files are written anew only if they change, by way of a file beside them, so that a crash leaves
//! the old one or the new one. Exit codes: 0 all is (now) in form, 1 `--check` and some file is not,
//! or a file cannot be read or written, 78 a file does not follow the grammar.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use skidder_pipeline::language::format::{FormatError, format};
use skidder_pipeline::language::{ParseOptions, SourceMap};

use crate::cli::{self, FormatArguments};
use crate::settings::Settings;
use crate::sources::{self, MAX_FILE_BYTES};
use crate::{log, manual, selection};

/// Runs the command; the exit code.
pub fn run(arguments: &FormatArguments) -> u8 {
    let mut command = Command {
        settings: &arguments.settings,
        check: arguments.check,
        code: cli::EXIT_OK,
    };
    if arguments.paths.is_empty() {
        command.standard_input();
    }
    for path in &arguments.paths {
        match files(path) {
            Ok(files) => files.iter().for_each(|file| command.file(file)),
            Err(error) => command.fail(&format!("cannot read {}: {error}", path.display())),
        }
    }
    command.code
}

struct Command<'a> {
    settings: &'a Settings,
    check: bool,
    code: u8,
}

impl Command<'_> {
    fn standard_input(&mut self) {
        let mut text = String::new();
        let input = std::io::stdin().lock();
        if let Err(error) = input.take(MAX_FILE_BYTES).read_to_string(&mut text) {
            self.fail(&format!("cannot read stdin: {error}"));
            return;
        }
        let Some(formatted) = self.formatted("stdin", &text, self.settings) else {
            return;
        };
        if self.check {
            self.changes("stdin", formatted != text);
        } else if let Err(error) = std::io::stdout().write_all(formatted.as_bytes()) {
            self.fail(&format!("cannot write: {error}"));
        }
    }

    fn file(&mut self, path: &Path) {
        let text = match sources::read(path) {
            Ok(text) => text,
            Err(error) => return self.fail(&error),
        };
        let name = path.display().to_string();
        let settings = selection::of_file(self.settings, path);
        let settings = settings.as_ref().unwrap_or(self.settings);
        let Some(formatted) = self.formatted(&name, &text, settings) else {
            return;
        };
        let differs = formatted != text;
        if self.check || !differs {
            self.changes(&name, differs);
        } else if let Err(error) = replace(path, &formatted) {
            self.fail(&format!("cannot write {name}: {error}"));
        }
    }

    /// The text in form; what is wrong with it is printed.
    fn formatted(&mut self, name: &str, text: &str, settings: &Settings) -> Option<String> {
        let options = ParseOptions {
            support_escapes: settings.support_escapes,
            escape_style: settings.escape_style,
        };
        match format(name, text, options) {
            Ok(formatted) => Some(formatted),
            Err(FormatError::Grammar(mut diagnostics)) => {
                manual::link_findings(
                    &mut diagnostics,
                    &skidder_pipeline::language::Config::default(),
                );
                let sources = SourceMap::single(name, text);
                log::say(&diagnostics.render(&sources, log::color()));
                self.code = cli::EXIT_CONFIG;
                None
            }
            Err(error) => {
                self.fail(&format!("{name}: {error}"));
                None
            }
        }
    }

    /// With `--check`: says that a file is not in form.
    fn changes(&mut self, name: &str, differs: bool) {
        if !differs {
            return;
        }
        self.code = self.code.max(cli::EXIT_FAILED);
        if writeln!(std::io::stdout(), "{name}").is_err() {
            self.code = cli::EXIT_FAILED;
        }
    }

    fn fail(&mut self, error: &dyn std::fmt::Display) {
        log::complain(error);
        self.code = self.code.max(cli::EXIT_FAILED);
    }
}

/// A file itself, or the `*.conf` files of a directory in name order.
fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_file()
            && path
                .extension()
                .is_some_and(|extension| extension == "conf")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Puts a text in place of a file's, with the permissions of the old one.
pub(crate) fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    // What a link leads to is written, not the link.
    let path = std::fs::canonicalize(path)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let written = (|| {
        let mut file = std::fs::File::create_new(&beside)?;
        file.set_permissions(std::fs::metadata(&path)?.permissions())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, &path)
    })();
    if let Err(error) = &written
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        drop(std::fs::remove_file(&beside));
    }
    written
}
