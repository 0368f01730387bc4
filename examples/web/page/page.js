// The page: takes a picture, lets the worker enlarge it, and shows both.
const $ = (id) => document.getElementById(id);
const view = $("view"), compare = $("compare"), split = $("split"), download = $("download");

// "cpu" or "webgpu" from the page's address; without it the worker decides.
let backend = new URLSearchParams(location.search).get("backend") ?? "";
let because = "the page's address asks for it"; // the reason, if this page asks for the CPU
let device = ""; // "CPU" or "GPU", reported by the worker
let worker = null;
let file = null;
let timer = 0;

function start(picture) {
  file = picture;
  stop();
  worker ??= newWorker();
  worker.postMessage({ file, scale: Number($("scale").value), best: $("best").checked });
  working("Reading the picture…");
}

function newWorker() {
  $("device").textContent = "Loading the model…";
  const worker = new Worker(`worker.js?${new URLSearchParams({ backend, because })}`, { type: "module" });
  worker.onmessage = ({ data }) => {
    if (data.device) showDevice(data);
    else if (data.withoutGpu) withoutGpu(data.withoutGpu);
    else if (data.error) fail(data.error, data.broken);
    else if (data.before) showBefore(data);
    else if (data.after) showAfter(data);
  };
  worker.onerror = () => fail("the model could not be loaded", true);
  return worker;
}

/** Continues with a worker on the CPU after the GPU broke the last one. A picture in progress starts again. */
function withoutGpu(why) {
  backend = "cpu";
  because = why;
  dropWorker();
  if (document.body.ariaBusy === "true") start(file);
  else worker = newWorker();
}

/** Ends the work in progress, if any. It cannot be interrupted, so the worker is terminated. */
function stop() {
  if (document.body.ariaBusy === "true") dropWorker();
  idle();
}

function dropWorker() {
  worker?.terminate();
  worker = null;
  $("device").textContent = "";
}

function working(text) {
  const start = performance.now();
  const tick = () => ($("elapsed").textContent = `${Math.floor((performance.now() - start) / 1000)} s`);
  clearInterval(timer);
  timer = setInterval(tick, 250);
  tick();
  document.body.ariaBusy = "true";
  $("progress").hidden = $("cancel").hidden = false;
  $("again").hidden = download.hidden = true;
  $("status").textContent = text;
  $("error").textContent = "";
}

function idle() {
  clearInterval(timer);
  document.body.ariaBusy = "false";
  $("progress").hidden = $("cancel").hidden = true;
  $("again").hidden = !file;
  download.hidden = split.hidden; // while both pictures are shown, the result can be downloaded
  $("status").textContent = $("elapsed").textContent = "";
}

function fail(message, broken) {
  if (broken) dropWorker();
  idle();
  const name = file ? (file.name ?? "The picture") : "This browser";
  $("error").textContent = `${name}: ${message}`;
}

function showDevice(data) {
  device = data.device;
  $("device").textContent = device === "GPU" ? "Runs on the GPU with WebGPU." : `Runs on the CPU: ${data.because}.`;
}

function showBefore({ before, width, height }) {
  $("drop").classList.add("small");
  compare.style.setProperty("--aspect", width / height);
  compare.style.setProperty("--width", Math.floor(width * $("scale").value));
  compare.classList.remove("split");
  split.hidden = true;
  show($("after"), null);
  show($("before"), before);
  view.hidden = false;
  $("sizes").textContent = `${width} × ${height} pixels`;
  $("status").textContent = "Enlarging…";
}

async function showAfter({ after, seconds }) {
  const image = $("after");
  idle();
  show(image, after);
  await image.decode().catch(() => {}); // fails if the next picture has replaced it
  if (document.body.ariaBusy === "true") return;
  compare.classList.add("split");
  split.hidden = false;
  download.href = image.src;
  download.download = `${(file.name ?? "picture").replace(/\.[^.]*$/, "")}-large.png`;
  download.hidden = false;
  $("sizes").textContent += ` → ${image.naturalWidth} × ${image.naturalHeight}`;
  $("status").textContent = `Done in ${seconds.toFixed(1)} s on the ${device}.`;
}

/** Shows a picture and releases the memory of the one before. */
function show(image, blob) {
  URL.revokeObjectURL(image.src);
  image.hidden = !blob;
  if (blob) image.src = URL.createObjectURL(blob);
  else image.removeAttribute("src");
}

split.oninput = () => compare.style.setProperty("--split", `${split.value}%`);
$("cancel").onclick = () => {
  stop();
  $("status").textContent = "Cancelled.";
};
$("again").onclick = () => start(file);
$("controls").onsubmit = (event) => event.preventDefault();
$("file").onchange = ({ target }) => {
  if (target.files.length) start(target.files[0]);
  target.value = ""; // so that the same file can be chosen again
};
document.ondragover = (event) => {
  event.preventDefault();
  document.body.classList.add("over");
};
document.ondragleave = (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
};
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  if (event.dataTransfer.files.length) start(event.dataTransfer.files[0]);
};
document.onpaste = ({ clipboardData }) => {
  if (clipboardData.files.length) start(clipboardData.files[0]);
};

// Loads the model while the visitor looks for a picture.
worker = newWorker();
