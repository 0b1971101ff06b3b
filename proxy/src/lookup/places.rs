//! Named networks: an office or mesh address is a known place with a country.
use ipnet::IpNet;
use std::net::IpAddr;
use torhaus_authz::{Country, Fact, Why};
use torhaus_config::Config;

/// Named networks, the most specific first.
#[derive(Debug, Default)]
pub struct Places(Vec<(IpNet, Option<Country>)>);

impl Places {
    pub fn of(config: &Config) -> Self {
        let mut places: Vec<_> = config
            .named_networks
            .iter()
            .flat_map(|named| named.networks.iter().map(|network| (*network, named.country)))
            .collect();
        places.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
        Self(places)
    }

    /// The country of an address.
    pub fn country(&self, address: IpAddr) -> Fact<Country> {
        match self.0.iter().find(|(network, _)| network.contains(&address)) {
            Some((_, Some(country))) => Fact::Known(*country),
            Some((_, None)) => Fact::Unknown(Why::NotFound),
            None => Fact::Unknown(Why::NotConfigured),
        }
    }
}
