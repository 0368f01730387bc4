//! Compares the VAE's gradients with finite differences, from the picture to the latent and back.
//! The UNet's tests check the gradients of the parameters of convolutions and norms.

use super::Vae;
use crate::testing::finite_difference as fd;
use crate::testing::finite_difference::{Tracked, random};
use crate::testing::golden::fixtures;
use burn::tensor::Tensor;

/// Returns the sum of the output's product with random numbers.
fn weigh(output: Tensor<Tracked, 4>) -> Tensor<Tracked, 1> {
    let weights = Tensor::from_inner(random(output.dims(), 2));
    (output * weights).sum()
}

#[test]
fn agree_with_finite_differences() {
    let folder = fixtures().join("vae_tiny");
    let (config, vae) = Vae::<Tracked>::load_diffusers(folder, &Default::default()).unwrap();
    let (factor, channels) = (config.factor(), config.latent_channels);
    fd::check(random([1, 3, 2 * factor, 3 * factor], 1), |picture| {
        let latent = vae.encoder.encode(picture, None);
        weigh(latent.mode()) + weigh(latent.std())
    });
    fd::check(random([1, channels, 2, 3], 1), |latent| {
        weigh(vae.decoder.decode(latent, None))
    });
}
