//! Which known name was probably meant.

/// The nearest of `known`, if it is near enough to be a slip.
pub(super) fn meant(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let lower = name.to_lowercase();
    let far = |candidate: &&'static str| distance(&lower, &candidate.to_lowercase());
    let nearest = known.iter().min_by_key(|candidate| far(candidate))?;
    // One slip in a short word, two in a long one.
    let allowed = if nearest.len() < 5 { 1 } else { 2 };
    (far(nearest) <= allowed).then_some(nearest)
}

/// How many letters are put in, left out or changed between the two (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, letter) in one.chars().enumerate() {
        let mut corner = above;
        row[0] = above + 1;
        for (left, &wanted) in other.iter().enumerate() {
            let change = corner + usize::from(letter != wanted);
            corner = row[left + 1];
            row[left + 1] = change.min(corner + 1).min(row[left] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["cgroupsPath", "uid", "readonlyPaths", "terminal"];
        assert_eq!(meant("cgroupPath", &known), Some("cgroupsPath"));
        assert_eq!(meant("CgroupsPath", &known), Some("cgroupsPath"));
        assert_eq!(meant("readOnlyPath", &known), Some("readonlyPaths"));
        assert_eq!(meant("uuid", &known), Some("uid"));
        assert_eq!(meant("pid", &known), Some("uid"));
        assert_eq!(meant("annotations", &known), None);
        assert_eq!(meant("gids", &known), None);
    }
}
