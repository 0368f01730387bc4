//! The losses of the paper's training. The file of each loss states its formula and source.
//!
//! | loss | compares | in the paper |
//! | --- | --- | --- |
//! | [`l1`] | pixels | first term of both stages |
//! | [`generator_loss`], [`discriminator_loss`] | logits of a discriminator | `l1 = 0.05` |
//! | [`PerceptualLoss`] | VGG16's features, from a file of its weights | `L_P`, `l2 = 1` |
//! | [`PyramidLoss`] | bands of detail, without weights | substitute for `L_P` if there is no weights file |
//! | [`MaskedFourierLoss`] | amplitudes at the frequencies of pixel shuffle artefacts | `L_F`, `l3 = 0.1` |

mod adversarial;
mod fourier;
mod perceptual;
mod pixel;
mod pyramid;
mod vgg;

pub use adversarial::{discriminator_loss, generator_loss};
pub use fourier::{MaskedFourierConfig, MaskedFourierLoss, WindowShape};
pub use perceptual::PerceptualLoss;
pub use pixel::l1;
pub use pyramid::{PyramidConfig, PyramidLoss};
pub use vgg::VggConfig;
