//! The journal of a campaign: a file of JSON lines. The first line is the plan; each measurement is appended at once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::results::{Circumstances, Found, Record, Results};
use crate::scenario::Scenario;

/// The first line: the plan and the circumstances.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Plan {
    circumstances: Circumstances,
    scenarios: Vec<Scenario>,
}

/// All results so far, in memory and, if there is a file, in the file.
#[derive(Debug)]
pub struct Journal {
    file: Option<File>,
    results: Results,
}

impl Journal {
    /// A journal that exists only in memory.
    pub fn in_memory(circumstances: Circumstances, scenarios: Vec<Scenario>) -> Self {
        Self {
            file: None,
            results: Results {
                circumstances,
                scenarios,
                records: Vec::new(),
            },
        }
    }

    /// Resumes the journal at `path` if it has the same plan, or creates one.
    ///
    /// The circumstances are those of the first run, so a campaign that is resumed the next day keeps its date.
    ///
    /// # Errors
    /// Fails if the file cannot be read or written, or is the journal of another plan, machine or build: then the error
    /// is `InvalidData`, with the difference.
    pub fn open(
        path: &Path,
        circumstances: Circumstances,
        scenarios: Vec<Scenario>,
    ) -> io::Result<Self> {
        let mut journal = Self::in_memory(circumstances, scenarios);
        let whole = match fs::read_to_string(path) {
            Ok(text) => journal.resume(&text)?,
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        // A line that was cut off when the run was interrupted is measured again.
        file.set_len(whole)?;
        if whole == 0 {
            let plan = Plan {
                circumstances: journal.results.circumstances.clone(),
                scenarios: journal.results.scenarios.clone(),
            };
            write_line(&mut file, &plan)?;
        }
        journal.file = Some(file);
        Ok(journal)
    }

    /// Reads the records in `text`, and returns how many of its bytes are whole lines.
    fn resume(&mut self, text: &str) -> io::Result<u64> {
        let invalid = |problem: &str| io::Error::new(ErrorKind::InvalidData, problem);
        let mut whole = 0;
        let mut lines = text
            .split_inclusive('\n')
            .take_while(|line| line.ends_with('\n'));
        let Some(first) = lines.next() else {
            return Ok(0);
        };
        let plan: Plan = serde_json::from_str(first)
            .map_err(|error| invalid(&format!("it does not begin with a plan: {error}")))?;
        self.agrees(&plan).map_err(|difference| {
            invalid(&format!("it belongs to another campaign: {difference}"))
        })?;
        whole += first.len();
        for line in lines {
            let record: Record =
                serde_json::from_str(line).map_err(|error| invalid(&error.to_string()))?;
            self.results.records.push(record);
            whole += line.len();
        }
        self.results.circumstances = plan.circumstances;
        Ok(whole as u64)
    }

    /// Checks that records of `plan` can be combined with ours; the error names the difference.
    fn agrees(&self, plan: &Plan) -> Result<(), &'static str> {
        let (theirs, ours) = (&plan.circumstances, &self.results.circumstances);
        if theirs.machine != ours.machine || theirs.cpus != ours.cpus {
            return Err("the machine differs");
        }
        if theirs.contestants != ours.contestants {
            return Err("a server, or its build, differs");
        }
        if plan.scenarios != self.results.scenarios {
            return Err("the scenarios differ");
        }
        Ok(())
    }

    /// All results so far.
    pub fn results(&self) -> &Results {
        &self.results
    }

    /// Returns the results.
    pub fn into_results(self) -> Results {
        self.results
    }

    /// True if one server needs no measurement in one round: it was measured, or has failed before.
    pub fn is_settled(&self, scenario: &str, server: &str, round: usize) -> bool {
        self.results.records.iter().any(|record| {
            record.scenario == scenario
                && record.server == server
                && (record.round == round || matches!(record.found, Found::Failure(_)))
        })
    }

    /// Adds a measurement; it is in the file when this returns.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            write_line(file, record)?;
        }
        self.results.records.push(record.clone());
        Ok(())
    }
}

fn write_line(file: &mut File, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_string(value)?;
    line.push('\n');
    file.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Cpus, Machine};

    fn circumstances() -> Circumstances {
        Circumstances {
            date: "2026-01-02".into(),
            command: "full".into(),
            machine: Machine {
                cpu: "a CPU".into(),
                cpus: 2,
                kernel: "6.0".into(),
            },
            cpus: Cpus {
                server: Some(0),
                load: Some(1),
            },
            contestants: Vec::new(),
        }
    }

    fn record(round: usize, found: Found) -> Record {
        Record {
            scenario: "s".into(),
            server: "a".into(),
            round,
            found,
        }
    }

    fn failure() -> Found {
        Found::Failure("it did not start".into())
    }

    fn temporary(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("ringwheel-journal-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_journal_goes_on_where_it_was_and_forgets_a_cut_line() {
        let path = temporary("resume");
        let mut journal = Journal::open(&path, circumstances(), Vec::new()).unwrap();
        journal.append(&record(0, failure())).unwrap();
        journal.append(&record(1, failure())).unwrap();
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 3]).unwrap();

        let mut later = circumstances();
        later.date = "2026-01-03".into();
        let mut journal = Journal::open(&path, later, Vec::new()).unwrap();
        assert_eq!(journal.results().records.len(), 1);
        assert_eq!(journal.results().circumstances.date, "2026-01-02");
        journal.append(&record(1, failure())).unwrap();
        assert_eq!(fs::read(&path).unwrap(), whole);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_journal_of_another_machine_is_refused_and_left_alone() {
        let path = temporary("other");
        drop(Journal::open(&path, circumstances(), Vec::new()).unwrap());
        let before = fs::read(&path).unwrap();
        let mut other = circumstances();
        other.machine.cpus = 64;
        let error = Journal::open(&path, other, Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().contains("machine"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_server_that_failed_is_settled_in_every_round() {
        let mut journal = Journal::in_memory(circumstances(), Vec::new());
        assert!(!journal.is_settled("s", "a", 3));
        journal.append(&record(0, failure())).unwrap();
        assert!(journal.is_settled("s", "a", 3));
        assert!(!journal.is_settled("s", "b", 0));
    }
}
