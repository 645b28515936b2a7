//! [`Turns`]: which of the nodes that take requests gets the next one.
//!
//! The one with the fewest outstanding; of equals the one that had none for the longest, so that they take turns
//! whoever comes and goes between them. **Never here:** whether a node takes requests.

use std::sync::atomic::{AtomicU64, Ordering};

/// The turns taken so far.
#[derive(Debug, Default)]
pub(super) struct Turns(AtomicU64);

/// The last turn of one candidate.
#[derive(Debug, Default)]
pub(super) struct Turn(AtomicU64);

impl Turns {
    /// Notes that a candidate got this one.
    pub(super) fn take(&self, turn: &Turn) {
        turn.0.store(self.0.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// The candidate to take: its outstanding requests and its last turn decide.
pub(super) fn choose<'a, T>(candidates: impl Iterator<Item = (T, usize, &'a Turn)>) -> Option<T> {
    let key = |outstanding: usize, turn: &Turn| (outstanding, turn.0.load(Ordering::Relaxed));
    let keyed = candidates.map(|(which, outstanding, turn)| (which, key(outstanding, turn)));
    keyed.min_by_key(|(_, key)| *key).map(|(which, _)| which)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Runs a script: at each step the flapping node (the last one) is up or not, and requests end at random.
    fn counts(nodes: usize, script: &[(bool, u8)], held: bool) -> Vec<usize> {
        let turns = Turns::default();
        let mut last: Vec<Turn> = Vec::new();
        last.resize_with(nodes, Turn::default);
        let mut outstanding = vec![0_usize; nodes];
        let mut counts = vec![0; nodes];
        for (up, done) in script {
            let usable = if *up { nodes } else { nodes - 1 };
            let candidates = (0..usable).map(|at| (at, outstanding[at], &last[at]));
            let chosen = choose(candidates).unwrap();
            turns.take(&last[chosen]);
            counts[chosen] += 1;
            if held {
                outstanding[chosen] += 1;
                let ends = usize::from(*done) % nodes;
                outstanding[ends] = outstanding[ends].saturating_sub(1);
            }
        }
        counts
    }

    proptest! {
        /// Nodes that stay up share evenly whatever another one does, and that one never gets more than they do.
        #[test]
        fn steady_nodes_share_evenly_while_one_flaps(
            nodes in 2_usize..6,
            script in proptest::collection::vec((any::<bool>(), any::<u8>()), 1..400),
        ) {
            let counts = counts(nodes, &script, false);
            let (flapping, steady) = counts.split_last().unwrap();
            let (least, most) = (steady.iter().min().unwrap(), steady.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{counts:?}");
            prop_assert!(*flapping <= most + 1, "{counts:?}");
        }

        /// With requests that stay outstanding nobody is starved: the fewest go first.
        #[test]
        fn outstanding_requests_level_out(
            nodes in 2_usize..6,
            steps in 1_usize..300,
        ) {
            let turns = Turns::default();
            let mut last: Vec<Turn> = Vec::new();
            last.resize_with(nodes, Turn::default);
            let mut outstanding = vec![0_usize; nodes];
            for _ in 0..steps {
                let chosen = choose((0..nodes).map(|at| (at, outstanding[at], &last[at]))).unwrap();
                turns.take(&last[chosen]);
                outstanding[chosen] += 1;
            }
            let (least, most) = (outstanding.iter().min().unwrap(), outstanding.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{outstanding:?}");
        }
    }

    #[test]
    fn the_fewest_outstanding_wins_over_turns() {
        let (busy, idle) = (Turn::default(), Turn(AtomicU64::new(9)));
        assert_eq!(choose([("busy", 1, &busy), ("idle", 0, &idle)].into_iter()), Some("idle"));
        assert_eq!(choose(std::iter::empty::<(u8, usize, &Turn)>()), None);
        assert_eq!(counts(2, &[(true, 0); 4], true).iter().sum::<usize>(), 4);
    }
}
