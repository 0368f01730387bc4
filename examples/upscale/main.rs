//! Upscales pictures from the command line.
//!
//! ```sh
//! cargo run --release --example upscale -- photo.jpg -o large.png
//! cargo run --release --example upscale -- photos/ b.png -o large/ --skip-existing --json
//! cargo run --release --features wgpu --example upscale -- photo.jpg -o large.png --backend wgpu
//! ```
//!
//! Everything that can be known beforehand (names, formats, folders) is checked before the first picture; after that, a
//! picture that fails does not stop the others, and Ctrl-C stops within the picture. An output is either complete or not
//! there.

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
use report::{Done, Outcome, Report};

/// What a shell tells of a program that Ctrl-C has stopped.
const INTERRUPTED: u8 = 130;
/// Backends that are tested before the first picture.
const GPUS: [&str; 2] = ["wgpu", "cuda"];
/// Steps of the bar for one picture.
const STEPS: u64 = 1000;

/// Upscale pictures with GenDR-Pix.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Pictures to upscale: PNG, JPEG, WebP, TIFF or BMP; of folders all, and those in the folders within.
    #[arg(required = true)]
    inputs: Vec<PathBuf>,
    /// The picture to write, or a folder (created if missing; a name that is new ends in `/`).
    #[arg(short, long)]
    output: PathBuf,
    /// Leave out the pictures whose output is there already.
    #[arg(long)]
    skip_existing: bool,
    /// Beside each output, write OUTPUT.compare.png: before and after to either side of a line, and enlarged parts.
    #[arg(long)]
    compare: bool,
    /// Print what became of each picture as JSON when all are done.
    #[arg(long)]
    json: bool,
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
    /// Compute in bf16, on devices that have it: half of the memory, and faster on some.
    #[arg(long)]
    bf16: bool,
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

/// Errors are for people: one line, with the file's name in quotes.
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

/// Tiles of `side` pixels, a quarter of which is shared with each neighbour, as in [`Tiling::default`].
fn tiling(side: &str) -> Result<Tiling> {
    let side: usize = side.parse().map_err(|_| "is not a number of pixels")?;
    Tiling::with_side(side).map_err(|_| "a tile has at least 8 pixels a side".to_owned())
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
            "backend `{name}` is not built in: build with `--features {name}`"
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
        None => Err("no weights are built in: give `--weights`".into()),
    }?;
    let precision = match args.bf16 {
        true => Precision::Bf16,
        false => Precision::Full,
    };
    let model = model.in_precision(precision).map_err(reason)?;
    let cancel = Cancel::new();
    let on_interrupt = cancel.clone();
    ctrlc::set_handler(move || on_interrupt.cancel())
        .map_err(|error| format!("cannot wait for Ctrl-C: {error}"))?;

    // Drawn on stderr, and only if that is a terminal.
    let style = ProgressStyle::with_template("{wide_bar} {percent} % {msg}")
        .expect("the template is well formed");
    let (skipped, jobs): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|job| job.skip);
    for job in skipped {
        report.add(&job.input, &job.output, Outcome::Skipped);
    }
    let count = jobs.len();
    if count > 0 && GPUS.contains(&args.backend.as_str()) {
        // Drivers have been wrong: better to know before a folder is full of wrong pictures.
        let right = model.self_test().map_err(reason)?;
        eprintln!("upscale: self-test: {} operations right", right.len());
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

/// Upscales and writes one picture, and compares if asked to.
fn upscale<B: Backend>(
    model: &GenDrPix<B>,
    options: &Upscale,
    picture: gendr_pix::Result<Picture>,
    job: &Job,
) -> Result<Done> {
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
    Ok(Done {
        from,
        to: [large.image().width(), large.image().height()],
        seconds: start.elapsed().as_secs_f64(),
        comparison: job.comparison.as_deref().map(report::text),
        warnings,
    })
}

/// What went wrong, without the name of the file: that is told in quotes before.
fn reason(error: Error) -> String {
    match error {
        Error::Format { reason, .. } | Error::InputTooLarge { reason, .. } => reason,
        Error::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}
