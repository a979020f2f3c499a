//! In which order the addresses of a range set are tried. Pure.
//!
//! Round robin: an address that was freed just now is the last to be handed out again, because
//! neighbours still have it in their caches.

use std::net::IpAddr;

use crate::ranges::{RangeSet, after};

/// Every address of `set` that may be handed out, once, starting behind `last`.
///
/// Without a `last`, or with one outside the set, it starts at the first address.
pub(crate) fn candidates(set: &RangeSet, last: Option<IpAddr>) -> impl Iterator<Item = IpAddr> {
    let ranges = set.ranges();
    let holds_last = |last: IpAddr| ranges.iter().position(|range| range.contains(last));
    let (first, last) = match last.and_then(|last| Some((holds_last(last)?, last))) {
        Some((index, last)) => (index, Some(last)),
        None => (0, None),
    };
    // Behind `last`, then the other ranges, then up to and including `last`.
    let behind = ranges.get(first).map(|range| match last {
        Some(last) if last == range.end => None,
        Some(last) => Some((after(last), range.end)),
        None => Some((range.start, range.end)),
    });
    let others = ranges
        .iter()
        .cycle()
        .skip(first + 1)
        .take(ranges.len().saturating_sub(1));
    let others = others.map(|range| Some((range.start, range.end)));
    let up_to = ranges
        .get(first)
        .map(|range| last.map(|last| (range.start, last)));
    let spans = behind.into_iter().chain(others).chain(up_to).flatten();
    spans
        .flat_map(|(start, end)| span(start, end))
        .filter(move |address| ranges.iter().all(|range| range.gateway != *address))
}

fn span(start: IpAddr, end: IpAddr) -> impl Iterator<Item = IpAddr> {
    std::iter::successors(Some(start), move |each| (*each < end).then(|| after(*each)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranges::tests::set;

    fn check(ranges: &[&str], last: &str, expected: &str) {
        let set = set(ranges).unwrap();
        let tried: Vec<String> = candidates(&set, last.parse().ok())
            .map(|each| each.to_string())
            .collect();
        assert_eq!(tried.join(" "), expected, "{ranges:?} behind {last:?}");
    }

    #[test]
    fn every_address_is_tried_once_starting_behind_the_last() {
        let one = ["10.0.0.0/29"];
        check(&one, "", "10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6");
        check(
            &one,
            "10.0.0.4",
            "10.0.0.5 10.0.0.6 10.0.0.2 10.0.0.3 10.0.0.4",
        );
        check(
            &one,
            "10.0.0.6",
            "10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6",
        );
        check(
            &one,
            "10.0.0.1",
            "10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6",
        );
        check(
            &one,
            "10.9.0.4",
            "10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6",
        );
        check(
            &one,
            "fd00::1",
            "10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6",
        );
    }

    #[test]
    fn several_ranges_are_one_ring() {
        let two = ["10.0.0.0/30", "10.1.0.0/29,10.1.0.4,10.1.0.5"];
        check(&two, "", "10.0.0.2 10.1.0.4 10.1.0.5");
        check(&two, "10.1.0.4", "10.1.0.5 10.0.0.2 10.1.0.4");
        check(&two, "10.0.0.2", "10.1.0.4 10.1.0.5 10.0.0.2");
    }

    #[test]
    fn a_huge_range_costs_nothing_before_it_is_used() {
        let set = set(&["fd00::/64"]).unwrap();
        let last = "fd00::ffff:ffff:ffff:fffe".parse().ok();
        let first: Vec<String> = candidates(&set, last)
            .take(2)
            .map(|each| each.to_string())
            .collect();
        assert_eq!(first, ["fd00::ffff:ffff:ffff:ffff", "fd00::2"]);
    }

    #[test]
    fn the_end_of_the_address_space_is_an_end() {
        let set = set(&["255.255.255.248/29,255.255.255.253"]).unwrap();
        let tried: Vec<IpAddr> = candidates(&set, None).collect();
        assert_eq!(tried.len(), 2);
    }
}
