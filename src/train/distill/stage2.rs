//! Stage 2 drops the decoder too: GenDR-Pix learns from GenDR-Adc.

use super::frozen_teacher::FrozenTeacher;
use super::objective::{
    AdversarialSamples, BatchLoss, LossTerm, NegativePromptConfig, Objective, Pair, StudentState,
};
use super::student_init::{FitTarget, StudentInit};
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
/// The discriminator's feature extractor is the frozen UNet of stage 1, which reads
/// pixel-unshuffled pictures that RandPad has padded. For comparison, it can be GenDR's UNet.
#[derive(Debug)]
pub struct Stage2Objective<B: Backend + AutodiffBackend<InnerBackend: Backend>> {
    teacher: FrozenTeacher<B::InnerBackend>,
    decoder: VaeDecoder<B::InnerBackend>,
    config: GenDrPixConfig,
    start: StudentInit,
    losses: Stage2Losses<B>,
    negative: NegativePromptConfig,
}

/// The loss terms that stage 2 adds to L1, and the discriminator's input.
#[derive(Debug)]
pub struct Stage2Losses<B: Backend> {
    /// Weight `l2` of the perceptual loss, 1 in the paper. At 0 the loss is not computed.
    pub l2: f64,
    /// The perceptual loss `L_P`.
    pub perceptual: PerceptualTerm<B>,
    /// Weight `l3` of the masked Fourier space loss, 0.1 in the paper. At 0 the loss is not
    /// computed.
    pub l3: f64,
    /// The masked Fourier space loss `L_F`, for pictures of a crop's size.
    pub fourier: MaskedFourierLoss<B>,
    /// Whether RandPad pads the discriminator's samples.
    pub rand_pad: bool,
    /// Input of the discriminator's UNet.
    pub discriminator_input: DiscriminatorInput<B>,
}

/// The frozen UNet that is the feature extractor of stage 2's discriminator (paper, the ablation of
/// the discriminator).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiscriminatorUNet {
    /// GenDR-Adc's, the student of stage 1: the paper's choice.
    #[default]
    Adc,
    /// GenDR's, on latents of the VAE's encoder.
    Gendr,
}

/// The conversion of a picture to the input of the discriminator's UNet.
#[derive(Debug)]
pub enum DiscriminatorInput<B: Backend> {
    /// Pixel unshuffle, for [`DiscriminatorUNet::Adc`].
    UnshuffledPixels,
    /// A frozen encoder, for [`DiscriminatorUNet::Gendr`].
    Latent(Box<VaeEncoder<B>>),
}

impl<B: Backend> DiscriminatorInput<B> {
    /// Converts a picture.
    ///
    /// # Shapes
    ///
    /// - picture: `[N, 3, H, W]`, sides that are multiples of `factor`
    /// - output: `[N, in_channels, H / factor, W / factor]`
    pub(super) fn convert(&self, picture: Tensor<B, 4>, factor: usize) -> Tensor<B, 4> {
        match self {
            Self::UnshuffledPixels => pixel_unshuffle(picture, factor),
            Self::Latent(encoder) => encoder.to_latent(picture, None),
        }
    }
}

impl<B: Backend + AutodiffBackend<InnerBackend: Backend>> Stage2Objective<B> {
    /// Creates the objective of a GenDR-Pix with `config`. Its teacher is the GenDR-Adc given by a
    /// config, a UNet and a decoder.
    ///
    /// # Errors
    ///
    /// - The errors of [`GenDrPixConfig::validate`], [`LatentConfig::validate_adc`],
    ///   [`StudentInit::validate`] and [`NegativePromptConfig::validate`].
    /// - [`Error::Shape`] if a prompt does not fit the teacher's config.
    /// - [`Error::Config`] if the pixel unshuffle factors of student and teacher differ.
    pub fn new(
        config: GenDrPixConfig,
        (teacher_config, teacher, decoder): (
            LatentConfig,
            Student<B::InnerBackend>,
            VaeDecoder<B::InnerBackend>,
        ),
        start: StudentInit,
        losses: Stage2Losses<B>,
        negative: NegativePromptConfig,
    ) -> Result<Self> {
        config.validate()?;
        teacher_config.validate_adc()?;
        negative.validate()?;
        let (own, teachers) = (config.factor, teacher_config.vae.factor());
        if own != teachers {
            let reason = format!("is {own}, but the teacher's factor is {teachers}");
            let field = "factor";
            return Err(Error::Config { field, reason });
        }
        start.validate(&config.unet, &teacher_config.unet)?;
        Ok(Self {
            teacher: FrozenTeacher::new(teacher_config, &teacher)?,
            decoder,
            config,
            start,
            losses,
            negative,
        })
    }

    /// Computes the teacher's picture, `y_tea`: the output of GenDR-Adc for `x`.
    fn teacher_picture(
        &self,
        x: Tensor<B::InnerBackend, 4>,
        prompt: Prompt,
    ) -> Tensor<B::InnerBackend, 4> {
        let z = pixel_unshuffle(x, self.config.factor);
        self.decoder
            .to_picture(self.teacher.latent(z, prompt), None)
    }
}

/// The perceptual loss of stage 2.
#[derive(Debug)]
pub enum PerceptualTerm<B: Backend> {
    /// On VGG's features, with weights from a file.
    Vgg(Box<PerceptualLoss<B>>),
    /// The substitute that needs no weights.
    Pyramid(PyramidLoss),
}

impl<B: Backend> PerceptualTerm<B> {
    fn forward(&self, student: Tensor<B, 4>, target: Tensor<B, 4>) -> Tensor<B, 1> {
        match self {
            Self::Vgg(loss) => loss.forward(student, target),
            Self::Pyramid(loss) => loss.forward(student, target),
        }
    }
}

impl<B: Backend + AutodiffBackend<InnerBackend: Backend>> Objective<B> for Stage2Objective<B> {
    type Model = Student<B>;

    fn init_student(
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
        self.start.apply((student, timestep), teacher, pairs, |x| {
            let z = pixel_unshuffle(x.clone(), factor);
            let y_tea = self.teacher_picture(x, Prompt::Positive);
            FitTarget {
                first_layer: None,
                prediction: onestep.prediction_of(z.clone(), pixel_unshuffle(y_tea, factor)),
                z,
            }
        })
    }

    fn loss(
        &self,
        student: StudentState<'_, B, Student<B>>,
        Pair { input, target }: Pair<B>,
        rng: &mut SmallRng,
    ) -> BatchLoss<B> {
        let (prompt, weight) = self.negative.draw_prompt(rng);
        let y_tea = Tensor::from_inner(self.teacher_picture(input.clone().inner(), prompt));
        let y_stu = student.model.restore(&self.config, input, prompt);
        let Stage2Losses {
            l2,
            perceptual,
            l3,
            fourier,
            rand_pad,
            discriminator_input,
        } = &self.losses;
        let mut terms = vec![LossTerm {
            name: "L1",
            weight,
            value: l1(y_stu.clone(), y_tea.clone()),
        }];
        if *l2 > 0.0 {
            terms.push(LossTerm {
                name: "L_P",
                weight: l2 * weight,
                value: perceptual.forward(y_stu.clone(), y_tea.clone()),
            });
        }
        if *l3 > 0.0 {
            terms.push(LossTerm {
                name: "L_F",
                weight: l3 * weight,
                value: fourier.forward(y_stu.clone(), y_tea),
            });
        }
        let factor = self.config.factor;
        let padding = RandPad::draw(factor, rng);
        let discriminator_sample = |picture| {
            let padded = if *rand_pad {
                padding.apply(picture)
            } else {
                picture
            };
            discriminator_input.convert(padded, factor)
        };
        BatchLoss {
            terms,
            adversarial: (prompt == Prompt::Positive).then(|| AdversarialSamples {
                fake: discriminator_sample(y_stu),
                real: discriminator_sample(target),
            }),
        }
    }

    fn sample_output(
        &self,
        ema: &Student<B::InnerBackend>,
        pair: Pair<B::InnerBackend>,
    ) -> Tensor<B::InnerBackend, 4> {
        ema.restore(&self.config, pair.input, Prompt::Positive)
    }
}
