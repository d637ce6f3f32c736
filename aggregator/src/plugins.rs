//! What inputs and outputs share when they are built from their options.

use std::sync::Arc;

use skidder_pipeline::codec::{Codec, CodecDefaults, build_codec_with};
use skidder_pipeline::language::{Attribute, Options, Plugin, Spanned, Value};

use crate::commands::Disk;
use crate::settings::Settings;

/// Whether an option is written.
fn is_given(plugin: &Plugin, name: &str) -> bool {
    let mut given = plugin.attributes.iter();
    given.any(|attribute| attribute.name.value == name)
}

/// The option `codec`, or the codec called `default`; as it is written and as it works.
///
/// COMPAT: where records come in lines, `json` means `json_lines`, as in Logstash; and `cef` has a line end
/// as its delimiter, without which Logstash takes what it reads at once for one message.
pub(crate) fn codec(
    options: &mut Options<'_>,
    default: &str,
    ecs: bool,
    settings: &Settings,
) -> Option<(Plugin, Arc<dyn Codec>)> {
    let written = options.codec("codec").map(std::borrow::Cow::into_owned);
    let mut plugin = written.unwrap_or_else(|| Plugin {
        name: Spanned::new(default.into(), options.plugin().name.span),
        attributes: Vec::new(),
        span: options.plugin().name.span,
    });
    if default == "line" {
        match plugin.name.value.as_str() {
            "json" => plugin.name.value = "json_lines".into(),
            "cef" if !is_given(&plugin, "delimiter") => {
                let span = plugin.name.span;
                plugin.attributes.push(Attribute {
                    name: Spanned::new("delimiter".into(), span),
                    value: Spanned::new(Value::String("\n".into()), span),
                });
            }
            _ => {}
        }
    }
    let defaults = CodecDefaults {
        ecs,
        escape_style: settings.escape_style,
    };
    let codec = build_codec_with(&plugin, defaults, &Disk, options.diagnostics())?;
    Some((plugin, codec))
}
