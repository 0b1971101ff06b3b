//! The provider, with the `openidconnect` crate as its relying party and a small browser of our own.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, outside #[test] functions"
)]
use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreProviderMetadata, CoreTokenResponse};
use openidconnect::{
    AuthenticationContextClass, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointMaybeSet, EndpointNotSet,
    EndpointSet, HttpRequest, IssuerUrl, Nonce, OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl,
    Scope,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;
use torhaus_demo::provider::client::Client;
use torhaus_demo::provider::{Provider, router};
use url::Url;

const CALLBACK: &str = "https://auth.localhost:8443/callback/demo";
const SIGNED_OUT: &str = "https://auth.localhost:8443/signed-out";
const SECRET: &str = "a+secret/with=odd&characters";

type Rp = CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointMaybeSet, EndpointMaybeSet>;

/// A browser: keeps cookies, follows redirects on the provider only.
struct Browser {
    http: reqwest::Client,
    issuer: String,
    cookies: RefCell<BTreeMap<String, String>>,
}

/// Where a walk ended: a page of the provider, or on the way out.
#[derive(Debug)]
enum End {
    Page { url: String, status: u16, html: String },
    Left(Url),
}

struct Asked {
    url: Url,
    nonce: Nonce,
    verifier: PkceCodeVerifier,
}

async fn start() -> (String, Browser) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client {
        id: "torhaus".into(),
        secret: SECRET.into(),
        redirect_uris: vec![CALLBACK.into()],
        post_logout_redirect_uris: vec![SIGNED_OUT.into()],
    };
    let provider = Provider::new(listener.local_addr().unwrap().port(), vec![client]).unwrap();
    let issuer = provider.issuer().to_owned();
    tokio::spawn(async move { axum::serve(listener, router(provider)).await });
    let browser = Browser::new(&issuer);
    (issuer, browser)
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

impl Browser {
    fn new(issuer: &str) -> Self {
        Self { http: http(), issuer: issuer.to_owned(), cookies: RefCell::default() }
    }

    async fn get(&self, url: &str) -> End {
        self.walk(self.http.get(url)).await
    }

    async fn post(&self, url: &str, form: &[(&str, &str)]) -> End {
        self.walk(self.http.post(url).form(form)).await
    }

    async fn walk(&self, mut request: reqwest::RequestBuilder) -> End {
        for _ in 0..10 {
            let line: Vec<_> = self.cookies.borrow().iter().map(|(k, v)| format!("{k}={v}")).collect();
            let response = request.header("Cookie", line.join("; ")).send().await.unwrap();
            for set in response.headers().get_all("set-cookie") {
                let (name, value) = set.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
                self.cookies.borrow_mut().insert(name.to_owned(), value.to_owned());
            }
            let Some(location) = response.headers().get("location") else {
                let url = response.url().to_string();
                let status = response.status().as_u16();
                return End::Page { url, status, html: response.text().await.unwrap() };
            };
            let next = response.url().join(location.to_str().unwrap()).unwrap();
            if !next.as_str().starts_with(&self.issuer) {
                return End::Left(next);
            }
            request = self.http.get(next);
        }
        panic!("a redirect loop");
    }

    async fn code_of(&self, user: &str) -> String {
        let url = format!("{}/demo/code/{user}", self.issuer);
        self.http.get(url).send().await.unwrap().text().await.unwrap().trim().to_owned()
    }
}

impl End {
    /// The page's address, where its forms are sent.
    fn page(&self, containing: &str) -> &str {
        match self {
            Self::Page { url, html, .. } if html.contains(containing) => url,
            other => panic!("expected a page with `{containing}`, got {other:?}"),
        }
    }

    fn status(&self) -> u16 {
        match self {
            Self::Page { status, .. } => *status,
            Self::Left(url) => panic!("left to {url}"),
        }
    }

    fn left(&self) -> BTreeMap<String, String> {
        match self {
            Self::Left(url) => url.query_pairs().into_owned().collect(),
            other @ Self::Page { .. } => panic!("expected to leave, got {other:?}"),
        }
    }
}

async fn call(request: HttpRequest) -> Result<openidconnect::HttpResponse, reqwest::Error> {
    let response = http().execute(request.try_into()?).await?;
    let mut answer = openidconnect::http::Response::new(vec![]);
    *answer.status_mut() = response.status();
    *answer.headers_mut() = response.headers().clone();
    *answer.body_mut() = response.bytes().await?.to_vec();
    Ok(answer)
}

async fn relying_party(issuer: &str) -> Rp {
    let metadata =
        CoreProviderMetadata::discover_async(IssuerUrl::new(issuer.to_owned()).unwrap(), &call).await.unwrap();
    CoreClient::from_provider_metadata(
        metadata,
        ClientId::new("torhaus".into()),
        Some(ClientSecret::new(SECRET.into())),
    )
    .set_redirect_uri(RedirectUrl::new(CALLBACK.into()).unwrap())
}

fn ask(rp: &Rp, more: &[(&str, &str)]) -> Asked {
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let mut request = rp
        .authorize_url(
            CoreAuthenticationFlow::AuthorizationCode,
            || CsrfToken::new("the state".into()),
            Nonce::new_random,
        )
        .set_pkce_challenge(challenge);
    for scope in ["profile", "email", "groups"] {
        request = request.add_scope(Scope::new(scope.into()));
    }
    for (name, value) in more {
        request = request.add_extra_param(*name, *value);
    }
    let (url, _, nonce) = request.url();
    Asked { url, nonce, verifier }
}

async fn redeem(rp: &Rp, code: &str, verifier: PkceCodeVerifier) -> Result<CoreTokenResponse, String> {
    let request = rp.exchange_code(AuthorizationCode::new(code.to_owned())).unwrap().set_pkce_verifier(verifier);
    request.request_async(&call).await.map_err(|error| format!("{error:?}"))
}

/// The claims of the ID token, after the relying party verified it; raw, for those that the crate does not know.
fn claims(rp: &Rp, tokens: &CoreTokenResponse, nonce: &Nonce) -> serde_json::Value {
    use openidconnect::TokenResponse;
    let id = tokens.id_token().unwrap();
    let verified = id.claims(&rp.id_token_verifier(), nonce).expect("the relying party accepts the ID token");
    let hash = openidconnect::AccessTokenHash::from_token(
        tokens.access_token(),
        id.signing_alg().unwrap(),
        id.signing_key(&rp.id_token_verifier()).unwrap(),
    );
    assert_eq!(verified.access_token_hash(), Some(&hash.unwrap()));
    jsonwebtoken::dangerous::insecure_decode::<serde_json::Value>(id.to_string()).unwrap().claims
}

const GOLD: (&str, &str) = ("claims", r#"{"id_token":{"acr":{"essential":true,"values":["gold"]}}}"#);
const PHRH: (&str, &str) = ("claims", r#"{"id_token":{"acr":{"essential":true,"values":["phrh"]}}}"#);

#[tokio::test]
async fn a_person_signs_in_steps_up_and_signs_out_again() {
    let (issuer, browser) = start().await;
    let rp = relying_party(&issuer).await;

    let asked = ask(&rp, &[]);
    let page = browser.get(asked.url.as_str()).await;
    let page = browser.post(page.page("Sign in"), &[("user", "alice"), ("password", "wrong")]).await;
    assert_eq!(page.status(), 401);
    let back = browser.post(page.page("wrong"), &[("user", "alice"), ("password", "alice-demo")]).await.left();
    assert_eq!((back["state"].as_str(), back["iss"].as_str()), ("the state", issuer.as_str()));
    let tokens = redeem(&rp, &back["code"], asked.verifier).await.unwrap();
    let first = claims(&rp, &tokens, &asked.nonce);
    assert_eq!(first["preferred_username"], "alice");
    assert_eq!(first["groups"], serde_json::json!(["all-employees", "it-admins"]));
    assert_eq!((&first["acr"], &first["amr"]), (&"standard".into(), &serde_json::json!(["pwd"])));

    // Single sign-on: no page for the same level; a second factor, and only that, for the next.
    let asked = ask(&rp, &[]);
    assert!(browser.get(asked.url.as_str()).await.left().contains_key("code"));
    let asked = ask(&rp, &[GOLD]);
    let page = browser.get(asked.url.as_str()).await;
    let url = page.page("One more factor").to_owned();
    let code = browser.code_of("alice").await;
    page.page(&code);
    assert_eq!(browser.post(&url, &[("code", "000000")]).await.status(), 401);
    let back = browser.post(&url, &[("code", &code)]).await.left();
    let tokens = redeem(&rp, &back["code"], asked.verifier).await.unwrap();
    let gold = claims(&rp, &tokens, &asked.nonce);
    assert_eq!((&gold["acr"], &gold["amr"]), (&"gold".into(), &serde_json::json!(["pwd", "otp", "mfa"])));
    assert_eq!(gold["sid"], first["sid"]);

    let asked = ask(&rp, &[PHRH]);
    let page = browser.get(asked.url.as_str()).await;
    let back = browser.post(page.page("Touch the key"), &[("key", "touched")]).await.left();
    let tokens = redeem(&rp, &back["code"], asked.verifier).await.unwrap();
    let phrh = claims(&rp, &tokens, &asked.nonce);
    assert_eq!((&phrh["acr"], &phrh["amr"]), (&"phrh".into(), &serde_json::json!(["pwd", "hwk", "mfa"])));

    let refreshed =
        rp.exchange_refresh_token(tokens.refresh_token().unwrap()).unwrap().request_async(&call).await.unwrap();
    let userinfo = || http().get(format!("{issuer}/userinfo")).bearer_auth(refreshed.access_token().secret());
    let info: serde_json::Value = userinfo().send().await.unwrap().json().await.unwrap();
    assert_eq!((&info["sub"], &info["email"]), (&first["sub"], &"alice@demo.test".into()));

    use openidconnect::TokenResponse;
    let hint = tokens.id_token().unwrap().to_string();
    let mut url = Url::parse(&format!("{issuer}/end-session")).unwrap();
    url.query_pairs_mut().extend_pairs([
        ("id_token_hint", hint.as_str()),
        ("post_logout_redirect_uri", SIGNED_OUT),
        ("state", "bye"),
    ]);
    assert_eq!(browser.get(url.as_str()).await.left()["state"], "bye");
    browser.get(ask(&rp, &[]).url.as_str()).await.page("Sign in");
    assert_eq!(userinfo().send().await.unwrap().status(), 401);
    let refresh = rp.exchange_refresh_token(refreshed.refresh_token().unwrap()).unwrap();
    assert!(refresh.request_async(&call).await.is_err());
}

#[tokio::test]
async fn an_essential_acr_is_met_or_refused_and_a_silent_request_never_asks() {
    let (issuer, browser) = start().await;
    let rp = relying_party(&issuer).await;
    let silent = ("prompt", "none");
    let error = |end: End| end.left()["error"].clone();

    assert_eq!(error(browser.get(ask(&rp, &[silent]).url.as_str()).await), "login_required");
    let page = browser.get(ask(&rp, &[PHRH]).url.as_str()).await;
    let end = browser.post(page.page("Sign in"), &[("user", "dana"), ("password", "dana-demo")]).await;
    assert_eq!(error(end), "unmet_authentication_requirements");
    assert_eq!(error(browser.get(ask(&rp, &[PHRH, silent]).url.as_str()).await), "unmet_authentication_requirements");
    assert_eq!(error(browser.get(ask(&rp, &[GOLD, silent]).url.as_str()).await), "interaction_required");
    assert!(browser.get(ask(&rp, &[silent]).url.as_str()).await.left().contains_key("code"));
    let hint = ("login_hint", "alice");
    assert_eq!(error(browser.get(ask(&rp, &[silent, hint]).url.as_str()).await), "login_required");

    // A wish that cannot come true gives what there is; the relying party has to look.
    let asked = ask(&rp, &[("acr_values", "phrh")]);
    let back = browser.get(asked.url.as_str()).await.left();
    let tokens = redeem(&rp, &back["code"], asked.verifier).await.unwrap();
    assert_eq!(claims(&rp, &tokens, &asked.nonce)["acr"], "standard");

    let page = browser.get(ask(&rp, &[GOLD]).url.as_str()).await;
    assert_eq!(error(browser.post(page.page("One more factor"), &[("cancel", "1")]).await), "access_denied");
}

#[tokio::test]
async fn an_old_proof_is_renewed_when_max_age_or_prompt_asks_for_it() {
    let (issuer, browser) = start().await;
    let rp = relying_party(&issuer).await;
    let page = browser.get(ask(&rp, &[]).url.as_str()).await;
    let alice = [("user", "alice"), ("password", "alice-demo")];
    let back = browser.post(page.page("Sign in"), &alice).await.left();
    assert!(back.contains_key("code"));

    browser.get(ask(&rp, &[("prompt", "login")]).url.as_str()).await.page("Sign in");
    browser.get(ask(&rp, &[("prompt", "select_account")]).url.as_str()).await.page("Sign in");
    assert!(browser.get(ask(&rp, &[("max_age", "60")]).url.as_str()).await.left().contains_key("code"));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let asked = ask(&rp, &[("max_age", "1")]);
    let page = browser.get(asked.url.as_str()).await;
    let back = browser.post(page.page("Sign in"), &alice).await.left();
    let tokens = redeem(&rp, &back["code"], asked.verifier).await.unwrap();
    let renewed = claims(&rp, &tokens, &asked.nonce);
    assert!(renewed["iat"].as_i64().unwrap() - renewed["auth_time"].as_i64().unwrap() <= 1);

    // Somebody else signs in where alice was expected: that is their right, and their own session.
    let page = browser.get(ask(&rp, &[("login_hint", "frank")]).url.as_str()).await;
    page.page("value=\"frank\"");
    let back = browser.post(page.page("Sign in"), &[("user", "eve"), ("password", "eve-demo")]).await.left();
    assert!(back.contains_key("code"));
}

#[tokio::test]
async fn guessing_is_slowed_and_an_interaction_belongs_to_its_browser() {
    let (issuer, browser) = start().await;
    let rp = relying_party(&issuer).await;
    let page = browser.get(ask(&rp, &[]).url.as_str()).await;
    let url = page.page("Sign in").to_owned();
    for _ in 0..5 {
        assert_eq!(browser.post(&url, &[("user", "eve"), ("password", "guess")]).await.status(), 401);
    }
    let right = [("user", "eve"), ("password", "eve-demo")];
    assert_eq!(browser.post(&url, &right).await.status(), 429);

    let stranger = Browser::new(&issuer);
    assert_eq!(stranger.get(&url).await.status(), 410);
    assert_eq!(stranger.post(&url, &[("user", "alice"), ("password", "alice-demo")]).await.status(), 410);
}

#[tokio::test]
async fn codes_secrets_and_return_addresses_are_held_strictly() {
    let (issuer, browser) = start().await;
    let rp = relying_party(&issuer).await;
    let asked = ask(&rp, &[]);
    let page = browser.get(asked.url.as_str()).await;
    let back = browser.post(page.page("Sign in"), &[("user", "frank"), ("password", "frank-demo")]).await.left();
    let form = |secret: &str| {
        [("grant_type", "authorization_code"), ("code", &back["code"]), ("redirect_uri", CALLBACK)]
            .into_iter()
            .chain([("client_id", "torhaus"), ("client_secret", secret), ("code_verifier", asked.verifier.secret())])
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect::<Vec<_>>()
    };
    let post = |form: Vec<(String, String)>| http().post(format!("{issuer}/token")).form(&form).send();
    let wrong = post(form("wrong")).await.unwrap();
    assert_eq!(wrong.status(), 401);
    assert!(wrong.headers().contains_key("www-authenticate"));
    let right = post(form(SECRET)).await.unwrap();
    assert_eq!((right.status().as_u16(), right.headers()["cache-control"].to_str().unwrap()), (200, "no-store"));
    let again = post(form(SECRET)).await.unwrap();
    assert_eq!((again.status().as_u16(), again.text().await.unwrap().contains("invalid_grant")), (400, true));

    let evil = asked.url.as_str().replace("callback%2Fdemo", "callback%2Fevil");
    assert_eq!(browser.get(&evil).await.status(), 400);
    for query in [
        "?post_logout_redirect_uri=https%3A%2F%2Fevil.test",
        "?client_id=torhaus&post_logout_redirect_uri=https%3A%2F%2Fevil.test",
        "?id_token_hint=e30.e30.e30",
    ] {
        assert_eq!(browser.get(&format!("{issuer}/end-session{query}")).await.status(), 400, "{query}");
    }
    // Without a hint the person is asked; nobody is signed out by a link, or by a forged form.
    browser.get(&format!("{issuer}/end-session")).await.page("Do you want to sign out");
    browser.post(&format!("{issuer}/end-session"), &[("confirm", "guess")]).await.page("Do you want to sign out");
    let other_name = http().get(format!("{issuer}/authorize")).header("Host", "evil.test").send().await.unwrap();
    assert_eq!(other_name.status(), 421);
}

#[tokio::test]
async fn the_relying_party_crate_asks_for_acr_and_max_age_in_its_own_words() {
    let (issuer, browser) = start().await;
    let rp = relying_party(&issuer).await;
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let (url, _, nonce) = rp
        .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
        .set_pkce_challenge(challenge)
        .add_auth_context_value(AuthenticationContextClass::new("phrh".into()))
        .set_max_age(Duration::from_secs(300))
        .url();
    let page = browser.get(url.as_str()).await;
    let page = browser.post(page.page("Sign in"), &[("user", "alice"), ("password", "alice-demo")]).await;
    let back = browser.post(page.page("Touch the key"), &[("key", "touched")]).await.left();
    let tokens = redeem(&rp, &back["code"], verifier).await.unwrap();
    let claims = claims(&rp, &tokens, &nonce);
    assert_eq!(claims["acr"], "phrh");
    assert!(claims.get("groups").is_none(), "scopes not asked for tell nothing");
}
