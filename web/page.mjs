// The page that `bitlog2 export --web` writes: it shows the classes of a photograph.
import { Bitlog2Error, Network, loadRuntime } from "./bitlog2.mjs";

const SIDE_LIMIT = 4096; // larger photographs are reduced before their pixels are read
const at = (id) => document.getElementById(id);

/** Bytes that `bitlog2 export --web` put into the page as base64; null if there are none. */
function embedded(id) {
  const element = at(id);
  return element && Uint8Array.from(atob(element.textContent.trim()), (c) => c.charCodeAt(0));
}

async function openNetwork() {
  const runtime = await loadRuntime(
    { relaxed: embedded("relaxed"), simd128: embedded("simd128"), plain: embedded("plain") });
  const names = JSON.parse(at("names")?.textContent || "[]");
  return Network.open(embedded("network") ?? "model.safetensors", runtime, { names });
}

/** The pixels of a photograph or of a frame of video. */
function pixelsOf(source, width, height) {
  const scale = Math.min(1, SIDE_LIMIT / Math.max(width, height));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

function showError(message) {
  at("error").textContent = message;
  at("error").hidden = !message;
}

function showPicture(crop, side, label) {
  const canvas = at("picture");
  canvas.width = canvas.height = side;
  const image = new ImageData(side, side);
  for (let from = 0, to = 0; from < crop.length; from += 3, to += 4) {
    image.data.set([crop[from], crop[from + 1], crop[from + 2], 255], to);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  canvas.setAttribute("aria-label", label);
  canvas.hidden = false;
  at("hint").hidden = true;
}

/**
 * Draws the picture, darker where weights are small. `weights` has one weight for each patch of a
 * square; they are shown relative to the largest.
 */
function showWeights(canvas, crop, side, weights) {
  const grid = Math.round(Math.sqrt(weights.length));
  const largest = weights.reduce((a, b) => Math.max(a, b), 1e-9);
  canvas.width = canvas.height = side;
  const image = new ImageData(side, side);
  for (let y = 0; y < side; ++y) {
    for (let x = 0; x < side; ++x) {
      const patch = Math.floor(y * grid / side) * grid + Math.floor(x * grid / side);
      const share = Math.sqrt(weights[patch] / largest); // without the root, all patches but the largest would be black
      const from = 3 * (y * side + x);
      const grey = (crop[from] + crop[from + 1] + crop[from + 2]) / 3;
      const glow = [255, 190, 60].map((full) => (0.12 + 0.45 * share) * grey + 0.43 * share * full);
      image.data.set([...glow, 255], 4 * (y * side + x));
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function showClasses(classes) {
  at("best").textContent = classes[0].name;
  at("classes").replaceChildren(...classes.map(({ name, probability }) => {
    const percent = `${(100 * probability).toFixed(1)} %`;
    const row = document.createElement("li");
    row.style.setProperty("--share", `${100 * probability}%`);
    for (const text of [name, percent]) {
      row.append(Object.assign(document.createElement("span"), { textContent: text }));
    }
    return row;
  }));
}

class Page {
  #network;
  #stream = null;
  #crop = null;

  constructor(network) {
    this.#network = network;
    const mebibytes = (network.memoryBytes / 2 ** 20).toFixed(0);
    at("about").textContent = `${network.imageSize} × ${network.imageSize} pixels, ` +
      `${network.classCount} classes, ${mebibytes} MiB of memory, ` +
      (network.kernels === "portable" ? "without vectors" : "with vectors of 128 bits");
    at("block").max = network.attentionCount;
    at("block").value = network.attentionCount; // not above max, so it comes second
    for (const id of ["block", "head"]) at(id).addEventListener("input", () => this.#look());
    at("file").disabled = false;
    at("camera").disabled = !navigator.mediaDevices;
    at("file").addEventListener("change", () => this.#read(at("file").files[0]));
    at("camera").addEventListener("click", () => this.#toggleCamera());
    document.addEventListener("paste", (event) => this.#read(event.clipboardData.files[0]));
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      at("drop").classList.add("over");
    });
    document.addEventListener("dragleave", () => at("drop").classList.remove("over"));
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      at("drop").classList.remove("over");
      this.#read(event.dataTransfer.files[0]);
    });
    document.body.dataset.ready = "yes";
  }

  /** Classifies pixels and shows the answer. */
  show(pixels) {
    const result = this.#network.classify(pixels);
    showPicture(result.crop, this.#network.imageSize, `The photograph: ${result.classes[0].name}`);
    showClasses(result.classes);
    at("time").textContent = `${result.milliseconds.toFixed(1)} ms in this browser, on one thread`;
    this.#crop = result.crop;
    this.#look();
    document.body.dataset.logits = Array.from(result.logits).join(" ");
  }

  /** Shows the chosen block's attention, if the network has attentions to show. */
  #look() {
    at("attention").hidden = !(this.#crop && this.#network.attentionCount);
    if (at("attention").hidden) return;
    const { heads, tokens, ...rows } = this.#network.attention(this.#crop, at("block").value - 1);
    at("block-number").textContent = at("block").value;
    if (at("head").options.length !== heads) {
      at("head").replaceChildren(...Array.from({ length: heads }, (_, h) => new Option(`${h + 1}`, h)));
    }
    const head = Number(at("head").value);
    const patches = Math.floor(Math.sqrt(tokens)) ** 2; // they follow the class token and the registers
    for (const kind of ["exact", "quantized"]) {
      const weights = rows[kind].subarray((head + 1) * tokens - patches, (head + 1) * tokens);
      showWeights(at(kind), this.#crop, this.#network.imageSize, weights);
      const levels = new Set(weights).size;
      at(`${kind}-levels`).textContent = levels === 1 ? "1 value" : `${levels} different values`;
    }
  }

  async #read(file) {
    if (!file) return;
    this.#stopCamera();
    showError("");
    try {
      const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
      this.show(pixelsOf(bitmap, bitmap.width, bitmap.height));
    } catch (error) {
      showError(error instanceof Bitlog2Error ? `${file.name}: ${error.message}`
        : `${file.name} is no image that this browser can read.`);
    }
  }

  async #toggleCamera() {
    if (this.#stream) {
      this.#stopCamera();
      return;
    }
    showError("");
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      showError(`The camera cannot be used: ${error.message}`);
      return;
    }
    at("camera").textContent = "Stop the camera";
    const video = at("video");
    video.srcObject = this.#stream;
    await video.play();
    const next = () => {
      if (!this.#stream) return;
      this.show(pixelsOf(video, video.videoWidth, video.videoHeight));
      requestAnimationFrame(next);
    };
    next();
  }

  #stopCamera() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = null;
    at("camera").textContent = "Use the camera";
  }
}

try {
  new Page(await openNetwork());
} catch (error) {
  at("about").textContent = "";
  showError(error.message);
  if (!(error instanceof Bitlog2Error)) throw error;
}
