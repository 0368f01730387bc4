// The model's thread: pictures come in, PNG files go out.
import init, { Model, Opened } from "./wasm/gendr_pix_web.js";

const model = init().then(() => new Model());
model.catch(() => {}); // told of with the first picture

self.onmessage = async ({ data: { file, scale, best } }) => {
  const upscaler = await model.catch(() => null);
  if (!upscaler) {
    self.postMessage({ error: "the model could not be loaded; try again", broken: true });
    return;
  }
  try {
    const picture = await open(file);
    const before = png(picture.preview());
    self.postMessage({ before, width: picture.width, height: picture.height });
    const start = performance.now();
    const after = png(upscaler.upscale(picture, scale, best));
    self.postMessage({ after, seconds: (performance.now() - start) / 1000 });
  } catch (error) {
    // After a panic or when memory ran out, nothing in here can be trusted any more.
    const broken = error instanceof WebAssembly.RuntimeError;
    self.postMessage({ error: broken ? "the picture is too large for this browser's memory" : error.message ?? `${error}`, broken });
  }
};

/** Opens a picture file, by way of the browser where only that knows its format (AVIF, GIF). */
async function open(file) {
  try {
    return new Opened(new Uint8Array(await file.arrayBuffer()));
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError) throw error;
    const bitmap = await createImageBitmap(file).catch(() => { throw error; });
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    const decoded = await canvas.convertToBlob();
    return new Opened(new Uint8Array(await decoded.arrayBuffer()));
  }
}

function png(bytes) {
  return new Blob([bytes], { type: "image/png" });
}
