//! Upscales pictures from the command line.
//!
//! ```sh
//! cargo run --release --example upscale -- photo.jpg -o large.png
//! cargo run --release --example upscale -- a.jpg b.png -o folder/ --scale 2
//! cargo run --release --features wgpu --example upscale -- photo.jpg -o large.png --backend wgpu
//! ```
//!
//! Everything that can be known beforehand (names, formats, folders) is checked before the first
//! picture; after that, a picture that fails does not stop the others. An output is either complete or not there.

// Without a backend, all that is left to do is to say so.
#![cfg_attr(
    not(any(
        feature = "flex",
        feature = "ndarray",
        feature = "wgpu",
        feature = "cuda"
    )),
    allow(unused)
)]

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use gendr_pix::picture::{Picture, Warning};
use gendr_pix::{
    Attention, Backend, ColorFix, Edge, Error, GenDrPix, Target, Tiling, Upscale, backend,
};
use image::ImageFormat;
use indicatif::{ProgressBar, ProgressStyle};

/// Upscale pictures with GenDR-Pix.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Pictures to upscale: PNG, JPEG, WebP, TIFF or BMP.
    #[arg(required = true)]
    inputs: Vec<PathBuf>,
    /// The picture to write, or a folder (created if missing; a name that is new ends in `/`).
    #[arg(short, long)]
    output: PathBuf,
    #[command(flatten)]
    target: TargetArgs,
    /// How far the picture may move from the input: 0 is the plain resize, 1 the model.
    #[arg(long, default_value_t = 1.0)]
    fidelity: f64,
    /// How the colours are held to those of the input; the library's default when not given.
    #[arg(long, visible_alias = "color-fix", value_parser = color_fix, value_name = "none|mean-std|wavelet")]
    colour_fix: Option<ColorFix>,
    /// What is beyond the picture's edges; `wrap` keeps textures seamless.
    #[arg(long, value_parser = edge, default_value = "reflect", value_name = "reflect|replicate|wrap")]
    edge: Edge,
    /// Strength of the detail; the model's own recommendation when not given.
    #[arg(long)]
    guidance: Option<f64>,
    /// Weights file or folder, in place of the bundled weights.
    #[arg(long, value_name = "FILE_OR_FOLDER")]
    weights: Option<PathBuf>,
    /// Let the attention see windows of at most this many tokens a side only (64, say), for large pictures.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    window: Option<u32>,
    /// Restore in tiles, for pictures that memory does not hold at once: their sides in pixels of the output (512, say;
    /// rounded down to a multiple of 8).
    #[arg(long, value_parser = tiling)]
    tile: Option<Tiling>,
    /// What to compute on; all but `flex` need the cargo feature of the same name.
    #[arg(long, value_parser = ["flex", "ndarray", "wgpu", "cuda"], default_value = "flex")]
    backend: String,
}

/// How large the output is to be; a scale of 4 when nothing is given.
#[derive(clap::Args)]
#[group(multiple = false)]
struct TargetArgs {
    /// How many times as wide and as high; 1 restores without enlarging. [default: 4]
    #[arg(long)]
    scale: Option<f64>,
    /// Width in pixels; the height follows.
    #[arg(long)]
    width: Option<u32>,
    /// Height in pixels; the width follows.
    #[arg(long)]
    height: Option<u32>,
    /// Pixels of the longer side; the other follows.
    #[arg(long)]
    longest: Option<u32>,
    /// Width and height in pixels.
    #[arg(long, value_parser = size, value_name = "WIDTHxHEIGHT")]
    size: Option<Target>,
}

impl TargetArgs {
    fn target(&self) -> Target {
        let given = [
            self.scale.map(Target::Scale),
            self.width.map(Target::Width),
            self.height.map(Target::Height),
            self.longest.map(Target::Longest),
            self.size,
        ];
        let mut given = given.into_iter().flatten();
        given.next().unwrap_or(Target::Scale(4.0))
    }
}

/// One picture to read and one to write.
struct Job {
    input: PathBuf,
    output: PathBuf,
}

/// Errors are for people: one line, with the file's name in quotes.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    run(&Args::parse()).unwrap_or_else(|reason| {
        eprintln!("upscale: {reason}");
        ExitCode::FAILURE
    })
}

/// Tiles of `side` pixels, a quarter of which is shared with each neighbour, as in [`Tiling::default`].
fn tiling(side: &str) -> Result<Tiling> {
    let side: usize = side.parse().map_err(|_| "is not a number of pixels")?;
    let cells = side / 8;
    Tiling::new(cells, cells / 4).map_err(|_| "tiles have 8 pixels a side or more".to_owned())
}

fn size(size: &str) -> Result<Target> {
    size.split_once('x')
        .and_then(|(width, height)| Some(Target::Size(width.parse().ok()?, height.parse().ok()?)))
        .ok_or_else(|| "is not a width and a height, as 1920x1080".to_owned())
}

fn color_fix(name: &str) -> Result<ColorFix> {
    match name {
        "none" => Ok(ColorFix::None),
        "mean-std" => Ok(ColorFix::MeanStd),
        "wavelet" => Ok(ColorFix::Wavelet),
        _ => Err("is none, mean-std or wavelet".to_owned()),
    }
}

fn edge(name: &str) -> Result<Edge> {
    match name {
        "reflect" => Ok(Edge::Reflect),
        "replicate" => Ok(Edge::Replicate),
        "wrap" => Ok(Edge::Wrap),
        _ => Err("is reflect, replicate or wrap".to_owned()),
    }
}

fn run(args: &Args) -> Result<ExitCode> {
    let jobs = plan(&args.inputs, &args.output)?;
    match args.backend.as_str() {
        #[cfg(feature = "flex")]
        "flex" => upscale_all::<backend::Flex>(args, &jobs),
        #[cfg(feature = "ndarray")]
        "ndarray" => upscale_all::<backend::NdArray>(args, &jobs),
        #[cfg(feature = "wgpu")]
        "wgpu" => upscale_all::<backend::Wgpu>(args, &jobs),
        #[cfg(feature = "cuda")]
        "cuda" => upscale_all::<backend::Cuda>(args, &jobs),
        name => Err(format!(
            "backend `{name}` is not built in: build with `--features {name}`"
        )),
    }
}

/// Where each picture goes; refuses what cannot end well, before any work.
fn plan(inputs: &[PathBuf], output: &Path) -> Result<Vec<Job>> {
    let ends_in_separator = output.to_string_lossy().ends_with(std::path::is_separator);
    let is_folder = ends_in_separator || output.is_dir();
    if !is_folder && inputs.len() > 1 {
        return Err(format!(
            "{output:?} is not a folder, which several pictures need: a new folder is asked for with a `/` at the end"
        ));
    }
    let originals: HashSet<_> = inputs.iter().flat_map(fs::canonicalize).collect();
    let mut taken: HashMap<PathBuf, &Path> = HashMap::new();
    let mut jobs = Vec::new();
    for input in inputs {
        let mut output = output.to_path_buf();
        if is_folder {
            let name = input.file_name();
            output.push(name.ok_or_else(|| format!("{input:?} is not the name of a picture"))?);
            if !is_writable(&output) {
                output.set_extension("png");
            }
        }
        if !is_writable(&output) {
            return Err(format!(
                "{output:?}: can write .png, .jpg, .webp, .tiff and .bmp only"
            ));
        }
        if fs::canonicalize(&output).is_ok_and(|path| originals.contains(&path)) {
            return Err(format!("{output:?} is an input and would be overwritten"));
        }
        if let Some(other) = taken.insert(output.clone(), input) {
            return Err(format!(
                "{other:?} and {input:?} would both be written to {output:?}"
            ));
        }
        let input = input.clone();
        jobs.push(Job { input, output });
    }
    if ends_in_separator {
        fs::create_dir_all(output)
            .map_err(|error| format!("cannot create the folder {output:?}: {error}"))?;
    }
    // All go to one folder. The trial file has no name, so nothing is left behind.
    let folder = folder_of(&jobs[0].output);
    tempfile::tempfile_in(folder)
        .map_err(|error| format!("cannot write to the folder {folder:?}: {error}"))?;
    Ok(jobs)
}

fn is_writable(path: &Path) -> bool {
    ImageFormat::from_path(path).is_ok_and(|format| format.writing_enabled())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn upscale_all<B: Backend>(args: &Args, jobs: &[Job]) -> Result<ExitCode> {
    let device = Default::default();
    let model = match &args.weights {
        Some(path) => GenDrPix::<B>::load(path, &device),
        #[cfg(feature = "pretrained")]
        None => GenDrPix::<B>::pretrained(&device),
        #[cfg(not(feature = "pretrained"))]
        None => return Err("no weights are built in: give `--weights`".into()),
    }
    .map_err(|error| error.to_string())?;
    let mut options = Upscale::new()
        .target(args.target.target())
        .fidelity(args.fidelity)
        .edge(args.edge);
    if let Some(fix) = args.colour_fix {
        options = options.color_fix(fix);
    }
    if let Some(guidance) = args.guidance {
        options = options.guidance(guidance);
    }
    if let Some(side) = args.window {
        options = options.attention(Attention::Window(side as usize));
    }
    if let Some(tiling) = args.tile {
        options = options.tiling(tiling);
    }

    // Drawn on stderr, and only if that is a terminal.
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg}")
        .expect("the template is well formed");
    let bar = ProgressBar::new(jobs.len() as u64).with_style(style);
    let mut failed = 0;
    for job in jobs {
        bar.set_message(job.input.display().to_string());
        match upscale(&model, &options, job) {
            Ok(warnings) => bar.suspend(|| {
                for warning in warnings {
                    eprintln!("upscale: {:?}: {warning}", job.output);
                }
            }),
            Err(reason) => {
                failed += 1;
                bar.suspend(|| eprintln!("upscale: {reason}"));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    if jobs.len() > 1 {
        eprintln!("upscale: {failed} of {} pictures failed", jobs.len());
    }
    Ok(ExitCode::FAILURE)
}

/// Reads, upscales and writes one picture; returns what the user should know about the result.
fn upscale<B: Backend>(model: &GenDrPix<B>, options: &Upscale, job: &Job) -> Result<Vec<Warning>> {
    let input = |error| format!("{:?}: {}", job.input, reason(error));
    let output = |error| format!("{:?}: {}", job.output, reason(error));
    let picture = Picture::open(&job.input).map_err(input)?;
    let large = picture.map(|image| model.upscale_with(image, options));
    let large = large.map_err(input)?;
    let mut warnings = large.warnings().to_vec();
    warnings.extend(large.save(&job.output).map_err(output)?);
    Ok(warnings)
}

/// What went wrong, without the name of the file: that is told in quotes before.
fn reason(error: Error) -> String {
    match error {
        Error::Format { reason, .. } | Error::InputTooLarge { reason, .. } => reason,
        Error::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}
