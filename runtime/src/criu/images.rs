//! What is in a directory of images beside the processes: the mounts, and `descriptors.json`, in
//! which runtimes write down what the standard streams were.

use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sys::{Dir, Errno};

use super::protobuf::Reader;

/// Link texts of the standard streams, as runc has them.
const DESCRIPTORS: &str = "descriptors.json";

/// The file of each mount namespace is called so, with a number.
const MOUNTPOINTS: &str = "mountpoints-";

/// Begins the files that share a format, before the number of the kind (criu's magic.h).
const COMMON_MAGIC: u32 = 0x5456_4319;

/// More than any image that is read here.
const LIMIT: u64 = 16 << 20;

/// A directory of images.
#[derive(Debug)]
pub struct Images(Dir);

/// A mount of the container as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageMount {
    /// Its number.
    pub id: i32,
    /// The number of the mount that it is on.
    pub parent: i32,
    /// Where it is, absolute, as the container means it.
    pub place: PathBuf,
    /// The name under which the runtime is asked for it, if it came from outside.
    pub key: Option<String>,
}

impl Images {
    /// The directory `path`, made for its owner alone if it is missing.
    pub fn create(path: &Path) -> Result<Self> {
        let path = &std::path::absolute(path)?;
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("mkdir {parent:?}"))?;
        }
        let dir = Dir::open_or_create(path, 0o700);
        Ok(Self(dir.with_context(|| format!("images in {path:?}"))?))
    }

    /// The directory `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let path = &std::path::absolute(path)?;
        let dir = Dir::open(path);
        Ok(Self(dir.with_context(|| format!("images in {path:?}"))?))
    }

    /// Its descriptor, which CRIU is told.
    pub fn number(&self) -> i32 {
        self.0.as_fd().as_raw_fd()
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes down what the standard streams of the container were.
    pub fn save_descriptors(&self, links: &[String]) -> Result<()> {
        let text = serde_json::to_vec(links).context("encode the standard streams")?;
        Ok(self.0.replace(DESCRIPTORS, &text, 0o600)?)
    }

    /// What they were; nothing if nobody wrote it down.
    pub fn descriptors(&self) -> Result<Vec<String>> {
        match self.0.read(DESCRIPTORS, LIMIT) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("read {:?}", self.0.path().join(DESCRIPTORS))),
            Err(error) if error.errno() == Errno::ENOENT => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// The mounts of the container's mount namespace; none if it had none of its own.
    pub fn mounts(&self) -> Result<Vec<ImageMount>> {
        let mut mounts = Vec::new();
        for name in self.0.names()? {
            let Some(text) = name.to_str().filter(|name| name.starts_with(MOUNTPOINTS)) else {
                continue;
            };
            let bytes = self.0.read(text, LIMIT)?;
            let read = parse(&bytes, &mut mounts);
            read.with_context(|| format!("read {:?}", self.0.path().join(text)))?;
        }
        Ok(mounts)
    }
}

/// A file of images: one or two magic numbers, then each message after its length.
fn parse(bytes: &[u8], mounts: &mut Vec<ImageMount>) -> Result<()> {
    let (magic, mut rest) = number(bytes)?;
    if magic == COMMON_MAGIC {
        (_, rest) = number(rest)?;
    }
    while !rest.is_empty() {
        let (length, after) = number(rest)?;
        let (message, next) = after
            .split_at_checked(length as usize)
            .context("it is cut short")?;
        mounts.push(mount(message)?);
        rest = next;
    }
    Ok(())
}

fn number(bytes: &[u8]) -> Result<(u32, &[u8])> {
    let (first, rest) = bytes.split_first_chunk().context("it is cut short")?;
    Ok((u32::from_le_bytes(*first), rest))
}

/// `mnt_entry` of criu's mnt.proto.
fn mount(message: &[u8]) -> Result<ImageMount> {
    let mut mount = ImageMount::default();
    let mut reader = Reader::new(message);
    while let Some((field, value)) = reader.next()? {
        match field {
            2 => mount.id = value.int32(),
            4 => mount.parent = value.int32(),
            7 => mount.place = absolute(&value.text())?,
            18 => mount.key = Some(value.text()).filter(|key| !key.is_empty()),
            _ => {}
        }
    }
    Ok(mount)
}

/// CRIU writes `/dev` or `./dev`.
fn absolute(text: &str) -> Result<PathBuf> {
    let below = text.strip_prefix('.').unwrap_or(text);
    let path = Path::new("/").join(below.trim_start_matches('/'));
    let plain = |part| !matches!(part, std::path::Component::ParentDir);
    if !path.components().all(plain) {
        bail!("a mount at {text:?}");
    }
    Ok(path)
}

/// What a standard stream is: the text of its link in procfs.
pub fn stream_link(number: i32) -> String {
    let link = std::fs::read_link(format!("/proc/self/fd/{number}"));
    link.map(|link| link.to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `protoc --encode`, with the two magic numbers of CRIU 4 and the length before it.
    fn image() -> Vec<u8> {
        let message =
            b"\x08\x05\x10\xac\x02\x18\xf0\xa2\x04\x20\xab\x02\x28\x02\x32\x01/\x3a\x04/dev\
            \x42\x05tmpfs\x4a\x00\x68\x01\x92\x01\x04/dev";
        let mut bytes = [COMMON_MAGIC.to_le_bytes(), 1u32.to_le_bytes()].concat();
        bytes.extend((message.len() as u32).to_le_bytes());
        bytes.extend(message);
        bytes
    }

    #[test]
    fn the_mounts_of_an_image_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let written = Dir::open(dir.path()).unwrap();
        written
            .replace("mountpoints-12.img", &image(), 0o600)
            .unwrap();
        written.replace("core-1.img", b"x", 0o600).unwrap();
        let mounts = Images::open(dir.path()).unwrap().mounts().unwrap();
        let wanted = ImageMount {
            id: 300,
            parent: 299,
            place: "/dev".into(),
            key: Some("/dev".into()),
        };
        assert_eq!(mounts, [wanted]);
    }

    #[test]
    fn an_image_that_is_cut_short_is_an_error() {
        let bytes = image();
        for length in [0, 3, 10, bytes.len() - 1] {
            assert!(
                parse(&bytes[..length], &mut Vec::new()).is_err(),
                "{length}"
            );
        }
    }

    #[test]
    fn places_of_images_are_below_the_root() {
        assert_eq!(absolute("./dev/pts").unwrap(), Path::new("/dev/pts"));
        assert_eq!(absolute("/").unwrap(), Path::new("/"));
        assert!(absolute("/a/../../b").is_err());
    }

    #[test]
    fn images_are_made_for_their_owner_and_remember_the_streams() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let images = Images::create(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(images.descriptors().unwrap().is_empty());
        let links = vec!["/dev/null".to_owned(), "pipe:[7]".to_owned()];
        images.save_descriptors(&links).unwrap();
        assert_eq!(images.descriptors().unwrap(), links);
    }
}
