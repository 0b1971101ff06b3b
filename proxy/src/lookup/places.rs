//! Where an address is: named networks first, then the database of countries. An office or mesh address is a known place.
use crate::lookup::geoip::GeoIp;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use torhaus_authz::{Country, Fact, Timestamp, Why};
use torhaus_config::Config;

#[derive(Default)]
pub struct Places {
    /// The most specific first.
    named: Vec<(IpNet, Option<Country>)>,
    geoip: Option<Arc<GeoIp>>,
}

impl Places {
    /// `before`: the places of the configuration before, whose database is kept if it is the same file.
    pub fn of(config: &Config, before: Option<&Self>, now: Timestamp) -> Self {
        let networks = |network: &torhaus_config::NamedNetwork| {
            let country = network.country;
            network.networks.iter().map(move |network| (*network, country)).collect::<Vec<_>>()
        };
        let mut named: Vec<_> = config.named_networks.iter().flat_map(networks).collect();
        named.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
        let geoip = config.geoip_database.as_ref().map(|path| {
            let kept = before.and_then(|before| before.geoip.clone()).filter(|geoip| geoip.path() == path);
            kept.unwrap_or_else(|| Arc::new(GeoIp::open(path, now)))
        });
        Self { named, geoip }
    }

    /// The country of an address.
    pub fn country(&self, address: IpAddr, now: Timestamp) -> Fact<Country> {
        match (self.name_of(address), &self.geoip) {
            (Some(Some(country)), _) => Fact::Known(country),
            (_, Some(geoip)) => geoip.country(address, now),
            (Some(None), None) => Fact::Unknown(Why::NotFound),
            (None, None) => Fact::Unknown(Why::NotConfigured),
        }
    }

    /// Whether the address is in a network that the configuration names: it is new to nobody.
    pub fn is_named(&self, address: IpAddr) -> bool {
        self.name_of(address).is_some()
    }

    pub fn geoip(&self) -> Option<&Arc<GeoIp>> {
        self.geoip.as_ref()
    }

    fn name_of(&self, address: IpAddr) -> Option<Option<Country>> {
        let address = address.to_canonical();
        self.named.iter().find(|(network, _)| network.contains(&address)).map(|(_, country)| *country)
    }
}
