//! What the man page and `--help` say beside the options.

/// Annotations, files and environment.
pub const TEXT: &str = "\
Annotations of a bundle:
  org.davit.networks     networks, commas between: NAME[:ip=..][,mac=..][,alias=..]
  org.davit.ports        [hostIP:]hostPort:containerPort[/tcp|udp|sctp], commas between
  org.davit.ip, .mac     addresses on the first network
  org.davit.name         the container's name for its neighbours (default: its ID)
  org.davit.aliases      further names on all its networks
  org.davit.hosts        extra hosts NAME:ADDRESS, commas between
  org.davit.dns, .dns-search, .dns-options   for resolv.conf

Files:
  /etc/cni/net.d         network configurations: *.conflist, *.conf, *.json
  /opt/cni/bin, /usr/local/libexec/cni       plugins
  /var/lib/cni/results   what is attached, in the files of Go's libcni
  /run/davit-cni         records of containers, and what plugins remember until a reboot

Environment:
  NETCONFPATH, CNI_PATH, DAVIT_CNI_CACHE_DIR, DAVIT_CNI_STATE_DIR   the directories above
  CNI_IFNAME, CNI_ARGS, CAP_ARGS             for commands by hand, as cnitool takes them
  DAVIT_CNI_LOG=json     each plugin says on stderr what it did

Examples:
  davit-cni add front /run/netns/web         attach a namespace by hand
  davit-cni list                             what is attached, and what is dead
  davit-cni inspect                          everything as it is, and what differs
  davit-cni network create front             a network with a free subnet
  davit-cni inject --network front BUNDLE    a bundle gets it, under any runtime
  davit-cni gc --dry-run                     what is left over, and why
";
