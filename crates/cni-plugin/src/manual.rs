//! [`Manual`]: what a plugin tells a person, in `--help` and, by `crates/manual`, in its man page.

use std::fmt::Write;

/// A plugin's manual.
#[derive(Clone, Copy, Debug)]
pub struct Manual {
    /// What it does, in less than a line: `connects a container to a Linux bridge`.
    pub summary: &'static str,
    /// What one has to know to use it. Paragraphs are separated by an empty line.
    pub description: &'static str,
    /// Its keys of the network configuration, those of `ipam` as `ipam.subnet`.
    pub keys: &'static [Key],
    /// A whole network configuration that works.
    pub example: &'static str,
}

/// A key of the network configuration: its name, its type with the default, its meaning.
pub type Key = (&'static str, &'static str, &'static str);

/// The variables that every plugin reads: name, and what a person sets it to.
pub const VARIABLES: [(&str, &str); 8] = [
    ("CNI_COMMAND", "ADD, DEL, CHECK, GC, STATUS or VERSION"),
    ("CNI_CONTAINERID", "the container's id"),
    (
        "CNI_NETNS",
        "path of its network namespace: /run/netns/NAME, /proc/PID/ns/net",
    ),
    ("CNI_IFNAME", "name of the interface inside it: eth0"),
    (
        "CNI_ARGS",
        "KEY=VALUE;KEY=VALUE, where a plugin takes them; IgnoreUnknown=1 lets others pass",
    ),
    (
        "CNI_PATH",
        "directories in which plugins are found, with : between",
    ),
    (
        "CNI_NETNS_OVERRIDE",
        "1: the plugin's own namespace may be the container's",
    ),
    (
        crate::log::VARIABLE,
        "json: a line on standard error for every call",
    ),
];

impl Manual {
    /// The text of `--help`, below the banner.
    pub fn help(&self, name: &str) -> String {
        let mut text = format!("\n{name} {}\n\n{}\n", self.summary, self.description);
        text.push_str("\nEnvironment (CNI SPEC section 2, and our own):\n");
        for (variable, meaning) in VARIABLES {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {variable:<16} {meaning}");
        }
        if !self.keys.is_empty() {
            text.push_str("\nKeys of the network configuration on standard input:\n");
        }
        for (key, kind, meaning) in self.keys {
            let _ = writeln!(text, "  {key} ({kind})\n      {meaning}");
        }
        let (example, by_hand) = (self.example.trim_end(), self.by_hand(name));
        let _ = write!(text, "\nExample:\n{example}\n\nBy hand:\n{by_hand}\n");
        text
    }

    /// How a person runs the example: a list through davit-cni, a single plugin by itself.
    pub fn by_hand(&self, name: &str) -> String {
        if self.example.contains("\"plugins\"") {
            return "  davit-cni add mynet /run/netns/c1     # the list above is DIR/mynet.conflist;\n  \
                    # with NETCONFPATH=DIR and CNI_PATH=DIRECTORY in the environment"
                .into();
        }
        // An IPAM plugin is executed by the plugin that makes the interface.
        let kind = self.example.split("\"type\": \"").nth(1);
        let executed = kind.and_then(|rest| rest.split('"').next());
        let executed = executed.unwrap_or(name);
        format!(
            "  CNI_COMMAND=ADD CNI_CONTAINERID=c1 CNI_NETNS=/run/netns/c1 CNI_IFNAME=eth0 \\\n  \
             CNI_PATH=DIRECTORY {executed} < FILE"
        )
    }
}
