//! Why the service manager could not be asked, or refused.

/// One reason.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The call was not answered, or refused.
    #[error(transparent)]
    Bus(#[from] dbus::Error),
    /// A job ended otherwise than by being done.
    #[error("systemd: {call}: the job's result is {result:?}, not \"done\"")]
    Job {
        /// The call that made it.
        call: String,
        /// `failed`, `timeout`, `canceled`, ...
        result: String,
    },
}

/// What calls answer.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the manager answered with the error `org.freedesktop.systemd1.NAME`.
    pub fn is(&self, short: &str) -> bool {
        matches!(self, Self::Bus(error) if error.is(&format!("org.freedesktop.systemd1.{short}")))
    }
}
