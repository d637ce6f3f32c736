//! `pipelines.yml`: several pipelines in one process.
//!
//! COMPAT: a list of mappings, one for each pipeline, in the directory `path.settings`. Each takes the settings that
//! Logstash allows for one pipeline, nested or with dots; what an entry does not say it has from `logstash.yml` and the flags.
//! The file is only looked at if neither `path.config` nor `config.string` is set.
//!
//! All that is wrong is told at once, with line and column. INVARIANT: pipelines that are given out have
//! different ids, and each has exactly one configuration.

use std::path::{Path, PathBuf};

use skidder_pipeline::language::{Code, Diagnostic, Diagnostics, SourceMap, Span, Spanned};

use super::reading::Reading;
use super::tree::{Node, NodeKind, tree};
use super::{Settings, SettingsError};

/// The name of the file.
pub const PIPELINES_FILE: &str = "pipelines.yml";

/// Most pipelines of one process.
pub const MAX_PIPELINES: usize = 1000;

/// Most bytes of the file: every pipeline could stand in it as text.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// What the file says.
#[derive(Debug, Default)]
pub struct Pipelines {
    /// The settings of each pipeline, in the order of the file; without those that are wrong.
    pub settings: Vec<Settings>,
    /// The text of the file.
    pub sources: SourceMap,
    /// What is wrong with it.
    pub findings: Diagnostics,
}

impl Settings {
    /// Whether the command line or `logstash.yml` name a configuration, so that `pipelines.yml` does not count.
    pub fn has_configuration(&self) -> bool {
        self.config_string.is_some() || self.path_config.is_some()
    }

    /// The path of `pipelines.yml`.
    pub fn pipelines_file(&self) -> PathBuf {
        self.path_settings.join(PIPELINES_FILE)
    }

    /// Reads `pipelines.yml`; nothing if there is none.
    pub fn read_pipelines(&self) -> Result<Option<Pipelines>, SettingsError> {
        let path = self.pipelines_file();
        let failed = |error| SettingsError::Read {
            path: path.clone(),
            error,
        };
        let length = match std::fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if length > MAX_FILE_BYTES {
            let message = format!("the file is larger than {MAX_FILE_BYTES} bytes");
            return Err(failed(std::io::Error::other(message)));
        }
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        Ok(Some(self.pipelines_of(&path, text)))
    }

    fn pipelines_of(&self, path: &Path, text: String) -> Pipelines {
        let mut file = File {
            base: self,
            reading: Reading::of_pipeline(),
        };
        let settings = match tree(&text) {
            Ok(root) => file.pipelines(root.as_ref(), path),
            Err(finding) => {
                file.reading.findings.push(*finding);
                Vec::new()
            }
        };
        let mut findings = file.reading.findings;
        findings.sort();
        Pipelines {
            settings,
            sources: SourceMap::single(path.to_string_lossy(), text),
            findings,
        }
    }
}

struct File<'a> {
    base: &'a Settings,
    reading: Reading,
}

impl File<'_> {
    fn error(&mut self, span: Span, message: impl Into<String>, hint: &str) {
        self.reading.error(span, message, hint);
    }

    fn pipelines(&mut self, root: Option<&Node>, path: &Path) -> Vec<Settings> {
        const FORM: &str =
            "write `- pipeline.id: NAME` and below it `path.config: …` for each pipeline";
        let entries = match root.map(|root| (&root.kind, root.span)) {
            Some((NodeKind::List(entries), _)) if !entries.is_empty() => entries,
            None | Some((NodeKind::Null | NodeKind::List(_), _)) => {
                let message = format!("{} names no pipeline", path.display());
                let finding = Diagnostic::error(None, message).code(Code::Setting);
                self.reading.findings.push(finding.hint(FORM));
                return Vec::new();
            }
            Some((other, span)) => {
                let message = format!(
                    "this should be a list of pipelines, and is {}",
                    other.name()
                );
                self.error(span, message, FORM);
                return Vec::new();
            }
        };
        if entries.len() > MAX_PIPELINES {
            let message = format!("more than {MAX_PIPELINES} pipelines");
            self.error(
                entries[MAX_PIPELINES].span,
                message,
                "use several processes",
            );
            return Vec::new();
        }
        let mut pipelines: Vec<(Settings, Span)> = Vec::new();
        for entry in entries {
            let NodeKind::Mapping(settings) = &entry.kind else {
                let message = format!(
                    "this should be the settings of a pipeline, and is {}",
                    entry.kind.name()
                );
                self.error(entry.span, message, FORM);
                continue;
            };
            let errors = self.reading.findings.error_count();
            let (pipeline, id) = self.pipeline(settings, entry.span);
            let before = pipelines
                .iter()
                .find(|(before, _)| before.pipeline_id == pipeline.pipeline_id);
            if let Some((_, first)) = before {
                let message = format!("a second pipeline is called `{}`", pipeline.pipeline_id);
                let finding = Diagnostic::error(id, message)
                    .code(Code::Setting)
                    .related(*first, "the first one")
                    .hint("give each pipeline a `pipeline.id` of its own");
                self.reading.findings.push(finding);
                continue;
            }
            // The others of that name are still told.
            pipelines.push((pipeline, id));
            if self.reading.findings.error_count() > errors
                && let Some((pipeline, _)) = pipelines.last_mut()
            {
                pipeline.path_config = None;
                pipeline.config_string = None;
            }
        }
        pipelines
            .into_iter()
            .map(|(pipeline, _)| pipeline)
            .filter(Settings::has_configuration)
            .collect()
    }

    /// The settings of one entry, and where its id stands.
    fn pipeline(&mut self, entries: &[(Spanned<String>, Node)], span: Span) -> (Settings, Span) {
        let mut settings = self.base.clone();
        settings.without_effect.clear();
        settings.in_file = true;
        let given = self.reading.apply(&mut settings, entries);
        let place = |wanted: &str| {
            let given = given.iter().find(|(name, _)| name == wanted);
            given.map(|(_, place)| *place)
        };
        let id = place("pipeline.id").unwrap_or(span);
        match (&settings.config_string, &settings.path_config) {
            (Some(_), Some(_)) => self.error(
                id,
                format!("pipeline `{}` has two configurations", settings.pipeline_id),
                "leave out `path.config` or `config.string`",
            ),
            // Something else may be wrong with what names it.
            (None, None) if place("path.config").is_none() && place("config.string").is_none() => {
                self.error(
                    id,
                    format!("pipeline `{}` has no configuration", settings.pipeline_id),
                    "name its files with `path.config`, or write it after `config.string`",
                );
            }
            _ => {}
        }
        if let Some(conflict) = settings.conflict() {
            self.error(id, conflict, "");
        }
        (settings, id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (Vec<Settings>, Vec<String>) {
        let base = Settings {
            batch_size: 7,
            ..Settings::default()
        };
        let pipelines = base.pipelines_of(Path::new("/x/pipelines.yml"), text.to_owned());
        let place = |finding: &Diagnostic| {
            let at = finding
                .span
                .and_then(|span| pipelines.sources.position(span));
            at.map_or_else(String::new, |at| format!("{}:{}: ", at.line, at.column))
        };
        let findings = pipelines
            .findings
            .iter()
            .map(|finding| format!("{}{}", place(finding), finding.message))
            .collect();
        (pipelines.settings, findings)
    }

    #[test]
    fn each_pipeline_has_its_settings_and_those_of_the_process() {
        let (pipelines, findings) = read(
            "# two\n- pipeline.id: web\n  path.config: \"/etc/web/*.conf\"\n  pipeline:\n    workers: 3\n    batch: { size: 50 }\n\
             \x20 queue.type: persisted\n  queue.max_bytes: 2gb\n\
             - pipeline.id: db\n  config.string: |\n    input { stdin { } }\n    output { }\n  pipeline.workers:\n",
        );
        assert_eq!(findings, Vec::<String>::new());
        let [web, db] = pipelines.as_slice() else {
            panic!("{pipelines:?}")
        };
        assert_eq!((web.pipeline_id.as_str(), web.workers), ("web", Some(3)));
        assert_eq!((web.batch_size, db.batch_size), (50, 7));
        assert!(web.queue.persisted && !db.queue.persisted);
        assert_eq!(web.queue.max_bytes, 2 << 30);
        assert_eq!(web.path_config.as_deref(), Some("/etc/web/*.conf"));
        assert_eq!(
            db.config_string.as_deref(),
            Some("input { stdin { } }\noutput { }\n")
        );
        assert_eq!(db.workers, None);
    }

    #[test]
    fn all_that_is_wrong_is_told_with_its_place() {
        let (pipelines, findings) = read(
            "- pipeline.id: web\n  path.confg: x\n\
             - pipeline.id: web\n  path.config: x\n  pipeline:\n    worker: 3\n    workers: many\n\
             - pipeline.id: db\n  path.config: [a, b]\n  log.level: debug\n  queue.drain: true\n  queue: { drain: false }\n\
             - nothing\n\
             - path.config: x\n  config.string: y\n",
        );
        assert!(pipelines.is_empty(), "{pipelines:?}");
        assert_eq!(
            findings,
            [
                "1:16: pipeline `web` has no configuration",
                "2:3: unknown setting `path.confg`",
                "3:16: a second pipeline is called `web`",
                "6:5: unknown setting `pipeline.worker`",
                "7:14: setting `pipeline.workers`: `many` is not a whole number of at least 1",
                "9:16: `path.config` takes one value, and this is a list",
                "10:3: `log.level` is a setting of the whole process",
                "12:12: `queue.drain` is set twice",
                "13:3: this should be the settings of a pipeline, and is one value",
                "14:3: pipeline `main` has two configurations",
            ]
        );
    }

    #[test]
    fn a_file_that_is_no_list_is_refused() {
        for (text, message) in [
            ("", "/x/pipelines.yml names no pipeline"),
            ("# nothing\n", "/x/pipelines.yml names no pipeline"),
            (
                "pipeline.id: a\n",
                "1:1: this should be a list of pipelines, and is a mapping",
            ),
            (
                "- &a pipeline.id\n- *a\n",
                "aliases are not read here: write the value",
            ),
        ] {
            let (pipelines, findings) = read(text);
            assert!(pipelines.is_empty());
            assert!(findings[0].ends_with(message), "{findings:?}");
        }
        let (_, findings) = read("- pipeline.id: a\n  path.config: [x\n- b: c\n");
        assert_eq!(findings.len(), 1, "{findings:?}");
        let (_, findings) = read(&"- ".repeat(40));
        assert!(findings[0].contains("too deep"), "{findings:?}");
    }

    proptest! {
        #[test]
        fn no_text_harms_anybody(text in "([a-z.:]|pipeline\\.id|[- \n\t|>&*{}\\[\\]\"'#~!é🚀]){0,60}") {
            let (pipelines, findings) = read(&text);
            prop_assert!(!pipelines.is_empty() || !findings.is_empty());
        }
    }
}
