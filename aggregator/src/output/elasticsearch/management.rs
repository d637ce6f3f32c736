//! What the output sets up on the servers before it sends the first event, as the options say:
//! index templates, and indices that roll over under an alias.
//!
//! Here are the options and the documents that are sent; [`super::setup`] sends them. Which interface a
//! server has (composable or legacy templates; ILM or ISM) is found out by asking for what it has, not
//! by its version.

use std::path::Path;

use serde_json::{Map, Value, json};
use skidder_pipeline::language::Options;

/// What is to be there on the servers.
#[derive(Clone, Debug, PartialEq)]
pub struct Management {
    /// The index template.
    pub template: Option<TemplatePlan>,
    /// The alias whose indices roll over.
    pub rollover: Option<Rollover>,
}

/// An index template.
#[derive(Clone, Debug, PartialEq)]
pub struct TemplatePlan {
    /// Its name.
    pub name: String,
    /// The indices that it is for, unless a file says so.
    pub patterns: Vec<String>,
    /// What it says.
    pub content: Content,
    /// Put it in the place of one that is there.
    pub overwrite: bool,
    /// The interface.
    pub api: TemplateApi,
}

/// Where a template comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Ours, for classic or ECS names.
    Own {
        /// For the names of the Elastic Common Schema.
        ecs: bool,
    },
    /// The operator's.
    File(Map<String, Value>),
    /// One that makes data streams, in case the servers have none for this name.
    DataStream {
        /// The stream that has to be possible.
        stream: String,
        /// For the names of the Elastic Common Schema.
        ecs: bool,
    },
}

/// `template_api`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateApi {
    /// Composable where the server has them.
    Auto,
    /// `_template`
    Legacy,
    /// `_index_template`
    Composable,
}

/// Indices that roll over.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollover {
    /// The alias that is written to.
    pub alias: String,
    /// What the first index is called behind the alias and a hyphen; may have date math.
    pub pattern: String,
    /// The policy.
    pub policy: String,
    /// Make the policy if it is not there: ours, not one that the operator has named.
    pub makes_policy: bool,
}

impl Management {
    /// Reads the options. `rolls_to` is where the event's index comes from, if nobody else says.
    pub fn from_options(
        options: &mut Options<'_>,
        ecs: bool,
        data_stream: Option<String>,
    ) -> Option<Self> {
        let default = if ecs { "ecs-logstash" } else { "logstash" };
        let custom_index = options
            .string("index")
            .is_some_and(|index| !index.is_empty());
        let rollover = rollover(options, default);
        let manages = options.boolean("manage_template");
        let name = options.string("template_name");
        let file = options.spanned_string("template").and_then(|path| {
            let read = read_template(Path::new(&path.value));
            read.map_err(|error| options.diagnostics().error(path.span, error))
                .ok()
        });
        let overwrite = options.boolean("template_overwrite").unwrap_or(false);
        let apis = [
            ("auto", TemplateApi::Auto),
            ("legacy", TemplateApi::Legacy),
            ("composable", TemplateApi::Composable),
        ];
        let api = options.enumeration("template_api", &apis);
        // COMPAT: the name that OpenSearch's output of Logstash has for it.
        let legacy = options.boolean("legacy_template") == Some(true);
        let api = api.unwrap_or(if legacy {
            TemplateApi::Legacy
        } else {
            TemplateApi::Auto
        });
        // Ours is for the indices of the default name: where the events do not go there it is of no use.
        let wanted =
            file.is_some() || name.is_some() || rollover.is_some() || manages == Some(true);
        let manages = manages.unwrap_or(true) && (wanted || !custom_index);
        let template = match (data_stream, manages) {
            (_, false) => None,
            (Some(stream), true) => Some(TemplatePlan {
                name: format!("skidder-{}", stream.split('-').next().unwrap_or("logs")),
                patterns: vec![format!(
                    "{}-*-*",
                    stream.split('-').next().unwrap_or("logs")
                )],
                content: Content::DataStream { stream, ecs },
                overwrite: false,
                api: TemplateApi::Composable,
            }),
            (None, true) => {
                let own = Content::Own { ecs };
                let prefix = rollover
                    .as_ref()
                    .map_or(default, |rollover| rollover.alias.as_str());
                Some(TemplatePlan {
                    name: name.unwrap_or_else(|| prefix.to_owned()),
                    patterns: vec![format!("{prefix}-*")],
                    content: file.map_or(own, Content::File),
                    overwrite,
                    api,
                })
            }
        };
        (template.is_some() || rollover.is_some()).then_some(Self { template, rollover })
    }
}

fn rollover(options: &mut Options<'_>, default: &str) -> Option<Rollover> {
    let enabled = match options.string("ilm_enabled").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some("auto") => {
            options.warning(
                "ilm_enabled",
                "`auto` is taken for `false`: an index that depends on the event alone is what keeps a line \
                 that is sent again from being stored twice. Write `true` for indices that roll over",
            );
            false
        }
        Some(_) => {
            options.error(
                "ilm_enabled",
                "`ilm_enabled` must be `true`, `false` or `auto`",
            );
            false
        }
    };
    let alias = options.string("ilm_rollover_alias");
    let pattern = options.string("ilm_pattern");
    let policy = options.string("ilm_policy");
    if !enabled {
        for (name, given) in [
            ("ilm_rollover_alias", alias.is_some()),
            ("ilm_pattern", pattern.is_some()),
            ("ilm_policy", policy.is_some()),
        ] {
            if given {
                options.warning(
                    name,
                    format!("`{name}` has no effect without `ilm_enabled => true`"),
                );
            }
        }
        return None;
    }
    let alias = alias.unwrap_or_else(|| default.to_owned());
    if alias.contains("%{") {
        options.error(
            "ilm_rollover_alias",
            "`ilm_rollover_alias` is one alias: it cannot depend on the event",
        );
    }
    if options.has("index") {
        options.warning(
            "index",
            format!("with `ilm_enabled => true` events go to the alias `{alias}`, not to `index`"),
        );
    }
    Some(Rollover {
        alias,
        pattern: pattern.unwrap_or_else(|| "{now/d}-000001".to_owned()),
        makes_policy: policy.is_none(),
        policy: policy.unwrap_or_else(|| DEFAULT_POLICY.to_owned()),
    })
}

/// COMPAT: Logstash's name of it.
const DEFAULT_POLICY: &str = "logstash-policy";

fn read_template(path: &Path) -> Result<Map<String, Value>, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read the template `{}`: {error}", path.display()))?;
    match serde_json::from_str(&text) {
        Ok(Value::Object(template)) => Ok(template),
        Ok(_) => Err(format!(
            "the template `{}` is not a JSON object",
            path.display()
        )),
        Err(error) => Err(format!(
            "the template `{}` is not JSON: {error}",
            path.display()
        )),
    }
}

/// How a server keeps templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TemplateForm {
    /// `_index_template`
    Composable,
    /// `_template` without types.
    Legacy,
    /// `_template` of servers that have types.
    Typed,
}

impl TemplateForm {
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Composable => "_index_template",
            Self::Legacy | Self::Typed => "_template",
        }
    }
}

/// How a server rolls indices over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifecycle {
    /// Elasticsearch's.
    Ilm,
    /// `OpenSearch`'s, below this path.
    Ism(&'static str),
}

impl TemplatePlan {
    /// The form that the plan asks for, if it does.
    pub(super) fn form(&self) -> Option<TemplateForm> {
        match (self.api, &self.content) {
            (TemplateApi::Composable, _) => Some(TemplateForm::Composable),
            (TemplateApi::Legacy, _) => Some(TemplateForm::Legacy),
            // What a file says is of one form or the other, and is sent as it is.
            (TemplateApi::Auto, Content::File(file)) => Some(
                if file.get("template").is_some_and(|inner| !inner.is_string()) {
                    TemplateForm::Composable
                } else {
                    TemplateForm::Legacy
                },
            ),
            (TemplateApi::Auto, _) => None,
        }
    }

    /// What is sent.
    pub(super) fn body(
        &self,
        form: TemplateForm,
        rollover: Option<(&Rollover, Lifecycle)>,
    ) -> Value {
        let mut settings = Map::new();
        if let Some((rollover, lifecycle)) = rollover {
            match lifecycle {
                Lifecycle::Ilm => {
                    settings.insert("index.lifecycle.name".into(), json!(rollover.policy));
                    settings.insert(
                        "index.lifecycle.rollover_alias".into(),
                        json!(rollover.alias),
                    );
                }
                Lifecycle::Ism(path) => {
                    let prefix = if path.contains("opendistro") {
                        "opendistro"
                    } else {
                        "plugins"
                    };
                    let name = format!("{prefix}.index_state_management.rollover_alias");
                    settings.insert(name, json!(rollover.alias));
                }
            }
        }
        let mut body = match &self.content {
            Content::File(file) => file.clone(),
            Content::Own { ecs } => self.own(form, parsed(if *ecs { ECS } else { CLASSIC })),
            Content::DataStream { ecs, .. } => {
                let mut body = self.own(form, parsed(if *ecs { ECS } else { CLASSIC }));
                body.insert("data_stream".into(), json!({}));
                body
            }
        };
        if rollover.is_some() {
            // COMPAT: the indices of the alias are what the template is for, whatever a file says.
            body.insert("index_patterns".into(), json!(self.patterns));
            let holder = match form {
                TemplateForm::Composable => body
                    .entry("template")
                    .or_insert_with(|| json!({}))
                    .as_object_mut(),
                TemplateForm::Legacy | TemplateForm::Typed => Some(&mut body),
            };
            if let Some(known) = holder.and_then(|holder| {
                holder
                    .entry("settings")
                    .or_insert_with(|| json!({}))
                    .as_object_mut()
            }) {
                known.extend(settings);
            }
        }
        Value::Object(body)
    }

    fn own(&self, form: TemplateForm, mut content: Map<String, Value>) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("index_patterns".into(), json!(self.patterns));
        body.insert("version".into(), json!(OWN_VERSION));
        match form {
            TemplateForm::Composable => {
                body.insert("priority".into(), json!(OWN_PRIORITY));
                body.insert("_meta".into(), json!({ "description": "made by skidder" }));
                body.insert("template".into(), Value::Object(content));
            }
            TemplateForm::Legacy => {
                body.insert("order".into(), json!(0));
                body.extend(content);
            }
            TemplateForm::Typed => {
                body.insert("order".into(), json!(0));
                let mappings = content.remove("mappings").unwrap_or_default();
                content.insert("mappings".into(), json!({ "_doc": mappings }));
                body.extend(content);
            }
        }
        body
    }
}

impl Rollover {
    /// The policy, if it has to be made: as Logstash's, a new index at 50 GB or after 30 days.
    pub(super) fn policy_body(&self, lifecycle: Lifecycle) -> Value {
        match lifecycle {
            Lifecycle::Ilm => json!({ "policy": { "phases": { "hot": { "actions": {
                "rollover": { "max_size": "50gb", "max_age": "30d" } } } } } }),
            Lifecycle::Ism(_) => json!({ "policy": {
                "description": "rolls the indices of skidder over",
                "default_state": "hot",
                "states": [{ "name": "hot", "transitions": [],
                    "actions": [{ "rollover": { "min_size": "50gb", "min_index_age": "30d" } }] }],
                "ism_template": [{ "index_patterns": [format!("{}-*", self.alias)], "priority": 100 }] } }),
        }
    }

    /// The first index, for the path of a request.
    pub(super) fn first_index(&self) -> String {
        let name = format!("<{}-{}>", self.alias, self.pattern);
        percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC).to_string()
    }

    /// What the first index is made with.
    pub(super) fn first_index_body(&self) -> Value {
        json!({ "aliases": { self.alias.as_str(): { "is_write_index": true } } })
    }
}

fn parsed(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).expect("the templates that come with the program are JSON objects")
}

const CLASSIC: &str = include_str!("templates/classic.json");
const ECS: &str = include_str!("templates/ecs.json");
/// Raised when one of the two changes.
const OWN_VERSION: u64 = 2;
/// Above what has no priority, below what operators usually give.
const OWN_PRIORITY: u64 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(content: Content) -> TemplatePlan {
        TemplatePlan {
            name: "logstash".to_owned(),
            patterns: vec!["logstash-*".to_owned()],
            content,
            overwrite: false,
            api: TemplateApi::Auto,
        }
    }

    fn rolls() -> Rollover {
        Rollover {
            alias: "web".to_owned(),
            pattern: "{now/d}-000001".to_owned(),
            policy: "p".to_owned(),
            makes_policy: true,
        }
    }

    #[test]
    fn own_templates_in_each_form() {
        for ecs in [false, true] {
            let plan = plan(Content::Own { ecs });
            let composable = plan.body(TemplateForm::Composable, None);
            assert_eq!(composable["index_patterns"], json!(["logstash-*"]));
            let mappings = &composable["template"]["mappings"];
            assert_eq!(mappings["properties"]["@timestamp"]["type"], "date");
            assert_eq!(&plan.body(TemplateForm::Legacy, None)["mappings"], mappings);
            assert_eq!(
                &plan.body(TemplateForm::Typed, None)["mappings"]["_doc"],
                mappings
            );
        }
    }

    #[test]
    fn a_roll_over_is_in_the_settings_and_takes_the_patterns() {
        let file = json!({ "index_patterns": ["x"], "settings": { "a": 1 } });
        let file = plan(Content::File(file.as_object().unwrap().clone()));
        assert_eq!(file.form(), Some(TemplateForm::Legacy));
        let body = file.body(TemplateForm::Legacy, Some((&rolls(), Lifecycle::Ilm)));
        assert_eq!(
            body,
            json!({ "index_patterns": ["logstash-*"], "settings": { "a": 1,
                "index.lifecycle.name": "p", "index.lifecycle.rollover_alias": "web" } })
        );
        let own = plan(Content::Own { ecs: true });
        let body = own.body(
            TemplateForm::Composable,
            Some((&rolls(), Lifecycle::Ism("_plugins/_ism"))),
        );
        let settings = &body["template"]["settings"];
        assert_eq!(
            settings["plugins.index_state_management.rollover_alias"],
            "web"
        );
        let composable = json!({ "template": { "settings": {} } });
        let composable = plan(Content::File(composable.as_object().unwrap().clone()));
        assert_eq!(composable.form(), Some(TemplateForm::Composable));
        assert_eq!(rolls().first_index(), "%3Cweb%2D%7Bnow%2Fd%7D%2D000001%3E");
    }
}
