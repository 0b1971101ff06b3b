//! The demo's OpenID provider, on a runtime of its own so that it can die in the middle of anything.
use std::net::TcpListener;
use std::sync::Arc;
use tokio::runtime::Runtime;
use torhaus_demo::provider::client::Client;
use torhaus_demo::provider::people::{self, Person};
use torhaus_demo::provider::{Provider, router};

pub struct Idp {
    pub issuer: String,
    /// To sign what a provider could send, true or not.
    pub provider: Arc<Provider>,
    runtime: Option<Runtime>,
}

impl Idp {
    pub fn start(secret: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let client = Client {
            id: "torhaus".into(),
            secret: secret.into(),
            redirect_uris: vec!["https://auth.test/callback/demo".into()],
            post_logout_redirect_uris: vec!["https://auth.test/signed-out".into()],
        };
        let provider = Provider::new(listener.local_addr().unwrap().port(), vec![client]).unwrap();
        let issuer = provider.issuer().to_owned();
        let kept = Arc::clone(&provider);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router(provider)).await
        });
        Self { issuer, provider: kept, runtime: Some(runtime) }
    }

    /// Gone, with all its connections.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Idp {
    fn drop(&mut self) {
        self.stop();
    }
}

pub fn person(name: &str) -> &'static Person {
    people::find(name).unwrap_or_else(|| panic!("the provider knows no `{name}`"))
}
