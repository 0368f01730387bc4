//! Padding classifier-free guidance and the padding self-ensemble: which passes to run and how to blend them.
//!
//! Paper, "Inference: PadCFG": plain guidance amplifies the artefacts of the 8x8 cells, and averaging over paddings
//! removes them, so the two share their passes:
//!
//! ```text
//! y = w * G(pad(x, [4,4,4,4]), c_pos) + (1 - w) * G(pad(x, [3,5,3,5]), c_neg)
//! ```

use serde::{Deserialize, Serialize};

/// Pixels added above and to the left of a picture before it is cut into cells; below and to the right it gets what
/// fills up the cell. The paddings of an axis add up to the cell's side where the picture is whole cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Padding {
    /// Pixels above.
    pub top: usize,
    /// Pixels to the left.
    pub left: usize,
}

impl Padding {
    /// Half a cell on all sides: the positive pass of PadCFG.
    pub const CENTRED: Self = Self { top: 4, left: 4 };

    /// A padding of `top` and `left` pixels.
    pub const fn new(top: usize, left: usize) -> Self {
        Self { top, left }
    }

    /// Whether the padding is no wider than a cell of `factor` pixels.
    pub(crate) fn fits(self, factor: usize) -> bool {
        self.top <= factor && self.left <= factor
    }

    /// The negative pass's padding beside this one: one pixel less, so that the two cut the picture differently.
    /// `[4,4,4,4]` gives `[3,5,3,5]`.
    fn shifted(self, factor: usize) -> Self {
        let back = |p: usize| (p + factor - 1) % factor;
        Self {
            top: back(self.top),
            left: back(self.left),
        }
    }
}

/// Which prompt a pass is conditioned on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// `c_pos`, good quality.
    Positive,
    /// `c_neg`, bad quality.
    Negative,
}

/// One pass through the UNet and its weight in the blend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pass {
    pub prompt: Prompt,
    pub padding: Padding,
    pub weight: f64,
}

/// The prompts of guidance scale `w` and their weights, which add up to one.
///
/// `w = 1` needs no negative pass and `w = 0` no positive one: what has no weight is not run.
pub(crate) fn prompts(w: f64) -> impl Iterator<Item = (Prompt, f64)> + Clone {
    let weighted = [(Prompt::Positive, w), (Prompt::Negative, 1.0 - w)];
    weighted.into_iter().filter(|&(_, weight)| weight != 0.0)
}

/// The passes of PadCFG of guidance scale `w` over the paddings `ensemble`; their weights add up to one.
pub(crate) fn passes(w: f64, ensemble: &[Padding], factor: usize) -> Vec<Pass> {
    let share = 1.0 / ensemble.len() as f64;
    prompts(w)
        .flat_map(|(prompt, weight)| {
            ensemble.iter().map(move |&padding| Pass {
                prompt,
                padding: match prompt {
                    Prompt::Positive => padding,
                    Prompt::Negative => padding.shifted(factor),
                },
                weight: weight * share,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_papers_pair() {
        let pair = passes(1.5, &[Padding::CENTRED], 8);
        assert_eq!(
            pair,
            [
                Pass {
                    prompt: Prompt::Positive,
                    padding: Padding::new(4, 4),
                    weight: 1.5
                },
                Pass {
                    prompt: Prompt::Negative,
                    padding: Padding::new(3, 3),
                    weight: -0.5
                },
            ]
        );
    }

    #[test]
    fn no_guidance_is_one_positive_pass() {
        let one = passes(1.0, &[Padding::CENTRED], 8);
        assert_eq!(one.len(), 1);
        assert_eq!(one[0].prompt, Prompt::Positive);
    }

    proptest! {
        #[test]
        fn weights_add_up_to_one(w in 0.0..10.0_f64, paddings in prop::collection::vec((0..=8_usize, 0..=8_usize), 1..6)) {
            let ensemble: Vec<_> = paddings.into_iter().map(|(top, left)| Padding::new(top, left)).collect();
            let total: f64 = passes(w, &ensemble, 8).iter().map(|pass| pass.weight).sum();
            prop_assert!((total - 1.0).abs() < 1e-9);
        }
    }
}
