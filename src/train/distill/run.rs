//! Runs one training stage of the distillation. A stage reads the checkpoints of the stages before
//! it.

use super::config::DistillConfig;
use super::objective::Objective;
use super::stage1::Stage1Objective;
use super::stage2::{
    DiscriminatorInput, DiscriminatorUNet, PerceptualTerm, Stage2Losses, Stage2Objective,
};
use super::teacher::TeacherObjective;
use super::trainer::{STUDENT, StepReport, Trainer, TrainerConfig};
use super::training_stage::TrainingStage;
use super::vae::VaeObjective;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::latent::{Vae, VaeEncoder};
use crate::model::GenDrPix;
use crate::train::checkpoint::CheckpointFolder;
use crate::train::discriminator::FeatureExtractor;
use crate::train::learner::load_ema;
use crate::train::losses::PerceptualLoss;
use crate::train::replica::{Replica, run_replicas};
use crate::train::student::Student;
use crate::unet::UNetConfig;
use burn::module::{AutodiffModule, Module};
use burn::tensor::backend::AutodiffBackend;
use std::path::Path;

/// Trains one stage to its end, from its last checkpoint if it has one. Returns the finished model
/// after stage 2, and `None` after the other stages.
///
/// `on_step` receives a report after every step and returns whether to save a checkpoint. A
/// checkpoint is always saved at the end.
///
/// # Devices
///
/// Several devices (feature `collective`) share the [`accumulate`](TrainerConfig::accumulate)
/// batches of a step and sum their gradients. The result is that of one device, and a training run
/// may resume on a different number of devices. Each device has its own thread, with a replica of
/// the models and its own pictures. A device that is named several times runs as many replicas. A
/// fitted [`StudentInit`](super::StudentInit) uses the first device's share of the batches.
///
/// # Errors
///
/// - The errors of [`DistillConfig::validate`], [`Trainer::new`], [`Trainer::step`] and
///   [`Trainer::checkpoint`].
/// - [`Error::Format`] if an earlier stage has no checkpoint.
/// - [`Error::Config`] if there are no devices, if there are several without the feature
///   `collective`, or if the devices cannot share a step's batches evenly.
/// - [`Error::Collective`] if the devices fail to exchange their gradients.
pub fn distill<B: Backend + AutodiffBackend<InnerBackend: Backend>>(
    config: &DistillConfig,
    stage: TrainingStage,
    folder: &Path,
    devices: &[B::Device],
    mut on_step: impl FnMut(&StepReport) -> bool,
) -> Result<Option<GenDrPix<B::InnerBackend>>> {
    config.validate()?;
    let run = |replica, device: &_, on_step: &mut dyn FnMut(&StepReport) -> bool| {
        run_replica::<B>(config, stage, folder, (replica, device), on_step)
    };
    run_replicas::<B, _>(
        devices,
        |replica, device| run(replica, device, &mut on_step),
        |replica, device| run(replica, device, &mut |_| false).map(drop),
    )
}

/// Trains one replica.
fn run_replica<B: Backend + AutodiffBackend<InnerBackend: Backend>>(
    config: &DistillConfig,
    stage: TrainingStage,
    folder: &Path,
    replica @ (_, device): (Replica, &B::Device),
    on_step: &mut dyn FnMut(&StepReport) -> bool,
) -> Result<Option<GenDrPix<B::InnerBackend>>> {
    let trained_vae = || -> Result<Vae<B::InnerBackend>> {
        let empty = config.gendr.vae.init(device)?;
        load_trained(empty, config, TrainingStage::Vae, folder, device)
    };
    let new_student = |unet: &UNetConfig| Student::<B>::new(unet, config.prompt_tokens, device);
    let trained_student = |unet: &UNetConfig, stage| -> Result<Student<B::InnerBackend>> {
        load_trained(new_student(unet)?.valid(), config, stage, folder, device)
    };
    let extractor = |model: &Student<B::InnerBackend>, timestep, trainer: &TrainerConfig| {
        trainer.adversary.as_ref().map(|adversary| {
            let model = Student::<B>::from_inner(model.clone());
            let prompt = model.positive.val();
            FeatureExtractor::new(model.unet, timestep, prompt, &adversary.discriminator)
        })
    };
    let path = folder.join(stage.folder());
    let checkpoints = (path.as_path(), &config.identity(stage));
    match stage {
        TrainingStage::Vae => {
            let own = &config.vae;
            let objective = VaeObjective {
                config: own.loss.clone(),
                perceptual: own.pyramid.init()?,
            };
            let student: Vae<B> = config.gendr.vae.init(device)?;
            let trainer = own.trainer.clone();
            let trainer =
                Trainer::replica(trainer, objective, student, None, checkpoints, replica)?;
            train(trainer, on_step)?;
        }
        TrainingStage::Teacher => {
            let gendr = &config.gendr;
            let objective = TeacherObjective::new(gendr.clone(), trained_vae()?, config.negative)?;
            let student = new_student(&gendr.unet)?;
            let trainer = config.teacher.clone();
            let trainer =
                Trainer::replica(trainer, objective, student, None, checkpoints, replica)?;
            train(trainer, on_step)?;
        }
        TrainingStage::Stage1 => {
            let (unet, own) = (&config.gendr.unet, &config.stage1);
            let teacher = trained_student(unet, TrainingStage::Teacher)?;
            let extractor = extractor(&teacher, config.gendr.timestep, &own.trainer);
            let teacher = (config.gendr.clone(), teacher, trained_vae()?);
            let objective =
                Stage1Objective::new(config.adc.clone(), teacher, own.start, config.negative)?;
            let student = new_student(&config.adc.unet)?;
            let extractor = extractor.map(|extractor| (extractor, unet));
            let trainer = own.trainer.clone();
            let trainer =
                Trainer::replica(trainer, objective, student, extractor, checkpoints, replica)?;
            train(trainer, on_step)?;
        }
        TrainingStage::Stage2 => {
            let own = &config.stage2;
            let teacher = trained_student(&config.adc.unet, TrainingStage::Stage1)?;
            let vae = trained_vae()?;
            let extractor_model = config.extractor_model();
            let (extractor_student, discriminator_input) = match own.discriminator_unet {
                DiscriminatorUNet::Adc => (teacher.clone(), DiscriminatorInput::UnshuffledPixels),
                DiscriminatorUNet::Gendr => {
                    let encoder = VaeEncoder::<B>::from_inner(vae.encoder).no_grad();
                    let gendr = trained_student(&extractor_model.unet, TrainingStage::Teacher)?;
                    (gendr, DiscriminatorInput::Latent(Box::new(encoder)))
                }
            };
            let extractor = extractor(&extractor_student, extractor_model.timestep, &own.trainer);
            let teacher = (config.adc.clone(), teacher, vae.decoder);
            let crop = own.trainer.data.crop;
            let losses = Stage2Losses {
                l2: own.l2,
                perceptual: match &own.vgg {
                    Some(path) => {
                        PerceptualTerm::Vgg(Box::new(PerceptualLoss::load(path, device)?))
                    }
                    None => PerceptualTerm::Pyramid(own.pyramid.init()?),
                },
                l3: own.l3,
                fourier: own.fourier.init(crop, crop, device)?,
                rand_pad: own.rand_pad,
                discriminator_input,
            };
            let pix = &config.pix;
            let objective =
                Stage2Objective::new(pix.clone(), teacher, own.start, losses, config.negative)?;
            let student = new_student(&pix.unet)?;
            let extractor = extractor.map(|extractor| (extractor, &extractor_model.unet));
            let trainer = own.trainer.clone();
            let trainer =
                Trainer::replica(trainer, objective, student, extractor, checkpoints, replica)?;
            let weights = train(trainer, on_step)?.weights();
            return GenDrPix::from_parts(pix.clone(), weights, device).map(Some);
        }
    }
    Ok(None)
}

/// Trains to the end and returns the averaged weights.
fn train<B, O>(
    mut trainer: Trainer<B, O>,
    on_step: &mut dyn FnMut(&StepReport) -> bool,
) -> Result<<O::Model as AutodiffModule<B>>::InnerModule>
where
    B: Backend + AutodiffBackend<InnerBackend: Backend>,
    O: Objective<B>,
{
    while !trainer.finished() {
        let report = trainer.step()?;
        if on_step(&report) || trainer.finished() {
            trainer.checkpoint()?;
        }
    }
    Ok(trainer.ema().clone())
}

/// Loads the averaged weights of `stage` into `empty`.
fn load_trained<B: Backend, M: Module<B>>(
    empty: M,
    config: &DistillConfig,
    stage: TrainingStage,
    folder: &Path,
    device: &B::Device,
) -> Result<M> {
    let folder = folder.join(stage.folder());
    let checkpoints = CheckpointFolder::new(&folder, &config.identity(stage));
    let Some((_, checkpoint)) = checkpoints.latest()? else {
        return Err(Error::format(
            folder,
            "has no checkpoint: train this stage first",
        ));
    };
    load_ema(empty, &checkpoint, STUDENT, device)
}
