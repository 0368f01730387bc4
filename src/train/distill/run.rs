//! One stage after the other, each from the folder that the one before left.

use super::config::DistillConfig;
use super::stage::Stage;
use super::stage1::Stage1;
use super::stage2::{Judge, Perceptual, Stage2, Stage2Losses, View};
use super::teacher::TeacherStage;
use super::trainer::{Report, STUDENT, Trainer, TrainerConfig};
use super::vae::VaeStage;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::latent::{Vae, VaeEncoder};
use crate::model::GenDrPix;
use crate::train::checkpoint::Checkpoints;
use crate::train::discriminator::Eyes;
use crate::train::learner::load_average;
use crate::train::losses::PerceptualLoss;
use crate::train::replica::{Replica, on_each};
use crate::train::student::Student;
use crate::unet::UNetConfig;
use burn::module::{AutodiffModule, Module};
use burn::tensor::backend::AutodiffBackend;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A stage of the distillation; each needs those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// The VAE.
    Vae,
    /// GenDR.
    Teacher,
    /// GenDR-Adc.
    Stage1,
    /// GenDR-Pix.
    Stage2,
}

impl Pass {
    /// The folder of its checkpoints in that of the distillation.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Vae => "vae",
            Self::Teacher => "teacher",
            Self::Stage1 => "stage1",
            Self::Stage2 => "stage2",
        }
    }
}

/// Trains one stage to its end, from its last checkpoint if there is one. `follow` is told of every step, and says
/// whether a checkpoint is to be saved now; one is saved at the end in any case. Gives the model that stage 2 made.
///
/// # Devices
///
/// Several devices (feature `collective`) share a step's batches, [`accumulate`](TrainerConfig::accumulate) of them, and sum
/// up their gradients, so that they make what one would, and a training may go on on another number of them. Each has a
/// thread that holds a replica of the models and the pictures of its own. One device named several times runs as many
/// replicas. A fitted [`Start`](super::Start) is fitted on the first device's share.
///
/// # Errors
///
/// Those of [`DistillConfig::validate`], [`Trainer::new`], [`Trainer::step`] and [`Trainer::checkpoint`];
/// [`Error::Format`] when a stage before has left no checkpoint; [`Error::Config`] when there are no devices, several
/// without the feature `collective`, or as many as cannot share a step's batches; [`Error::Collective`] when they fail to
/// exchange their gradients.
pub fn distill<B: Backend + AutodiffBackend<InnerBackend: Backend>>(
    config: &DistillConfig,
    pass: Pass,
    folder: &Path,
    devices: &[B::Device],
    mut follow: impl FnMut(&Report) -> bool,
) -> Result<Option<GenDrPix<B::InnerBackend>>> {
    config.validate()?;
    let run = |replica, device: &_, follow: &mut dyn FnMut(&Report) -> bool| {
        run::<B>(config, pass, folder, (replica, device), follow)
    };
    on_each::<B, _>(
        devices,
        |replica, device| run(replica, device, &mut follow),
        |replica, device| run(replica, device, &mut |_| false).map(drop),
    )
}

/// The part of one replica.
fn run<B: Backend + AutodiffBackend<InnerBackend: Backend>>(
    config: &DistillConfig,
    pass: Pass,
    folder: &Path,
    on @ (_, device): (Replica, &B::Device),
    follow: &mut dyn FnMut(&Report) -> bool,
) -> Result<Option<GenDrPix<B::InnerBackend>>> {
    let vae = || -> Result<Vae<B::InnerBackend>> {
        let empty = config.gendr.vae.init(device)?;
        last_of(empty, config, Pass::Vae, folder, device)
    };
    let student = |unet: &UNetConfig| Student::<B>::new(unet, config.prompt_tokens, device);
    let taught = |unet: &UNetConfig, pass| -> Result<Student<B::InnerBackend>> {
        last_of(student(unet)?.valid(), config, pass, folder, device)
    };
    let eyes = |teacher: &Student<B::InnerBackend>, timestep, trainer: &TrainerConfig| {
        trainer.adversary.as_ref().map(|adversary| {
            let teacher = Student::<B>::from_inner(teacher.clone());
            let prompt = teacher.positive.val();
            Eyes::new(teacher.unet, timestep, prompt, &adversary.discriminator)
        })
    };
    let path = folder.join(pass.folder());
    let own = (path.as_path(), &config.identity(pass));
    match pass {
        Pass::Vae => {
            let run = &config.vae;
            let stage = VaeStage {
                config: run.loss.clone(),
                perceptual: run.pyramid.init()?,
            };
            let pupil: Vae<B> = config.gendr.vae.init(device)?;
            let trainer = Trainer::replica(run.trainer.clone(), stage, pupil, None, own, on)?;
            train(trainer, follow)?;
        }
        Pass::Teacher => {
            let stage = TeacherStage::new(config.gendr.clone(), vae()?, config.negative)?;
            let pupil = student(&config.gendr.unet)?;
            let trainer = Trainer::replica(config.teacher.clone(), stage, pupil, None, own, on)?;
            train(trainer, follow)?;
        }
        Pass::Stage1 => {
            let (unet, run) = (&config.gendr.unet, &config.stage1);
            let teacher = taught(unet, Pass::Teacher)?;
            let eyes = eyes(&teacher, config.gendr.timestep, &run.trainer);
            let teacher = (config.gendr.clone(), teacher, vae()?);
            let stage = Stage1::new(config.adc.clone(), teacher, run.start, config.negative)?;
            let pupil = student(&config.adc.unet)?;
            let eyes = eyes.map(|eyes| (eyes, unet));
            let trainer = Trainer::replica(run.trainer.clone(), stage, pupil, eyes, own, on)?;
            train(trainer, follow)?;
        }
        Pass::Stage2 => {
            let run = &config.stage2;
            let teacher = taught(&config.adc.unet, Pass::Stage1)?;
            let vae = vae()?;
            let judge = config.judge();
            let (judging, view) = match run.judge {
                Judge::Adc => (teacher.clone(), View::Cells),
                Judge::Gendr => {
                    let encoder = VaeEncoder::<B>::from_inner(vae.encoder).no_grad();
                    let gendr = taught(&judge.unet, Pass::Teacher)?;
                    (gendr, View::Latent(Box::new(encoder)))
                }
            };
            let eyes = eyes(&judging, judge.timestep, &run.trainer);
            let teacher = (config.adc.clone(), teacher, vae.decoder);
            let crop = run.trainer.data.crop;
            let losses = Stage2Losses {
                l2: run.l2,
                perceptual: match &run.vgg {
                    Some(path) => Perceptual::Vgg(Box::new(PerceptualLoss::load(path, device)?)),
                    None => Perceptual::Pyramid(run.pyramid.init()?),
                },
                l3: run.l3,
                fourier: run.fourier.init(crop, crop, device)?,
                rand_pad: run.rand_pad,
                view,
            };
            let stage = Stage2::new(
                config.pix.clone(),
                teacher,
                run.start,
                losses,
                config.negative,
            )?;
            let pupil = student(&config.pix.unet)?;
            let eyes = eyes.map(|eyes| (eyes, &judge.unet));
            let trainer = Trainer::replica(run.trainer.clone(), stage, pupil, eyes, own, on)?;
            let weights = train(trainer, follow)?.weights();
            return GenDrPix::from_parts(config.pix.clone(), weights, device).map(Some);
        }
    }
    Ok(None)
}

/// Trains to the end, and gives the averaged weights.
fn train<B, S>(
    mut trainer: Trainer<B, S>,
    follow: &mut dyn FnMut(&Report) -> bool,
) -> Result<<S::Student as AutodiffModule<B>>::InnerModule>
where
    B: Backend + AutodiffBackend<InnerBackend: Backend>,
    S: Stage<B>,
{
    while !trainer.finished() {
        let report = trainer.step()?;
        if follow(&report) || trainer.finished() {
            trainer.checkpoint()?;
        }
    }
    Ok(trainer.average().clone())
}

/// The averaged weights that `pass` left, in the place of those of `empty`.
fn last_of<B: Backend, M: Module<B>>(
    empty: M,
    config: &DistillConfig,
    pass: Pass,
    folder: &Path,
    device: &B::Device,
) -> Result<M> {
    let folder = folder.join(pass.folder());
    let Some((_, checkpoint)) = Checkpoints::new(&folder, &config.identity(pass)).latest()? else {
        return Err(Error::Format {
            path: folder,
            reason: "has no checkpoint: train this stage first".to_owned(),
        });
    };
    load_average(empty, &checkpoint, STUDENT, device)
}
