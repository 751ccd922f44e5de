//! What QEMU's two monitors tell without being given an argument.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::protocol;
use crate::qemu::{Version, Vm};
use crate::{Error, Result};

/// A command that is not asked.
struct LeftOut {
    /// The command.
    command: &'static str,
    /// The first version of QEMU of which it may be asked; `None` if there is none yet.
    until: Option<Version>,
}

/// Commands that are not asked, each with why.
const LEFT_OUT: &[LeftOut] = &[];

fn is_left_out(command: &str, version: Version) -> bool {
    let holds =
        |it: &LeftOut| it.command == command && it.until.is_none_or(|until| version < until);
    LEFT_OUT.iter().any(holds)
}

/// Asks every `query-` command of QMP that needs no argument. One may fail, in words: it may be
/// about something that the machine does not have.
pub(super) fn queries(vm: &Vm) -> Result<()> {
    let schema = vm.qmp().execute("query-qmp-schema", Value::Null)?;
    let version = vm.emulator().capabilities.version;
    let commands = queries_of(&schema);
    let commands: Vec<&str> =
        commands.into_iter().filter(|command| !is_left_out(command, version)).collect();
    // One by one, so that an error names the command.
    for command in &commands {
        match vm.qmp().execute(command, Value::Null) {
            Ok(_) => {}
            Err(protocol::Error::Qmp { desc, .. }) if !desc.trim().is_empty() => {}
            Err(e) => return Err(Error::from(e).context(format!("the QMP command {command}"))),
        }
    }
    match commands.len() {
        0 => Err(Error::failed("QMP has no command that only asks")),
        _ => Ok(()),
    }
}

/// The commands of this schema that are called `query-…` and need no argument.
fn queries_of(schema: &Value) -> Vec<&str> {
    let entities = schema.as_array().map(Vec::as_slice).unwrap_or_default();
    let is = |entity: &&Value, kind: &str| entity["meta-type"] == kind;
    // The names of types are numbers, so that nobody relies on them.
    let needs_nothing: BTreeSet<&str> = entities
        .iter()
        .filter(|entity| is(entity, "object"))
        .filter(|entity| {
            let members = entity["members"].as_array().map(Vec::as_slice).unwrap_or_default();
            members.iter().all(|member| member.get("default").is_some())
        })
        .filter_map(|entity| entity["name"].as_str())
        .collect();
    let takes_none = |command: &&Value| {
        command["arg-type"].as_str().is_some_and(|ty| needs_nothing.contains(ty))
    };
    let commands = entities.iter().filter(|entity| is(entity, "command")).filter(takes_none);
    let names = commands.filter_map(|command| command["name"].as_str());
    names.filter(|name| name.starts_with("query-")).collect()
}

/// Asks every `info` command of the human monitor, without arguments.
pub(super) fn infos(vm: &Vm) -> Result<()> {
    let version = vm.emulator().capabilities.version;
    let help = say(vm, "help info")?;
    let topics: Vec<&str> = topics(&help).collect();
    for topic in &topics {
        let command = format!("info {topic}");
        if !is_left_out(&command, version) {
            say(vm, &command).map_err(|e| e.context(command))?;
        }
    }
    match topics.len() {
        0 => Err(Error::failed(format!("`help info` lists nothing: {help}"))),
        _ => Ok(()),
    }
}

fn say(vm: &Vm, line: &str) -> Result<String> {
    let answer = vm.qmp().execute("human-monitor-command", json!({ "command-line": line }))?;
    let text = answer.as_str().map(str::to_owned);
    text.ok_or_else(|| Error::failed(format!("`{line}` answers {answer}")))
}

/// The topics that `help info` lists, a line each: `info NAME [ARGUMENTS] -- what it is`.
fn topics(help: &str) -> impl Iterator<Item = &str> {
    let rest = help.lines().filter_map(|line| line.trim_start().strip_prefix("info "));
    let names = rest.filter_map(|rest| rest.split_whitespace().next());
    names.filter(|name| !name.starts_with('['))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a command that is never asked, or asked without what it needs.
    #[test]
    fn queries_are_those_that_need_no_argument() {
        let schema = json!([
            {"meta-type": "command", "name": "query-a", "arg-type": "0", "ret-type": "1"},
            {"meta-type": "command", "name": "query-b", "arg-type": "1", "ret-type": "1"},
            {"meta-type": "command", "name": "query-c", "arg-type": "2", "ret-type": "1"},
            {"meta-type": "command", "name": "quit", "arg-type": "0", "ret-type": "1"},
            {"meta-type": "object", "name": "0", "members": []},
            {"meta-type": "object", "name": "1", "members": [{"name": "x", "type": "str"}]},
            {"meta-type": "object", "name": "2",
             "members": [{"name": "x", "type": "str", "default": null}]},
        ]);
        assert_eq!(queries_of(&schema), ["query-a", "query-c"]);
    }

    /// Would catch a list of topics that is not understood.
    #[test]
    fn topics_are_the_first_words() {
        let help = "info balloon  -- show balloon information\r\ninfo block [-n] [-v] [device] -- \
                    show\nhelp\ninfo [subcommand] -- show\n";
        assert_eq!(topics(help).collect::<Vec<_>>(), ["balloon", "block"]);
    }
}
