//! The two files of the gate under test. Ports are 0: whoever asks finds out where the gate listens, and browsers here
//! connect by the listener they were told, whatever host they ask for.

/// Every host that has a route, and the portal.
pub const HOSTS: [&str; 12] = [
    "auth.test",
    "wiki.test",
    "samba.test",
    "hr.test",
    "pve.test",
    "headscale.test",
    "k3s.test",
    "backup.test",
    "service.test",
    "status.test",
    "apps.test",
    "device.test",
];

/// Resources that stand below `apps.test` by their own name, so that one session asks for all of them.
pub const RESOURCES: [&str; 12] = [
    "wiki",
    "samba-general",
    "samba-hr",
    "proxmox",
    "headscale",
    "k3s-critical",
    "backup-api",
    "device-only",
    "payroll",
    "level-standard",
    "level-mfa",
    "level-hardware",
];

pub fn config(issuer: &str, echo: u16) -> String {
    let up = format!("http://127.0.0.1:{echo}");
    let below: String = RESOURCES
        .iter()
        .filter(|resource| **resource != "payroll")
        .map(|r| {
            format!(
                "  - {{ name: apps-{r}, host: apps.test, path: /{r}, upstream: \"{up}\", resource: {r},\n      \
                 client_auth: {{ mode: optional, trust_domains: [devices] }} }}\n"
            )
        })
        .collect();
    format!(
        r#"version: 1
state_dir: state
policy_file: policy.yaml
listeners:
  - {{ name: office, address: "127.0.0.1:0", tls: {{ certificates: [{{ cert_file: web.pem, key_file: web.key }}] }} }}
  - {{ name: internet, address: "127.0.0.2:0", tls: {{ certificates: [{{ cert_file: web.pem, key_file: web.key }}] }} }}
  - {{ name: plain, address: "127.0.0.3:0", redirect_to_https: true }}
portal: {{ url: "https://auth.test" }}
limits: {{ drain: 1s }}
trust_domains:
  devices: {{ ca_file: devices-ca.pem, crl_file: devices.crl, spiffe_trust_domains: [] }}
  services: {{ ca_file: services-ca.pem, crl_file: services.crl, proves: standard,
      spiffe_trust_domains: [example.test] }}
identity:
  providers:
    - name: demo
      issuer: {issuer}
      danger_allow_http: true
      client_id: torhaus
      client_secret_file: secret
      user_claim: preferred_username
      tiers:
        standard: {{}}
        mfa: {{ acr: [gold], request: {{ acr_values: gold, essential: true }} }}
        hardware: {{ acr: [phrh], request: {{ acr_values: phrh, essential: true }} }}
  bearer:
    - {{ issuer: "{issuer}", danger_allow_http: true, audience: torhaus, tiers: {{ standard: {{}} }} }}
routes:
  - {{ name: wiki, host: wiki.test, upstream: "{up}", resource: wiki }}
  - {{ name: samba-general, host: samba.test, upstream: "{up}", resource: samba-general }}
  - {{ name: samba-hr, host: hr.test, upstream: "{up}", resource: samba-hr }}
  - {{ name: proxmox, host: pve.test, upstream: "{up}", resource: proxmox,
      client_auth: {{ mode: optional, trust_domains: [devices] }} }}
  - {{ name: headscale, host: headscale.test, upstream: "{up}", resource: headscale,
      client_auth: {{ mode: optional, trust_domains: [devices] }} }}
  - {{ name: k3s-critical, host: k3s.test, upstream: "{up}", resource: k3s-critical }}
  - {{ name: backup-api, host: backup.test, upstream: "{up}", resource: backup-api,
      client_auth: {{ mode: required, trust_domains: [services] }} }}
  - {{ name: service, host: service.test, upstream: "{up}", resource: backup-api,
      client_auth: {{ mode: optional, trust_domains: [services] }} }}
  - {{ name: status, host: status.test, upstream: "{up}", resource: status }}
  - {{ name: status-admin, host: status.test, path: /admin, upstream: "{up}", resource: proxmox }}
  - {{ name: device, host: device.test, upstream: "{up}", resource: device-only,
      client_auth: {{ mode: optional, trust_domains: [devices] }} }}
{below}"#
    )
}

/// The table of M6, and rows that help to test.
pub const POLICY: &str = r#"version: 1
longest_exception: 3660d
zones:
  internal: { listeners: [office] }
tiers:
  - { name: standard, max_age: 12h, factors: "password" }
  - { name: mfa,      max_age: 8h,  factors: "password + TOTP or WebAuthn" }
  - { name: hardware, max_age: 1h,  factors: "password + hardware key" }
table:
  - { resource: wiki,          sensitivity: low,      allow: ["group:all-employees"],   zones: { internal: standard, external: standard } }
  - { resource: samba-general, sensitivity: medium,   allow: ["group:all-employees"],   zones: { internal: mfa,      external: mfa } }
  - { resource: samba-hr,      sensitivity: high,     allow: ["group:hr", "group:finance"], zones: { internal: mfa,  external: deny } }
  - { resource: proxmox,       sensitivity: critical, allow: ["group:it-admins"],       zones: { internal: hardware, external: deny } }
  - { resource: headscale,     sensitivity: critical, allow: ["group:it-admins"],       zones: { internal: hardware, external: deny } }
  - { resource: k3s-critical,  sensitivity: high,     allow: ["group:developers"],      zones: { internal: mfa,      external: mfa } }
  - { resource: backup-api,    sensitivity: high,     allow: ["service:spiffe://example.test/backup"], zones: { internal: standard } }
  - { resource: status,         allow: [anyone],        zones: { internal: anonymous, external: anonymous } }
  - { resource: level-standard, allow: [authenticated], zones: { internal: standard, external: standard } }
  - { resource: level-mfa,      allow: [authenticated], zones: { internal: mfa, external: mfa } }
  - { resource: level-hardware, allow: [authenticated], zones: { internal: hardware, external: hardware } }
  - resource: device-only
    allow: ["group:all-employees"]
    zones: { internal: standard, external: standard }
    require: [{ name: company-device, client_certificate: devices }]
exceptions:
  - { id: EX-14, resource: samba-hr, allow: ["user:carol"], zone: external, tier: hardware,
      owner: alice@example.test, reason: audit on site, expires: 2036-11-01T00:00:00Z }
tests:
  - { name: HR from outside is refused, user: dana, groups: [hr], listener: internet, proven: mfa, resource: samba-hr,
      expect: deny, reason: zone_denied }
"#;
