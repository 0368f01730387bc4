// The model's thread: receives pictures and sends PNG files.
import init, { Model, Opened } from "./wasm/gendr_pix_web.js";

const TOO_LARGE = "the picture is too large for this browser's memory";
const FAILED = "WebGPU failed";

// From the page: whether to stay on the CPU, and why; or whether to accept a software GPU.
const asked = new URLSearchParams(location.search);
let gpu = false; // whether the GPU is in use or being tried
const model = load();
model.catch(() => {}); // reported with the first picture

/** Loads the model, on the GPU if there is one that works. */
async function load() {
  await init({ module_or_path: program() });
  const model = new Model();
  const because = await whyNoGpu();
  if (because) {
    self.postMessage({ device: "CPU", because });
  } else {
    gpu = true;
    await model.useGpu();
    tellDevice(model);
  }
  return model;
}

/** Fetches the WebAssembly program; it is unpacked and compiled while it arrives. */
async function program() {
  const packed = await fetch(new URL("wasm/gendr_pix_web.packed", import.meta.url));
  if (!packed.ok) throw new Error(`${packed.url}: ${packed.status}`);
  const bytes = packed.body.pipeThrough(new DecompressionStream("gzip"));
  return new Response(bytes, { headers: { "content-type": "application/wasm" } });
}

/** Returns the reason not to try a GPU, if any. A software GPU is slower than the model on the CPU, so it is used only if the
 * page asks for it. */
async function whyNoGpu() {
  const backend = asked.get("backend");
  if (backend === "cpu") return asked.get("because");
  if (!navigator.gpu) return "this browser has no WebGPU";
  // The adapter that burn will request.
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  if (!adapter) return "WebGPU finds no GPU";
  if (adapter.info?.isFallbackAdapter && backend !== "webgpu") return "WebGPU offers only a software GPU";
}

/** Reports to the page whether the GPU is in use, and why not if it was to be. */
function tellDevice(model) {
  gpu = !model.whyNoGpu;
  if (!gpu) console.info(`${FAILED}: ${model.whyNoGpu}`);
  self.postMessage(gpu ? { device: "GPU" } : { device: "CPU", because: FAILED });
}

// A panic in an awaited call, or running out of memory there, is reported here and nowhere else. The worker's state cannot be
// trusted afterwards: the page drops this worker.
self.onerror = () => {
  self.postMessage(gpu ? { withoutGpu: FAILED } : { error: TOO_LARGE, broken: true });
  return true;
};

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
    const after = png(await upscaler.upscale(picture, scale, best));
    const seconds = (performance.now() - start) / 1000;
    if (gpu) tellDevice(upscaler);
    self.postMessage({ after, seconds });
  } catch (error) {
    // After a panic, or when memory ran out, the worker's state cannot be trusted.
    const broken = error instanceof WebAssembly.RuntimeError;
    self.postMessage({ error: broken ? TOO_LARGE : error.message ?? `${error}`, broken });
  }
};

/** Opens a picture file. The browser decodes formats that only it knows (AVIF, GIF). */
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
