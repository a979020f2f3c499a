//! The benchmark harness: ratios against peers, never a timed test.
