//! Whose turn it is to upload.
//!
//! Every replica has the same block, so any of them may upload it. Rendezvous hashing gives each (tenant, window)
//! its own order of the nodes: all nodes agree on it without talking, the work is spread, and the loss of a node
//! moves only its own turns.

use trireme_base::NodeName;
use trireme_model::Tenant;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// All nodes in the order in which they upload the tenant's window that ends at `window_end_ms`.
pub fn ranking<'a>(
    tenant: &Tenant,
    window_end_ms: i64,
    nodes: &'a [NodeName],
) -> Vec<&'a NodeName> {
    let seed = xxh3_64_with_seed(&window_end_ms.to_le_bytes(), tenant.seed());
    let mut order: Vec<&NodeName> = nodes.iter().collect();
    order.sort_unstable_by_key(|node: &&'a NodeName| {
        (
            std::cmp::Reverse(xxh3_64_with_seed(node.as_str().as_bytes(), seed)),
            node.as_str(),
        )
    });

    order.dedup();
    order
}

/// Place of `me` in the order, 0 for the first; none if `me` is not among the nodes.
pub fn rank(
    tenant: &Tenant,
    window_end_ms: i64,
    nodes: &[NodeName],
    me: &NodeName,
) -> Option<usize> {
    ranking(tenant, window_end_ms, nodes)
        .into_iter()
        .position(|node| node == me)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(names: &[&str]) -> Vec<NodeName> {
        names.iter().map(|n| NodeName::new(n)).collect()
    }

    #[test]
    fn all_nodes_agree_work_is_spread_and_a_loss_moves_only_its_own_turns() {
        let all = nodes(&["a", "b", "c"]);
        let shuffled = nodes(&["c", "a", "b"]);
        let two = nodes(&["a", "c"]);
        let tenant = Tenant::default();

        let mut first = [0; 3];
        for window in 0..3_000 {
            let order = ranking(&tenant, window * 7_200_000, &all);
            assert_eq!(order, ranking(&tenant, window * 7_200_000, &shuffled));
            let place = |node: &NodeName| all.iter().position(|n| n == node).expect("one of them");
            first[place(order[0])] += 1;
            let without_b: Vec<_> = order.into_iter().filter(|n| **n != all[1]).collect();
            assert_eq!(without_b, ranking(&tenant, window * 7_200_000, &two));
        }

        assert!(first.iter().all(|n| (800..1_200).contains(n)), "{first:?}");
        assert_eq!(rank(&tenant, 0, &two, &all[1]), None);
    }
}
