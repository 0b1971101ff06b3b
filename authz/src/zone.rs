//! Zones: named places, by listener or network. `external` is everything else.
use crate::draft::{Located, ZoneDraft};
use crate::facts::{Fact, Facts};
use crate::identity::{Identity, Name};
use crate::problems::Problems;
use ipnet::{IpNet, Ipv4Net};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

/// The zone of everything that is in no other.
pub const EXTERNAL: &str = "external";

/// Shared by carriers' NAT (RFC 6598) and by meshes: only the listener can tell which it is.
pub(crate) const CARRIER_NAT: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);

/// 0 is `external`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ZoneId(u16);

impl ZoneId {
    pub(crate) const EXTERNAL: Self = Self(0);

    pub(crate) fn of_index(index: usize) -> Option<Self> {
        u16::try_from(index).ok().map(Self)
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Why a request is in its zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    /// Identities of federated providers are external wherever they sit.
    Federated,
    AddressUnknown,
    Listener,
    Network,
    /// In 100.64.0.0/10, and no zone names the listener.
    CarrierNat,
    NoNetwork,
}

#[derive(Clone, Debug)]
pub(crate) struct Zones {
    names: Box<[Name]>,
    listeners: HashMap<Name, ZoneId>,
    named_listeners: Box<[Located<Name>]>,
    v4: Ranges<u32>,
    v6: Ranges<u128>,
    /// Zones without any listener or network, with their lines.
    empty: Box<[Located<Name>]>,
    /// Networks that contain every address, with their lines.
    boundless: Box<[Located<IpNet>]>,
}

impl Zones {
    pub(crate) fn check(drafts: &[ZoneDraft], problems: &mut Problems) -> Self {
        let mut zones = Draft::default();
        for draft in drafts {
            zones.add(draft, problems);
        }
        let v4 = |(net, zone): &(IpNet, ZoneId)| match net {
            IpNet::V4(net) => Some((u32::from(net.network()), u32::from(net.broadcast()), *zone)),
            IpNet::V6(_) => None,
        };
        let v6 = |(net, zone): &(IpNet, ZoneId)| match net {
            IpNet::V4(_) => None,
            IpNet::V6(net) => Some((u128::from(net.network()), u128::from(net.broadcast()), *zone)),
        };
        Self {
            v4: Ranges::new(zones.networks.iter().filter_map(v4).collect()),
            v6: Ranges::new(zones.networks.iter().filter_map(v6).collect()),
            names: std::iter::once(EXTERNAL.into()).chain(zones.names.iter().map(|name| name.value.clone())).collect(),
            listeners: zones.listeners.iter().map(|(name, zone)| (name.value.clone(), *zone)).collect(),
            named_listeners: zones.listeners.into_iter().map(|(name, _)| name).collect(),
            empty: zones.empty.into(),
            boundless: zones.boundless.into(),
        }
    }

    /// The listener decides where a zone names it, whatever the address: partners and NAT use private addresses too.
    /// On other listeners the longest matching network decides.
    pub(crate) fn locate(&self, facts: &Facts<'_>) -> (ZoneId, Because) {
        if let Identity::User(user) = &facts.identity
            && user.federated
        {
            return (ZoneId::EXTERNAL, Because::Federated);
        }
        let Fact::Known(address) = facts.address else {
            return (ZoneId::EXTERNAL, Because::AddressUnknown);
        };
        if let Some(zone) = self.listeners.get(facts.listener) {
            return (*zone, Because::Listener);
        }
        // An IPv4 client of a dual-stack socket arrives as ::ffff:a.b.c.d.
        let found = match address.to_canonical() {
            IpAddr::V4(v4) if CARRIER_NAT.contains(&v4) => return (ZoneId::EXTERNAL, Because::CarrierNat),
            IpAddr::V4(v4) => self.v4.find(v4.into()),
            IpAddr::V6(v6) => self.v6.find(v6.into()),
        };
        match found {
            ZoneId::EXTERNAL => (ZoneId::EXTERNAL, Because::NoNetwork),
            zone => (zone, Because::Network),
        }
    }

    pub(crate) fn named(&self, name: &Located<String>, problems: &mut Problems) -> Option<ZoneId> {
        let found = self.names.iter().position(|own| **own == *name.value);
        if found.is_none() {
            problems.unknown("zone", name, self.names.iter().map(|own| &**own));
        }
        found.and_then(|index| u16::try_from(index).ok()).map(ZoneId)
    }

    pub(crate) fn name(&self, zone: ZoneId) -> Name {
        self.names.get(zone.index()).cloned().unwrap_or_else(|| EXTERNAL.into())
    }

    /// `external` first, the others as the file has them.
    pub(crate) fn names(&self) -> &[Name] {
        &self.names
    }

    pub(crate) fn named_listeners(&self) -> &[Located<Name>] {
        &self.named_listeners
    }

    pub(crate) fn empty(&self) -> &[Located<Name>] {
        &self.empty
    }

    pub(crate) fn boundless(&self) -> &[Located<IpNet>] {
        &self.boundless
    }
}

#[derive(Default)]
struct Draft {
    names: Vec<Located<Name>>,
    listeners: Vec<(Located<Name>, ZoneId)>,
    networks: Vec<(IpNet, ZoneId)>,
    lines: HashMap<IpNet, u32>,
    empty: Vec<Located<Name>>,
    boundless: Vec<Located<IpNet>>,
}

impl Draft {
    fn add(&mut self, draft: &ZoneDraft, problems: &mut Problems) {
        let name = &draft.name;
        problems.name("zone", name);
        if name.value == EXTERNAL {
            problems.add(
                name.line,
                "the zone `external` cannot be defined",
                "it is every place that is in no other zone; remove it or rename it",
            );
            return;
        }
        if let Some(first) = self.names.iter().find(|own| *own.value == *name.value) {
            problems.duplicate("zone", name, first.line);
            return;
        }
        let own = Located { value: Name::from(name.value.as_str()), line: name.line };
        if draft.networks.is_empty() && draft.listeners.is_empty() {
            self.empty.push(own.clone());
        }
        self.names.push(own);
        let Ok(zone) = u16::try_from(self.names.len()).map(ZoneId) else {
            problems.add(name.line, "more than 65,535 zones", "use fewer");
            return;
        };
        for listener in &draft.listeners {
            problems.name("listener", listener);
            match self.listeners.iter().find(|(other, _)| *other.value == *listener.value) {
                Some((first, _)) => problems.add(
                    listener.line,
                    format!("listener `{}` is already in a zone on line {}", listener.value, first.line),
                    "a listener belongs to one zone; remove one of them",
                ),
                None => {
                    let value = Name::from(listener.value.as_str());
                    self.listeners.push((Located { value, line: listener.line }, zone));
                }
            }
        }
        for network in &draft.networks {
            self.network(network, zone, draft.listeners.is_empty(), problems);
        }
    }

    fn network(&mut self, network: &Located<IpNet>, zone: ZoneId, no_listener: bool, problems: &mut Problems) {
        let (net, line) = (network.value, network.line);
        if net != net.trunc() {
            problems.add(
                line,
                format!("network `{net}` has bits set after its prefix"),
                format!("did you mean `{}`?", net.trunc()),
            );
        }
        match net {
            IpNet::V6(v6) if v6.network().to_ipv4_mapped().is_some() && v6.prefix_len() >= 96 => problems.add(
                line,
                format!("network `{net}` is IPv4 in IPv6 clothes and would match nothing"),
                "write the IPv4 network; clients that arrive as `::ffff:a.b.c.d` are matched as IPv4",
            ),
            IpNet::V4(v4) if CARRIER_NAT.contains(&v4) && no_listener => problems.add(
                line,
                format!("network `{net}` never matches: carriers use 100.64.0.0/10 for their customers"),
                "name the mesh listener instead: `listeners: [mesh]`",
            ),
            _ => {}
        }
        if net.prefix_len() == 0 {
            self.boundless.push(Located { value: net, line });
        }
        match self.lines.insert(net.trunc(), line) {
            Some(first) => problems.add(
                line,
                format!("network `{net}` is already in a zone on line {first}"),
                "a network belongs to one zone; remove one of them",
            ),
            None => self.networks.push((net.trunc(), zone)),
        }
    }
}

/// Addresses cut into ranges that do not overlap; each begins where it says and ends where the next begins.
#[derive(Clone, Debug)]
struct Ranges<A>(Box<[(A, ZoneId)]>);

/// What an address can be counted in.
trait Address: Copy + Ord {
    const ZERO: Self;
    fn next(self) -> Option<Self>;
}

impl Address for u32 {
    const ZERO: Self = 0;
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Address for u128 {
    const ZERO: Self = 0;
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl<A: Address> Ranges<A> {
    /// Networks are either apart or one inside the other, so one sweep with a stack of open ones is enough.
    fn new(mut networks: Vec<(A, A, ZoneId)>) -> Self {
        networks.sort_by_key(|(first, last, _)| (*first, std::cmp::Reverse(*last)));
        let mut cuts = vec![(A::ZERO, ZoneId::EXTERNAL)];
        let mut open: Vec<(A, ZoneId)> = Vec::new();
        let close = |open: &mut Vec<(A, ZoneId)>, cuts: &mut Vec<(A, ZoneId)>, before: Option<A>| {
            while let Some((last, _)) = open.last().copied()
                && before.is_none_or(|next| last < next)
            {
                open.pop();
                let outer = open.last().map_or(ZoneId::EXTERNAL, |(_, zone)| *zone);
                if let Some(next) = last.next() {
                    cuts.push((next, outer));
                }
            }
        };
        for (first, last, zone) in networks {
            close(&mut open, &mut cuts, Some(first));
            cuts.push((first, zone));
            open.push((last, zone));
        }
        close(&mut open, &mut cuts, None);
        // Of several cuts at one address the last one stands.
        cuts.reverse();
        cuts.dedup_by_key(|(at, _)| *at);
        cuts.reverse();
        Self(cuts.into())
    }

    fn find(&self, address: A) -> ZoneId {
        let after = self.0.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).and_then(|index| self.0.get(index)).map_or(ZoneId::EXTERNAL, |(_, zone)| *zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_longest_network_wins(nets in prop::collection::btree_map((any::<u32>(), 0u8..=32), 1u16..9, 0..24), addresses in prop::collection::vec(any::<u32>(), 32)) {
            let nets: HashMap<Ipv4Net, ZoneId> = nets.into_iter()
                .filter_map(|((a, len), zone)| Some((Ipv4Net::new(a.into(), len).ok()?.trunc(), ZoneId(zone))))
                .collect();
            let ranges = Ranges::new(nets.iter().map(|(n, z)| (n.network().into(), n.broadcast().into(), *z)).collect());
            let borders = nets.keys().flat_map(|n| [u32::from(n.network()), u32::from(n.broadcast())])
                .flat_map(|a| [a.wrapping_sub(1), a, a.wrapping_add(1)]);
            for address in addresses.into_iter().chain(borders) {
                let naive = nets.iter().filter(|(n, _)| n.contains(&Ipv4Addr::from(address)))
                    .max_by_key(|(n, _)| n.prefix_len()).map_or(ZoneId::EXTERNAL, |(_, z)| *z);
                prop_assert_eq!(ranges.find(address), naive);
            }
        }
    }
}
