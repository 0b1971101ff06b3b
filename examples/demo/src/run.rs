//! Puts the parts together: folder, provider, applications, gate. Ends them in the opposite order.
use crate::arguments::Arguments;
use crate::gate::Gate;
use crate::ports::Ports;
use crate::provider::client::Client;
use crate::provider::{Provider, router};
use crate::run_folder::{Failure, RunFolder};
use crate::stories::Story;
use crate::{announce, applications, check, clock, stories};
use axum::Router;
use std::io::{self, Write};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// # Errors
/// A part could not start or ended by itself; with `--check`, a command did not do what it says.
pub async fn run(arguments: &Arguments) -> Result<(), Failure> {
    // Asked for first: a signal during the start must stop what was started.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let ports = Ports::new(arguments.base_port);
    let folder = RunFolder::prepare(&arguments.folder, &ports, clock::now())?;
    serve_parts(&folder, &ports).await?;
    let stopped = async {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    };
    let Some(torhaus) = &arguments.torhaus else {
        say(&announce::parts(&ports))?;
        stopped.await;
        return Ok(());
    };
    tokio::pin!(stopped);
    let mut gate = tokio::select! {
        () = &mut stopped => return Ok(()),
        gate = Gate::start(torhaus, &folder, &ports) => gate?,
    };
    let stories = stories::all(torhaus, &folder.path, &ports);
    let result = tokio::select! {
        () = stopped => Ok(()),
        why = gate.ended() => Err(why),
        result = show(arguments.check, &folder, &ports, &stories) => result,
    };
    gate.stop().await;
    result
}

/// Says what there is. For a check, tries it all and returns; else stays.
async fn show(try_all: bool, folder: &RunFolder, ports: &Ports, stories: &[Story]) -> Result<(), Failure> {
    if !try_all {
        say(&announce::ready(folder, ports, stories))?;
        return std::future::pending().await;
    }
    let mut wrong = 0usize;
    for story in stories {
        match check::run(story).await {
            Ok(()) => say(&format!("ok    {}\n", story.title))?,
            Err(error) => {
                wrong += 1;
                say(&format!("WRONG {}\n{error}\n", story.title))?;
            }
        }
    }
    if wrong == 0 {
        Ok(())
    } else {
        Err(format!("{wrong} of {} commands do not do what they say", stories.len()).into())
    }
}

/// The provider and the applications live as long as this process.
async fn serve_parts(folder: &RunFolder, ports: &Ports) -> Result<(), Failure> {
    let portal = format!("https://auth.localhost:{}", ports.office);
    let client = Client {
        id: "torhaus".to_owned(),
        secret: folder.client_secret.clone(),
        redirect_uris: vec![format!("{portal}/callback/demo")],
        post_logout_redirect_uris: vec![format!("{portal}/signed-out")],
    };
    serve(ports.provider, router(Provider::new(ports.provider, vec![client])?)).await?;
    for (application, port) in applications::ALL.iter().zip(ports.applications.clone()) {
        serve(port, applications::router(application, &portal)).await?;
    }
    Ok(())
}

async fn serve(port: u16, router: Router) -> Result<(), Failure> {
    let listener = TcpListener::bind(("127.0.0.1", port))
        .await
        .map_err(|error| format!("port {port}: {error}; `--base-port 18443` takes other ports"))?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(())
}

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
