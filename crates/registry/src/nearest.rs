//! Which name was meant by one that nobody has: a key of the configuration, a header field that steers.
//!
//! A guess for people, in a sentence that refuses; nothing is ever done with it.

/// The known name at the smallest distance, if at most a third of what was written, or two letters, is written wrongly.
/// Capitals are no mistake.
pub fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    let lower = written.to_ascii_lowercase();
    let scored = known.iter().map(|name| (distance(&lower, &name.to_ascii_lowercase()), *name));
    let (distance, name) = scored.min_by_key(|(distance, _)| *distance)?;
    (distance <= (written.len() / 3).max(2)).then_some(name)
}

/// Letters to add, to leave out or to change between two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_another_word_is_not() {
        let known = ["submission", "http", "Send-At"];
        assert_eq!(nearest("submision", &known), Some("submission"));
        assert_eq!(nearest("htpp", &known), Some("http"));
        assert_eq!(nearest("SEND-ET", &known), Some("Send-At"));
        assert_eq!(nearest("return-path", &known), None);
        assert_eq!(nearest("htpp", &[]), None);
    }

    #[test]
    fn a_distance_counts_what_has_to_be_changed() {
        for (a, b, expected) in [("", "", 0), ("", "ab", 2), ("kitten", "sitting", 3), ("é", "e", 1)] {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }
}
