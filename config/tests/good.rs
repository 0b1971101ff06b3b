//! What must load, and what is in it.
#![expect(clippy::unwrap_used, reason = "a test that cannot read its files has failed")]
use std::path::Path;
use std::time::Duration;
use torhaus_authz::Timestamp;
use torhaus_config::{Config, DirectorySource, LogoKind, Signers, UpstreamVerify, Words, load};

/// 23 November 2026: the certificates of `material/` are valid then.
const NOW: Timestamp = Timestamp::from_seconds(1_795_392_000);

fn good() -> Config {
    load(Path::new("tests/good/torhaus.yaml"), NOW).map_err(|errors| errors.to_string()).unwrap()
}

#[test]
fn the_example_of_the_design_loads() {
    let config = good();
    assert_eq!(config.listeners.len(), 3);
    assert_eq!(config.portal.host, "auth.example.test");
    assert_eq!(config.portal.url.as_str(), "https://auth.example.test:8443/");
    assert_eq!(config.routes.len(), 9);
    assert_eq!(config.sessions.idle, Duration::from_secs(8 * 3600));
    assert_eq!(config.limits.max_header_bytes, 32 * 1024);
    let [corp, partner] = config.providers.as_slice() else { panic!("two providers") };
    assert!(corp.first && !partner.first && partner.federated);
    assert_eq!(corp.tiers["mfa"].request_acr_values, ["gold"]);
    assert_eq!(partner.tiers["hardware"].client.as_ref().unwrap().id, "torhaus-hw");
    let bearer = &config.bearer[0];
    assert_eq!((&*bearer.provider, bearer.first, bearer.user_claim.as_str()), ("corp", true, "preferred_username"));
    let directory = config.directory.as_ref().unwrap();
    assert_eq!((directory.poll, &*directory.provider, directory.first), (Duration::from_secs(30), "corp", true));
    let DirectorySource::Ldap(ldap) = &directory.source else { panic!("{directory:?}") };
    assert_eq!((ldap.urls.len(), ldap.group_base_dn.as_str()), (2, "DC=example,DC=test"));
    assert_eq!(ldap.user_attribute, "sAMAccountName");
    let proxmox = &config.routes[1];
    assert!(
        matches!(&proxmox.upstream.as_ref().unwrap().tls.as_ref().unwrap().verify, UpstreamVerify::Pin(pin) if pin[1] == 0x11)
    );
    let samba = &config.routes[5];
    assert_eq!(samba.headers.user.as_deref(), Some("Remote-User"));
    assert_eq!((samba.headers.email.as_ref(), samba.upstream.as_ref().unwrap().response_timeout), (None, None));
    assert_eq!(config.trust_domains["laptops"].signers, Signers::Own);
    assert_eq!(config.ca.crl_base, "http://auth.example.test/ca", "there is a plain listener, so over http");
    assert_eq!(config.ca.profiles.map(|profile| profile.life().whole_hours()), [12, 12, 24, 720]);
    let acme = config.acme.as_ref().unwrap();
    assert_eq!(
        (acme.client_zone.as_str(), &*acme.tier, acme.enrolment.as_secs()),
        ("devices.example.test", "mfa", 90 * 86_400)
    );
    assert_eq!((acme.probe.http_port, acme.probe.tls_port, acme.limits.new_orders), (80, 443, 60));
    assert_eq!(config.policy.rows().len(), 7);
    let branding = &config.branding;
    let logo = branding.logo.as_ref().unwrap();
    assert_eq!((logo.kind, logo.bytes.len()), (LogoKind::Svg, std::fs::read("tests/material/logo.svg").unwrap().len()));
    assert_eq!(branding.accent.unwrap().dark.to_string(), "#ffb0a8");
    assert_eq!(branding.texts.german.product.as_deref(), Some("Beispiel-Zugang"));
    assert_eq!(branding.texts.english, Words::default());
    assert!(config.files.iter().any(|file| file.ends_with("partner.crl")));
    assert!(config.files.iter().any(|file| file.ends_with("logo.svg")), "a new picture is a reload");
}
