//! Compiled components on disk, so that only the first start compiles.
//!
//! What is loaded from here is run as machine code, so a file is only believed where it is a plain file of
//! our own that nobody else may write, in a folder of which the same is true. Nothing about the cache stops
//! a start: what cannot be read is compiled again, and what cannot be written is not kept.

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN, digest};
use std::{
    ffi::OsStr,
    fmt,
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    hash::{Hash, Hasher},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::SystemTime,
};

/// A digest of a component's bytes.
pub(super) type Digest = [u8; SHA256_OUTPUT_LEN];

pub(super) fn digest_of(bytes: &[u8]) -> Digest {
    bytes_of(digest(&SHA256, bytes))
}

fn bytes_of(digest: aws_lc_rs::digest::Digest) -> Digest {
    let mut bytes = Digest::default();
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// The folder, and what its files depend on beside the component.
pub(super) struct Cache {
    folder: PathBuf,
    /// Of the engine's settings and its version.
    engine: Digest,
    /// How many bytes its files may take.
    bytes_max: u64,
    has_warned: AtomicBool,
}

/// Twenty of the largest, which interpreters in components are; each change of a plugin or of Tollgate makes
/// another file, so the ones longest unused make room.
const BYTES_MAX: u64 = 1 << 30;

/// What a file begins with: this, then the digest of all that follows, then the key, then the code.
const MAGIC: &[u8; 16] = b"tollgate-cwasm 1";
const HEADER_BYTES: usize = MAGIC.len() + 2 * SHA256_OUTPUT_LEN;

impl Cache {
    pub(super) fn new(folder: &Path, engine: &wasmtime::Engine) -> Self {
        let mut settings = Settings(Context::new(&SHA256));
        settings.0.update(env!("CARGO_PKG_VERSION").as_bytes());
        // The engine's version is among what it hashes.
        engine.precompile_compatibility_hash().hash(&mut settings);
        Self {
            folder: folder.to_owned(),
            engine: bytes_of(settings.0.finish()),
            bytes_max: BYTES_MAX,
            has_warned: AtomicBool::new(false),
        }
    }

    /// The code of a component, if it was kept.
    pub(super) fn load(&self, component: &Digest) -> Option<Vec<u8>> {
        let key = self.key(component);
        match self.read(&key) {
            Ok(code) => Some(code),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.unused(&error);
                None
            }
        }
    }

    /// Keeps the code of a component, in place of what was there.
    pub(super) fn keep(&self, component: &Digest, code: &[u8]) -> io::Result<()> {
        self.write(&self.key(component), code)
    }

    /// Says that what was kept is of no use.
    pub(super) fn unused(&self, error: &dyn fmt::Display) {
        self.warn("a compiled plugin is not used", error);
    }

    /// Says that nothing was kept.
    pub(super) fn unkept(&self, error: &dyn fmt::Display) {
        self.warn("a compiled plugin cannot be kept, and the next start compiles it again", error);
    }

    fn key(&self, component: &Digest) -> Digest {
        let mut key = Context::new(&SHA256);
        key.update(&self.engine);
        key.update(component);
        bytes_of(key.finish())
    }

    fn path(&self, key: &Digest) -> PathBuf {
        let name: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{name}.cwasm"))
    }

    fn read(&self, key: &Digest) -> io::Result<Vec<u8>> {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(self.path(key))?;
        check_ours(&fs::symlink_metadata(&self.folder)?, "the folder")?;
        let metadata = file.metadata()?;
        check_ours(&metadata, "the file")?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no plain file"));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
        file.read_to_end(&mut bytes)?;
        let is_whole = bytes.len() > HEADER_BYTES
            && bytes.starts_with(MAGIC)
            && digest_of(&bytes[MAGIC.len() + SHA256_OUTPUT_LEN..])
                == bytes[MAGIC.len()..][..SHA256_OUTPUT_LEN]
            && bytes[HEADER_BYTES - SHA256_OUTPUT_LEN..HEADER_BYTES] == *key;
        if !is_whole {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is damaged"));
        }
        bytes.drain(..HEADER_BYTES);
        // It is in use, so others make room before it does.
        let _may_be_read_only = file.set_modified(SystemTime::now());
        Ok(bytes)
    }

    /// Under another name first, so that whoever reads sees all of it or nothing, and the last of several
    /// who write wins.
    fn write(&self, key: &Digest, code: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        check_ours(&fs::symlink_metadata(&self.folder)?, "the folder")?;
        self.make_room((HEADER_BYTES + code.len()) as u64)?;
        let path = self.path(key);
        let draft = draft(&path)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        let written = fill(file, key, code).and_then(|()| fs::rename(&draft, path));
        if written.is_err() {
            let _was_not_there = fs::remove_file(&draft);
        }
        written
    }

    /// Removes files that were longest unused, until there is room for so many bytes.
    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // Another process may have removed it.
            let Ok(metadata) = entry.metadata() else { continue };
            if is_ours(&entry.file_name()) {
                files.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        files.sort_unstable();
        let mut taken = bytes + files.iter().map(|(_, bytes, _)| bytes).sum::<u64>();
        for (_, bytes, path) in files {
            if taken <= self.bytes_max {
                break;
            }
            let _is_gone = fs::remove_file(path);
            taken -= bytes;
        }
        Ok(())
    }

    /// Once: every plugin would have the same reason.
    fn warn(&self, what: &'static str, error: &dyn fmt::Display) {
        if !self.has_warned.swap(true, Relaxed) {
            crate::telemetry::events::plugin_cache_unusable(&self.folder, what, error);
        }
    }
}

/// A name that nobody else has. The number of a process does not make one: containers that share a folder all
/// begin with the first.
fn draft(path: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("the system has no random numbers"))?;
    Ok(path.with_extension(format!("{:016x}", u64::from_le_bytes(random))))
}

/// Whether a file's name is one that this cache gives, or gives to drafts.
fn is_ours(name: &OsStr) -> bool {
    let key = Path::new(name).file_stem().map(OsStr::as_encoded_bytes);
    key.is_some_and(|key| key.len() == 2 * SHA256_OUTPUT_LEN && key.iter().all(u8::is_ascii_hexdigit))
}

fn fill(mut file: File, key: &Digest, code: &[u8]) -> io::Result<()> {
    let mut content = Context::new(&SHA256);
    content.update(key);
    content.update(code);
    for part in [MAGIC.as_slice(), content.finish().as_ref(), key, code] {
        file.write_all(part)?;
    }
    Ok(())
}

/// Whether nobody but us (and root) may have written it.
fn check_ours(metadata: &Metadata, what: &str) -> io::Result<()> {
    // SAFETY: it only asks.
    let us = unsafe { libc::geteuid() };
    let problem = if metadata.file_type().is_symlink() {
        "is a symbolic link"
    } else if metadata.uid() != us {
        "belongs to another user"
    } else if metadata.mode() & 0o022 != 0 {
        "may be written by other users"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{what} {problem}")))
}

/// What is hashed goes into a digest that is the same in every process.
struct Settings(Context);

impl Hasher for Settings {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0 // nobody asks
    }
}

#[cfg(test)]
mod tests;
