//! The checked tree: what runs. Every name in it refers to something that exists, every file was readable,
//! every URL parsed. Made only by [`crate::load`].
use crate::branding::Branding;
use crate::secret::Secret;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{Candidate, Country, Policy, Problem, SourceTrust};
use torhaus_certs::Profile;
use url::Url;

#[derive(Debug)]
pub struct Config {
    /// The file this came from.
    pub file: PathBuf,
    pub state_dir: PathBuf,
    /// None: the state is a file in `state_dir`, of one process alone.
    pub postgres: Option<Postgres>,
    pub listeners: Vec<Listener>,
    pub portal: Portal,
    /// How long a browser, once it was here, uses no plain http for the same host (RFC 6797). None: it is not told.
    pub hsts: Option<Duration>,
    /// Peers whose PROXY lines and `X-Forwarded-*` count. Empty: nobody's.
    pub trusted_proxies: Vec<IpNet>,
    /// Other proxies that may ask what this gate decides (`/.torhaus/verify`). Empty: nobody may.
    pub forward_auth: Vec<AskingProxy>,
    pub trust_domains: BTreeMap<String, TrustDomain>,
    pub ca: Ca,
    /// None: no ACME server, no enrolment.
    pub acme: Option<Acme>,
    /// At least one. The first one's names are bare in the policy.
    pub providers: Vec<Arc<Provider>>,
    pub bearer: Vec<BearerIssuer>,
    /// Place names with a country, before any GeoIP database.
    pub named_networks: Vec<NamedNetwork>,
    /// May be missing or broken: it is data, which others write while we run.
    pub geoip_database: Option<PathBuf>,
    pub directory: Option<Arc<Directory>>,
    /// Nodes of the mesh; believed on listeners that are declared to be on it.
    pub headscale: Option<Arc<Headscale>>,
    pub posture: PostureLookup,
    pub routes: Vec<Arc<Route>>,
    /// None: no cluster is looked at.
    pub kubernetes: Option<Kubernetes>,
    pub sessions: Sessions,
    pub limits: Limits,
    pub branding: Branding,
    /// Where metrics and health are also served, beside the unix socket.
    pub admin: Option<Admin>,
    /// None: nothing is traced, and what clients say of traces passes untouched.
    pub traces: Option<Arc<Traces>>,
    pub policy: Arc<Policy>,
    /// The file that the configuration names, whatever was loaded.
    pub policy_file: PathBuf,
    /// A policy that may come to run, and how far it counts already.
    pub candidate: Option<Candidate>,
    /// The files of the running policy as they were read: the base first.
    pub policy_texts: Vec<PolicyText>,
    /// What `check` names and the log says once, but what does not stop loading.
    pub warnings: Vec<Warning>,
    /// Every file read: a change of one of them is a reason to load again.
    pub files: Vec<PathBuf>,
}

/// One file of a policy, to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyText {
    pub path: PathBuf,
    /// Relative to the folder of the base, without `..`.
    pub name: String,
    pub text: String,
    /// The signature that was verified, if one was asked for.
    pub signature: Option<String>,
}

/// Where devices and their state are known from.
#[derive(Clone, Debug)]
pub struct PostureLookup {
    /// Read by [`crate::inventory`]; may be missing or broken, as the database of countries may.
    pub inventory_file: Option<PathBuf>,
    /// Whose client certificates name our devices.
    pub trust_domains: Vec<Arc<str>>,
    /// How old a report may be: older ones count as none, and a list that could not be read again for so long as well.
    pub max_age: Duration,
    /// Devices may report their own state, with their client certificate.
    pub agent: bool,
    pub sources: Vec<Arc<PostureSource>>,
}

/// A device management that is asked over HTTPS.
#[derive(Debug, PartialEq, Eq)]
pub struct PostureSource {
    /// In records, metrics and `status`.
    pub name: Arc<str>,
    pub api: PostureApi,
    pub trust: SourceTrust,
    pub polled: PolledApi,
}

#[derive(Debug, PartialEq, Eq)]
pub enum PostureApi {
    Fleet {
        /// Of the server, without `/api/...`.
        url: Url,
        token: Secret,
    },
    /// Microsoft Intune, through Graph.
    Intune {
        /// Where tokens come from.
        login: Url,
        /// Where devices are asked for.
        graph: Url,
        client_id: String,
        client_secret: Secret,
    },
    Json {
        url: Url,
        /// Sent with each question: name and value.
        header: Option<(String, Secret)>,
        mapping: Box<JsonMapping>,
    },
}

/// Where in an answer each value stands: JSON pointers (RFC 6901), from the device but for the first two.
#[derive(Debug, PartialEq, Eq)]
pub struct JsonMapping {
    /// The list of devices; empty: the answer itself.
    pub devices: String,
    /// The URL of the next page.
    pub next: Option<String>,
    pub id: String,
    pub serial: Option<String>,
    pub owner: Option<String>,
    pub managed: Option<String>,
    pub observed_at: String,
    pub disk_encrypted: Option<String>,
    pub firewall: Option<String>,
    pub secure_boot: Option<String>,
    pub compliant: Option<String>,
    pub edr: Option<String>,
    pub patched_at: Option<String>,
    pub patch_age_days: Option<String>,
    pub os: Option<String>,
    pub os_version: Option<String>,
}

/// How a source that is asked over HTTPS is believed, and how often it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolledApi {
    /// None: the system's authorities.
    pub ca_file: Option<PathBuf>,
    pub poll: Duration,
    /// An answer older than this is no answer.
    pub max_stale: Duration,
    /// How long one answer may take.
    pub timeout: Duration,
}

/// The control server of a mesh, which knows whose address is whose.
#[derive(Debug, PartialEq, Eq)]
pub struct Headscale {
    /// Of the server, without `/api/...`.
    pub url: Url,
    pub api_key: Secret,
    /// Whose people own its nodes.
    pub provider: Arc<str>,
    /// That is the first provider: names are bare in the policy.
    pub first: bool,
    pub user_attribute: HeadscaleUser,
    /// Addresses that only the mesh gives out.
    pub networks: Vec<IpNet>,
    pub polled: PolledApi,
}

/// Which of a node's user is the name in the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadscaleUser {
    Name,
    Email,
}

#[derive(Clone, Debug)]
pub struct Warning {
    pub file: PathBuf,
    pub problem: Problem,
}

#[derive(Clone, Debug)]
pub struct Listener {
    pub name: Arc<str>,
    pub address: SocketAddr,
    pub kind: ListenerKind,
    /// Expect a PROXY protocol header from peers in `trusted_proxies`.
    pub proxy_protocol: bool,
    /// `mesh: headscale`: this listener sits on the mesh, so mesh addresses count here.
    pub mesh: Option<String>,
}

#[derive(Clone, Debug)]
pub enum ListenerKind {
    Tls {
        certificates: Vec<CertificateFiles>,
        /// Obtained and renewed by torhaus itself, beside those from files.
        acme: Option<Box<ListenerAcme>>,
    },
    /// Answers with a redirect to https, and `/generate_204`.
    RedirectToHttps,
}

/// Where a listener's own certificate comes from, by ACME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerAcme {
    pub directory: Url,
    /// DNS names of the certificate, lower case, sorted; none of them a wildcard.
    pub names: Vec<String>,
    /// `mailto:` addresses.
    pub contact: Vec<String>,
    /// The directory's own authority; none: the system's.
    pub ca_file: Option<PathBuf>,
    pub challenge: AcmeChallenge,
    pub profile: Option<String>,
    pub eab: Option<AcmeEab>,
}

/// How names are proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcmeChallenge {
    /// At the listener that redirects to https.
    Http,
    /// In a handshake with any listener that speaks TLS.
    TlsAlpn,
}

/// A key of the directory's operator, which an account is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeEab {
    pub kid: String,
    /// base64url.
    pub hmac_key: Secret,
}

/// Another proxy that asks before it lets a request through.
#[derive(Clone, Debug)]
pub struct AskingProxy {
    pub style: AskingStyle,
    /// Where it connects from. What it says about a request is believed.
    pub addresses: Vec<IpNet>,
}

/// How a proxy describes the request that it asks about, and what it can do with an answer. Fixed for each peer: if the
/// headers decided which ones count, a client could add the others, which its proxy passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskingStyle {
    /// nginx `auth_request`: `X-Original-URL`, `X-Original-Method`; understands 2xx, 401 and 403.
    XOriginal,
    /// Traefik, Caddy: `X-Forwarded-Proto`, `-Host`, `-Uri`, `-Method`; pass any other answer on to the client.
    XForwarded,
    /// Envoy: gRPC (`envoy.service.auth.v3`); sets and removes headers, and passes any answer on.
    Grpc,
}

/// A chain and its key, chosen by SNI from the DNS names in the leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    /// A DER OCSP response of the issuer, stapled to the handshake (RFC 6066 section 8).
    pub ocsp_file: Option<PathBuf>,
    /// DNS names of the leaf, lower case; `*.example.test` for a wildcard.
    pub names: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Portal {
    /// As browsers reach it, without a trailing slash.
    pub url: Url,
    /// Lower case, without port.
    pub host: String,
}

/// A client certificate authority.
#[derive(Clone, Debug)]
pub struct TrustDomain {
    pub name: Arc<str>,
    pub signers: Signers,
    pub crl_file: Option<PathBuf>,
    /// Tier that a certificate of this domain proves for a service.
    pub proves: Option<Arc<str>>,
    pub vouches_for: Vouches,
}

/// Who signs the certificates of a trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signers {
    /// The authorities in this PEM file.
    File(PathBuf),
    /// `own_ca: true`: torhaus itself, as [`Ca`] says. At most one trust domain is of this kind.
    Own,
}

/// How torhaus issues certificates, where a trust domain says `own_ca`.
#[derive(Clone, Debug)]
pub struct Ca {
    /// In the names of root and issuing authority.
    pub name: String,
    /// New authorities certify only these DNS names and what is below them; empty: any.
    pub permitted_dns: Vec<String>,
    /// Where revocation lists are fetched: `{crl_base}/{issuer}.crl`. Without a trailing slash.
    pub crl_base: String,
    /// What the authorities' keys are sealed under; none: `keys/seal.key` in the state folder.
    pub key: Option<Secret>,
    /// The root's key is elsewhere: none is made, and issuing authorities are imported.
    pub offline_root: bool,
    /// A second place for revocations, merged at every start; none: `ca/revocations.jsonl` in the state folder.
    pub revocations_file: Option<PathBuf>,
    /// One for each purpose, in the order of `Purpose::ALL`.
    pub profiles: [Profile; 4],
}

/// A database that several replicas share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postgres {
    /// With user and password; one for each server of which one is the primary at any time.
    pub urls: Vec<Secret>,
    /// Who may vouch for the server.
    pub ca_file: Option<PathBuf>,
    /// The same in every replica: what is kept is sealed under it.
    pub key: Secret,
    pub connections: u32,
    /// How long sessions that are known go on while the database cannot be asked.
    pub live_without: Duration,
}

/// The ACME server on the portal's host, and the enrolment of devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// Names of enrolled devices lie below it.
    pub client_zone: String,
    /// What a person proves before enrolling a device; one of the policy's ladder.
    pub tier: Arc<str>,
    /// How long a device may renew before its person enrols it again.
    pub enrolment: Duration,
    pub probe: AcmeProbe,
    pub limits: AcmeLimits,
}

/// What validation of challenges may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeProbe {
    /// Empty: nothing.
    pub networks: Vec<IpNet>,
    /// None: the first name server of the system.
    pub resolver: Option<SocketAddr>,
    pub http_port: u16,
    pub tls_port: u16,
}

/// Most requests within an hour; see `torhaus_certs::acme::Rates`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcmeLimits {
    pub new_accounts: u32,
    pub new_orders: u32,
    pub failed_validations: u32,
    pub finalizes: u32,
}

/// Which services an authority may name: the trust domains of their SPIFFE IDs. Without such a bound the authority of a
/// partner could sign itself a certificate of our own backup service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vouches {
    /// It is the only authority there is, and the file does not say.
    ForAny,
    /// What the file lists; of several authorities one that lists nothing names no service.
    For(Box<[Arc<str>]>),
}

impl Vouches {
    /// `spiffe` is the trust domain of a SPIFFE ID.
    pub fn includes(&self, spiffe: &str) -> bool {
        match self {
            Self::ForAny => true,
            Self::For(listed) => listed.iter().any(|own| **own == *spiffe),
        }
    }
}

#[derive(Debug)]
pub struct Provider {
    pub name: Arc<str>,
    /// True for the first provider: its users and groups are bare names in the policy.
    pub first: bool,
    /// Identities of it are `external` wherever they sit.
    pub federated: bool,
    /// What people see on the sign-in page.
    pub title: String,
    pub issuer: Url,
    /// The issuer exactly as typed; `iss` must equal it byte for byte.
    pub issuer_text: Arc<str>,
    pub ca_file: Option<PathBuf>,
    pub client: OidcClient,
    pub scopes: Vec<String>,
    pub user_claim: String,
    pub groups_claim: String,
    /// None: what its tokens say of a device counts for nothing.
    pub posture: Option<PostureClaim>,
    pub tiers: BTreeMap<Arc<str>, TierProof>,
}

/// A claim of the ID token in which a provider reports the state of the device that somebody signs in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostureClaim {
    pub claim: String,
    /// How far the provider's report is believed.
    pub trust: SourceTrust,
}

#[derive(Clone, Debug)]
pub struct OidcClient {
    pub id: String,
    pub secret: Secret,
}

/// How a provider proves one tier. All that is given must hold; `{}` means: a login there proves it.
#[derive(Clone, Debug, Default)]
pub struct TierProof {
    /// The `acr` of the ID token is one of these.
    pub acr: Vec<String>,
    pub amr_all: Vec<String>,
    pub amr_any: Vec<String>,
    /// One OIDC client per tier (authentik): the token was issued to this client.
    pub client: Option<OidcClient>,
    /// Who issues that client's tokens, on the provider's own server; none: the provider's issuer. Of authentik each
    /// application is one.
    pub client_issuer: Option<Arc<str>>,
    /// Sent as `acr_values`; defaults to `acr`.
    pub request_acr_values: Vec<String>,
    /// Ask for `acr` as an essential claim.
    pub request_essential: bool,
}

/// As which listener requests count that another proxy asks about: the one it asked by says nothing about where the
/// caller is.
pub const FORWARD_AUTH_LISTENER: &str = "forward-auth";

impl TierProof {
    /// `{}`: a login at the provider proves it, whatever the token says about how.
    pub fn is_plain_login(&self) -> bool {
        self.acr.is_empty() && self.amr_all.is_empty() && self.amr_any.is_empty() && self.client.is_none()
    }
}

/// JWTs of API callers.
#[derive(Clone, Debug)]
pub struct BearerIssuer {
    pub issuer: Url,
    pub issuer_text: Arc<str>,
    pub audience: String,
    pub ca_file: Option<PathBuf>,
    /// Name prefix of its users and groups, and of no other issuer's: as the provider with the same issuer, else as given,
    /// else the issuer's host.
    pub provider: Arc<str>,
    pub first: bool,
    pub federated: bool,
    pub user_claim: String,
    pub groups_claim: String,
    pub tiers: BTreeMap<Arc<str>, TierProof>,
}

#[derive(Clone, Debug)]
pub struct NamedNetwork {
    pub name: Arc<str>,
    pub networks: Vec<IpNet>,
    pub country: Option<Country>,
}

/// Where live facts about people come from: groups, and whether the account is still in use.
#[derive(Debug, PartialEq, Eq)]
pub struct Directory {
    /// Whose people are in it.
    pub provider: Arc<str>,
    /// That is the first provider: its groups are bare names in the policy.
    pub first: bool,
    /// How often those who are signed in are looked at.
    pub poll: Duration,
    /// An answer older than this is no answer.
    pub max_stale: Duration,
    /// How long one server may take for one answer.
    pub timeout: Duration,
    pub source: DirectorySource,
}

#[derive(Debug, PartialEq, Eq)]
pub enum DirectorySource {
    Ldap(Arc<Ldap>),
    Authentik(Arc<Authentik>),
}

impl Directory {
    /// As `status` and the metrics call it, and its key below `lookups`.
    pub fn name(&self) -> &'static str {
        match &self.source {
            DirectorySource::Ldap(_) => "ldap",
            DirectorySource::Authentik(_) => "authentik",
        }
    }

    /// None: the system's authorities.
    pub fn ca_file(&self) -> Option<&Path> {
        match &self.source {
            DirectorySource::Ldap(ldap) => Some(&ldap.ca_file),
            DirectorySource::Authentik(authentik) => authentik.ca_file.as_deref(),
        }
    }

    /// Servers that are asked one after the other.
    pub fn servers(&self) -> usize {
        match &self.source {
            DirectorySource::Ldap(ldap) => ldap.urls.len(),
            DirectorySource::Authentik(_) => 1,
        }
    }
}

/// authentik's own users and groups, by its API.
#[derive(Debug, PartialEq, Eq)]
pub struct Authentik {
    /// Of the server, without `/api/...`.
    pub url: Url,
    pub ca_file: Option<PathBuf>,
    pub token: Secret,
}

/// A directory by LDAP (RFC 4511), over TLS from the first byte.
#[derive(Debug, PartialEq, Eq)]
pub struct Ldap {
    /// `ldaps://…`, at least one; the next one is asked when one does not answer.
    pub urls: Vec<Url>,
    pub ca_file: PathBuf,
    pub bind_dn: String,
    pub bind_password: Secret,
    pub base_dn: String,
    pub group_base_dn: String,
    pub schema: LdapSchema,
    /// Whose value is the user's name.
    pub user_attribute: String,
    pub user_filter: String,
    pub group_filter: String,
    pub group_name: GroupName,
    pub member_attribute: String,
    pub groups_by: GroupsBy,
    pub nested_groups: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LdapSchema {
    /// Active Directory and Samba: `tokenGroups`, primary groups, `userAccountControl`.
    ActiveDirectory,
    /// OpenLDAP, 389 Directory Server and others.
    Generic,
}

/// What `group:…` in the policy means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupName {
    Dn,
    Attribute(String),
}

/// How the groups of somebody are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupsBy {
    /// Groups that name the person.
    Member,
    /// What the person's own `memberOf` names.
    MemberOf,
}

#[derive(Clone, Debug)]
pub struct Route {
    pub name: Arc<str>,
    pub host: HostPattern,
    /// Canonical, begins with `/`, no trailing slash but for `/` itself. Matches on segment borders.
    pub path: String,
    /// Only this path, which may end with `/`, and nothing below it. Never of a file.
    pub exact: bool,
    /// None: another proxy serves it, and asks here by forward authentication.
    pub upstream: Option<Upstream>,
    /// Row of the policy table.
    pub resource: Arc<str>,
    /// Same for all routes of a host.
    pub client_auth: ClientAuth,
    pub headers: IdentityHeaders,
    /// `Host` as the browser sent it (default), or the upstream's own.
    pub preserve_host: bool,
    /// Origins (`https://app.example.test`) whose scripts may call this route with credentials. Their preflights are
    /// answered by the gate: they carry no identity, so nothing of them may reach the application.
    pub cors_origins: Vec<String>,
    /// Name, description and icon for the portal's list; hidden if `listed` is false.
    pub title: String,
    pub description: Option<String>,
    pub listed: bool,
    /// A browser that has to sign in is sent to the portal; off for callers that are none: 401.
    pub sign_in: bool,
    /// The header in which the application gets the person's access token of the identity provider; none by default.
    /// As `Bearer TOKEN` in `Authorization`, else the bare token.
    pub access_token: Option<String>,
    pub takes: Takes,
    /// Upgrade tokens beside `websocket`, lower case.
    pub upgrades: Vec<String>,
    /// `%2F` in a path is part of a name for this application (package names, object keys).
    pub allow_encoded_slash: bool,
    /// Largest body of a request in bytes, if not that of [`Limits`].
    pub max_body: Option<u64>,
    /// Slowest that its body may come in bytes per second, if not that of [`Limits`].
    pub min_body_rate: Option<u64>,
    pub line: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// Lower case.
    Exact(String),
    /// `*.apps.example.test`, kept as `apps.example.test`: one label more.
    Wildcard(String),
    /// Any that no other pattern has. Never of a file.
    Any,
}

#[derive(Clone, Debug)]
pub struct Upstream {
    pub scheme: UpstreamScheme,
    /// At least one.
    pub primary: Vec<UpstreamServer>,
    /// Asked only while no primary server is well.
    pub standby: Vec<UpstreamServer>,
    pub balance: Balance,
    pub health: Option<HealthCheck>,
    pub tls: Option<UpstreamTls>,
    pub connect_timeout: Duration,
    /// Time to the first byte of the answer; none for streams that ask for it.
    pub response_timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamScheme {
    Http,
    Https,
    /// HTTP/2 without TLS (gRPC).
    H2c,
    /// HTTP/2 over TLS (gRPC).
    H2,
}

impl UpstreamScheme {
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::H2)
    }
}

/// One server of an application.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamServer {
    /// A name or an address, without brackets.
    Tcp { host: String, port: u16 },
    /// A socket of this machine.
    Unix(PathBuf),
}

/// Which server gets a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    #[default]
    RoundRobin,
    /// The one with the fewest requests open.
    LeastConnections,
    /// Always the same one for a session, a certificate, or else an address (rendezvous hashing): when a server goes,
    /// only its own sessions move.
    Sticky,
}

/// Asked of each server regularly; one that fails is not sent requests until it answers again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    pub probe: Probe,
    pub every: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A connection opens, TLS included.
    Tcp,
    /// GET of this path answers 2xx or 3xx.
    Http { path: String },
    /// `grpc.health.v1.Health/Check` of this service answers `SERVING`.
    Grpc { service: String },
}

/// How an https upstream is believed. There is always exactly one way.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// Sent as SNI and checked in the certificate; none: the host of each server.
    pub server_name: Option<String>,
    pub verify: UpstreamVerify,
    /// The certificate that we show.
    pub client: Option<ClientPair>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admin {
    pub address: SocketAddr,
    /// `danger_beyond_loopback: true`; otherwise the address is a loopback one.
    pub beyond_loopback: bool,
}

/// Where spans of requests are sent, and of how many.
#[derive(Clone, Debug, PartialEq)]
pub struct Traces {
    /// OTLP over HTTP, with its path.
    pub endpoint: Url,
    /// None: the system's authorities.
    pub ca_file: Option<PathBuf>,
    pub headers: Vec<SentHeader>,
    /// Share of the requests that begin a trace here, 0 to 1.
    pub sample: f64,
    pub service_name: String,
    /// Whose traces are continued: callers in these networks. Empty: nobody's.
    pub continue_from: Vec<IpNet>,
}

/// A certificate of ours and its key, for an upstream that asks for one.
#[derive(Clone, Debug)]
pub struct ClientPair {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

#[derive(Clone, Debug)]
pub enum UpstreamVerify {
    /// Roots of the operating system.
    System,
    CaFile(PathBuf),
    /// Authorities in PEM, from elsewhere than a file.
    CaPem(Arc<str>),
    /// SHA-256 of the leaf's DER.
    Pin([u8; 32]),
    /// `danger_skip_verification: true`
    DangerNone,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientAuth {
    pub mode: ClientAuthMode,
    /// Sorted names.
    pub trust_domains: Vec<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientAuthMode {
    None,
    Optional,
    Required,
}

/// What the application's server can take, and what it is sent besides.
#[derive(Clone, Debug, Default)]
pub struct Takes {
    /// Most header lines; none: as many as the gate takes.
    pub max_headers: Option<usize>,
    /// Most bytes of header lines, line breaks included.
    pub max_header_bytes: Option<usize>,
    /// It does not read chunked requests.
    pub content_length: bool,
    /// Headers of the client that it must not see.
    pub strip: Vec<String>,
    /// Headers of the gate's own, with secrets. They replace the client's.
    pub sent: Vec<SentHeader>,
    /// How long an unused connection to it is kept.
    pub keep_alive: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentHeader {
    pub name: String,
    pub value: Secret,
}

/// How several groups stand in their header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupsAs {
    #[default]
    Commas,
    /// `a|b`, as authentik's outposts do.
    Pipes,
    /// A line of its own for each, as Kubernetes' impersonation wants them.
    Lines,
}

/// What the application is told, and under which names. All of these are stripped from what the client sent.
#[derive(Clone, Debug)]
pub struct IdentityHeaders {
    /// Header names, default `X-Forwarded-User`, `-Email`, `-Groups`; `None` = not sent.
    pub user: Option<String>,
    pub email: Option<String>,
    pub groups: Option<String>,
    pub name: Option<String>,
    /// How several groups stand in their header.
    pub groups_as: GroupsAs,
    /// Only these groups are told, when given.
    pub groups_limited_to: Option<Vec<String>>,
    /// `X-Torhaus-Assertion`.
    pub assertion: bool,
    /// RFC 9440 `Client-Cert`.
    pub client_certificate: bool,
}

/// Ingresses of a Kubernetes cluster, served beside the routes of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    /// `spec.controller` of the ingress classes that are ours.
    pub controller: String,
    /// Name of the lease by which one of several replicas is the one that writes.
    pub lease: String,
    /// None: as a pod of the cluster, or as `KUBECONFIG` says.
    pub kubeconfig_file: Option<PathBuf>,
    pub publish: Publish,
    /// What each may do, by name; `*` is any that is not named. Without `*` only these are looked at.
    pub namespaces: BTreeMap<String, Namespace>,
    /// Pods may be at addresses of this machine.
    pub loopback_endpoints: bool,
}

/// Where people reach the ingresses, as their status says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publish {
    Nothing,
    /// What a cluster says about this service.
    Service {
        namespace: String,
        name: String,
    },
    Addresses(Vec<String>),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Rows that its ingresses may be bound to, beside its own (`NAMESPACE/…`).
    pub resources: Vec<Arc<str>>,
    /// Hosts that it may have; empty: any that nobody has.
    pub hosts: Vec<HostPattern>,
    /// It may serve hosts that nobody names.
    pub any_host: bool,
}

impl Kubernetes {
    /// Whether all namespaces of the cluster are looked at.
    pub fn watches_all(&self) -> bool {
        self.namespaces.contains_key(crate::check::EVERY)
    }

    /// What a namespace may do: what stands under its name, and the resources that are everybody's. None: it is not
    /// looked at.
    pub fn grant(&self, namespace: &str) -> Option<Namespace> {
        let every = self.namespaces.get(crate::check::EVERY);
        let Some(own) = self.namespaces.get(namespace) else { return every.cloned() };
        let mut grant = own.clone();
        if let Some(every) = every {
            grant.resources.extend(every.resources.iter().cloned());
            if grant.hosts.is_empty() {
                grant.hosts.clone_from(&every.hosts);
            }
        }
        Some(grant)
    }
}

#[derive(Clone, Debug)]
pub struct Sessions {
    /// Ended when unused for this long.
    pub idle: Duration,
    /// Ended this long after login in any case.
    pub absolute: Duration,
}

/// Bounds against a caller who takes more than its share; each default has its reason in `docs/config.md`.
#[derive(Clone, Debug)]
pub struct Limits {
    pub handshake_timeout: Duration,
    /// From the first byte of a request's head to its last; the first head begins with the connection.
    pub header_timeout: Duration,
    pub max_connections: usize,
    /// Of one IPv4 address, or one IPv6 /64.
    pub max_connections_per_address: usize,
    /// TLS handshakes under way, all listeners together.
    pub max_handshakes: usize,
    pub max_header_bytes: usize,
    pub max_headers: usize,
    /// Largest body of a request in bytes, where its route does not say.
    pub max_body: u64,
    /// Slowest a request's body may come, in bytes per second, once it had time to begin; 0: as slow as it likes.
    pub min_body_rate: u64,
    /// Sign-ins begun and callbacks, of one IPv4 address or one IPv6 /64.
    pub logins_per_minute: u32,
    /// Of one device; an address may send as many as several devices.
    pub reports_per_minute: u32,
    pub idle_timeout: Duration,
    pub drain: Duration,
}
