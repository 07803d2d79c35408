//! A consistent hash: endpoints have many points on a ring, and a key belongs to the next point.
//!
//! If an endpoint comes or goes, only the keys at its own points move. It is the same on every worker and in every
//! process that knows the same endpoints.

use std::sync::Arc;

use super::hash::{hash_of, mix};
use super::state::EndpointState;
use crate::limits::{RING_POINTS_MAX, RING_POINTS_PER_ENDPOINT};

/// Points in rising order.
#[derive(Debug)]
pub(super) struct Ring {
    points: Vec<(u64, u32)>,
}

impl Ring {
    /// With fewer points for each endpoint if there are very many, so that its memory is bounded.
    pub(super) fn new(endpoints: &[Arc<EndpointState>]) -> Self {
        let each = (RING_POINTS_MAX / endpoints.len().max(1)).clamp(1, RING_POINTS_PER_ENDPOINT);
        let mut points = Vec::with_capacity(each * endpoints.len());
        for (index, endpoint) in (0_u32..).zip(endpoints) {
            let seed = hash_of(format!("{} {}", endpoint.name, endpoint.address).as_bytes());
            points.extend((0..each as u64).map(|point| (mix(seed ^ mix(point)), index)));
        }
        points.sort_unstable();
        Ring { points }
    }

    /// Indexes of endpoints from the key's own onwards; each may come up many times.
    pub(super) fn from(&self, hash: u64) -> impl Iterator<Item = usize> {
        let start = self.points.partition_point(|(point, _)| *point < hash);
        let (before, after) = self.points.split_at(start);
        after.iter().chain(before).map(|(_, index)| *index as usize)
    }
}

#[cfg(test)]
mod tests {
    use agw_config::{Cluster, ClusterTarget};

    use super::*;

    fn endpoints(count: u16) -> Vec<Arc<EndpointState>> {
        let cluster = Cluster::new("c", ClusterTarget::Endpoints(Vec::new()));
        let endpoint = |port| EndpointState::new("a:1", ([10, 0, 0, 1], port).into(), &cluster);
        (1..=count).map(|port| Arc::new(endpoint(port))).collect()
    }

    fn owner(ring: &Ring, key: u32) -> usize {
        ring.from(hash_of(&key.to_be_bytes())).next().unwrap()
    }

    #[test]
    fn keys_are_spread_evenly() {
        let ring = Ring::new(&endpoints(4));
        let mut counts = [0_u32; 4];
        (0..10_000).for_each(|key| counts[owner(&ring, key)] += 1);
        assert!(counts.iter().all(|count| (1900..3100).contains(count)), "{counts:?}");
    }

    #[test]
    fn only_the_keys_of_an_endpoint_that_goes_move() {
        let all = endpoints(5);
        let (before, after) = (Ring::new(&all), Ring::new(&all[..4]));
        let moved = (0..10_000).filter(|key| owner(&before, *key) != owner(&after, *key));
        let moved: Vec<_> = moved.map(|key| owner(&before, key)).collect();
        assert!(!moved.is_empty());
        assert!(moved.iter().all(|owner| *owner == 4), "only keys of the fifth moved");
    }

    #[test]
    fn a_ring_of_very_many_endpoints_is_bounded() {
        assert!(Ring::new(&endpoints(2000)).points.len() <= RING_POINTS_MAX);
        assert_eq!(Ring::new(&[]).from(1).next(), None);
    }
}
