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

use crate::client_echo::Flight;
use crate::results;

/// What a contender is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Messages as they are.
    Plain,
    /// Compressed both ways by permessage-deflate.
    Deflate,
    /// Over TLS.
    Tls,
    /// As a client: it dials.
    Client,
    /// What it receives from anybody goes to everybody: of those alone that do not speak WebSocket. Others have a path for that.
    FanOut,
    /// As the server of a feed of values.
    Feed,
    /// As the server of a game with a fixed tick.
    Game,
}

impl Way {
    const ALL: [Way; 7] = [Way::Plain, Way::Deflate, Way::Tls, Way::Client, Way::FanOut, Way::Feed, Way::Game];

    /// In `peers.json`.
    fn key(self) -> &'static str {
        match self {
            Way::Plain => "command",
            Way::Deflate => "deflate_command",
            Way::Tls => "tls_command",
            Way::Client => "client_command",
            Way::FanOut => "fanout_command",
            Way::Feed => "feed_command",
            Way::Game => "game_command",
        }
    }

    /// In `--extra`.
    fn suffix(self) -> &'static str {
        match self {
            Way::Plain => "",
            Way::Deflate => ":deflate",
            Way::Tls => ":tls",
            Way::Client => ":client",
            Way::FanOut => ":fanout",
            Way::Feed => ":feed",
            Way::Game => ":game",
        }
    }
}

/// What a command is filled in with.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// `{port}`: where to listen, or for a client where to dial, on 127.0.0.1.
    pub port: u16,
    /// `{core}`: the core it is pinned to.
    pub core: usize,
    /// `{cert}` and `{key}`: files of PEM.
    pub certificate: Option<(&'a Path, &'a Path)>,
    /// `{connections}`, `{depth}` and `{size}`: what a client does.
    pub flight: Option<Flight>,
    /// `{keys}` and `{rate}`: what a feed publishes; `{hz}`: ticks a second of a game.
    pub program: Program,
}

/// What a server does of its own accord.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Keys of a feed.
    pub keys: u32,
    /// Updates of all keys in a second.
    pub rate: u32,
    /// Ticks a second.
    pub hz: u32,
}

/// A server and how to start it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// For tables.
    pub name: String,
    /// As far as it is known.
    pub version: String,
    /// Program and arguments, with the parts of [`Place`] still to be filled in, for each way it has a command for.
    pub commands: Vec<(Way, Vec<String>)>,
    /// It returns bytes as they come, without WebSocket.
    pub raw: bool,
    /// Why it takes no part.
    pub missing: Option<String>,
}

impl Contender {
    fn own(name: &str, program: &Path, arguments: &[(Way, &str)], raw: bool) -> Contender {
        let command = |(way, arguments): &(Way, &str)| {
            let mut command = vec![program.to_string_lossy().into_owned()];
            command.extend(words(arguments));
            (*way, command)
        };
        let missing = (!program.exists()).then(|| "it is not built: cargo build --release --workspace".to_owned());
        let (name, version) = (name.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        Contender { name, version, commands: arguments.iter().map(command).collect(), raw, missing }
    }

    /// Its command for `way`, if it has one.
    pub fn command(&self, way: Way) -> Option<&[String]> {
        self.commands.iter().find(|(has, _)| *has == way).map(|(_, command)| &command[..])
    }

    /// The same, filled in.
    pub fn command_at(&self, way: Way, place: Place<'_>) -> Option<Vec<String>> {
        let path = |path: Option<&Path>| path.map_or(String::new(), |path| path.to_string_lossy().into_owned());
        let count = |part: fn(Flight) -> usize| place.flight.map_or(String::new(), |flight| part(flight).to_string());
        let parts = [
            ("{port}", place.port.to_string()),
            ("{core}", place.core.to_string()),
            ("{cert}", path(place.certificate.map(|(certificate, _)| certificate))),
            ("{key}", path(place.certificate.map(|(_, key)| key))),
            ("{connections}", count(|flight| flight.connections)),
            ("{depth}", count(|flight| flight.depth as usize)),
            ("{size}", count(|flight| flight.size)),
            ("{keys}", place.program.keys.to_string()),
            ("{rate}", place.program.rate.to_string()),
            ("{hz}", place.program.hz.to_string()),
        ];
        let fill = |word: &String| parts.iter().fold(word.clone(), |word, (part, value)| word.replace(part, value));
        Some(self.command(way)?.iter().map(fill).collect())
    }

    /// It stands beside others in cells of one way and has no command for plain messages.
    pub fn is_variant(&self) -> bool {
        !self.commands.is_empty() && self.command(Way::Plain).is_none()
    }

    /// Another command of the same name; false if there is one for that way already.
    pub fn merge(&mut self, other: &Contender) -> bool {
        let is_new = other.raw == self.raw && other.commands.iter().all(|(way, _)| self.command(*way).is_none());
        if is_new {
            self.commands.extend(other.commands.iter().cloned());
        }
        is_new
    }

    /// For the report. Programs are named without their folder: it is this machine's business.
    pub fn describe(&self) -> results::Contender {
        let shown = |(_, words): &(Way, Vec<String>)| {
            let mut words = words.clone();
            if let Some(program) = words.first_mut() {
                *program =
                    Path::new(&*program).file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
            }
            words.join(" ")
        };
        results::Contender {
            name: self.name.clone(),
            version: self.version.clone(),
            command: self.commands.iter().map(shown).collect::<Vec<_>>().join("; "),
            raw: self.raw,
            missing: self.missing.clone(),
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split_whitespace().map(str::to_owned)
}

impl FromStr for Contender {
    type Err = String;

    /// `NAME=COMMAND`; `NAME:raw=COMMAND` for a raw echo, `NAME:deflate=COMMAND` for cells whose messages are compressed,
    /// `NAME:tls=COMMAND` for those over TLS, `NAME:client=COMMAND` for those that measure a client, `NAME:feed=COMMAND` and `NAME:game=COMMAND`
    /// for feed: and tick: cells, `NAME:raw:fanout=COMMAND` for fanout: cells without WebSocket. The command is split at blanks; there is no quoting.
    fn from_str(text: &str) -> Result<Contender, String> {
        let (name, command) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=COMMAND"))?;
        let command: Vec<String> = words(command).collect();
        let (name, way) = Way::ALL
            .iter()
            .find_map(|way| Some((name.strip_suffix(way.suffix()).filter(|_| *way != Way::Plain)?, *way)))
            .unwrap_or((name, Way::Plain));
        let (name, raw) = name.strip_suffix(":raw").map_or((name, false), |name| (name, true));
        if name.is_empty() || !command.iter().any(|word| word.contains("{port}")) {
            return Err(format!("{text:?}: a name, and a command that names {{port}}"));
        }
        Ok(Contender {
            name: name.to_owned(),
            version: String::new(),
            commands: vec![(way, command)],
            raw,
            missing: None,
        })
    }
}

/// Ours and the baselines: from the folder of this program.
pub fn own() -> io::Result<Vec<Contender>> {
    let program = std::env::current_exe()?;
    let server = program.with_file_name("wsring");
    let listen = "--listen 127.0.0.1:{port}";
    let files = "--tls-cert {cert} --tls-key {key}";
    let serve = format!("serve --cores {{core}} {listen}");
    let wait = format!("serve --cores {{core}} --spin-us 0 {listen}");
    let without = format!("serve --cores {{core}} --ring epoll {listen}");
    let ours = |name, serve: &str, client: &str| {
        let (deflate, tls) = (format!("{serve} --deflate shared"), format!("{serve} {files}"));
        let feed = format!("{serve} --demo feed --keys {{keys}} --rate {{rate}}");
        let game = format!("{serve} --demo game --hz {{hz}}");
        let servers =
            [(Way::Plain, serve), (Way::Deflate, &deflate), (Way::Tls, &tls), (Way::Feed, &feed), (Way::Game, &game)];
        let mut ours = Contender::own(name, &server, &servers, false);
        // The client is this program, around the library.
        let client = [(Way::Client, client)];
        assert!(ours.merge(&Contender::own(name, &program, &client, false)), "one command for each way");
        ours
    };
    let client = "ring-client --url ws://127.0.0.1:{port}/ --core {core} --connections {connections} --depth {depth} --size {size}";
    let client_waits = format!("{client} --spin-us 0");
    // The level at which uWebSockets compresses, and with the same library: its own is faster and larger.
    let level = format!("{serve} --deflate shared --deflate-level 6");
    let (epoll, ring) = (format!("epoll-echo {listen}"), format!("ring-echo {listen}"));
    let tokio = format!("tokio-uring {listen}");
    let ring_tls = format!("{ring} {files}");
    let (epoll_all, ring_all) = (format!("epoll-fanout {listen}"), format!("ring-fanout {listen}"));
    Ok(vec![
        ours("wsring", &serve, client),
        ours("wsring (waiting)", &wait, &client_waits),
        Contender::own("wsring (epoll)", &server, &[(Way::Plain, &without)], false),
        Contender::own("tokio-uring", &program, &[(Way::Plain, &tokio)], false),
        Contender::own("epoll-echo", &program, &[(Way::Plain, &epoll)], true),
        Contender::own("ring-echo", &program, &[(Way::Plain, &ring), (Way::Tls, &ring_tls)], true),
        Contender::own("wsring (deflate 6)", &server, &[(Way::Deflate, &level)], false),
        Contender::own("epoll-fanout", &program, &[(Way::FanOut, &epoll_all)], true),
        Contender::own("ring-fanout", &program, &[(Way::FanOut, &ring_all)], true),
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
        let missing = text("missing");
        let command = |way: Way| {
            let command = text(way.key())?.replace("{peers}", &folder.to_string_lossy());
            Some((way, words(&command).collect::<Vec<_>>()))
        };
        let commands: Vec<_> = Way::ALL.into_iter().filter_map(command).collect();
        let has_port = |(_, command): &(Way, Vec<String>)| command.iter().any(|word| word.contains("{port}"));
        if missing.is_none() && !(commands.iter().all(has_port) && commands.iter().any(|(way, _)| *way == Way::Plain)) {
            return Err(bad(format!("{name} has neither a command with {{port}} nor a reason why it is missing")));
        }
        Ok(Contender { name, version: text("version").unwrap_or_default(), commands, raw: false, missing })
    };
    entries.iter().map(peer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16, core: usize) -> Place<'static> {
        Place { port, core, certificate: None, flight: None, program: Program::default() }
    }

    #[test]
    fn commands_are_read_and_filled_in() {
        let ring: Contender = "ring=./wsring serve --cores {core} --listen 127.0.0.1:{port}".parse().expect("good");
        assert!(!ring.raw);
        let filled = ["./wsring", "serve", "--cores", "3", "--listen", "127.0.0.1:9001"].map(String::from);
        assert_eq!(ring.command_at(Way::Plain, at(9001, 3)), Some(filled.into()));
        assert_eq!((ring.command(Way::Deflate), ring.command_at(Way::Tls, at(1, 1))), (None, None));
        let other: Contender = "x:raw=/opt/echo {port}".parse().expect("good");
        assert_eq!((other.name.as_str(), other.raw), ("x", true));
        assert_eq!(other.describe().command, "echo {port}");
        let mut tls: Contender = "x:raw:tls=echo {port} {cert} {key}".parse().expect("good");
        let place = Place { certificate: Some((Path::new("/c.pem"), Path::new("/k.pem"))), ..at(7, 0) };
        let filled = ["echo", "7", "/c.pem", "/k.pem"].map(String::from);
        assert_eq!(tls.command_at(Way::Tls, place), Some(filled.into()));
        assert!(tls.raw && tls.is_variant() && !other.is_variant());
        assert!(tls.merge(&other) && !tls.is_variant() && !tls.merge(&other), "one command for each way");
        let client: Contender = "x:client=dial {port} {connections}x{depth} of {size}".parse().expect("good");
        let flight = Some(Flight { connections: 64, depth: 16, size: 125 });
        let filled = ["dial", "7", "64x16", "of", "125"].map(String::from);
        assert_eq!(client.command_at(Way::Client, Place { flight, ..at(7, 0) }), Some(filled.into()));
        assert!(client.is_variant() && client.command(Way::Plain).is_none());
        let feed: Contender = "x:feed=serve {port} {keys}@{rate}".parse().expect("good");
        let program = Program { keys: 10, rate: 500, hz: 30 };
        let filled = ["serve", "7", "10@500"].map(String::from);
        assert_eq!(feed.command_at(Way::Feed, Place { program, ..at(7, 0) }), Some(filled.into()));
        let game: Contender = "x:game=serve {port} {hz}".parse().expect("good");
        assert_eq!(game.command_at(Way::Game, Place { program, ..at(7, 0) }).expect("a command")[2], "30");
        let all: Contender = "x:raw:fanout=serve {port}".parse().expect("good");
        assert!(all.raw && all.is_variant() && all.command(Way::FanOut).is_some());
        assert!(!tls.merge(&ring), "a raw echo and a WebSocket server are not one");
        for bad in ["", ":tls=echo {port}", "echo {port}", "=echo {port}", "x=echo", "x="] {
            assert!(bad.parse::<Contender>().is_err(), "{bad}");
        }
    }

    #[test]
    fn built_and_missing_peers_are_listed() {
        let list = std::env::temp_dir().join(format!("wsring-peers-{}.json", std::process::id()));
        let text = r#"[{"name":"a","version":"1.2","command":"{peers}/target/a --listen 127.0.0.1:{port}",
            "deflate_command":"{peers}/target/a --deflate {port}", "client_command":"{peers}/target/a --client {port}"},
            {"name":"b","missing":"no compiler"}]"#;
        fs::write(&list, text).expect("write");
        let found = peers(&list, Path::new("/p")).expect("a list");
        let filled = ["/p/target/a", "--listen", "127.0.0.1:7"].map(String::from);
        assert_eq!(found[0].command_at(Way::Plain, at(7, 0)), Some(filled.into()));
        let filled = ["/p/target/a", "--deflate", "7"].map(String::from);
        assert_eq!(found[0].command_at(Way::Deflate, at(7, 0)), Some(filled.into()));
        let filled = ["/p/target/a", "--client", "7"].map(String::from);
        assert_eq!(found[0].command_at(Way::Client, at(7, 0)), Some(filled.into()));
        assert_eq!(found[0].command(Way::Tls), None);
        assert_eq!((found[1].name.as_str(), found[1].missing.as_deref()), ("b", Some("no compiler")));
        for bad in [r#"[{"name":"a"}]"#, r#"[{"name":"a","command":"a {port}","tls_command":"a"}]"#] {
            fs::write(&list, bad).expect("write");
            assert!(peers(&list, Path::new("/p")).is_err(), "{bad}");
        }
        fs::remove_file(&list).expect("remove");
        assert!(peers(&list, Path::new("/p")).is_err());
    }
}
