//! Settings from YAML, with the place of everything that is wrong with them: what `logstash.yml` and the entries of `pipelines.yml` have
//! in common.

use skidder_pipeline::language::{Code, Diagnostic, Diagnostics, Span, Spanned};

use super::tree::{Node, NodeKind};
use super::{Settings, SettingsError, TABLE};

/// The settings that belong to the process, and cannot be set for a pipeline.
const OF_THE_PROCESS: &[&str] = &[
    "allow_superuser",
    "api.enabled",
    "api.environment",
    "api.http.host",
    "api.http.port",
    "config.test_and_exit",
    "drain.delay",
    "health.queue_mark",
    "http.host",
    "http.port",
    "log.format",
    "log.level",
    "node.name",
    "path.data",
    "path.logs",
    "path.plugins",
    "path.settings",
    "pipeline.separate_logs",
    "pipeline.shutdown_timeout",
    "pipeline.unsafe_shutdown",
    "queue.max_memory_bytes",
    "telemetry.enabled",
    "xpack.management.enabled",
    "xpack.monitoring.enabled",
];

/// Reads settings, and collects what is wrong.
pub(super) struct Reading {
    pub(super) findings: Diagnostics,
    /// They are of one pipeline of several, so that some belong elsewhere.
    of_pipeline: bool,
}

/// A name with its place, and its value; none if that cannot be one, which has been told.
type Entry<'n> = (Spanned<String>, Option<Spanned<&'n str>>);

impl Reading {
    /// Of settings of the process.
    pub(super) fn of_process() -> Self {
        Self {
            findings: Diagnostics::new(),
            of_pipeline: false,
        }
    }

    /// Of settings of one pipeline of several.
    pub(super) fn of_pipeline() -> Self {
        Self {
            of_pipeline: true,
            ..Self::of_process()
        }
    }

    pub(super) fn error(&mut self, span: Span, message: impl Into<String>, hint: &str) {
        let finding = Diagnostic::error(span, message).code(Code::Setting);
        let hint = Some(hint.to_owned()).filter(|hint| !hint.is_empty());
        self.findings.push(finding.maybe_hint(hint));
    }

    /// Takes over what a mapping says; gives the names that it has, with the places of their values.
    pub(super) fn apply(
        &mut self,
        settings: &mut Settings,
        entries: &[(Spanned<String>, Node)],
    ) -> Vec<(String, Span)> {
        let mut flat: Vec<Entry<'_>> = Vec::new();
        self.flatten("", entries, &mut flat);
        let mut seen: Vec<&Spanned<String>> = Vec::new();
        for (name, value) in &flat {
            let Some(value) = value else { continue };
            if let Some(first) = seen.iter().find(|seen| seen.value == name.value) {
                let message = format!("`{}` is set twice", name.value);
                let finding = Diagnostic::error(name.span, message)
                    .code(Code::Setting)
                    .related(first.span, "the first time");
                self.findings.push(finding);
                continue;
            }
            seen.push(name);
            self.set(settings, name, value);
        }
        let place = |(name, value): Entry<'_>| {
            let span = value.map_or(name.span, |value| value.span);
            (name.value, span)
        };
        flat.into_iter().map(place).collect()
    }

    /// Joins nested names by dots. What cannot be a value has been told, and is none.
    fn flatten<'n>(
        &mut self,
        before: &str,
        entries: &'n [(Spanned<String>, Node)],
        flat: &mut Vec<Entry<'n>>,
    ) {
        for (key, node) in entries {
            let name = if before.is_empty() {
                key.value.clone()
            } else {
                format!("{before}.{}", key.value)
            };
            match &node.kind {
                NodeKind::Mapping(entries) => self.flatten(&name, entries, flat),
                NodeKind::Scalar(text) => flat.push((
                    Spanned::new(name, key.span),
                    Some(Spanned::new(text.as_str(), node.span)),
                )),
                // COMPAT: a setting without a value is one that is not set.
                NodeKind::Null => {}
                NodeKind::List(_) => {
                    let message = format!("`{name}` takes one value, and this is a list");
                    let hint = if name == "path.config" {
                        "several files are a directory or a glob: `/etc/conf.d/{web,db}*.conf`"
                    } else {
                        "write the value alone"
                    };
                    self.error(node.span, message, hint);
                    flat.push((Spanned::new(name, key.span), None));
                }
            }
        }
    }

    fn set(&mut self, settings: &mut Settings, name: &Spanned<String>, value: &Spanned<&str>) {
        if self.of_pipeline && OF_THE_PROCESS.contains(&name.value.as_str()) {
            let message = format!("`{}` is a setting of the whole process", name.value);
            self.error(name.span, message, "set it in `logstash.yml`, or as a flag");
            return;
        }
        match settings.set(&name.value, value.value) {
            Ok(()) if self.of_pipeline => {
                const LOOKED_AT: &str =
                    "the process looks at all pipelines: set it in logstash.yml or as a flag";
                for reload in ["config.reload.automatic", "config.reload.interval"] {
                    if name.value == reload {
                        settings.without_effect.push((reload, LOOKED_AT));
                    }
                }
            }
            Ok(()) => {}
            Err(SettingsError::Unknown { .. }) => {
                let known = TABLE.iter().map(|setting| setting.name);
                let known =
                    known.filter(|name| !self.of_pipeline || !OF_THE_PROCESS.contains(name));
                let finding =
                    Diagnostic::error(name.span, format!("unknown setting `{}`", name.value))
                        .code(Code::Setting)
                        .did_you_mean(&name.value, known);
                self.findings.push(finding);
            }
            Err(error) => {
                let finding = Diagnostic::error(value.span, error.to_string());
                self.findings.push(finding.code(Code::Setting));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_process_are_settings() {
        for name in OF_THE_PROCESS {
            assert!(TABLE.iter().any(|setting| setting.name == *name), "{name}");
        }
    }
}
