//! Annotations of ingress-nginx (its docs/user-guide/nginx-configuration/annotations.md, last release 1.15.1), one by
//! one: what becomes of each.
use super::{Draft, Kind};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use url::Url;

pub const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// Settings of what the gate does by itself, or has no need of.
const ALWAYS: &[(&str, &str)] = &[
    ("auth-always-set-cookie", "sessions are the gate's own"),
    ("auth-cache-duration", "every request is decided anew, from memory"),
    ("auth-cache-key", "every request is decided anew, from memory"),
    ("auth-keepalive", "nobody is asked by a sub-request"),
    ("auth-keepalive-requests", "nobody is asked by a sub-request"),
    ("auth-keepalive-timeout", "nobody is asked by a sub-request"),
    ("auth-method", "nobody is asked by a sub-request"),
    ("auth-signin", "the gate sends browsers to sign in by itself, and knows the way back"),
    (
        "auth-signin-redirect-param",
        "the gate knows the way back; a parameter with a foreign host would be an open redirect",
    ),
    ("client-body-buffer-size", "bodies stream through"),
    ("connection-proxy-header", "set by the gate"),
    ("enable-access-log", "the access log is the gate's"),
    ("force-ssl-redirect", "everything is redirected to https"),
    ("proxy-buffer-size", "answers stream through"),
    ("proxy-buffering", "answers stream through"),
    ("proxy-buffers-number", "answers stream through"),
    ("proxy-busy-buffers-size", "answers stream through"),
    ("proxy-http-version", "HTTP/1.1, or HTTP/2 where `backend-protocol` says GRPC"),
    ("proxy-max-temp-file-size", "bodies stream through"),
    ("proxy-request-buffering", "bodies stream through"),
    ("proxy-ssl-server-name", "the name is always sent"),
    ("preserve-trailing-slash", "paths are not changed"),
    ("ssl-prefer-server-ciphers", "the profile is that of BSI TR-02102"),
    ("websocket-services", "WebSockets pass"),
];

/// What is not done, and why.
const NOT_DONE: &[(&str, &str)] = &[
    ("app-root", "the gate answers with no redirects of an application; let the application do it"),
    ("auth-proxy-set-headers", "what an application is told comes from the gate alone"),
    ("auth-realm", "Basic: see `auth-type`"),
    ("auth-secret", "passwords in a file prove no tier; people sign in at the identity provider"),
    ("auth-secret-type", "Basic: see `auth-type`"),
    ("auth-snippet", "text of another program's configuration (CVE-2021-25742)"),
    (
        "auth-type",
        "passwords in a file prove no tier; people sign in at the identity provider, programs use certificates or tokens",
    ),
    ("configuration-snippet", "text of another program's configuration (CVE-2021-25742)"),
    ("custom-headers", "write the headers in the application"),
    ("custom-http-errors", "pages of the application reach the client as they are; those of the gate are its own"),
    ("default-backend", "while no pod is ready the gate says so (503)"),
    ("enable-modsecurity", "there is no rule engine here; put one between the gate and the application"),
    ("enable-owasp-core-rules", "there is no rule engine here; put one between the gate and the application"),
    ("from-to-www-redirect", "add a rule for the other host, and let the application redirect"),
    ("http2-push-preload", "browsers dropped it"),
    ("limit-burst-multiplier", "bounds are those of `limits` in torhaus.yaml, for each address"),
    ("limit-connections", "bounds are those of `limits` in torhaus.yaml, for each address"),
    ("limit-rate", "bounds are those of `limits` in torhaus.yaml"),
    ("limit-rate-after", "bounds are those of `limits` in torhaus.yaml"),
    ("limit-rpm", "bounds are those of `limits` in torhaus.yaml, for each address"),
    ("limit-rps", "bounds are those of `limits` in torhaus.yaml, for each address"),
    ("limit-whitelist", "bounds are those of `limits` in torhaus.yaml"),
    ("mirror-target", "requests go to one place"),
    ("mirror-host", "requests go to one place"),
    ("mirror-request-body", "requests go to one place"),
    ("modsecurity-snippet", "there is no rule engine here; put one between the gate and the application"),
    ("modsecurity-transaction-id", "there is no rule engine here"),
    ("permanent-redirect", "the gate answers with no redirects of an application; let the application do it"),
    ("permanent-redirect-code", "see `permanent-redirect`"),
    ("proxy-cookie-domain", "cookies of the application reach the browser as they are"),
    ("proxy-cookie-path", "cookies of the application reach the browser as they are"),
    ("proxy-redirect-from", "answers of the application reach the client as they are"),
    ("proxy-redirect-to", "answers of the application reach the client as they are"),
    ("proxy-ssl-ciphers", "the profile is one for all"),
    ("proxy-ssl-protocols", "TLS 1.2 and 1.3 only"),
    ("proxy-ssl-verify-depth", "a chain leads to the authority that is named, however long"),
    ("satisfy", "the policy says what is needed; all of it is"),
    ("server-snippet", "text of another program's configuration (CVE-2021-25742)"),
    ("ssl-ciphers", "the profile is that of BSI TR-02102"),
    ("ssl-passthrough", "a connection that is not opened here cannot be decided about"),
    ("stream-snippet", "text of another program's configuration (CVE-2021-25742)"),
    ("temporal-redirect", "the gate answers with no redirects of an application; let the application do it"),
    ("upstream-vhost", "`Host` arrives as the browser sent it; let the application know its name"),
    ("x-forwarded-prefix", "paths are not changed, so there is no prefix"),
];

pub fn translate(typed: &BTreeMap<String, String>, draft: &mut Draft) {
    let nginx: BTreeMap<&str, &str> =
        typed.iter().filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?, value.as_str()))).collect();
    if nginx.get("canary") == Some(&"true") {
        draft.note(Kind::NotDone, "canary", "requests are not shared out by weight or header; the ingress is left out");
        draft.dropped = true;
        return;
    }
    for (name, value) in &nginx {
        one(name, value, draft);
    }
    client_certificates(&nginx, draft);
    paths(&nginx, draft);
    aliases(&nginx, draft);
}

fn one(name: &str, value: &str, draft: &mut Draft) {
    if let Some((_, why)) = ALWAYS.iter().find(|(known, _)| *known == name) {
        draft.note(Kind::Always, name, *why);
        return;
    }
    if let Some((_, why)) = NOT_DONE.iter().find(|(known, _)| *known == name) {
        draft.note(Kind::NotDone, name, *why);
        // Somebody was asked for something so far.
        draft.is_open &= !matches!(name, "auth-type" | "satisfy");
        return;
    }
    match name {
        // These depend on each other.
        "auth-tls-secret"
        | "auth-tls-verify-client"
        | "auth-tls-verify-depth"
        | "auth-tls-error-page"
        | "auth-tls-pass-certificate-to-upstream"
        | "auth-tls-match-cn"
        | "rewrite-target"
        | "use-regex"
        | "server-alias" => {}
        "auth-url" => auth_url(value, draft),
        "auth-response-headers" => {
            let why = format!(
                "the application gets X-Forwarded-User, -Email, -Groups and a signed X-Torhaus-Assertion instead of {value}; \
                 a `profile` knows the names of some applications"
            );
            draft.note(Kind::Otherwise, name, why);
        }
        "enable-global-auth" => draft.note(Kind::Policy, name, "the row says who may; `anyone` is an `anonymous` cell"),
        "whitelist-source-range" | "allowlist-source-range" => networks(name, value, draft),
        "denylist-source-range" => {
            let why = "write a zone of these networks, and `deny` as its cell in the row";
            draft.note(Kind::NotDone, name, why);
            draft.is_open = false;
        }
        "backend-protocol" => backend_protocol(value, draft),
        "proxy-ssl-secret" => proxy_ssl_secret(value, draft),
        "proxy-ssl-name" => draft.set("backend-server-name", value),
        "proxy-ssl-verify" => {
            let why =
                "the certificate of the application is always checked: `backend-ca-secret` says by which authority";
            draft.note(Kind::Otherwise, name, why);
        }
        "proxy-body-size" => body_size(value, draft),
        "proxy-connect-timeout" => seconds(name, "connect-timeout", value, draft),
        "proxy-read-timeout" => {
            seconds(name, "response-timeout", value, draft);
            draft.note(
                Kind::Otherwise,
                name,
                "it is the time to the first byte of an answer, and not between two reads",
            );
        }
        "proxy-send-timeout" => {
            draft.note(Kind::Otherwise, name, "a body has to come at the pace of `limits.min_body_rate`");
        }
        "ssl-redirect" if value == "true" => draft.note(Kind::Always, name, "everything is redirected to https"),
        "ssl-redirect" => draft.note(Kind::NotDone, name, "nothing is served without TLS"),
        "affinity" if value == "cookie" => {
            draft.set("balance", "sticky");
            draft.note(
                Kind::Otherwise,
                name,
                "the session at the gate decides which pod gets a request, and no cookie",
            );
        }
        "affinity" => draft.note(Kind::NotDone, name, format!("`{value}` is not known")),
        "upstream-hash-by" => {
            draft.set("balance", "sticky");
            for one in draft.differences.iter_mut().filter(|one| one.what == "load-balance") {
                (one.outcome, one.why) = (Kind::Otherwise, "`upstream-hash-by` decides".to_owned());
            }
            let why = format!(
                "the session, the certificate or the address decides which pod gets a request, and not `{value}`"
            );
            draft.note(Kind::Otherwise, name, why);
        }
        "load-balance" => match value {
            "round_robin" => {}
            "ewma" => {
                draft.set("balance", "least_connections");
                draft.note(Kind::Otherwise, name, "the pod with the fewest requests open gets the next one");
            }
            other => draft.note(Kind::NotDone, name, format!("`{other}` is not known")),
        },
        "enable-cors" => {}
        "cors-allow-origin" => origins(value, draft),
        "service-upstream" => draft.note(Kind::Otherwise, name, "requests go to the pods themselves"),
        "proxy-next-upstream" | "proxy-next-upstream-timeout" | "proxy-next-upstream-tries" => {
            let why = "what was not sent, or may be done twice and was not answered, is asked of another pod";
            draft.note(Kind::Otherwise, name, why);
        }
        _ if name.starts_with("canary") => {}
        _ if name.starts_with("session-cookie") || name == "affinity-mode" || name == "affinity-canary-behavior" => {
            draft.note(Kind::Always, name, "there is no cookie for it");
        }
        _ if name.starts_with("cors-") => {
            draft.note(Kind::Otherwise, name, "preflights are answered by the gate, for the origins that are named")
        }
        _ if name.starts_with("opentelemetry") || name.starts_with("enable-opentelemetry") => {
            draft.note(Kind::NotDone, name, "traces are not written");
        }
        _ => draft.note(Kind::NotDone, name, "this annotation is not known"),
    }
}

fn auth_url(value: &str, draft: &mut Draft) {
    draft.is_open = false;
    let url = Url::parse(value).ok();
    let path = url.as_ref().map(|url| url.path().to_owned()).unwrap_or_default();
    let groups = url.iter().flat_map(|url| url.query_pairs().into_owned()).filter(|(name, _)| name == "allowed_groups");
    let groups: Vec<String> =
        groups.flat_map(|(_, value)| value.split(',').map(str::to_owned).collect::<Vec<_>>()).collect();
    if path.ends_with("/oauth2/auth") {
        draft.groups.extend(groups);
        let why = "oauth2-proxy is not asked any more: the gate signs people in itself; the row says who may";
        draft.note(Kind::Policy, "auth-url", why);
    } else if path.starts_with("/outpost.goauthentik.io/") {
        let why = "the outpost of authentik is not asked any more: the gate signs people in there by OpenID Connect; bindings \
                   of the application become `allow` in the row";
        draft.note(Kind::Policy, "auth-url", why);
    } else if path == "/.torhaus/verify" {
        draft.note(Kind::Always, "auth-url", "it asked this gate; now it is behind it");
    } else {
        let host = url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_else(|| "it".to_owned());
        let why = format!("what `{host}` decides cannot be known from here: write it as a row");
        draft.note(Kind::NotDone, "auth-url", why);
    }
}

fn networks(name: &str, value: &str, draft: &mut Draft) {
    let all = ["0.0.0.0/0", "::/0"];
    let listed: Vec<&str> = value.split(',').map(str::trim).filter(|one| !one.is_empty()).collect();
    if listed.iter().any(|one| all.contains(one)) {
        draft.note(Kind::Always, name, "everybody may knock");
        return;
    }
    match listed.iter().find(|one| one.parse::<ipnet::IpNet>().is_err() && one.parse::<std::net::IpAddr>().is_err()) {
        Some(wrong) => draft.note(Kind::NotDone, name, format!("`{wrong}` is not a network")),
        None => {
            draft.networks = listed.into_iter().map(str::to_owned).collect();
            draft.note(
                Kind::Policy,
                name,
                "a zone of these networks is suggested, and a row that is open from there only",
            );
        }
    }
}

fn backend_protocol(value: &str, draft: &mut Draft) {
    match value.to_ascii_uppercase().as_str() {
        "HTTP" => {}
        protocol @ ("HTTPS" | "GRPCS") => {
            draft.set("backend-protocol", protocol);
            let why = "ingress-nginx believes any certificate of a pod; here `backend-ca-secret` names a TLS secret with \
                       `ca.crt`, or `backend-pin-sha256` the certificate; without either nothing is sent";
            draft.note(Kind::Otherwise, "backend-protocol", why);
        }
        "GRPC" => draft.set("backend-protocol", "GRPC"),
        other => {
            draft.note(Kind::NotDone, "backend-protocol", format!("`{other}` is not spoken: HTTP, HTTPS, GRPC, GRPCS"))
        }
    }
}

fn proxy_ssl_secret(value: &str, draft: &mut Draft) {
    let (namespace, name) = value.split_once('/').unwrap_or((draft.namespace.as_str(), value));
    if namespace != draft.namespace {
        let why = format!("a secret of another namespace (`{namespace}`) is not read; copy it");
        draft.note(Kind::NotDone, "proxy-ssl-secret", why);
        return;
    }
    let name = name.to_owned();
    draft.set("backend-ca-secret", name);
    let why = "`ca.crt` of the secret says which certificates of the application count; the gate shows none of its own";
    draft.note(Kind::Otherwise, "proxy-ssl-secret", why);
}

/// nginx: bytes, or with k, m, g; 0 is no bound.
fn body_size(value: &str, draft: &mut Draft) {
    let digits: String = value.chars().take_while(char::is_ascii_digit).collect();
    let unit = match value.get(digits.len()..).unwrap_or_default() {
        "" => "B",
        "k" | "K" => "KiB",
        "m" | "M" => "MiB",
        "g" | "G" => "GiB",
        _ => {
            draft.note(Kind::NotDone, "proxy-body-size", format!("`{value}` is not a size"));
            return;
        }
    };
    if digits.trim_start_matches('0').is_empty() {
        draft.note(
            Kind::NotDone,
            "proxy-body-size",
            "no bound is not possible; that of the gate is `limits.max_body` (1 GiB)",
        );
        return;
    }
    draft.set("max-body", format!("{digits}{unit}"));
}

fn seconds(name: &str, ours: &str, value: &str, draft: &mut Draft) {
    match value.trim_end_matches('s').parse::<u32>() {
        Ok(seconds) if seconds > 0 => draft.set(ours, format!("{seconds}s")),
        _ => draft.note(Kind::NotDone, name, format!("`{value}` is not a number of seconds")),
    }
}

fn origins(value: &str, draft: &mut Draft) {
    let origins: Vec<&str> = value.split(',').map(str::trim).filter(|one| !one.is_empty()).collect();
    match origins.iter().find(|origin| origin.contains('*') || !origin.starts_with("https://")) {
        Some(origin) => {
            let why = format!(
                "`{origin}`: scripts of any site, or without TLS, could act as whoever is signed in; name each origin"
            );
            draft.note(Kind::NotDone, "cors-allow-origin", why);
        }
        None => draft.set("cors-origins", origins.join(",")),
    }
}

fn client_certificates(nginx: &BTreeMap<&str, &str>, draft: &mut Draft) {
    let Some(secret) = nginx.get("auth-tls-secret") else {
        for name in nginx.keys().filter(|name| name.starts_with("auth-tls-")) {
            draft.note(Kind::NotDone, name, "there is no `auth-tls-secret`, so it does nothing");
        }
        return;
    };
    let mode = match nginx.get("auth-tls-verify-client").copied().unwrap_or("on") {
        "off" => {
            draft.note(Kind::Always, "auth-tls-secret", "`auth-tls-verify-client` is off: no certificate is asked for");
            return;
        }
        "optional" => "optional",
        "optional_no_ca" => {
            let why = "a certificate that no known authority signed proves nothing: `optional`, and the authority of the secret";
            draft.note(Kind::Otherwise, "auth-tls-verify-client", why);
            "optional"
        }
        _ => "required",
    };
    draft.is_open = false;
    let domain = secret.replace('/', "-");
    draft.set("client-auth", mode);
    draft.set("trust-domains", domain.clone());
    draft.suggestions.trust(&domain, secret);
    let why = format!(
        "`{domain}` is an authority in `trust_domains` of torhaus.yaml from now on; a certificate of a service has a SPIFFE ID"
    );
    draft.note(Kind::Policy, "auth-tls-secret", why);
    if mode == "required" {
        draft.note(
            Kind::Otherwise,
            "auth-tls-verify-client",
            "who shows no good certificate gets no connection, and not a page with 400",
        );
    }
    for name in nginx.keys() {
        match *name {
            "auth-tls-verify-depth" => {
                draft.note(Kind::NotDone, name, "a chain leads to the authority that is named, however long");
            }
            "auth-tls-error-page" => {
                let why = "a handshake cannot redirect; with `client-auth: optional` the gate's own page says what is missing";
                draft.note(Kind::NotDone, name, why);
            }
            "auth-tls-match-cn" => {
                let why = "a common name is nobody's identity: name services by SPIFFE ID in `allow`, devices by `client_certificate`";
                draft.note(Kind::NotDone, name, why);
            }
            "auth-tls-pass-certificate-to-upstream" if nginx.get(name) == Some(&"true") => {
                draft.set("pass-client-certificate", "true");
                let why = "the application gets `Client-Cert` (RFC 9440), and not `ssl-client-cert` and its kin";
                draft.note(Kind::Otherwise, name, why);
            }
            _ => {}
        }
    }
}

/// Paths that only a regular expression reads, and those that would be rewritten, are left out: the policy sees the path
/// that the application sees.
fn paths(nginx: &BTreeMap<&str, &str>, draft: &mut Draft) {
    let rewrite = nginx.get("rewrite-target").copied();
    let by_regex = nginx.get("use-regex") == Some(&"true");
    if by_regex {
        draft.note(
            Kind::NotDone,
            "use-regex",
            "paths are compared by segments; those that are expressions are left out",
        );
    }
    let mut left_out = Vec::new();
    let mut specific = false;
    for rule in rules_of(&mut draft.spec).into_iter().flatten() {
        let Some(paths) = rule.pointer_mut("/http/paths").and_then(Value::as_array_mut) else { continue };
        paths.retain(|path| {
            let typed = path["path"].as_str().unwrap_or("/");
            // Nothing is rewritten that is there already.
            let stays = rewrite.is_none_or(|target| target == typed && typed == "/");
            let plain = typed.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~".contains(&b));
            specific |= stays && plain && path["pathType"] == "ImplementationSpecific" && typed != "/";
            if !(stays && plain) {
                left_out.push(typed.to_owned());
            }
            stays && plain
        });
    }
    if let Some(rules) = rules_of(&mut draft.spec) {
        let paths = |rule: &Value| rule.pointer("/http/paths").and_then(Value::as_array).cloned();
        rules.retain(|rule| paths(rule).is_none_or(|paths| !paths.is_empty()));
    }
    for path in left_out {
        let why = match rewrite {
            Some(target) => format!(
                "it would be rewritten to `{target}`, and the policy sees the path that the application sees: serve the \
                 application below its path, or on a host of its own"
            ),
            None => "it is an expression, and not a path".to_owned(),
        };
        draft.note(Kind::NotDone, &format!("path {path}"), why);
    }
    if specific {
        let why = "ImplementationSpecific is Prefix here, by segments: `/foo` is not `/foobar`";
        draft.note(Kind::Otherwise, "pathType", why);
    }
}

/// Where there are none, none are made.
fn rules_of(spec: &mut Value) -> Option<&mut Vec<Value>> {
    spec.get_mut("rules")?.as_array_mut()
}

/// Other names of the same host.
fn aliases(nginx: &BTreeMap<&str, &str>, draft: &mut Draft) {
    let Some(aliases) = nginx.get("server-alias") else { return };
    let Some(rules) = rules_of(&mut draft.spec) else { return };
    let mut added: Vec<Value> = Vec::new();
    for alias in aliases.split(',').map(str::trim).filter(|alias| !alias.is_empty()) {
        for rule in rules.iter() {
            let mut rule = rule.clone();
            if let Some(rule) = rule.as_object_mut() {
                rule.insert("host".to_owned(), json!(alias));
            }
            added.push(rule);
        }
    }
    rules.append(&mut added);
    draft.note(Kind::Otherwise, "server-alias", "its hosts are rules of their own; a certificate has to name them");
}
