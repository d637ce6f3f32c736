//! What inputs and outputs share when they are built from their options.

use std::sync::Arc;

use skidder_pipeline::codec::{Codec, CodecDefaults, build_codec_with};
use skidder_pipeline::language::{Options, Plugin, Spanned};

use crate::commands::Disk;
use crate::settings::Settings;

/// The option `codec`, or the codec called `default`; as it is written and as it works.
///
/// COMPAT: where records come in lines, `json` means `json_lines`, as in Logstash.
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
    if default == "line" && plugin.name.value == "json" {
        plugin.name.value = "json_lines".into();
    }
    let defaults = CodecDefaults {
        ecs,
        escape_style: settings.escape_style,
    };
    let codec = build_codec_with(&plugin, defaults, &Disk, options.diagnostics())?;
    Some((plugin, codec))
}
