//! The host's networks, as far as containers do not make them themselves.

use pycontain_net::{Namespace, Prefix, Rules, default_pools, free_subnet, unique_local_pool};

use crate::error::Error;

/// How the aliases of our bridges begin: see `pycontain.networks.joining`.
const ALIAS: &str = "pycontain network ";

/// A subnet with no address in common with the routes of the host, nor with those in `taken`. Of IPv6 it is one of the unique
/// local addresses of this machine, by `seed`.
pub fn subnet(taken: &[String], seed: Option<[u8; 5]>) -> Result<String, Error> {
    let mut namespace = Namespace::current()?;
    let mut prefixes: Vec<Prefix> = taken.iter().filter_map(|text| text.parse().ok()).collect();
    prefixes.extend(namespace.routes()?.iter().map(|route| route.destination));
    let pools = seed.map_or_else(default_pools, |seed| vec![unique_local_pool(seed)]);
    free_subnet(&pools, &prefixes).map(|subnet| subnet.to_string()).ok_or(Error::NoSubnet)
}

/// The route of the host that has an address in common with this subnet, of which it is not that of `bridge` itself.
pub fn overlap(subnet: &str, bridge: &str) -> Result<Option<String>, Error> {
    let mut namespace = Namespace::current()?;
    let Ok(subnet) = subnet.parse::<Prefix>() else { return Ok(None) };
    let own = namespace.link(bridge)?.map(|link| link.index);
    let routes = namespace.routes()?;
    let others = routes.iter().filter(|route| route.interface != own && route.destination.length() > 1);
    Ok(others
        .map(|route| route.destination)
        .find(|route| route.overlaps(&subnet))
        .map(|route| route.to_string()))
}

/// Takes a network out of the kernel; a container that is still in it is cut off.
pub fn remove(bridge: &str) -> Result<(), Error> {
    let mut rules = Rules::open()?;
    let below = format!("{bridge}/");
    // Without any rules there are none of it.
    let swept = rules.sweep(|owner| owner == bridge || owner.starts_with(&below));
    if let Err(error) = swept
        && error.errno() != Some(nix::errno::Errno::ENOENT)
    {
        return Err(error.into());
    }
    let mut namespace = Namespace::current()?;
    // A device of that name may be somebody else's.
    if namespace.link(bridge)?.is_some_and(|link| link.alias.starts_with(ALIAS)) {
        namespace.remove_link(bridge)?;
    }
    Ok(())
}
