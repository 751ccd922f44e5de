//! The legend of the picture as SVG: a path of one box of each kind, and what else needs a
//! word.

use super::State;
use super::layout::{Rect, Route};
use super::picture::{Link, Picture, Shape};
use super::svg::{PAD, TEXT, box_size, line, shape, text, width_of};
use crate::graph::{EdgeKind, Kind};

/// The least room between two things that do not belong together.
const GAP: f64 = 28.0;

/// The legend, drawn at 0, 0, and how big it is.
#[derive(Default)]
pub(super) struct Legend {
    pub text: String,
    pub width: f64,
    pub height: f64,
}

impl Legend {
    /// The legend of a picture: what emulators have if it is `known`, or how a run went if it
    /// is drawn `after` one.
    pub fn new(picture: &Picture, known: bool, after: bool) -> Self {
        let mut legend = Self { height: TEXT + 2.0 * PAD.1, ..Self::default() };
        legend.kinds();
        if picture.edge_weights().any(|link| !link.variants.is_empty()) {
            legend.say(":name a variant");
        }
        if picture.node_weights().any(|shape| shape.kind == Kind::Undeclared) {
            legend.sample(Kind::Undeclared, "declared nowhere", State::Plain);
            legend.width += GAP;
        }
        match (after, known) {
            (true, _) => legend.states(picture),
            (false, true) => {
                legend.sample(Kind::Driver, "no emulator at hand has it", State::Missing);
            }
            (false, false) => legend.say("no emulator was asked what it has"),
        }
        legend
    }

    /// A path.
    fn kinds(&mut self) {
        self.sample(Kind::Machine, "machine", State::Plain);
        let y = self.height / 2.0;
        for (edge, to) in [
            (EdgeKind::Contains, Kind::Driver),
            (EdgeKind::Produces, Kind::Interface),
            (EdgeKind::ConsumedBy, Kind::Test),
        ] {
            let (word, x) = (edge.word(), self.width);
            let end = x + width_of(&[(word.to_owned(), State::Plain)]) + 34.0;
            let route =
                Route { parts: vec![(x, x, y), (end, end, y)], backward: false, label: None };
            let link = Link { kind: edge, variants: Vec::new(), state: State::Plain };
            line(&mut self.text, &link, &route, &["", ""]);
            note(&mut self.text, x + 13.0, -2.0, word);
            self.width = end;
            self.sample(to, to.word(), State::Plain);
        }
        self.width += GAP;
    }

    /// What the colours say after a run.
    fn states(&mut self, picture: &Picture) {
        let drawn = |state| picture.node_weights().any(|shape| shape.state == state);
        for (state, words, always) in [
            (State::Passed, "passed", true),
            (State::Mixed, "passed and failed", true),
            (State::Failed, "failed", true),
            (State::Plain, "neither", drawn(State::Plain)),
            (State::Missing, "did not run", drawn(State::Missing)),
        ] {
            if always {
                self.sample(Kind::Driver, words, state);
                self.width += GAP / 2.0;
            }
        }
    }

    fn sample(&mut self, kind: Kind, name: &str, state: State) {
        let sample = Shape { kind, title: None, names: vec![(name.to_owned(), state)], state };
        let (width, height) = box_size(&sample);
        shape(&mut self.text, &sample, Rect { x: self.width, y: 0.0, width, height });
        self.width += width;
    }

    fn say(&mut self, words: &str) {
        note(&mut self.text, self.width, self.height / 2.0, words);
        self.width += width_of(&[(words.to_owned(), State::Plain)]) + GAP;
    }
}

fn note(svg: &mut String, x: f64, y: f64, words: &str) {
    text(svg, x, y, " class=\"note\"", &[(words.to_owned(), State::Plain)], State::Plain);
}
