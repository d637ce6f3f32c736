//! The kinds of findings, by stable names that programs can rely on.
//!
//! A name never changes its meaning once it is released; new kinds get new names. The page of the
//! manual that belongs to a kind is known where the manual is (in the aggregator).

/// What kind of finding it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The text does not follow the grammar.
    Syntax,
    /// A value is not written as a value is.
    ValueSyntax,
    /// A condition is not written as a condition is.
    ConditionSyntax,
    /// A value follows the grammar but means something unexpected.
    Value,
    /// A condition follows the grammar but cannot be evaluated, or means something unexpected.
    Condition,
    /// `${…}` that cannot be replaced, or stands where it is not.
    Variable,
    /// There is no such plugin.
    UnknownPlugin,
    /// The plugin has no such option.
    UnknownOption,
    /// An option that the plugin needs is not there.
    MissingOption,
    /// The value of an option is of the wrong kind or out of bounds.
    OptionValue,
    /// An option that works and has a better form.
    DeprecatedOption,
    /// An option of Logstash that is refused here.
    UnsupportedOption,
    /// An option that does nothing here.
    OptionWithoutEffect,
    /// Anything else that a plugin says about its options.
    Plugin,
    /// A text that should be a reference to a field is none.
    FieldReference,
    /// A grok expression or pattern is wrong.
    Pattern,
    /// A grok expression needs the bounded fallback.
    FallbackPattern,
    /// A condition that holds for no event.
    NeverHolds,
    /// A condition that holds for every event.
    AlwaysHolds,
    /// A branch that nothing reaches, because an earlier one takes all of it.
    UnreachableBranch,
    /// A field is read that nothing sets.
    UnsetField,
    /// The configuration as a whole cannot run.
    Pipeline,
    /// The configuration cannot be read at all.
    Source,
    /// A setting of `pipelines.yml` is wrong.
    Setting,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::Syntax,
        Self::ValueSyntax,
        Self::ConditionSyntax,
        Self::Value,
        Self::Condition,
        Self::Variable,
        Self::UnknownPlugin,
        Self::UnknownOption,
        Self::MissingOption,
        Self::OptionValue,
        Self::DeprecatedOption,
        Self::UnsupportedOption,
        Self::OptionWithoutEffect,
        Self::Plugin,
        Self::FieldReference,
        Self::Pattern,
        Self::FallbackPattern,
        Self::NeverHolds,
        Self::AlwaysHolds,
        Self::UnreachableBranch,
        Self::UnsetField,
        Self::Pipeline,
        Self::Source,
        Self::Setting,
    ];

    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::ValueSyntax => "value-syntax",
            Self::ConditionSyntax => "condition-syntax",
            Self::Value => "value",
            Self::Condition => "condition",
            Self::Variable => "variable",
            Self::UnknownPlugin => "unknown-plugin",
            Self::UnknownOption => "unknown-option",
            Self::MissingOption => "missing-option",
            Self::OptionValue => "option-value",
            Self::DeprecatedOption => "deprecated-option",
            Self::UnsupportedOption => "unsupported-option",
            Self::OptionWithoutEffect => "option-without-effect",
            Self::Plugin => "plugin",
            Self::FieldReference => "field-reference",
            Self::Pattern => "pattern",
            Self::FallbackPattern => "fallback-pattern",
            Self::NeverHolds => "never-holds",
            Self::AlwaysHolds => "always-holds",
            Self::UnreachableBranch => "unreachable-branch",
            Self::UnsetField => "unset-field",
            Self::Pipeline => "pipeline",
            Self::Source => "source",
            Self::Setting => "setting",
        }
    }
}
