//! A subnet for a network that was not given one. Pure: what is taken is told.

use std::net::{IpAddr, Ipv4Addr};

use crate::address::Prefix;

/// Addresses out of which subnets of one size are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    pub base: Prefix,
    /// The prefix length of a subnet.
    pub length: u8,
}

/// Docker's pools: fifteen networks of 65,536 addresses, then sixteen of 4,096.
pub const DEFAULT_POOLS: [(Ipv4Addr, u8, u8); 6] = [
    (Ipv4Addr::new(172, 17, 0, 0), 16, 16),
    (Ipv4Addr::new(172, 18, 0, 0), 15, 16),
    (Ipv4Addr::new(172, 20, 0, 0), 14, 16),
    (Ipv4Addr::new(172, 24, 0, 0), 14, 16),
    (Ipv4Addr::new(172, 28, 0, 0), 14, 16),
    (Ipv4Addr::new(192, 168, 0, 0), 16, 20),
];

/// [`DEFAULT_POOLS`], as [`free_subnet`] takes them.
pub fn default_pools() -> Vec<Pool> {
    let pool = |(base, width, length): (Ipv4Addr, u8, u8)| {
        Prefix::new(IpAddr::V4(base), width).map(|base| Pool { base, length })
    };
    DEFAULT_POOLS.into_iter().filter_map(pool).collect()
}

/// A pool of unique local addresses (RFC 4193) with a subnet for each of 65,536 networks. The five bytes should be random,
/// and the same at each call of one host.
pub fn unique_local_pool(seed: [u8; 5]) -> Pool {
    let mut address = [0; 16];
    address[0] = 0xfd;
    address[1..6].copy_from_slice(&seed);
    Pool { base: Prefix::of(address.into()).widened(48), length: 64 }
}

/// A route as wide as this is a way to everywhere: a default route, or the halves into which VPNs cut it.
const EVERYWHERE: u8 = 1;

/// The first subnet of the pools, in their order, that has no address in common with what is taken: subnets of other
/// networks, and routes of the host. Nothing when all are taken.
pub fn free_subnet(pools: &[Pool], taken: &[Prefix]) -> Option<Prefix> {
    let taken: Vec<&Prefix> = taken.iter().filter(|prefix| prefix.length() > EVERYWHERE).collect();
    pools.iter().find_map(|pool| {
        let near: Vec<&&Prefix> = taken.iter().filter(|prefix| prefix.overlaps(&pool.base)).collect();
        if near.iter().any(|prefix| prefix.includes(&pool.base)) {
            return None;
        }
        pool.base.parts(pool.length).find(|subnet| !near.iter().any(|prefix| prefix.overlaps(subnet)))
    })
}

impl Prefix {
    /// The network of that length around it.
    pub(crate) fn widened(self, length: u8) -> Prefix {
        Prefix::new(self.address(), length.min(self.length())).unwrap_or(self).network()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::{Pool, default_pools, free_subnet, unique_local_pool};
    use crate::address::{Mac, Prefix};

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn subnets_begin_where_dockers_do() {
        let first = free_subnet(&default_pools(), &[]);
        assert_eq!(first, Some(prefix("172.17.0.0/16")));
        let taken =
            [prefix("172.17.0.1/16"), prefix("0.0.0.0/0"), prefix("128.0.0.0/1"), prefix("10.0.0.0/8")];
        assert_eq!(free_subnet(&default_pools(), &taken), Some(prefix("172.18.0.0/16")));
        let taken = [prefix("172.16.0.0/12"), prefix("192.168.1.0/24")];
        assert_eq!(free_subnet(&default_pools(), &taken), Some(prefix("192.168.16.0/20")));
        assert_eq!(free_subnet(&default_pools(), &[prefix("172.16.0.0/12"), prefix("192.168.0.0/16")]), None);
    }

    #[test]
    fn there_are_31_default_subnets() {
        let mut taken = Vec::new();
        while let Some(subnet) = free_subnet(&default_pools(), &taken) {
            taken.push(subnet);
        }
        assert_eq!(
            (taken.len(), taken[14], taken[30]),
            (31, prefix("172.31.0.0/16"), prefix("192.168.240.0/20"))
        );
    }

    #[test]
    fn unique_local_subnets_are_of_64_bits() {
        let pool = unique_local_pool([0x12, 0x34, 0x56, 0x78, 0x9a]);
        let first = free_subnet(&[pool], &[]).unwrap();
        assert_eq!(first, prefix("fd12:3456:789a::/64"));
        assert_eq!(free_subnet(&[pool], &[first]), Some(prefix("fd12:3456:789a:1::/64")));
    }

    #[test]
    fn hosts_of_small_subnets() {
        let hosts = |text: &str| -> Vec<String> {
            prefix(text).candidates(None, None).map(|address| address.to_string()).collect()
        };
        assert_eq!(hosts("10.0.0.0/30"), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(hosts("10.0.0.0/31"), ["10.0.0.0", "10.0.0.1"]);
        assert_eq!(hosts("10.0.0.7/32"), ["10.0.0.7"]);
        assert_eq!(hosts("fd00::/126"), ["fd00::1", "fd00::2", "fd00::3"]);
        assert_eq!(prefix("172.17.0.0/16").gateway(), "172.17.0.1".parse().ok());
        assert_eq!(prefix("fd00::/64").gateway(), "fd00::1".parse().ok());
    }

    #[test]
    fn candidates_go_around_a_range() {
        let cursor = "10.0.0.6".parse().ok();
        let found: Vec<_> = prefix("10.0.0.0/24").candidates(Some(prefix("10.0.0.4/30")), cursor).collect();
        let expected: Vec<IpAddr> =
            ["10.0.0.7", "10.0.0.4", "10.0.0.5", "10.0.0.6"].map(|address| address.parse().unwrap()).to_vec();
        assert_eq!(found, expected);
    }

    #[test]
    fn mac_addresses_follow_from_addresses() {
        let mac = Mac::of("172.17.0.2".parse().unwrap());
        assert_eq!(mac.to_string(), "02:42:ac:11:00:02");
        assert_eq!(mac.to_string().parse(), Ok(mac));
        assert_eq!(mac.link_local().to_string(), "fe80::42:acff:fe11:2");
        assert!("02:42:ac:11:00".parse::<Mac>().is_err() && "2:42:ac:11:00:2".parse::<Mac>().is_err());
    }

    fn any_prefix() -> impl Strategy<Value = Prefix> {
        let four =
            (any::<[u8; 4]>(), 0..=32_u8).prop_map(|(address, length)| (IpAddr::from(address), length));
        let six =
            (any::<[u8; 16]>(), 0..=128_u8).prop_map(|(address, length)| (IpAddr::from(address), length));
        prop_oneof![four, six].prop_map(|(address, length)| Prefix::new(address, length).unwrap())
    }

    /// Where conflicts are likely.
    fn private_prefix() -> impl Strategy<Value = Prefix> {
        let networks = prop_oneof![Just([172, 16, 0, 0]), Just([192, 168, 0, 0])];
        (networks, any::<[u8; 3]>(), 10..=32_u8).prop_map(|([a, b, ..], [c, d, e], length)| {
            Prefix::new(IpAddr::from([a, if a == 172 { b | (c & 15) } else { b }, d, e]), length).unwrap()
        })
    }

    proptest! {
        #[test]
        fn a_free_subnet_overlaps_nothing(taken in prop::collection::vec(private_prefix(), 0..40)) {
            let pools = default_pools();
            let Some(subnet) = free_subnet(&pools, &taken) else { return Ok(()) };
            prop_assert!(taken.iter().all(|prefix| !prefix.overlaps(&subnet)));
            prop_assert!(pools.iter().any(|pool| pool.base.includes(&subnet) && pool.length == subnet.length()));
            prop_assert_eq!(subnet, subnet.network());
        }

        #[test]
        fn no_free_subnet_means_that_none_is_free(taken in prop::collection::vec(private_prefix(), 20..60)) {
            let pools = default_pools();
            if free_subnet(&pools, &taken).is_none() {
                for subnet in pools.iter().flat_map(|pool| pool.base.parts(pool.length)) {
                    prop_assert!(taken.iter().any(|prefix| prefix.overlaps(&subnet)));
                }
            }
        }

        #[test]
        fn odd_pools_do_not_panic(base in any_prefix(), length in any::<u8>(), taken in any_prefix()) {
            let found = free_subnet(&[Pool { base, length }], &[taken]);
            prop_assert!(found.is_none_or(|subnet| base.includes(&subnet)));
        }

        #[test]
        fn a_prefix_is_read_as_it_is_written(prefix in any_prefix()) {
            prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
            prop_assert!(prefix.contains(prefix.address()) && prefix.contains(prefix.first()) && prefix.contains(prefix.last()));
        }

        #[test]
        fn overlap_means_a_common_address(one in any_prefix(), other in any_prefix()) {
            prop_assert_eq!(one.overlaps(&other), other.overlaps(&one));
            let common = one.contains(other.first()) || other.contains(one.first());
            prop_assert_eq!(one.overlaps(&other), common);
        }

        #[test]
        fn candidates_are_in_the_range_and_come_once(
            last in any::<u8>(), length in 24..=32_u8, inner in 0..=8_u8, cursor in any::<u8>(),
        ) {
            let subnet = Prefix::new(IpAddr::from([10, 0, 0, last]), length).unwrap();
            let range = Prefix::new(IpAddr::from([10, 0, 0, last]), (length + inner).min(32)).unwrap();
            let found: Vec<_> = subnet.candidates(Some(range), Some(IpAddr::from([10, 0, 0, cursor]))).collect();
            prop_assert!(found.iter().all(|address| range.contains(*address)));
            prop_assert_eq!(found.iter().collect::<HashSet<_>>().len(), found.len());
        }
    }
}
