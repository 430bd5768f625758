//! Compiles uWebSockets, uSockets and `src/echo.cpp` into one object, and has it linked.
//!
//! Owns how the C++ peer is built: its makefile's flags (-O3, link-time optimisation), epoll, no TLS; zlib, and libdeflate
//! where the sources know how to use it (UWS_USE_LIBDEFLATE); the
//! instruction set is plain, like that of the peers in Rust (the makefile would take this machine's). Promises to name
//! what is missing when it fails. Refuses to run the build script of the crate that carries the sources.

use std::path::{Path, PathBuf};
use std::process::Command;

const U_SOCKETS: [&str; 5] = ["bsd.c", "context.c", "loop.c", "socket.c", "eventing/epoll_kqueue.c"];

fn main() {
    println!("cargo:rerun-if-changed=src/echo.cpp");
    println!("cargo:rerun-if-changed=src/feed.h");
    println!("cargo:rerun-if-env-changed=CXX");
    println!("cargo:rerun-if-env-changed=CC");
    println!("cargo:rerun-if-env-changed=PEERS_TARGET_CPU");
    let out = PathBuf::from(variable("OUT_DIR"));
    let sources = sources().join("uWebSockets");
    let u_sockets = sources.join("uSockets/src");
    let cc = compiler("CC", &["cc", "gcc", "clang"], "C");
    let cxx = compiler("CXX", &["c++", "g++", "clang++"], "C++");

    // With LTO if the compiler can make one ordinary object of it (gcc since 9); without it if not.
    let object = build(&cc, &cxx, &sources, &u_sockets, &out, true)
        .or_else(|why| {
            println!("cargo:warning=uWebSockets without link-time optimisation: {why}");
            build(&cc, &cxx, &sources, &u_sockets, &out, false)
        })
        .unwrap_or_else(|why| fail(&why));
    println!("cargo:rustc-link-arg-bins={}", object.display());
    // Behind the object that needs them: a linker looks for symbols in the order of its arguments.
    for (crate_links, library) in [("LIBDEFLATE", "libdeflate.a"), ("Z", "libz.a")] {
        let path = Path::new(&variable(&format!("DEP_{crate_links}_ROOT"))).join("lib").join(library);
        if !path.exists() {
            fail(&format!("{} was not built", path.display()));
        }
        println!("cargo:rustc-link-arg-bins={}", path.display());
    }
    println!("cargo:rustc-link-arg-bins=-lstdc++");
}

/// One object with everything in it.
fn build(cc: &str, cxx: &str, sources: &Path, u_sockets: &Path, out: &Path, lto: bool) -> Result<PathBuf, String> {
    let mut common = vec!["-O3".to_owned(), "-DLIBUS_USE_EPOLL".into(), "-DLIBUS_NO_SSL".into(), "-w".into()];
    if let Ok(cpu) = std::env::var("PEERS_TARGET_CPU") {
        common.push(format!("-march={cpu}"));
    }
    if lto {
        common.push("-flto".into());
    }
    let mut objects = Vec::new();
    for name in U_SOCKETS {
        let object = out.join(name.replace('/', "_")).with_extension("o");
        let mut command = Command::new(cc);
        command.args(&common).args(["-std=gnu11", "-c"]).arg(u_sockets.join(name)).arg("-I").arg(u_sockets);
        run(command.arg("-o").arg(&object))?;
        objects.push(object);
    }
    let object = out.join("echo.o");
    let mut command = Command::new(cxx);
    command.args(&common).args(["-std=c++20", "-DUWS_USE_LIBDEFLATE", "-c", "src/echo.cpp"]);
    command.arg("-I").arg(variable("DEP_Z_INCLUDE")).arg("-I").arg(variable("DEP_LIBDEFLATE_INCLUDE"));
    command.arg(format!("-DPEER_VERSION=\"{}\"", version()));
    command.arg(format!("-DPEER_BUILD=\"{}\"", if lto { "-O3 -flto" } else { "-O3" }));
    command.arg("-I").arg(sources.join("src")).arg("-I").arg(u_sockets).arg("-o").arg(&object);
    run(&mut command)?;
    objects.push(object);

    let whole = out.join("uwebsockets.o");
    let mut command = Command::new(cxx);
    command.args(["-O3", "-nostdlib", "-r"]);
    if lto {
        // gcc 12 breaks on the partitions of a partial link; there is one file of ours to optimise anyway.
        command.args(["-flto", "-flto-partition=none", "-flinker-output=nolto-rel"]);
    }
    run(command.args(&objects).arg("-o").arg(&whole))?;
    Ok(whole)
}

/// Where cargo keeps the crate that carries the sources: it is in the lock file, though no target builds it.
fn sources() -> PathBuf {
    let mut command = Command::new(variable("CARGO"));
    let output = command
        .args(["metadata", "--format-version", "1", "--locked"])
        .output()
        .unwrap_or_else(|error| fail(&format!("cargo metadata: {error}")));
    let metadata = String::from_utf8_lossy(&output.stdout);
    // The one path in it that ends so; a JSON reader would be a dependency for this line.
    let end = "/Cargo.toml\"";
    metadata
        .split("\"manifest_path\":\"")
        .skip(1)
        .filter_map(|rest| rest.split_once(end).map(|(folder, _)| PathBuf::from(folder)))
        .find(|folder| folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libuwebsockets-sys-")))
        .unwrap_or_else(|| {
            let why =
                String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("not in the lock file").to_owned();
            fail(&format!("the sources in crate libuwebsockets-sys are not at hand: {why}"))
        })
}

fn version() -> String {
    let manifest = std::fs::read_to_string("Cargo.toml").unwrap_or_else(|error| fail(&format!("Cargo.toml: {error}")));
    let (_, rest) =
        manifest.split_once("[package.metadata.peer]").unwrap_or_else(|| fail("no [package.metadata.peer]"));
    let line = rest.lines().find_map(|line| line.strip_prefix("version = \""));
    line.and_then(|line| line.strip_suffix('"')).unwrap_or_else(|| fail("no version of the peer")).to_owned()
}

/// The compiler that a variable names, or the first of those at hand.
fn compiler(name: &str, usual: &[&str], language: &str) -> String {
    let named = std::env::var(name).into_iter().filter(|value| !value.is_empty());
    let found = named
        .chain(usual.iter().map(ToString::to_string))
        .find(|compiler| Command::new(compiler).arg("--version").output().is_ok_and(|output| output.status.success()));
    found.unwrap_or_else(|| fail(&format!("no {language} compiler ({}, or set {name})", usual.join(", "))))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let first = errors.lines().find(|line| line.contains("error")).or(errors.lines().last());
    Err(format!("{}: {}", command.get_program().to_string_lossy(), first.unwrap_or("failed without a word")))
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| fail(&format!("{name} is not set: run by cargo only")))
}

/// The last line that cargo shows of a failed build script is what the table of `build` quotes.
fn fail(why: &str) -> ! {
    eprintln!("peer-uwebsockets: {why}");
    std::process::exit(1);
}
