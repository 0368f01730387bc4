//! Progress is told to the end, and cancelling works at every event of it.

use crate::support::pictures::{gradient, picture, small};
use gendr_pix::backend::Flex;
use gendr_pix::{
    Cancel, Error, GenDrPix, GenDrPixConfig, Padding, Phase, Progress, Restore, Result, Tiling,
    Upscale,
};
use image::DynamicImage;
use std::sync::{Arc, LazyLock, Mutex};

type B = Flex;

static MODEL: LazyLock<GenDrPix<B>> = LazyLock::new(|| {
    let config = GenDrPixConfig::nano();
    let unet = small(config.unet);
    GenDrPix::new(GenDrPixConfig { unet, ..config }, 3, &Default::default()).unwrap()
});

type Enlarge = fn(&DynamicImage, &Upscale) -> Result<DynamicImage>;

/// Each model, by name.
fn models() -> Vec<(&'static str, Enlarge)> {
    let mut models: Vec<(_, Enlarge)> = vec![("GenDR-Pix", |p, o| MODEL.upscale_with(p, o))];
    #[cfg(feature = "latent")]
    models.extend([
        ("GenDR", latent::gendr as Enlarge),
        ("GenDR-Adc", latent::adc),
    ]);
    models
}

#[cfg(feature = "latent")]
mod latent {
    use super::*;
    use gendr_pix::latent::{GenDr, GenDrAdc, LatentConfig};

    static GENDR: LazyLock<GenDr<B>> = LazyLock::new(|| {
        let config = LatentConfig::gendr_nano();
        let unet = small(config.unet);
        let model = GenDr::new(LatentConfig { unet, ..config }, 3, &Default::default());
        // Its VAE is in tiles, too.
        model.unwrap().tiling(Some(Tiling::new(24, 8).unwrap()))
    });
    static ADC: LazyLock<GenDrAdc<B>> = LazyLock::new(|| {
        let config = LatentConfig::adc_nano();
        let unet = small(config.unet);
        GenDrAdc::new(LatentConfig { unet, ..config }, 3, &Default::default()).unwrap()
    });

    pub fn gendr(picture: &DynamicImage, options: &Upscale) -> Result<DynamicImage> {
        GENDR.upscale_with(picture, options)
    }

    pub fn adc(picture: &DynamicImage, options: &Upscale) -> Result<DynamicImage> {
        ADC.upscale_with(picture, options)
    }
}

/// Two tiles, two prompts, two paddings.
fn all_kinds_of_parts() -> Restore {
    Restore::new()
        .guidance(1.2)
        .ensemble(vec![Padding::new(4, 4), Padding::new(0, 0)])
        .tiling(Tiling::new(32, 8).unwrap())
}

fn two_passes() -> Upscale {
    Upscale::new()
        .guidance(1.2)
        .ensemble(vec![Padding::CENTRED])
}

/// What `run` tells when it is not stopped.
fn told(options: Upscale, run: impl FnOnce(&Upscale) -> Result<()>) -> Vec<Progress> {
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = events.clone();
    run(&options.on_progress(move |progress| told.lock().unwrap().push(progress))).unwrap();
    events.lock().unwrap().clone()
}

#[track_caller]
fn assert_rises_to_one(events: &[Progress], name: &str) {
    let fractions: Vec<f64> = events.iter().map(|event| event.fraction).collect();
    assert!(fractions.is_sorted(), "{name}: {fractions:?}");
    assert!(fractions[0] > 0.0, "{name}");
    assert_eq!(fractions.last(), Some(&1.0), "{name}");
    let largest_step = fractions.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(
        largest_step.fold(0.0, f64::max) < 0.3,
        "{name}: {fractions:?}"
    );
}

#[test]
fn fractions_rise_to_one_stage_by_stage() {
    let small = gradient(11, 6).to_rgba8().into();
    for (name, enlarge) in models() {
        for options in [Upscale::new().restore(all_kinds_of_parts()), Upscale::new()] {
            let events = told(options, |options| enlarge(&small, options).map(drop));
            assert_rises_to_one(&events, name);
            let mut stages: Vec<Phase> = events.iter().map(|event| event.phase).collect();
            assert!(stages.is_sorted(), "{name}");
            stages.dedup();
            let all = [Phase::Resize, Phase::Restore, Phase::Correct, Phase::Finish];
            assert_eq!(stages, all, "{name}");
        }
    }
}

#[test]
fn each_pass_and_tile_is_told() {
    let count = |options: Upscale| {
        let small = gradient(11, 6);
        let options = options.guidance(1.0);
        let events = told(options, |options| {
            MODEL.upscale_with(&small, options).map(drop)
        });
        let restoring = events.iter().filter(|event| event.phase == Phase::Restore);
        restoring.count()
    };
    let padding = || vec![Padding::CENTRED];
    let one = count(Upscale::new().ensemble(padding()));
    assert!(one > 8, "{one}");
    assert_eq!(
        count(Upscale::new().ensemble([padding(), padding()].concat())),
        2 * one
    );
    let tiling = Tiling::new(32, 8).unwrap();
    // 44 pixels are 6 cells: two tiles across.
    assert_eq!(
        count(Upscale::new().ensemble(padding()).tiling(tiling)),
        2 * one
    );
}

#[test]
fn tensors_are_told_of_from_nought_to_one() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let reported = events.clone();
    let options =
        all_kinds_of_parts().on_progress(move |event| reported.lock().unwrap().push(event));
    MODEL.restore(picture(16, 40), &options).unwrap();
    let events = events.lock().unwrap();
    assert_rises_to_one(&events, "restore");
    assert!(events.iter().all(|event| event.phase == Phase::Restore));
}

/// Whenever it is cancelled, there is no result, and nothing more is told; but what is told last is
/// of a picture that is whole, which is not thrown away.
#[test]
fn cancelling_at_any_event_is_an_error() {
    let small = gradient(3, 2).to_rgba8().into();
    for (name, enlarge) in models() {
        let all = told(two_passes(), |o| enlarge(&small, o).map(drop)).len();
        for stop_at in 1..=all {
            let (cancel, count) = (Cancel::new(), Arc::new(Mutex::new(0)));
            let (token, counted) = (cancel.clone(), count.clone());
            let options = two_passes().cancel(cancel).on_progress(move |_| {
                let mut count = counted.lock().unwrap();
                *count += 1;
                if *count == stop_at {
                    token.cancel();
                }
            });
            let result = enlarge(&small, &options);
            match stop_at == all {
                true => assert!(result.is_ok(), "{name}"),
                false => assert!(matches!(result, Err(Error::Cancelled)), "{name}, {stop_at}"),
            }
            assert_eq!(*count.lock().unwrap(), stop_at, "{name}");
        }
    }
}

#[test]
fn what_is_cancelled_does_not_begin() {
    let cancel = Cancel::new();
    cancel.cancel();
    let restore = Restore::new()
        .cancel(cancel)
        .on_progress(|_| panic!("began"));
    let options = Upscale::new().restore(restore.clone());
    for (name, enlarge) in models() {
        let result = enlarge(&gradient(4, 4), &options);
        assert!(matches!(result, Err(Error::Cancelled)), "{name}");
    }
    let result = MODEL.restore(picture(8, 8), &restore);
    assert!(matches!(result, Err(Error::Cancelled)));
}

#[test]
fn many_pictures_come_in_order_and_bad_ones_do_not_stop_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    gradient(3, 4).save(path("a.png")).unwrap();
    std::fs::write(path("b.png"), "not a picture").unwrap();
    gradient(5, 2).save(path("c.png")).unwrap();
    let paths = ["a.png", "b.png", "c.png", "absent.png"].map(path);
    let options = Upscale::new().scale(2.0);
    let results: Vec<_> = MODEL.upscale_many(paths, &options).collect();
    let size = |i: usize| {
        let image = results[i].as_ref().unwrap().image();
        (image.width(), image.height())
    };
    assert_eq!((size(0), size(2)), ((6, 8), (10, 4)));
    assert!(matches!(results[1], Err(Error::Format { .. })));
    assert!(matches!(results[3], Err(Error::Io { .. })));
    assert_eq!(results.len(), 4);
}

/// From `cancel` to the return, at 60 moments spread over a picture of 3840x2160.
#[cfg(feature = "pretrained")]
#[test]
#[ignore = "a minute: cargo test --release --test all progress -- --ignored --nocapture"]
fn cancelling_takes_a_fifth_of_a_second_at_most() {
    use std::time::{Duration, Instant};
    let model = GenDrPix::<B>::pretrained(&Default::default()).unwrap();
    let small = gradient(960, 540);
    let one_pass = || Upscale::new().ensemble(vec![Padding::CENTRED]);
    model.upscale_with(&small, &one_pass()).unwrap();
    let start = Instant::now();
    let last = Mutex::new(start);
    let steps = one_pass().on_progress(move |progress| {
        let step = std::mem::replace(&mut *last.lock().unwrap(), Instant::now()).elapsed();
        println!("{:?} {:.3}: {step:?}", progress.phase, progress.fraction);
    });
    model.upscale_with(&small, &steps).unwrap();
    let whole = start.elapsed();
    println!("whole: {whole:?}");
    let mut latencies: Vec<Duration> = Vec::new();
    for moment in 0..60 {
        let cancel = Cancel::new();
        let options = one_pass().cancel(cancel.clone());
        let (result, latency) = std::thread::scope(|scope| {
            let work = scope.spawn(|| (model.upscale_with(&small, &options), Instant::now()));
            std::thread::sleep(whole * moment / 60);
            let asked = Instant::now();
            cancel.cancel();
            let (result, returned) = work.join().unwrap();
            (result, returned.saturating_duration_since(asked))
        });
        // The last moments may find the picture done.
        if result.is_err() {
            latencies.push(latency);
        }
    }
    latencies.sort();
    let [median, longest] = [
        latencies[latencies.len() / 2],
        latencies[latencies.len() - 1],
    ];
    println!(
        "{} cancelled: median {median:?}, longest {longest:?}",
        latencies.len()
    );
    assert!(latencies.len() > 30);
    assert!(longest < Duration::from_millis(200), "{longest:?}");
}
