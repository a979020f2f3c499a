//! Lists whose version does not have a command: their plugins are not asked, which looks like
//! success, so whoever asks by hand is told.

use cni::Command;
use libcni::NetworkList;

use crate::note;

/// One line for all of `lists` whose plugins are not asked for `command`; none if they all are.
pub fn tell<'a>(lists: impl IntoIterator<Item = &'a NetworkList>, command: Command) {
    if let Some(line) = line(lists, command) {
        note(&line);
    }
}

fn line<'a>(lists: impl IntoIterator<Item = &'a NetworkList>, command: Command) -> Option<String> {
    let old = lists.into_iter().filter(|list| !list.has(command));
    let named = old.map(|list| format!("{:?} (CNI {})", list.name.as_str(), list.cni_version));
    let named: Vec<_> = named.collect();
    let since = command.since();
    (!named.is_empty()).then(|| {
        format!(
            "{command}: not asked are the plugins of network {}, as CNI {since} brought it: add \
             \"cniVersions\": [\"{since}\"] to the list if they speak that (davit-cni validate tells)",
            named.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(name: &str, version: &str) -> NetworkList {
        let json =
            format!(r#"{{"name":"{name}","cniVersion":"{version}","plugins":[{{"type":"p"}}]}}"#);
        NetworkList::parse(json.as_bytes(), None).unwrap()
    }

    #[test]
    fn every_list_that_is_too_old_is_named_with_its_version_in_one_line() {
        let lists = [list("a", "0.4.0"), list("b", "1.1.0"), list("c", "1.0.0")];
        let line = line(&lists, Command::Gc).unwrap();
        assert!(
            line.starts_with(
                "GC: not asked are the plugins of network \"a\" (CNI 0.4.0), \"c\" (CNI 1.0.0), as"
            ),
            "{line}"
        );
        assert!(line.contains(r#"add "cniVersions": ["1.1.0"]"#) && !line.contains('\n'));
        assert_eq!(super::line(&lists[1..2], Command::Status), None);
        assert_eq!(super::line(&lists, Command::Add), None);
    }
}
