//! What the gate answers: an action, and what the access log says about it.
use crate::forward::Forward;
use crate::metrics::Stages;
use crate::response::Response;
use torhaus_authz::{Identity, Name, Reason};

/// What to do with a request, and what access log and trace say about it.
pub struct Outcome {
    pub action: Action,
    pub note: Note,
}

pub enum Action {
    Forward(Box<Forward>),
    Respond(Response),
    /// A form met an ended session: read it, and answer with a page that keeps its fields.
    KeepForm {
        sign_in: String,
        cookie: String,
    },
}

#[derive(Debug)]
pub struct Note {
    pub route: Option<Name>,
    pub identity: Identity,
    /// The number of the decision's line in the audit log.
    pub decision: Option<Name>,
    pub reason: Option<Reason>,
    /// None: it was answered before its first stage.
    pub stages: Option<Stages>,
}

impl Note {
    pub fn empty() -> Self {
        Self { route: None, identity: Identity::Anonymous, decision: None, reason: None, stages: None }
    }

    pub fn respond(self, response: Response) -> Outcome {
        Outcome { action: Action::Respond(response), note: self }
    }
}
