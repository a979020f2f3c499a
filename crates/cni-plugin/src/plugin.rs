//! What a plugin implements. Printing, exit statuses and the undo are `plugin_main`'s.

use std::net::IpAddr;

use crate::manual::Manual;
use cni::{AddRequest, CheckRequest, DelRequest, Error, GcRequest, StatusRequest, Version};

/// One CNI plugin.
///
/// No verb prints, and no verb is given anything unchecked: see [`cni::request`].
pub trait Plugin {
    /// The name of the executable, as in the `type` of a configuration.
    const NAME: &'static str;

    /// The versions it speaks.
    const VERSIONS: &'static [Version] = Version::ALL;

    /// Whether [`Plugin::add`] answers what it has made, and nothing of prevResult: the framework
    /// puts that in front (SPEC ADD: it must be passed through, or modified).
    const ANSWERS_ITS_OWN: bool = false;

    /// What it tells a person who asks for `--help`.
    const MANUAL: Manual;

    /// Attaches a container.
    ///
    /// Refusals come first. Then the first step that must be undone is the *claim*: it fails if
    /// somebody else has what we want (`EEXIST`), and after it `claim.made()` is called. An error
    /// before that leaves the host as it was; an error after it, a result that cannot be expressed
    /// or a failed print makes the framework call [`Plugin::undo`].
    fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error>;

    /// Takes back an ADD that failed after its claim. [`Plugin::del`] would take more than is this
    /// ADD's when an attachment can have something of an earlier one: what is, `claim.took` says.
    fn undo(request: &AddRequest, _claim: &Claim) -> Result<(), Error> {
        Self::del(&DelRequest::undoing(request))
    }

    /// Frees everything of an attachment: idempotent, without a namespace, without prevResult,
    /// going on after errors.
    fn del(request: &DelRequest) -> Result<(), Error>;

    /// Compares prevResult with the host and changes nothing.
    fn check(request: &CheckRequest) -> Result<(), Error>;

    /// Frees what no valid attachment owns; nothing when `request.valid` is `None`.
    fn gc(request: &GcRequest) -> Result<(), Error>;

    /// Code 50 or 51 when ADD would fail now.
    fn status(request: &StatusRequest) -> Result<(), Error>;

    /// What the plugin does for itself in a process of its own, which it starts under its own name
    /// with these arguments and without `CNI_COMMAND`: `None` when it is not asked. An error is
    /// printed as of any verb.
    fn errand(_arguments: &[String]) -> Option<Result<(), Error>> {
        None
    }
}

/// Whether an ADD owns anything yet, and what a person should know of it.
#[derive(Debug, Default)]
pub struct Claim {
    is_made: bool,
    taken: Vec<IpAddr>,
    warnings: Vec<String>,
}

impl Claim {
    /// The claim succeeded: from here on a failure is undone by [`Plugin::undo`].
    pub fn made(&mut self) {
        self.is_made = true;
    }

    /// The claim succeeded for these addresses and nothing else.
    pub fn took(&mut self, addresses: Vec<IpAddr>) {
        self.is_made = !addresses.is_empty();
        self.taken = addresses;
    }

    /// What [`Claim::took`] was told.
    pub fn taken(&self) -> &[IpAddr] {
        &self.taken
    }

    /// Whether it was made.
    pub fn is_made(&self) -> bool {
        self.is_made
    }

    /// Something that is no error, and that somebody may regret: told on stderr.
    pub fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }

    /// All warnings.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
