//! The messages of CRIU's service (its rpc.proto, of CRIU 3 and 4): requests are written,
//! responses read, each with no more fields than are used here.

use std::os::fd::RawFd;

use anyhow::Result;

use super::protobuf::{Reader, Writer};

/// What is asked for, and what a response is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Write a process tree to images.
    Dump = 1,
    /// Bring it back.
    Restore = 2,
    /// Write its memory only.
    PreDump = 4,
    /// A stage was reached, and CRIU waits for an answer.
    Notify = 6,
    /// What can this CRIU do on this kernel?
    FeatureCheck = 9,
    /// Which CRIU is it?
    Version = 10,
}

/// Options that are on or off, by their field numbers.
#[derive(Clone, Copy, Debug)]
pub enum Flag {
    /// Do not end what was dumped.
    LeaveRunning = 3,
    /// Unix sockets with an end outside.
    ExternalUnixSockets = 4,
    /// Established TCP connections.
    TcpEstablished = 5,
    /// Sessions and terminals of the caller.
    ShellJob = 7,
    /// File locks.
    FileLocks = 8,
    /// Tell of stages.
    Notify = 12,
    /// Let the kernel note what changes from now on.
    TrackMemory = 15,
    /// Drop pages that a newer image holds.
    AutoDedup = 16,
    /// Give unlinked files a name.
    LinkRemap = 18,
    /// Look after cgroups.
    ManageCgroups = 24,
    /// The restored process is a child of CRIU's parent.
    Sibling = 26,
    /// Leave TCP connections out that are being made.
    TcpSkipInFlight = 46,
    /// Bring memory on demand.
    LazyPages = 48,
    /// Terminals whose master is outside.
    OrphanTerminals = 50,
    /// Close TCP connections.
    TcpClose = 52,
}

/// Options that are a number.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// The root of the process tree.
    Pid = 2,
    /// How much the log holds; 4 is all.
    LogLevel = 9,
    /// Directory of the log and other files, as a descriptor of the caller.
    WorkDirectory = 17,
    /// A [`CgroupMode`].
    CgroupMode = 34,
    /// `CLONE_NEW*` of namespaces whose contents are left out.
    EmptyNamespaces = 38,
    /// A [`NetworkLock`].
    NetworkLock = 64,
}

/// Options that are a string.
#[derive(Clone, Copy, Debug)]
pub enum Text {
    /// Name of the log.
    LogFile = 10,
    /// Where the root file system is mounted.
    Root = 13,
    /// Older images, seen from the images' directory.
    Parent = 14,
    /// Something that is left to the caller.
    External = 37,
    /// A cgroup to freeze.
    FreezeCgroup = 44,
    /// A configuration file that overrides all options.
    ConfigFile = 51,
    /// AppArmor profile or SELinux label of the restored processes.
    LsmProfile = 53,
    /// SELinux context of the mounts.
    LsmMountContext = 63,
}

/// Strings in pairs.
#[derive(Clone, Copy, Debug)]
pub enum Pair {
    /// A mount of the caller: key and value.
    ExternalMount = 23,
    /// A namespace to join: kind and path.
    JoinNamespace = 39,
}

/// How cgroups are treated (criu(8), "--manage-cgroups").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupMode {
    /// Not at all.
    Ignore = 0,
    /// Properties only of those that CRIU makes.
    Soft = 3,
    /// Properties of all.
    Full = 4,
    /// Properties of all, none of which may exist.
    Strict = 5,
}

/// How connections are held while they are dumped (criu(8), "--network-lock").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkLock {
    /// By iptables.
    Iptables = 1,
    /// By nftables.
    Nftables = 2,
    /// Not at all.
    Skip = 3,
}

/// `criu_opts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options(Writer);

impl Options {
    /// The images are in the directory that the caller has open as `images`.
    pub fn new(images: RawFd) -> Self {
        let mut writer = Writer::default();
        writer.number(1, images.into());
        Self(writer)
    }

    /// Switches `flag` on if it is `wanted`.
    pub fn flag(&mut self, flag: Flag, wanted: bool) {
        if wanted {
            self.0.boolean(flag as u32, true);
        }
    }

    /// Sets a number.
    pub fn number(&mut self, number: Number, value: i64) {
        self.0.number(number as u32, value);
    }

    /// Sets (or, for a list, adds) a string.
    pub fn text(&mut self, text: Text, value: &str) {
        self.0.text(text as u32, value);
    }

    /// Sends pages there instead of writing them.
    pub fn page_server(&mut self, address: &str, port: u16) {
        let mut server = Writer::default();
        server.text(1, address);
        server.number(2, port.into());
        self.0.message(11, &server);
    }

    /// Adds a pair.
    pub fn pair(&mut self, pair: Pair, first: &str, second: &str) {
        let mut writer = Writer::default();
        writer.text(1, first);
        writer.text(2, second);
        self.0.message(pair as u32, &writer);
    }

    /// The cgroup below which those of the images come: of one version 1 controller, or of all.
    pub fn cgroup_root(&mut self, controller: Option<&str>, path: &str) {
        let mut root = Writer::default();
        if let Some(controller) = controller {
            root.text(1, controller);
        }
        root.text(2, path);
        self.0.message(25, &root);
    }

    /// Takes CRIU's own descriptor `number` for what the images call `key`.
    pub fn inherit(&mut self, key: &str, number: RawFd) {
        let mut inherit = Writer::default();
        inherit.text(1, key);
        inherit.number(2, number.into());
        self.0.message(27, &inherit);
    }
}

/// What CRIU and the kernel can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// The kernel notes which pages change.
    pub track_memory: bool,
    /// Pages can be brought on demand.
    pub lazy_pages: bool,
}

/// `criu_req`: an operation with its options.
pub fn request(kind: Kind, options: &Options) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.number(1, kind as i64);
    writer.message(2, &options.0);
    writer.bytes().to_vec()
}

/// `criu_req`: a question, after which the worker waits for more.
pub fn question(kind: Kind, features: Features) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.number(1, kind as i64);
    writer.boolean(4, true);
    if kind == Kind::FeatureCheck {
        let mut asked = Writer::default();
        asked.boolean(1, features.track_memory);
        asked.boolean(2, features.lazy_pages);
        writer.message(5, &asked);
    }
    writer.bytes().to_vec()
}

/// `criu_req`: the answer to a notification.
pub fn acknowledgement(success: bool) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.number(1, Kind::Notify as i64);
    writer.boolean(3, success);
    writer.bytes().to_vec()
}

/// A stage that was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notification {
    /// Its name (criu(8), "--action-script").
    pub stage: String,
    /// Host pid of the restored root process; 0 before there is one.
    pub pid: i32,
}

/// `criu_resp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Number of the kind.
    pub kind: i32,
    /// Whether it was done.
    pub success: bool,
    /// Host pid of the restored root process; 0 if there is none.
    pub restored: i32,
    /// The stage, of a notification.
    pub notification: Option<Notification>,
    /// What it can do.
    pub features: Features,
    /// Major, minor, sub level.
    pub version: (i32, i32, i32),
}

impl Response {
    /// Reads one.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut response = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some((field, value)) = reader.next()? {
            match field {
                1 => response.kind = value.int32(),
                2 => response.success = value.boolean(),
                4 => response.restored = numbers(value.bytes())?[0],
                5 => response.notification = Some(Notification::parse(value.bytes())?),
                8 => {
                    let [track, lazy, ..] = numbers(value.bytes())?;
                    response.features = Features {
                        track_memory: track != 0,
                        lazy_pages: lazy != 0,
                    };
                }
                10 => {
                    let [major, minor, _, sub] = numbers(value.bytes())?;
                    response.version = (major, minor, sub);
                }
                _ => {}
            }
        }
        Ok(response)
    }
}

impl Notification {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let mut notification = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some((field, value)) = reader.next()? {
            match field {
                1 => notification.stage = value.text(),
                2 => notification.pid = value.int32(),
                _ => {}
            }
        }
        Ok(notification)
    }
}

/// The fields 1 to 4 of a message, as numbers; 0 for one that is missing or is none.
fn numbers(bytes: &[u8]) -> Result<[i32; 4]> {
    let mut numbers = [0; 4];
    let mut reader = Reader::new(bytes);
    while let Some((field, value)) = reader.next()? {
        if let field @ 1..=4 = field {
            numbers[field as usize - 1] = value.int32();
        }
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `protoc --encode`.
    fn hex(text: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digit).collect()
    }

    #[test]
    fn a_dump_is_written_as_protoc_writes_it() {
        let mut options = Options::new(5);
        options.number(Number::Pid, 4711);
        options.flag(Flag::LeaveRunning, true);
        options.flag(Flag::ShellJob, false);
        options.text(Text::LogFile, "dump.log");
        options.page_server("10.0.0.1", 27000);
        options.number(Number::WorkDirectory, 6);
        options.pair(Pair::ExternalMount, "/data", "/data");
        options.cgroup_root(Some("memory"), "/a");
        options.cgroup_root(None, "/b");
        options.text(Text::External, "net[4026531840]:extRootNetNS");
        options.number(Number::EmptyNamespaces, 0x4000_0000);
        options.text(Text::LsmMountContext, "c");
        options.number(Number::NetworkLock, NetworkLock::Skip as i64);
        let wanted = "08011278080510e7241801520864756d702e6c6f675a0e0a0831302e302e302e3110f8d201\
            880106ba010e0a052f6461746112052f64617461ca010c0a066d656d6f727912022f61ca010412022f62aa\
            021c6e65745b343032363533313834305d3a657874526f6f744e65744e53b0028080808004fa0301638004\
            03";
        assert_eq!(request(Kind::Dump, &options), hex(wanted));
    }

    #[test]
    fn questions_and_answers_are_written_as_protoc_writes_them() {
        assert_eq!(acknowledgement(false), hex("08061800"));
        let features = Features {
            track_memory: true,
            lazy_pages: false,
        };
        assert_eq!(
            question(Kind::FeatureCheck, features),
            hex("080920012a0408011000")
        );
        assert_eq!(question(Kind::Version, features), hex("080a2001"));
    }

    #[test]
    fn responses_of_protoc_are_read() {
        let parse = |text: &str| Response::parse(&hex(text)).unwrap();
        let restored = parse("08021001220308ac02");
        assert!(restored.success && restored.restored == 300);
        let notified = parse("080610012a100a0c706f73742d726573746f7265104d");
        let wanted = Notification {
            stage: "post-restore".into(),
            pid: 77,
        };
        assert_eq!((notified.kind, notified.notification), (6, Some(wanted)));
        let failed = parse("0801100038ffffffffffffffffff014a026e6f");
        assert!(!failed.success);
        assert_eq!(parse("080a10015209080410021a01782001").version, (4, 2, 1));
        let features = parse("08091001420408011000").features;
        assert!(features.track_memory && !features.lazy_pages);
    }
}
