//! The `wsring` command: tries the engine out. `wsring serve` echoes or serves a demo, `wsring connect` talks to a server.
#![allow(rustdoc::bare_urls)] // comments of options are help texts, which are plain

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod connect;
mod demo;
mod echo;
mod lines;
mod operator;
mod pages;
mod seconds;
mod serve;
mod signals;
mod tls;

/// A WebSocket engine for Linux on io_uring.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Echo every message; `GET /healthz` answers, `/bcast` sends each message to everybody connected there. Or serve a demo.
    Serve(Box<serve::Args>),
    /// Connect to a server: lines of the input become messages, messages become lines of the output.
    Connect(Box<connect::Args>),
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let done = match Cli::parse().command {
        Command::Serve(args) => serve::run(*args).map(|()| ExitCode::SUCCESS),
        Command::Connect(args) => connect::run(*args),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("wsring: {error}");
            ExitCode::FAILURE
        }
    }
}
