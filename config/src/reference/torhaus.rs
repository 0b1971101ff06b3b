//! Every key of `torhaus.yaml`: what it means, and why its default is what it is.
use super::{Section, key};

pub(super) const SECTIONS: &[Section] = &[
    Section {
        title: "The whole",
        text: "",
        keys: &[
            key("version", "number", "required", "version of the file format: `1`"),
            key("state_dir", "folder", "`state`", "database, audit log, admin socket; of torhaus alone"),
            key("store", "mapping", "", "another place for sessions, certificates and enrolments than a file in `state_dir`; takes effect at the next start ([high-availability.md](high-availability.md))"),
            key("store.postgres", "mapping", "", "a PostgreSQL database, version 12 or later, which several replicas share"),
            key("store.postgres.url_file", "file", "required", "holds `postgres://user:password@host:5432/database`; the user owns the database. Several hosts (`host1:5432,host2:5432`): whichever is the primary is used"),
            key("store.postgres.ca_file", "file", "public authorities", "who may vouch for the server, whose name is checked; a server elsewhere is never believed without. On this machine, without this key, it is as the URL's `sslmode` says"),
            key("store.postgres.seal_file", "file", "required", "a secret of at least 32 characters, the same for every replica; tokens and keys in the database are sealed under it")
                .because("a copy of the database alone then opens nothing"),
            key("store.postgres.connections", "number", "`10`", "most connections of one replica; at least 2, as one listens to the other replicas"),
            key("store.postgres.live_without", "duration", "`5m`", "how long sessions that a replica knows go on while the database cannot be asked; logins and enrolments are refused at once")
                .because("a restart or failover of the database takes less; what is ended meanwhile elsewhere goes on for as long"),
            key("policy_file", "file", "`policy.yaml`", "the policy table"),
            key("policy_candidate_file", "file", "", "a policy that may come to run; it is decided beside the running one, and differences are recorded"),
            key("policy_candidate_mode", "`shadow`, share", "`shadow`", "`10%`: for so many people the stricter of both answers counts; the same people every time"),
            key("policy_signed_by", "public key", "", "a minisign key: every policy file needs a signature by it in `FILE.minisig`, or it is not loaded"),
            key("hsts", "duration or `off`", "`365d`", "how long a browser that was here asks the same host by https alone (`Strict-Transport-Security`, RFC 6797); an answer that has the header keeps it, other hosts and those below are not meant"),
            key("trusted_proxies", "list of networks", "`[]`", "peers whose PROXY headers are read; `X-Forwarded-*` of anybody are overwritten")
                .because("whoever may write them can say to be anywhere, so nobody may by default"),
        ],
    },
    Section {
        title: "`listeners`: where connections come in",
        text: "At least one speaks TLS. The certificate is chosen by the name the client asks for (SNI); certificate and \
               key are read again when their files change.",
        keys: &[
            key("listeners", "list", "required", "addresses to listen on"),
            key("listeners[].name", "name", "required", "stands in zones of the policy, in logs and metrics"),
            key("listeners[].address", "address:port", "required", "`0.0.0.0:8443`, `[::]:8443`"),
            key("listeners[].tls", "mapping", "", "speak TLS; every listener has this or `redirect_to_https`"),
            key("listeners[].tls.certificates", "list", "`[]`", "certificates with their keys; needed unless `acme` obtains one"),
            key("listeners[].tls.certificates[].cert_file", "file", "required", "PEM: the server's certificate, then its issuers"),
            key("listeners[].tls.certificates[].key_file", "file", "required", "PEM without a passphrase, readable by torhaus alone"),
            key("listeners[].tls.certificates[].ocsp_file", "file", "", "an OCSP response (DER) of the issuer for this certificate, stapled to the handshake"),
            key("listeners[].tls.acme", "mapping", "", "obtain a certificate, and renew it; the old one is served meanwhile"),
            key("listeners[].tls.acme.directory", "https URL", "required", "of an ACME server (RFC 8555): a public authority, the company's own, another torhaus. To use it is to agree to its terms of service"),
            key("listeners[].tls.acme.names", "list of hosts", "all others", "the names of the certificate; without, the portal and every host of a route that no certificate of a file is for"),
            key("listeners[].tls.acme.contact", "list of addresses", "`[]`", "`mailto:it@example.test`: whom the authority may write to"),
            key("listeners[].tls.acme.ca_file", "file", "system roots", "PEM: the only authority believed for the directory itself"),
            key("listeners[].tls.acme.challenge", "`http-01`, `tls-alpn-01`", "as listeners allow", "how names are proved: http-01 where a listener redirects to https (the authority connects to port 80), else tls-alpn-01 (port 443)"),
            key("listeners[].tls.acme.profile", "name", "", "one of the profiles that the directory offers"),
            key("listeners[].tls.acme.eab", "mapping", "", "a key of the directory's operator, for directories that give an account to whom they know"),
            key("listeners[].tls.acme.eab.kid", "text", "required", "its name"),
            key("listeners[].tls.acme.eab.hmac_key_file", "file", "required", "the key itself in base64url, as `torhaus eab create` prints it"),
            key("listeners[].redirect_to_https", "true/false", "`false`", "speak plain HTTP, only to send browsers to https and to answer `/generate_204`"),
            key("listeners[].proxy_protocol", "true/false", "`false`", "expect a PROXY protocol header from peers in `trusted_proxies`"),
            key("listeners[].mesh", "`headscale`", "", "this listener is on the mesh, so mesh addresses count here")
                .because("carrier NAT uses the same 100.64.0.0/10, so it counts nowhere else"),
        ],
    },
    Section {
        title: "`portal`: the gate's own host",
        text: "Login, the list of applications, devices. Register `https://HOST/callback/PROVIDER` at each identity provider.",
        keys: &[
            key("portal", "mapping", "required", "the gate's own host"),
            key("portal.url", "https URL", "required", "as browsers reach it, with the port if it is not 443, without a path"),
        ],
    },
    Section {
        title: "`forward_auth`: other proxies that ask this gate",
        text: "nginx, Apache, Traefik, Caddy or Envoy serve an application and ask `/.torhaus/verify` of any host of this gate \
               whether a request may pass ([how](../examples/forward-auth/README.md)). Such requests come by the listener `forward-auth` \
               in zones of the policy, from the address that the proxy names.",
        keys: &[
            key("forward_auth", "mapping", "", "nobody may ask without it"),
            key("forward_auth.peers", "list", "required", "who may ask"),
            key("forward_auth.peers[].proxy", "`nginx`, `apache`, `traefik`, `caddy`, `envoy`", "required", "decides what describes the request: `X-Original-URL`, `X-Forwarded-Uri` and its kin, or a message of gRPC (`ext_authz`, at the portal's host)"),
            key("forward_auth.peers[].addresses", "list of networks", "required", "where it connects from; whatever it says about a request is believed"),
        ],
    },
    Section {
        title: "`trust_domains`: authorities of client certificates",
        text: "Named, so that routes and rows can say whose certificates they mean.",
        keys: &[
            key("trust_domains", "names", "`{}`", "authorities by name"),
            key("trust_domains.*", "mapping", "", "one authority"),
            key("trust_domains.*.ca_file", "file", "required without `own_ca`", "PEM: the certificates of those who may sign"),
            key("trust_domains.*.crl_file", "file", "", "PEM: revoked certificates; once it is out of date all are refused"),
            key("trust_domains.*.proves", "tier", "none", "the tier that a certificate proves for a service; services cannot step up"),
            key("trust_domains.*.spiffe_trust_domains", "list of names", "any, if it is the only authority; else `[]`", "the trust domains of the services it may name: `[example.test]` for `spiffe://example.test/backup`")
                .because("otherwise the authority of a partner could sign a certificate of your own backup service; required with several authorities and a policy that names services"),
            key("trust_domains.*.own_ca", "true/false", "`false`", "certificates issued by torhaus itself, as `ca` says; what it revokes is refused on the next request"),
        ],
    },
    Section {
        title: "`ca`: certificates that torhaus issues itself",
        text: "For the trust domain with `own_ca: true`. Root and issuing authority are made at the first start; their keys \
               are kept in the database, sealed (AES-256-GCM-SIV). The portal publishes `/ca/root.pem` and the revocation \
               lists, also on a listener with `redirect_to_https`. `torhaus ca` and `torhaus cert` are the commands. A change of \
               `key_file`, `key_env` or `revocations_file` counts from the next start.",
        keys: &[
            key("ca", "mapping", "", "the authority; each key of it has a default"),
            key("ca.name", "text", "`branding.organisation`", "stands in the names of new authorities"),
            key("ca.permitted_dns", "list of names", "`[]`: any", "new authorities certify only these DNS names and what is below them, and no addresses (RFC 5280 section 4.2.1.10)")
                .because("whoever trusts the root then risks nothing else; it does not change authorities that exist"),
            key("ca.crl_url", "URL", "`/ca` of the portal's host", "where others fetch revocation lists; `/ISSUER.crl` is added. Over http where a listener has `redirect_to_https`")
                .because("a verifier that fetched the list over https would need a list to believe the server"),
            key("ca.key_file", "file", "`keys/seal.key` in `state_dir`", "a secret of at least 32 characters; the authorities' keys are sealed under it")
                .because("a copy of the state folder alone then signs nothing"),
            key("ca.key_env", "name", "", "the environment variable that holds this secret instead"),
            key("ca.offline_root", "true/false", "`false`", "the root's key is elsewhere: nothing is made, and `torhaus ca import` brings an issuing authority")
                .because("until then nothing is issued and no certificate of the trust domain is believed"),
            key("ca.revocations_file", "file", "`ca/revocations.jsonl` in `state_dir`", "a second place where every revocation is written, merged at every start")
                .because("put it outside of what you back up and restore as one, and a restored state revives no certificate"),
            key("ca.lifetimes", "mapping", "", "how long certificates live"),
            key("ca.lifetimes.user", "duration", "`12h`", "of people: `5m` to `72h`").because("a working day"),
            key("ca.lifetimes.device", "duration", "`24h`", "of devices: `5m` to `7d`").because("renewal is unattended"),
            key("ca.lifetimes.service", "duration", "`24h`", "of services: `5m` to `7d`").because("renewal is unattended"),
            key("ca.lifetimes.server", "duration", "`30d`", "of servers: `5m` to `90d`")
                .because("browsers keep connections for long, and servers are restarted to read a new one"),
        ],
    },
    Section {
        title: "`acme`: certificates for devices and services, by ACME",
        text: "The portal serves ACME (RFC 8555) below `/acme/directory`, for clients as they are: certbot, lego, uacme, \
               dehydrated, cert-manager. An account needs a one-time key: people get one for a device on the portal's page \
               `/devices`, operators make one for a service with `torhaus eab create`.",
        keys: &[
            key("acme", "mapping", "none: no ACME server", "enrolment of devices and services; needs a trust domain with `own_ca`"),
            key("acme.client_zone", "host", "required", "devices are named below it: `LABEL.USER.client_zone`. No challenge proves such a name"),
            key("acme.tier", "tier", "required", "what a person proves before enrolling or revoking a device"),
            key("acme.enrolment", "duration", "`90d`", "how long a device renews before its person enrols it again: `1h` to `366d`")
                .because("renewal asks no browser; a device that was forgotten ends by itself"),
            key("acme.probe", "mapping", "nothing is reached", "what the validation of challenges may look at"),
            key("acme.probe.networks", "list of networks", "`[]`: none", "addresses that challenges may be looked for at")
                .because("a name can point at anything; whoever holds a key could otherwise knock on every door inside"),
            key("acme.probe.resolver", "address:port", "the system's first", "the name server that is asked: `127.0.0.1:53`"),
            key("acme.probe.http_port", "number", "`80`", "where http-01 looks (RFC 8555 section 8.3)"),
            key("acme.probe.tls_port", "number", "`443`", "where tls-alpn-01 looks (RFC 8737)"),
            key("acme.limits", "mapping", "", "most requests within an hour"),
            key("acme.limits.new_accounts", "number", "`60`", "new accounts of one address, good or bad")
                .because("one-time keys cannot be tried out"),
            key("acme.limits.new_orders", "number", "`60`", "orders of one account"),
            key("acme.limits.failed_validations", "number", "`20`", "failed challenges of one account"),
            key("acme.limits.finalizes", "number", "`60`", "certificates of one account")
                .because("each costs a signature"),
        ],
    },
    Section {
        title: "`identity`: who says who people are",
        text: "Users and groups of the first provider are bare names in the policy (`user:alice`), those of every other \
               provider stand behind its name (`user:partner/bob`).",
        keys: &[
            key("identity", "mapping", "required", "identity providers and bearer issuers"),
            key("identity.providers", "list", "required", "OpenID providers, at least one"),
            key("identity.providers[].name", "name", "required", "lower case; stands in URLs and in the policy"),
            key("identity.providers[].title", "text", "its name", "what people read on the sign-in page"),
            key("identity.providers[].issuer", "https URL", "required", "exactly as its discovery document says"),
            key("identity.providers[].danger_allow_http", "true/false", "`false`", "accept an issuer over http")
                .because("whoever sits on the way can sign in as anybody; for a test on one machine"),
            key("identity.providers[].ca_file", "file", "system roots", "PEM: the provider's private authority"),
            key("identity.providers[].client_id", "text", "required", "the client that torhaus is registered as"),
            key("identity.providers[].client_secret_file", "file", "required", "its secret, one line, readable by torhaus alone"),
            key("identity.providers[].scopes", "list of texts", "`[openid, profile, email, groups]`", "what is asked for; `openid` must be there"),
            key("identity.providers[].user_claim", "claim", "`sub`", "what `user:alice` in the policy means"),
            key("identity.providers[].groups_claim", "claim", "`groups`", "what `group:hr` in the policy means; absent is unknown, not none"),
            key("identity.providers[].posture_claim", "claim", "none", "the state of the device that somebody signs in with, as the provider reports it ([how](posture-claim.md))"),
            key("identity.providers[].posture_trust", "`self`, `agent`, `mdm`", "`agent`", "how far that claim is believed"),
            key("identity.providers[].federated", "true/false", "`false`", "its people are `external` wherever they are"),
            key("identity.providers[].tiers", "names", "required", "how each tier of the policy is proven there; `{}`: by any login"),
            key("identity.providers[].tiers.*", "mapping", "", "one tier; all that is given must hold"),
            key("identity.providers[].tiers.*.acr", "list of texts", "", "the `acr` of the ID token is one of these"),
            key("identity.providers[].tiers.*.amr", "mapping", "", "what the `amr` of the ID token must have"),
            key("identity.providers[].tiers.*.amr.all", "list of texts", "", "all of these"),
            key("identity.providers[].tiers.*.amr.any", "list of texts", "", "at least one of these"),
            key("identity.providers[].tiers.*.client_id", "text", "", "an own client for this tier (authentik): its tokens prove it"),
            key("identity.providers[].tiers.*.client_secret_file", "file", "", "the secret of that client"),
            key("identity.providers[].tiers.*.issuer", "https URL", "the provider's", "the issuer of that client's tokens, on the same server (authentik: each application is one)"),
            key("identity.providers[].tiers.*.request", "mapping", "", "how the tier is asked for"),
            key("identity.providers[].tiers.*.request.acr_values", "text or list", "as `acr`", "sent as `acr_values`"),
            key("identity.providers[].tiers.*.request.essential", "true/false", "`false`", "ask for `acr` as an essential claim (Keycloak)"),
        ],
    },
    Section {
        title: "`identity.bearer`: tokens of API callers",
        text: "A bearer JWT of an issuer that is not named here is the application's own: it passes, and identifies nobody.",
        keys: &[
            key("identity.bearer", "list", "`[]`", "issuers of JWTs"),
            key("identity.bearer[].issuer", "https URL", "required", "exactly as `iss` says"),
            key("identity.bearer[].name", "name", "the provider's, else the issuer's host", "stands before the names of its users and groups, as in `partner/alice`; no other issuer has it"),
            key("identity.bearer[].audience", "text", "required", "what `aud` must name"),
            key("identity.bearer[].danger_allow_http", "true/false", "`false`", "accept an issuer over http"),
            key("identity.bearer[].ca_file", "file", "as the provider's", "PEM: the issuer's private authority"),
            key("identity.bearer[].user_claim", "claim", "as the provider's, else `sub`", "the name of the caller"),
            key("identity.bearer[].groups_claim", "claim", "as the provider's, else `groups`", "the groups of the caller"),
            key("identity.bearer[].federated", "true/false", "as the provider's, else `false`", "its callers are `external` wherever they are"),
            key("identity.bearer[].tiers", "names", "required", "what its tokens prove, as for providers"),
            key("identity.bearer[].tiers.*", "mapping", "", "one tier"),
            key("identity.bearer[].tiers.*.acr", "list of texts", "", "the token's `acr` is one of these"),
            key("identity.bearer[].tiers.*.amr", "mapping", "", "what the token's `amr` must have"),
            key("identity.bearer[].tiers.*.amr.all", "list of texts", "", "all of these"),
            key("identity.bearer[].tiers.*.amr.any", "list of texts", "", "at least one of these"),
            key("identity.bearer[].tiers.*.client_id", "text", "", "not for bearers: refused"),
            key("identity.bearer[].tiers.*.client_secret_file", "file", "", "not for bearers: refused"),
            key("identity.bearer[].tiers.*.issuer", "https URL", "", "not for bearers: without effect"),
            key("identity.bearer[].tiers.*.request", "mapping", "", "without effect: nothing is asked for"),
            key("identity.bearer[].tiers.*.request.acr_values", "text or list", "", "without effect"),
            key("identity.bearer[].tiers.*.request.essential", "true/false", "", "without effect"),
        ],
    },
    Section {
        title: "`lookups`: further facts",
        text: "The database of countries and the list of devices are data that others write while Torhaus runs: each is read \
               again within seconds of being replaced. One that is missing or broken stops nothing; its facts are unknown, \
               and `torhaus status` says so. The form of the list of devices is shown by \
               [examples/conditional-access/devices.yaml](../examples/conditional-access/devices.yaml).",
        keys: &[
            key("lookups", "mapping", "", "where further facts come from"),
            key("lookups.ldap", "mapping", "", "groups and the state of accounts from a directory ([its page](directory-ldap.md))")
                .because("they replace what a token says: it is as old as the login"),
            key("lookups.ldap.url", "URL or list", "required", "`ldaps://host[:port]`; the next one is asked when one does not answer"),
            key("lookups.ldap.ca_file", "file", "required", "PEM: the authority of the servers' certificates; no other is believed"),
            key("lookups.ldap.bind_dn", "text", "required", "the account that torhaus reads with: a DN, or on Active Directory `name@domain`"),
            key("lookups.ldap.bind_password_file", "file", "required", "its password, one line, readable by torhaus alone"),
            key("lookups.ldap.base_dn", "DN", "required", "where people are"),
            key("lookups.ldap.group_base_dn", "DN", "`base_dn`", "where groups are; groups elsewhere do not count"),
            key("lookups.ldap.schema", "`active_directory`, `generic`", "`active_directory`", "Active Directory and Samba, or any other"),
            key("lookups.ldap.user_attribute", "attribute", "`sAMAccountName`; generic: `uid`", "whose value is the name that `user_claim` gives"),
            key("lookups.ldap.user_filter", "filter", "people; see its page", "who counts as a person"),
            key("lookups.ldap.group_filter", "filter", "security groups; see its page", "what counts as a group"),
            key("lookups.ldap.group_name", "attribute or `dn`", "`sAMAccountName`; generic: `cn`", "what `group:hr` in the policy means")
                .because("a `cn` may exist once in each folder; use `dn` or `group_base_dn` where others may make groups"),
            key("lookups.ldap.member_attribute", "attribute", "`member`", "by which a group names its members; `memberUid` for POSIX groups"),
            key("lookups.ldap.groups_by", "`member`, `member_of`", "`member`", "search groups that name the person, or read the person's `memberOf`"),
            key("lookups.ldap.nested_groups", "true/false", "`true`", "groups in groups count"),
            key("lookups.ldap.provider", "name", "the first provider", "whose people are in this directory"),
            key("lookups.ldap.poll", "duration", "`30s`", "how often everybody who is signed in is looked at")
                .because("a leaver is out within a minute; 2,000 people are 40 questions"),
            key("lookups.ldap.max_stale", "duration", "`5m`", "an answer older than this counts as unknown")
                .because("long enough to start a domain controller again, short enough that nobody lives on old rights"),
            key("lookups.ldap.timeout", "duration", "`3s`", "how long one server may take for one answer")
                .because("a directory answers in milliseconds; a login waits this long at most for each server"),
            key("lookups.authentik", "mapping", "", "instead of `ldap`: groups and the state of accounts from authentik's API ([its page](directory-authentik.md))"),
            key("lookups.authentik.url", "URL", "required", "authentik, without a path; http for an address of this machine only"),
            key("lookups.authentik.token_file", "file", "required", "an API token that may view users and groups, one line, readable by torhaus alone"),
            key("lookups.authentik.ca_file", "file", "system roots", "PEM: the authority of its certificate"),
            key("lookups.authentik.provider", "name", "the first provider", "whose people are in it"),
            key("lookups.authentik.poll", "duration", "`30s`", "how often everybody who is signed in is looked at"),
            key("lookups.authentik.max_stale", "duration", "`5m`", "an answer older than this counts as unknown"),
            key("lookups.authentik.timeout", "duration", "`3s`", "how long one answer may take"),
            key("lookups.headscale", "mapping", "", "devices of the mesh: their names, owners and tags ([its page](headscale.md))"),
            key("lookups.headscale.url", "URL", "required", "the control server, without a path; http for an address of this machine only"),
            key("lookups.headscale.api_key_file", "file", "required", "a key of `headscale apikeys create`, one line, readable by torhaus alone"),
            key("lookups.headscale.ca_file", "file", "system roots", "PEM: the authority of its certificate"),
            key("lookups.headscale.provider", "name", "the first provider", "whose people own its nodes"),
            key("lookups.headscale.user_attribute", "`name`, `email`", "`name`", "which of a node's user is the name that `user_claim` gives"),
            key("lookups.headscale.networks", "list of networks", "`[100.64.0.0/10, fd7a:115c:a1e0::/48]`", "addresses that only the mesh gives out: `prefixes` of Headscale")
                .because("a node is found by its address; of other addresses the control server does not say whose they are"),
            key("lookups.headscale.poll", "duration", "`30s`", "how often all nodes are read; somebody new is looked up at once")
                .because("a node that is gone loses its name within this time; each question costs the control server a password hash"),
            key("lookups.headscale.max_stale", "duration", "`5m`", "nodes read longer ago than this count as unknown")
                .because("long enough to start the control server again, short enough that an address is not given to another node"),
            key("lookups.headscale.timeout", "duration", "`5s`", "how long one answer may take; no request waits for it"),
            key("lookups.posture", "mapping", "", "devices and their state; at least one of `inventory_file`, `agent`, `sources`"),
            key("lookups.posture.inventory_file", "file", "", "the list of devices; see above"),
            key("lookups.posture.trust_domains", "list of names", "the only one", "whose client certificates name our devices: by common name, DNS name or serial number")
                .because("a partner's authority could name its laptop after one of ours"),
            key("lookups.posture.max_age", "duration", "`24h`", "how old a report may be where a condition does not say; also how long a list counts that could not be read again")
                .because("device management hears from a laptop about every 8 hours"),
            key("lookups.posture.agent", "true/false", "`false`", "devices report their own state with `torhaus posture report` and their client certificate ([its page](posture-report.md))"),
            key("lookups.posture.sources", "list", "`[]`", "device managements that are asked over HTTPS ([their page](posture.md))"),
            key("lookups.posture.sources[].name", "name", "required", "in records, metrics and `status`"),
            key("lookups.posture.sources[].kind", "`fleet`, `intune`, `json`", "required", "Fleet's REST API, Microsoft Intune through Graph, or any list of devices in JSON"),
            key("lookups.posture.sources[].url", "URL", "required; `intune`: Microsoft's", "the server (`fleet`), or what is asked (`json`)"),
            key("lookups.posture.sources[].ca_file", "file", "system roots", "PEM: the authority of its certificate"),
            key("lookups.posture.sources[].token_file", "file", "required for `fleet`", "the API token, one line, readable by torhaus alone"),
            key("lookups.posture.sources[].header", "name", "`Authorization: Bearer`", "`json`: the header that the token is sent in, as it is"),
            key("lookups.posture.sources[].tenant", "name", "required for `intune`", "id or domain of the tenant"),
            key("lookups.posture.sources[].client_id", "text", "required for `intune`", "the application that may read devices"),
            key("lookups.posture.sources[].client_secret_file", "file", "required for `intune`", "its secret"),
            key("lookups.posture.sources[].source_trust", "`self`, `agent`, `mdm`", "`agent`; `intune`: `mdm`", "how far it is believed"),
            key("lookups.posture.sources[].poll", "duration", "`5m`", "how often all devices are read"),
            key("lookups.posture.sources[].max_stale", "duration", "`30m`", "a list read longer ago than this counts as unknown"),
            key("lookups.posture.sources[].timeout", "duration", "`10s`", "how long one answer may take; no request waits for it"),
            key("lookups.posture.sources[].mapping", "mapping", "required for `json`", "where each value stands, as JSON pointers (RFC 6901) from the device"),
            key("lookups.posture.sources[].mapping.devices", "pointer", "the answer itself", "the list of devices"),
            key("lookups.posture.sources[].mapping.next", "pointer", "one page", "the URL of the next page, of the same server"),
            key("lookups.posture.sources[].mapping.id", "pointer", "required", "the name of the device, as its certificate has it, or for people to read"),
            key("lookups.posture.sources[].mapping.serial", "pointer", "", "serial number of the hardware"),
            key("lookups.posture.sources[].mapping.owner", "pointer", "", "whose it is, as in `user:alice`"),
            key("lookups.posture.sources[].mapping.managed", "pointer", "", "true or false"),
            key("lookups.posture.sources[].mapping.observed_at", "pointer", "required", "when the device was in this state: RFC 3339, or seconds since 1970"),
            key("lookups.posture.sources[].mapping.disk_encrypted", "pointer", "", "true or false"),
            key("lookups.posture.sources[].mapping.firewall", "pointer", "", "true or false"),
            key("lookups.posture.sources[].mapping.secure_boot", "pointer", "", "true or false"),
            key("lookups.posture.sources[].mapping.compliant", "pointer", "", "true or false"),
            key("lookups.posture.sources[].mapping.edr", "pointer", "", "`healthy`, `unhealthy`, `absent`"),
            key("lookups.posture.sources[].mapping.patched_at", "pointer", "", "when updates were last installed"),
            key("lookups.posture.sources[].mapping.patch_age_days", "pointer", "", "the same as a number of days before `observed_at`"),
            key("lookups.posture.sources[].mapping.os", "pointer", "", "`windows`, `macos`, `linux`, `ios`, `android`, `chromeos`"),
            key("lookups.posture.sources[].mapping.os_version", "pointer", "", "numbers and dots"),
            key("lookups.geoip", "mapping", "", "countries of addresses"),
            key("lookups.geoip.database_file", "file", "", "a country database in MaxMind's format; read again when it is replaced; broken or missing, the country is unknown"),
            key("lookups.geoip.named_networks", "names", "`{}`", "places you know yourself; they count before the database"),
            key("lookups.geoip.named_networks.*", "mapping", "", "one place"),
            key("lookups.geoip.named_networks.*.networks", "list of networks", "required", "`[10.0.0.0/8]`"),
            key("lookups.geoip.named_networks.*.country", "country code", "none", "two capitals, `DE`"),
        ],
    },
    Section {
        title: "`routes`: which application is behind which host",
        text: "The longest `path` of the host wins, on the borders of `/`. An exact host wins over a wildcard.",
        keys: &[
            key("routes", "list", "`[]`", "host and path to application"),
            key("routes[].name", "name", "required", "stands in logs and metrics; the audience of the assertion"),
            key("routes[].host", "host", "required", "`wiki.example.test` or `*.apps.example.test`; a listener must have a certificate for it"),
            key("routes[].path", "path", "`/`", "this path and all below it"),
            key("routes[].resource", "row", "required", "the row of the policy table that decides"),
            key("routes[].upstream", "URL", "required", "the application, without a path: `http://`, `https://`, `h2c://`, `h2://` or `unix:/run/app.sock`; `forward_auth` if another proxy serves it"),
            key("routes[].upstream.primary", "list of URLs", "", "instead of one URL: several servers, all reached in the same way"),
            key("routes[].upstream.standby", "list of URLs", "`[]`", "servers that are asked only while all of those are down"),
            key("routes[].upstream.balance", "`round_robin`, `least_connections`, `sticky`", "`round_robin`", "who gets a request; `sticky`: the same server for a session, by its handle at the gate and not by a cookie of the application"),
            key("routes[].upstream.health", "mapping", "", "ask every server regularly; without it, a server that cannot be reached is left alone for a while"),
            key("routes[].upstream.health.probe", "`tcp`, `http`, `grpc`", "required", "a connection opens; a page answers 2xx or 3xx; `grpc.health.v1.Health/Check` answers `SERVING`"),
            key("routes[].upstream.health.path", "path", "", "the page for `http`"),
            key("routes[].upstream.health.service", "text", "the whole server", "the service for `grpc`"),
            key("routes[].upstream.health.every", "duration", "`5s`", "how often; a standby takes over within this time"),
            key("routes[].upstream_tls", "mapping", "system roots", "how an https application is believed; needed if it is named by its address"),
            key("routes[].upstream_tls.ca_file", "file", "", "PEM: its private authority, or its own certificate"),
            key("routes[].upstream_tls.pin_sha256", "fingerprint", "", "of its certificate: `openssl x509 -noout -fingerprint -sha256`"),
            key("routes[].upstream_tls.server_name", "host", "host of `upstream`", "the name sent to it and expected in its certificate"),
            key("routes[].upstream_tls.client_cert_file", "file", "", "PEM: the certificate that the gate shows to the application"),
            key("routes[].upstream_tls.client_key_file", "file", "", "PEM: its key, unencrypted"),
            key("routes[].upstream_tls.danger_skip_verification", "true/false", "`false`", "believe whoever answers")
                .because("then anybody on the way reads and writes everything; `check` warns of it"),
            key("routes[].connect_timeout", "duration", "`5s`", "how long to wait for a connection to the application")
                .because("a machine in the same network answers in milliseconds; longer only hides that it is down"),
            key("routes[].response_timeout", "duration or `off`", "`60s`", "how long to wait for the first byte of an answer")
                .because("a report may take its time, a hanging application must not hold connections for ever; `off` for long polls"),
            key("routes[].profile", "name", "", "what a known application needs: stands for settings of this route, and routes below it (`torhaus profile show NAME`); what the route says itself counts"),
            key("routes[].keep_alive", "duration", "`55s`", "how long an unused connection to the application is kept")
                .because("servers close theirs after 60 to 75 s; an application that closes sooner would meet requests with a closed door"),
            key("routes[].request", "mapping", "", "what the application's server can take"),
            key("routes[].request.max_headers", "number", "", "most header lines; more are refused here, with a page that says so")
                .because("some servers drop the connection without an answer"),
            key("routes[].request.max_header_bytes", "size", "", "most bytes of all header lines together"),
            key("routes[].request.content_length", "true/false", "`false`", "it does not read chunked requests: short bodies are given a length, longer ones without are refused"),
            key("routes[].request.strip", "list of headers", "`[]`", "headers of the client that it must not see"),
            key("routes[].send", "mapping", "", "headers with secrets of the gate's own; they replace the client's"),
            key("routes[].send.*", "mapping", "", "by the header's name, for example `Authorization`"),
            key("routes[].send.*.file", "file", "required", "the value, in one line"),
            key("routes[].send.*.prefix", "text", "", "what stands before it: `\"Bearer \"`"),
            key("routes[].send.*.basic_user", "text", "", "the file holds the password of this user (Basic, RFC 7617)"),
            key("routes[].access_token", "`off`, `Authorization`, header", "`off`", "the header in which this application gets the person's access token of the identity provider: `Bearer TOKEN` in `Authorization`, where it replaces what the client sent, else the bare token. For sessions only; renewed before it ends. Whom it is for and what it may do is the provider's business: it is the token of the client that torhaus is there, with `identity.providers[].scopes`")
                .because("whoever has it can act as the person wherever the provider's token counts"),
            key("routes[].sign_in", "true/false", "`true`", "send browsers to sign in; `false`: 401, for applications whose callers are programs"),
            key("routes[].client_auth", "mapping", "`{ mode: none }`", "client certificates; the same for all routes of a host")
                .because("TLS asks for the certificate before the path is known"),
            key("routes[].client_auth.mode", "`none`, `optional`, `required`", "required", "whether a certificate is asked for"),
            key("routes[].client_auth.trust_domains", "list of names", "`[]`", "whose certificates count"),
            key("routes[].headers", "mapping", "", "under which names the application is told who it is; `off` for not at all"),
            key("routes[].headers.user", "header or `off`", "`X-Forwarded-User`", "the user"),
            key("routes[].headers.email", "header or `off`", "`X-Forwarded-Email`", "the address"),
            key("routes[].headers.groups", "header or `off`", "`X-Forwarded-Groups`", "the groups, separated by commas"),
            key("routes[].headers.name", "header or `off`", "`off`", "the full name"),
            key("routes[].headers.groups_as", "`commas`, `pipes`, `lines`", "`commas`", "how several groups are told: `a,b`, `a|b`, or a header line for each"),
            key("routes[].headers.groups_limited_to", "list of names", "all", "only these groups are told"),
            key("routes[].headers.assertion", "true/false", "`true`", "send `X-Torhaus-Assertion`, a signed statement of who it is"),
            key("routes[].headers.client_certificate", "true/false", "`false`", "send the client certificate as `Client-Cert` (RFC 9440)"),
            key("routes[].preserve_host", "true/false", "`true`", "send `Host` as the browser did; `false`: the upstream's own. A redirect with the gate's name and the application's scheme or port arrives as one to the gate; with `false`, so does one with the application's own name"),
            key("routes[].cors_origins", "list of origins", "`[]`", "`https://host[:port]` whose scripts may call this route; the gate answers their preflights")
                .because("a preflight carries no identity, so it never reaches the application"),
            key("routes[].title", "text", "its name", "what people read in the portal"),
            key("routes[].description", "text", "", "a sentence below it"),
            key("routes[].listed", "true/false", "`true`", "show it in the portal"),
            key("routes[].allow_encoded_slash", "true/false", "`false`", "let `%2F` in paths through as part of a name; both readings of the path must lead to this route")
                .because("package registries and object stores need it; any other application would read another path than the policy"),
            key("routes[].max_body", "size", "", "body of a request to this route; else `limits.max_body`"),
            key("routes[].min_body_rate", "size", "", "slowest body of a request to this route per second; else `limits.min_body_rate`; `0B` for streams that a client sends"),
            key("routes[].upgrades", "list of texts", "`[]`", "protocols beside `websocket` that may take over a connection"),
        ],
    },
    Section {
        title: "`kubernetes`: ingresses of a cluster",
        text: "Ingresses of the classes with this controller are served beside `routes` ([how](kubernetes.md)). A namespace \
               binds its ingresses to rows named `NAMESPACE/…`, and to those that are listed for it here. A host belongs \
               to the namespace that had it first; hosts of `routes` and the portal's belong to nobody else.",
        keys: &[
            key("kubernetes", "mapping", "", "no cluster is looked at without it"),
            key("kubernetes.controller", "name", "`torhaus.dev/ingress`", "`spec.controller` of the ingress classes that are ours; one for each zone"),
            key("kubernetes.lease", "name", "`torhaus`", "the lease, in our own namespace, by which one of several replicas writes status and events"),
            key("kubernetes.kubeconfig_file", "file", "that of the pod", "how to reach the cluster from outside; else the pod's own account, or `KUBECONFIG`"),
            key("kubernetes.publish_service", "`NAMESPACE/NAME`", "", "ingresses get the addresses of this service as their status"),
            key("kubernetes.publish_addresses", "list of addresses or hosts", "`[]`", "or these"),
            key("kubernetes.danger_loopback_endpoints", "true/false", "`false`", "let a slice of endpoints name addresses of this machine")
                .because("no pod has one; whoever could write one would reach what listens here for us alone"),
            key("kubernetes.namespaces", "names", "`{ \"*\": {} }`", "what each namespace may do; `*` is any that is not named, and without it only those that are named are looked at")
                .because("every namespace begins with rows of its own name only, which are written in the central policy"),
            key("kubernetes.namespaces.*", "mapping", "", "one namespace"),
            key("kubernetes.namespaces.*.resources", "list of rows", "`[]`", "rows that its ingresses may be bound to, beside its own")
                .because("the name of a row is no secret; whoever could bind to any row could open an application by a lax one"),
            key("kubernetes.namespaces.*.hosts", "list of hosts", "any", "hosts that its ingresses may have, as `*.team-a.example.test`: one label, or those named"),
            key("kubernetes.namespaces.*.any_host", "true/false", "`false`", "its ingresses may serve hosts that nobody names (rules without a host, default backends)"),
        ],
    },
    Section {
        title: "`sessions`",
        text: "",
        keys: &[
            key("sessions", "mapping", "", "how long a login lasts"),
            key("sessions.idle", "duration", "`8h`", "a session ends when it is unused for this long")
                .because("a lunch break keeps it, a night ends it"),
            key("sessions.absolute", "duration", "`24h`", "a session ends this long after login in any case")
                .because("whoever left yesterday signs in again, and is asked by the provider"),
        ],
    },
    Section {
        title: "`limits`: bounds against those who take more than their share",
        text: "",
        keys: &[
            key("limits", "mapping", "", "bounds for each connection and for all"),
            key("limits.handshake_timeout", "duration", "`10s`", "TLS must be agreed by then")
                .because("a slow phone needs two seconds; who needs longer holds a place without asking for anything"),
            key("limits.header_timeout", "duration", "`15s`", "the head of a request must be complete by then; 408")
                .because("a browser sends its head in one piece; the first one has this long from the handshake"),
            key("limits.max_connections", "number", "`10000`", "connections at the same time, all listeners together")
                .because("at under 40 KB for each idle one, 10,000 need 400 MB"),
            key("limits.max_connections_per_address", "number", "`1000`", "connections of one IPv4 address, or one IPv6 /64, and four times as many of a /48; peers in `trusted_proxies` are counted by whom they speak for")
                .because("an office behind one address has some hundreds; a tenth of all is nobody's share alone"),
            key("limits.max_handshakes", "number", "`1000`", "TLS handshakes under way at the same time, each from its ClientHello; of one address an eighth")
                .because("a half-open one costs up to 64 KiB, and a core finishes some thousand in a second"),
            key("limits.max_header_bytes", "size", "`32KiB`", "all headers of a request together, at most `64KiB`; 431")
                .because("browsers send up to 16 KiB of cookies for a host; nothing honest needs twice that"),
            key("limits.max_headers", "number", "`100`", "headers of a request; 431")
                .because("browsers send about 20, proxies in front add some"),
            key("limits.max_body", "size", "`1GiB`", "body of a request, where its route does not say; 413")
                .because("bodies stream through and cost no memory here, but an application may write them to its disk"),
            key("limits.min_body_rate", "size", "`512B`", "a body comes at least this fast per second, after 20 s to begin; `0B` switches it off; 408")
                .because("the slowest mobile line is ten times faster; who sends a byte a minute holds a connection of the application"),
            key("limits.logins_per_minute", "number", "`300`", "sign-ins begun and answers of providers from one address, /64 in IPv6; 429")
                .because("an office behind one address signs in within minutes in the morning; guessing needs far more"),
            key("limits.reports_per_minute", "number", "`10`", "reports of one device about its own state, and fifty times as many from one address; 429")
                .because("a timer sends one an hour; an office behind one address has some hundred devices"),
            key("limits.idle_timeout", "duration", "`75s`", "a connection without a request is closed")
                .because("browsers and proxies keep theirs for 60 s; closing later than they do loses no request"),
            key("limits.drain", "duration", "`30s`", "at shutdown requests in flight get this long")
                .because("Kubernetes kills after 30 s; a request that takes longer would be cut there anyway"),
        ],
    },
    Section {
        title: "`branding` and `admin`",
        text: "",
        keys: &[
            key("branding", "mapping", "", "what people see on the gate's pages"),
            key("branding.organisation", "text", "`Torhaus`", "the name on every page"),
            key("branding.contact", "text", "", "where people get help: an address, a URL or words"),
            key("branding.imprint", "https URL", "", "a link at the foot of every page"),
            key("branding.logo_file", "file", "the gatehouse", "an SVG or a PNG of at most 64 KiB, in the place of ours; served from memory, read again when it changes. It stands on light and dark pages")
                .because("it is on every page, a refusal on a phone included"),
            key("branding.accent", "mapping", "a blue", "the colour of links and buttons"),
            key("branding.accent.light", "colour", "required", "on light pages: `\"#1d5f82\"`; in quotes, as `#` begins a comment")
                .because("a contrast below 4.5 to the page cannot be read by everybody (WCAG 2.2, 1.4.3), and is refused"),
            key("branding.accent.dark", "colour", "required", "on dark pages: `\"#8cc8ea\"`"),
            key("branding.texts", "mapping", "", "what is said in one language, in the place of the above"),
            key("branding.texts.en", "mapping", "", "in English"),
            key("branding.texts.en.product", "text", "`branding.organisation`", "what people call this gate: `Example Access`"),
            key("branding.texts.en.help", "text", "", "a sentence or two at the foot of every page, at most 400 characters"),
            key("branding.texts.en.contact", "text", "`branding.contact`", "where people get help"),
            key("branding.texts.en.imprint", "https URL", "`branding.imprint`", "the imprint"),
            key("branding.texts.de", "mapping", "", "in German"),
            key("branding.texts.de.product", "text", "`branding.organisation`", "as in English"),
            key("branding.texts.de.help", "text", "", "as in English"),
            key("branding.texts.de.contact", "text", "`branding.contact`", "as in English"),
            key("branding.texts.de.imprint", "https URL", "`branding.imprint`", "as in English"),
            key("admin", "mapping", "", "metrics and health beside the unix socket `admin.sock`"),
            key("admin.address", "address:port", "required", "on the loopback interface only: `127.0.0.1:9090`")
                .because("nobody is asked who they are there"),
            key("admin.danger_beyond_loopback", "true/false", "`false`", "take another address than a loopback one")
                .because("a monitoring in a cluster comes from outside of the pod; a network policy has to stop everybody else"),
        ],
    },
    Section {
        title: "`telemetry`: traces of requests",
        text: "One span per request, sent to a collector by OTLP over HTTP, in JSON ([what is in it](metrics.md)). The \
               application gets `traceparent` (W3C Trace Context), so that its own spans continue the trace. Without this \
               nothing is sent, and what clients say of traces passes untouched.",
        keys: &[
            key("telemetry", "mapping", "", "what is sent to a monitoring"),
            key("telemetry.traces", "mapping", "required", "spans of requests"),
            key("telemetry.traces.endpoint", "URL", "required", "the collector's, with its path: `https://otel.example.test:4318/v1/traces`; http on this machine only"),
            key("telemetry.traces.ca_file", "file", "system roots", "PEM: the collector's private authority"),
            key("telemetry.traces.send", "mapping", "", "headers with secrets, for collectors that ask for one"),
            key("telemetry.traces.send.*", "mapping", "", "by the header's name, for example `Authorization`"),
            key("telemetry.traces.send.*.file", "file", "required", "the value, in one line"),
            key("telemetry.traces.send.*.prefix", "text", "", "what stands before it: `\"Bearer \"`"),
            key("telemetry.traces.send.*.basic_user", "text", "", "the file holds the password of this user (Basic, RFC 7617)"),
            key("telemetry.traces.sample", "share", "`10%`", "of how many requests that begin a trace here spans are sent; a trace that is continued is sampled as its caller said")
                .because("a share shows where time goes; the audit log is the one that has every decision"),
            key("telemetry.traces.service_name", "text", "`torhaus`", "`service.name` of the spans"),
            key("telemetry.traces.continue_from", "list of networks", "`[]`: nobody's", "callers whose `traceparent` is continued; of anybody else it is replaced")
                .because("a stranger's would let him choose which requests are sampled, and write into the traces of others"),
        ],
    },
];
