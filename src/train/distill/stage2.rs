//! Stage 2, the decoder dropped too: GenDR-Pix learns from GenDR-Adc.

use super::frozen::Frozen;
use super::stage::{Examined, Negative, Pair, Pupil, Samples, Stage, Term};
use super::start::{Aim, Start};
use crate::backend::Backend;
use crate::config::GenDrPixConfig;
use crate::error::{Error, Result};
use crate::latent::{LatentConfig, VaeDecoder, VaeEncoder};
use crate::restore::guidance::Prompt;
use crate::restore::shuffle::pixel_unshuffle;
use crate::train::discriminator::RandPad;
use crate::train::losses::{MaskedFourierLoss, PerceptualLoss, PyramidLoss, l1};
use crate::train::student::Student;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};

/// `L_G2 = | y_tea - y_stu |_1 + l1 * softplus(-D(y_stu)) + l2 * L_P + l3 * L_F` (paper, stage 2).
///
/// The discriminator's frozen UNet is stage 1's, which reads pixel-unshuffled pictures, padded by RandPad; or, to compare,
/// GenDR's.
pub struct Stage2<B: Backend + AutodiffBackend<InnerBackend: Backend>> {
    teacher: Frozen<B::InnerBackend>,
    decoder: VaeDecoder<B::InnerBackend>,
    config: GenDrPixConfig,
    start: Start,
    losses: Stage2Losses<B>,
    negative: Negative,
}

/// What stage 2 adds to L1, and to the discriminator's view.
pub struct Stage2Losses<B: Backend> {
    /// `l2`, 1 in the paper; nothing is computed for 0.
    pub l2: f64,
    /// `L_P`.
    pub perceptual: Perceptual<B>,
    /// `l3`, 0.1 in the paper; nothing is computed for 0.
    pub l3: f64,
    /// `L_F`, for pictures of a crop's size.
    pub fourier: MaskedFourierLoss<B>,
    /// Whether RandPad is applied before the discriminator.
    pub rand_pad: bool,
    /// What the discriminator's UNet reads.
    pub view: View<B>,
}

/// Whose frozen UNet stage 2's discriminator sees with (paper, the ablation of the discriminator).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judge {
    /// GenDR-Adc's, stage 1's student: the paper's choice.
    #[default]
    Adc,
    /// GenDR's, by way of the VAE's encoder.
    Gendr,
}

/// What the discriminator's UNet makes of a picture before it looks at it.
pub enum View<B: Backend> {
    /// Cells of pixels, for [`Judge::Adc`].
    Cells,
    /// The latent of a frozen encoder, for [`Judge::Gendr`].
    Latent(Box<VaeEncoder<B>>),
}

impl<B: Backend> View<B> {
    /// `[N, 3, H, W]` in whole cells -> `[N, in_channels, h, w]`
    pub(super) fn of(&self, picture: Tensor<B, 4>, factor: usize) -> Tensor<B, 4> {
        match self {
            Self::Cells => pixel_unshuffle(picture, factor),
            Self::Latent(encoder) => encoder.to_latent(picture, None),
        }
    }
}

impl<B: Backend + AutodiffBackend<InnerBackend: Backend>> Stage2<B> {
    /// The stage of a GenDR-Pix of `config`, taught by the GenDR-Adc of `teacher` and `decoder`.
    ///
    /// # Errors
    ///
    /// Those of [`GenDrPixConfig::validate`], [`LatentConfig::validate_adc`], [`Start::validate`] and
    /// [`Negative::validate`]; [`Error::Shape`] when a prompt does not fit the teacher's config; [`Error::Config`] when the cells of student
    /// and teacher differ.
    pub fn new(
        config: GenDrPixConfig,
        (teacher_config, teacher, decoder): (
            LatentConfig,
            Student<B::InnerBackend>,
            VaeDecoder<B::InnerBackend>,
        ),
        start: Start,
        losses: Stage2Losses<B>,
        negative: Negative,
    ) -> Result<Self> {
        config.validate()?;
        teacher_config.validate_adc()?;
        negative.validate()?;
        let (own, teachers) = (config.factor, teacher_config.vae.factor());
        if own != teachers {
            let reason = format!("is {own}, but the teacher's cells are of {teachers} pixels");
            let field = "factor";
            return Err(Error::Config { field, reason });
        }
        start.validate(&config.unet, &teacher_config.unet)?;
        Ok(Self {
            teacher: Frozen::new(teacher_config, &teacher)?,
            decoder,
            config,
            start,
            losses,
            negative,
        })
    }
}

/// The perceptual loss: on VGG's features, or without weights.
pub enum Perceptual<B: Backend> {
    /// Of weights that the user gave.
    Vgg(Box<PerceptualLoss<B>>),
    /// The stand-in.
    Pyramid(PyramidLoss),
}

impl<B: Backend> Perceptual<B> {
    fn forward(&self, student: Tensor<B, 4>, target: Tensor<B, 4>) -> Tensor<B, 1> {
        match self {
            Self::Vgg(loss) => loss.forward(student, target),
            Self::Pyramid(loss) => loss.forward(student, target),
        }
    }
}

impl<B: Backend + AutodiffBackend<InnerBackend: Backend>> Stage<B> for Stage2<B> {
    type Student = Student<B>;

    fn start(
        &self,
        student: &mut Student<B>,
        pairs: &mut dyn Iterator<Item = Pair<B>>,
    ) -> Result<()> {
        let GenDrPixConfig {
            factor,
            timestep,
            onestep,
            ..
        } = self.config;
        let teacher = &self.teacher.unet.weights;
        self.start.set_up((student, timestep), teacher, pairs, |x| {
            let z = pixel_unshuffle(x.clone(), factor);
            let y_tea = self.teach(x, Prompt::Positive);
            Aim {
                first: None,
                prediction: onestep.prediction_of(z.clone(), pixel_unshuffle(y_tea, factor)),
                z,
            }
        })
    }

    fn examine(
        &self,
        pupil: Pupil<'_, B, Student<B>>,
        Pair { input, target }: Pair<B>,
        rng: &mut SmallRng,
    ) -> Examined<B> {
        let (prompt, weight) = self.negative.draw(rng);
        let y_tea = Tensor::from_inner(self.teach(input.clone().inner(), prompt));
        let y_stu = pupil.model.restore(&self.config, input, prompt);
        let Stage2Losses {
            l2,
            perceptual,
            l3,
            fourier,
            rand_pad,
            view,
        } = &self.losses;
        let mut terms = vec![Term {
            name: "L1",
            weight,
            value: l1(y_stu.clone(), y_tea.clone()),
        }];
        if *l2 > 0.0 {
            terms.push(Term {
                name: "L_P",
                weight: l2 * weight,
                value: perceptual.forward(y_stu.clone(), y_tea.clone()),
            });
        }
        if *l3 > 0.0 {
            terms.push(Term {
                name: "L_F",
                weight: l3 * weight,
                value: fourier.forward(y_stu.clone(), y_tea),
            });
        }
        let factor = self.config.factor;
        let padding = RandPad::draw(factor, rng);
        let seen = |picture| {
            let padded = if *rand_pad {
                padding.apply(picture)
            } else {
                picture
            };
            view.of(padded, factor)
        };
        Examined {
            terms,
            samples: (prompt == Prompt::Positive).then(|| Samples {
                fake: seen(y_stu),
                real: seen(target),
            }),
        }
    }
    fn sample(
        &self,
        average: &Student<B::InnerBackend>,
        pair: Pair<B::InnerBackend>,
    ) -> Tensor<B::InnerBackend, 4> {
        average.restore(&self.config, pair.input, Prompt::Positive)
    }
}

impl<B: Backend + AutodiffBackend<InnerBackend: Backend>> Stage2<B> {
    /// The previous pipeline's picture, `y_tea`: GenDR-Adc's.
    fn teach(&self, x: Tensor<B::InnerBackend, 4>, prompt: Prompt) -> Tensor<B::InnerBackend, 4> {
        let z = pixel_unshuffle(x, self.config.factor);
        self.decoder
            .to_picture(self.teacher.latent(z, prompt), None)
    }
}
