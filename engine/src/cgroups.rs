//! The control groups that this process is in, of either version (cgroups(7)): the folders whose files bound what it may use.
//!
//! Asks nobody: files are read by whoever asks.

/// The folder of a group.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Group {
    folder: String,
    is_first: bool,
}

impl Group {
    /// The path of a file of it, whose name is another in each version.
    pub(crate) fn file(&self, first: &str, second: &str) -> String {
        format!("{}/{}", self.folder, if self.is_first { first } else { second })
    }
}

/// Of /proc/self/cgroup: the groups that this controller bounds the process by, which are its own and all above it. In a container the names may
/// be those outside of it, so that only the topmost is there.
pub(crate) fn groups(text: &str, controller: &str) -> Vec<Group> {
    let mut groups = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (is_first, mut roots) = match controllers {
            "" => (false, vec!["/sys/fs/cgroup".to_owned(), "/sys/fs/cgroup/unified".to_owned()]),
            // By convention it is mounted where all names of the line say, and each of them leads there.
            _ if controllers.split(',').any(|name| name == controller) => {
                (true, vec![format!("/sys/fs/cgroup/{controller}"), format!("/sys/fs/cgroup/{controllers}")])
            }
            _ => continue,
        };
        roots.dedup();
        let mut group = path.trim_end_matches('/');
        loop {
            groups.extend(roots.iter().map(|root| Group { folder: format!("{root}{group}"), is_first }));
            let Some((above, _)) = group.rsplit_once('/') else { break };
            group = above;
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str, controller: &str) -> Vec<String> {
        groups(text, controller).iter().map(|group| group.file("first", "second")).collect()
    }

    #[test]
    fn a_group_and_all_above_it_are_looked_at() {
        let second = ["/sys/fs/cgroup/a/b/second", "/sys/fs/cgroup/unified/a/b/second"];
        let above = ["/sys/fs/cgroup/a/second", "/sys/fs/cgroup/unified/a/second"];
        let top = ["/sys/fs/cgroup/second", "/sys/fs/cgroup/unified/second"];
        assert_eq!(files("0::/a/b\n", "cpu"), [second, above, top].concat());
        assert_eq!(files("0::/\n", "cpu"), top);
    }

    #[test]
    fn a_controller_of_the_first_version_lies_under_its_own_name_or_those_of_its_line() {
        let text = "9:name=systemd:/\n5:cpuset:/no\n4:cpu,cpuacct:/box\n2:memory:/box\n";
        let cpu = ["/sys/fs/cgroup/cpu/box/first", "/sys/fs/cgroup/cpu,cpuacct/box/first"];
        let top = ["/sys/fs/cgroup/cpu/first", "/sys/fs/cgroup/cpu,cpuacct/first"];
        assert_eq!(files(text, "cpu"), [cpu, top].concat());
        assert_eq!(files(text, "memory"), ["/sys/fs/cgroup/memory/box/first", "/sys/fs/cgroup/memory/first"]);
        assert!(files(text, "io").is_empty() && files("nonsense\n\n1:cpu\n", "cpu").is_empty());
    }
}
