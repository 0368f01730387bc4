// Drives the page in headless Chromium: node test/page.mjs [FOLDER FOR SCREENSHOTS]
import assert from "node:assert/strict";
import { createReadStream, readdirSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const here = fileURLToPath(new URL(".", import.meta.url));
const dist = join(here, "../dist");
const types = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".packed": "application/octet-stream" };
const files = readdirSync(dist, { recursive: true }).filter((name) => statSync(join(dist, name)).isFile());

const weight = files.reduce((sum, name) => sum + statSync(join(dist, name)).size, 0);
console.log(`weight of the page: ${(weight / 1e6).toFixed(2)} MB`);
assert(weight <= 15e6, "the page is heavier than 15 MB");

let fault = ""; // code that the worker runs first: makes the browser's GPU faulty
const server = createServer((request, response) => {
  const name = new URL(request.url, origin).pathname.slice(1) || "index.html";
  if (!files.includes(name)) return response.writeHead(404).end();
  response.writeHead(200, { "content-type": types[extname(name)] });
  if (name === "worker.js") response.write(fault);
  createReadStream(join(dist, name)).pipe(response);
}).listen(0, "127.0.0.1");
await new Promise((listening) => server.once("listening", listening));
const origin = `http://127.0.0.1:${server.address().port}`;

const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const software = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]; // a GPU in software, for WebGPU
const size = { viewport: { width: 1000, height: 1000 }, colorScheme: "light" };
let browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: flags });
let page = await browser.newPage(size);
try {
  const session = await browser.newBrowserCDPSession();
  const problems = [], elsewhere = [];
  watch();
  await page.goto(origin);
  await runsOn("CPU: WebGPU finds no GPU");
  await shot("start");

  // The picture equals that of the native program, both downloaded and on the screen.
  await page.check("#best");
  await enlarge(join(here, "small.png"), "CPU");
  const expected = await pixels(readFileSync(join(here, "expected.png")));
  const result = await downloaded();
  assert.deepEqual([result.width, result.height], [256, 256]);
  assert(difference(result, expected) <= 1, "the download differs from the native program's picture");

  // The slider by keyboard: all of one picture, all of the other, and both.
  await page.focus("#split");
  await page.keyboard.press("Home");
  const after = await screen();
  await page.keyboard.press("End");
  const before = await screen();
  assert(difference(after, expected) <= 1, "the page does not show the enlarged picture");
  assert(difference(before, expected) > 32, "the page does not show the original picture");
  for (let i = 0; i < 100; i++) await page.keyboard.press("ArrowLeft");
  assert.equal(await page.inputValue("#split"), "50");
  const both = await screen();
  assert(difference(both, before, 0, 104) <= 1, "left of the slider is not the original picture");
  assert(difference(both, after, 152, 256) <= 1, "right of the slider is not the enlarged picture");
  assert(difference(both, before, 152, 256) > 32, "the slider shows one picture only");
  await shot("both");

  // A file that is not a picture is reported, the result on screen can still be downloaded, and the page goes on.
  await page.setInputFiles("#file", { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("no picture") });
  await page.waitForFunction(() => document.getElementById("error").textContent);
  assert.match(await page.textContent("#error"), /^notes\.txt: .*is not a picture that can be read$/);
  await downloaded();

  // A format that only the browser reads, in one pass, dropped onto the page.
  const gif = Buffer.from("R0lGODdhAgABAIABAAAA/////ywAAAAAAgABAAACAkQKADs=", "base64");
  await page.uncheck("#best");
  await page.evaluate((gif) => {
    const bytes = Uint8Array.from(atob(gif), (c) => c.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], "two.gif", { type: "image/gif" }));
    document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }, gif.toString("base64"));
  await done();
  assert.equal(await page.textContent("#sizes"), "2 × 1 pixels → 8 × 4");

  // Speed, and cancelling halfway.
  const quarter = await page.evaluate(async () => {
    const canvas = new OffscreenCanvas(256, 256);
    const context = canvas.getContext("2d");
    for (let i = 0; i < 64; i++) {
      context.fillStyle = `hsl(${i * 47} 70% 50%)`;
      context.fillRect((i % 8) * 32, Math.floor(i / 8) * 32, 32 - (i % 5) * 4, 32 - (i % 7) * 3);
    }
    return [...new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer())];
  });
  const picture = { name: "quarter.png", mimeType: "image/png", buffer: Buffer.from(quarter) };
  await page.setInputFiles("#file", picture);
  await page.waitForFunction(() => document.getElementById("status").textContent === "Enlarging…");
  await page.click("#cancel");
  assert.equal(await page.textContent("#status"), "Cancelled.");
  const start = await cpuTime();
  await page.click("#again");
  await done();
  const cpu = (await cpuTime()) - start;
  assert.equal(await page.textContent("#sizes"), "256 × 256 pixels → 1024 × 1024");
  const seconds = Number((await page.textContent("#status")).match(/[\d.]+ (?=s)/)[0]);
  console.log(`256x256 to 1024x1024, one pass: ${seconds} s, ${cpu.toFixed(1)} s of the CPU with loading`);
  // On a busy machine the clock includes other programs' time.
  assert(Math.min(seconds, cpu) <= 10, "slower than 10 s");

  // A panic is reported.
  await panic();
  await page.waitForFunction(() => document.getElementById("error").textContent);
  assert.equal(await page.textContent("#error"), "quarter.png: the picture is too large for this browser's memory");

  // A software GPU is available, but is used only if the address asks for it. Its result equals the CPU's, within the limits that
  // every WebGPU device guarantees.
  await browser.close();
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: [...flags, ...software] });
  page = await browser.newPage(size);
  watch();
  await page.goto(origin);
  assert(await page.evaluate(async () => Boolean(await navigator.gpu.requestAdapter())), "no WebGPU in this Chromium");
  await runsOn("CPU: WebGPU offers only a software GPU");
  fault = `
    const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = function ({ requiredLimits, ...rest }) { return request.call(this, rest); };`;
  await page.goto(`${origin}?backend=webgpu`);
  const loading = performance.now();
  await runsOn("GPU with WebGPU");
  console.log(`WebGPU in software: ${((performance.now() - loading) / 1000).toFixed(1)} s to load and to compare`);
  await page.check("#best");
  await enlarge(join(here, "small.png"), "GPU");
  console.log(`64x64 to 256x256, four passes: ${await page.textContent("#status")}`);
  await shot("webgpu");
  const most = difference(await downloaded(), expected);
  console.log(`difference from the native program: ${most} levels of 255`);
  assert(most <= 2, "the GPU's picture differs from the native program's");
  await page.goto(`${origin}?backend=cpu`);
  await runsOn("CPU: the page's address asks for it");
  assert.deepEqual(problems, [], "the browser complains");

  // With a faulty GPU the CPU takes over, and the page says so.
  page = await browser.newPage(size);
  const refusing = `
    const create = GPUDevice.prototype.createShaderModule;
    GPUDevice.prototype.createShaderModule = function (module) { return create.call(this, { ...module, code: "no program" }); };`;
  const small = ["maxComputeInvocationsPerWorkgroup", "maxComputeWorkgroupSizeX"].map((name) =>
    `Object.defineProperty(GPUSupportedLimits.prototype, "${name}", { value: 4 });`).join("");
  const lacking = `Object.defineProperty(GPUSupportedLimits.prototype, "maxStorageBufferBindingSize", { value: 4096 });`;
  const without = "GPUAdapter.prototype.requestDevice = async () => { throw new Error('no device'); };";
  for (fault of [refusing, small, lacking, without]) {
    await page.goto(`${origin}?backend=webgpu`);
    await runsOn("CPU: WebGPU failed");
    await enlarge(join(here, "small.png"), "CPU");
  }
  // The same holds for a GPU that is lost, or refuses something, during a picture.
  fault = `
    const submit = GPUQueue.prototype.submit, request = GPUAdapter.prototype.requestDevice;
    let device;
    GPUAdapter.prototype.requestDevice = async function (options) { return device = await request.call(this, options); };
    GPUQueue.prototype.submit = function (commands) { self.next?.(device); self.next = null; submit.call(this, commands); };`;
  for (const next of ["device.destroy()", "device.createBuffer({ size: 4, usage: 0 })"]) {
    await page.goto(`${origin}?backend=webgpu`);
    await runsOn("GPU with WebGPU");
    await page.workers()[0].evaluate(`self.next = (device) => { ${next}; }; 0`);
    await page.check("#best");
    await enlarge(join(here, "small.png"), "CPU");
    await runsOn("CPU: WebGPU failed");
    assert(difference(await downloaded(), expected) <= 1, "without the GPU the picture is different");
  }
  await shot("lost");

  // And for a panic between two pictures.
  fault = "";
  await page.goto(`${origin}?backend=webgpu`);
  await runsOn("GPU with WebGPU");
  await panic();
  await runsOn("CPU: WebGPU failed");
  await enlarge(join(here, "small.png"), "CPU");

  assert.deepEqual(elsewhere, [], "the page sends requests elsewhere");

  /** Records errors and warnings of the page, and requests to other hosts. */
  function watch() {
    page.on("console", (message) => ["error", "warning"].includes(message.type()) && problems.push(message.text()));
    page.on("pageerror", (error) => problems.push(`${error}`));
    page.on("request", (request) => {
      const url = request.url();
      if (!["blob:", "data:", origin].some((start) => url.startsWith(start))) elsewhere.push(url);
    });
  }

  async function runsOn(device) {
    const said = (device) => document.getElementById("device").textContent === `Runs on the ${device}.`;
    await page.waitForFunction(said, device, { timeout: 120_000 });
  }

  async function enlarge(path, device) {
    await page.setInputFiles("#file", path);
    await done();
    assert.match(await page.textContent("#status"), new RegExp(`on the ${device}\\.$`));
  }

  /** Makes the worker end like after a panic in an awaited call. */
  async function panic() {
    await page.workers()[0].evaluate(() => queueMicrotask(() => { throw new WebAssembly.RuntimeError("unreachable"); }));
  }

  /** Downloads the result for `small.png` and returns its pixels. */
  async function downloaded() {
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
    assert.equal(download.suggestedFilename(), "small-large.png");
    return pixels(readFileSync(await download.path()));
  }

  async function done() {
    await page.waitForFunction(() => /^Done in/.test(document.getElementById("status").textContent), null, { timeout: 120_000 });
  }

  /** CPU seconds of the browser's renderer processes. */
  async function cpuTime() {
    const { processInfo } = await session.send("SystemInfo.getProcessInfo");
    return processInfo.filter(({ type }) => type === "renderer").reduce((sum, { cpuTime }) => sum + cpuTime, 0);
  }

  /** The part of the screen that shows the pictures, pixel for pixel. */
  async function screen() {
    const { x, y, width, height } = await page.locator("#compare").boundingBox();
    return pixels(await page.screenshot({ clip: { x: Math.round(x), y: Math.round(y), width, height } }));
  }

  async function shot(name) {
    if (process.argv[2]) await page.screenshot({ path: join(process.argv[2], `${name}.png`) });
  }

  /** The pixels of a PNG file, decoded by the browser. */
  async function pixels(png) {
    return page.evaluate(async (base64) => {
      const blob = await (await fetch(`data:image/png;base64,${base64}`)).blob();
      const bitmap = await createImageBitmap(blob);
      const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
      context.drawImage(bitmap, 0, 0);
      const { width, height, data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
      return { width, height, data: [...data] };
    }, png.toString("base64"));
  }
} finally {
  await browser.close();
  server.close();
}

/** The largest difference of two pictures between two columns. Leaves out what the labels, the knob and the round corners
 * cover. */
function difference(a, b, from = 24, to = 232) {
  assert.deepEqual([a.width, a.height], [b.width, b.height]);
  let largest = 0;
  for (let y = 40; y < a.height - 16; y++)
    for (let x = from; x < to; x++)
      for (let i = (y * a.width + x) * 4, end = i + 3; i < end; i++)
        largest = Math.max(largest, Math.abs(a.data[i] - b.data[i]));
  return largest;
}
