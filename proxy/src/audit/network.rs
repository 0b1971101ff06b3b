//! The network that a caller nobody knows is counted under.
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What one subscriber usually holds: /24 of IPv4, /64 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    V4([u8; 3]),
    V6([u16; 4]),
    /// All of IPv4 or IPv6, when callers come from more networks than are followed.
    AllV4,
    AllV6,
    Unknown,
}

impl Network {
    pub fn of(address: Option<IpAddr>) -> Self {
        match address.map(|a| a.to_canonical()) {
            None => Self::Unknown,
            Some(IpAddr::V4(v4)) => {
                let [a, b, c, _] = v4.octets();
                Self::V4([a, b, c])
            }
            Some(IpAddr::V6(v6)) => {
                let [a, b, c, d, ..] = v6.segments();
                Self::V6([a, b, c, d])
            }
        }
    }

    pub fn everywhere(self) -> Self {
        match self {
            Self::V4(_) => Self::AllV4,
            Self::V6(_) => Self::AllV6,
            other => other,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4([a, b, c]) => write!(f, "{}/24", Ipv4Addr::new(*a, *b, *c, 0)),
            Self::V6([a, b, c, d]) => write!(f, "{}/64", Ipv6Addr::new(*a, *b, *c, *d, 0, 0, 0, 0)),
            Self::AllV4 => f.write_str("0.0.0.0/0"),
            Self::AllV6 => f.write_str("::/0"),
            Self::Unknown => f.write_str("unknown network"),
        }
    }
}
