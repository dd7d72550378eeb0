//! Shows the progress of a campaign: a bar on a terminal, plain lines elsewhere; always on standard error.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressStyle};

use crate::campaign::Event;
use crate::report;
use crate::results::{Found, Record, Results};

/// Shows a campaign's events.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    done: usize,
    total: usize,
    rounds: usize,
}

impl Progress {
    /// Progress of a campaign whose `results` so far are known.
    pub fn new(results: &Results) -> Self {
        let total = results
            .scenarios
            .iter()
            .map(|scenario| scenario.rounds * scenario.servers.len())
            .sum();
        let done = results.records.len();
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}  {eta} left")
                .expect("the template is valid");
            let bar = ProgressBar::new(total as u64).with_style(style);
            bar.set_position(done as u64);
            bar.reset_eta();
            bar
        });
        Self {
            bar,
            done,
            total,
            rounds: 0,
        }
    }

    /// Shows one event.
    pub fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::Scenario(scenario) => {
                self.rounds = scenario.rounds;
                let title = format!("{}: {}", scenario.section.title(), scenario.title);
                self.line(&title);
            }
            Event::Begins(server, round) => {
                if let Some(bar) = &self.bar {
                    let round = round + 1;
                    bar.set_message(format!("{} round {round}/{}", server.name, self.rounds));
                }
            }
            Event::Attempt(sample) => {
                if self.bar.is_none() || sample.disturbance.is_disturbed() {
                    self.line(&report::progress_line(sample, self.rounds));
                }
            }
            Event::Done(record) => self.done(record),
        }
    }

    fn done(&mut self, record: &Record) {
        self.done += 1;
        let count = format!("[{}/{}] {}", self.done, self.total, record.server);
        match &record.found {
            // Its attempts were shown already.
            Found::Load(_) => {}
            Found::Failure(problem) => self.line(&format!("{count} failed: {problem}")),
            _ if self.bar.is_none() => self.line(&count),
            _ => {}
        }
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
