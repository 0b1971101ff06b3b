//! What the demo says when everything runs.
use crate::applications;
use crate::ports::Ports;
use crate::provider::people::PEOPLE;
use crate::run_folder::RunFolder;
use crate::stories::Story;
use std::fmt::Write;

pub fn ready(folder: &RunFolder, ports: &Ports, stories: &[Story]) -> String {
    let mut out = String::from("\nready\n");
    addresses(&mut out, ports);
    people(&mut out, ports);
    trust(&mut out, folder);
    section(&mut out, "To paste");
    for story in stories {
        let _ = writeln!(out, "\n  # {}", story.title);
        for line in story.command.lines() {
            let _ = writeln!(out, "  {line}");
        }
    }
    out += "\nCtrl-C stops everything.\n";
    out
}

/// Without a gate: the parts that there are.
pub fn parts(ports: &Ports) -> String {
    let mut out = String::from("\nready (without torhaus: no --torhaus was given)\n");
    section(&mut out, "Identity provider");
    let _ = writeln!(out, "  http://127.0.0.1:{}", ports.provider);
    section(&mut out, "Applications, without a gate before them");
    for (application, port) in applications::ALL.iter().zip(ports.applications.clone()) {
        let _ = writeln!(out, "  {:<14} http://127.0.0.1:{port}", application.name);
    }
    people(&mut out, ports);
    out
}

fn addresses(out: &mut String, ports: &Ports) {
    let Ports { office, internet, .. } = ports;
    section(out, "Applications");
    let _ = writeln!(out, "  https://auth.localhost:{office}    all that you may open");
    for application in &applications::ALL {
        let _ = writeln!(out, "  https://{}.localhost:{office}    {}", application.name, application.text);
    }
    let _ = writeln!(
        out,
        "\n  You are inside on port {office} and outside on port {internet}: the same hosts, other answers."
    );
}

fn people(out: &mut String, ports: &Ports) {
    section(out, "People");
    for person in &PEOPLE {
        let key = if person.has_key { "code, key" } else { "code" };
        let groups = person.groups.join(", ");
        let _ = writeln!(out, "  {:<8} password {:<13} {key:<10} {groups}", person.user, person.password);
    }
    let _ = writeln!(out, "\n  The sign-in page shows the code that an app would show; so does");
    let _ = writeln!(out, "  curl http://127.0.0.1:{}/demo/code/alice", ports.provider);
}

fn trust(out: &mut String, folder: &RunFolder) {
    let ca = folder.path.join("ca.pem");
    section(out, "Trust");
    let _ = writeln!(out, "  Browsers warn until they know the demo CA. It can vouch for `localhost` hosts only:");
    let _ = writeln!(out, "  {}", ca.display());
    let _ =
        writeln!(out, "  Firefox: Settings, Certificates, Authorities, Import.   Chrome: chrome://certificate-manager");
    let _ = writeln!(out, "  README.md beside this program says more, also how to show alice's laptop certificate.");
}

fn section(out: &mut String, title: &str) {
    let _ = writeln!(out, "\n{title}");
}
