//! Pods that speak TLS: believed by the authority that the ingress names, and by nobody's word without one.
use crate::harness::app::{App, Reply};
use crate::objects::{annotated, certificate, ingress, secret, service, with};
use crate::{Before, InCluster};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::sync::Arc;
use torhaus_certs::Authority;

fn tls(authority: &Authority, name: &str) -> Arc<ServerConfig> {
    let identity = certificate(authority, &[name]);
    let chain = CertificateDer::pem_slice_iter(identity.cert_pem.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap())
}

fn over_tls(name: &str, host: &str) -> Value {
    let ingress = ingress("team-a", name, &[(host, "/", "Prefix", "app")]);
    let ingress = annotated(ingress, "torhaus.dev/resource", "team-a/open");
    annotated(ingress, "torhaus.dev/backend-protocol", "HTTPS")
}

#[tokio::test]
async fn pods_behind_https_get_no_byte_unless_a_named_authority_vouches_for_them() {
    let before = Before::new().await;
    let pki = &before.setup.pki;
    let app = App::with(Some(tls(&pki.web, "app.team-a.svc")), |_| Reply::Status(200));
    let named = |name: &str, host: &str| annotated(over_tls(name, host), "torhaus.dev/backend-ca-secret", "pods-ca");
    let authority = |root: &str, name: &str| {
        let secret = secret("team-a", name, &certificate(&pki.web, &["unused.test"]));
        with(secret, "/data/ca.crt", json!(BASE64_STANDARD.encode(root)))
    };
    for object in service("team-a", "app", &[app.port]).into_iter().chain([
        // Without an authority the system's count, and none of them knows these pods.
        over_tls("without", "foo.test"),
        named("with", "bar.test"),
        annotated(named("other-name", "a.test"), "torhaus.dev/backend-server-name", "other.team-a.svc"),
        annotated(over_tls("other-authority", "b.test"), "torhaus.dev/backend-ca-secret", "others-ca"),
        authority(pki.web.root_pem(), "pods-ca"),
        authority(pki.services.root_pem(), "others-ca"),
    ]) {
        before.api.put(object);
    }
    let cluster: InCluster = before.start().await;
    cluster.is_ready().await;
    for host in ["foo.test", "a.test", "b.test"] {
        let answer = cluster.get(host, "/").await;
        assert_eq!(answer.outcome(), (502, "upstream_not_trusted".to_owned()), "{host}");
        assert_eq!(app.count(), 0, "{host}: no byte of the request");
    }
    assert_eq!(cluster.get("bar.test", "/").await.body, app.port.to_string());
    assert_eq!(cluster.get("foo.test", "/").await.status, 502, "a connection that is kept serves nobody else");
    assert_eq!(app.count(), 1);
}
