//! What to do about a refusal: its reason says what is wrong, this what would be right.

/// (pointer begins with, reason has, remedy), the first that fits.
const REMEDIES: &[(&str, &str, &str)] = &[
    ("", "is required", "add the property"),
    ("", "is there twice", "keep one of the two"),
    ("", "is none of", "use one of the words listed"),
    (
        "",
        "is not an integer",
        "write a whole number without point or exponent",
    ),
    ("", "has a NUL byte", "remove the NUL byte"),
    (
        "",
        "private mount namespace",
        "add {\"type\": \"mount\"} to /linux/namespaces",
    ),
    (
        "",
        "private MNT namespace",
        "add {\"type\": \"mount\"} to /linux/namespaces",
    ),
    (
        "",
        "private UTS namespace",
        "add {\"type\": \"uts\"} to /linux/namespaces",
    ),
    (
        "",
        "without a NET namespace",
        "add {\"type\": \"network\"} to /linux/namespaces",
    ),
    (
        "",
        "no mapping found for uid",
        "map the id in /linux/uidMappings, or run as one that is mapped",
    ),
    (
        "",
        "no mapping found for gid",
        "map the id in /linux/gidMappings, or run as one that is mapped",
    ),
    (
        "/linux/sysctl",
        "host network",
        "add {\"type\": \"network\"} to /linux/namespaces",
    ),
    (
        "/linux/sysctl",
        "hosts ipc",
        "add {\"type\": \"ipc\"} to /linux/namespaces",
    ),
    (
        "/linux/sysctl",
        "ucounts",
        "add {\"type\": \"user\"} to /linux/namespaces",
    ),
    ("/linux/sysctl", "hostname", "set /hostname instead"),
    (
        "/linux/sysctl",
        "",
        "set the parameter on the host: it belongs to no namespace",
    ),
    (
        "/linux/uidMappings",
        "isn't enabled",
        "add {\"type\": \"user\"} to /linux/namespaces",
    ),
    (
        "/linux/uidMappings",
        "both namespace path",
        "remove the mappings: the namespace has its own",
    ),
    (
        "/linux/uidMappings",
        "",
        "add mappings, or the path of a user namespace",
    ),
    (
        "/linux/gidMappings",
        "",
        "add mappings, or the path of a user namespace",
    ),
    (
        "/linux/timeOffsets",
        "isn't enabled",
        "add {\"type\": \"time\"} to /linux/namespaces",
    ),
    (
        "/linux/namespaces",
        "duplicated",
        "list every kind of namespace once",
    ),
    (
        "/linux/resources/unified",
        "needs cgroup v2",
        "use the other properties of /linux/resources",
    ),
    (
        "/linux/resources",
        "needs the cgroup controller",
        "remove the limit, or enable the controller on this host",
    ),
    (
        "/linux/resources/memory/swap",
        "without memory limit",
        "set /linux/resources/memory/limit as well",
    ),
    (
        "/linux/cgroupsPath",
        "",
        "name a cgroup below the hierarchy's root, without \"..\"",
    ),
    (
        "/linux/intelRdt",
        "",
        "remove the property, or mount resctrl on this host",
    ),
    (
        "/linux/mountLabel",
        "",
        "remove the label, or enable SELinux on this host",
    ),
    (
        "/process/selinuxLabel",
        "",
        "remove the label, or enable SELinux on this host",
    ),
    (
        "/process/apparmorProfile",
        "not supported",
        "remove the profile, or enable AppArmor on this host",
    ),
    ("/process/args", "", "name the program and its arguments"),
    (
        "/process/cwd",
        "",
        "give an absolute path in the container, such as \"/\"",
    ),
    ("/process/env", "", "write NAME=VALUE"),
    (
        "/process/rlimits",
        "above hard",
        "raise hard, or lower soft",
    ),
    ("/process/rlimits", "listed twice", "list every limit once"),
    (
        "/process/rlimits",
        "",
        "use a name of getrlimit(2), such as RLIMIT_NOFILE",
    ),
    (
        "/process",
        "property must not be empty",
        "add the process that the container runs",
    ),
    (
        "/root",
        "",
        "give the path of the unpacked image, absolute or relative to the bundle",
    ),
    (
        "/hooks",
        "absolute path",
        "give the absolute path of the hook",
    ),
    (
        "/hooks",
        "timeout",
        "give a number of seconds above zero, or remove it",
    ),
    (
        "/mounts",
        "bind mounts cannot have",
        "remove the option: it is one of the file system, which is mounted already",
    ),
    (
        "/mounts",
        "top of rootfs",
        "mount below /, or make the mount the rootfs itself",
    ),
    (
        "/mounts",
        "cannot be mounted because it is inside /proc",
        "mount somewhere else: only a few files of /proc may be covered",
    ),
    (
        "/mounts",
        "",
        "see config.md, \"Mounts\", for what the property may be",
    ),
    (
        "/linux/seccomp",
        "",
        "see config-linux.md, \"Seccomp\", for what the property may be",
    ),
    (
        "/ociVersion",
        "",
        "write the version of the specification, such as \"1.3.0\"",
    ),
    (
        "/linux",
        "",
        "see config-linux.md for what the property may be",
    ),
];

pub(super) fn of(pointer: &str, reason: &str) -> String {
    let row = REMEDIES
        .iter()
        .find(|(start, part, _)| pointer.starts_with(start) && reason.contains(part));
    row.map_or("see config.md for what the property may be", |row| row.2)
        .to_owned()
}
