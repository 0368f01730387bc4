//! A guide to backends, memory, precision, quality, weights and training, and to the limits of the
//! model.
//!
//! # Choosing a backend
//!
//! A backend is a type in [`backend`](crate::backend), which the feature of the same name enables.
//! Code that is generic over [`Backend`] runs on all backends:
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
//! - **`flex`** is the default, and `backend::Cpu` is an alias of it. It runs on any CPU. The
//!   bundled model is designed for it.
//! - **`cuda`** is for NVIDIA GPUs. It loads the driver and NVRTC at run time, so the build needs
//!   no CUDA toolkit.
//! - **`wgpu`** is for any GPU, through WGSL. `vulkan` and `metal` compile kernels directly for
//!   these interfaces, which is faster where it works. In a browser, `wgpu` is WebGPU, whose
//!   results must be awaited: use [`GenDrPix::upscale_async`]. `examples/web` is a complete page.
//! - **`ndarray`** is burn's older CPU backend. It is slower, and useful to cross-check a result
//!   that looks wrong.
//!
//! The first picture on a GPU takes far longer than later ones, because kernels are compiled and,
//! with feature `autotune`, compared by their times. Later pictures reuse both, even at other
//! sizes. Kernels are compiled for kinds of shapes and not for each size, and all sizes between two
//! powers of two share their timings. You do not need to pad or resize pictures to common sizes.
//! The documentation of [`backend`](crate::backend#the-first-picture-on-a-gpu) has the details.
//! [`GenDrPix::warm_up`] does this work in advance.
//!
//! `docs/benchmarks.md` in the repository lists the measurements on each device.
//!
//! Load a model once. It is `Send + Sync`, so threads can share it through an `Arc`. A single
//! picture already uses all cores.
//!
//! # Memory
//!
//! [`GenDrPix::plan`] predicts the peak memory of an enlargement. It computes the peak from the
//! sizes without running the model:
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
//! - A **budget** is the simplest way to limit the memory. With [`Upscale::memory_budget`], the
//!   whole picture is restored at once if that fits, and otherwise in the largest tiles that fit.
//!   If none fit, the call returns an error before any work starts.
//! - **Tiles** can be set by hand with [`Upscale::tiling`]. They overlap and fade into each other.
//!   A tile does not see the others, so the result differs slightly from that of the whole picture,
//!   and the overlaps are computed more than once.
//! - **Windows** limit the range of self-attention: see [`Upscale::attention`]. Without them, its
//!   cost grows with the square of the number of pixels. Windows are meant for the full-size UNet
//!   and large pictures. The bundled model has too little attention to benefit from them.
//! - **Decompression bombs**: [`Picture::open_within`] refuses files that declare huge pictures,
//!   and [`Upscale::max_output_pixels`] refuses huge outputs. A service should set both.
//!
//! If an allocation fails nevertheless, the process aborts, as in most Rust programs.
//!
//! # Precision
//!
//! A model computes in the float type of its backend: f32 on CPUs, and the type parameter on GPUs,
//! as in `Cuda<half::bf16>`. Weights are converted to this type when they are loaded.
//!
//! [`GenDrPix::in_precision`] converts a model to bf16 on any backend that supports it, including
//! the CPU. bf16 needs half the memory, and is faster on CPUs with Intel AMX. CPUs with AVX512-BF16
//! use those instructions, which have not been timed.
//!
//! Statistics of norms, softmaxes and residual sums are always in f32. bf16 has the range of f32
//! and is the safe half precision. f16 overflows with some weights. The example `diagnose` checks
//! whether it does. An overflow leads to an error ([`Error::NonFiniteOutput`] or
//! [`Error::ConstantOutput`]), not to a black picture.
//!
//! On Linux, on CPUs with a matrix unit (Intel AMX), `flex` computes large f32 products as sums of
//! bf16 products. The error is about 5e-6 of the largest value of a product, and 1e-5 for a
//! convolution.
//!
//! # Quality
//!
//! - **Paddings** ([`Upscale::ensemble`]): the model restores the picture once per padding, and the
//!   results are averaged. The bundled model recommends four paddings. A single one,
//!   `vec![Padding::CENTRED]`, takes a quarter of the time and loses a few hundredths of a dB.
//! - **Guidance** ([`Upscale::guidance`]): values above 1 sharpen the result. They cost a second
//!   pass, and fidelity on noisy pictures.
//! - **Fidelity** ([`Upscale::fidelity`]): 0 gives the plain resize, and 1 the output of the model.
//!   Values in between keep coarse structure closer to the input than fine detail.
//! - **Colours** ([`ColorFix`]) are matched to the input by default: the mean of a channel stays
//!   within 0.5 of 255 levels.
//! - **Edges** ([`Edge`]): use `Edge::Wrap` for textures that repeat.
//! - **Scale**: `Upscale::new().scale(1.0)` restores without enlarging. The model was trained at a
//!   scale of four. Much larger scales give smooth pictures.
//!
//! [`picture`](crate::picture) keeps the colour profile and the metadata of files. An image from
//! any other source is treated as sRGB.
//!
//! # Weights
//!
//! [`GenDrPix::load`] reads a bundle or a diffusers UNet folder. A bundle is one safetensors file
//! with diffusers' key names under `unet.`, two prompt embeddings, and the config as JSON in the
//! header. A folder needs `prompts.safetensors` (with `prompt.positive` and `prompt.negative`) next
//! to its `config.json`. Files may contain f32, f16 or bf16. They are memory-mapped and read one
//! tensor at a time.
//!
//! # Training your own
//!
//! The feature `train` adds the training, which takes hours on a CPU:
//!
//! ```sh
//! cargo run --release --features train --example train_nano -- --folder runs/mine --photos photos --out mine.safetensors
//! ```
//!
//! Photos are cropped and degraded as they are read. Without a folder of photos, pictures are
//! generated. The photos should contain everything that the model must be good at. You can stop the
//! run at any time; it resumes from its last checkpoint. `log.jsonl` records the errors. `--from`
//! starts from the weights of a bundle. The result is a bundle for [`GenDrPix::load`], or, embedded
//! in a program, for [`GenDrPix::from_bytes`].
//!
//! Another architecture needs another [`GenDrPixConfig`]. [`GenDrPixConfig::sd21`] is the paper's.
//! Stable Diffusion 2.1's own UNet can be read with [`UNet::load_diffusers`], but it is not a
//! GenDR-Pix model: its first and last convolutions have 4 latent channels instead of 192, so
//! [`GenDrPix::load`] refuses it. The example `distill` implements the paper's distillation from
//! such a UNet. It has been run only at a small scale.
//!
//! # What the model cannot do
//!
//! The bundled model has 3.9 million parameters and was trained on the absolute error.
//!
//! - It sharpens edges and flattens **texture**: fur, grass, distant foliage, skin. Unlike GANs and
//!   large diffusion models, it does not invent plausible detail, and it does not invent faces or
//!   letters.
//! - **Text** that is too small to be read stays unreadable.
//! - **Strong noise and compression** are softened, not removed.
//! - **Motion blur** was not part of the training.
//! - **Video**: pictures are enlarged one by one, and nothing prevents flicker.
//! - The model works in sRGB only. **HDR** values are enlarged without conversion, and the part
//!   above white does not pass through the model.

#[cfg(doc)]
use crate::picture::Picture;
#[cfg(doc)]
use crate::unet::UNet;
#[cfg(doc)]
use crate::{Backend, ColorFix, Edge, Error, GenDrPix, GenDrPixConfig, Upscale};
