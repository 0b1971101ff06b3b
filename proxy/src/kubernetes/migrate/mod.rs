//! `torhaus kubernetes migrate`: manifests for ingress-nginx become ours, with what the central files need for them, and
//! a list of what is not done, or is done otherwise, and why. Reads and prints; asks no cluster.
//!
//! ```text
//! nginx.rs   one annotation -> what becomes of it: the table
//! suggest.rs what policy.yaml and torhaus.yaml need
//! print.rs   manifests and comments
//! ```
mod nginx;
mod print;
mod suggest;

use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub use print::text;
use suggest::Suggestions;

/// What came of some manifests.
#[derive(Debug, Default, Serialize)]
pub struct Migration {
    pub ingresses: Vec<Value>,
    pub suggestions: Suggestions,
    pub differences: Vec<Difference>,
}

/// Something that is not done, or is done otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `NAMESPACE/NAME`.
    pub ingress: String,
    /// What it said: an annotation without its prefix, or a part of its rules.
    pub what: String,
    pub outcome: Kind,
    pub why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It is lost, and somebody has to decide what takes its place.
    NotDone,
    /// It is done, but not in the same way.
    Otherwise,
    /// The central policy says it from now on.
    Policy,
    /// It is always so here.
    Always,
}

/// One ingress on its way.
struct Draft {
    key: String,
    namespace: String,
    name: String,
    /// Ours, without the prefix.
    annotations: BTreeMap<String, String>,
    spec: Value,
    /// Where it may be reached from, if not from everywhere.
    networks: Vec<String>,
    groups: Vec<String>,
    is_open: bool,
    /// It is not served at all.
    dropped: bool,
    suggestions: Suggestions,
    differences: Vec<Difference>,
}

impl Draft {
    fn note(&mut self, outcome: Kind, what: &str, why: impl Into<String>) {
        let (ingress, what) = (self.key.clone(), what.to_owned());
        self.differences.push(Difference { ingress, what, outcome, why: why.into() });
    }

    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.annotations.insert(name.to_owned(), value.into());
    }
}

/// Reads YAML or JSON with any number of documents, lists among them.
///
/// # Errors
/// It is neither; in words, with the line.
pub fn migrate(text: &str, class: &str) -> Result<Migration, String> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| error.without_snippet().to_string())?;
    let mut found = Migration::default();
    for object in documents.iter().flat_map(objects) {
        let kind = object["kind"].as_str().unwrap_or_default();
        if kind == "Ingress" {
            one(object, class, &mut found);
        }
    }
    Ok(found)
}

/// The document, or what its list holds.
fn objects(document: &Value) -> Vec<&Value> {
    match document["items"].as_array() {
        Some(items) => items.iter().collect(),
        None => vec![document],
    }
}

fn one(object: &Value, class: &str, found: &mut Migration) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let meta = &object["metadata"];
    let namespace = meta["namespace"].as_str().unwrap_or("default").to_owned();
    let name = text(&meta["name"]);
    let mut draft = Draft {
        key: format!("{namespace}/{name}"),
        namespace,
        name,
        annotations: BTreeMap::new(),
        spec: object["spec"].clone(),
        networks: Vec::new(),
        groups: Vec::new(),
        is_open: true,
        dropped: false,
        suggestions: Suggestions::default(),
        differences: Vec::new(),
    };
    let typed: BTreeMap<String, String> = meta["annotations"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), text(value)))
        .collect();
    nginx::translate(&typed, &mut draft);
    let rules = draft.spec.get("rules").and_then(Value::as_array);
    if rules.is_none_or(Vec::is_empty) && draft.spec.get("defaultBackend").is_none_or(Value::is_null) {
        draft.note(Kind::NotDone, "rules", "no rule is left, so nothing is printed");
        draft.dropped = true;
    }
    draft.suggestions.row(&draft.key, &draft.groups, &draft.networks, draft.is_open);
    if !draft.dropped {
        found.ingresses.push(manifest(&draft, meta, &typed, class));
        found.suggestions.merge(std::mem::take(&mut draft.suggestions));
    }
    draft.differences.sort_by(|one, other| (one.outcome, &one.what).cmp(&(other.outcome, &other.what)));
    found.differences.append(&mut draft.differences);
}

/// Ours: what others read stays (cert-manager, external-dns), what a cluster wrote goes.
fn manifest(draft: &Draft, meta: &Value, typed: &BTreeMap<String, String>, class: &str) -> Value {
    const GONE: [&str; 2] = ["kubectl.kubernetes.io/last-applied-configuration", "kubernetes.io/ingress.class"];
    let mut annotations = Map::new();
    for (name, value) in typed {
        if !name.starts_with(nginx::PREFIX) && !GONE.contains(&name.as_str()) {
            annotations.insert(name.clone(), json!(value));
        }
    }
    for (name, value) in &draft.annotations {
        annotations.insert(format!("{}{name}", super::annotations::PREFIX), json!(value));
    }
    let mut metadata = Map::new();
    metadata.insert("namespace".into(), json!(draft.namespace));
    metadata.insert("name".into(), json!(draft.name));
    if let Some(labels) = meta.get("labels").filter(|labels| labels.is_object()) {
        metadata.insert("labels".into(), labels.clone());
    }
    if !annotations.is_empty() {
        metadata.insert("annotations".into(), Value::Object(annotations));
    }
    let mut spec = draft.spec.clone();
    if let Some(spec) = spec.as_object_mut() {
        spec.insert("ingressClassName".into(), json!(class));
    }
    json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec })
}
