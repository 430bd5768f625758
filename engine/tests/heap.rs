//! What `map_long_buffers` does, in processes of their own: it holds for a whole process, and for good.
#![cfg(target_env = "gnu")]

use std::hint::black_box;
use std::process::Command;

const LONG: usize = 16 << 20;

/// What a process keeps of long buffers that it has freed.
#[test]
fn long_buffers_go_back_to_the_system_if_they_are_mapped() {
    let kept = |from: &str| -> usize {
        let program = std::env::current_exe().expect("this program");
        let child = Command::new(program)
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env("MAPPED_FROM", from)
            .env_remove("MALLOC_MMAP_THRESHOLD_")
            .output()
            .expect("it runs again");
        let said = String::from_utf8_lossy(&child.stdout).into_owned();
        let kept = said.lines().find_map(|line| line.split_once("kept ")).expect("it says how much");
        kept.1.trim().parse().expect("a number")
    };
    let (otherwise, mapped, beyond) = (kept("none"), kept("1048576"), kept("20000000"));
    println!("kept of {LONG}: {otherwise}, mapped {mapped}, below the threshold {beyond}");
    assert!(otherwise >= LONG / 2, "glibc gives back by itself: then nobody needs this");
    assert!(mapped < LONG / 8);
    assert!(beyond >= LONG / 2);
}

#[test]
#[ignore = "it is run by the test above"]
fn child() {
    if let Ok(from) = std::env::var("MAPPED_FROM").expect("set by the parent").parse() {
        assert!(wsring::map_long_buffers(from));
    }
    // On a thread, as a core's memory is: its heap is not the one that grows by brk(2).
    let kept = std::thread::spawn(|| {
        let before = resident();
        // The first is mapped in any case, and freeing it is what teaches glibc to take the next from its heap.
        for _ in 0..3 {
            drop(black_box(vec![1_u8; LONG]));
        }
        resident().saturating_sub(before)
    });
    println!("kept {}", kept.join().expect("it ends"));
}

/// Bytes of memory of this process (proc(5)).
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

#[test]
fn what_glibc_takes_no_threshold_of_is_refused() {
    assert!(!wsring::map_long_buffers((32 << 20) + 1) && !wsring::map_long_buffers(usize::MAX));
}
