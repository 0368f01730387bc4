//! The training runs that make up a distillation, in order.

use serde::{Deserialize, Serialize};

/// A stage of the distillation. Each stage needs the results of the stages before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainingStage {
    /// Trains the VAE.
    Vae,
    /// Trains the teacher, GenDR.
    Teacher,
    /// The paper's stage 1: trains GenDR-Adc.
    Stage1,
    /// The paper's stage 2: trains GenDR-Pix.
    Stage2,
}

impl TrainingStage {
    /// Name of the folder that holds this stage's checkpoints, inside the folder of the
    /// distillation.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::Vae => "vae",
            Self::Teacher => "teacher",
            Self::Stage1 => "stage1",
            Self::Stage2 => "stage2",
        }
    }
}
