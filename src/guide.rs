//! A guide: which backend, how much memory, which precision, what to ask for, training, and what the model cannot do.
//!
//! # Choosing a backend
//!
//! A backend is a type of burn's, named in [`backend`](crate::backend) and switched on by the feature of its name. Code that
//! is generic over [`Backend`] runs on each:
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
//! - **`flex`**, the default and `backend::Cpu`, needs nothing but a CPU. The bundled model is made for it.
//! - **`cuda`** for NVIDIA's GPUs: the driver and NVRTC are found at run time, nothing is needed to build.
//! - **`wgpu`** for any GPU, by WGSL; `vulkan` and `metal` add compilers of their own, which are faster where they work.
//!   In a browser it is WebGPU, which can only be awaited: [`GenDrPix::upscale_async`], and `examples/web` for a whole page.
//! - **`ndarray`** is burn's older CPU backend: slower, a second opinion where a result looks wrong.
//!
//! GPU backends compile kernels when a shape is first seen, and with `autotune` time several: the first picture takes
//! far longer than the next of its size. Pictures of many sizes are best enlarged in [tiles](crate::Tiling), which are of few.
//! The README tells what has been measured on which device.
//!
//! Load a model once: it is `Send + Sync`, and threads may share it by an `Arc`. One picture at a time uses all cores already.
//!
//! # Memory
//!
//! [`GenDrPix::plan`] tells what an enlargement will hold at its worst moment, computed from numbers alone:
//!
//! ```no_run
//! use gendr_pix::{Backend, GenDrPix, Result, Upscale};
//!
//! fn tell<B: Backend>(model: &GenDrPix<B>) -> Result<()> {
//!     let plan = model.plan(1920, 1080, &Upscale::new())?;
//!     println!("{} MB in {} tiles", plan.peak_bytes >> 20, plan.tiles);
//!     Ok(())
//! }
//! ```
//!
//! - A **budget** is the simplest: [`Upscale::memory_budget`] takes the whole picture at once if that fits, else the largest
//!   tiles that do, and is an error before any work if none does.
//! - **Tiles** by hand: [`Upscale::tiling`]. They overlap and fade into each other. A tile sees nothing of the others, so
//!   that the result is another one than the whole picture's, by little; and what overlaps is computed more than once.
//! - **Windows**: [`Upscale::attention`] lets self-attention, whose work grows with the square of the picture, see windows
//!   only. That is for the full-size UNet and large pictures: the bundled model has too little attention to gain from it.
//! - **Bombs**: files that claim huge pictures are refused ([`Picture::open_within`]), as are outputs of more than
//!   [`Upscale::max_output_pixels`]. A service should set both.
//!
//! Memory that runs out nevertheless ends the process, as in most of Rust.
//!
//! # Precision
//!
//! A model computes in the float type of its backend: f32 on CPUs, on GPUs what is asked for, `Cuda<half::bf16>` for one.
//! Weights are cast to it when they are loaded, whatever the file holds. [`GenDrPix::in_precision`] takes a model to bf16 on
//! any backend that has it, the CPU's too: half of the memory, and faster where the CPU has Intel AMX (AVX512-BF16 is used,
//! too, and was not timed).
//! Statistics of norms, softmaxes and residual sums are in f32 always. bf16 has the range of f32 and is the safe one of the
//! short types; f16 overflows with some weights. Where that happens the result is an error ([`Error::NonFiniteOutput`],
//! [`Error::ConstantOutput`]), not a black picture.
//!
//! On CPUs with a matrix unit (Intel AMX, on Linux) `flex` computes large products as sums of bf16 pairs: within about 5e-6 of
//! the largest number of a product, 1e-5 of that of a convolution.
//!
//! # Quality
//!
//! - **Paddings** ([`Upscale::ensemble`]): the picture is restored once for each and the results are averaged. The bundled model
//!   recommends four; one, `vec![Padding::CENTRED]`, takes a quarter of the time and loses a few hundredths of a dB.
//! - **Guidance** ([`Upscale::guidance`]): above 1 sharpens by a second pass, and costs fidelity on noisy pictures.
//! - **Fidelity** ([`Upscale::fidelity`]): 0 is the plain resize, 1 the model; between, coarse structure stays nearer to the
//!   input than fine detail.
//! - **Colours** are held to the input by default ([`ColorFix`]): the mean of a channel stays within 0.5 of 255 levels.
//! - **Edges** ([`Edge`]): `Edge::Wrap` for textures that repeat.
//! - **Scale**: `Upscale::new().scale(1.0)` restores without enlarging. The model was trained at four; far larger ones are
//!   smooth.
//!
//! Files: [`picture`](crate::picture) keeps what is in them. Values of the `image` crate without it are taken for sRGB.
//!
//! # Training your own
//!
//! With feature `train`, on a CPU, in hours:
//!
//! ```sh
//! cargo run --release --features train --example train_nano -- --folder runs/mine --photos photos --out mine.safetensors
//! ```
//!
//! Photos are cut and degraded as they are read; without a folder of them, pictures are drawn. What the model should be good at must
//! be among them. The run can be stopped at any moment and goes on from its last checkpoint; `log.jsonl` tells the errors.
//! `--from` starts with the weights of a bundle. The result is a bundle, for [`GenDrPix::load`] or, built into a program,
//! [`GenDrPix::from_bytes`].
//!
//! Another shape of model is another [`GenDrPixConfig`]. [`GenDrPixConfig::sd21`] is the paper's: weights of
//! Stable Diffusion 2.1's UNet in diffusers' layout load as they are, but with its own first and last convolution they do not restore;
//! the example `distill` is the paper's way from there, and has been run at a small scale only.
//!
//! # What the model cannot do
//!
//! The bundled model has 3.9 million parameters and was taught by the absolute error.
//!
//! - It draws edges and flattens **texture**: fur, grass, far foliage, skin. It does not make up what is plausible, as GANs and
//!   large diffusion models do; nor does it invent faces or letters.
//! - **Text** too small to be read stays unreadable.
//! - **Strong noise and compression** are softened, not undone.
//! - **Motion blur** is not among what it was trained on.
//! - **Video**: pictures are enlarged one by one, and nothing keeps them from flickering.
//! - It knows pictures as sRGB has them. **HDR** is enlarged as the values are, and what is beyond white without the model.

#[cfg(doc)]
use crate::picture::Picture;
#[cfg(doc)]
use crate::{Backend, ColorFix, Edge, Error, GenDrPix, GenDrPixConfig, Upscale};
