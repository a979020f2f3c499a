//! [`Lan`]: a bridge with a real DHCP server (dnsmasq in a namespace of its own) and the daemon of
//! the subject. Both are started by the row and end with its host.

use serde_json::{Value, json};

use crate::attachment::Attachment;
use crate::case::Case;
use crate::row::{Side, Verdict, ensure};

/// The surroundings of a row about leases.
pub(crate) struct Lan<'a> {
    pub(crate) case: &'a Case<'a>,
    pub(crate) at: Attachment,
}

/// What the server gives in most rows: a lease of two minutes, its shortest.
pub(crate) const RANGE: &str = "--dhcp-range=10.9.0.50,10.9.0.199,255.255.255.0,120";
/// Has renewal begin after three seconds, the soonest that dnsmasq lets it.
pub(crate) const RENEW_SOON: &str = "--dhcp-option-force=58,3 --dhcp-option-force=59,60";

/// Tries for as long as a row may wait for a message.
const PATIENCE: &str = "$(seq 150)";

impl<'a> Lan<'a> {
    /// The wire: br0 of the host, the server's namespace, the container `c1` with its eth0 down.
    pub(crate) fn lay(case: &'a Case<'a>) -> Verdict<Self> {
        let at = case.sandbox("c1")?;
        case.sh("ip link add br0 type bridge; ip link set br0 up
             ip netns add srv; ip -n srv link set lo up
             ip link add s0 type veth peer name eth0 netns srv; ip link set s0 master br0 up
             ip -n srv link set eth0 up; ip -n srv addr add 10.9.0.1/24 dev eth0
             ip -n srv addr add fd09::1/64 dev eth0 nodad")?;
        let lan = Self { case, at };
        lan.plug("c1", "eth0")?;
        Ok(lan)
    }

    /// The wire, the server and the daemon.
    pub(crate) fn start(case: &'a Case<'a>, server: &str) -> Verdict<Self> {
        let lan = Self::lay(case)?;
        lan.serve(&format!("{RANGE} {server}"))?;
        lan.daemon("")?;
        Ok(lan)
    }

    /// Another interface of a namespace on the same wire.
    pub(crate) fn plug(&self, netns: &str, ifname: &str) -> Verdict {
        let outside = format!("h{netns}{ifname}");
        self.case.sh(&format!(
            "ip link add {outside} type veth peer name {ifname} netns {netns}
             ip link set {outside} master br0 up"
        ))?;
        Ok(())
    }

    /// Starts the server with these options; it answers at once and writes down what it does.
    pub(crate) fn serve(&self, options: &str) -> Verdict {
        self.case.sh(&format!(
            "ip netns exec srv dnsmasq --conf-file=/dev/null --port=0 --interface=eth0 \
             --bind-interfaces --user=root --no-ping --dhcp-authoritative --log-dhcp \
             --log-facility={} --pid-file=/run/dnsmasq.pid --dhcp-leasefile=/run/dnsmasq.leases \
             {options}",
            self.log_file()
        ))?;
        Ok(())
    }

    /// Ends the server and what it knows.
    pub(crate) fn stop_serving(&self) -> Verdict {
        let script = "kill $(cat /run/dnsmasq.pid); rm -f /run/dnsmasq.leases; sleep 0.2";
        self.case.sh(script).map(drop)
    }

    /// Starts the subject's daemon and waits until it listens. That the socket is there says
    /// nothing: a killed daemon leaves its own.
    pub(crate) fn daemon(&self, flags: &str) -> Verdict {
        self.spawn_daemon("", flags)?;
        let socket = self.socket();
        let script = format!(
            "for i in {PATIENCE}; do
                 grep -q '00010000 .* {socket}$' /proc/net/unix && exit 0
                 kill -0 $(cat /run/daemon) || exit 1; sleep 0.1
             done; exit 1"
        );
        ensure!(
            self.case.holds(&script)?,
            "nobody listens: {}",
            self.daemon_log()?
        );
        Ok(())
    }

    /// Starts the subject's daemon behind `words` (a launcher) and does not wait.
    pub(crate) fn spawn_daemon(&self, words: &str, flags: &str) -> Verdict {
        let path = self.case.target(Side::Cni)?;
        let env = self.case.subject.env.iter();
        let word = |(name, value): &(String, String)| {
            format!("{name}={} ", testbed::invocation::quoted(value))
        };
        let env: String = env.map(word).collect();
        self.case.sh(&format!(
            "{env} {words} {}/dhcp daemon -socketpath {} {flags} >>{} 2>&1 </dev/null &
             echo $! >/run/daemon",
            path.display(),
            self.socket(),
            self.case.path("daemon.log"),
        ))?;
        Ok(())
    }

    /// Sends the daemon a signal and waits for its end.
    pub(crate) fn end_daemon(&self, signal: &str) -> Verdict {
        let script = format!(
            "kill -{signal} $(cat /run/daemon)
             for i in {PATIENCE}; do kill -0 $(cat /run/daemon) 2>/dev/null || exit 0; sleep 0.1; done
             exit 1"
        );
        ensure!(
            self.case.holds(&script)?,
            "the daemon does not end on SIG{signal}"
        );
        Ok(())
    }

    /// Whether the daemon is there.
    pub(crate) fn daemon_lives(&self) -> Verdict<bool> {
        self.case.holds("kill -0 $(cat /run/daemon)")
    }

    pub(crate) fn socket(&self) -> String {
        self.case.path("run/dhcp.sock")
    }

    fn log_file(&self) -> String {
        self.case.path("server.log")
    }

    /// What the server has written down.
    pub(crate) fn log(&self) -> Verdict<String> {
        self.case
            .sh(&format!("cat {} 2>/dev/null || :", self.log_file()))
    }

    pub(crate) fn daemon_log(&self) -> Verdict<String> {
        self.case.sh(&format!(
            "cat {} 2>/dev/null || :",
            self.case.path("daemon.log")
        ))
    }

    /// How many messages of a kind (`DHCPDISCOVER`) the server has seen or sent.
    pub(crate) fn count(&self, kind: &str) -> Verdict<usize> {
        let word = format!(" {kind}(");
        Ok(self.log()?.matches(&word).count())
    }

    /// Waits until the server has seen or sent that many.
    pub(crate) fn awaits(&self, kind: &str, count: usize) -> Verdict {
        let file = self.log_file();
        let script = format!(
            "for i in {PATIENCE}; do
                 [ $(grep -c ' {kind}(' {file} 2>/dev/null) -ge {count} ] && exit 0; sleep 0.1
             done; exit 1"
        );
        let came = self.case.holds(&script)?;
        ensure!(
            came,
            "the server has not seen {count} {kind}; it says\n{}\nand the daemon says\n{}",
            self.log()?,
            self.daemon_log()?
        );
        Ok(())
    }

    /// A network whose IPAM is the subject, asking the row's daemon; `more` are keys of ipam.
    pub(crate) fn conf(&self, more: &Value) -> Value {
        let mut ipam = json!({ "type": "dhcp", "daemonSocketPath": self.socket() });
        let more = more.as_object().cloned().unwrap_or_default();
        more.into_iter().for_each(|(key, value)| ipam[key] = value);
        json!({ "cniVersion": "1.0.0", "name": "net", "type": "dhcp", "ipam": ipam })
    }

    /// Gives the container what ADD answered, as the main plugin would.
    pub(crate) fn configure(&self, result: &Value) -> Verdict {
        for ip in result["ips"].as_array().into_iter().flatten() {
            let address = ip["address"].as_str().unwrap_or_default();
            self.case
                .inside(&self.at, &format!("ip addr add {address} dev eth0"))?;
        }
        Ok(())
    }

    /// The IPv4 addresses of the container's eth0.
    pub(crate) fn addresses(&self) -> Verdict<String> {
        let script = "ip -o -4 addr show dev eth0 | sed 's/.* inet \\([^ ]*\\).*/\\1/'";
        self.case.inside(&self.at, script)
    }
}
