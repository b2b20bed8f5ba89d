//! The page's files: all of them in the binary, compressed once, named by their common hash.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

pub(super) const HASH_DIGITS: usize = 16;
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const ICON: &str = "image/svg+xml";

/// Every file beside the page itself: its name, its type, its bytes.
pub(super) const FILES: [(&str, &str, &[u8]); 13] = [
    ("style.css", STYLE, include_bytes!("../../../page/style.css")),
    ("page.js", SCRIPT, include_bytes!("../../../page/page.js")),
    ("charts.js", SCRIPT, include_bytes!("../../../page/charts.js")),
    ("contact.js", SCRIPT, include_bytes!("../../../page/contact.js")),
    ("format.js", SCRIPT, include_bytes!("../../../page/format.js")),
    ("try.js", SCRIPT, include_bytes!("../../../page/try.js")),
    ("uPlot.iife.min.js", SCRIPT, include_bytes!("../../../page/vendor/uPlot.iife.min.js")),
    ("uPlot.min.css", STYLE, include_bytes!("../../../page/vendor/uPlot.min.css")),
    ("uPlot.LICENSE", TEXT, include_bytes!("../../../page/vendor/uPlot.LICENSE")),
    ("well.svg", ICON, include_bytes!("../../../page/well.svg")),
    ("warn.svg", ICON, include_bytes!("../../../page/warn.svg")),
    ("bad.svg", ICON, include_bytes!("../../../page/bad.svg")),
    ("lost.svg", ICON, include_bytes!("../../../page/lost.svg")),
];

pub(super) static ASSETS: LazyLock<Assets> = LazyLock::new(Assets::new);

/// One of them.
pub(super) struct Asset {
    pub name: &'static str,
    pub content_type: &'static str,
    pub plain: Bytes,
    /// Absent where it is no smaller.
    pub gzip: Option<Bytes>,
}

/// All of them.
pub(super) struct Assets {
    /// The hash of all files, a part of each one's path: scripts import each other by relative paths.
    pub hash: String,
    pub files: Vec<Asset>,
}

impl Assets {
    /// The file of this name, under this hash: under another one it would be another file, and a cache would keep it for ever.
    pub fn find(&self, hash: &str, name: &str) -> Option<&Asset> {
        self.files.iter().find(|file| file.name == name).filter(|_| hash == self.hash)
    }

    fn new() -> Assets {
        let mut hash = Sha256::new();
        let files = FILES.map(|(name, content_type, bytes)| {
            hash.update(name);
            hash.update([0]);
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
            let gzip = gzip(bytes).filter(|small| small.len() < bytes.len());
            Asset { name, content_type, plain: Bytes::from_static(bytes), gzip }
        });
        let mut hash = hash.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        hash.truncate(HASH_DIGITS);
        Assets { hash, files: files.into() }
    }
}

fn gzip(bytes: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// Compresses the files, so that no request has to wait for it.
pub fn prepare() {
    LazyLock::force(&ASSETS);
}
