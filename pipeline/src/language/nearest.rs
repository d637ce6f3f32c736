//! The nearest of some known names to one that is not known, for "did you mean …?".
//!
//! The distance is the number of single-character changes (insert, delete, replace, swap of
//! neighbours), ignoring case. A name is only offered if it is near for its length: a wrong
//! guess is worse than none.

/// The nearest candidate, or `None` if none is near. On a tie the first wins.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = name.chars().flat_map(char::to_lowercase).collect();
    if wanted.len() > LONGEST_NAME {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let letters: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
        // A third of the letters may differ; short names allow one change.
        let allowed = (wanted.len().max(letters.len()) / 3).max(1);
        if letters.len() > LONGEST_NAME || letters.len().abs_diff(wanted.len()) > allowed {
            continue;
        }
        let distance = distance(&wanted, &letters);
        // One letter is not a hint at another letter.
        let is_near = distance <= allowed && distance < wanted.len().max(1);
        if is_near && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// "did you mean `x`?", if something is near.
pub fn did_you_mean<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(name, candidates).map(|known| format!("did you mean `{known}`?"))
}

/// Names beyond this length are not compared: the work grows with the square.
const LONGEST_NAME: usize = 64;

fn distance(left: &[char], right: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, &left_letter) in left.iter().enumerate() {
        let mut current = Vec::with_capacity(right.len() + 1);
        current.push(row + 1);
        for (column, &right_letter) in right.iter().enumerate() {
            let replaced = last[column] + usize::from(left_letter != right_letter);
            let mut least = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0
                && column > 0
                && left_letter == right[column - 1]
                && left[row - 1] == right_letter;
            if swapped {
                least = least.min(before_last[column - 1] + 1);
            }
            current.push(least);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_of_the_fingers() {
        let known = ["match", "break_on_match", "add_field", "add_tag", "id"];
        assert_eq!(nearest("mtach", known), Some("match"));
        assert_eq!(nearest("Match", known), Some("match"));
        assert_eq!(nearest("addfield", known), Some("add_field"));
        assert_eq!(nearest("brake_on_match", known), Some("break_on_match"));
        assert_eq!(
            did_you_mean("add_tags", known).unwrap(),
            "did you mean `add_tag`?"
        );
    }

    #[test]
    fn offers_nothing_that_is_far() {
        let known = ["match", "id", "x"];
        assert_eq!(nearest("port", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest("y", known), None);
        assert_eq!(nearest(&"m".repeat(1000), known), None);
    }
}
