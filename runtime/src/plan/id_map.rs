//! Id-mapped mounts: `uidMappings` and `gidMappings` of a mount, and the options `idmap` and
//! `ridmap`, with crun's own way of writing mappings into them.

use sys::mount::Reach;

use super::IdMaps;
use super::namespaces::IdRange;

/// The ids that a mount shows in place of those of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMapping {
    /// From ids of the file system to ids of the host; `None`: as the container's user namespace
    /// maps them.
    pub maps: Option<IdMaps>,
    /// Whether mounts below are mapped, too.
    pub reach: Reach,
}

/// The option `idmap` or `ridmap`, and what follows its `=`.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Which of the two.
    pub reach: Reach,
    /// `uids=0-1000-10#...;gids=...`, if given.
    pub text: Option<&'a str>,
}

/// What `asked` and the properties of the mount come to; none if neither speaks of it.
///
/// `container` are the maps of a user namespace that is made for the container, if one is, and
/// `in_namespace` whether it is in another than the runtime's at all.
pub fn plan(
    asked: Option<Asked<'_>>,
    listed: IdMaps,
    container: Option<&IdMaps>,
    in_namespace: bool,
) -> Result<Option<IdMapping>, String> {
    let given = !listed.uids.is_empty() || !listed.gids.is_empty();
    if asked.is_none() && !given {
        return Ok(None);
    }
    let reach = asked.map_or(Reach::One, |asked| asked.reach);
    let maps = match asked.and_then(|asked| asked.text) {
        Some(_) if given => {
            return Err("mappings are given twice, as option and as property".into());
        }
        Some(text) => Some(read(text, container)?),
        None if given => Some(listed),
        None if in_namespace => None,
        None => {
            return Err("no mappings are given, and the container has no user namespace".into());
        }
    };
    if maps
        .as_ref()
        .is_some_and(|maps| maps.uids.is_empty() || maps.gids.is_empty())
    {
        return Err("id-mapped mounts must have both uid and gid mappings specified".into());
    }
    Ok(Some(IdMapping { maps, reach }))
}

fn read(text: &str, container: Option<&IdMaps>) -> Result<IdMaps, String> {
    let mut maps = IdMaps::default();
    for part in text.split(';').filter(|part| !part.is_empty()) {
        let (which, ranges) = part.split_once('=').unwrap_or((part, ""));
        let (list, relative_to) = match which {
            "uids" => (&mut maps.uids, container.map(|maps| &maps.uids)),
            "gids" => (&mut maps.gids, container.map(|maps| &maps.gids)),
            _ => return Err(format!("{which:?} is neither uids nor gids")),
        };
        for range in ranges.split('#').filter(|range| !range.is_empty()) {
            list.push(read_range(range, relative_to.map(Vec::as_slice))?);
        }
    }
    Ok(maps)
}

/// `FILE-HOST-COUNT`; with `@` in front HOST is an id of the container.
fn read_range(text: &str, container: Option<&[IdRange]>) -> Result<IdRange, String> {
    let bare = text.strip_prefix('@');
    let mut numbers = bare.unwrap_or(text).split('-').map(str::parse::<u32>);
    let (Some(Ok(inside)), Some(Ok(outside)), Some(Ok(size)), None) = (
        numbers.next(),
        numbers.next(),
        numbers.next(),
        numbers.next(),
    ) else {
        return Err(format!("{text:?} is not FILE-HOST-COUNT"));
    };
    if size == 0
        || inside.checked_add(size - 1).is_none()
        || outside.checked_add(size - 1).is_none()
    {
        return Err(format!("{text:?} is no range of ids"));
    }
    if bare.is_none() {
        return Ok(IdRange {
            inside,
            outside,
            size,
        });
    }
    let Some(container) = container else {
        return Err(format!(
            "{text:?} is relative to mappings that the configuration does not list"
        ));
    };
    let first = IdMaps::outside(container, outside);
    let last = IdMaps::outside(container, outside + (size - 1));
    match (first, last) {
        (Some(first), Some(last)) if last.checked_sub(first) == Some(size - 1) => Ok(IdRange {
            inside,
            outside: first,
            size,
        }),
        _ => Err(format!(
            "{text:?} is not within one range of /linux/uidMappings or gidMappings"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(inside: u32, outside: u32, size: u32) -> IdRange {
        IdRange {
            inside,
            outside,
            size,
        }
    }

    fn asked(text: &str) -> Option<Asked<'_>> {
        Some(Asked {
            reach: Reach::One,
            text: Some(text),
        })
    }

    #[test]
    fn crun_s_way_of_writing_it_is_read() {
        let text = "uids=0-1-10#10-11-10;gids=0-100-10";
        let mapping = plan(asked(text), IdMaps::default(), None, false);
        let maps = mapping.unwrap().unwrap().maps.unwrap();
        assert_eq!(maps.uids, [range(0, 1, 10), range(10, 11, 10)]);
        assert_eq!(maps.gids, [range(0, 100, 10)]);
    }

    #[test]
    fn a_relative_range_starts_where_the_container_s_id_is() {
        let container = IdMaps {
            uids: vec![range(0, 0, 1), range(1, 2, 1000)],
            gids: vec![range(0, 0, 1)],
        };
        let read = |text| plan(asked(text), IdMaps::default(), Some(&container), true);
        let maps = read("uids=@1-3-10;gids=@0-0-1")
            .unwrap()
            .unwrap()
            .maps
            .unwrap();
        assert_eq!(maps.uids, [range(1, 4, 10)]);
        assert!(
            read("uids=@0-0-2;gids=0-0-1").is_err(),
            "over the end of a range"
        );
        assert!(
            plan(
                asked("uids=@0-0-1;gids=0-0-1"),
                IdMaps::default(),
                None,
                true
            )
            .is_err()
        );
    }

    #[test]
    fn what_is_no_mapping_is_refused() {
        for text in [
            "",
            "uids=0-0-1",
            "uids=0-0;gids=0-0-1",
            "uids=0-0-0;gids=0-0-1",
            "x=0-0-1",
            "uids=0-0-1-1;gids=0-0-1",
            "uids=4294967295-0-2;gids=0-0-1",
            "uids=a-0-1;gids=0-0-1",
        ] {
            assert!(
                plan(asked(text), IdMaps::default(), None, true).is_err(),
                "{text:?}"
            );
        }
    }

    #[test]
    fn without_mappings_the_container_s_user_namespace_is_needed() {
        let plain = Some(Asked {
            reach: Reach::Recursive,
            text: None,
        });
        assert!(plan(plain, IdMaps::default(), None, false).is_err());
        let implied = plan(plain, IdMaps::default(), None, true).unwrap().unwrap();
        assert_eq!((implied.maps, implied.reach), (None, Reach::Recursive));
        assert_eq!(plan(None, IdMaps::default(), None, true), Ok(None));
        let listed = IdMaps {
            uids: vec![range(0, 0, 1)],
            gids: Vec::new(),
        };
        assert!(plan(None, listed, None, true).is_err());
    }
}
