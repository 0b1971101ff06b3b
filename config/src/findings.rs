//! What was found while reading and checking: everything, not only the first.
use crate::place::Place;
use crate::units::Mistake;

pub(crate) struct Finding {
    pub place: Place,
    pub message: String,
    pub hint: Option<String>,
}

#[derive(Default)]
pub(crate) struct Findings {
    pub errors: Vec<Finding>,
    pub warnings: Vec<Finding>,
}

impl Findings {
    pub fn error(&mut self, place: &Place, mistake: Mistake) {
        self.errors.push(Finding::new(place, mistake));
    }

    pub fn warning(&mut self, place: &Place, mistake: Mistake) {
        self.warnings.push(Finding::new(place, mistake));
    }
}

impl Finding {
    fn new(place: &Place, mistake: Mistake) -> Self {
        Self {
            place: place.clone(),
            message: crate::mask::userinfo(&mistake.message),
            hint: mistake.hint.map(|hint| crate::mask::userinfo(&hint)),
        }
    }
}
