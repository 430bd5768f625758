//! Builds one ring: what is asked of the kernel, what it granted, and which knob to turn when it refuses.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use io_uring::IoUring;

use super::features::{Feature, Features};
use super::limits::{limit, limit_text};
use super::locked::{self, Refusal, Size};
use super::probe;
use super::recv_buffers::{BufferRing, GROUP};
use super::sizes::{QueueEntries, RecvBuffers, SendBuffers};

/// The lowest kernel that the driver runs on: IORING_SETUP_DEFER_TASKRUN and multishot receives are there.
const KERNEL_MIN: (u32, u32) = (6, 1);

/// Sizes and switches of one ring.
#[derive(Clone, Debug)]
pub struct RingConfig {
    /// Entries of the two queues.
    pub queue_entries: QueueEntries,
    /// Open sockets at once: slots of the fixed-file table, or as many descriptors.
    pub sockets_max: u32,
    /// The most connections that may wait in a listener's queue (listen(2)). One accept serves many connections only while there is
    /// room for so many.
    pub backlog: u32,
    /// What it receives into.
    pub recv_buffers: RecvBuffers,
    /// The send blocks that come with it.
    pub send_buffers: SendBuffers,
    /// How long to poll rather than sleep after [`Ring::expect_more`](crate::ring::Ring::expect_more); zero never polls.
    pub spin: Duration,
    /// Features to use where the kernel has them.
    pub features: Features,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self {
            queue_entries: QueueEntries::default(),
            sockets_max: 1024,
            backlog: 4096,
            recv_buffers: RecvBuffers::default(),
            send_buffers: SendBuffers::default(),
            spin: Duration::ZERO,
            features: Features::all(),
        }
    }
}

/// Why a ring could not be set up, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Below Linux 6.1.
    #[error("this kernel is {found}; io_uring as used here needs Linux 6.1 or newer")]
    KernelTooOld {
        /// The release as the kernel states it.
        found: String,
    },
    /// EPERM, or EACCES.
    #[error(
        "io_uring is forbidden here (EPERM): sysctl kernel.io_uring_disabled is {sysctl} (0 allows it, 1 wants CAP_SYS_ADMIN \
         or membership in kernel.io_uring_group); if it is 0, a seccomp profile forbids io_uring_setup(2), as container \
         runtimes do by default: allow io_uring_setup, io_uring_enter and io_uring_register"
    )]
    Forbidden {
        /// The value of kernel.io_uring_disabled, or `unknown`.
        sysctl: String,
    },
    /// ENOSYS.
    #[error(
        "io_uring_setup(2) does not exist here (ENOSYS): the kernel was built without CONFIG_IO_URING, or a seccomp profile hides it"
    )]
    Missing,
    /// ENOMEM.
    #[error(
        "the kernel has no memory for {what} (ENOMEM), as small as that can be: the limit on locked memory is {limit} bytes (ulimit -l, \
         LimitMEMLOCK= in systemd), which all processes of the same user share, and each core needs {least} of them; raise it, grant \
         CAP_IPC_LOCK, run on fewer cores, or on epoll (Config::ring, --ring epoll), which needs none"
    )]
    Memlock {
        /// What was being set up.
        what: &'static str,
        /// RLIMIT_MEMLOCK.
        limit: String,
        /// Bytes of locked memory that the smallest ring takes.
        least: u64,
    },
    /// EMFILE or ENFILE.
    #[error(
        "not enough descriptors for {what} ({errno}): {wanted} wanted, the limit is {limit} (ulimit -n, LimitNOFILE= in \
         systemd); raise it or lower the connection cap"
    )]
    Descriptors {
        /// What was being set up.
        what: &'static str,
        /// How many it needs.
        wanted: u32,
        /// RLIMIT_NOFILE.
        limit: String,
        /// EMFILE or ENFILE.
        errno: &'static str,
    },
    /// RLIMIT_NOFILE has no room for the connections that were asked for.
    #[error(
        "{wanted} descriptors are needed for {connections} connections on each of {cores} cores, and the limit is {limit} (ulimit -n, \
         LimitNOFILE= in systemd); raise it, lower the connection cap to {fits} or below, or run on fewer cores"
    )]
    TooFewDescriptors {
        /// How many are needed, with what the process has open already.
        wanted: u64,
        /// The connection cap.
        connections: u32,
        /// How many cores have that cap.
        cores: u64,
        /// RLIMIT_NOFILE.
        limit: u64,
        /// The highest cap that there is room for; 0 if there is room for none.
        fits: u32,
    },
    /// Anything else.
    #[error("cannot set up {what}: {source}")]
    Other {
        /// What was being set up.
        what: &'static str,
        /// The error as it came.
        source: io::Error,
    },
}

impl SetupError {
    /// Of a ring that is none of io_uring's.
    pub(in crate::ring) fn of_epoll(what: &'static str, wanted: u32, error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => Self::new(what, wanted, error),
            _ => SetupError::Other { what, source: error },
        }
    }

    /// Whether it says that there is no io_uring for this process: it is forbidden, not there, or of a kernel that is too old.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, SetupError::Forbidden { .. } | SetupError::Missing | SetupError::KernelTooOld { .. })
    }

    pub(super) fn new(what: &'static str, wanted: u32, error: io::Error) -> Self {
        let errno = error.raw_os_error().unwrap_or(0);
        match errno {
            libc::EPERM | libc::EACCES => SetupError::Forbidden {
                sysctl: std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
                    .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned()),
            },
            libc::ENOSYS => SetupError::Missing,
            libc::ENOMEM => {
                SetupError::Memlock { what, limit: limit_text(libc::RLIMIT_MEMLOCK), least: locked::least_bytes() }
            }
            libc::EMFILE | libc::ENFILE => SetupError::Descriptors {
                what,
                wanted,
                limit: limit_text(libc::RLIMIT_NOFILE),
                errno: if errno == libc::EMFILE { "EMFILE" } else { "ENFILE" },
            },
            _ => SetupError::Other { what, source: error },
        }
    }
}

impl Refusal for SetupError {
    fn is_for_want_of_memory(&self) -> bool {
        matches!(self, SetupError::Memlock { .. })
    }
}

/// Refuses a kernel below the floor. An unreadable version is let through: io_uring_setup(2) has the last word.
fn check_kernel(release: &str) -> Result<(), SetupError> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) < KERNEL_MIN => {
            Err(SetupError::KernelTooOld { found: release.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Whether there may be a ring at all. The kernel is asked once a process.
///
/// # Errors
/// [`SetupError`] if the kernel is too old, or allows no ring.
pub(crate) fn allowed() -> Result<(), SetupError> {
    static ALLOWED: OnceLock<()> = OnceLock::new();
    if ALLOWED.get().is_none() {
        check_kernel(release().trim())?;
        locked::patiently(|| {
            let ring: io::Result<IoUring> = IoUring::builder().setup_single_issuer().build(2);
            ring.map(drop).map_err(|e| SetupError::new("a first ring", 2, e))
        })?;
        let _ = ALLOWED.set(());
    }
    Ok(())
}

fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default()
}

/// Those of the features that can be used here as far as that is known before there is a ring: direct descriptors only where the
/// kernel closes them.
///
/// # Errors
/// [`SetupError`] if the kernel is too old, or allows no ring.
pub fn usable(features: Features) -> Result<Features, SetupError> {
    check_kernel(release().trim())?;
    if !features.has(Feature::DirectDescriptors) {
        return Ok(features);
    }
    let experiment = || probe::closes_beside_operations().map_err(|e| SetupError::new("a first ring", 8, e));
    let closes = locked::patiently(experiment)?;
    Ok(if closes { features } else { features.without(Feature::DirectDescriptors) })
}

/// Makes the ring itself: queues, flags, and the fixed-file table if sockets are `direct` descriptors.
pub(super) fn ring(config: &RingConfig, queues: QueueEntries, direct: bool) -> Result<IoUring, SetupError> {
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(queues.completion.max(queues.submission));
    if config.features.has(Feature::DeferTaskrun) {
        // Completions wait until we enter for them; the flag in the SQ ring tells a spinner that some do.
        builder.setup_defer_taskrun().setup_taskrun_flag();
    } else {
        builder.setup_coop_taskrun().setup_taskrun_flag();
    }
    let uring = builder.build(queues.submission).map_err(|e| SetupError::new("the ring", queues.submission, e))?;
    if direct {
        uring
            .submitter()
            .register_files_sparse(config.sockets_max)
            .map_err(|e| SetupError::new("the table of sockets", config.sockets_max, e))?;
    }
    Ok(uring)
}

/// The ring cycles through all their memory, so that is kept small enough to stay warm (docs/decisions/0018); without incremental
/// consumption each segment takes a whole buffer, so there must be more of them (docs/decisions/0010).
/// With how many there would be if locked memory did not matter.
pub(super) fn receive_buffers(
    uring: &IoUring,
    config: &RingConfig,
    size: Size,
) -> Result<(BufferRing, u16), SetupError> {
    let failed = |error| SetupError::new("receive buffers", 0, error);
    let incremental = config.features.has(Feature::IncrementalBuffers);
    let register = |count, bytes, incremental| {
        BufferRing::register(uring, size.buffers(count), bytes, incremental).map_err(failed).map(|made| (made, count))
    };
    match config.recv_buffers {
        RecvBuffers::Auto => match register(2, 256 << 10, incremental)? {
            buffers if buffers.0.is_incremental() => Ok(buffers),
            whole => {
                drop(whole);
                uring.submitter().unregister_buf_ring(GROUP).map_err(failed)?;
                register(1024, 4 << 10, false)
            }
        },
        RecvBuffers::Fixed { count, bytes } => register(count, bytes, incremental),
    }
}

/// How many descriptors this process has open; 0 where /proc does not tell.
pub(crate) fn descriptors_open() -> u64 {
    // One of them is that of the directory being read.
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1) as u64)
}

/// Raises the soft limit of descriptors to the hard limit and returns it (getrlimit(2)).
///
/// The kernel checks a fixed-file table against this limit although its sockets take no descriptor numbers.
pub fn raise_nofile() -> u64 {
    let mut wanted = limit(libc::RLIMIT_NOFILE);
    if wanted.rlim_cur < wanted.rlim_max {
        wanted.rlim_cur = wanted.rlim_max;
        // SAFETY: setrlimit(2) reads one rlimit through the pointer. On failure the old limit stands and is read below.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) };
    }
    limit(libc::RLIMIT_NOFILE).rlim_cur
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernel_is_named_and_a_new_one_passes() {
        for (release, ok) in [
            ("5.15.0-91-generic", false),
            ("6.0.19", false),
            ("6.1.0-18-amd64", true),
            ("6.18.44", true),
            ("7.0", true),
            ("", true),
        ] {
            assert_eq!(check_kernel(release).is_ok(), ok, "{release}");
        }
        let told = check_kernel("5.4.0").unwrap_err().to_string();
        assert!(told.contains("5.4.0") && told.contains("6.1"), "{told}");
    }

    #[test]
    fn errors_name_the_knob() {
        let told = |errno| SetupError::new("the ring", 7, io::Error::from_raw_os_error(errno)).to_string();
        assert!(told(libc::EPERM).contains("kernel.io_uring_disabled") && told(libc::EPERM).contains("seccomp"));
        assert!(told(libc::ENOMEM).contains("ulimit -l") && told(libc::ENOMEM).contains("--ring epoll"));
        assert!(told(libc::EMFILE).contains("ulimit -n") && told(libc::EMFILE).contains('7'));
        assert!(told(libc::ENOSYS).contains("CONFIG_IO_URING"));
        assert!(told(libc::EINVAL).contains("the ring"));
    }

    #[test]
    fn a_table_over_the_descriptor_limit_says_so() {
        let limit = u32::try_from(raise_nofile()).unwrap_or(u32::MAX - 1);
        if limit < 1 << 20 {
            let config = RingConfig { sockets_max: limit + 1, ..RingConfig::default() };
            let told = ring(&config, config.queue_entries, true).err().expect("a table above the limit").to_string();
            assert!(told.contains("ulimit -n"), "{told}");
        }
    }
}
