//! Sample applications, one for each row of the demo's table. They believe what the gate tells them and nothing else.
mod live;
mod page;
mod stream;

use axum::Router;
use axum::routing::get;
use std::sync::Arc;

/// In the order of their ports.
pub const ALL: [Application; crate::ports::APPLICATIONS as usize] = [
    Application { name: "wiki", title: "Wiki", text: "Pages that every employee reads.", extra: Extra::Live },
    Application {
        name: "samba-general",
        title: "Samba shares",
        text: "General shares. A second factor, from wherever you are.",
        extra: Extra::None,
    },
    Application {
        name: "samba-hr",
        title: "HR and finance",
        text: "Shares of HR and finance. From inside only.",
        extra: Extra::None,
    },
    Application {
        name: "proxmox",
        title: "Proxmox",
        text: "Virtual machines. Administrators with a hardware key, from inside.",
        extra: Extra::None,
    },
    Application {
        name: "headscale",
        title: "Headscale",
        text: "The mesh. Administrators with a hardware key, from inside, on a company device.",
        extra: Extra::None,
    },
    Application {
        name: "k3s-critical",
        title: "K3s dashboard",
        text: "Critical services. Developers with a second factor.",
        extra: Extra::Stream,
    },
    Application { name: "backup-api", title: "Backup API", text: "For services.", extra: Extra::Api },
];

pub struct Application {
    pub name: &'static str,
    pub title: &'static str,
    pub text: &'static str,
    extra: Extra,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Extra {
    None,
    /// A chat over a WebSocket.
    Live,
    /// Server-sent events.
    Stream,
    /// JSON only.
    Api,
}

/// `portal`: where the link home leads.
pub fn router(application: &'static Application, portal: &str) -> Router {
    let setting = Arc::new(page::Setting { application, portal: portal.to_owned() });
    let router = Router::new().route("/style.css", get(page::style)).fallback(page::show);
    let router = match application.extra {
        Extra::Live => {
            router.route("/live", get(live::page)).route("/live.js", get(live::script)).merge(live::socket())
        }
        Extra::Stream => router
            .route("/watch", get(stream::page))
            .route("/watch.js", get(stream::script))
            .route("/events", get(stream::events)),
        Extra::None | Extra::Api => router,
    };
    router.with_state(setting)
}
