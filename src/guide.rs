//! A guide: choosing a backend, memory, precision, quality, training, and what the model cannot do.
//!
//! # Choosing a backend
//!
//! A backend is a type from [`backend`](crate::backend), switched on by the feature of its name. Code that is generic over
//! [`Backend`] runs on all of them:
//!
//! ```no_run
//! use gendr_pix::{Backend, GenDrPix, Result, picture::Picture};
//!
//! fn enlarge<B: Backend>(model: &GenDrPix<B>, from: &str, to: &str) -> Result<()> {
//!     let large = Picture::open(from)?.map(|image| model.upscale(image))?;
//!     large.save(to)?;
//!     Ok(())
//! }
//! ```
//!
//! - **`flex`** is the default, and `backend::Cpu` is an alias of it. It needs nothing but a CPU. The bundled model is made for it.
//! - **`cuda`** is for NVIDIA GPUs. It finds the driver and NVRTC at run time and needs nothing to build.
//! - **`wgpu`** is for any GPU, through WGSL. `vulkan` and `metal` add their own compilers, which are faster where they work. In a
//!   browser `wgpu` is WebGPU, whose results can only be awaited: use [`GenDrPix::upscale_async`]. `examples/web` is a whole page.
//! - **`ndarray`** is burn's older CPU backend. It is slower and serves as a second opinion if a result looks wrong.
//!
//! The first picture on a GPU takes far longer than later ones, because kernels are compiled and, with feature `autotune`, timed
//! against each other. Later pictures reuse both, also at other sizes: kernels are compiled for kinds of shapes, not for each
//! size, and timings are shared by all sizes between two powers of two. There is no need to bring pictures to common sizes. The
//! documentation of [`backend`](crate::backend#the-first-picture-on-a-gpu) has the details, and [`GenDrPix::warm_up`] does this
//! work beforehand.
//!
//! `docs/benchmarks.md` in the repository lists what has been measured on which device.
//!
//! Load a model once. It is `Send + Sync`, and threads may share it through an `Arc`. One picture at a time already uses all cores.
//!
//! # Memory
//!
//! [`GenDrPix::plan`] predicts the peak memory of an enlargement. It computes it from the sizes alone and runs nothing:
//!
//! ```no_run
//! use gendr_pix::{Backend, GenDrPix, Result, Upscale};
//!
//! fn print_plan<B: Backend>(model: &GenDrPix<B>) -> Result<()> {
//!     let plan = model.plan(1920, 1080, &Upscale::new())?;
//!     println!("{} MB in {} tiles", plan.peak_bytes >> 20, plan.tiles);
//!     Ok(())
//! }
//! ```
//!
//! - A **budget** is the simplest way: [`Upscale::memory_budget`] takes the whole picture at once if that fits, and otherwise the
//!   largest tiles that fit. If none fit, it returns an error before any work starts.
//! - **Tiles** can be set by hand with [`Upscale::tiling`]. They overlap and fade into each other. A tile does not see the others,
//!   so the result differs a little from that of the whole picture, and the overlaps are computed more than once.
//! - **Windows**: with [`Upscale::attention`] self-attention sees windows only. Otherwise its work grows with the square of the
//!   number of pixels. Windows are for the full-size UNet and large pictures; the bundled model has too little attention to gain
//!   from them.
//! - **Decompression bombs**: [`Picture::open_within`] refuses files that claim huge pictures, and
//!   [`Upscale::max_output_pixels`] refuses huge outputs. A service should set both.
//!
//! If memory runs out anyway, the process ends, as in most of Rust.
//!
//! # Precision
//!
//! A model computes in the float type of its backend: f32 on CPUs, and the chosen type on GPUs, such as `Cuda<half::bf16>`.
//! Weights are converted to it when they are loaded, whatever the file holds.
//!
//! [`GenDrPix::in_precision`] converts a model to bf16 on any backend that supports it, including the CPU. bf16 takes half the
//! memory and is faster on CPUs with Intel AMX. On CPUs with AVX512-BF16 it uses those instructions; that path has not been timed.
//!
//! Statistics of norms, softmaxes and residual sums are always in f32. bf16 has the range of f32 and is the safe half precision.
//! f16 overflows with some weights; the example `diagnose` checks whether it does. An overflow is an error
//! ([`Error::NonFiniteOutput`], [`Error::ConstantOutput`]), not a black picture.
//!
//! On Linux, on CPUs with a matrix unit (Intel AMX), `flex` computes large f32 products as sums of bf16 pairs. The error is about
//! 5e-6 of the largest number of a product, and 1e-5 for a convolution.
//!
//! # Quality
//!
//! - **Paddings** ([`Upscale::ensemble`]): the model restores the picture once per padding and averages the results. The bundled
//!   model recommends four. One, `vec![Padding::CENTRED]`, takes a quarter of the time and loses a few hundredths of a dB.
//! - **Guidance** ([`Upscale::guidance`]): values above 1 sharpen at the cost of a second pass and of fidelity on noisy pictures.
//! - **Fidelity** ([`Upscale::fidelity`]): 0 is the plain resize and 1 is the model. Values between keep coarse structure closer
//!   to the input than fine detail.
//! - **Colours** ([`ColorFix`]) are held to the input by default: the mean of a channel stays within 0.5 of 255 levels.
//! - **Edges** ([`Edge`]): use `Edge::Wrap` for textures that repeat.
//! - **Scale**: `Upscale::new().scale(1.0)` restores without enlarging. The model was trained at a scale of four. Much larger
//!   scales give smooth pictures.
//!
//! [`picture`](crate::picture) keeps the profile and metadata of files. An image of the `image` crate that does not come from
//! there is taken to be sRGB.
//!
//! # Weights
//!
//! [`GenDrPix::load`] reads a bundle or a diffusers UNet folder. A bundle is one safetensors file with diffusers' key names under
//! `unet.`, two prompt embeddings, and the config as JSON in the header. A folder needs `prompts.safetensors` (`prompt.positive`,
//! `prompt.negative`) beside its `config.json`. Files may hold f32, f16 or bf16. They are memory-mapped and read one tensor at a
//! time.
//!
//! # Training your own
//!
//! With feature `train`, on a CPU, in hours:
//!
//! ```sh
//! cargo run --release --features train --example train_nano -- --folder runs/mine --photos photos --out mine.safetensors
//! ```
//!
//! Photos are cut and degraded as they are read. Without a folder of photos, pictures are generated. Whatever the model should be
//! good at must be among them. You can stop the run at any moment; it continues from its last checkpoint. `log.jsonl` records the
//! errors. `--from` starts from the weights of a bundle. The result is a bundle for [`GenDrPix::load`] or, built into a program,
//! for [`GenDrPix::from_bytes`].
//!
//! A model of another shape is another [`GenDrPixConfig`]. [`GenDrPixConfig::sd21`] is the paper's. Stable Diffusion 2.1's own
//! UNet can be read with [`UNet::load_diffusers`], but it is no GenDR-Pix model: its first and last convolution have 4 latent
//! channels where the paper's have 192, so [`GenDrPix::load`] refuses it. The example `distill` is the paper's way from there,
//! and has been run only at a small scale.
//!
//! # What the model cannot do
//!
//! The bundled model has 3.9 million parameters and was trained on the absolute error.
//!
//! - It draws edges and flattens **texture**: fur, grass, far foliage, skin. Unlike GANs and large diffusion models it does not
//!   invent plausible detail, and it does not invent faces or letters.
//! - **Text** that is too small to be read stays unreadable.
//! - **Strong noise and compression** are softened, not undone.
//! - **Motion blur** was not part of the training.
//! - **Video**: pictures are enlarged one by one, and nothing keeps them from flickering.
//! - The model knows sRGB only. **HDR** values are enlarged as they are, and values beyond white do not pass through the model.

#[cfg(doc)]
use crate::picture::Picture;
#[cfg(doc)]
use crate::unet::UNet;
#[cfg(doc)]
use crate::{Backend, ColorFix, Edge, Error, GenDrPix, GenDrPixConfig, Upscale};
