// Runs quantized vision transformers in a browser: a file of `bitlog2 quantize`, in integers only,
// with the same runtime and the same bits as on a server. It has no dependencies, and images stay in
// the browser.
//
//   import { loadRuntime, Network } from "./bitlog2.mjs";
//   const network = await Network.open("model.safetensors", await loadRuntime());
//   const { classes, milliseconds } = network.classify(imageData);

/**
 * What opens: a URL, a File or another Blob, or bytes.
 * @typedef {string | URL | Blob | ArrayBuffer | Uint8Array} Source
 */

/**
 * A module of one function, which returns a 128-bit vector.
 * @param {...number} code
 */
const probe = (...code) => Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0,
  10, code.length + 4, 1, code.length + 2, 0, ...code, 11);
const ZERO = [65, 0, 253, 15]; // i32.const 0, i8x16.splat

/** @typedef {"relaxed" | "simd128" | "plain"} RuntimeName */

/**
 * The runtimes, the fastest first. A browser can run one if it takes the probe for a valid module: it
 * has i32x4.relaxed_dot_i8x16_i7x16_add_s, or i8x16.popcnt.
 * @type {[RuntimeName, {file: string, probe: ?Uint8Array}][]}
 */
const RUNTIMES = [
  ["relaxed", { file: "bitlog2_relaxed.wasm", probe: probe(...ZERO, ...ZERO, ...ZERO, 253, 147, 2) }],
  ["simd128", { file: "bitlog2_simd128.wasm", probe: probe(...ZERO, 253, 98) }],
  ["plain", { file: "bitlog2.wasm", probe: null }],
];

/** An error whose message is for the user of the page. */
export class Bitlog2Error extends Error {
  name = "Bitlog2Error";
}

/**
 * @param {Source} source
 * @returns {Promise<Uint8Array>}
 */
export async function bytesOf(source) {
  if (source instanceof Uint8Array) return source;
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  if (source instanceof Blob) return new Uint8Array(await source.arrayBuffer());
  const response = await fetch(source).catch((error) => {
    throw new Bitlog2Error(`${source} cannot be fetched (${error.message}); is the page served by HTTP?`);
  });
  if (!response.ok) throw new Bitlog2Error(`${source} cannot be fetched: HTTP status ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

/**
 * Compiles the fastest runtime that the browser can run.
 * @param {Partial<Record<RuntimeName, Source | null>>} [modules] the runtimes to choose from, by default the
 *   files beside this one
 * @returns {Promise<WebAssembly.Module>}
 */
export async function loadRuntime(modules = {}) {
  const usable = RUNTIMES.filter(([, { probe }]) => probe === null || WebAssembly.validate(probe));
  const [name, { file }] = usable.find(([name]) => modules[name]) ?? usable[0];
  return WebAssembly.compile(await bytesOf(modules[name] ?? new URL(file, import.meta.url)));
}

/**
 * An opened network, with its own memory. The workers of bitlog2_pool.mjs get the text of this class: of
 * this file, it may use nothing but Bitlog2Error; `open`, which workers do not call, also bytesOf.
 */
export class Network {
  static #PAGE = 65536;
  static #ALIGNMENT = 64;
  static #NETWORK_BYTES = 256; // sizeof(bitlog2_network)
  static #PREPROCESSING_BYTES = 44; // sizeof(bitlog2_preprocessing)
  static #ROW_BYTES = 20; // sizeof(bitlog2_attention_row)
  static #SMALL_ARENA = 9;
  static #NAME_BYTES = 1024;
  static #LOGIT_SCALE = 65536; // logits are integers: 2^16 times the real logits
  static #MOST_MEMORY = 2 ** 31;

  /** @type {Record<string, (...values: number[]) => number>} the functions of bitlog2_runtime.h */ #call;
  /** @type {WebAssembly.Memory} */ #memory;
  /** @type {number} the end of the memory in use */ #end;
  // Addresses in the memory:
  /** @type {number} bitlog2_network */ #network;
  /** @type {number} */ #arena;
  /** @type {number} */ #arenaBytes;
  /** @type {number} [imageSize, imageSize, 3] bytes */ #crop;
  /** @type {number} [classCount] 32-bit integers */ #logits;
  /** @type {number} bitlog2_preprocessing */ #preprocessing;
  /** @type {string[]} */ #names;

  /**
   * Opens a quantized file. The whole file is checked; a damaged one is refused.
   * @param {Source} source
   * @param {WebAssembly.Module} runtime from loadRuntime
   * @param {{names?: string[]}} [options] names of the classes, used if the file has none
   * @returns {Promise<Network>}
   */
  static async open(source, runtime, options = {}) {
    const file = await bytesOf(source);
    return new Network(file, await WebAssembly.instantiate(runtime, {}), options.names);
  }

  /**
   * Use Network.open.
   * @param {Uint8Array} file
   * @param {WebAssembly.Instance} instance of a runtime, of no other network
   * @param {string[]} [names]
   */
  constructor(file, instance, names) {
    const exports = /** @type {any} */ (instance.exports);
    this.#call = exports;
    this.#memory = exports.memory;
    this.#end = exports.__heap_base.value;
    this.#network = this.#allocate(Network.#NETWORK_BYTES);
    const at = this.#allocate(file.length);
    new Uint8Array(this.#memory.buffer).set(file, at);
    this.#check(this.#call.bitlog2_open(this.#network, at, file.length));
    /** @type {number} height and width of a crop, in pixels */
    this.imageSize = this.#call.bitlog2_image_size(this.#network);
    /** @type {number} the number of logits, or an embedding's channels */
    this.classCount = this.#call.bitlog2_num_classes(this.#network);
    const packedBytes = this.#call.bitlog2_packed_size(this.#network) >>> 0;
    const packed = this.#allocate(packedBytes);
    this.#check(this.#call.bitlog2_pack_weights(this.#network, packed, packedBytes));
    this.#arenaBytes = this.#call.bitlog2_arena_size(this.#network, 1) >>> 0;
    this.#arena = this.#allocate(this.#arenaBytes);
    this.#crop = this.#allocate(3 * this.imageSize * this.imageSize);
    this.#logits = this.#allocate(4 * this.classCount);
    this.#preprocessing = this.#allocate(Network.#PREPROCESSING_BYTES);
    this.#check(this.#call.bitlog2_get_preprocessing(this.#network, this.#preprocessing));
    this.#names = this.#readNames() ?? names ?? [];
  }

  /** @returns {string} the name of the kernels: "wasm_relaxed", "wasm_simd128" or "portable" */
  get kernels() {
    return this.#textAt(this.#call.bitlog2_kernels_name(0));
  }

  /** @returns {number} the bytes of the network's memory, including its file and the runtime */
  get memoryBytes() {
    return this.#memory.buffer.byteLength;
  }

  /**
   * A class's name, or for example "class 7" if it has none.
   * @param {number} index
   * @returns {string}
   */
  nameOf(index) {
    return this.#names[index] ?? `class ${index}`;
  }

  /**
   * Resizes and crops a picture as the bitlog2 tool does, in integers. Transparency is ignored.
   * @param {ImageData} image
   * @returns {Uint8Array} [imageSize, imageSize, 3]
   */
  crop(image) {
    return this.#borrow(() => this.#cropInScratch(image));
  }

  /** @param {ImageData} image */
  #cropInScratch({ width, height, data }) {
    const rgb = this.#allocate(3 * width * height);
    const scratchBytes = this.#call.bitlog2_crop_memory(this.#preprocessing, width, height) >>> 0;
    const scratch = this.#allocate(scratchBytes);
    const target = new Uint8Array(this.#memory.buffer, rgb, 3 * width * height);
    for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
      target[to] = data[from];
      target[to + 1] = data[from + 1];
      target[to + 2] = data[from + 2];
    }
    this.#check(this.#call.bitlog2_resize_and_crop(this.#preprocessing, rgb, width, height, 3 * width,
      scratch, scratchBytes, this.#crop));
    return new Uint8Array(this.#memory.buffer, this.#crop, 3 * this.imageSize ** 2).slice();
  }

  /**
   * The logits of a crop, as integers: 2^16 times the real logits, the same on every machine.
   * @param {Uint8Array} crop [imageSize, imageSize, 3], rows from the top
   * @returns {Int32Array} [classCount]
   */
  run(crop) {
    const bytes = 3 * this.imageSize ** 2;
    if (crop.length !== bytes) throw new Bitlog2Error(`a crop has ${bytes} bytes, not ${crop.length}`);
    new Uint8Array(this.#memory.buffer).set(crop, this.#crop);
    this.#check(this.#call.bitlog2_run(this.#network, this.#crop, this.#arena, this.#arenaBytes, this.#logits));
    return new Int32Array(this.#memory.buffer, this.#logits, this.classCount).slice();
  }

  /**
   * Classifies a picture.
   * @param {ImageData} image
   * @param {{top?: number}} options how many classes to return
   * @returns {{classes: {index: number, name: string, probability: number}[], logits: Int32Array,
   *            crop: Uint8Array, milliseconds: number}} the most probable class first; the time of
   *   the network, without the resize and crop
   */
  classify(image, { top = 5 } = {}) {
    const crop = this.crop(image);
    const start = performance.now();
    const logits = this.run(crop);
    const milliseconds = performance.now() - start;
    const largest = logits.reduce((a, b) => Math.max(a, b));
    const powers = Float64Array.from(logits, (logit) => Math.exp((logit - largest) / Network.#LOGIT_SCALE));
    const sum = powers.reduce((a, b) => a + b);
    const order = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a] || a - b);
    const classes = order.slice(0, top).map((index) => (
      { index, name: this.nameOf(index), probability: powers[index] / sum }));
    return { classes, logits, crop, milliseconds };
  }

  /**
   * The embedding of a picture, for a network without classes.
   * @param {ImageData} image
   * @returns {Float32Array} [classCount]
   */
  embed(image) {
    return Float32Array.from(this.run(this.crop(image)), (value) => value / Network.#LOGIT_SCALE);
  }

  /** @returns {number} of attentions that attention() can show: one for each block of a ViT, 0 for Swin */
  get attentionCount() {
    return this.#call.bitlog2_num_attentions(this.#network);
  }

  /**
   * How much the first token, which is the class token if there is one, attends to every token, in one
   * attention: the softmax's outputs (exact), and the values of their codes (quantized). The patches
   * are the last tokens.
   * @param {Uint8Array} crop [imageSize, imageSize, 3]
   * @param {number} index of the attention, from 0
   * @returns {{heads: number, tokens: number, exact: Float32Array, quantized: Float32Array}}
   *   arrays [heads, tokens]
   */
  attention(crop, index) {
    return this.#borrow(() => this.#attentionInScratch(crop, index));
  }

  /**
   * @param {Uint8Array} crop
   * @param {number} index
   */
  #attentionInScratch(crop, index) {
    const row = this.#allocate(Network.#ROW_BYTES);
    /** @type {(exact: number, quantized: number, capacity: number) => number[]} [status, heads, tokens] */
    const look = (exact, quantized, capacity) => {
      new Uint32Array(this.#memory.buffer, row, 5).set([exact, quantized, capacity, 0, 0]);
      const status = this.#call.bitlog2_run_and_look(this.#network, this.#crop, this.#arena, this.#arenaBytes,
        this.#logits, index, row);
      return [status, ...new Uint32Array(this.#memory.buffer, row, 5).slice(3)];
    };
    new Uint8Array(this.#memory.buffer).set(crop, this.#crop);
    const [status, heads, tokens] = look(0, 0, 0);
    if (status !== Network.#SMALL_ARENA) this.#check(status);
    const values = heads * tokens;
    const exact = this.#allocate(4 * values);
    const quantized = this.#allocate(4 * values);
    this.#check(look(exact, quantized, values)[0]);
    const read = (/** @type {number} */ at) => Float32Array.from(new Int32Array(this.#memory.buffer, at, values), (v) => v / 65536);
    return { heads, tokens, exact: read(exact), quantized: read(quantized) };
  }

  /**
   * Allocates memory of any content.
   * @param {number} bytes
   * @returns {number} its address
   */
  #allocate(bytes) {
    const start = Math.ceil(this.#end / Network.#ALIGNMENT) * Network.#ALIGNMENT;
    const end = start + bytes;
    const missing = end - this.#memory.buffer.byteLength;
    try {
      if (end > Network.#MOST_MEMORY) throw new RangeError();
      if (missing > 0) this.#memory.grow(Math.ceil(missing / Network.#PAGE));
    } catch {
      throw new Bitlog2Error("the network or the picture is too large for this browser's memory");
    }
    this.#end = end;
    return start;
  }

  /**
   * Returns what `work` returns, and frees all memory that it allocated.
   * @template Result
   * @param {() => Result} work
   * @returns {Result}
   */
  #borrow(work) {
    const end = this.#end;
    try {
      return work();
    } finally {
      this.#end = end;
    }
  }

  /** @param {number} status of a call */
  #check(status) {
    if (status !== 0) throw new Bitlog2Error(this.#textAt(this.#call.bitlog2_status_text(status)));
  }

  /** @param {number} address of a text that ends with 0 */
  #textAt(address) {
    const memory = new Uint8Array(this.#memory.buffer);
    return new TextDecoder().decode(memory.slice(address, memory.indexOf(0, address)));
  }

  /** @returns {string[] | undefined} all classes' names in the file's metadata, if none lacks its own */
  #readNames() {
    return this.#borrow(() => {
      const text = this.#allocate(Network.#NAME_BYTES);
      const names = [];
      for (let index = 0; index < this.classCount; ++index) {
        const length = this.#call.bitlog2_class_name(this.#network, index, text, Network.#NAME_BYTES);
        if (length === -1) return undefined;
        names.push(this.#textAt(text));
      }
      return names;
    });
  }
}
