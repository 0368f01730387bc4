//! Upscales a picture in an async program: on a blocking thread of tokio, with progress through a
//! channel, and with cancellation by a time limit or Ctrl-C.
//!
//! ```sh
//! cargo run --release --example async_upscale -- assets/sample.jpg large.png 30
//! ```

use gendr_pix::picture::Picture;
use gendr_pix::{Cancel, Error, GenDrPix, Upscale, backend};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

type Model = GenDrPix<backend::Cpu>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, seconds] = &arguments[..] else {
        return Err("usage: async_upscale INPUT OUTPUT SECONDS".into());
    };
    let limit = Duration::from_secs_f64(seconds.parse()?);
    let model = spawn_blocking(|| Model::pretrained(&Default::default())).await??;
    let result = upscale(Arc::new(model), input.into(), output.into(), limit).await;
    Ok(result?)
}

/// Enlarges a file. Returns [`Error::Cancelled`] after the time limit or Ctrl-C.
async fn upscale(
    model: Arc<Model>,
    input: PathBuf,
    output: PathBuf,
    limit: Duration,
) -> Result<(), Error> {
    let cancel = Cancel::new();
    // A channel that holds only the latest value: the work never waits for the display.
    let (sender, mut progress) = watch::channel(0.0);
    let options = Upscale::new()
        .cancel(cancel.clone())
        .on_progress(move |progress| {
            // The receiver may be gone.
            let _ = sender.send(progress.fraction);
        });
    let cancel_save = cancel.clone();
    let mut work = spawn_blocking(move || {
        let picture = Picture::open(input)?;
        let large = picture.map(|image| model.upscale_with(image, &options))?;
        drop(options);
        match cancel_save.is_cancelled() {
            true => Err(Error::Cancelled),
            false => large.save(output).map(drop),
        }
    });
    let mut timeout = pin!(tokio::time::sleep(limit));
    // Created once, so that a signal between two iterations of the loop is not lost.
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let mut stopped = false;
    let result = loop {
        tokio::select! {
            result = &mut work => break result,
            Ok(()) = progress.changed() => {
                eprintln!("{:3.0} %", 100.0 * *progress.borrow_and_update());
            }
            // Request cancellation and keep waiting: a blocking task cannot be dropped halfway.
            () = &mut timeout, if !stopped => { cancel.cancel(); stopped = true; }
            _ = &mut interrupt, if !stopped => { cancel.cancel(); stopped = true; }
        }
    };
    // Propagate a panic of the task.
    result.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
