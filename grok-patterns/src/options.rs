//! What a caller may set when compiling: which captures are wanted, and every limit.
//!
//! INVARIANT: nothing in this crate grows with its input without one of these limits above it.

/// How expressions are compiled, and how much they may cost.
///
/// ```
/// use skidder_grok::{CompileOptions, PatternSet};
///
/// let mut options = CompileOptions::default();
/// options.named_captures_only = false;
/// let matcher = PatternSet::legacy().compile("%{IP} %{WORD:verb}", &options)?;
/// assert_eq!(matcher.captures()[0].name, "IP");
/// # Ok::<(), skidder_grok::CompileError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompileOptions {
    /// Only `%{NAME:field}` and `(?<field>…)` capture; when false, a plain `%{NAME}` captures
    /// into a field called `NAME` too. Default: true.
    pub named_captures_only: bool,
    /// How deep named patterns may refer to each other. Default: 64.
    pub max_expansion_depth: usize,
    /// How many bytes of pattern text one expression may expand to. Default: 1 MiB.
    pub max_expanded_bytes: usize,
    /// How deep groups may nest inside one pattern's text. Default: 128.
    pub max_nesting: usize,
    /// How many instructions one expression may compile to. Default: 200,000.
    pub max_instructions: usize,
    /// The largest count in `{n,m}`. Default: 10,000.
    pub max_repetition: u32,
    /// How many bytes of automaton one [`Scratch`](crate::Scratch) may hold; when they are used
    /// up the automaton is dropped and built anew for the lines that follow. Default: 4 MiB.
    pub max_cache_bytes: usize,
    /// How many steps the backtracking fallback may take on one line before it gives up.
    /// Expressions that run as an automaton have no need of it. Each step may take 24 bytes until
    /// the line is done. Default: 2,000,000, which is about 20 ms.
    pub max_steps: u64,
}

impl Default for CompileOptions {
    fn default() -> Self {
        Self {
            named_captures_only: true,
            max_expansion_depth: 64,
            max_expanded_bytes: 1 << 20,
            max_nesting: 128,
            max_instructions: 200_000,
            max_repetition: 10_000,
            max_cache_bytes: 4 << 20,
            max_steps: 2_000_000,
        }
    }
}
