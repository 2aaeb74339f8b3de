//! Work on many things at once that is mostly waiting.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What `work` makes of each item, in the order of the items; at most `threads` threads work, this one among them. The others
/// are called `name-N`. A panic of one is that of the caller.
#[allow(clippy::disallowed_methods)]
pub fn side_by_side<T: Sync, R: Send>(
    name: &str,
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(items.len()))
            .map_while(|number: usize| {
                let thread = std::thread::Builder::new().name(format!("{name}-{number}"));
                // Without it the others do its part.
                thread
                    .spawn_scoped(scope, || work_through(items, &next, &work))
                    .ok()
            })
            .collect();
        let mut done = work_through(items, &next, &work);
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done
    });

    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Works on items that no other thread has taken, until none is left: their numbers and results.
fn work_through<T, R>(items: &[T], next: &AtomicUsize, work: impl Fn(&T) -> R) -> Vec<(usize, R)> {
    let mut done = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(item) = items.get(number) else {
            return done;
        };
        done.push((number, work(item)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn so_many_threads_work_and_the_order_stays() {
        const THREADS: usize = 4;

        let items: Vec<usize> = (0..10 * THREADS).collect();
        // Nobody gets on before four are at it; and no fifth comes.
        let barrier = Barrier::new(THREADS);
        let at_it = AtomicUsize::new(0);
        let doubled = side_by_side("round", THREADS, &items, |item| {
            let now = at_it.fetch_add(1, Ordering::SeqCst) + 1;
            assert!(now <= THREADS, "{now} threads");
            barrier.wait();
            at_it.fetch_sub(1, Ordering::SeqCst);
            // Those of this round leave before one of the next comes.
            barrier.wait();
            item * 2
        });

        assert_eq!(
            doubled,
            items.iter().map(|item| item * 2).collect::<Vec<_>>()
        );
        assert_eq!(side_by_side("none", 0, &items, |item| *item), items);

        assert!(side_by_side("none", 8, &[], |item: &usize| *item).is_empty());
    }
}
