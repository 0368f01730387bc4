// The model's thread: pictures come in, PNG files go out.
import init, { Model, Opened } from "./wasm/gendr_pix_web.js";

const TOO_LARGE = "the picture is too large for this browser's memory";
const FAILED = "WebGPU failed";

// By the page: whether to look for a GPU at all, and why not; or whether to take one in software.
const asked = new URLSearchParams(location.search);
let gpu = false; // whether the GPU computes, or is tried
const model = load();
model.catch(() => {}); // told of with the first picture

/** The model, on the GPU where there is one that works. */
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

/** WebAssembly, unpacked and compiled while it comes in. */
async function program() {
  const packed = await fetch(new URL("wasm/gendr_pix_web.packed", import.meta.url));
  if (!packed.ok) throw new Error(`${packed.url}: ${packed.status}`);
  const bytes = packed.body.pipeThrough(new DecompressionStream("gzip"));
  return new Response(bytes, { headers: { "content-type": "application/wasm" } });
}

/** Why not to try a GPU, if so. One in software is slower than the model on the CPU: it is taken where the page asks for it only. */
async function whyNoGpu() {
  const backend = asked.get("backend");
  if (backend === "cpu") return asked.get("because");
  if (!navigator.gpu) return "this browser has no WebGPU";
  // The one that burn will ask for.
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  if (!adapter) return "WebGPU has no GPU here";
  if (adapter.info?.isFallbackAdapter && backend !== "webgpu") return "WebGPU has a GPU in software only";
}

/** Tells whether the GPU computes, as it was to. */
function tellDevice(model) {
  gpu = !model.whyNoGpu;
  if (!gpu) console.info(`${FAILED}: ${model.whyNoGpu}`);
  self.postMessage(gpu ? { device: "GPU" } : { device: "CPU", because: FAILED });
}

// A panic in what is awaited, or memory that runs out there, comes here and nowhere else. Nothing in here can be trusted any
// more: the page drops this worker.
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
    // After a panic or when memory ran out, nothing in here can be trusted any more.
    const broken = error instanceof WebAssembly.RuntimeError;
    self.postMessage({ error: broken ? TOO_LARGE : error.message ?? `${error}`, broken });
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
