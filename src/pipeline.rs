//! The model: image -> tensor -> resize -> pad -> unshuffle -> UNet -> one step -> shuffle -> crop -> blend -> image.

use crate::backend::Backend;
use crate::config::{GenDrPixConfig, PICTURE_CHANNELS};
use crate::error::{Error, Result};
use crate::guidance::{Padding, Prompt, passes};
use crate::options::Upscale;
use crate::padding::{Edge, crop, pad};
use crate::picture::Picture;
use crate::planes::Planes;
use crate::resize;
use crate::shuffle::{pixel_shuffle, pixel_unshuffle};
use crate::unet::Conditioning;
use crate::weights::{self, Source, Storage, Weights};
use burn::tensor::{Distribution, Tensor, TensorData};
use image::DynamicImage;
use std::path::Path;

/// A GenDR-Pix model, ready to run: `Send + Sync`, all methods take `&self`.
///
/// ```no_run
/// # #[cfg(all(feature = "flex", feature = "pretrained"))]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use gendr_pix::{GenDrPix, Upscale, backend};
///
/// let model = GenDrPix::<backend::Default>::pretrained(&Default::default())?;
/// let picture = image::open("in.jpg")?;
/// model.upscale(&picture)?.save("out.png")?;
/// model.upscale_with(&picture, &Upscale::new().scale(2.0))?.save("out2.png")?;
/// # Ok(())
/// # }
/// # #[cfg(not(all(feature = "flex", feature = "pretrained")))]
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct GenDrPix<B: Backend> {
    config: GenDrPixConfig,
    weights: Weights<B>,
    /// What the fixed timestep and the positive prompt leave to compute.
    positive: Conditioning<B>,
    /// The same with the negative prompt.
    negative: Conditioning<B>,
    device: B::Device,
}

impl<B: Backend> GenDrPix<B> {
    /// The bundled nano model (feature `pretrained`).
    ///
    /// # Errors
    ///
    /// None with the weights that the crate ships, but in a precision that cannot hold them.
    #[cfg(feature = "pretrained")]
    pub fn pretrained(device: &B::Device) -> Result<Self> {
        Self::from_bytes(include_bytes!("../assets/nano.safetensors"), device)
    }

    /// Loads a bundle file, or a diffusers UNet folder with `prompts.safetensors` in it.
    ///
    /// Weights of any precision on disk (f32, f16, bf16) become the backend's float type. A folder says nothing of the
    /// timestep and the prediction: it gets those of [`GenDrPixConfig::sd21`]; use
    /// [`from_parts`](Self::from_parts) for others.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when a file cannot be read, [`Error::Format`] when it is not what it should be,
    /// [`Error::Config`] when its numbers contradict each other, [`Error::Keys`] when tensors are missing, unused or
    /// of another shape, [`Error::NonFiniteWeight`] when one holds NaN or infinity.
    pub fn load(path: impl AsRef<Path>, device: &B::Device) -> Result<Self> {
        let path = path.as_ref();
        let (config, weights) = if path.is_dir() {
            let (unet, weights) = weights::load_diffusers(path, device)?;
            let config = GenDrPixConfig {
                unet,
                ..GenDrPixConfig::sd21()
            };
            (config, weights)
        } else {
            weights::load_bundle(Source::File(path.to_path_buf()), device)?
        };
        Self::from_parts(config, weights, device)
    }

    /// Loads a bundle that is in memory, as with `include_bytes!`.
    ///
    /// # Errors
    ///
    /// Those of [`load`](Self::load).
    pub fn from_bytes(bytes: &'static [u8], device: &B::Device) -> Result<Self> {
        let (config, weights) = weights::load_bundle(Source::Bytes(bytes), device)?;
        Self::from_parts(config, weights, device)
    }

    /// A model with random weights and prompts of `tokens` tokens, to measure or to train.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when the config contradicts itself or `tokens` is zero.
    pub fn new(config: GenDrPixConfig, tokens: usize, device: &B::Device) -> Result<Self> {
        let width = config.unet.cross_attention_dim;
        if tokens == 0 {
            return Err(Error::Config {
                field: "tokens",
                reason: "is zero".into(),
            });
        }
        let unet = config.unet.init(device)?;
        let prompt = || Tensor::random([tokens, width], Distribution::Normal(0.0, 1.0), device);
        let weights = Weights {
            unet,
            positive: prompt(),
            negative: prompt(),
        };
        Self::from_parts(config, weights, device)
    }

    /// Puts a model together: folds the timestep and the prompts into the UNet's conditioning.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when the config contradicts itself, [`Error::Shape`] when a prompt is not
    /// `[tokens, cross_attention_dim]`.
    pub fn from_parts(
        config: GenDrPixConfig,
        weights: Weights<B>,
        device: &B::Device,
    ) -> Result<Self> {
        config.validate()?;
        let width = config.unet.cross_attention_dim;
        for (what, prompt) in [
            ("positive prompt", &weights.positive),
            ("negative prompt", &weights.negative),
        ] {
            let [tokens, found] = prompt.dims();
            if tokens == 0 || found != width {
                return Err(Error::Shape {
                    what,
                    expected: format!("[tokens, {width}]"),
                    found: vec![tokens, found],
                });
            }
        }
        let fold = |prompt: &Tensor<B, 2>| {
            let prompt = prompt.clone().unsqueeze();
            weights.unet.condition(config.timestep, prompt)
        };
        Ok(Self {
            positive: fold(&weights.positive),
            negative: fold(&weights.negative),
            device: device.clone(),
            config,
            weights,
        })
    }

    /// Saves the model as a bundle, in the precision `storage`: into a file beside, then renamed.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the file cannot be written, [`Error::NonFiniteWeight`] when a weight does not fit the
    /// precision.
    pub fn save(&self, path: impl AsRef<Path>, storage: Storage) -> Result<()> {
        weights::save_bundle(path.as_ref(), &self.config, &self.weights, storage)
    }

    /// The model's numbers.
    pub fn config(&self) -> &GenDrPixConfig {
        &self.config
    }

    /// Enlarges a picture four times with the model's recommended guidance.
    ///
    /// # Errors
    ///
    /// Those of [`upscale_with`](Self::upscale_with).
    pub fn upscale(&self, picture: &DynamicImage) -> Result<DynamicImage> {
        self.upscale_with(picture, &Upscale::new())
    }

    /// Enlarges a picture. The result is of the same kind: 8 or 16 bits or float, grey or colour, with or without
    /// alpha. Float values beyond `0.0..=1.0` are clamped.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for an option out of range, [`Error::EmptyPicture`], [`Error::NonFinitePicture`],
    /// [`Error::OutputTooLarge`], and [`Error::NonFiniteOutput`] when the backend's precision is too low for the
    /// weights.
    pub fn upscale_with(&self, picture: &DynamicImage, options: &Upscale) -> Result<DynamicImage> {
        options.validate(self.config.factor)?;
        let [width, height] = options.output_size(picture.width(), picture.height())?;
        let picture = Picture::read(picture)?;
        let enlarged = resize::enlarge_by(&picture.rgb, options.scale, width, height);
        let restored = self.restore(self.to_tensor(enlarged), options)?;
        let restored = to_planes(restored)?;
        let alpha = |alpha| resize::enlarge_by(alpha, options.scale, width, height);
        Ok(picture.write(restored, picture.alpha.as_ref().map(alpha)))
    }

    /// Restores pictures that have their output size already: the whole method but for the resize.
    ///
    /// # Shapes
    ///
    /// - input and output: `[N, 3, H, W]`, any size from 1x1, RGB, sRGB-encoded, -1 to 1 (the output may pass it)
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for an option out of range, [`Error::Shape`] for a tensor of another shape.
    pub fn restore(&self, x: Tensor<B, 4>, options: &Upscale) -> Result<Tensor<B, 4>> {
        options.validate(self.config.factor)?;
        let dims = x.dims();
        if dims[1] != PICTURE_CHANNELS || dims.contains(&0) {
            return Err(Error::Shape {
                what: "picture",
                expected: "[N, 3, H, W] without a zero".into(),
                found: dims.to_vec(),
            });
        }
        let guidance = options.guidance.unwrap_or(self.config.guidance);
        let ensemble = options.ensemble.as_ref().unwrap_or(&self.config.ensemble);
        let blend = passes(guidance, ensemble, self.config.factor)
            .into_iter()
            .map(|pass| {
                let conditioning = match pass.prompt {
                    Prompt::Positive => &self.positive,
                    Prompt::Negative => &self.negative,
                };
                self.pass(x.clone(), pass.padding, options.edge, conditioning) * pass.weight
            })
            .reduce(|sum, pass| sum + pass);
        Ok(blend.expect("weights that add up to one leave a pass"))
    }

    /// One pass, the paper's `G(pad(x), c)` cropped back.
    fn pass(
        &self,
        x: Tensor<B, 4>,
        padding: Padding,
        edge: Edge,
        conditioning: &Conditioning<B>,
    ) -> Tensor<B, 4> {
        let factor = self.config.factor;
        let [_, _, h, w] = x.dims();
        let z = pixel_unshuffle(pad(x, padding, edge, factor), factor);
        let prediction = self.weights.unet.forward(z.clone(), conditioning);
        let x0 = self.config.onestep.x0(z, prediction);
        crop(pixel_shuffle(x0, factor), padding, [h, w])
    }

    /// Planes in 0..1 -> `[1, 3, H, W]` in -1..1.
    fn to_tensor(&self, planes: Planes) -> Tensor<B, 4> {
        let shape = [1, planes.channels, planes.height, planes.width];
        Tensor::from_data(TensorData::new(planes.data, shape), &self.device) * 2.0 - 1.0
    }
}

/// `[1, 3, H, W]` in -1..1 -> planes in 0..1.
fn to_planes<B: Backend>(tensor: Tensor<B, 4>) -> Result<Planes> {
    let [_, channels, height, width] = tensor.dims();
    let data = ((tensor + 1.0) * 0.5).into_data().convert::<f32>();
    let data: Vec<f32> = data.into_vec().expect("converted to f32 just now");
    if !data.iter().all(|value| value.is_finite()) {
        return Err(Error::NonFiniteOutput);
    }
    Ok(Planes::new(channels, width, height, data))
}
