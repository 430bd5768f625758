//! A folder of one test, gone with it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A new folder, empty, which nobody else has. A leftover in the temporary folder is no reason to fail.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("wsring-test-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder); // of an earlier process of that number
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The same for an option's value.
    pub fn text(&self, name: &str) -> String {
        self.path(name).into_os_string().into_string().expect("UTF-8")
    }

    /// Writes a file, and says where it is.
    pub fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).expect("it is written");
        self.text(name)
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::Folder;

    #[test]
    fn each_has_its_own_and_it_goes() {
        let (one, two) = (Folder::new(), Folder::new());
        let file = one.file("name", "text");
        assert_eq!(std::fs::read_to_string(&file).expect("a file"), "text");
        assert!(!two.path("name").exists());
        drop(one);
        assert!(!std::path::Path::new(&file).exists() && two.as_ref().exists());
    }
}
