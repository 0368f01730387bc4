//! Padding classifier-free guidance (PadCFG) and the padding self-ensemble: which passes run, and
//! how they are blended.
//!
//! Paper, "Inference: PadCFG": plain guidance amplifies the artefacts of the 8x8 cells, and
//! averaging over paddings removes them. PadCFG gives the two passes of guidance different
//! paddings:
//!
//! ```text
//! y = w * G(pad(x, [4,4,4,4]), c_pos) + (1 - w) * G(pad(x, [3,5,3,5]), c_neg)
//! ```

use crate::backend::Backend;
use crate::options::padding::Padding;
use crate::options::progress::{Cancellable, Watch};
use burn::tensor::Tensor;

/// The prompt of a pass.
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

/// Returns the prompts of guidance scale `w` and their weights, which add up to one.
///
/// A prompt without weight does not run: `w = 1` needs no negative pass, and `w = 0` no positive
/// one.
pub(crate) fn prompts(w: f64) -> impl Iterator<Item = (Prompt, f64)> + Clone {
    let weighted = [(Prompt::Positive, w), (Prompt::Negative, 1.0 - w)];
    weighted.into_iter().filter(|&(_, weight)| weight != 0.0)
}

/// Returns the passes of PadCFG with guidance scale `w` over the paddings of `ensemble`. Their
/// weights add up to one.
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

/// Runs all passes and returns the weighted sum of their results. The weights must add up to one.
pub(crate) fn blend<B: Backend, P>(
    passes: impl IntoIterator<Item = (P, f64), IntoIter: Clone>,
    watch: Watch,
    run: impl Fn(P, Watch) -> Cancellable<Tensor<B, 4>>,
) -> Cancellable<Tensor<B, 4>> {
    let passes = passes.into_iter();
    let mut parts = watch.parts(passes.clone().count());
    let mut sum: Option<(Tensor<B, 4>, f64)> = None;
    for (pass, weight) in passes {
        let output = run(pass, parts.part())?;
        sum = Some(match sum {
            Some((sum, before)) => (B::mix(sum, output, [before, weight]), 1.0),
            None => (output, weight),
        });
    }
    let (sum, _) = sum.expect("weights that add up to one imply a pass");
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_passes_are_those_of_the_paper() {
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
    fn without_guidance_there_is_one_positive_pass() {
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
