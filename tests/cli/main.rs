//! The programs as their user meets them: what they say, where, and with which exit status.
//! `qgraph` itself, and the runner that `cargo test` starts. One file a subject; here is what
//! they share. Emulators are fakes; those that misbehave have a test target of their own,
//! `bad_emulators.rs`.

mod asked;
mod cache;
mod coverage;
mod diff;
mod emulators;
mod escapes;
#[path = "../fake/mod.rs"]
mod fake;
mod files;
mod foreign;
mod machines;
mod mutate;
mod output;
mod reproducers;
mod runner;
mod selection;
mod shares;
mod usage;

use std::path::Path;
use std::process::ExitCode;

use asked::*;
use cache::*;
use coverage::*;
use diff::*;
use emulators::*;
use escapes::*;
use fake::{Finished, REGISTERS, RUNNER, Sandbox};
use files::*;
use foreign::*;
use machines::*;
use mutate::*;
use output::*;
use reproducers::*;
use runner::*;
use selection::*;
use shares::*;
use usage::*;

fn main() -> ExitCode {
    if fake::called() == RUNNER {
        return qgraph::harness::cargo_test(fake::PROGRAM);
    }
    fake::main(trials![
        everything_passes,
        something_fails,
        reports,
        what_others_say_is_tame,
        what_files_say_is_tame,
        a_report_that_cannot_be_written,
        one_file_for_two,
        the_environment_is_told,
        nothing_matches,
        names_that_no_emulator_has,
        wrong_usage,
        help_goes_to_standard_output,
        the_manual,
        what_is_written_about_options,
        filters,
        what_failed_runs_again,
        an_end_after_failures_or_time,
        more_that_fails_a_run,
        paths_by_a_list,
        what_workers_did,
        shards,
        shards_by_the_environment,
        shards_by_duration,
        list_as_json,
        covers,
        machines_are_described,
        machines_that_tell_nothing,
        journals_are_joined,
        damaged_journals,
        what_journals_lack,
        two_journals_differ,
        what_is_reached,
        what_does_not_start,
        two_emulators_differ,
        no_emulator,
        emulators_that_are_found,
        firmware_that_is_missing,
        emulators_that_are_named,
        odd_names,
        odd_names_in_journals,
        absurd_files,
        an_unwritable_cache,
        a_damaged_cache,
        a_cold_cache_shared,
        modules_heal,
        a_cache_that_others_can_write_to,
        a_wrapper_that_leads_elsewhere,
        an_emulator_that_becomes_another,
        a_failure_of_tomorrow,
        a_warm_cache_costs_no_launch,
        nobody_reads,
        nothing_can_be_written,
        where_reproducers_go,
        replay_of_something_else,
        a_reproducer_gets_smaller,
        what_is_no_file_is_not_replaced,
        links_are_followed,
        an_emulator_that_refuses_the_command_line,
        requests_that_are_refused,
        reproducers_of_all_shapes,
        a_list_without_a_command_line,
        a_foreign_reproducer_is_saved,
        a_foreign_reproducer_as_a_test,
        what_a_stranger_may_not,
        exec_becomes_the_emulator,
        how_strong_tests_are,
        strength_as_json,
        the_runner_lists,
        the_runner_runs,
        the_runner_without_emulator,
        the_runner_in_shares,
    ])
}

const PATHS: &str = "sdhci-tests/";

/// A sandbox in which a healthy emulator is on `PATH`.
fn with_emulator() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.fake_at(Path::new("bin/qemu-system-x86_64"));
    sandbox
}

fn qgraph(sandbox: &Sandbox, arguments: &[&str]) -> Finished {
    sandbox.run(&mut sandbox.qgraph(arguments))
}

/// The names that `qgraph list` prints.
fn list(sandbox: &Sandbox, arguments: &[&str]) -> Vec<String> {
    let finished = sandbox.run(sandbox.qgraph(["list"]).args(arguments)).expect(0);
    assert_eq!(finished.stderr, "", "{finished}");
    finished.stdout.lines().map(str::to_owned).collect()
}

/// Runs the runner of `cargo test`.
fn runner(sandbox: &Sandbox, arguments: &[&str]) -> Finished {
    let runner = sandbox.fake_at(Path::new(RUNNER));
    sandbox.run(sandbox.command(runner).args(arguments))
}
