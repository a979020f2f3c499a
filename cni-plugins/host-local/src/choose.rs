//! In which order the addresses of a range set are tried. Pure.
//!
//! Round robin: an address that was freed just now is the last to be handed out again, because
//! neighbours still have it in their caches.

use std::net::IpAddr;

use crate::ranges::{RangeSet, Span, number};

/// Every address of `set` that may be handed out, once, starting behind `last`.
///
/// Without a `last`, or with one outside the set, it starts at the first address.
pub(crate) fn ring(set: &RangeSet, last: Option<IpAddr>) -> Vec<Span> {
    let spans = set.spans();
    let place = last.and_then(|last| Some((set.position(last)?, number(last))));
    let Some((range, last)) = place else {
        return spans.concat();
    };
    // Behind `last`, then the other ranges, then up to and including `last`.
    let own = spans.get(range).into_iter().flatten();
    let behind = own.clone().filter(|(_, end)| *end > last);
    let behind = behind.map(|(start, end)| ((*start).max(last + 1), *end));
    let up_to = own.filter(|(start, _)| *start <= last);
    let up_to = up_to.map(|(start, end)| (*start, (*end).min(last)));
    let others = spans.iter().cycle().skip(range + 1).take(spans.len() - 1);
    behind
        .chain(others.flatten().copied())
        .chain(up_to)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranges::address;
    use crate::ranges::tests::set;

    fn addresses(set: &RangeSet, last: &str) -> impl Iterator<Item = String> {
        let spans = ring(set, last.parse().ok()).into_iter();
        spans.flat_map(|(first, last)| (first..=last).map(|each| address(each).to_string()))
    }

    fn check(ranges: &[&str], last: &str, expected: &str) {
        let set = set(ranges).unwrap();
        let tried: Vec<String> = addresses(&set, last).collect();
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
        let first: Vec<String> = addresses(&set, "fd00::ffff:ffff:ffff:fffe")
            .take(2)
            .collect();
        assert_eq!(first, ["fd00::ffff:ffff:ffff:ffff", "fd00::2"]);
    }

    #[test]
    fn the_end_of_the_address_space_is_an_end() {
        let set = set(&["255.255.255.248/29,255.255.255.253"]).unwrap();
        assert_eq!(addresses(&set, "").count(), 2);
    }
}
