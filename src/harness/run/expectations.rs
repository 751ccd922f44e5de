//! Failures that are known: a file, reviewed like code, that says which paths fail on which
//! versions of QEMU, and why.

use std::path::Path;
use std::str::FromStr;

use semver::VersionReq;
use serde::Deserialize;

use crate::files::bounded;
use crate::harness::outcome::Verdict;
use crate::harness::plan::glob::Glob;
use crate::qemu::{Between, Version};

/// The file that is read when nobody names one.
const FILE: &str = "expectations.toml";

/// What is known to fail. The default expects nothing to.
#[derive(Debug, Default)]
pub struct Expectations(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    path: Glob,
    versions: VersionReq,
    outcomes: Vec<Expected>,
    is_sometimes: bool,
    says: Option<String>,
    why: String,
}

/// The largest file, in bytes.
const MOST_BYTES: u64 = 16 << 20;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    expected: Vec<WrittenEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEntry {
    /// A glob over the whole name of a path.
    path: String,
    /// Which versions of QEMU, such as `>=7.0, <8.2`; all without.
    #[serde(default)]
    versions: String,
    /// How it fails; any way without.
    #[serde(default)]
    outcomes: Vec<Expected>,
    /// Whether it may pass as well, as what depends on the speed of the computer does.
    #[serde(default)]
    sometimes: bool,
    /// Words that are in what is said of the failure; another failure is not expected.
    says: Option<String>,
    reason: String,
    link: Option<String>,
}

/// The ways to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Failed,
    Crashed,
    Hung,
}

/// A file of expectations that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {why}")]
pub struct BadExpectations {
    file: String,
    why: String,
}

impl Expectations {
    /// Reads `file`, or without one `expectations.toml` in the current folder if it is there.
    ///
    /// # Errors
    /// It cannot be read, or says something else than expectations.
    pub fn read(file: Option<&Path>) -> Result<Self, BadExpectations> {
        let bad =
            |file: &Path, why: String| BadExpectations { file: file.display().to_string(), why };
        let path = file.unwrap_or(Path::new(FILE));
        match bounded::read(path, MOST_BYTES) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => text.parse().map_err(|why| bad(path, why)),
                Err(_) => Err(bad(path, "it is not text".to_owned())),
            },
            Err(e) if file.is_none() && e.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self::default())
            }
            Err(e) => Err(bad(path, format!("cannot be read: {e}"))),
        }
    }

    fn entry(&self, name: &str, version: Version) -> impl Iterator<Item = &Entry> {
        let Version { major, minor, micro } = version;
        let version = semver::Version::new(major.into(), minor.into(), micro.into());
        let known = move |entry: &&Entry| entry.versions.matches(&version);
        let (name, plain) = (name.to_owned(), plain(name).to_owned());
        let concerns =
            move |entry: &&Entry| entry.path.matches(&name) || entry.path.matches(&plain);
        self.0.iter().filter(known).filter(concerns)
    }

    /// Whether anything is expected of the path `name` on this version of QEMU, however that
    /// fails.
    pub fn concern(&self, name: &str, version: Version) -> bool {
        self.entry(name, version).any(|entry| entry.says.is_none())
    }

    /// Whether the path `name` is expected to hang on this version of QEMU, or to fail in any way.
    pub fn may_hang(&self, name: &str, version: Version) -> bool {
        let mut entries = self.entry(name, version);
        entries.any(|it| it.outcomes.is_empty() || it.outcomes.contains(&Expected::Hung))
    }

    /// How the path `name` went, in the light of what was expected of it. What is expected of a
    /// path may happen in all of its forms, and must where the form is named.
    pub fn judge(&self, name: &str, version: Version, verdict: Verdict) -> Verdict {
        let mut entries = self.entry(name, version);
        match verdict {
            Verdict::Passed => match entries.find(|entry| entry.is_sure_of(name)) {
                None => Verdict::Passed,
                Some(entry) => Verdict::UnexpectedPass(format!(
                    "it passes, but was expected to fail: {}",
                    entry.why
                )),
            },
            verdict => match entries.find(|entry| entry.covers(&verdict)) {
                None => verdict,
                Some(entry) => Verdict::ExpectedFailure(format!(
                    "{}; {}: {}",
                    entry.why,
                    verdict.word(),
                    verdict.message()
                )),
            },
        }
    }
}

/// The name of the plain path of a path in any form.
fn plain(name: &str) -> &str {
    let forms = Between::ALL.iter();
    let mut plain = forms.filter_map(|form| name.strip_suffix(form.word())?.strip_suffix('@'));
    plain.next().unwrap_or(name)
}

impl Entry {
    /// Whether it is known to fail in this very form, each time.
    fn is_sure_of(&self, name: &str) -> bool {
        let plain = plain(name);
        !self.is_sometimes && (name == plain || !self.path.matches(plain))
    }

    fn covers(&self, verdict: &Verdict) -> bool {
        let kind = match verdict {
            Verdict::Failed(_) => Expected::Failed,
            Verdict::Crashed(_) => Expected::Crashed,
            Verdict::Hung(_) => Expected::Hung,
            // What comes only sometimes did not come again on a fresh QEMU.
            Verdict::Dependent(_) | Verdict::Flaky(_) if self.is_sometimes => Expected::Failed,
            _ => return false,
        };
        let is_said = self.says.as_ref().is_none_or(|words| verdict.message().contains(words));
        is_said && (self.outcomes.is_empty() || self.outcomes.contains(&kind))
    }
}

impl FromStr for Expectations {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let written: Written = toml::from_str(text).map_err(|e| e.to_string())?;
        let entry = |(number, entry): (usize, WrittenEntry)| {
            let bad = |what: &str, why: String| {
                format!("{what} of the {}. [[expected]]: {why}", number + 1)
            };
            let path = Glob::new(&entry.path);
            let path = path.map_err(|why| bad("path", format!("no glob: {why}")))?;
            let versions = match entry.versions.trim() {
                "" => VersionReq::STAR,
                versions => versions
                    .parse()
                    .map_err(|e: semver::Error| bad("versions", format!("{versions}: {e}")))?,
            };
            if entry.reason.trim().is_empty() {
                return Err(bad("reason", "it is empty".to_owned()));
            }
            let link = entry.link.map_or(String::new(), |link| format!(" ({link})"));
            let why = format!("{}{link}", entry.reason);
            let (outcomes, is_sometimes, says) = (entry.outcomes, entry.sometimes, entry.says);
            Ok(Entry { path, versions, outcomes, is_sometimes, says, why })
        };
        written.expected.into_iter().enumerate().map(entry).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
[[expected]]
path = "/ppc64/*/sdhci-tests/*"
versions = ">=7.0, <8.2"
outcomes = ["crashed"]
reason = "SDHCI and endianness"
link = "https://example.org/1"

[[expected]]
path = "*/flaky"
reason = "known for long"

[[expected]]
path = "*/moved@migrate"
reason = "not restored"

[[expected]]
path = "*/slow"
outcomes = ["hung"]
sometimes = true
reason = "it takes as long as a limit of time"
"#;

    fn judge(name: &str, version: &str, verdict: Verdict) -> Verdict {
        let expectations: Expectations = TEXT.parse().unwrap();
        expectations.judge(name, version.parse().unwrap(), verdict)
    }

    /// Would catch a known failure that fails the run, and a new one that does not.
    #[test]
    fn only_what_is_expected_is_forgiven() {
        let crash = || Verdict::Crashed("boom".to_owned());
        let name = "/ppc64/pseries/a/sdhci-tests/registers";
        let known = "SDHCI and endianness (https://example.org/1); crashed: boom".to_owned();
        assert_eq!(judge(name, "7.2.22", crash()), Verdict::ExpectedFailure(known));
        assert_eq!(judge(name, "8.2.0", crash()), crash(), "another version");
        let failure = Verdict::Failed("boom".to_owned());
        assert_eq!(judge(name, "7.2.22", failure.clone()), failure, "another outcome");
        assert_eq!(judge("/arm/x/sdhci-tests/registers", "7.2.0", crash()), crash());
        let word = |verdict| judge("/a/flaky", "11.1.0", verdict).word();
        assert_eq!(word(failure), "expected-failure");
        assert_eq!(word(Verdict::Passed), "unexpected-pass");
        let skipped = Verdict::Skipped("why".to_owned());
        assert_eq!(judge("/a/flaky", "11.1.0", skipped.clone()), skipped);
    }

    /// Would catch a known failure that fails the run in another form of its path, one that has
    /// to happen in every form, and one of a form that is forgiven in another.
    #[test]
    fn forms_of_what_is_expected() {
        let failure = || Verdict::Failed("boom".to_owned());
        let word = |name, verdict| judge(name, "11.1.0", verdict).word();
        for name in ["/a/flaky@reset", "/a/flaky@migrate"] {
            assert_eq!(word(name, failure()), "expected-failure");
            assert_eq!(word(name, Verdict::Passed), "passed");
        }
        assert_eq!(word("/a/moved@migrate", failure()), "expected-failure");
        assert_eq!(word("/a/moved@migrate", Verdict::Passed), "unexpected-pass");
        assert_eq!(word("/a/moved", failure()), "failed");
        assert_eq!(word("/a/moved@reset", failure()), "failed");
    }

    /// Would catch what may pass and must not, and what fails in another way and is forgiven.
    #[test]
    fn what_is_expected_sometimes_may_pass() {
        let word = |verdict| judge("/a/slow", "11.1.0", verdict).word();
        assert_eq!(word(Verdict::Passed), "passed");
        assert_eq!(word(Verdict::Hung("no answer".to_owned())), "expected-failure");
        assert_eq!(word(Verdict::Failed("boom".to_owned())), "failed");
    }

    /// Would catch a path that is only expected to crash or to fail and has less time for that: what
    /// takes longer would be a hang, which nobody expects.
    #[test]
    fn what_may_hang() {
        let expectations: Expectations = TEXT.parse().unwrap();
        let may_hang = |name| expectations.may_hang(name, "7.2.22".parse().unwrap());
        assert!(may_hang("/a/slow"));
        assert!(may_hang("/a/flaky"), "any way to fail");
        assert!(!may_hang("/ppc64/pseries/a/sdhci-tests/registers"), "it crashes");
        assert!(!may_hang("/a/other"));
    }

    /// Would catch a mistake in the file that is overlooked, and with it a failure.
    #[test]
    fn mistakes_are_named() {
        for (text, words) in [
            ("[[expected]]\npath = \"x\"", "missing field `reason`"),
            (
                "[[expected]]\npath = \"x\"\nreason = \" \"",
                "reason of the 1. [[expected]]: it is empty",
            ),
            (
                "[[expected]]\npath = \"[\"\nreason = \"y\"",
                "path of the 1. [[expected]]: no glob: ",
            ),
            (
                &format!("[[expected]]\npath = \"{}\"\nreason = \"y\"", "{a,".repeat(200)),
                "path of the 1. [[expected]]: no glob: it nests 200 braces",
            ),
            (
                "[[expected]]\npath = \"x\"\nreason = \"y\"\nversions = \"new\"",
                "versions of the 1.",
            ),
            (
                "[[expected]]\npath = \"x\"\nreason = \"y\"\nversion = \"7\"",
                "unknown field `version`",
            ),
            ("[[expected]]\npath = \"x\"\nreason = \"y\"\noutcomes = [\"bad\"]", "unknown variant"),
            ("path", "TOML parse error at line 1"),
        ] {
            let e = text.parse::<Expectations>().unwrap_err();
            assert!(e.contains(words), "{e}");
        }
        assert!(Expectations::read(Some(Path::new("/nowhere/x.toml"))).is_err());
    }

    /// Would catch a failure that is forgiven although something else is said of it, and one whose
    /// words are not looked for.
    #[test]
    fn words_of_a_failure() {
        let text = "[[expected]]\npath = '*-attacks/*'\nsometimes = true\nsays = 'usb_ep_get: '\n\
            reason = 'known'";
        let list: Expectations = text.parse().unwrap();
        let (name, version) = ("/a/usb-hcd-attacks/read", Version::new(7, 2, 0));
        let judged = |said: &str| list.judge(name, version, Verdict::Crashed(said.to_owned()));
        assert_eq!(judged("core.c:1: usb_ep_get: Assertion").word(), "expected-failure");
        assert_eq!(judged("core.c:1: usb_packet_copy: Assertion").word(), "crashed");
        assert_eq!(list.judge(name, version, Verdict::Passed), Verdict::Passed);
        assert!(!list.concern(name, version), "it may fail otherwise");
    }

    /// Would catch a file of a stranger that fills the memory or overflows the stack.
    #[test]
    fn absurd_files_are_refused() {
        let e = Expectations::read(Some(Path::new("/dev/zero"))).unwrap_err().to_string();
        assert!(e.contains("it has more than 16 MiB"), "{e}");
        for (open, close) in [("[", "]"), ("{a=", "}")] {
            let deep = format!("x = {}{}", open.repeat(100_000), close.repeat(100_000));
            assert!(deep.parse::<Expectations>().is_err());
        }
        let dots = format!("{} = 1", vec!["a"; 100_000].join("."));
        assert!(dots.parse::<Expectations>().is_err());
    }

    /// Would catch a list of QEMU's faults that no run can read, one that forgives a fault of
    /// another version, and a fault of a device that nobody is told of in words.
    #[test]
    fn the_list_of_faults_is_read_and_told() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let list = root.join("contrib/expectations/qemu-7.2.toml");
        let found = std::fs::read_to_string(root.join("docs/found.md")).unwrap();
        let text = std::fs::read_to_string(&list).unwrap();
        let written: Written = toml::from_str(&text).unwrap();
        for entry in &written.expected {
            // What tells a device from others of its type stands behind that.
            for (node, end) in [
                ("*/mmio-device:", "-*/"),
                ("*/port-device:", "-*/"),
                ("*/pci-card:", "/"),
                ("*/isa-card:", "/"),
            ] {
                let device = entry.path.strip_prefix(node);
                if let Some((device, _)) = device.and_then(|rest| rest.split_once(end)) {
                    assert!(found.contains(&format!("| `{device}` |")), "{device}");
                }
            }
        }
        let list = Expectations::read(Some(&list)).unwrap();
        let name = "/arm/versatilepb/mmio-device:pl080-0x10130000/mmio-device-tests/write-reset";
        assert!(list.concern(name, Version::new(7, 2, 22)));
        assert!(!list.concern(name, Version::new(8, 2, 0)), "nobody has looked");
        let other = name.replace("write-reset", "read");
        assert!(!list.concern(&other, Version::new(7, 2, 22)));
    }

    proptest::proptest! {
        /// Would catch a panic on what is no list of expectations, or on odd versions and globs.
        #[test]
        fn anything_is_read_or_refused(
            any in ".*", path in "[a-z/*?\\[\\]{},!\\\\-]{0,30}", versions in "[0-9.,<>=^~* ]{0,20}",
        ) {
            let _ = any.parse::<Expectations>();
            let text = format!("[[expected]]\npath = '{path}'\nversions = '{versions}'\nreason = 'x'");
            if let Ok(read) = text.parse::<Expectations>() {
                read.concern("/arm/virt/x", Version::new(7, 2, 0));
            }
        }
    }
}
