//! What one address may take of the connections and handshakes there are, so that no client costs others more than its
//! share. Knows only addresses that have a connection right now: what it remembers is bounded by the connections.
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One address may hold this part of all handshakes that may be under way.
const PART_OF_HANDSHAKES: usize = 8;

/// A /48 of IPv6, which some providers give to one customer and some to a whole site, has so many shares of a /64.
const SHARES_OF_SITE: usize = 4;

/// How much there is to share.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub connections_per_address: usize,
    pub handshakes: usize,
}

#[derive(Debug, Default)]
pub struct Shares(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    by_sharer: HashMap<Sharer, Share>,
    handshakes: usize,
}

/// A network by its first address and the length of its prefix.
type Sharer = (IpAddr, u8);

#[derive(Debug, Default)]
struct Share {
    connections: usize,
    handshakes: usize,
}

/// A place that is given back when this is dropped.
#[derive(Debug)]
pub struct Place {
    shares: Arc<Shares>,
    address: IpAddr,
    what: What,
}

impl Share {
    fn count(&mut self, what: What) -> &mut usize {
        match what {
            What::Connection => &mut self.connections,
            What::Handshake => &mut self.handshakes,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Connection,
    Handshake,
}

/// Who a share belongs to: one IPv4 address, or one IPv6 /64, which is what a single customer gets.
pub fn sharer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

/// Everybody whose share it counts against, and how many shares they have.
fn sharers(address: IpAddr) -> impl Iterator<Item = (Sharer, usize)> {
    let (own, site) = match sharer(address) {
        IpAddr::V4(address) => ((address.into(), 32), None),
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            ((address.into(), 64), Some((Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into(), 48)))
        }
    };
    std::iter::once((own, 1)).chain(site.map(|site| (site, SHARES_OF_SITE)))
}

impl Table {
    /// One more for everybody it counts against; false, and nothing changed, if one of them has what it may have.
    fn take(&mut self, address: IpAddr, what: What, share: usize) -> bool {
        let full = |(sharer, shares): (Sharer, usize)| {
            let taken = self.by_sharer.get_mut(&sharer).map_or(0, |taken| *taken.count(what));
            taken >= share.saturating_mul(shares)
        };
        if sharers(address).any(full) {
            return false;
        }
        for (sharer, _) in sharers(address) {
            *self.by_sharer.entry(sharer).or_default().count(what) += 1;
        }
        true
    }

    fn give_back(&mut self, address: IpAddr, what: What) {
        for (sharer, _) in sharers(address) {
            let Some(share) = self.by_sharer.get_mut(&sharer) else { continue };
            let count = share.count(what);
            *count = count.saturating_sub(1);
            if share.connections == 0 && share.handshakes == 0 {
                self.by_sharer.remove(&sharer);
            }
        }
    }
}

impl Shares {
    /// One more connection of this address; none if it has its share.
    pub fn connection(self: &Arc<Self>, address: IpAddr, bounds: Bounds) -> Option<Place> {
        let taken = self.lock().take(address, What::Connection, bounds.connections_per_address);
        taken.then(|| Place { shares: self.clone(), address, what: What::Connection })
    }

    /// One more handshake of this address, which has a connection; none if it has its share, or there are none left.
    pub fn handshake(self: &Arc<Self>, address: IpAddr, bounds: Bounds) -> Option<Place> {
        let mut table = self.lock();
        let share = (bounds.handshakes / PART_OF_HANDSHAKES).max(1);
        if table.handshakes >= bounds.handshakes || !table.take(address, What::Handshake, share) {
            return None;
        }
        table.handshakes += 1;
        Some(Place { shares: self.clone(), address, what: What::Handshake })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.shares.lock();
        if self.what == What::Handshake {
            table.handshakes = table.handshakes.saturating_sub(1);
        }
        table.give_back(self.address, self.what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_takes_its_share_and_no_more_and_nothing_is_remembered_of_it() {
        let shares = Arc::new(Shares::default());
        let bounds = Bounds { connections_per_address: 2, handshakes: 16 };
        let connect = |address: &str| shares.connection(ip(address), bounds);
        let kept = [connect("192.0.2.1").unwrap(), connect("::ffff:192.0.2.1").unwrap()];
        assert!(connect("192.0.2.1").is_none());
        let other = connect("192.0.2.2").unwrap();
        let v6 = [connect("2001:db8::1").unwrap(), connect("2001:db8::ffff:1").unwrap()];
        assert!(connect("2001:db8:0:0:9::1").is_none(), "one /64 is one customer");
        assert!(connect("2001:db8:0:1::1").is_some());
        let handshakes = [shares.handshake(ip("192.0.2.1"), bounds), shares.handshake(ip("192.0.2.1"), bounds)];
        assert!(handshakes.iter().all(Option::is_some));
        assert!(shares.handshake(ip("192.0.2.1"), bounds).is_none());
        drop(kept);
        assert!(connect("192.0.2.1").is_some());
        drop((other, v6, handshakes));
        assert!(shares.lock().by_sharer.is_empty());
        assert_eq!(shares.lock().handshakes, 0);
    }

    #[test]
    fn a_48_of_ipv6_has_the_shares_of_four() {
        let shares = Arc::new(Shares::default());
        let bounds = Bounds { connections_per_address: 2, handshakes: 16 };
        let connect = |n: usize| shares.connection(ip(&format!("2001:db8:0:{n:x}::1")), bounds);
        let kept: Vec<_> = (0..8).filter_map(connect).collect();
        assert_eq!(kept.len(), 8);
        assert!(connect(9).is_none(), "another /64 of the same /48");
        assert!(shares.connection(ip("2001:db8:1::1"), bounds).is_some(), "another /48");
        drop(kept);
        assert!(connect(9).is_some());
        assert!(shares.lock().by_sharer.is_empty(), "a refusal leaves nothing behind");
    }

    #[test]
    fn all_together_take_what_there_is() {
        let shares = Arc::new(Shares::default());
        let bounds = Bounds { connections_per_address: 2, handshakes: 3 };
        let taken: Vec<_> = (0..3).map(|n| shares.handshake(ip(&format!("192.0.2.{n}")), bounds)).collect();
        assert!(taken.iter().all(Option::is_some));
        assert!(shares.handshake(ip("192.0.2.9"), bounds).is_none());
        drop(taken);
        assert!(shares.handshake(ip("192.0.2.9"), bounds).is_some());
    }
}
