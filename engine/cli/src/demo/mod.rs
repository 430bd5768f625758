//! What `wsring serve --demo NAME` serves instead of the echo: small programs on the public API whose protocols are fixed
//! (docs/command.md), so that anybody's client can check them.
//!
//! Owns the options of demos, and which of them goes with which. Each demo is a file of its own.

use std::fmt;

use clap::ValueEnum;
use clap::error::ErrorKind;

pub(crate) mod chat;
pub(crate) mod fault;
pub(crate) mod feed;
pub(crate) mod game;
pub(crate) mod name;

/// The longest message that a demo takes.
pub(crate) const MESSAGE_MAX: u32 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Demo {
    /// Prices of many keys, on /feed
    Feed,
    /// Players who are told of each other once a tick, on /game?name=N
    Game,
    /// Rooms, on /chat/ROOM?name=N
    Chat,
}

impl fmt::Display for Demo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Feed => "feed",
            Self::Game => "game",
            Self::Chat => "chat",
        })
    }
}

#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Serve this instead of the echo; docs/command.md has what is said. It takes messages of at most 1 MiB.
    #[arg(long, value_name = "NAME", value_enum)]
    demo: Option<Demo>,
    /// Of the feed: how many keys there are, K0 and up [default: 1000].
    #[arg(long, value_name = "N", requires = "demo", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    keys: Option<u32>,
    /// Of the feed: updates a second, of all keys together; 0 for none but the first of each [default: 50000].
    #[arg(long, value_name = "N", requires = "demo", value_parser = clap::value_parser!(u32).range(..=10_000_000))]
    rate: Option<u32>,
    /// Of the game: ticks a second [default: 30].
    #[arg(long, value_name = "N", requires = "demo", value_parser = clap::value_parser!(u32).range(1..=1000))]
    hz: Option<u32>,
}

impl Args {
    /// Which one to serve, if any. Options of another one end the process, as a command line that makes no sense does.
    pub(crate) fn demo(&self) -> Option<Demo> {
        for (option, given, of) in [
            ("--keys", self.keys.is_some(), Demo::Feed),
            ("--rate", self.rate.is_some(), Demo::Feed),
            ("--hz", self.hz.is_some(), Demo::Game),
        ] {
            if given && self.demo != Some(of) {
                let error = format!("{option} is an option of --demo {of}\n");
                clap::Error::raw(ErrorKind::ArgumentConflict, error).exit();
            }
        }
        self.demo
    }

    pub(crate) fn keys(&self) -> u32 {
        self.keys.unwrap_or(1000)
    }

    pub(crate) fn rate(&self) -> u32 {
        self.rate.unwrap_or(50_000)
    }

    pub(crate) fn hz(&self) -> u32 {
        self.hz.unwrap_or(30)
    }
}
