use std::time::Duration;

/// What is made to go wrong with a share of a resource's calls, for a rehearsal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultPolicy {
    /// Of the calls; drawn for each. From 1 to 100.
    pub share_percent: u32,
    /// Before anything else.
    pub delay: Duration,
    /// What then happens.
    pub fault: InjectedFault,
}

/// What happens to a call that is drawn, after the delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedFault {
    /// Nothing more: the server answers.
    None,
    /// The server is not asked.
    Error(InjectedError),
    /// The server is asked, and its answer is lost.
    Cut,
}

/// The errors that can be injected, by their codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedError {
    /// At the call's deadline.
    TimeoutQueue,
    /// At the call's deadline.
    TimeoutConnect,
    /// At the call's deadline.
    TimeoutIo,
    /// At once, as the others below.
    Unavailable,
    /// As if the resource had failed just now.
    CircuitOpen,
    /// As if too many calls waited.
    Overloaded,
    /// As if the credentials were wrong.
    Auth,
}

impl InjectedError {
    /// Every one, by the word that documents use: the code's.
    pub const ALL: [(&'static str, InjectedError); 7] = [
        ("timeout_queue", InjectedError::TimeoutQueue),
        ("timeout_connect", InjectedError::TimeoutConnect),
        ("timeout_io", InjectedError::TimeoutIo),
        ("unavailable", InjectedError::Unavailable),
        ("circuit_open", InjectedError::CircuitOpen),
        ("overloaded", InjectedError::Overloaded),
        ("auth", InjectedError::Auth),
    ];

    /// The word of [`InjectedError::ALL`].
    pub fn as_str(self) -> &'static str {
        InjectedError::ALL.iter().find(|(_, error)| *error == self).map_or("", |(word, _)| *word)
    }
}
