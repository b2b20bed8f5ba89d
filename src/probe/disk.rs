//! Mounted file systems: the mount table and `statvfs(3)`.
//!
//! Left out are file systems that hold no data of their own (`proc`, `tmpfs`, …), images that are always full (`squashfs`, `iso9660`), overlays
//! other than the root's, and bind mounts of what is counted already. One that cannot be asked, because it has gone or
//! forbids it, is left out of that reading. Those served by another machine or process are a probe of their own.

use std::path::Path;

use super::files::{Files, problem};
use super::mounts::{Mount, parse_mountinfo};
use super::platform::{FileSystemSize, file_system_size};
use super::{Probe, ProbeError, ProbeOptions};
use crate::core::sample::{Disk, Reading, percent_of};

/// File systems that are shown at most.
const DISK_LIMIT: usize = 64;

/// Which file systems a probe reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Those of this box.
    Local,
    /// Those that another machine or process serves.
    Remote,
}

/// Served over a network or by a process, so that a call may wait for ever.
const REMOTE: &[&str] = &[
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "gfs2",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "smb3",
    "smbfs",
    "virtiofs",
];

/// They hold no data of their own, or are images that are always full.
const WITHOUT_DATA: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "cramfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "erofs",
    "fuse.gvfsd-fuse",
    "fuse.lxcfs",
    "fuse.portal",
    "fuse.snapfuse",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nfsd",
    "nsfs",
    "overlay",
    "proc",
    "pstore",
    "ramfs",
    "rootfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "squashfs",
    "sysfs",
    "tmpfs",
    "tracefs",
    "udf",
];

/// Reads file systems.
pub struct DiskProbe {
    files: Files,
    kind: Kind,
    mounts: Vec<String>,
}

impl DiskProbe {
    /// Reads the file systems of `kind` among `options.mounts`, or all where that is empty.
    pub fn new(options: &ProbeOptions, kind: Kind) -> DiskProbe {
        let plain = |mount: &String| match mount.trim_end_matches('/') {
            "" => "/".to_owned(),
            mount => mount.to_owned(),
        };
        DiskProbe { files: Files::new(&options.root), kind, mounts: options.mounts.iter().map(plain).collect() }
    }
}

impl Probe for DiskProbe {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Local => "disk",
            Kind::Remote => "disk_remote",
        }
    }

    fn read(&mut self) -> Result<Reading, ProbeError> {
        let path = "/proc/self/mountinfo";
        let top = self.files.path("/");
        let text = self.files.read(path).map_err(|error| problem(path, &error))?;
        let chosen = choose(&text, &self.mounts, self.kind);
        let (mut disks, mut failure) = (Vec::with_capacity(chosen.len()), None);
        for mount in &chosen {
            match ask(&top, mount) {
                Ok(Some(size)) => disks.push(disk_of(mount, &size)),
                Ok(None) => {}
                Err(error) => failure = Some(format!("{} could not be asked: {error}", mount.mount_point)),
            }
        }
        match failure {
            Some(failure) if disks.is_empty() => Err(ProbeError::Failed(failure)),
            _ => Ok(Reading::Disks { remote: self.kind == Kind::Remote, disks }),
        }
    }
}

/// The size of a mounted file system; none where it has no size, or a single file of it is mounted (as container managers
/// do with `/etc/hosts`).
fn ask(top: &Path, mount: &Mount<'_>) -> std::io::Result<Option<FileSystemSize>> {
    let path = top.join(mount.mount_point.trim_start_matches('/'));
    if mount.root != "/" && !std::fs::metadata(&path)?.is_dir() {
        return Ok(None);
    }
    Ok(Some(file_system_size(&path)?).filter(|size| size.blocks > 0))
}

fn kind_of(file_system: &str) -> Kind {
    let process = file_system == "fuse" || file_system.starts_with("fuse.");
    if process || REMOTE.contains(&file_system) { Kind::Remote } else { Kind::Local }
}

/// The mounts that `kind` is to show.
fn choose<'a>(mountinfo: &'a str, wanted: &[String], kind: Kind) -> Vec<Mount<'a>> {
    let mut chosen: Vec<Mount<'a>> = Vec::new();
    for mount in parse_mountinfo(mountinfo) {
        // What is mounted later over the same place hides what was there.
        chosen.retain(|other| other.mount_point != mount.mount_point);
        let holds_data = !WITHOUT_DATA.contains(&mount.file_system);
        let suits = if wanted.is_empty() {
            holds_data || (mount.file_system == "overlay" && mount.mount_point == "/")
        } else {
            wanted.iter().any(|wanted| *wanted == mount.mount_point)
        };
        if !suits || kind_of(mount.file_system) != kind {
            continue;
        }
        let full = chosen.len() >= DISK_LIMIT;
        match chosen.iter_mut().find(|other| wanted.is_empty() && other.device == mount.device) {
            Some(twin) if rank(&mount) < rank(twin) => *twin = mount,
            Some(_) => {}
            None if full => {}
            None => chosen.push(mount),
        }
    }
    chosen
}

/// Of the mounts of one file system the whole comes before a part, and the shorter name before the longer.
fn rank(mount: &Mount<'_>) -> (bool, usize) {
    (mount.root != "/", mount.mount_point.len())
}

fn disk_of(mount: &Mount<'_>, size: &FileSystemSize) -> Disk {
    let bytes = |blocks: u64| blocks.saturating_mul(size.block_bytes);
    let used_bytes = bytes(size.blocks.saturating_sub(size.free_blocks));
    let available_bytes = bytes(size.available_blocks);
    let counts_inodes = size.inodes > 0;
    Disk {
        mount: mount.mount_point.clone().into_owned(),
        device: mount.source.clone().into_owned(),
        file_system: mount.file_system.to_owned(),
        remote: kind_of(mount.file_system) == Kind::Remote,
        read_only: mount.read_only || size.read_only,
        total_bytes: bytes(size.blocks),
        used_bytes,
        available_bytes,
        used_percent: percent_of(used_bytes, used_bytes.saturating_add(available_bytes)),
        total_inodes: counts_inodes.then_some(size.inodes),
        available_inodes: counts_inodes.then_some(size.available_inodes),
        used_inodes_percent: counts_inodes
            .then(|| percent_of(size.inodes.saturating_sub(size.free_inodes), size.inodes)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::probe::fake::Tree;

    fn line(device: &str, root: &str, mount: &str, file_system: &str, source: &str) -> String {
        format!("36 35 {device} {root} {mount} rw,noatime shared:1 - {file_system} {source} rw\n")
    }

    fn chosen(text: &str, wanted: &[&str], kind: Kind) -> Vec<String> {
        let wanted: Vec<String> = wanted.iter().map(|mount| (*mount).to_owned()).collect();
        choose(text, &wanted, kind).into_iter().map(|mount| mount.mount_point.into_owned()).collect()
    }

    #[test]
    fn data_counts_once_and_what_holds_none_does_not() {
        let text = [
            line("0:21", "/", "/proc", "proc", "proc"),
            line("8:1", "/", "/", "ext4", "/dev/sda1"),
            line("8:2", "/docker", "/var/lib/docker", "xfs", "/dev/sda2"),
            line("8:2", "/", "/data", "xfs", "/dev/sda2"),
            line("8:1", "/home", "/h", "ext4", "/dev/sda1"),
            line("0:50", "/", "/var/lib/docker/overlay2/x/merged", "overlay", "overlay"),
            line("0:51", "/", "/run", "tmpfs", "tmpfs"),
            line("7:0", "/", "/snap/core/1", "squashfs", "/dev/loop0"),
            line("0:60", "/", "/net/share", "nfs4", "server:/share"),
            line("0:61", "/", "/mnt/ssh", "fuse.sshfs", "a@b:"),
            line("8:3", "/", "/usb", "fuseblk", "/dev/sdb1"),
        ]
        .concat();
        assert_eq!(chosen(&text, &[], Kind::Local), ["/", "/data", "/usb"]);
        assert_eq!(chosen(&text, &[], Kind::Remote), ["/net/share", "/mnt/ssh"]);
        assert_eq!(chosen(&text, &["/run", "/h", "/none", "/net/share"], Kind::Local), ["/h", "/run"]);
        assert_eq!(chosen(&text, &["/run", "/net/share"], Kind::Remote), ["/net/share"]);
    }

    #[test]
    fn what_is_mounted_over_a_place_hides_what_was_there() {
        let text = [
            line("8:1", "/", "/data", "ext4", "/dev/sda1"),
            line("8:2", "/", "/data", "ext4", "/dev/sdb1"),
            line("8:3", "/", "/gone", "ext4", "/dev/sdc1"),
            line("0:9", "/", "/gone", "tmpfs", "tmpfs"),
        ]
        .concat();
        let mounts = choose(&text, &[], Kind::Local);
        assert_eq!(mounts.iter().map(|mount| &*mount.source).collect::<Vec<_>>(), ["/dev/sdb1"]);
    }

    #[test]
    fn the_count_of_file_systems_is_limited() {
        let text: String =
            (0..1000).map(|n| line(&format!("8:{n}"), "/", &format!("/m{n}"), "ext4", "/dev/x")).collect();
        assert_eq!(choose(&text, &[], Kind::Local).len(), DISK_LIMIT);
    }

    #[test]
    fn sizes_are_as_df_shows_them() {
        let text = line("8:1", "/", "/my\\040disk", "btrfs", "/dev/sda1");
        let mount = parse_mountinfo(&text).next().unwrap();
        let size = FileSystemSize {
            block_bytes: 1000,
            blocks: 1000,
            free_blocks: 400,
            available_blocks: 200,
            ..FileSystemSize::default()
        };
        let disk = disk_of(&mount, &size);
        assert_eq!((disk.mount.as_str(), disk.total_bytes, disk.used_bytes), ("/my disk", 1_000_000, 600_000));
        assert_eq!((disk.available_bytes, disk.used_percent), (200_000, 75.0));
        assert_eq!((disk.total_inodes, disk.used_inodes_percent), (None, None));
        let counted = FileSystemSize { inodes: 100, free_inodes: 25, available_inodes: 20, read_only: true, ..size };
        let disk = disk_of(&mount, &counted);
        assert_eq!(
            (disk.total_inodes, disk.available_inodes, disk.used_inodes_percent),
            (Some(100), Some(20), Some(75.0))
        );
        assert!(disk.read_only);
        let huge = FileSystemSize { block_bytes: u64::MAX, blocks: u64::MAX, available_blocks: u64::MAX, ..size };
        assert_eq!(disk_of(&mount, &huge).total_bytes, u64::MAX);
    }

    #[test]
    fn a_file_system_that_goes_is_left_out_and_the_others_stay() {
        let tree = Tree::new();
        let both = line("8:1", "/", "/", "ext4", "/dev/sda1") + &line("8:2", "/", "/usb", "ext4", "/dev/sdb1");
        tree.write("proc/self/mountinfo", &both);
        tree.write("usb/file", "");
        let mut probe = DiskProbe::new(&tree.options(), Kind::Local);
        let mut mounts = || match probe.read() {
            Ok(Reading::Disks { remote: false, disks }) => disks.into_iter().map(|disk| disk.mount).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(mounts(), ["/", "/usb"]);
        tree.remove("usb");
        assert_eq!(mounts(), ["/"], "it cannot be asked");
        tree.write("proc/self/mountinfo", &line("8:1", "/", "/", "ext4", "/dev/sda1"));
        assert_eq!(mounts(), ["/"], "it is in the table no more");
        tree.write("proc/self/mountinfo", &line("8:2", "/", "/usb", "ext4", "/dev/sdb1"));
        assert!(matches!(probe.read(), Err(ProbeError::Failed(_))), "nothing could be asked");
    }

    #[test]
    fn a_single_file_that_is_mounted_is_no_file_system() {
        let tree = Tree::new();
        tree.write("etc/hosts", "");
        tree.write("volume/file", "");
        let text = line("8:1", "/docker/hosts", "/etc/hosts", "ext4", "/dev/sda1")
            + &line("8:2", "/volumes/x", "/volume", "ext4", "/dev/sdb1");
        tree.write("proc/self/mountinfo", &text);
        let reading = DiskProbe::new(&tree.options(), Kind::Local).read().unwrap();
        assert!(matches!(&reading, Reading::Disks { disks, .. } if disks.len() == 1 && disks[0].mount == "/volume"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "([0-9]{1,2} [0-9] ?[0-9]{0,3}:?[0-9] /\\PC{0,5} /[\\\\0-7a-z]{0,9} r?[ow] -? ?ext4 /dev/x rw\n|\\PC{0,40}\n){0,6}") {
            choose(&text, &[], Kind::Local);
        }
    }
}
