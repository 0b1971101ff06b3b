//! What an authority may certify: a profile says for what and for how long, an enrolment says about whom.
//!
//! Both come from the configuration and from who signed in, never from a request's own words.
use crate::Error;
use crate::leaf::ascii;
use rcgen::{DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, SanType};
use std::fmt;
use std::net::IpAddr;
use time::Duration;

/// Shorter ones are over before a client has had the time to renew.
const LEAST_LIFE: Duration = Duration::minutes(5);
/// Attribute `userid` (RFC 4519 s2.39): how the gate finds the person whom a certificate belongs to.
const OID_USER_ID: &[u64] = &[0, 9, 2342, 19_200_300, 100, 1, 1];
/// RFC 5280 appendix A, `ub-common-name`.
const MOST_COMMON_NAME: usize = 64;
/// RFC 5280 leaves it open; more names than this are a mistake, and clients refuse large chains.
const MOST_NAMES: usize = 100;

/// For what a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// A person: clientAuth.
    User,
    /// A machine of a person: clientAuth.
    Device,
    /// A program, named by one SPIFFE ID: clientAuth and serverAuth.
    Service,
    /// A TLS server: serverAuth.
    Server,
}

/// A purpose and how long its certificates live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    purpose: Purpose,
    life: Duration,
}

/// About whom a certificate is: what somebody with the right to say so wrote down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enrolment {
    /// For people to read. No verifier of ours asks it.
    pub common_name: String,
    /// The user that it belongs to; the gate refuses it beside anybody else's session.
    pub user: Option<String>,
    pub dns: Vec<String>,
    pub addresses: Vec<IpAddr>,
    pub emails: Vec<String>,
    /// A SPIFFE ID, the only URI in the certificate (X509-SVID s2).
    pub spiffe: Option<String>,
}

impl Purpose {
    pub const ALL: [Self; 4] = [Self::User, Self::Device, Self::Service, Self::Server];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Device => "device",
            Self::Service => "service",
            Self::Server => "server",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == text)
    }

    /// Unless the configuration says otherwise.
    pub fn default_life(self) -> Duration {
        match self {
            Self::User => Duration::hours(12),
            Self::Device | Self::Service => Duration::hours(24),
            Self::Server => Duration::days(30),
        }
    }

    /// Longer than this a stolen key would be good for too long where nobody reads revocation lists.
    pub fn longest_life(self) -> Duration {
        match self {
            Self::User => Duration::hours(72),
            Self::Device | Self::Service => Duration::days(7),
            Self::Server => Duration::days(90),
        }
    }

    pub(crate) fn extended_key_usages(self) -> Vec<ExtendedKeyUsagePurpose> {
        match self {
            Self::User | Self::Device => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Self::Service => vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth],
            Self::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Profile {
    /// # Errors
    /// The life is outside of what the purpose allows.
    pub fn new(purpose: Purpose, life: Duration) -> Result<Self, Error> {
        if life < LEAST_LIFE || life > purpose.longest_life() {
            return Err(Error::ProfileLife { purpose, least: LEAST_LIFE, most: purpose.longest_life() });
        }
        Ok(Self { purpose, life })
    }

    pub fn standard(purpose: Purpose) -> Self {
        Self { purpose, life: purpose.default_life() }
    }

    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    pub fn life(&self) -> Duration {
        self.life
    }

    /// Whether this profile may certify these names.
    ///
    /// # Errors
    /// 1. a kind of name that the profile does not certify; 2. one that it needs is missing; 3. a name that cannot
    ///    stand in a certificate; 4. too many.
    pub fn check(&self, enrolment: &Enrolment) -> Result<(), Error> {
        let Enrolment { common_name, user, dns, addresses, emails, spiffe } = enrolment;
        let purpose = self.purpose;
        let refuse = |why| Err(Error::Enrolment { purpose, why });
        match purpose {
            Purpose::User if user.is_none() => return refuse("it needs the user whom it belongs to"),
            Purpose::User | Purpose::Device if spiffe.is_some() => return refuse("only services have a SPIFFE ID"),
            Purpose::User | Purpose::Device if !addresses.is_empty() => return refuse("it certifies no addresses"),
            Purpose::Service if spiffe.is_none() => return refuse("it needs a SPIFFE ID"),
            Purpose::Server if dns.is_empty() && addresses.is_empty() => {
                return refuse("it needs a DNS name or address");
            }
            Purpose::Server if spiffe.is_some() => return refuse("only services have a SPIFFE ID"),
            Purpose::Service | Purpose::Server if user.is_some() || !emails.is_empty() => {
                return refuse("it belongs to no person");
            }
            _ => {}
        }
        if dns.len() + addresses.len() + emails.len() > MOST_NAMES {
            return refuse("it has too many names");
        }
        for name in [Some(common_name), user.as_ref()].into_iter().flatten() {
            // Control characters have fooled verifiers before (CVE-2009-2408).
            if name.is_empty() || name.chars().count() > MOST_COMMON_NAME || name.chars().any(char::is_control) {
                return Err(Error::Name(name.clone()));
            }
        }
        for name in dns {
            let bare = name.strip_prefix("*.").filter(|_| purpose == Purpose::Server).unwrap_or(name);
            if !is_host(bare) {
                return Err(Error::Name(name.clone()));
            }
        }
        for address in emails {
            let (local, host) = address.rsplit_once('@').unwrap_or_default();
            if local.is_empty() || local.contains('@') || !is_host(host) {
                return Err(Error::Name(address.clone()));
            }
        }
        if let Some(id) = spiffe
            && !is_spiffe(id)
        {
            return Err(Error::NotSpiffe(id.clone()));
        }
        Ok(())
    }
}

impl Enrolment {
    /// Every name with its kind, as a ledger and a person read it: `dns:…`, `uri:…`.
    pub fn described(&self) -> Vec<String> {
        let user = self.user.iter().map(|name| format!("user:{name}"));
        let uri = self.spiffe.iter().map(|id| format!("uri:{id}"));
        let dns = self.dns.iter().map(|name| format!("dns:{name}"));
        let addresses = self.addresses.iter().map(|address| format!("ip:{address}"));
        let emails = self.emails.iter().map(|address| format!("email:{address}"));
        user.chain(uri).chain(dns).chain(addresses).chain(emails).collect()
    }

    pub(crate) fn subject(&self) -> DistinguishedName {
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, DnValue::Utf8String(self.common_name.clone()));
        if let Some(user) = &self.user {
            subject.push(DnType::CustomDnType(OID_USER_ID.to_vec()), DnValue::Utf8String(user.clone()));
        }
        subject
    }

    pub(crate) fn names(&self) -> Result<Vec<SanType>, Error> {
        let mut names = Vec::new();
        for name in &self.dns {
            names.push(SanType::DnsName(ascii(name)?));
        }
        names.extend(self.addresses.iter().map(|address| SanType::IpAddress(*address)));
        for address in &self.emails {
            names.push(SanType::Rfc822Name(ascii(address)?));
        }
        if let Some(id) = &self.spiffe {
            names.push(SanType::URI(ascii(id)?));
        }
        Ok(names)
    }
}

/// A host name of the preferred syntax (RFC 1123 s2.1), lower case, with at least one dot or `localhost`.
fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        let ldh = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(ldh) && !label.starts_with('-') && !label.ends_with('-')
    };
    let last_is_number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    name.len() <= 253 && name.split('.').all(label) && !last_is_number
}

/// SPIFFE-ID s2: a trust domain and a path of plain segments; no query, no fragment, no dots for segments.
fn is_spiffe(id: &str) -> bool {
    let Some((domain, path)) = id.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let in_domain = |byte: u8| plain(byte) && !byte.is_ascii_uppercase();
    let segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(plain);
    id.len() <= 2048
        && (1..=255).contains(&domain.len())
        && domain.bytes().all(in_domain)
        && path.split('/').all(segment)
}
