//! The model: image -> tensor -> resize -> pad -> unshuffle -> UNet -> one step -> shuffle -> crop -> blend -> image.

pub(crate) mod plan;
pub(crate) mod prompted;
pub(crate) mod self_test;
mod warm_up;

use crate::backend::Backend;
use crate::backend::precision::Precision;
use crate::backend::precision::check_precision;
use crate::backend::precision::float_type;
use crate::config::GenDrPixConfig;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::model::plan::{Plan, Planner};
use crate::model::prompted::{PromptedUNet, random_weights};
use crate::options::Upscale;
use crate::options::attention::Attention;
use crate::options::padding::Edge;
use crate::options::padding::padded_side;
use crate::options::progress::{Cancellable, Phase, Watch};
use crate::picture::{Picture, ReadAhead};
use crate::restore::check_shape;
use crate::restore::guidance::blend;
use crate::restore::guidance::{Pass, passes};
use crate::restore::tiles::in_tiles;
use crate::restore::wrap::wrapped;
use crate::upscale::enlarge;
use crate::upscale::on_device;
use crate::upscale::strip::Bands;
use crate::weights;
use crate::weights::{Storage, Weights, WeightsSource};
use burn::tensor::{DType, Tensor, read_sync};
use image::DynamicImage;
use std::borrow::Cow;
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
    unet: PromptedUNet<B>,
    device: B::Device,
}

impl<B: Backend> GenDrPix<B> {
    /// The bundled nano model (feature `pretrained`).
    ///
    /// # Errors
    ///
    /// [`Error::Precision`] when the device lacks the backend's precision; no other with the weights that the crate ships, but
    /// in a precision that cannot hold them.
    #[cfg(feature = "pretrained")]
    pub fn pretrained(device: &B::Device) -> Result<Self> {
        // Not in place: the program would hold them once for each backend.
        static NANO: &[u8] = include_bytes!("../../assets/nano.safetensors");
        Self::from_bytes(NANO, device)
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
    /// of another shape, [`Error::NonFiniteWeight`] when one holds NaN or infinity, [`Error::Precision`] when the device lacks
    /// the backend's.
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

    /// Loads a bundle from memory: static bytes (`include_bytes!`), which are not copied as a whole, or owned bytes (a
    /// download), which are dropped after loading.
    ///
    /// # Errors
    ///
    /// Those of [`load`](Self::load).
    pub fn from_bytes(bytes: impl Into<Cow<'static, [u8]>>, device: &B::Device) -> Result<Self> {
        let source = WeightsSource::Bytes(bytes.into());
        let (config, weights) = weights::load_bundle(source, device)?;
        Self::from_parts(config, weights, device)
    }

    /// A model with random weights and prompts of `tokens` tokens, to measure or to train.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when the config contradicts itself or `tokens` is zero, [`Error::Precision`] when the device lacks
    /// the backend's.
    pub fn new(config: GenDrPixConfig, tokens: usize, device: &B::Device) -> Result<Self> {
        let weights = random_weights(&config.unet, tokens, device)?;
        Self::from_parts(config, weights, device)
    }

    /// Puts a model together: folds the timestep and the prompts into the UNet's conditioning.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when the config contradicts itself, [`Error::Shape`] when a prompt is not
    /// `[tokens, cross_attention_dim]`, [`Error::Precision`] when the device lacks the backend's.
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

    /// The model in another precision, its weights and what its layers compute.
    ///
    /// # Errors
    ///
    /// [`Error::Precision`] when the device does not compute in it.
    pub fn in_precision(self, precision: Precision) -> Result<Self> {
        check_precision::<B>(&self.device, precision.dtype::<B>())?;
        Ok(Self {
            unet: self.unet.in_precision(precision),
            ..self
        })
    }

    /// Saves the model as a bundle, in the precision `storage`: into a file beside, then renamed.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the file cannot be written, [`Error::NonFiniteWeight`] when a weight does not fit the
    /// precision.
    pub fn save(&self, path: impl AsRef<Path>, storage: Storage) -> Result<()> {
        weights::save_bundle(path.as_ref(), &self.config, &self.unet.weights, storage)
    }

    /// The model's numbers.
    pub fn config(&self) -> &GenDrPixConfig {
        &self.config
    }

    pub(crate) fn device(&self) -> &B::Device {
        &self.device
    }

    /// The precision of weights and layers.
    pub(crate) fn dtype(&self) -> DType {
        self.unet.weights.positive.dtype()
    }

    /// Tokens of the prompts.
    pub(crate) fn prompt_tokens(&self) -> usize {
        self.unet.weights.positive.dims()[0]
    }

    /// The same model on another backend.
    #[cfg(any(feature = "flex", feature = "ndarray"))]
    pub(crate) fn on<C: Backend>(&self, device: &C::Device) -> Result<GenDrPix<C>> {
        let weights = self.unet.weights.to_backend(&self.config.unet, device)?;
        GenDrPix::from_parts(self.config.clone(), weights, device)
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
    /// alpha. What float values have beyond `0.0..=1.0` is not seen by the model: it is enlarged by linear interpolation.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for an option out of range, [`Error::EmptyPicture`], [`Error::NonFinitePicture`],
    /// [`Error::OutputTooLarge`], [`Error::OverBudget`], [`Error::Device`], [`Error::Cancelled`], and
    /// [`Error::NonFiniteOutput`] or [`Error::ConstantOutput`] when the backend's precision is too low for the weights.
    pub fn upscale_with(&self, picture: &DynamicImage, options: &Upscale) -> Result<DynamicImage> {
        read_sync(self.upscale_async(picture, options))
    }

    /// [`upscale_with`](Self::upscale_with) that awaits a GPU's results instead of blocking the thread: in a browser they can be
    /// had in no other way. It awaits once for each row of tiles. What the CPU computes is computed where the future is polled;
    /// on CPU backends that is all of it. A browser's GPU must be awaited beforehand as well, by
    /// `burn_wgpu::init_setup_async`: see `examples/web`.
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
    /// Those of [`upscale_with`](Self::upscale_with).
    pub async fn upscale_async(
        &self,
        picture: &DynamicImage,
        options: &Upscale,
    ) -> Result<DynamicImage> {
        let plan = self.plan(picture.width(), picture.height(), options)?;
        let options = &Upscale {
            tiling: plan.tiling,
            memory_budget: None,
            ..options.clone()
        };
        let bands = Bands {
            tiling: plan.tiling.filter(|_| !options.takes_all()),
            factor: self.config.factor,
        };
        let restore = |x, watch: Watch| self.restore_watched(x, options, watch);
        enlarge(picture, options, bands, &self.device, restore).await
    }

    /// Enlarges the pictures of many files, in their order; while one is enlarged the next is decoded, on another thread. See
    /// [`ReadAhead`] for pictures that are not files, or other limits.
    ///
    /// Each result is of its own: a file that cannot be read does not stop the others, nor does [`Error::Cancelled`], after
    /// which there is no point in going on.
    ///
    /// # Errors
    ///
    /// Those of [`Picture::open`] and [`upscale_with`](Self::upscale_with).
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

    /// How a picture of `width` x `height` will be enlarged and what memory that takes: computed from the model's numbers,
    /// nothing runs. For colour pictures of 8 bits without alpha; measured on `flex` with Linux's allocator
    /// (`--example measure`), where the process's peak is within 15 % of it. Other backends' own share, their pools and what
    /// burn's convolutions take for themselves, is not in it, and how near it comes was not measured: on a GPU,
    /// leave room.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for an option out of range, [`Error::EmptyPicture`], [`Error::OutputTooLarge`],
    /// [`Error::OverBudget`] when [`Upscale::memory_budget`] is too low.
    pub fn plan(&self, width: u32, height: u32, options: &Upscale) -> Result<Plan> {
        options.validate(self.config.factor)?;
        let to = options.enlargement(width, height)?;
        let source = width as usize * height as usize;
        let size = [to.height, to.width];
        let (tiling, budget) = (options.tiling, options.memory_budget);
        let mut planner = self.planner(options);
        if options.fidelity == 0.0 {
            planner.passes = 0; // The plain resize: the model does not run.
        }
        planner.plan(1, size, source, tiling, budget)
    }

    fn planner(&self, options: &Upscale) -> Planner<'_> {
        let narrow = self.dtype().size() as u64;
        Planner {
            config: &self.config,
            passes: self.passes(options).len(),
            prompt: self.prompt_tokens(),
            attention: options.attention,
            edge: options.edge,
            takes_all: options.takes_all(),
            on_device: on_device::has_way::<B>(options),
            weights: self.unet.weights.unet.parameters() as u64 * narrow,
            element: size_of::<B::FloatElem>() as u64,
            narrow,
            workspace: B::workspace,
        }
    }

    /// The passes by guidance and self-ensemble.
    fn passes(&self, options: &Upscale) -> Vec<Pass> {
        let guidance = options.guidance.unwrap_or(self.config.guidance);
        let ensemble = options.ensemble.as_ref().unwrap_or(&self.config.ensemble);
        passes(guidance, ensemble, self.config.factor)
    }

    /// Restores pictures that have their output size already: the whole method but for the resize, and for what compares
    /// with it (fidelity, colour fix).
    ///
    /// # Shapes
    ///
    /// - input and output: `[N, 3, H, W]`, any size from 1x1, RGB, sRGB-encoded, -1 to 1 (the output may pass it)
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for an option out of range, [`Error::Shape`] for a tensor of another shape, [`Error::OverBudget`],
    /// [`Error::Cancelled`].
    pub fn restore(&self, x: Tensor<B, 4>, options: &Upscale) -> Result<Tensor<B, 4>> {
        self.restore_watched(x, options, options.watch(Phase::Restore).alone())
    }

    pub(crate) fn restore_watched(
        &self,
        x: Tensor<B, 4>,
        options: &Upscale,
        watch: Watch,
    ) -> Result<Tensor<B, 4>> {
        options.validate(self.config.factor)?;
        check_shape(&x)?;
        let passes = self.passes(options);
        let factor = self.config.factor;
        let [n, _, h, w] = x.dims();
        let (tiling, budget) = (options.tiling, options.memory_budget);
        let plan = self.planner(options).plan(n, [h, w], 0, tiling, budget)?;
        let restored = B::reusing_memory(|| {
            wrapped(x, options.edge, factor, |x, edge| {
                in_tiles(x, plan.tiling, factor, edge, watch, |x, watch| {
                    let weighted = passes.iter().map(|&pass| (pass, pass.weight));
                    blend(weighted, watch, |pass, watch| {
                        self.pass(x.clone(), pass, edge, options.attention, watch)
                    })
                })
            })
        });
        Ok(restored?)
    }

    /// One pass, the paper's `G(pad(x), c)` cropped back.
    fn pass(
        &self,
        x: Tensor<B, 4>,
        pass: Pass,
        edge: Edge,
        attention: Attention,
        watch: Watch,
    ) -> Cancellable<Tensor<B, 4>> {
        watch.check()?;
        let factor = self.config.factor;
        let [_, _, h, w] = x.dims();
        let padded = [h, w].map(|n| padded_side(n, factor));
        let z = B::fold_padded(x, factor, pass.padding, padded, edge);
        watch.check()?;
        let unet = &self.unet;
        let prediction = unet.predict(z.clone(), pass.prompt, attention, watch)?;
        let x0 = self.config.onestep.x0(z, prediction);
        Ok(B::unfold_cropped(x0, factor, pass.padding, [h, w]))
    }
}
