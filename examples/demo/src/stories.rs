//! What the demo shows: commands to paste, with what they must do. The printed text and the checked one are the same.
use crate::ports::Ports;
use std::path::Path;

/// One thing to see: a shell command and what it says.
pub struct Story {
    pub title: String,
    pub command: String,
    /// The command's output holds all of these,
    pub says: Vec<String>,
    /// and none of these.
    pub never_says: Vec<String>,
    /// `curl` and `openssl` fail, as they should when the gate closes the door in the handshake.
    pub fails: bool,
}

struct Names<'a> {
    torhaus: String,
    config: String,
    run: String,
    ports: &'a Ports,
}

pub fn all(torhaus: &Path, run: &Path, ports: &Ports) -> Vec<Story> {
    let run = shown(run);
    let names = Names { torhaus: quoted(&shown(torhaus)), config: quoted(&format!("{run}/torhaus.yaml")), run, ports };
    let mut stories = services(&names);
    stories.extend(people(&names));
    stories.extend(administrators(&names));
    stories
}

fn services(names: &Names<'_>) -> Vec<Story> {
    let office = names.ports.office;
    let api = format!("https://backup-api.localhost:{office}/jobs");
    let with = |certificate: &str| {
        let path = |ending: &str| names.file(&format!("clients/{certificate}.{ending}"));
        format!("{} --cert {} --key {} {api}", names.curl("backup-api", office), path("pem"), path("key"))
    };
    let request =
        format!("GET /jobs HTTP/1.1\\r\\nHost: backup-api.localhost:{office}\\r\\nConnection: close\\r\\n\\r\\n");
    let openssl = format!(
        "printf '{request}' | openssl s_client -quiet -connect 127.0.0.1:{office} -servername backup-api.localhost \
         -cert {} -key {} -CAfile {}",
        names.file("clients/backup.pem"),
        names.file("clients/backup.key"),
        names.file("ca.pem"),
    );
    let mut stories = vec![
        Story::new("A service with its certificate reaches the API", with("backup"))
            .says("\"application\":\"backup-api\"")
            .says("spiffe://demo.test/backup"),
        Story::new("The same with openssl", openssl).says("200 OK").says("\"application\":\"backup-api\""),
        Story::new("Another service of the same authority is told that it may not", with("refused/another-service"))
            .says("not_allowed")
            .refused(),
        Story::new(
            "Without a certificate the door stays closed",
            format!("{} {api}", names.curl("backup-api", office)),
        )
        .closed(),
    ];
    for (title, certificate) in [
        ("with one of two names", "refused/two-names"),
        ("with an expired one", "refused/expired"),
        ("with one of another authority", "refused/wrong-authority"),
        ("with one that is for servers only", "refused/server-only"),
    ] {
        stories.push(Story::new(&format!("So it does {title}"), with(certificate)).closed());
    }
    stories
}

fn people(names: &Names<'_>) -> Vec<Story> {
    let Ports { office, internet, provider, .. } = names.ports;
    let page = "-H 'Accept: text/html'";
    let json = "-H 'Accept: application/json'";
    let jar = names.file("clients/alice.cookies");
    let browser = names.browser(&jar);
    let where_to = "-o /dev/null -w '%{url_effective}'";
    let host = |name: &str| format!("https://{name}.localhost:{office}/");
    let wiki = host("wiki");
    let (shares, hr) = (host("samba-general"), host("samba-hr"));
    vec![
        Story::new(
            "A browser is sent to sign in",
            format!(
                "{} {page} -o /dev/null -w '%{{http_code}} %{{redirect_url}}\\n' {wiki}",
                names.curl("wiki", *office)
            ),
        )
        .says(&format!(" https://auth.localhost:{office}/login")),
        Story::new("A script is not: it gets 401", format!("{} {json} -i {wiki}", names.curl("wiki", *office)))
            .says(" 401")
            .refused(),
        Story::new(
            "HR from outside is refused, with the reason",
            format!("{} {json} https://samba-hr.localhost:{internet}/", names.curl("samba-hr", *office)),
        )
        .says("zone_denied"),
        Story::new(
            "Sign in as alice",
            format!(
                "SIGN_IN=$({browser} {where_to} {wiki})\n\
                 {browser} -d user=alice -d password=alice-demo \"$SIGN_IN\" | grep -i hello"
            ),
        )
        .says("Hello, alice"),
        Story::new("From then on the wiki is open", format!("{} -b {jar} {json} {wiki}", names.curl("wiki", *office)))
            .says("\"user\":\"alice\""),
        Story::new("The shares ask for one more factor", format!("{browser} {shares} | grep -i -A1 '<h1>'"))
            .says("One more factor"),
        Story::new(
            "Step up with a one-time code",
            format!(
                "STEP_UP=$({browser} {where_to} {shares})\n\
                 CODE=$(curl -sS http://127.0.0.1:{provider}/demo/code/alice)\n\
                 {browser} -d code=$CODE \"$STEP_UP\" | grep -i hello"
            ),
        )
        .says("Hello, alice"),
        Story::new(
            "Alice is not in HR",
            format!("{browser} -o /dev/null {hr}\n{} -b {jar} {json} {hr}", names.curl("samba-hr", *office)),
        )
        .says("not_allowed")
        .refused(),
        Story::new(
            "What the gate knows about alice",
            format!("{} -b {jar} {json} {wiki}.torhaus/whoami", names.curl("wiki", *office)),
        )
        .says("alice"),
    ]
}

fn administrators(names: &Names<'_>) -> Vec<Story> {
    let Names { torhaus, config, ports, .. } = names;
    vec![
        Story::new("The policy table", format!("{torhaus} policy table --config {config}")).says("samba-hr"),
        Story::new(
            "Why was Dana refused?",
            format!(
                "{torhaus} policy explain --config {config} --user dana --groups all-employees,hr --listener internet \
                 --ip 203.0.113.5 --proven mfa --url https://samba-hr.localhost:{}/",
                ports.internet
            ),
        )
        .says("is closed from zone `external`; you came from 203.0.113.5")
        .says_no(),
        Story::new("What was decided", format!("{torhaus} audit tail --config {config}")).says("backup-api"),
        Story::new("Nobody changed the record", format!("{torhaus} audit verify --config {config}")),
    ]
}

impl Story {
    fn new(title: &str, command: String) -> Self {
        Self { title: title.to_owned(), command, says: vec![], never_says: vec![], fails: false }
    }

    fn says(mut self, text: &str) -> Self {
        self.says.push(text.to_owned());
        self
    }

    /// The application is not reached.
    fn refused(mut self) -> Self {
        self.never_says.push("\"application\"".to_owned());
        self
    }

    /// Its exit status is the answer: no.
    fn says_no(mut self) -> Self {
        self.fails = true;
        self
    }

    /// Not even an answer.
    fn closed(mut self) -> Self {
        self.fails = true;
        self.refused()
    }
}

impl Names<'_> {
    fn file(&self, name: &str) -> String {
        quoted(&format!("{}/{name}", self.run))
    }

    /// `curl` that trusts the demo CA and finds the host on this machine.
    fn curl(&self, host: &str, port: u16) -> String {
        let ca = self.file("ca.pem");
        format!("curl -sS --cacert {ca} --resolve {host}.localhost:{port}:127.0.0.1")
    }

    /// `curl` as a browser: cookies, redirects, and every host on this machine.
    fn browser(&self, jar: &str) -> String {
        let Ports { office, .. } = self.ports;
        let ca = self.file("ca.pem");
        format!("curl -sS --cacert {ca} --resolve '*:{office}:127.0.0.1' -L -b {jar} -c {jar} -H 'Accept: text/html'")
    }
}

/// As short as it can be typed from here.
fn shown(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(&path).display().to_string()
}

fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
