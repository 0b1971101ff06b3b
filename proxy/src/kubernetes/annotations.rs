//! What an ingress may say beside its rules: a closed list. Whatever else begins with our prefix is a mistake, because
//! somebody believes that it does something.
use super::objects::IngressBody;

pub const PREFIX: &str = "torhaus.dev/";

/// Every name behind the prefix, and what it is for.
pub const KNOWN: &[(&str, &str)] = &[
    ("resource", "the row of the policy table that decides; also as a label"),
    ("client-auth", "`none`, `optional`, `required`; the same on all ingresses of a host"),
    ("trust-domains", "names of `trust_domains` in torhaus.yaml, separated by commas"),
    ("pass-client-certificate", "`true`: the application gets the client certificate as `Client-Cert` (RFC 9440)"),
    ("cors-origins", "origins whose scripts may call the application, separated by commas: `https://app.example.test`"),
    ("profile", "what a known application needs (`torhaus profile list`)"),
    ("connect-timeout", "how long to wait for a connection: `5s`"),
    ("response-timeout", "how long to wait for the first byte of an answer: `60s`, or `off`"),
    ("max-body", "largest body of a request: `10MiB`"),
    ("backend-protocol", "`HTTP`, `HTTPS`, `GRPC` (HTTP/2 without TLS), `GRPCS`"),
    ("backend-ca-secret", "a TLS secret of the same namespace whose `ca.crt` signs the pods' certificates"),
    ("backend-server-name", "the name in the pods' certificates; else `SERVICE.NAMESPACE.svc`"),
    ("backend-pin-sha256", "the fingerprint of the pods' certificate"),
    ("balance", "`round_robin`, `least_connections`, `sticky`"),
    ("title", "what people read in the portal"),
    ("description", "a sentence below it"),
    ("listed", "`true`, `false`: show it in the portal"),
    ("sign-in", "`true`, `false`: send browsers to sign in; `false` for programs"),
];

/// The class by which objects of cert-manager solve a challenge (RFC 8555 section 8.3).
pub const SOLVER_LABEL: &str = "acme.cert-manager.io/http01-solver";
/// How a class was named before `ingressClassName`; where both are given it counts.
pub const OLD_CLASS: &str = "kubernetes.io/ingress.class";
/// What another controller would have read.
const NGINX: &str = "nginx.ingress.kubernetes.io/";

/// The longest text that people get to see; more is no title.
const MOST_TEXT: usize = 200;

#[derive(Clone, Copy)]
pub struct Annotations<'a>(&'a IngressBody);

impl<'a> Annotations<'a> {
    /// # Errors
    /// One is not in the list, or says what it cannot; in words.
    pub fn of(body: &'a IngressBody) -> Result<Self, String> {
        let own = body.annotations.iter().filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?, value)));
        for (name, value) in own {
            if !KNOWN.iter().any(|(known, _)| *known == name) {
                let known: Vec<&str> = KNOWN.iter().map(|(known, _)| *known).collect();
                return Err(format!("there is no annotation `{PREFIX}{name}`; known are {}", known.join(", ")));
            }
            if value.chars().count() > MOST_TEXT || value.chars().any(char::is_control) {
                return Err(format!("`{PREFIX}{name}` is longer than {MOST_TEXT} characters, or has several lines"));
            }
        }
        let label = body.labels.get("torhaus.dev/resource");
        let annotation = body.annotations.get("torhaus.dev/resource");
        if let (Some(label), Some(annotation)) = (label, annotation)
            && label != annotation
        {
            return Err("label and annotation `torhaus.dev/resource` name different rows".to_owned());
        }
        Ok(Self(body))
    }

    pub fn text(self, name: &str) -> Option<&'a str> {
        self.0.annotations.get(&format!("{PREFIX}{name}")).map(|value| value.trim())
    }

    pub fn resource(self) -> Option<&'a str> {
        self.text("resource").or_else(|| self.0.labels.get("torhaus.dev/resource").map(String::as_str))
    }

    /// # Errors
    /// Neither `true` nor `false`.
    pub fn flag(self, name: &str) -> Result<Option<bool>, String> {
        match self.text(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(format!("`{PREFIX}{name}` is `{other}`; write \"true\" or \"false\"")),
        }
    }

    /// The scheme of the pods.
    ///
    /// # Errors
    /// It is none that we speak.
    pub fn scheme(self) -> Result<&'static str, String> {
        match self.text("backend-protocol").unwrap_or("HTTP") {
            "HTTP" => Ok("http"),
            "HTTPS" => Ok("https"),
            "GRPC" | "H2C" => Ok("h2c"),
            "GRPCS" | "H2" => Ok("h2"),
            other => Err(format!("`{PREFIX}backend-protocol` is `{other}`; write HTTP, HTTPS, GRPC or GRPCS")),
        }
    }
}

/// Annotations of ingress-nginx, which do nothing here.
pub fn of_nginx(body: &IngressBody) -> Vec<&str> {
    body.annotations.keys().filter_map(|name| name.strip_prefix(NGINX)).collect()
}
