//! Which pipelines a command is about: the one that `-f` or `-e` (or `logstash.yml`) names, or those of `pipelines.yml`.

use std::path::Path;

use skidder_pipeline::language::Config;

use crate::settings::{PIPELINES_FILE, Pipelines, Settings, SettingsError};
use crate::sources::SourceError;
use crate::{log, manual, sources};

/// The pipelines of a command.
#[derive(Debug)]
pub(crate) enum Selection {
    /// The one that the settings name.
    One(Box<Settings>),
    /// Those of `pipelines.yml`, with what was found in it.
    File(Pipelines),
}

/// Why there is no pipeline.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SelectionError {
    /// None is named anywhere.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The file cannot be read.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A command that is about one pipeline, and there are several.
    #[error("{PIPELINES_FILE} has several pipelines, choose one with --pipeline.id: {0}")]
    Several(String),
    /// There is no pipeline of that name.
    #[error("{PIPELINES_FILE} has no pipeline `{id}`, it has {known}")]
    NoSuch {
        /// As it was given.
        id: String,
        /// Those that there are.
        known: String,
    },
}

/// All pipelines. COMPAT: `pipelines.yml` does not count when a configuration is named in another way.
pub(crate) fn all(settings: &Settings) -> Result<Selection, SelectionError> {
    if settings.has_configuration() {
        return Ok(Selection::One(Box::new(settings.clone())));
    }
    match settings.read_pipelines()? {
        Some(mut pipelines) => {
            manual::link_findings(&mut pipelines.findings, &Config::default());
            share_memory(settings, &mut pipelines.settings);
            Ok(Selection::File(pipelines))
        }
        None => Err(SourceError::None(settings.pipelines_file()).into()),
    }
}

/// Says that `pipelines.yml` is there and does not count.
pub(crate) fn say_ignored(settings: &Settings) {
    let path = settings.pipelines_file();
    if settings.has_configuration() && path.is_file() {
        tracing::warn!(
            path = %path.display(),
            "ignoring {PIPELINES_FILE}: -f, -e or logstash.yml name a pipeline"
        );
    }
}

/// The pipelines of `pipelines.yml`, or the one that the settings name, for commands that look at what pipelines leave on the disk; only the
/// chosen one, if one is.
pub(crate) fn on_disk(settings: &Settings) -> Result<Vec<Settings>, SelectionError> {
    if settings.has_configuration() || settings.chosen.is_some() {
        let chosen = settings.chosen.as_ref();
        // What the file says of it, such as `path.queue`, counts.
        let read = settings.read_pipelines()?.unwrap_or_default();
        let named = |pipeline: &Settings| Some(&pipeline.pipeline_id) == chosen;
        let named = read.settings.into_iter().find(named);
        return Ok(vec![named.unwrap_or_else(|| settings.clone())]);
    }
    match settings.read_pipelines()? {
        Some(pipelines) if !pipelines.settings.is_empty() => Ok(pipelines.settings),
        _ => Ok(vec![settings.clone()]),
    }
}

/// The settings of the pipeline of `pipelines.yml` that a file belongs to, so that the file is read as that pipeline reads it.
pub(crate) fn of_file(settings: &Settings, file: &Path) -> Option<Settings> {
    let file = std::path::absolute(file).ok()?;
    let pipelines = settings.read_pipelines().ok()??;
    let takes = |pipeline: &Settings| {
        let pattern = pipeline.path_config.as_deref();
        pattern.is_some_and(|pattern| sources::takes(pattern, &file))
    };
    pipelines.settings.into_iter().find(takes)
}

/// The one pipeline that a command is about; nothing, after a word about it, if that is not clear.
pub(crate) fn one(settings: &Settings) -> Option<Settings> {
    match try_one(settings) {
        Ok(Ok(settings)) => Some(settings),
        Ok(Err(pipelines)) => {
            log::say(&pipelines.findings.render(&pipelines.sources, log::color()));
            None
        }
        Err(error) => {
            log::complain(&error);
            None
        }
    }
}

fn try_one(settings: &Settings) -> Result<Result<Settings, Pipelines>, SelectionError> {
    let pipelines = match all(settings)? {
        Selection::One(settings) => return Ok(Ok(*settings)),
        Selection::File(pipelines) => pipelines,
    };
    if pipelines.findings.has_errors() {
        return Ok(Err(pipelines));
    }
    let ids = || {
        let ids = pipelines.settings.iter();
        let ids: Vec<_> = ids.map(|each| each.pipeline_id.as_str()).collect();
        ids.join(", ")
    };
    match (&settings.chosen, pipelines.settings.as_slice()) {
        (None, [only]) => Ok(Ok(only.clone())),
        (None, _) => Err(SelectionError::Several(ids())),
        (Some(id), each) => match each.iter().find(|each| each.pipeline_id == *id) {
            Some(chosen) => Ok(Ok(chosen.clone())),
            None => Err(SelectionError::NoSuch {
                id: id.clone(),
                known: ids(),
            }),
        },
    }
}

/// What disk queues keep in memory is a part of the memory of the process.
fn share_memory(settings: &Settings, pipelines: &mut [Settings]) {
    let persisted = |pipeline: &&mut Settings| pipeline.queue.persisted;
    let count = pipelines.iter_mut().filter(persisted).count().max(1);
    for pipeline in pipelines {
        pipeline.queue_max_memory = settings.queue_max_memory / count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_settings_of_its_pipeline() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let at = root.display();
        let text = format!(
            "- pipeline.id: one\n  path.config: {at}/one\n- pipeline.id: two\n  path.config: \"{at}/*/x?.conf\"\n\
             - pipeline.id: three\n  path.config: {at}/three.conf\n- pipeline.id: four\n  config.string: x\n"
        );
        std::fs::write(root.join(PIPELINES_FILE), text).unwrap();
        let settings = Settings {
            path_settings: root.into(),
            ..Settings::default()
        };
        for (file, pipeline) in [
            ("one/a.conf", Some("one")),
            ("one/deeper/a.conf", None),
            ("two/xa.conf", Some("two")),
            ("two/a.conf", None),
            ("three.conf", Some("three")),
            ("four.conf", None),
        ] {
            let found = of_file(&settings, &root.join(file));
            let found = found.as_ref().map(|found| found.pipeline_id.as_str());
            assert_eq!(found, pipeline, "{file}");
        }
    }
}
