//! Writes every page in both languages, with sample data, into a folder: to be looked at.
//!
//!     cargo run -p torhaus --example pages -- /tmp/pages
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use torhaus::portal::pages::{
    Access, Application, Applications, Brand, ConfirmDevice, Detail, Encoding, Grouping, Kept, Language, Link, Look,
    Offer, OpenSession, Page, ProvenTier, ProviderChoice, Refusal, SessionEnded, Sessions, SignIn, SignOut, SignedOut,
    Viewer, Waiting,
};
use torhaus_authz::{Reason, Timestamp};
use torhaus_config::{Accent, Branding, Colour, Texts, Words};

const NOW: Timestamp = Timestamp::from_seconds(1_795_393_081);

fn main() -> std::io::Result<()> {
    let Some(folder) = std::env::args_os().nth(1) else {
        return Err(std::io::Error::other("usage: pages FOLDER"));
    };
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    for (folder, branding) in [(folder.to_owned(), plain()), (folder.join("branded"), branded())] {
        std::fs::create_dir_all(&folder)?;
        let look = Look {
            brand: Arc::new(Brand::of(&branding)),
            portal: "https://auth.example.test:8443".into(),
            devices: true,
        };
        for (language, code) in [(Language::English, "en"), (Language::German, "de")] {
            for (name, page) in pages(&look, language) {
                std::fs::write(folder.join(format!("{name}.{code}.html")), page.body)?;
            }
        }
    }
    std::fs::write(folder.join("refusal.json"), refusal(Reason::ZoneDenied).problem(Language::English).body)
}

fn plain() -> Branding {
    Branding {
        organisation: "Stadtwerke Musterstadt".into(),
        contact: Some("it-hilfe@stadtwerke.example".into()),
        imprint: None,
        logo: None,
        accent: None,
        texts: Texts::default(),
    }
}

/// Without a logo: a file has nobody to fetch it from. `tests/pages.test.mjs` shows one.
fn branded() -> Branding {
    let words = |product: &str, help: &str| Words {
        product: Some(product.into()),
        help: Some(help.into()),
        ..Words::default()
    };
    Branding {
        imprint: Some("https://stadtwerke.example/impressum".into()),
        accent: Some(Accent { light: Colour::of(0x9b_24_23), dark: Colour::of(0xff_b0_a8) }),
        texts: Texts {
            english: words("Stadtwerke Access", "Lost your key? The front desk lends you another one."),
            german: words("Stadtwerke-Zugang", "Schlüssel verloren? Der Empfang leiht Ihnen einen anderen."),
        },
        ..plain()
    }
}

fn pages(look: &Look, language: Language) -> Vec<(String, Page)> {
    let german = language == Language::German;
    let mut pages = vec![
        ("sign-in".to_owned(), sign_in(german).render(look, language)),
        ("applications".to_owned(), applications(german, Grouping::Access, "").render(look, language)),
        ("applications-sensitivity".to_owned(), applications(german, Grouping::Sensitivity, "").render(look, language)),
        ("applications-search".to_owned(), applications(german, Grouping::Access, "samba").render(look, language)),
        ("applications-none".to_owned(), {
            Applications { applications: Vec::new(), ..applications(german, Grouping::Access, "") }
                .render(look, language)
        }),
        ("rescue".to_owned(), rescue(&[]).render(look, language)),
        ("rescue-file".to_owned(), rescue(&["anlage"]).render(look, language)),
        ("rescue-nothing".to_owned(), SessionEnded { kept: Kept::Nothing, ..rescue(&[]) }.render(look, language)),
        ("sessions".to_owned(), sessions(3, Some(1)).render(look, language)),
        ("sessions-one".to_owned(), sessions(1, None).render(look, language)),
        ("confirm-device".to_owned(), confirm_device(false).render(look, language)),
        ("confirm-device-code".to_owned(), confirm_device(true).render(look, language)),
        ("sign-out".to_owned(), sign_out().render(look, language)),
        ("signed-out".to_owned(), signed_out().render(look, language)),
    ];
    for reason in Reason::ALL {
        pages.push((format!("refusal-{reason}"), refusal(*reason).render(look, language)));
    }
    pages
}

fn refusal(reason: Reason) -> Refusal {
    let here: Link = "https://samba-hr.example.test/".into();
    let login: Link = "https://auth.example.test:8443/login?to=samba-hr".into();
    let detail = match reason {
        Reason::ConditionDenied | Reason::RequirementMissing => Some(Detail::Condition("encrypted-disk".into())),
        Reason::StepUpNeeded | Reason::StepUpFailed => Some(Detail::Factors("password + hardware key".into())),
        Reason::ProviderUnavailable | Reason::LoginFailed => Some(Detail::Provider("Konzern-Anmeldung".into())),
        _ => None,
    };
    let offers = match reason {
        Reason::LoginNeeded | Reason::SessionExpired | Reason::SessionRevoked => vec![Offer::SignIn(login)],
        Reason::StepUpNeeded | Reason::StepUpFailed => {
            vec![Offer::StepUp(login.clone()), Offer::SignInAsSomeoneElse(login)]
        }
        Reason::ZoneDenied | Reason::NotAllowed | Reason::IdentityConflict | Reason::AccountDisabled => {
            vec![Offer::SignInAsSomeoneElse(login)]
        }
        Reason::CertificateMissing
        | Reason::CertificateInvalid
        | Reason::CertificateExpired
        | Reason::CertificateRevoked
        | Reason::CertificateOfAnother => vec![Offer::Certificate(here)],
        other if other.status() >= 421 || other == Reason::LoginFailed => vec![Offer::TryAgain(here)],
        _ => Vec::new(),
    };
    Refusal {
        reason,
        detail,
        resource: Some("Samba Personal und Finanzen".into()),
        decision: Some("01KAQ7M3ZK8V5T2N6XW9".into()),
        at: NOW,
        person: Some("Dana Müller-Lüdenscheidt".into()),
        offers,
        retry_after: (reason.status() == 503).then_some(Duration::from_secs(30)),
    }
}

fn confirm_device(by_code: bool) -> ConfirmDevice {
    let random = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let here =
        Waiting::Here { label: "notebook-17".into(), challenge: random.into(), port: 40_123, state: random.into() };
    ConfirmDevice { waiting: if by_code { Waiting::Elsewhere } else { here }, wrong_code: by_code }
}

fn sign_in(german: bool) -> SignIn {
    let choice = |title: &str| ProviderChoice { title: title.into(), url: "/login?provider=corp".into() };
    let (staff, partner) = if german {
        ("Beschäftigte", "Partnerunternehmen (Donaudampfschifffahrtsgesellschaft)")
    } else {
        ("Employees", "Partner companies")
    };
    SignIn {
        providers: vec![choice(staff), choice(partner), choice("GitHub")],
        going_to: Some("Wiki".into()),
        factors: Some("password + hardware key".into()),
    }
}

fn applications(german: bool, grouping: Grouping, query: &str) -> Applications {
    let app = |title: &str, english: &str, deutsch: &str, sensitivity: &str, access: Access| Application {
        title: title.into(),
        description: Some(if german { deutsch } else { english }.into()),
        sensitivity: Some(sensitivity.into()),
        url: "https://wiki.example.test/".into(),
        access,
    };
    let mfa = if german { "Passwort + TOTP oder WebAuthn" } else { "password + TOTP or WebAuthn" };
    let key = if german { "Passwort + Hardwareschlüssel" } else { "password + hardware key" };
    let step = |factors: &str| Access::StepUp { factors: factors.into() };
    let closed = Reason::RequirementMissing.words(if german { Language::German } else { Language::English }).sentence;
    Applications {
        viewer: Viewer {
            name: "Dana Müller-Lüdenscheidt".into(),
            tier: Some(ProvenTier {
                name: "mfa".into(),
                factors: mfa.into(),
                proven_at: NOW.minus(Duration::from_secs(12 * 60)),
            }),
            zone: "internal".into(),
        },
        applications: vec![
            app("Wiki", "Handbooks, minutes, how-tos", "Handbücher, Protokolle, Anleitungen", "low", Access::OpenNow),
            app("Samba", "Shared drives: general", "Gemeinsame Laufwerke: Allgemein", "medium", Access::OpenNow),
            app(
                "Samba Personal",
                "Personnel and payroll files",
                "Personal- und Gehaltsunterlagen",
                "high",
                Access::OpenNow,
            ),
            app("Grafana", "Dashboards and alerts", "Übersichten und Alarme", "medium", Access::OpenNow),
            app(
                "Proxmox VE",
                "Virtual machines of both sites",
                "Virtuelle Maschinen beider Standorte",
                "critical",
                step(key),
            ),
            app(
                "Headscale",
                "Devices and routes of the mesh",
                "Geräte und Routen des Mesh-Netzes",
                "critical",
                step(key),
            ),
            app(
                "Beschaffungsantragsverwaltungssystem",
                "Purchase requests",
                "Beschaffungsanträge stellen und freigeben",
                "high",
                step(mfa),
            ),
            app("Zeiterfassung", "Working hours and leave", "Arbeitszeiten und Urlaub", "medium", Access::NotFromHere),
            app(
                "Backup",
                "Restore files and machines",
                "Dateien und Maschinen wiederherstellen",
                "high",
                Access::Closed { sentence: closed.into() },
            ),
        ],
        query: query.into(),
        grouping,
        now: NOW,
    }
}

fn rescue(files: &[&str]) -> SessionEnded {
    SessionEnded {
        application: Some("Wiki".into()),
        sign_in: "https://wiki.example.test/".into(),
        kept: Kept::Form {
            action: "/pages/42/edit?section=3".into(),
            encoding: if files.is_empty() { Encoding::UrlEncoded } else { Encoding::Multipart },
            fields: vec![("title".into(), "Besprechung".into()), ("text".into(), "Zeile 1\r\nZeile 2 <b>".into())],
            files: files.iter().map(|&name| name.to_owned()).collect(),
            form_targets: Vec::new(),
        },
    }
}

fn sessions(count: usize, just_ended: Option<usize>) -> Sessions {
    let ago = |minutes: u64| NOW.minus(Duration::from_secs(minutes * 60));
    let session = |id: &str, user_agent: &str, place: &str, started: u64, used: u64| OpenSession {
        id: id.into(),
        current: id == "1",
        user_agent: user_agent.into(),
        place: place.into(),
        started: ago(started),
        last_used: ago(used),
        expires: NOW.plus(Duration::from_secs(9 * 3600)),
    };
    let mut sessions = vec![
        session(
            "2",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1",
            "203.0.113.5",
            400,
            45,
        ),
        session(
            "1",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0",
            "Büro Nord",
            184,
            0,
        ),
        session(
            "3",
            "Mozilla/5.0 (X11; Linux x86_64) Chrome/130.0 Safari/537.36",
            "2001:db8:1234:5678:9abc:def0:1234:5678",
            1700,
            1500,
        ),
    ];
    if count == 1 {
        sessions.retain(|session| session.current);
    }
    Sessions { sessions, csrf: "csrf".into(), form_targets: vec![], just_ended, now: NOW }
}

fn sign_out() -> SignOut {
    SignOut {
        action: "/logout".into(),
        person: Some("Dana Müller-Lüdenscheidt".into()),
        provider: Some("Konzern-Anmeldung".into()),
        csrf: "csrf".into(),
        form_targets: vec!["https://idp.example.test".into()],
    }
}

fn signed_out() -> SignedOut {
    SignedOut { sign_in: "/login".into(), provider_stays: Some("Konzern-Anmeldung".into()) }
}
