//! A folder that stands in the place of `/` in tests.

use std::path::Path;

use super::ProbeOptions;

/// A tree of files that ends with its value.
pub struct Tree {
    folder: tempfile::TempDir,
}

impl Tree {
    /// An empty tree.
    pub fn new() -> Tree {
        Tree { folder: tempfile::tempdir().unwrap() }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// What makes probes look at it.
    pub fn options(&self) -> ProbeOptions {
        ProbeOptions { root: self.root().to_owned(), mounts: Vec::new() }
    }

    /// Puts a file with its folders.
    pub fn write(&self, path: &str, text: &str) {
        self.write_bytes(path, text.as_bytes());
    }

    /// Puts a file of any bytes.
    pub fn write_bytes(&self, path: &str, bytes: &[u8]) {
        let path = self.root().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Takes a file or folder away.
    pub fn remove(&self, path: &str) {
        let path = self.root().join(path.trim_start_matches('/'));
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
}

/// Puts this process into `group` of a unified hierarchy.
pub fn version_2(tree: &Tree, group: &str) {
    tree.write("proc/self/cgroup", &format!("0::/{group}\n"));
    tree.write("proc/self/mountinfo", "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    tree.write(&format!("sys/fs/cgroup/{group}/cgroup.procs"), "1\n");
}

/// Puts this process into `group` of every hierarchy of version 1.
pub fn version_1(tree: &Tree, group: &str) {
    let (mut cgroup, mut mounts) = (String::new(), String::new());
    for (id, name) in ["memory", "cpu", "cpuacct", "cpuset", "pids"].iter().enumerate() {
        cgroup += &format!("{}:{name}:/{group}\n", id + 1);
        mounts += &format!("3{id} 31 0:3{id} / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n");
        tree.write(&format!("sys/fs/cgroup/{name}/{group}/cgroup.procs"), "1\n");
    }
    tree.write("proc/self/cgroup", &cgroup);
    tree.write("proc/self/mountinfo", &mounts);
}
