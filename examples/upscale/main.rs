//! Upscales pictures from the command line.
//!
//! ```sh
//! cargo run --release --example upscale -- photo.jpg -o large.png
//! cargo run --release --example upscale -- photos/ b.png -o large/ --skip-existing --json
//! cargo run --release --features wgpu --example upscale -- photo.jpg -o large.png --backend wgpu
//! ```
//!
//! The program checks names, formats and folders before it processes the first picture. After that,
//! a failed picture does not stop the others, and Ctrl-C stops within the current picture. An
//! output file is either complete or missing.

// Without a backend the program can only report that none is built in.
#![cfg_attr(
    not(any(
        feature = "flex",
        feature = "ndarray",
        feature = "wgpu",
        feature = "cuda"
    )),
    allow(unused)
)]

mod compare;
mod plan;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use gendr_pix::picture::{Picture, ReadAhead};
use gendr_pix::{
    Attention, Backend, Cancel, ColorFix, Edge, Error, GenDrPix, Precision, Target, Tiling,
    Upscale, backend,
};
use image::DynamicImage;
use indicatif::{ProgressBar, ProgressStyle};
use os_display::Quotable;
use plan::{Job, Plan};
use report::{Outcome, Report, UpscaledPicture};

/// The exit code that a shell reports for a program stopped by Ctrl-C.
const INTERRUPTED: u8 = 130;
/// Backends that run a self-test before the first picture.
const GPUS: [&str; 2] = ["wgpu", "cuda"];
/// Steps of the progress bar per picture.
const STEPS: u64 = 1000;

/// Upscale pictures with GenDR-Pix.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Pictures to upscale (PNG, JPEG, WebP, TIFF or BMP), or folders, which are searched
    /// recursively.
    #[arg(required = true)]
    inputs: Vec<PathBuf>,
    /// Output file, or output folder (created if missing; the name of a new folder must end in
    /// `/`).
    #[arg(short, long)]
    output: PathBuf,
    /// Skip pictures whose output already exists.
    #[arg(long)]
    skip_existing: bool,
    /// For each output, also write OUTPUT.compare.png: before and after, split by a line, with
    /// enlarged details.
    #[arg(long)]
    compare: bool,
    /// Print a JSON report on all pictures at the end.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
    /// Blend between the plain resize (0) and the output of the model (1).
    #[arg(long, default_value_t = 1.0)]
    fidelity: f64,
    /// Colour correction towards the input. [default: that of the library]
    #[arg(long, visible_alias = "color-fix", value_parser = color_fix, value_name = "none|mean-std|wavelet")]
    colour_fix: Option<ColorFix>,
    /// Padding at the edges of the picture; `wrap` keeps textures seamless.
    #[arg(long, value_parser = edge, default_value = "reflect", value_name = "reflect|replicate|wrap")]
    edge: Edge,
    /// Guidance scale: higher values give stronger detail. [default: recommended by the model]
    #[arg(long)]
    guidance: Option<f64>,
    /// File or folder of weights to use instead of the bundled weights.
    #[arg(long, value_name = "FILE_OR_FOLDER")]
    weights: Option<PathBuf>,
    /// Limit attention to windows of at most this many tokens per side (for example 64), for large
    /// pictures.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    window: Option<u32>,
    /// Process the picture in tiles to save memory. The value is the side of a tile in output
    /// pixels (for example 512; rounded down to a multiple of 8).
    #[arg(long, value_parser = tiling)]
    tile: Option<Tiling>,
    /// Backend to compute on; each one except `flex` needs the cargo feature of the same name.
    #[arg(long, value_parser = ["flex", "ndarray", "wgpu", "cuda"], default_value = "flex")]
    backend: String,
    /// Compute in bf16 if the device supports it: this halves the memory, and is faster on some
    /// devices.
    #[arg(long)]
    bf16: bool,
}

/// The size of the output. The default is a scale of 4.
#[derive(clap::Args)]
#[group(multiple = false)]
struct TargetArgs {
    /// Factor for width and height; 1 restores without enlarging. [default: 4]
    #[arg(long)]
    scale: Option<f64>,
    /// Width in pixels; keeps the aspect ratio.
    #[arg(long)]
    width: Option<u32>,
    /// Height in pixels; keeps the aspect ratio.
    #[arg(long)]
    height: Option<u32>,
    /// Longer side in pixels; keeps the aspect ratio.
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

/// An error is one line for the user, with the file name in quotes.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let args = Args::parse();
    let mut report = Report::default();
    if let Err(reason) = run(&args, &mut report) {
        eprintln!("upscale: {reason}");
        report.error = Some(reason);
    }
    if args.json {
        println!("{}", report.to_json());
    }
    match report {
        Report {
            interrupted: true, ..
        } => ExitCode::from(INTERRUPTED),
        Report {
            error: None,
            failed: 0,
            ..
        } => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// The side of the smallest tile in pixels: a cell of the bundled model.
const SMALLEST_TILE: usize = 8;

/// Parses the side of a tile. Each tile overlaps each neighbour by a quarter of its side, as in
/// [`Tiling::default`].
fn tiling(side: &str) -> Result<Tiling> {
    match side.parse() {
        Ok(side) if side >= SMALLEST_TILE => Tiling::with_side(side).map_err(|e| e.to_string()),
        Ok(_) => Err(format!(
            "a tile needs at least {SMALLEST_TILE} pixels per side"
        )),
        Err(_) => Err("expected a number of pixels".to_owned()),
    }
}

fn size(size: &str) -> Result<Target> {
    size.split_once('x')
        .and_then(|(width, height)| Some(Target::Size(width.parse().ok()?, height.parse().ok()?)))
        .ok_or_else(|| "expected a width and a height, such as 1920x1080".to_owned())
}

fn color_fix(name: &str) -> Result<ColorFix> {
    match name {
        "none" => Ok(ColorFix::None),
        "mean-std" => Ok(ColorFix::MeanStd),
        "wavelet" => Ok(ColorFix::Wavelet),
        _ => Err("expected none, mean-std or wavelet".to_owned()),
    }
}

fn edge(name: &str) -> Result<Edge> {
    match name {
        "reflect" => Ok(Edge::Reflect),
        "replicate" => Ok(Edge::Replicate),
        "wrap" => Ok(Edge::Wrap),
        _ => Err("expected reflect, replicate or wrap".to_owned()),
    }
}

fn run(args: &Args, report: &mut Report) -> Result<()> {
    let plan = Plan {
        inputs: &args.inputs,
        output: &args.output,
        compare: args.compare,
        skip_existing: args.skip_existing,
    };
    let jobs = plan.jobs()?;
    match args.backend.as_str() {
        #[cfg(feature = "flex")]
        "flex" => upscale_all::<backend::Flex>(args, jobs, report),
        #[cfg(feature = "ndarray")]
        "ndarray" => upscale_all::<backend::NdArray>(args, jobs, report),
        #[cfg(feature = "wgpu")]
        "wgpu" => upscale_all::<backend::Wgpu>(args, jobs, report),
        #[cfg(feature = "cuda")]
        "cuda" => upscale_all::<backend::Cuda>(args, jobs, report),
        name => Err(format!(
            "backend `{name}` is not built in: rebuild with `--features {name}`"
        )),
    }
}

fn upscale_all<B: Backend>(args: &Args, jobs: Vec<Job>, report: &mut Report) -> Result<()> {
    let device = Default::default();
    let model = match &args.weights {
        Some(path) => GenDrPix::<B>::load(path, &device)
            .map_err(|error| format!("{}: {}", path.quote(), reason(error))),
        #[cfg(feature = "pretrained")]
        None => GenDrPix::<B>::pretrained(&device).map_err(reason),
        #[cfg(not(feature = "pretrained"))]
        None => Err("no weights are built in: pass `--weights`".into()),
    }?;
    let precision = match args.bf16 {
        true => Precision::Bf16,
        false => Precision::Full,
    };
    let model = model.in_precision(precision).map_err(reason)?;
    let cancel = Cancel::new();
    let on_interrupt = cancel.clone();
    ctrlc::set_handler(move || on_interrupt.cancel())
        .map_err(|error| format!("cannot handle Ctrl-C: {error}"))?;

    // The bar is drawn on stderr, and only if that is a terminal.
    let style = ProgressStyle::with_template("{wide_bar} {percent} % {msg}")
        .expect("the template is well formed");
    let (skipped, jobs): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|job| job.skip);
    for job in skipped {
        report.add(&job.input, &job.output, Outcome::Skipped);
    }
    let count = jobs.len();
    if count > 0 && GPUS.contains(&args.backend.as_str()) {
        // Some GPU drivers compute incorrectly. Find out before a folder is full of wrong pictures.
        let operations = model.self_test().map_err(reason)?;
        eprintln!("upscale: self-test passed: {} operations", operations.len());
    }
    let bar = ProgressBar::new(STEPS * count as u64).with_style(style);
    let options = options(args).cancel(cancel.clone());
    let pictures = jobs.into_iter().map(|job| (Picture::open(&job.input), job));
    for (done, (picture, job)) in (0..).zip(ReadAhead::new(pictures)) {
        bar.set_message(job.input.maybe_quote().to_string());
        let shown = bar.clone();
        let options = options.clone().on_progress(move |progress| {
            shown.set_position(done * STEPS + (progress.fraction * STEPS as f64) as u64);
        });
        let outcome = upscale(&model, &options, picture, &job);
        if cancel.is_cancelled() && outcome.is_err() {
            report.interrupted = true;
            let unfinished = job.input.quote();
            return Err(format!(
                "interrupted at {unfinished}, {done} of {count} done"
            ));
        }
        let outcome = match outcome {
            Ok(done) => {
                for warning in &done.warnings {
                    bar.suspend(|| eprintln!("upscale: {}: {warning}", job.output.quote()));
                }
                Outcome::Upscaled(done)
            }
            Err(error) => {
                bar.suspend(|| eprintln!("upscale: {error}"));
                Outcome::Failed { error }
            }
        };
        report.add(&job.input, &job.output, outcome);
    }
    bar.finish_and_clear();
    if report.pictures.len() > 1 && report.failed + report.skipped > 0 {
        let Report {
            upscaled,
            skipped,
            failed,
            ..
        } = report;
        eprintln!(
            "upscale: {upscaled} upscaled, {skipped} skipped, {failed} of {} pictures failed",
            report.pictures.len()
        );
    }
    Ok(())
}

fn options(args: &Args) -> Upscale {
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
    options
}

/// Upscales and writes one picture, and writes a comparison if requested.
fn upscale<B: Backend>(
    model: &GenDrPix<B>,
    options: &Upscale,
    picture: gendr_pix::Result<Picture>,
    job: &Job,
) -> Result<UpscaledPicture> {
    let start = Instant::now();
    let input = |error| format!("{}: {}", job.input.quote(), reason(error));
    let picture = picture.map_err(input)?;
    let from = [picture.image().width(), picture.image().height()];
    let mut page = None;
    let large = picture.map(|image| {
        let large = model.upscale_with(image, options)?;
        if job.comparison.is_some() {
            page = Some(compare::compare(image, &large));
        }
        Ok(large)
    });
    let large = large.map_err(input)?;
    let mut warnings = large.warnings().to_vec();
    let output = |error| format!("{}: {}", job.output.quote(), reason(error));
    warnings.extend(large.save(&job.output).map_err(output)?);
    if let (Some(path), Some(page)) = (&job.comparison, page) {
        let saved = Picture::from(DynamicImage::from(page)).save(path);
        saved.map_err(|error| format!("{}: {}", path.quote(), reason(error)))?;
    }
    Ok(UpscaledPicture {
        from,
        to: [large.image().width(), large.image().height()],
        seconds: start.elapsed().as_secs_f64(),
        comparison: job.comparison.as_deref().map(report::text),
        warnings,
    })
}

/// Returns the text of an error without the file name, which the caller puts before it in quotes.
fn reason(error: Error) -> String {
    match error {
        Error::Format { reason, .. } | Error::InputTooLarge { reason, .. } => reason,
        Error::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}
