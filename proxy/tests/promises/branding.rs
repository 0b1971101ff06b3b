//! The gate's pages are the operators' own: their logo, colours and words, and still nothing from elsewhere.
use crate::harness::{Call, Door, Setup};

const LOGO: &str =
    r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><path fill="#9b2423" d="M0 0h8v8z"/></svg>"##;

const BRANDING: &str = r##"branding:
  organisation: Example GmbH
  imprint: "https://example.test/imprint"
  logo_file: logo.svg
  accent: { light: "#9b2423", dark: "#ffb0a8" }
  texts: { de: { product: Beispiel-Zugang, help: "Schlüssel verloren? Der Empfang hilft.", contact: hilfe@example.test } }
"##;

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("no `{from}` in {text}"));
    rest.split_once(to).unwrap().0
}

#[tokio::test]
async fn pages_carry_the_operators_logo_colours_and_words_on_every_host_and_take_nothing_from_elsewhere() {
    let mut setup = Setup::new().await;
    std::fs::write(setup.folder.path().join("logo.svg"), LOGO).unwrap();
    setup.config.push_str(BRANDING);
    let world = setup.start().await;
    let page = async |host: &str, path: &str, language: &str| {
        let call = Call::get(host, path).with("accept", "text/html").with("accept-language", language);
        world.call(Door::Outside, None, &call).await.unwrap()
    };

    // A refusal at an application's host, and a page of the portal.
    let refused = page("pve.test", "/", "de").await;
    let portal = page("auth.test", "/signed-out", "de").await;
    assert_eq!((refused.status, portal.status), (403, 200), "{}", refused.body);
    for (host, page) in [("pve.test", &refused), ("auth.test", &portal)] {
        for shown in [
            "· Beispiel-Zugang</title>",
            "Der Empfang hilft.",
            "mailto:hilfe@example.test",
            "https://example.test/imprint",
        ] {
            assert!(page.body.contains(shown), "{host}: {shown}");
        }
        assert!(page.body.contains("--accent:#9b2423;") && page.body.contains("--accent:#ffb0a8;"), "{host}");
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(policy.contains("; img-src data: 'self'; ") && !policy.contains("unsafe"), "{policy}");
        let logo = between(&page.body, "<img class=\"logo\" src=\"", "\"");
        let picture = world.call(Door::Outside, None, &Call::get(host, logo)).await.unwrap();
        assert_eq!((picture.status, picture.body.as_str()), (200, LOGO), "{host}");
        assert_eq!(picture.headers["content-type"], "image/svg+xml");
        assert_eq!(picture.headers["cache-control"], "public, max-age=31536000, immutable");
        assert_eq!(picture.headers.get_all("cache-control").iter().count(), 1);
        assert_eq!(
            picture.headers["content-security-policy"],
            "default-src 'none'; style-src 'unsafe-inline'; sandbox"
        );
        assert_eq!(picture.headers["x-content-type-options"], "nosniff");
    }
    let english = page("auth.test", "/signed-out", "en").await;
    assert!(english.body.contains("· Example GmbH</title>") && !english.body.contains("Beispiel-Zugang"));

    // A new picture has a new name, and the old name is gone. What is no picture changes nothing.
    let old = between(&portal.body, "<img class=\"logo\" src=\"", "\"").to_owned();
    world.write("logo.svg", &LOGO.replace("#9b2423", "#17643b"));
    world.reload().await.unwrap();
    let new = page("auth.test", "/signed-out", "de").await;
    let new = between(&new.body, "<img class=\"logo\" src=\"", "\"").to_owned();
    assert_ne!(new, old);
    assert_eq!(world.call(Door::Outside, None, &Call::get("auth.test", &old)).await.unwrap().status, 404);
    world.write("logo.svg", &LOGO.replace("<path", "<script>alert(1)</script><path"));
    let why = world.reload().await.unwrap_err();
    assert!(why.contains("logo.svg` holds a script"), "{why}");
    assert_eq!(world.call(Door::Outside, None, &Call::get("auth.test", &new)).await.unwrap().status, 200);
    // The same for a colour that nobody could read.
    world.write("logo.svg", LOGO);
    world.change("torhaus.yaml", "#9b2423", "#ffb0a8");
    let why = world.reload().await.unwrap_err();
    assert!(why.contains("`#ffb0a8` has a contrast of 1.6") && why.contains("at least 4.5"), "{why}");
    assert!(page("auth.test", "/signed-out", "de").await.body.contains("--accent:#9b2423;"));
}
