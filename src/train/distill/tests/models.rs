//! Small models and configs for the tests.

use super::*;

pub(super) type B = Autodiff<Flex>;

pub(super) const CROP: usize = 32;
pub(super) const TOKENS: usize = 2;
pub(super) const NEGATIVE: NegativePromptConfig = NegativePromptConfig {
    share: 0.2,
    weight: 0.1,
};

pub(super) fn learner() -> LearnerConfig {
    LearnerConfig {
        schedule: Schedule {
            steps: 1000,
            warm_up: 2,
            learning_rate: 1e-3,
            cool_down: 2,
            final_rate: 0.1,
        },
        weight_decay: 0.0,
        clip: 1.0,
        ema_decay: 0.5,
    }
}

pub(super) fn trainer_config(adversary: bool) -> TrainerConfig {
    TrainerConfig {
        data: DataConfig {
            pictures: Pictures::Procedural,
            seed: 3,
            batch: 2,
            crop: CROP,
            window: 1,
            fresh: 0.0,
            degradation: FirstOrderDegradation::default().into(),
        },
        learner: learner(),
        accumulate: 1,
        precision: Precision::Full,
        adversary: adversary.then(|| AdversaryConfig {
            weight: 0.05,
            discriminator: discriminator(),
            learner: learner(),
        }),
        samples_every: 0,
    }
}

pub(super) fn discriminator() -> DiscriminatorConfig {
    DiscriminatorConfig {
        features: vec![Feature::Down(0), Feature::Middle],
        width: 4,
    }
}

pub(super) fn unet(in_channels: usize, out_channels: usize) -> UNetConfig {
    UNetConfig {
        in_channels,
        out_channels,
        block_out_channels: vec![8, 8],
        layers_per_block: vec![1; 2],
        down_attention: vec![false, true],
        up_attention: vec![false; 2],
        num_heads: vec![1; 2],
        norm_num_groups: 4,
        ..UNetConfig::nano()
    }
}

pub(super) fn gendr() -> LatentConfig {
    LatentConfig {
        vae: VaeConfig {
            latent_channels: 4,
            block_out_channels: vec![4, 4, 4, 8],
            layers_per_block: 1,
            norm_num_groups: 2,
            ..VaeConfig::nano()
        },
        unet: unet(4, 4),
        ..LatentConfig::gendr_nano()
    }
}

pub(super) fn adc() -> LatentConfig {
    LatentConfig {
        unet: unet(192, 4),
        onestep: OneStep::paper(Prediction::Sample),
        ..gendr()
    }
}

pub(super) fn pix() -> GenDrPixConfig {
    GenDrPixConfig {
        unet: unet(192, 192),
        ..GenDrPixConfig::nano()
    }
}

/// Draws random weights. burn's generator belongs to the whole process, and tests share it.
struct RandomizeWeights(SmallRng);

impl ModuleMapper<B> for RandomizeWeights {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.map(|tensor| {
            let data = tensor.to_data();
            let mut values = data.iter::<f32>();
            let first = values.next();
            if values.all(|value| Some(value) == first) {
                return tensor; // a norm's
            }
            let shape = tensor.dims();
            let fan_in: usize = shape[1..].iter().product();
            let bound = 1.0 / (fan_in as f32).sqrt();
            let values = shape.iter().product();
            let values: Vec<_> = (0..values)
                .map(|_| self.0.random_range(-bound..bound))
                .collect();
            Tensor::from_data(TensorData::new(values, shape), &tensor.device()).require_grad()
        })
    }
}

pub(super) fn randomized<M: Module<B>>(module: M) -> M {
    module.map(&mut RandomizeWeights(SmallRng::seed_from_u64(1)))
}

pub(super) fn student(config: &UNetConfig) -> Student<B> {
    randomized(Student::new(config, TOKENS, &Default::default()).unwrap())
}

pub(super) fn vae() -> Vae<B> {
    randomized(gendr().vae.init(&Default::default()).unwrap())
}

/// The models of a distillation. A comparison of two training runs uses the same ones.
pub(super) struct TestModels {
    pub(super) vae: Vae<Flex>,
    pub(super) gendr: Student<Flex>,
    pub(super) adc: Student<B>,
    pub(super) pix: Student<B>,
    pub(super) start: StudentInit,
}

impl TestModels {
    pub(super) fn new() -> Self {
        Self {
            vae: vae().valid(),
            // Like a loaded model, it does not require gradients.
            gendr: student(&gendr().unet).valid().no_grad(),
            adc: student(&adc().unet),
            pix: student(&pix().unet),
            start: StudentInit::Random,
        }
    }

    pub(super) fn stage1(
        &self,
        config: TrainerConfig,
        folder: &Path,
    ) -> crate::Result<Trainer<B, Stage1Objective<Flex>>> {
        let objective = self.stage1_objective()?;
        let extractor = extractor(&self.gendr, gendr().timestep);
        let student = self.adc.clone();
        let (unet, identity) = (gendr().unet, config.clone());
        Trainer::new(
            config,
            objective,
            student,
            Some((extractor, &unet)),
            (folder, &identity),
            &Default::default(),
        )
    }

    pub(super) fn stage1_objective(&self) -> crate::Result<Stage1Objective<Flex>> {
        let teacher = (gendr(), self.gendr.clone(), self.vae.clone());
        Stage1Objective::new(adc(), teacher, self.start, NEGATIVE)
    }

    pub(super) fn stage2(
        &self,
        config: TrainerConfig,
        folder: &Path,
    ) -> crate::Result<Trainer<B, Stage2Objective<B>>> {
        let device = Default::default();
        let crop = config.data.crop;
        let losses = Stage2Losses {
            l2: 1.0,
            perceptual: PerceptualTerm::Pyramid(PyramidConfig::default().init()?),
            l3: 0.1,
            fourier: MaskedFourierConfig::default().init(crop, crop, &device)?,
            rand_pad: true,
            discriminator_input: DiscriminatorInput::UnshuffledPixels,
        };
        let teacher = (adc(), self.adc.valid(), self.vae.decoder.clone());
        let objective = Stage2Objective::new(pix(), teacher, self.start, losses, NEGATIVE)?;
        let extractor = extractor(&self.adc.valid(), adc().timestep);
        let (unet, identity) = (adc().unet, config.clone());
        Trainer::new(
            config,
            objective,
            self.pix.clone(),
            Some((extractor, &unet)),
            (folder, &identity),
            &device,
        )
    }
}

pub(super) fn extractor(teacher: &Student<Flex>, timestep: f64) -> FeatureExtractor<B> {
    let teacher = Student::<B>::from_inner(teacher.clone());
    let prompt = teacher.positive.val();
    FeatureExtractor::new(teacher.unet, timestep, prompt, &discriminator())
}
