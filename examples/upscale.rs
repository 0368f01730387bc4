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
use std::io::{BufWriter, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use gendr_pix::{Backend, GenDrPix, Tiling, Upscale, backend};
use image::codecs::{jpeg::JpegEncoder, png::PngEncoder, tiff::TiffEncoder, webp::WebPEncoder};
use image::{ColorType, DynamicImage, ImageDecoder, ImageEncoder, ImageError, ImageFormat};
use image::{ImageReader, ImageResult, Limits, Rgba, RgbaImage, imageops};
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
    /// How many times as wide and as high.
    #[arg(long, default_value_t = 4.0)]
    scale: f64,
    /// Strength of the detail; the model's own recommendation when not given.
    #[arg(long)]
    guidance: Option<f64>,
    /// Weights file or folder, in place of the bundled weights.
    #[arg(long, value_name = "FILE_OR_FOLDER")]
    weights: Option<PathBuf>,
    /// Restore in tiles, for pictures that memory does not hold at once: their sides in pixels of the output (512, say;
    /// rounded down to a multiple of 8).
    #[arg(long, value_parser = tiling)]
    tile: Option<Tiling>,
    /// What to compute on; all but `flex` need the cargo feature of the same name.
    #[arg(long, value_parser = ["flex", "ndarray", "wgpu", "cuda"], default_value = "flex")]
    backend: String,
}

/// One picture to read and one to write.
struct Job {
    input: PathBuf,
    output: PathBuf,
    format: ImageFormat,
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
            if writable_format(&output).is_none() {
                output.set_extension("png");
            }
        }
        let format = writable_format(&output).ok_or_else(|| {
            format!("{output:?}: can write .png, .jpg, .webp, .tiff and .bmp only")
        })?;
        if fs::canonicalize(&output).is_ok_and(|path| originals.contains(&path)) {
            return Err(format!("{output:?} is an input and would be overwritten"));
        }
        if let Some(other) = taken.insert(output.clone(), input) {
            return Err(format!(
                "{other:?} and {input:?} would both be written to {output:?}"
            ));
        }
        let input = input.clone();
        jobs.push(Job {
            input,
            output,
            format,
        });
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

fn writable_format(path: &Path) -> Option<ImageFormat> {
    ImageFormat::from_path(path)
        .ok()
        .filter(ImageFormat::writing_enabled)
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
    let mut options = Upscale::new().scale(args.scale);
    if let Some(guidance) = args.guidance {
        options = options.guidance(guidance);
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
            Ok(None) => {}
            Ok(Some(note)) => bar.suspend(|| eprintln!("upscale: {:?}: {note}", job.output)),
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
fn upscale<B: Backend>(
    model: &GenDrPix<B>,
    options: &Upscale,
    job: &Job,
) -> Result<Option<&'static str>> {
    let (image, profile) = read(&job.input).map_err(|error| format!("{:?}: {error}", job.input))?;
    let image = model
        .upscale_with(&image, options)
        .map_err(|error| format!("{:?}: {error}", job.input))?;
    let (image, note) = fit(image, job.format);
    write(&image, profile, job).map_err(|error| format!("{:?}: {error}", job.output))?;
    Ok(note)
}

/// The picture, upright, and its colour profile.
fn read(path: &Path) -> ImageResult<(DynamicImage, Option<Vec<u8>>)> {
    let mut decoder = ImageReader::open(path)?
        .with_guessed_format()?
        .into_decoder()?;
    // The pixels count against the default limits, as in `ImageReader::decode`.
    let mut limits = Limits::default();
    limits.reserve(decoder.total_bytes())?;
    decoder.set_limits(limits)?;
    let orientation = decoder.orientation()?;
    let profile = decoder.icc_profile()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok((image, profile))
}

/// The nearest kind of picture that `format` holds, where the encoder would refuse or drop alpha.
/// (Encoders for 8 bits reduce the depth themselves.)
fn fit(image: DynamicImage, format: ImageFormat) -> (DynamicImage, Option<&'static str>) {
    use ColorType::{La8, La16, Rgb32F, Rgba32F};
    match (format, image.color()) {
        (ImageFormat::Jpeg, color) if color.has_alpha() => on_white(&image),
        (ImageFormat::Png, Rgb32F) => (image.into_rgb16().into(), None),
        (ImageFormat::Png, Rgba32F) => (image.into_rgba16().into(), None),
        (ImageFormat::Tiff, La16) => (image.into_rgba16().into(), None),
        (ImageFormat::Tiff, La8) | (ImageFormat::Bmp, La8 | La16) => {
            (image.into_rgba8().into(), None)
        }
        _ => (image, None),
    }
}

fn on_white(image: &DynamicImage) -> (DynamicImage, Option<&'static str>) {
    let pixels = image.to_rgba8();
    let seen_through = pixels.pixels().any(|pixel| pixel.0[3] < 255);
    let mut white = RgbaImage::from_pixel(pixels.width(), pixels.height(), Rgba([255; 4]));
    imageops::overlay(&mut white, &pixels, 0, 0);
    let note = seen_through.then_some("JPEG has no transparency, the picture was put on white");
    match image.color().has_color() {
        true => (white.into(), note),
        false => (DynamicImage::from(white).into_luma8().into(), note),
    }
}

/// Writes to a temporary file beside the output, then gives it its name; dropped, it is removed.
fn write(image: &DynamicImage, profile: Option<Vec<u8>>, job: &Job) -> ImageResult<()> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".upscale-");
    // Temporary files are private by default; a picture is as public as the umask allows.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder_of(&job.output))?;
    let mut writer = BufWriter::new(file.as_file_mut());
    encode(image, profile, job.format, &mut writer)?;
    writer.flush()?;
    drop(writer);
    file.persist(&job.output).map_err(|error| error.error)?;
    Ok(())
}

fn encode(
    image: &DynamicImage,
    profile: Option<Vec<u8>>,
    format: ImageFormat,
    mut writer: impl Write + Seek,
) -> ImageResult<()> {
    // A profile names the kind of colour it is for: one for CMYK, which decoding made RGB, would be wrong.
    let kind: &[u8] = match image.color().has_color() {
        true => b"RGB ",
        false => b"GRAY",
    };
    let profile = profile.filter(|profile| profile.get(16..20) == Some(kind));
    match format {
        ImageFormat::Png => encode_with(PngEncoder::new(writer), image, profile),
        // The picture is the result of much work: spend the bytes.
        ImageFormat::Jpeg => encode_with(JpegEncoder::new_with_quality(writer, 95), image, profile),
        ImageFormat::WebP => encode_with(WebPEncoder::new_lossless(writer), image, profile),
        ImageFormat::Tiff => encode_with(TiffEncoder::new(writer), image, profile),
        other => image.write_to(&mut writer, other),
    }
}

fn encode_with(
    mut encoder: impl ImageEncoder,
    image: &DynamicImage,
    profile: Option<Vec<u8>>,
) -> ImageResult<()> {
    if let Some(profile) = profile {
        encoder
            .set_icc_profile(profile)
            .map_err(ImageError::Unsupported)?;
    }
    image.write_with_encoder(encoder)
}
