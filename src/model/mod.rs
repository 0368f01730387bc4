//! The GenDR-Pix model:
//! `image -> resize -> pad -> unshuffle -> UNet -> one step -> shuffle -> crop -> blend -> correct -> image`.

mod job;
pub(crate) mod plan;
pub(crate) mod prompted;
pub(crate) mod self_test;
mod warm_up;

use crate::backend::Backend;
use crate::backend::precision::{Precision, check_precision, float_type};
use crate::config::GenDrPixConfig;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::options::Upscale;
use crate::options::progress::{Phase, Watch};
use crate::options::restore::Restore;
use crate::picture::{Picture, ReadAhead};
use crate::restore::check_shape;
use crate::upscale::enlarge;
use crate::weights::{self, Storage, Weights, WeightsSource};
use burn::tensor::{DType, Tensor, read_sync};
use image::DynamicImage;
use plan::Plan;
use prompted::{PromptedUNet, random_weights};
use std::borrow::Cow;
use std::path::Path;

/// A GenDR-Pix model with its weights. It is `Send + Sync`, and running it takes `&self`, so
/// threads can share it.
///
/// ```no_run
/// # #[cfg(all(feature = "flex", feature = "pretrained"))]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use gendr_pix::{GenDrPix, Upscale, backend};
///
/// let model = GenDrPix::<backend::Cpu>::pretrained(&Default::default())?;
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
    unet: PromptedUNet<B>,
    device: B::Device,
}

impl<B: Backend> GenDrPix<B> {
    /// Loads the bundled nano model (feature `pretrained`).
    ///
    /// # Errors
    ///
    /// [`Error::Precision`] if the device does not support the backend's precision,
    /// [`Error::NonFiniteWeight`] if a weight overflows in that precision.
    #[cfg(feature = "pretrained")]
    pub fn pretrained(device: &B::Device) -> Result<Self> {
        // A static, so that the program contains the bytes once and not once for each backend.
        static NANO: &[u8] = include_bytes!("../../assets/nano.safetensors");
        Self::from_bytes(NANO, device)
    }

    /// Loads a bundle file, or a diffusers UNet folder that contains `prompts.safetensors`.
    ///
    /// The file may contain weights in f32, f16 or bf16. They are converted to the backend's float
    /// type. A folder stores neither the timestep nor the kind of prediction, so those of
    /// [`GenDrPixConfig::sd21`] are used. Use [`from_parts`](Self::from_parts) for others.
    ///
    /// # Errors
    ///
    /// - [`Error::Io`] if a file cannot be read.
    /// - [`Error::Format`] if it is not a valid bundle or folder.
    /// - [`Error::Config`] if the config contradicts itself or is not supported.
    /// - [`Error::Keys`] if tensors are missing, unused or have another shape.
    /// - [`Error::NonFiniteWeight`] if a weight is not finite in the backend's precision.
    /// - [`Error::Precision`] if the device does not support that precision.
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
            weights::load_bundle(WeightsSource::File(path.to_path_buf()), device)?
        };
        Self::from_parts(config, weights, device)
    }

    /// Loads a bundle from memory. Static bytes (`include_bytes!`) are not copied as a whole. Owned
    /// bytes, such as a download, are dropped after loading.
    ///
    /// # Errors
    ///
    /// The errors of [`load`](Self::load).
    pub fn from_bytes(bytes: impl Into<Cow<'static, [u8]>>, device: &B::Device) -> Result<Self> {
        let source = WeightsSource::Bytes(bytes.into());
        let (config, weights) = weights::load_bundle(source, device)?;
        Self::from_parts(config, weights, device)
    }

    /// Creates a model with random weights and random prompts of `tokens` tokens, for measurements
    /// or for training.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the config contradicts itself or `tokens` is zero, [`Error::Precision`]
    /// if the device does not support the backend's precision.
    pub fn new(config: GenDrPixConfig, tokens: usize, device: &B::Device) -> Result<Self> {
        let weights = random_weights(&config.unet, tokens, device)?;
        Self::from_parts(config, weights, device)
    }

    /// Creates a model from its parts. Computes the UNet's conditioning from the timestep and the
    /// prompts.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the config contradicts itself, [`Error::Shape`] if a prompt is not
    /// `[tokens, cross_attention_dim]`, [`Error::Precision`] if the device does not support the
    /// backend's precision.
    pub fn from_parts(
        config: GenDrPixConfig,
        weights: Weights<B>,
        device: &B::Device,
    ) -> Result<Self> {
        config.validate()?;
        check_precision::<B>(device, float_type::<B>())?;
        Ok(Self {
            unet: PromptedUNet::new(&config.unet, config.timestep, weights)?,
            device: device.clone(),
            config,
        })
    }

    /// Returns the parts of the model: the inverse of [`from_parts`](Self::from_parts). The weights
    /// have the model's [`precision`](Self::precision).
    #[must_use]
    pub fn into_parts(self) -> (GenDrPixConfig, Weights<B>) {
        (self.config, self.unet.weights)
    }

    /// Converts the weights and the computations of the model to another precision.
    ///
    /// # Errors
    ///
    /// [`Error::Precision`] if the device does not support it.
    pub fn in_precision(self, precision: Precision) -> Result<Self> {
        check_precision::<B>(&self.device, precision.dtype::<B>())?;
        Ok(Self {
            unet: self.unet.in_precision(precision),
            ..self
        })
    }

    /// Saves the model as a bundle with weights of the type `storage`. The bundle is written to a
    /// temporary file in the same folder, which is renamed when it is complete.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be written, [`Error::NonFiniteWeight`] if a weight
    /// overflows in that type.
    pub fn save(&self, path: impl AsRef<Path>, storage: Storage) -> Result<()> {
        weights::save_bundle(path.as_ref(), &self.config, &self.unet.weights, storage)
    }

    /// Returns the config of the model.
    #[must_use]
    pub fn config(&self) -> &GenDrPixConfig {
        &self.config
    }

    pub(crate) fn device(&self) -> &B::Device {
        &self.device
    }

    /// Returns the precision of the weights and the layers. [`Precision::Full`] is the backend's
    /// float type.
    #[must_use]
    pub fn precision(&self) -> Precision {
        match self.dtype() == float_type::<B>() {
            true => Precision::Full,
            false => Precision::Bf16,
        }
    }

    /// Returns the float type of the weights and the layers.
    pub(crate) fn dtype(&self) -> DType {
        self.unet.weights.positive.dtype()
    }

    /// Returns the number of tokens of a prompt.
    pub(crate) fn prompt_tokens(&self) -> usize {
        self.unet.weights.positive.dims()[0]
    }

    /// Copies the model to another backend.
    #[cfg(any(feature = "flex", feature = "ndarray"))]
    pub(crate) fn on<C: Backend>(&self, device: &C::Device) -> Result<GenDrPix<C>> {
        let weights = self.unet.weights.to_backend(&self.config.unet, device)?;
        GenDrPix::from_parts(self.config.clone(), weights, device)
    }

    /// Enlarges a picture four times with the guidance and the paddings that the model recommends.
    ///
    /// # Errors
    ///
    /// The errors of [`upscale_with`](Self::upscale_with).
    pub fn upscale(&self, picture: &DynamicImage) -> Result<DynamicImage> {
        self.upscale_with(picture, &Upscale::new())
    }

    /// Enlarges a picture. The result has the color type of the input: 8 or 16 bits or float, grey
    /// or colour, with or without alpha. Float values are clamped to `0.0..=1.0` for the model. The
    /// difference to the original values is enlarged by linear interpolation and added to the
    /// result.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for an option out of range, [`Error::EmptyPicture`],
    /// [`Error::NonFinitePicture`], [`Error::OutputTooLarge`], [`Error::OverBudget`],
    /// [`Error::Device`], [`Error::Cancelled`], and [`Error::NonFiniteOutput`] or
    /// [`Error::ConstantOutput`] if the backend's precision is too low for the weights.
    pub fn upscale_with(&self, picture: &DynamicImage, options: &Upscale) -> Result<DynamicImage> {
        read_sync(self.upscale_async(picture, options))
    }

    /// Like [`upscale_with`](Self::upscale_with), but awaits the results of a GPU, once for each
    /// row of tiles, instead of blocking the thread. In a browser this is the only way. The work of
    /// the CPU runs on the thread that polls the future. On CPU backends that is all of the work.
    /// In a browser, first await `burn_wgpu::init_setup_async` for the GPU: see `examples/web`.
    ///
    /// ```no_run
    /// use gendr_pix::{Backend, GenDrPix, Result, Upscale, picture::Picture};
    ///
    /// async fn enlarge<B: Backend>(model: &GenDrPix<B>, picture: Picture) -> Result<Picture> {
    ///     let options = Upscale::new().scale(2.0);
    ///     picture.map_async(async |image| model.upscale_async(image, &options).await).await
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of [`upscale_with`](Self::upscale_with).
    pub async fn upscale_async(
        &self,
        picture: &DynamicImage,
        options: &Upscale,
    ) -> Result<DynamicImage> {
        let (job, to) = self.prepare_upscale(picture.width(), picture.height(), options)?;
        let restore = |x, watch: Watch| Ok(job.run(x, watch)?);
        enlarge(picture, to, job.tiling(), options, &self.device, restore).await
    }

    /// Enlarges the pictures of many files in order. Meanwhile, another thread decodes the next
    /// picture. Use [`ReadAhead`] for pictures that are not files, or for other decoding limits.
    ///
    /// A file that fails does not stop the others. Stop iterating after [`Error::Cancelled`].
    ///
    /// # Errors
    ///
    /// Each item has the errors of [`Picture::open`] and [`upscale_with`](Self::upscale_with).
    pub fn upscale_many<'a, P>(
        &'a self,
        paths: impl IntoIterator<Item = P, IntoIter: Send + 'static>,
        options: &'a Upscale,
    ) -> impl Iterator<Item = Result<Picture>>
    where
        P: AsRef<Path> + 'static,
    {
        ReadAhead::new(paths.into_iter().map(Picture::open))
            .map(move |picture| picture?.map(|image| self.upscale_with(image, options)))
    }

    /// Plans the enlargement of a picture of `width` x `height` pixels: how it will run, and how
    /// much memory it will need. The plan is computed from the config; nothing runs on the device.
    /// It applies to 8-bit colour pictures without alpha.
    ///
    /// On `flex` with Linux's allocator, the measured peak of the process was within 15 % of the
    /// plan (`--example measure`). Other backends need more, because their memory pools and the
    /// workspace of burn's convolutions are not part of the plan. The difference has not been
    /// measured. Leave a reserve on a GPU.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for an option out of range, [`Error::EmptyPicture`],
    /// [`Error::OutputTooLarge`], and [`Error::OverBudget`] if [`Upscale::memory_budget`] is too
    /// low.
    pub fn plan(&self, width: u32, height: u32, options: &Upscale) -> Result<Plan> {
        let (job, _) = self.prepare_upscale(width, height, options)?;
        Ok(job.plan)
    }

    /// Restores pictures that already have the size of the output: the whole method without the
    /// resize, and without the corrections that need it (fidelity, colour fix).
    ///
    /// # Shapes
    ///
    /// - input and output: `[N, 3, H, W]`, any size from 1x1, RGB, sRGB-encoded, -1 to 1 (the
    ///   output may exceed it)
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for an option out of range, [`Error::Shape`] for a tensor of another
    /// shape, [`Error::OverBudget`], [`Error::Cancelled`].
    pub fn restore(&self, x: Tensor<B, 4>, options: &Restore) -> Result<Tensor<B, 4>> {
        self.restore_watched(x, options, options.watch(Phase::Restore).as_whole())
    }

    fn restore_watched(
        &self,
        x: Tensor<B, 4>,
        options: &Restore,
        watch: Watch,
    ) -> Result<Tensor<B, 4>> {
        check_shape(&x)?;
        let [n, _, h, w] = x.dims();
        let job = self.prepare_restore(n, [h, w], options)?;
        Ok(job.run(x, watch)?)
    }
}
