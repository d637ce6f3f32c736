//! The table of the docs: rows are capabilities, columns are servers. Reasons stand below it, numbered.

use anyhow::{Context, Result, bail, ensure};
use skidder_tests::servers::Release;

use super::Verdict;
use super::capabilities::CAPABILITIES;

/// The page with the table, in the workspace.
pub(crate) const PAGE: &str = "docs/compatibility.md";
const BEGIN: &str = "<!-- matrix:begin -->\n";
const END: &str = "<!-- matrix:end -->\n";

/// Verdicts by capability.
#[derive(Debug)]
pub(crate) struct Table {
    servers: Vec<String>,
    rows: Vec<Vec<String>>,
    reasons: Vec<String>,
}

impl Table {
    /// The table of what each server (a column) answered to each capability.
    pub(crate) fn new(releases: &[Release], columns: &[Vec<Verdict>]) -> Self {
        let mut reasons: Vec<String> = Vec::new();
        let mut rows = Vec::new();
        for row in 0..CAPABILITIES.len() {
            let mut cells = Vec::new();
            for column in columns {
                cells.push(match &column[row] {
                    Verdict::Yes => "yes".to_owned(),
                    Verdict::No(reason) => {
                        let known = reasons.iter().position(|each| each == reason);
                        let number = known.unwrap_or_else(|| {
                            reasons.push(reason.clone());
                            reasons.len() - 1
                        });
                        format!("no ({})", number + 1)
                    }
                });
            }
            rows.push(cells);
        }
        Self {
            servers: releases.iter().map(heading).collect(),
            rows,
            reasons,
        }
    }

    /// The table in Markdown.
    pub(crate) fn text(&self) -> String {
        let mut lines = vec![
            format!("| | {} |", self.servers.join(" | ")),
            format!("|---|{}", "---|".repeat(self.servers.len())),
        ];
        for (capability, cells) in CAPABILITIES.iter().zip(&self.rows) {
            lines.push(format!("| {} | {} |", capability.name, cells.join(" | ")));
        }
        if !self.reasons.is_empty() {
            lines.push(String::new());
        }
        let reasons = self.reasons.iter().enumerate();
        lines.extend(reasons.map(|(number, reason)| format!("{}. {reason}", number + 1)));
        lines.join("\n") + "\n"
    }
}

fn heading(release: &Release) -> String {
    format!("{} {}", release.product.name(), release.version)
}

/// The page with this table in the place of the one it has.
pub(crate) fn put_into(page: &str, table: &str) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).context("no begin of the table")?;
    let (_, after) = rest.split_once(END).context("no end of the table")?;
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

/// Whether the page's table has a column for every server, a row for every capability, and a verdict in each cell.
pub(crate) fn verify(page: &str, releases: &[Release]) -> Result<()> {
    const HOW: &str = "run the command of tests/tests/matrix/main.rs";
    let (_, rest) = page.split_once(BEGIN).context("no begin of the table")?;
    let (table, _) = rest.split_once(END).context("no end of the table")?;
    let mut lines = table.lines();
    let servers = cells(lines.next().unwrap_or_default());
    let wanted: Vec<String> = releases.iter().map(heading).collect();
    ensure!(
        servers.get(1..) == Some(&wanted[..]),
        "the table has the servers {servers:?}, not {wanted:?}: {HOW}"
    );
    let rows: Vec<Vec<String>> = lines
        .by_ref()
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .collect();
    let reasons = lines.filter(|line| line.contains(". ")).count();
    let names: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    let wanted: Vec<&str> = CAPABILITIES.iter().map(|each| each.name).collect();
    ensure!(
        names == wanted,
        "the table has the rows {names:?}, not {wanted:?}: {HOW}"
    );
    for row in rows {
        ensure!(row.len() == servers.len(), "{row:?} is not of all servers");
        for cell in &row[1..] {
            let number = cell
                .strip_prefix("no (")
                .and_then(|it| it.strip_suffix(')'));
            let has_reason = number
                .and_then(|number| number.parse::<usize>().ok())
                .is_some_and(|number| (1..=reasons).contains(&number));
            if cell != "yes" && !has_reason {
                bail!("`{cell}` in the row `{}` is no verdict: {HOW}", row[0]);
            }
        }
    }
    Ok(())
}

fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
    inner
        .split('|')
        .map(|cell| cell.trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use skidder_tests::servers::{ELASTICSEARCH_8, OPENSEARCH_2};

    use super::*;

    const RELEASES: [Release; 2] = [OPENSEARCH_2, ELASTICSEARCH_8];

    #[test]
    fn a_table_is_put_in_the_place_of_another_and_verified() {
        let mut columns = vec![vec![Verdict::Yes; CAPABILITIES.len()]; 2];
        columns[1][3] = Verdict::No("because".to_owned());
        let table = Table::new(&RELEASES, &columns).text();
        let page = format!("a\n{BEGIN}OLD TABLE\n{END}b\n");
        let page = put_into(&page, &table).unwrap();
        assert!(page.starts_with("a\n") && page.ends_with("b\n") && !page.contains("OLD TABLE"));
        assert!(page.contains("| yes | no (1) |\n") && page.contains("1. because\n"));
        verify(&page, &RELEASES).unwrap();
    }

    #[test]
    fn a_stale_table_is_refused() {
        let columns = vec![vec![Verdict::Yes; CAPABILITIES.len()]; 2];
        let table = Table::new(&RELEASES, &columns).text();
        let page = put_into(&format!("{BEGIN}{END}"), &table).unwrap();
        verify(&page, &RELEASES).unwrap();
        verify(&page, &RELEASES[..1]).unwrap_err();
        let first = CAPABILITIES[0].name;
        for (from, to) in [
            (first, "something else"),
            ("| yes | yes |\n", "| yes | |\n"),
            ("| yes | yes |\n", "| yes | no (1) |\n"),
        ] {
            let stale = page.replacen(from, to, 1);
            assert_ne!(stale, page);
            verify(&stale, &RELEASES).unwrap_err();
        }
    }
}
