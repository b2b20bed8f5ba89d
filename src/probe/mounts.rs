//! The mount table: `/proc/self/mountinfo` (proc(5)).

use std::borrow::Cow;

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount<'a> {
    /// The device's numbers, `major:minor`; the same for every mount of one file system.
    pub device: &'a str,
    /// The folder of the file system that is shown there; other than `/` for bind mounts.
    pub root: Cow<'a, str>,
    /// Where it is mounted.
    pub mount_point: Cow<'a, str>,
    /// Whether this mount is read-only.
    pub read_only: bool,
    /// The type.
    pub file_system: &'a str,
    /// What is mounted: a device, a server's path, or a word.
    pub source: Cow<'a, str>,
    /// The file system's own options, with commas.
    pub options: &'a str,
}

/// The mounts in `text`, in the order in which they were made; lines that are no mounts are left out.
pub fn parse_mountinfo(text: &str) -> impl Iterator<Item = Mount<'_>> {
    text.lines().filter_map(parse_line)
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse_line(line: &str) -> Option<Mount<'_>> {
    let mut fields = line.split(' ');
    let device = fields.nth(2).filter(|device| device.contains(':'))?;
    let root = unescape(fields.next()?);
    let mount_point = unescape(fields.next()?);
    let read_only = fields.next()?.split(',').any(|option| option == "ro");
    fields.by_ref().find(|field| *field == "-")?;
    let file_system = fields.next().filter(|name| !name.is_empty())?;
    let source = unescape(fields.next()?);
    let options = fields.next().unwrap_or_default();
    mount_point.starts_with('/').then_some(())?;
    Some(Mount { device, root, mount_point, read_only, file_system, source, options })
}

/// Puts the characters back that the kernel writes as a backslash and three octal digits: `\040` for a space.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'\\'
            && let Some((digits, behind)) = after.split_at_checked(3)
            && let Some(byte) = octal(digits)
        {
            bytes.push(byte);
            rest = behind;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn octal(digits: &[u8]) -> Option<u8> {
    digits.iter().try_fold(0u8, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(digit - b'0'),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_every_kind_of_field_is_read() {
        let text = "36 35 98:0 /mnt1 /mnt/my\\040disk\\134x ro,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n";
        let mount = parse_mountinfo(text).next().unwrap();
        assert_eq!(mount.device, "98:0");
        assert_eq!(mount.root, "/mnt1");
        assert_eq!(mount.mount_point, "/mnt/my disk\\x");
        assert!(mount.read_only);
        assert_eq!((mount.file_system, &*mount.source, mount.options), ("ext3", "/dev/root", "rw,errors=continue"));
    }

    #[test]
    fn lines_that_are_cut_or_odd_are_left_out() {
        for text in [
            "",
            "\n\n",
            "36 35 98:0 /",
            "36 35 98:0 / /mnt rw",
            "36 35 98:0 / /mnt rw -",
            "36 35 98:0 / /mnt rw - ext4",
            "36 35 98 / /mnt rw - ext4 /dev/sda rw",
            "36 35 98:0 / relative rw - ext4 /dev/sda rw",
            "- - - - - - - - -",
        ] {
            assert_eq!(parse_mountinfo(text).count(), 0, "{text:?}");
        }
        assert_eq!(parse_mountinfo("36 35 98:0 / /mnt rw - ext4 /dev/sda").count(), 1, "options may be absent");
    }

    #[test]
    fn only_whole_octal_escapes_are_taken_back() {
        for (text, plain) in [
            ("a", "a"),
            ("a\\040b", "a b"),
            ("\\011\\012", "\t\n"),
            ("\\04", "\\04"),
            ("\\", "\\"),
            ("\\999", "\\999"),
            ("\\777", "\\777"),
            ("\\303\\244", "ä"),
            ("\\377", "\u{fffd}"),
        ] {
            assert_eq!(unescape(text), plain, "{text}");
        }
    }
}
