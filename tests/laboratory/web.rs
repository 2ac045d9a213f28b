//! A web server in a namespace, clients that go on and on, and what the agent counts meanwhile.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::{Namespace, Running, exists, run, wait_for};

/// Where the server listens.
pub const PORT: &str = "8080";

/// Starts nginx, or what stands in for it where there is none; comes back when it listens.
pub fn serve(namespace: &Namespace, folder: &Path) -> Running {
    let mut command = if exists("nginx") {
        let configuration = folder.join("nginx.conf");
        fs::write(&configuration, nginx_configuration(folder)).unwrap();
        let mut nginx = namespace.command("nginx");
        nginx.arg("-p").arg(folder).arg("-c").arg(configuration).args(["-e", "stderr"]);
        nginx
    } else {
        let mut python = namespace.command("python3");
        python.arg(beside("server.py")).arg(PORT);
        python
    };
    let log = folder.join("server");
    let mut server = Running::start(command.stdout(Stdio::null()).stderr(File::create(&log).unwrap()));
    let listening = format!("sport = :{PORT}");
    wait_for("the server to listen", || {
        assert!(!server.has_ended(), "the server has ended: {}", fs::read_to_string(&log).unwrap());
        !run(namespace.command("ss").args(["-Hltn", &listening])).stdout.is_empty()
    });
    server
}

fn nginx_configuration(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"daemon off;
master_process off;
pid {folder}/nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    keepalive_requests 100000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {PORT};
        location = /echo {{ add_header x-echo $http_x_number always; return 200 "hello world\n"; }}
        location = /missing {{ return 404 "not here\n"; }}
        location / {{ return 200 "hello world\n"; }}
    }}
}}
"#
    )
}

/// The interpreter itself: what is called `python3` may be a script that looks for it, and that takes its time.
pub fn python() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| {
        let found = run(Command::new("python3").args(["-c", "import sys; print(sys.executable)"]));
        String::from_utf8(found.stdout).unwrap().trim().to_owned()
    })
}

/// A file of `tests/live`.
pub fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live").join(name)
}

/// A client that makes one request after the other on each of its connections, `/PREFIX/1`, `/PREFIX/2`, …
pub struct Load {
    running: Running,
    log: PathBuf,
    prefix: String,
}

/// How many connections a [`Load`] has.
pub const CONNECTIONS: usize = 4;

/// A request whose answer the client has read to its end.
#[derive(Debug)]
pub struct Completed {
    pub path: String,
    /// When that was, in nanoseconds since the epoch.
    pub at: u128,
}

impl Load {
    /// Makes `requests` of them, or goes on for a minute or until it is stopped.
    pub fn start(namespace: &Namespace, host: &str, prefix: &str, folder: &Path, requests: Option<usize>) -> Self {
        Self::start_with(namespace, host, prefix, folder, requests, &[])
    }

    /// As [`Self::start`], with header lines in which `NUMBER` and `SHORT` are the request's number in 32 and 16 digits.
    pub fn start_with(
        namespace: &Namespace,
        host: &str,
        prefix: &str,
        folder: &Path,
        requests: Option<usize>,
        headers: &[&str],
    ) -> Self {
        let log = folder.join(format!("log-{prefix}"));
        let (connections, requests) = (CONNECTIONS.to_string(), requests.unwrap_or(0).to_string());
        let mut command = namespace.command(python());
        command.arg(beside("load.py")).args([host, PORT, prefix, &connections, &requests]).args(headers);
        let lines = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        // A connection that breaks is a matter of the test, and shows in the log.
        let complaints = File::create(folder.join(format!("complaints-{prefix}"))).unwrap();
        let running = Running::start(command.stdout(lines).stderr(complaints));
        Self { running, log, prefix: prefix.to_owned() }
    }

    /// What was completed up to now.
    pub fn completed(&self) -> Vec<Completed> {
        let text = fs::read_to_string(&self.log).unwrap();
        let completed = |line: &str| {
            let (path, at) = line.split_once(' ').unwrap();
            Completed { path: path.to_owned(), at: at.parse().unwrap() }
        };
        // The last line may still be on its way.
        let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        whole.lines().map(completed).collect()
    }

    /// Comes back when at least `count` requests were completed.
    pub fn wait_for(&self, count: usize) {
        wait_for(&format!("{count} answers to {}", self.prefix), || self.completed().len() >= count);
    }

    /// Comes back when it has made all its requests.
    pub fn finish(mut self) -> Vec<Completed> {
        wait_for("the client to end", || self.running.has_ended());
        self.completed()
    }

    /// Ends it; requests that are under way stay without an answer.
    pub fn stop(mut self) -> Vec<Completed> {
        self.running.stop();
        self.completed()
    }
}

/// What the agent in `namespace` answers to a scraper: the sum of each metric's samples by the metric's name.
pub fn metrics(namespace: &Namespace) -> HashMap<String, u64> {
    let mut curl = namespace.command("curl");
    curl.args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*", "http://127.0.0.1:9464/metrics"]);
    let text = String::from_utf8(run(&mut curl).stdout).unwrap();
    let mut sums = HashMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap().trim_start_matches("network_agent_");
        if let Ok(value) = value.parse::<u64>() {
            *sums.entry(name.trim_end_matches("_total").to_owned()).or_default() += value;
        }
    }
    sums
}
