//! `list`: all containers below `--root`.

use std::fmt::Write;

use anyhow::{Context, Result};

use crate::container::Container;
use crate::operations::state::Shown;
use crate::state_dir::StateRoot;

/// Shape of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Columns.
    Table,
    /// A JSON array, `null` if there are none, as runc prints it.
    Json,
    /// One id a line.
    Quiet,
}

/// The containers, as printed.
pub fn run(root: &StateRoot, format: Format) -> Result<String> {
    let ids = root.ids()?;
    if format == Format::Quiet {
        return Ok(ids.iter().map(|id| format!("{id}\n")).collect());
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut shown = Vec::with_capacity(ids.len());
    for id in &ids {
        let found = Container::open(root, id).and_then(|container| {
            let owner = container.record.as_ref().map_or(0, |record| record.owner);
            Ok((owner, Shown::new(&container)?))
        });
        match found {
            Ok((owner, found)) => shown.push(Shown {
                owner: user_name(&passwd, owner),
                ..found
            }),
            // Deleted meanwhile, or broken: the others are shown all the same.
            Err(error) => crate::log::warn(&format!("load container {id}: {error:#}")),
        }
    }
    match format {
        Format::Json if shown.is_empty() => Ok("null\n".into()),
        Format::Json => Ok(serde_json::to_string(&shown).context("encode the list")? + "\n"),
        Format::Table | Format::Quiet => Ok(table(&shown)),
    }
}

fn user_name(passwd: &str, uid: u32) -> String {
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}

/// Columns at least 12 wide, three blanks between, as runc has them.
fn table(shown: &[Shown]) -> String {
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let row = |one: &Shown| {
        let bundle = one.bundle.display().to_string();
        [
            one.id.clone(),
            one.pid.to_string(),
            one.status.to_owned(),
            bundle,
            one.created.clone(),
            one.owner.clone(),
        ]
    };
    let rows: Vec<[String; 6]> = std::iter::once(header)
        .chain(shown.iter().map(row))
        .collect();
    let width = |column: usize| {
        let longest = rows
            .iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0);
        (longest + 3).max(12)
    };
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(text, "{cell:width$}");
        }
        text.push_str(&row[5]);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_table_is_its_header() {
        let expected = "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n";
        assert_eq!(table(&[]), expected);
    }

    #[test]
    fn a_user_without_a_name_is_a_number() {
        assert_eq!(user_name("root:x:0:0::/root:/bin/sh\n", 0), "root");
        assert_eq!(user_name("root:x:0:0::/root:/bin/sh\n", 7), "#7");
    }
}
