//! Who is compared: our server, its core in another runtime, the two raw baselines, the peers that
//! `bench-harness/peers/build` has built, and whoever is named with `--extra`.
//!
//! Owns: names and commands. Promises: a peer that could not be built is named with its reason, not forgotten. Refuses to
//! know: what a server does with its port.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::str::FromStr;

use serde_json::Value;

use crate::results;

/// A server and how to start it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// For tables.
    pub name: String,
    /// As far as it is known.
    pub version: String,
    /// Program and arguments, with `{port}` and `{core}` still to be filled in.
    pub command: Vec<String>,
    /// It returns bytes as they come, without WebSocket.
    pub raw: bool,
    /// Why it takes no part.
    pub missing: Option<String>,
}

impl Contender {
    fn own(name: &str, program: &Path, arguments: &str, raw: bool) -> Contender {
        let mut command = vec![program.to_string_lossy().into_owned()];
        command.extend(arguments.split_whitespace().map(str::to_owned));
        let missing = (!program.exists()).then(|| "it is not built: cargo build --release --workspace".to_owned());
        Contender { name: name.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), command, raw, missing }
    }

    /// The command with its port and core.
    pub fn command_at(&self, port: u16, core: usize) -> Vec<String> {
        let fill = |word: &String| word.replace("{port}", &port.to_string()).replace("{core}", &core.to_string());
        self.command.iter().map(fill).collect()
    }

    /// For the report. Programs are named without their folder: it is this machine's business.
    pub fn describe(&self) -> results::Contender {
        let mut words = self.command.clone();
        if let Some(program) = words.first_mut() {
            *program =
                Path::new(&*program).file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
        }
        results::Contender {
            name: self.name.clone(),
            version: self.version.clone(),
            command: words.join(" "),
            raw: self.raw,
            missing: self.missing.clone(),
        }
    }
}

impl FromStr for Contender {
    type Err = String;

    /// `NAME=COMMAND` or, for a raw echo, `NAME:raw=COMMAND`. The command is split at blanks; there is no quoting.
    fn from_str(text: &str) -> Result<Contender, String> {
        let (name, command) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=COMMAND"))?;
        let command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        let (name, raw) = name.strip_suffix(":raw").map_or((name, false), |name| (name, true));
        if name.is_empty() || !command.iter().any(|word| word.contains("{port}")) {
            return Err(format!("{text:?}: a name, and a command that names {{port}}"));
        }
        Ok(Contender { name: name.to_owned(), version: String::new(), command, raw, missing: None })
    }
}

/// Ours and the baselines: from the folder of this program.
pub fn own() -> io::Result<Vec<Contender>> {
    let program = std::env::current_exe()?;
    let server = program.with_file_name("wsring");
    let listen = "--listen 127.0.0.1:{port}";
    let waiting =
        Contender::own("wsring (waiting)", &server, &format!("serve --cores {{core}} --spin-us 0 {listen}"), false);
    Ok(vec![
        Contender::own("wsring", &server, &format!("serve --cores {{core}} {listen}"), false),
        waiting,
        Contender::own("tokio-uring", &program, &format!("tokio-uring {listen}"), false),
        Contender::own("epoll-echo", &program, &format!("epoll-echo {listen}"), true),
        Contender::own("ring-echo", &program, &format!("ring-echo {listen}"), true),
    ])
}

/// The peers listed in `peers.json`, whose servers lie under `folder`.
pub fn peers(list: &Path, folder: &Path) -> io::Result<Vec<Contender>> {
    let bad = |why: String| io::Error::new(ErrorKind::InvalidData, format!("{}: {why}", list.display()));
    let text = fs::read_to_string(list)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", list.display())))?;
    let value: Value = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
    let entries = value.as_array().ok_or_else(|| bad("it is no list".to_owned()))?;
    let peer = |entry: &Value| {
        let text = |key| entry.get(key).and_then(Value::as_str).map(str::to_owned);
        let name = text("name").ok_or_else(|| bad("an entry has no name".to_owned()))?;
        let command = text("command").unwrap_or_default().replace("{peers}", &folder.to_string_lossy());
        let missing = text("missing");
        if missing.is_none() && !command.contains("{port}") {
            return Err(bad(format!("{name} has neither a command with {{port}} nor a reason why it is missing")));
        }
        Ok(Contender {
            name,
            version: text("version").unwrap_or_default(),
            command: command.split_whitespace().map(str::to_owned).collect(),
            raw: false,
            missing,
        })
    };
    entries.iter().map(peer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_and_filled_in() {
        let ring: Contender = "ring=./wsring serve --cores {core} --listen 127.0.0.1:{port}".parse().expect("good");
        assert!(!ring.raw);
        assert_eq!(ring.command_at(9001, 3), ["./wsring", "serve", "--cores", "3", "--listen", "127.0.0.1:9001"]);
        let other: Contender = "x:raw=/opt/echo {port}".parse().expect("good");
        assert_eq!((other.name.as_str(), other.raw), ("x", true));
        assert_eq!(other.describe().command, "echo {port}");
        for bad in ["", "echo {port}", "=echo {port}", "x=echo", "x="] {
            assert!(bad.parse::<Contender>().is_err(), "{bad}");
        }
    }

    #[test]
    fn built_and_missing_peers_are_listed() {
        let list = std::env::temp_dir().join(format!("wsring-peers-{}.json", std::process::id()));
        let text = r#"[{"name":"a","version":"1.2","command":"{peers}/target/a --listen 127.0.0.1:{port}"},
            {"name":"b","missing":"no compiler"}]"#;
        fs::write(&list, text).expect("write");
        let found = peers(&list, Path::new("/p")).expect("a list");
        assert_eq!(found[0].command_at(7, 0), ["/p/target/a", "--listen", "127.0.0.1:7"]);
        assert_eq!((found[1].name.as_str(), found[1].missing.as_deref()), ("b", Some("no compiler")));
        fs::write(&list, r#"[{"name":"a"}]"#).expect("write");
        assert!(peers(&list, Path::new("/p")).is_err());
        fs::remove_file(&list).expect("remove");
        assert!(peers(&list, Path::new("/p")).is_err());
    }
}
