//! What the central files need so that migrated ingresses are open to somebody. Suggestions: who may, somebody has to
//! say.
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Debug, Default, Serialize)]
pub struct Suggestions {
    /// Of policy.yaml.
    pub zones: BTreeMap<String, Vec<String>>,
    pub table: Vec<Row>,
    /// Of torhaus.yaml: name of a trust domain, and the secret that its authorities are in.
    pub trust_domains: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
pub struct Row {
    pub resource: String,
    pub allow: Vec<String>,
    pub zones: BTreeMap<String, String>,
    /// Nobody asked who it is so far.
    pub was_open: bool,
}

impl Suggestions {
    pub fn merge(&mut self, other: Self) {
        self.zones.extend(other.zones);
        self.table.extend(other.table);
        self.trust_domains.extend(other.trust_domains);
    }

    pub fn trust(&mut self, domain: &str, secret: &str) {
        self.trust_domains.insert(domain.to_owned(), secret.to_owned());
    }

    /// The row that an ingress is bound to by its name.
    pub fn row(&mut self, key: &str, groups: &[String], networks: &[String], was_open: bool) {
        let zone = if networks.is_empty() { "external".to_owned() } else { key.replace('/', "-") };
        if !networks.is_empty() {
            self.zones.insert(zone.clone(), networks.to_vec());
        }
        let (allow, cell) = match (was_open, groups) {
            (true, _) => (vec!["anyone".to_owned()], "anonymous"),
            (false, []) => (vec!["authenticated".to_owned()], "standard"),
            (false, groups) => (groups.iter().map(|group| format!("group:{group}")).collect(), "standard"),
        };
        let zones = BTreeMap::from([(zone, cell.to_owned())]);
        self.table.push(Row { resource: key.to_owned(), allow, zones, was_open });
    }
}
