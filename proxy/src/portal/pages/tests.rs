use super::page::CSS;
use super::*;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{Reason, Timestamp};
use torhaus_config::{Accent, Branding, Colour, Logo, LogoKind, Texts, Words};

const BOTH: [Language; 2] = [Language::English, Language::German];
const NOW: Timestamp = Timestamp::from_seconds(1_795_393_081);

fn words(text: &str) -> Words {
    Words {
        product: Some(text.into()),
        help: Some(text.into()),
        contact: Some(format!("https://help.test/{text}")),
        imprint: Some(text.into()),
    }
}

fn branding(text: &str) -> Branding {
    Branding {
        organisation: text.into(),
        contact: Some(format!("https://help.test/{text}")),
        imprint: None,
        logo: None,
        accent: None,
        texts: Texts { english: words(text), german: words(text) },
    }
}

/// With a logo and a colour.
fn branded() -> Branding {
    let logo = Logo { kind: LogoKind::Png, bytes: b"picture".to_vec().into(), sha256: "0123456789abcdef00".into() };
    let accent = Accent { light: Colour::of(0x9b_24_23), dark: Colour::of(0xff_b0_a8) };
    Branding { logo: Some(logo), accent: Some(accent), ..branding("Example") }
}

fn look_of(branding: &Branding) -> Look {
    Look { brand: Arc::new(Brand::of(branding)), portal: "https://auth.example.test".into(), devices: true }
}

fn look(text: &str) -> Look {
    look_of(&branding(text))
}

fn refusal(reason: Reason, text: &str) -> Refusal {
    Refusal {
        resource: Some(text.into()),
        decision: Some(text.into()),
        person: Some(text.into()),
        offers: vec![
            Offer::StepUp(text.into()),
            Offer::SignIn(text.into()),
            Offer::SignInAsSomeoneElse(text.into()),
            Offer::Certificate(text.into()),
            Offer::TryAgain(text.into()),
        ],
        ..Refusal::new(reason, NOW)
    }
}

fn applications(text: &str) -> Applications {
    let app = |access| Application {
        title: text.into(),
        description: Some(text.into()),
        sensitivity: Some(text.into()),
        url: text.into(),
        access,
    };
    Applications {
        viewer: Viewer {
            name: text.into(),
            tier: Some(ProvenTier { name: text.into(), factors: text.into(), proven_at: NOW }),
            zone: text.into(),
        },
        applications: vec![
            app(Access::OpenNow),
            app(Access::StepUp { factors: text.into() }),
            app(Access::WithDevice),
            app(Access::NotFromHere),
            app(Access::Closed { sentence: text.into() }),
        ],
        query: text.into(),
        grouping: Grouping::Access,
        now: NOW,
    }
}

fn rescue(text: &str) -> SessionEnded {
    SessionEnded {
        application: Some(text.into()),
        sign_in: text.into(),
        kept: Kept::Form {
            action: "/form?a=1".into(),
            encoding: Encoding::Multipart,
            fields: vec![(text.into(), text.into())],
            files: vec![text.into()],
            form_targets: vec![text.into()],
        },
    }
}

fn sessions(text: &str) -> Sessions {
    let session = |current| OpenSession {
        id: text.into(),
        current,
        user_agent: text.into(),
        place: text.into(),
        started: NOW,
        last_used: NOW,
        expires: NOW,
    };
    Sessions {
        sessions: vec![session(false), session(true)],
        csrf: text.into(),
        form_targets: vec![],
        just_ended: Some(2),
        now: NOW,
    }
}

fn devices(text: &str) -> Devices {
    let device =
        |state| Device { id: text.into(), label: text.into(), name: text.into(), state, enrolled: NOW, until: NOW };
    let new = NewKey {
        label: text.into(),
        name: text.into(),
        directory: text.into(),
        kid: text.into(),
        hmac_key: text.to_owned().into(),
        minutes: 15,
    };
    let devices = vec![device(DeviceState::Waiting), device(DeviceState::Enrolled)];
    let seen = |reported| SeenDevice { id: text.into(), known_by: text.into(), last_seen: NOW, reported };
    Devices {
        devices,
        new: Some(new),
        enrols: true,
        seen: Some(vec![seen(Some(NOW)), seen(None)]),
        ended: true,
        confirmed: false,
        forgotten: false,
        bad_label: false,
        too_many: false,
        now: NOW,
    }
}

/// Every page, with `text` in every field that takes a text.
fn every_page(text: &str, language: Language) -> Vec<Page> {
    let look = look(text);
    let choice = ProviderChoice { title: text.into(), url: text.into() };
    let mut pages = vec![
        SignIn { providers: vec![choice], going_to: Some(text.into()), factors: Some(text.into()) }
            .render(&look, language),
        applications(text).render(&look, language),
        Applications { grouping: Grouping::Sensitivity, ..applications(text) }.render(&look, language),
        rescue(text).render(&look, language),
        SessionEnded { kept: Kept::Nothing, ..rescue(text) }.render(&look, language),
        sessions(text).render(&look, language),
        devices(text).render(&look, language),
        Devices { new: None, too_many: true, ..devices(text) }.render(&look, language),
        ConfirmDevice {
            waiting: Waiting::Here { label: text.into(), challenge: text.into(), port: 40_000, state: text.into() },
            wrong_code: false,
        }
        .render(&look, language),
        ConfirmDevice { waiting: Waiting::Elsewhere, wrong_code: true }.render(&look, language),
        Devices { new: None, ended: false, confirmed: true, ..devices(text) }.render(&look, language),
        Devices { devices: vec![], new: None, bad_label: true, seen: None, ..devices(text) }.render(&look, language),
        Devices { enrols: false, new: None, ended: false, forgotten: true, ..devices(text) }.render(&look, language),
        Devices { enrols: false, new: None, seen: Some(vec![]), ..devices(text) }.render(&look, language),
        SignOut {
            action: text.into(),
            person: Some(text.into()),
            provider: Some(text.into()),
            csrf: text.into(),
            form_targets: vec![text.into()],
        }
        .render(&look, language),
        SignedOut { sign_in: text.into(), provider_stays: Some(text.into()) }.render(&look, language),
    ];
    for detail in [
        None,
        Some(Detail::Condition(text.into())),
        Some(Detail::Factors(text.into())),
        Some(Detail::Provider(text.into())),
    ] {
        pages.push(Refusal { detail, ..refusal(Reason::ConditionDenied, text) }.render(&look, language));
    }
    pages.extend(Reason::ALL.iter().map(|reason| refusal(*reason, text).render(&look, language)));
    pages
}

/// The tags of a page with the names of their attributes, in order; texts and values left out. Style sheets are skipped.
fn structure(html: &str) -> Vec<String> {
    let mut tags = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        let mut tag = String::new();
        let mut quote = None;
        let mut end = rest.len();
        for (at, c) in rest[start..].char_indices() {
            match quote {
                Some(open) if c == open => quote = None,
                Some(_) => continue,
                None if c == '"' || c == '\'' => quote = Some(c),
                None if c == '>' => {
                    end = start + at + 1;
                    break;
                }
                None => {}
            }
            tag.push(c);
        }
        rest = &rest[end..];
        if tag == "<style" {
            rest = &rest[rest.find("</style>").unwrap()..];
        }
        tags.push(tag);
    }
    tags
}

#[test]
fn no_text_of_anybody_changes_the_structure_of_a_page() {
    let long = "Wort".repeat(2_500);
    for language in BOTH {
        let plain: Vec<_> = every_page("plain", language).iter().map(|page| structure(&page.body)).collect();
        for hostile in [
            "<script>alert(1)</script>",
            "\"><img src=x onerror=alert(1)>",
            "' autofocus onfocus='alert(1)",
            "</title></style></textarea><svg onload=alert(1)>",
            "javascript:alert(1)",
            "{{ 7*7 }}{% include \"x\" %}",
            "a\r\nSet-Cookie: x=1\r\n\r\n<html>",
            "&lt;script&gt; &amp; &#x3c;",
            "\u{0}\u{202e}\u{feff}<b>",
            &long,
        ] {
            for (page, plain) in every_page(hostile, language).iter().zip(&plain) {
                assert_eq!(&structure(&page.body), plain, "{hostile:.60}");
                assert!(!page.body.contains("href=\"javascript:"), "{hostile:.60}");
                for (name, value) in &page.headers {
                    assert!(!value.chars().any(char::is_control), "{name}: {value:?}");
                }
            }
        }
    }
}

#[test]
fn every_page_carries_strict_headers_and_loads_nothing() {
    for language in BOTH {
        for page in every_page("plain", language) {
            let policy = page.header("content-security-policy").unwrap();
            let style = page.body.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
            let hash = BASE64_STANDARD.encode(Sha256::digest(style.as_bytes()));
            assert!(policy.contains(&format!("style-src 'sha256-{hash}';")), "{policy}");
            assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
            assert!(policy.ends_with("frame-ancestors 'none'; base-uri 'none'"), "{policy}");
            let has_form = page.body.contains("<form");
            assert_eq!(policy.contains("form-action 'self'"), has_form);
            assert_eq!(page.header("referrer-policy"), Some(if has_form { "same-origin" } else { "no-referrer" }));
            assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(page.header("x-frame-options"), Some("DENY"));
            assert_eq!(page.header("cache-control"), Some("no-store"));
            assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
            assert!(page.header("permissions-policy").is_some() && page.header("cross-origin-opener-policy").is_some());
            let mut names: Vec<_> = page.headers.iter().map(|(name, _)| *name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), page.headers.len());
            for foreign in ["<script", " style=", " src=", "onclick", "<iframe", "@import"] {
                assert!(!page.body.contains(foreign), "{foreign}");
            }
        }
    }
}

#[test]
fn every_page_is_one_document_with_landmarks_in_its_language() {
    for (language, code) in BOTH.into_iter().zip(["en", "de"]) {
        for page in every_page("plain", language) {
            assert!(page.body.starts_with("<!doctype html>"));
            assert_eq!(page.header("content-language"), Some(code));
            assert!(page.body.contains(&format!("<html lang=\"{code}\">")));
            for once in ["<h1>", "<main ", "<header ", "<footer>", "<title>"] {
                assert_eq!(page.body.matches(once).count(), 1, "{once}");
            }
            let tags = structure(&page.body);
            for name in
                ["div", "p", "ul", "li", "form", "section", "dl", "span", "a", "button", "svg", "nav", "ol", "label"]
            {
                let opened = tags
                    .iter()
                    .filter(|tag| **tag == format!("<{name}") || tag.starts_with(&format!("<{name} ")))
                    .count();
                assert_eq!(opened, tags.iter().filter(|tag| **tag == format!("</{name}")).count(), "{name}");
            }
        }
    }
}

#[test]
fn every_reason_is_a_page_and_a_problem_with_the_same_words() {
    for language in BOTH {
        for reason in Reason::ALL.iter().copied() {
            let refusal = refusal(reason, "Samba <HR>");
            let (page, problem) = (refusal.render(&look("Example"), language), refusal.problem(language));
            assert_eq!((page.status, problem.status), (reason.status(), reason.status()));
            for text in [reason.words(language).sentence, reason.words(language).what_to_do] {
                assert!(page.body.contains(&text.replace('\'', "&#39;")), "{text}");
            }
            assert_eq!(problem.header("content-type"), Some("application/problem+json"));
            let json: serde_json::Value = serde_json::from_str(&problem.body).unwrap();
            assert_eq!(json["type"], format!("urn:torhaus:reason:{reason}"));
            assert_eq!(json["status"], reason.status());
            assert_eq!(json["detail"], reason.words(language).sentence);
            assert_eq!(json["what_to_do"], reason.words(language).what_to_do);
            assert_eq!((&json["resource"], &json["decision"]), (&"Samba <HR>".into(), &"Samba <HR>".into()));
            assert!(page.body.contains(json["title"].as_str().unwrap()));
        }
    }
}

#[test]
fn one_answer_is_a_page_for_a_browser_and_a_problem_for_a_script() {
    let refusal = Refusal { retry_after: Some(Duration::from_secs(30)), ..Refusal::new(Reason::StoreUnavailable, NOW) };
    let mut headers = http::HeaderMap::new();
    let json = refusal.answer(&headers, &look("Example"));
    headers.insert("accept", "text/html".parse().unwrap());
    headers.insert("accept-language", "de".parse().unwrap());
    let html = refusal.answer(&headers, &look("Example"));
    assert_eq!(json.header("content-type"), Some("application/problem+json"));
    assert_eq!(html.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(html.body.contains("lang=\"de\""));
    for page in [json, html] {
        assert_eq!(page.status, 503);
        assert_eq!(page.header("retry-after"), Some("30"));
        assert!(page.header("vary").unwrap().contains("accept"));
    }
}

#[test]
fn a_refusal_names_its_condition_and_prepares_the_message_to_whoever_helps() {
    let refusal = Refusal {
        detail: Some(Detail::Condition("encrypted-disk".into())),
        decision: Some("01KAQ7".into()),
        resource: Some("Samba HR".into()),
        ..Refusal::new(Reason::RequirementMissing, NOW)
    };
    let contact = |contact: Option<&str>| Branding {
        contact: contact.map(str::to_owned),
        texts: Texts::default(),
        ..branding("Example")
    };
    let look = look_of(&contact(Some("it@example.test")));
    let body = refusal.render(&look, Language::English).body;
    assert!(body.contains("encrypted-disk"));
    assert!(
        body.contains("mailto:it@example.test?subject=Access%20to%20Samba%20HR%20%28decision%2001KAQ7%29&#38;body=")
    );
    let json: serde_json::Value = serde_json::from_str(&refusal.problem(Language::English).body).unwrap();
    assert_eq!(json["condition"], "encrypted-disk");
    // Without a contact there is still a way on.
    let body = refusal.render(&look_of(&contact(None)), Language::English).body;
    assert!(!body.contains("mailto:") && body.contains("button main\" href=\"https://auth.example.test/\""));
}

#[test]
fn a_rescued_form_keeps_every_field_in_order_and_goes_only_home() {
    let fields: Vec<(String, String)> = [("b", "2"), ("a", "\"1\" & <2>"), ("b", ""), ("text", "one\r\ntwo")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let page = |action: &str| {
        let kept = Kept::Form {
            action: action.into(),
            encoding: Encoding::UrlEncoded,
            fields: fields.clone(),
            files: Vec::new(),
            form_targets: Vec::new(),
        };
        SessionEnded { application: None, sign_in: "/".into(), kept }.render(&look("Example"), Language::English)
    };
    let own = page("/pages/42?x=1&y=2");
    assert_eq!(own.status, 401);
    assert!(own.body.contains(
        "<form method=\"post\" action=\"/pages/42?x=1&#38;y=2\" enctype=\"application/x-www-form-urlencoded\""
    ));
    let kept: Vec<_> = own
        .body
        .split("<input type=\"hidden\" name=\"")
        .skip(1)
        .map(|field| {
            let (name, rest) = field.split_once("\" value=\"").unwrap();
            let value = rest.split_once("\">").unwrap().0;
            let value = value.replace("&#34;", "\"").replace("&#60;", "<").replace("&#62;", ">").replace("&#38;", "&");
            (name.to_owned(), value)
        })
        .collect();
    assert_eq!(kept, fields);
    for foreign in ["https://evil.test/", "//evil.test/", "/\\evil.test", "javascript:alert(1)"] {
        assert!(!page(foreign).body.contains("<form"), "{foreign}");
    }
    assert!(!format!("{:?}", rescue("secret-7")).replace("application: Some(\"secret-7\")", "").contains("secret-7"));
}

#[test]
fn what_cannot_be_opened_is_listed_without_a_link() {
    let mut view = applications("x");
    view.query = String::new();
    for (at, app) in view.applications.iter_mut().enumerate() {
        (app.title, app.url) = (format!("App {at}"), format!("https://app{at}.test/").into());
    }
    let body = view.render(&look("Example"), Language::English).body;
    let linked: Vec<bool> = (0..5).map(|at| body.contains(&format!("href=\"https://app{at}.test/\""))).collect();
    assert_eq!(linked, [true, true, true, false, false]);
    assert!((0..5).all(|at| body.contains(&format!("App {at}"))));
    // Few applications need no search; a search that is under way is shown.
    assert!(!body.contains("role=\"search\""));
    view.query = " APP 1".into();
    let body = view.render(&look("Example"), Language::English).body;
    assert!(body.contains("role=\"search\"") && body.contains("App 1") && !body.contains("App 2"));
    assert!(body.contains("1 application for “APP 1”"));
}

#[test]
fn sections_by_sensitivity_go_from_low_to_critical_and_end_with_the_unnamed() {
    let mut view = applications("x");
    view.query = String::new();
    view.grouping = Grouping::Sensitivity;
    for (app, level) in view.applications.iter_mut().zip([None, Some("critical"), Some("in-house"), Some("low")]) {
        app.sensitivity = level.map(str::to_owned);
    }
    let body = view.render(&look("Example"), Language::German).body;
    let places: Vec<_> =
        ["Schutzbedarf: niedrig", "Schutzbedarf: kritisch", "Schutzbedarf: in-house", "Weitere Anwendungen"]
            .iter()
            .map(|title| body.find(&format!("\">{title}</h2>")).unwrap())
            .collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn the_current_session_stands_first_and_is_ended_only_by_signing_out() {
    let mut view = sessions("x");
    for (session, id) in view.sessions.iter_mut().zip(["other", "mine"]) {
        (session.id, session.place) = (id.into(), id.into());
    }
    let body = view.render(&look("Example"), Language::English).body;
    assert!(body.find(">mine<").unwrap() < body.find(">other<").unwrap());
    assert!(body.contains("name=\"end\" value=\"other\"") && !body.contains("value=\"mine\""));
    assert!(body.contains(&format!("value=\"{}\"", Sessions::ALL_OTHERS)));
    let everywhere = format!("value=\"{}\"", Sessions::EVERYWHERE);
    assert!(body.contains(&everywhere));
    view.sessions.retain(|session| session.current);
    assert!(view.render(&look("Example"), Language::German).body.contains(&everywhere), "also with the provider alone");
    assert!(!view.render(&look("Example"), Language::English).body.contains(Sessions::ALL_OTHERS));
}

#[test]
fn signing_out_may_lead_on_to_the_provider_and_nowhere_else() {
    let page = SignOut {
        action: "/.torhaus/logout".into(),
        person: None,
        provider: None,
        csrf: "t".into(),
        form_targets: vec!["https://idp.test".into(), "https://x.test; script-src *".into()],
    }
    .render(&look("Example"), Language::English);
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .contains("form-action 'self' https://auth.example.test https://idp.test;")
    );
    assert!(page.body.contains("method=\"post\" action=\"/.torhaus/logout\""));
}

/// WCAG 2.2, 1.4.3 and 1.4.11.
#[test]
fn every_colour_pair_has_enough_contrast_in_light_and_dark() {
    let (light, dark) = CSS.split_once("@media (prefers-color-scheme: dark)").unwrap();
    for css in [light, dark] {
        let luminance = |name: &str| {
            let value = css.split_once(&format!("--{name}: #")).unwrap().1.split(';').next().unwrap();
            let digits: String =
                if value.len() == 3 { value.chars().flat_map(|c| [c, c]).collect() } else { value.into() };
            let channel = |at: usize| {
                let c = f64::from(u8::from_str_radix(&digits[at..at + 2], 16).unwrap()) / 255.0;
                if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
        };
        let contrast = |a: &str, b: &str| {
            let (a, b) = (luminance(a), luminance(b));
            (a.max(b) + 0.05) / (a.min(b) + 0.05)
        };
        for (a, b, least) in [
            ("ink", "ground", 7.0),
            ("ink", "sheet", 7.0),
            ("soft", "ground", 4.5),
            ("soft", "sheet", 4.5),
            ("accent", "ground", 4.5),
            ("accent", "sheet", 4.5),
            ("on-accent", "accent", 4.5),
            ("on-accent", "accent-hover", 4.5),
            ("accent-hover", "sheet", 4.5),
            ("edge", "sheet", 3.0),
            ("edge", "ground", 3.0),
            ("open", "open-bg", 4.5),
            ("step", "step-bg", 4.5),
            ("stop", "stop-bg", 4.5),
            ("wait", "wait-bg", 4.5),
            ("fault", "fault-bg", 4.5),
            ("shut", "shut-bg", 4.5),
        ] {
            assert!(contrast(a, b) >= least, "{a} on {b}: {:.2}", contrast(a, b));
        }
    }
}

#[test]
fn operators_show_their_own_logo_colours_and_texts_under_as_strict_a_policy() {
    let page = |branding: &Branding, language| {
        SignedOut { sign_in: "/login".into(), provider_stays: None }.render(&look_of(branding), language)
    };
    let texts = Texts {
        german: Words {
            product: Some("Beispiel-Zugang".into()),
            help: Some("Karte vergessen? Der Empfang hilft.".into()),
            contact: Some("hilfe@example.test".into()),
            imprint: Some("https://example.test/impressum".into()),
        },
        english: Words::default(),
    };
    let own = Branding { imprint: Some("https://example.test/imprint".into()), texts, ..branded() };
    let (german, english) = (page(&own, Language::German), page(&own, Language::English));
    for shown in [
        "· Beispiel-Zugang</title>",
        "<span>Beispiel-Zugang</span>",
        "<p>Karte vergessen? Der Empfang hilft.</p>",
        "href=\"mailto:hilfe@example.test\"",
        "<a href=\"https://example.test/impressum\">Impressum</a>",
    ] {
        assert!(german.body.contains(shown), "{shown}\n{}", german.body);
        assert!(!english.body.contains(shown), "{shown}");
    }
    // What a language does not say is said as for all of them.
    assert!(english.body.contains("· Example</title>") && english.body.contains("https://help.test/Example"));
    assert!(english.body.contains("<a href=\"https://example.test/imprint\">Imprint</a>"));
    for page in [german, english] {
        let logo = "/.torhaus/logo-0123456789abcdef.png";
        assert!(page.body.contains(&format!("<img class=\"logo\" src=\"{logo}\" alt=\"\">")));
        assert!(page.body.contains(&format!("<link rel=\"icon\" href=\"{logo}\">")));
        assert!(!page.body.contains("class=\"mark\""));
        let style = page.body.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
        assert!(style.contains("--accent:#9b2423;--on-accent:#ffffff;") && style.contains("--accent:#ffb0a8;"));
        let hash = BASE64_STANDARD.encode(Sha256::digest(style.as_bytes()));
        let policy = page.header("content-security-policy").unwrap();
        assert_eq!(
            policy,
            format!(
                "default-src 'none'; style-src 'sha256-{hash}'; img-src data: 'self'; form-action 'none'; \
                 frame-ancestors 'none'; base-uri 'none'"
            )
        );
    }
}
