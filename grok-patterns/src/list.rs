//! Several expressions, of which the first in the list that matches counts.

use crate::{
    BudgetExceeded, Matcher, Scratch, Slots,
    engine::{
        prefilter::{Found, Prefilter},
        straight::Step,
    },
};

/// Several expressions, of which the first in the list that matches counts.
///
/// A line is read once to find out which of them it can match at all; most are rejected so
/// without being run.
///
/// ```
/// use skidder_grok::{CompileOptions, PatternSet, Slots};
///
/// let list = PatternSet::legacy().compile_list(&["%{IP:ip}", "%{WORD:word}"], &CompileOptions::default())?;
/// let (mut scratch, mut slots) = (list.scratch(), Slots::new());
/// assert_eq!(list.find(b"a 10.0.0.7", &mut scratch, &mut slots), Ok(Some(0)));
/// assert_eq!(list.find(b"a 10.0.0", &mut scratch, &mut slots), Ok(Some(1)));
/// # Ok::<(), skidder_grok::CompileError>(())
/// ```
#[derive(Debug, Clone)]
pub struct MatcherList {
    matchers: Vec<Matcher>,
    /// Each for as many expressions as the number says, the first for the first ones.
    prefilters: Vec<(Prefilter, usize)>,
}

impl MatcherList {
    pub(crate) fn new(matchers: Vec<Matcher>) -> Self {
        let requirements: Vec<_> = matchers.iter().map(Matcher::requirements).collect();
        let mut prefilters = Vec::new();
        let mut rest = requirements.as_slice();
        while !rest.is_empty() {
            let (prefilter, count) = Prefilter::new(rest);
            prefilters.push((prefilter, count));
            rest = &rest[count..];
        }
        Self {
            matchers,
            prefilters,
        }
    }

    /// The single expressions, in order.
    ///
    /// ```
    /// use skidder_grok::{CompileOptions, PatternSet};
    ///
    /// let list = PatternSet::legacy().compile_list(&["%{IP:ip}", "%{WORD:word}"], &CompileOptions::default())?;
    /// assert_eq!(list.matchers()[1].captures()[0].name, "word");
    /// # Ok::<(), skidder_grok::CompileError>(())
    /// ```
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// Memory to match with, for one thread.
    ///
    /// ```
    /// use skidder_grok::{CompileOptions, PatternSet, Slots};
    ///
    /// let list = PatternSet::legacy().compile_list(&["%{IP:ip}", "%{WORD:word}"], &CompileOptions::default())?;
    /// let (mut scratch, mut slots) = (list.scratch(), Slots::new());
    /// assert_eq!(list.find(b"-", &mut scratch, &mut slots), Ok(None));
    /// # Ok::<(), skidder_grok::CompileError>(())
    /// ```
    pub fn scratch(&self) -> ListScratch {
        ListScratch {
            scratches: self.matchers.iter().map(Matcher::scratch).collect(),
            found: Found::default(),
        }
    }

    /// The index of the first expression that matches; `slots` then hold its captures.
    ///
    /// ```
    /// use skidder_grok::{CompileOptions, PatternSet, Slots};
    ///
    /// let list = PatternSet::legacy().compile_list(&["%{IP:ip}", "%{WORD:word}"], &CompileOptions::default())?;
    /// let (mut scratch, mut slots) = (list.scratch(), Slots::new());
    /// let found = list.find(b"some text", &mut scratch, &mut slots)?;
    /// assert_eq!(found, Some(1));
    /// assert_eq!(slots.get(0), Some((0, 4)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn find(
        &self,
        line: &[u8],
        scratch: &mut ListScratch,
        slots: &mut Slots,
    ) -> Result<Option<usize>, BudgetExceeded> {
        if scratch.scratches.len() != self.matchers.len() {
            *scratch = self.scratch();
        }
        // The first expression is often the one that matches: it is worth a try before the line
        // is read for the sake of the others.
        let ListScratch { scratches, found } = scratch;
        let (Some(first), Some(first_scratch)) = (self.matchers.first(), scratches.first_mut())
        else {
            return Ok(None);
        };
        let mut straight = first.find_straight_in_hope(line, first_scratch, slots);
        if let Some(Step::At(_)) = straight {
            return Ok(Some(0));
        }
        let mut first = 0;
        for (prefilter, count) in &self.prefilters {
            let filtered = !prefilter.is_empty();
            if filtered {
                prefilter.scan(line, found);
            }
            for (many, mut passing) in prefilter.passing(found).enumerate() {
                while passing != 0 {
                    let own = 64 * many + passing.trailing_zeros() as usize;
                    passing &= passing - 1;
                    let index = first + own;
                    let (matcher, scratch) = (&self.matchers[index], &mut scratches[index]);
                    if index > 0 {
                        straight = matcher.find_straight_in_hope(line, scratch, slots);
                    }
                    // A closer look costs more than the straight way, but less than all others.
                    let rejected = filtered
                        && !matches!(straight, Some(Step::At(_)))
                        && !matcher.may_match_closely((prefilter, own), found, line, scratch);
                    if rejected {
                        continue;
                    }
                    let step =
                        straight.unwrap_or_else(|| matcher.find_straight(line, scratch, slots));
                    let matches = match step {
                        Step::At(_) => true,
                        step => matcher
                            .find_otherwise(step, filtered, line, scratch, slots)
                            .inspect_err(|_| slots.clear())?,
                    };
                    if matches {
                        return Ok(Some(index));
                    }
                }
            }
            first += count;
        }
        slots.clear();
        Ok(None)
    }
}

/// What matching a [`MatcherList`] changes.
///
/// ```
/// use skidder_grok::{CompileOptions, PatternSet, Slots};
///
/// let list = PatternSet::legacy().compile_list(&["%{IP:ip}", "%{WORD:word}"], &CompileOptions::default())?;
/// let (mut scratch, mut slots) = (list.scratch(), Slots::new());
/// for line in ["10.0.0.7", "word"] {
///     assert!(list.find(line.as_bytes(), &mut scratch, &mut slots)?.is_some());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ListScratch {
    scratches: Vec<Scratch>,
    found: Found,
}

impl ListScratch {
    /// The memory of the matcher at an index of [`MatcherList::matchers`], to match with that one
    /// alone.
    ///
    /// ```
    /// use skidder_grok::{CompileOptions, PatternSet, Slots};
    ///
    /// let list = PatternSet::legacy().compile_list(&["%{IP}", "%{WORD}"], &CompileOptions::default())?;
    /// let (mut scratch, mut slots) = (list.scratch(), Slots::new());
    /// let second = scratch.of(1).unwrap();
    /// assert_eq!(list.matchers()[1].find(b"10.0.0.1", second, &mut slots), Ok(true));
    /// # Ok::<(), skidder_grok::CompileError>(())
    /// ```
    pub fn of(&mut self, index: usize) -> Option<&mut Scratch> {
        self.scratches.get_mut(index)
    }
}
