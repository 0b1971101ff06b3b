//! All providers of a configuration, and which of them a person is sent to.
use crate::login::provider::OidcProvider;
use std::sync::Arc;
use torhaus_authz::Name;
use torhaus_config::{Config, Provider};

#[derive(Debug)]
pub struct Providers {
    all: Vec<Arc<OidcProvider>>,
    /// Of all providers and bearer issuers: no name of the first provider's people may begin with one.
    names: Arc<[Name]>,
}

impl Providers {
    /// A provider whose configuration is unchanged is taken over with what it knows: metadata, keys, open refreshes.
    ///
    /// # Errors
    /// A CA file cannot be used.
    pub fn build(config: &Config, before: Option<&Self>) -> Result<Self, String> {
        let others: Arc<[Name]> = config
            .providers
            .iter()
            .map(|provider| provider.name.clone())
            .chain(config.bearer.iter().map(|issuer| issuer.provider.clone()))
            .collect();
        let build = |provider: &Arc<Provider>| {
            let kept = before
                .filter(|before| before.names == others)
                .and_then(|before| before.all.iter().find(|old| same(old.config(), provider)));
            match kept {
                Some(kept) => Ok(kept.clone()),
                None => OidcProvider::new(provider.clone(), &config.portal.url, others.clone())
                    .map(Arc::new)
                    .map_err(|error| format!("`{}`: {error}", provider.name)),
            }
        };
        let all = config.providers.iter().map(build).collect::<Result<_, _>>()?;
        Ok(Self { all, names: others })
    }

    /// The names of all providers and bearer issuers.
    pub fn names(&self) -> &Arc<[Name]> {
        &self.names
    }

    pub fn named(&self, name: &str) -> Option<&Arc<OidcProvider>> {
        self.all.iter().find(|provider| *provider.config().name == *name)
    }

    /// Whom to ask: the one that was chosen, the one of the running session, the only one that can prove the tier.
    /// None: the person has to choose.
    pub fn choose(&self, chosen: Option<&str>, known: Option<&str>, tier: Option<&str>) -> Option<&Arc<OidcProvider>> {
        if let Some(provider) = chosen.or(known).and_then(|name| self.named(name)) {
            return Some(provider);
        }
        let mut fitting = self.all.iter().filter(|provider| tier.is_none_or(|tier| provider.offers(tier)));
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => Some(only),
            // None can prove it: the first says so in its own words.
            (None, _) => self.all.first(),
            _ => None,
        }
    }

    /// The providers that were asked, and whether each answered when it last was.
    pub fn answering(&self) -> impl Iterator<Item = (&str, bool)> {
        self.all.iter().filter_map(|provider| Some((&*provider.config().name, provider.answers()?)))
    }

    /// Those that can prove a tier, for the page where people choose.
    pub fn offering(&self, tier: Option<&str>) -> impl Iterator<Item = &Arc<Provider>> {
        let fits = move |provider: &&Arc<OidcProvider>| tier.is_none_or(|tier| provider.offers(tier));
        self.all.iter().filter(fits).map(|provider| provider.config())
    }
}

/// Whether two configurations mean the same provider. `Debug` shows all of it but secrets, which are compared here, and
/// what a CA file holds, so that a provider with one is made anew.
fn same(one: &Provider, other: &Provider) -> bool {
    let secrets = |provider: &Provider| -> Vec<torhaus_config::Secret> {
        let own = provider.tiers.values().filter_map(|tier| tier.client.as_ref());
        std::iter::once(&provider.client).chain(own).map(|client| client.secret.clone()).collect()
    };
    one.ca_file.is_none() && secrets(one) == secrets(other) && format!("{one:?}") == format!("{other:?}")
}
