//! What became of logins, logouts and reports, in the words of their labels.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginResult {
    Done,
    SteppedUp,
    /// The provider refused or its answer does not check out.
    Failed,
    /// The provider answered, but the tier is not proven.
    NotProven,
    /// The provider could not be asked.
    Unavailable,
    /// The address tried too often.
    RateLimited,
}

impl LoginResult {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::SteppedUp => "stepped_up",
            Self::Failed => "failed",
            Self::NotProven => "not_proven",
            Self::Unavailable => "unavailable",
            Self::RateLimited => "rate_limited",
        }
    }
}

/// What became of a logout that an identity provider told us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogoutResult {
    Done,
    /// The provider signed it, and it does not count.
    Refused,
    /// It is not of the provider: anybody can send something.
    Strange,
    /// It could not be judged or kept.
    Unavailable,
}

impl LogoutResult {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Strange => "strange",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What became of a report that a device sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportResult {
    Taken,
    /// It is not its sender's, or not to be believed.
    Refused,
    /// The device or the address sent too many.
    RateLimited,
    /// It could not be kept.
    Unavailable,
}

impl ReportResult {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Refused => "refused",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
        }
    }
}
