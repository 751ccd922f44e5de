//! The same paths in several environments: a table of path and environment, in which those paths
//! come first that differ, with the guests' checks by which they do.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::rc::Rc;

use serde_json::{Value, json};

use crate::guests::PartKind;
use crate::harness::outcome::{Outcome, Verdict};
use crate::harness::report::{Output, Summary};
use crate::shown::shown;

/// One path in one environment.
#[derive(Debug, Clone, Default)]
struct Cell {
    word: &'static str,
    message: String,
    /// The results of a guest's checks, by what tells them from others in every run.
    checks: BTreeMap<String, PartKind>,
}

/// The table.
#[derive(Debug, Clone, Default)]
pub struct Matrix {
    /// The environments, in the order in which they come.
    columns: Vec<String>,
    rows: BTreeMap<String, BTreeMap<usize, Cell>>,
}

/// A path that differs between environments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differing {
    /// The path.
    pub name: String,
    /// The words for its outcomes, by environment; empty where there is none.
    pub words: Vec<&'static str>,
    /// The first line that was said of each.
    pub messages: Vec<String>,
    /// The checks that differ, each with its result in every environment.
    pub checks: Vec<(String, Vec<Option<PartKind>>)>,
}

impl Matrix {
    /// A table with these columns, in which further ones may come.
    pub fn new(columns: Vec<String>) -> Self {
        Self { columns, rows: BTreeMap::new() }
    }

    /// Takes in an outcome; not that of a path that was stopped, which says nothing of its
    /// environment.
    pub fn add(&mut self, outcome: &Outcome) {
        if outcome.verdict == Verdict::Stopped {
            return;
        }
        let environment = environment_of(&outcome.emulator);
        let column = match self.columns.iter().position(|it| it == environment) {
            Some(column) => column,
            None => {
                self.columns.push(environment.to_owned());
                self.columns.len() - 1
            }
        };
        let mut checks = BTreeMap::new();
        let mut times = BTreeMap::<String, usize>::new();
        for part in &outcome.parts {
            let key = part.key();
            let time = times.entry(key.clone()).or_default();
            *time += 1;
            let key = if *time == 1 { key } else { format!("{key} ({time})") };
            checks.insert(key, part.result);
        }
        let message = outcome.verdict.message().lines().next().unwrap_or_default().to_owned();
        let cell = Cell { word: outcome.verdict.word(), message, checks };
        self.rows.entry(outcome.name.clone()).or_default().insert(column, cell);
    }

    /// The names of the environments.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The paths that differ, by their names.
    pub fn differing(&self) -> Vec<Differing> {
        self.rows.iter().filter_map(|(name, cells)| self.differs(name, cells)).collect()
    }

    fn differs(&self, name: &str, cells: &BTreeMap<usize, Cell>) -> Option<Differing> {
        let all = |of: &dyn Fn(&Cell) -> String| -> Vec<String> {
            (0..self.columns.len()).map(|it| cells.get(&it).map_or(String::new(), of)).collect()
        };
        let words = (0..self.columns.len()).map(|it| cells.get(&it).map_or("", |cell| cell.word));
        let words: Vec<&'static str> = words.collect();
        let mut keys: Vec<&String> = cells.values().flat_map(|cell| cell.checks.keys()).collect();
        keys.sort();
        keys.dedup();
        let row = |key: &String| {
            let result = |it| cells.get(&it).and_then(|cell| cell.checks.get(key).copied());
            let results: Vec<_> = (0..self.columns.len()).map(result).collect();
            // Where there are no checks at all, the outcome says why.
            let with = cells.iter().filter(|(_, cell)| !cell.checks.is_empty());
            let mut told = with.map(|(column, _)| results[*column]);
            let first = told.next()?;
            told.any(|it| it != first).then(|| (key.clone(), results))
        };
        let checks: Vec<_> = keys.into_iter().filter_map(row).collect();
        let mut told = cells.values().map(|cell| cell.word);
        let first = told.next()?;
        if told.all(|word| word == first) && checks.is_empty() {
            return None;
        }
        let messages = all(&|cell| cell.message.clone());
        Some(Differing { name: name.to_owned(), words, messages, checks })
    }

    /// The words for the outcomes of every path, by environment; empty where there is none.
    pub fn words(&self) -> impl Iterator<Item = (&str, Vec<&'static str>)> {
        self.rows.iter().map(|(name, cells)| {
            let word = |it| cells.get(&it).map_or("", |cell| cell.word);
            (name.as_str(), (0..self.columns.len()).map(word).collect())
        })
    }

    /// The table for people: what differs first, then how many paths went how in each
    /// environment.
    pub fn text(&self) -> String {
        const MOST_CHECKS: usize = 10;
        let differing = self.differing();
        let mut text = String::new();
        for (number, column) in self.columns.iter().enumerate() {
            text.push_str(&format!("  ({}) {}\n", number + 1, shown(column)));
        }
        text.push_str(&format!(
            "{} of {} paths differ between environments{}\n",
            differing.len(),
            self.rows.len(),
            if differing.is_empty() { "" } else { ":" }
        ));
        for row in &differing {
            text.push_str(&format!("  {}\n", shown(&row.name)));
            for (number, word) in row.words.iter().enumerate().filter(|(_, it)| !it.is_empty()) {
                let message = shown(&row.messages[number]);
                let colon = if message.is_empty() { "" } else { ": " };
                text.push_str(&format!("      ({}) {word}{colon}{message}\n", number + 1));
            }
            for (check, results) in row.checks.iter().take(MOST_CHECKS) {
                text.push_str(&format!("      {}: {}\n", shown(check), in_columns(results)));
            }
            if row.checks.len() > MOST_CHECKS {
                let more = row.checks.len() - MOST_CHECKS;
                text.push_str(&format!("      … and {more} more checks; --table has them all\n"));
            }
        }
        text
    }

    /// The whole table as data.
    pub fn json(&self) -> Value {
        let result = |kind: &Option<PartKind>| kind.map(PartKind::word);
        let differing: Vec<Value> = self
            .differing()
            .iter()
            .map(|row| {
                let check = |(name, results): &(String, Vec<Option<PartKind>>)| {
                    json!({ "check": name, "results": results.iter().map(result).collect::<Vec<_>>() })
                };
                json!({
                    "name": row.name,
                    "outcomes": row.words,
                    "messages": row.messages,
                    "checks": row.checks.iter().map(check).collect::<Vec<_>>(),
                })
            })
            .collect();
        let row = |(name, cells): (&String, &BTreeMap<usize, Cell>)| {
            let word = |it| cells.get(&it).map(|cell| cell.word);
            json!({ "name": name, "outcomes": (0..self.columns.len()).map(word).collect::<Vec<_>>() })
        };
        json!({
            "environments": self.columns,
            "differing": differing,
            "paths": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

/// The environment in the name that outcomes give an emulator; the emulator where none is named.
fn environment_of(emulator: &str) -> &str {
    let named = emulator.strip_suffix(']').and_then(|it| it.rsplit_once(" ["));
    named.map_or(emulator, |(_, environment)| environment)
}

/// The results of a check, by the numbers of the environments.
fn in_columns(results: &[Option<PartKind>]) -> String {
    let told = results
        .iter()
        .zip(1..)
        .map(|(result, number)| format!("({number}) {}", result.map_or("-", PartKind::word)));
    told.collect::<Vec<_>>().join(" ")
}

/// Gathers the table, and writes it to standard output behind everything else.
pub struct MatrixOutput {
    matrix: Rc<RefCell<Matrix>>,
    is_told: bool,
}

impl MatrixOutput {
    /// Gathers into `matrix`; it is written to standard output if `is_told`.
    pub fn new(matrix: Rc<RefCell<Matrix>>, is_told: bool) -> Self {
        Self { matrix, is_told }
    }
}

impl Output for MatrixOutput {
    fn name(&self) -> String {
        "the table of environments".to_owned()
    }

    fn outcome(&mut self, outcome: &Outcome, _: &str) -> io::Result<()> {
        self.matrix.borrow_mut().add(outcome);
        Ok(())
    }

    fn end(&mut self, _: &Summary) -> io::Result<()> {
        match self.is_told {
            true => write!(io::stdout().lock(), "\n{}", self.matrix.borrow().text()),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guests::Part;
    use crate::harness::outcome::Verdict;
    use crate::harness::report::samples::outcome;

    /// Would catch a difference that is not told, one in a number that is no difference, and a
    /// path that is only in one environment called different.
    #[test]
    fn what_differs_comes_first() {
        let part = |result, text: &str, line| Part { result, text: text.to_owned(), line };
        let of = |name: &str, environment: &str, verdict, parts| Outcome {
            emulator: environment.to_owned(),
            parts,
            ..outcome(name, verdict)
        };
        let failed = || Verdict::Failed("1 FAIL\nFAIL: a".to_owned());
        let mut matrix = Matrix::new(vec!["a".to_owned()]);
        let pass = PartKind::Pass;
        matrix.add(&of("/x/same", "q [a]", Verdict::Passed, vec![part(pass, "in 12 ns", 1)]));
        matrix.add(&of("/x/same", "q [b]", Verdict::Passed, vec![part(pass, "in 7 ns", 2)]));
        matrix.add(&of("/x/other", "q [a]", Verdict::Passed, vec![part(pass, "a", 1)]));
        matrix.add(&of("/x/other", "q [b]", failed(), vec![part(PartKind::Fail, "a", 1)]));
        matrix.add(&of("/x/alone", "q [b]", Verdict::Passed, Vec::new()));
        let differing = matrix.differing();
        let names: Vec<&str> = differing.iter().map(|it| &*it.name).collect();
        assert_eq!(names, ["/x/other"]);
        assert_eq!(differing[0].words, ["passed", "failed"]);
        assert_eq!(differing[0].checks, [("a".to_owned(), vec![Some(pass), Some(PartKind::Fail)])]);
        let text = matrix.text();
        assert!(text.contains("(2) b\n1 of 3 paths differ"), "{text}");
        assert!(text.contains("      (2) failed: 1 FAIL\n      a: (1) PASS (2) FAIL\n"), "{text}");
        assert_eq!(matrix.json()["paths"].as_array().unwrap().len(), 3);
    }
}
