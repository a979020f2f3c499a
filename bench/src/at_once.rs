//! The same for many, at the same moment.

use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Runs `each` for all members at the same moment: their answers, and the time from the first's
/// start to the last's end.
pub fn at_once<M: Sync, T: Send>(
    members: &[M],
    each: impl Fn(usize, &M) -> Result<T, String> + Sync,
) -> Result<(Vec<T>, Duration), String> {
    let ready = Barrier::new(members.len() + 1);
    std::thread::scope(|scope| {
        let run = |(number, member)| {
            let (ready, each) = (&ready, &each);
            scope.spawn(move || {
                ready.wait();
                each(number, member)
            })
        };
        let threads: Vec<_> = members.iter().enumerate().map(run).collect();
        ready.wait();
        let started = Instant::now();
        let answers: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a panic".into())))
            .collect();
        let took = started.elapsed();
        Ok((answers.into_iter().collect::<Result<_, _>>()?, took))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_is_the_failure_of_all() {
        let odd = |number: usize, _: &()| match number {
            3 => Err("three".to_owned()),
            other => Ok(other),
        };
        assert_eq!(at_once(&[(); 3], odd).unwrap().0, [0, 1, 2]);
        assert_eq!(at_once(&[(); 5], odd).unwrap_err(), "three");
    }
}
