//! In a box like a container's: half a CPU, 128 MiB, 256 descriptors, 64 KiB of locked memory, a user without rights, and with a seccomp filter
//! as container runtimes have it, or without. It starts, serves, and says what it gave up. And the examples under that filter.

use wsring_testkit::{BINARY, Client, TEXT};

use crate::boxes::{Copy, HalfCpu, forbidding, stranger, where_forbidden};
use crate::process::{Serve, cores_allowed};

const EPERM: i32 = 1;

#[test]
fn in_a_container_it_serves_and_says_what_it_gave_up() {
    let copy = Copy::new();
    let Some(group) = HalfCpu::new() else { return };
    for forbidden in [true, false] {
        let mut program = Vec::new();
        if forbidden {
            if where_forbidden(EPERM, "/bin/true").is_none() {
                continue;
            }
            program.extend(forbidding(EPERM));
        }
        let Some(stranger) = stranger(&copy) else { return };
        program.extend(stranger);
        program.push(copy.path().display().to_string());
        let serve = Serve::start_by(group.of("ulimit -n 256 && ulimit -l 64", &program), &[]);
        println!("{}", serve.start_line);

        let mut gave_up = vec!["connections (", "because the limit on descriptors is 256"];
        if forbidden {
            assert_eq!((serve.told("ring"), serve.told("features")), ("epoll", "none"));
            gave_up.push("io_uring (runs on epoll)");
        } else {
            assert_eq!(serve.told("ring"), "uring");
        }
        let cpus = cores_allowed().len();
        if cpus > 1 {
            assert_eq!(serve.told("cores"), "1, not pinned");
            gave_up.push("cores and pinning (its control group leaves it 0.5 CPUs)");
        }
        let told = serve.told("gave").to_owned();
        assert!(gave_up.iter().all(|part| told.contains(part)), "{gave_up:?}: {told}");
        // Half of what is left of 128 MiB beside the program.
        assert_eq!(serve.told("memory"), "56 MiB a core");

        let mut peers: Vec<Client> = (0..50).map(|_| Client::open(serve.addr(), "/")).collect();
        peers.iter_mut().for_each(|peer| peer.echo(TEXT, b"in a box"));
        peers[0].echo(BINARY, &vec![7; 4 << 20]);
        peers.into_iter().for_each(Client::close);
        let (stats, errors) = serve.stop_and_tell();
        assert_eq!((stats["opened"], stats["messages"]), (50, 51));
        // A line for each thing that somebody could grant; a quota is what somebody wanted.
        let lines: Vec<&str> = errors.lines().collect();
        assert!(lines.iter().all(|line| line.contains("WARN")), "{errors}");
        assert!(lines.iter().any(|line| line.contains("ulimit -n")), "{errors}");
        assert_eq!(lines.iter().any(|line| line.contains("running on epoll")), forbidden, "{errors}");
    }
}

/// All of them, by their own tests: those of this program, run once more under the filter.
#[test]
fn the_examples_work_where_io_uring_is_forbidden() {
    let this = std::env::current_exe().unwrap();
    let Some(mut command) = where_forbidden(EPERM, this.to_str().expect("a path in UTF-8")) else { return };
    let output = command.args(["examples::", "--test-threads=2"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("test result: ok. ") && !told.contains("ok. 0 passed"), "{told}");
}
