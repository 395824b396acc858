// Runs images on several workers at a time, each with the network of bitlog2.mjs in memory of its own.
//
//   import { loadRuntime } from "./bitlog2.mjs";
//   import { Pool } from "./bitlog2_pool.mjs";
//   const pool = await Pool.open("model.safetensors", await loadRuntime(), { workers: 4 });
//   const answers = await Promise.all(images.map((image) => pool.classify(image)));
import { Bitlog2Error, Network, bytesOf } from "./bitlog2.mjs";

/** The program of a worker: the first message opens a network, all others call its functions. */
function serve() {
  /** @type {any} */ let network;
  self.onmessage = async ({ data: { method, values } }) => {
    try {
      let result;
      if (method === "open") {
        /** @type {[Uint8Array, WebAssembly.Module, string[]?]} */ const [file, runtime, names] = values;
        network = new Network(file, await WebAssembly.instantiate(runtime, {}), names);
        const { imageSize, classCount, kernels, memoryBytes } = network;
        result = { imageSize, classCount, kernels, memoryBytes };
      } else {
        result = network[method](...values);
      }
      self.postMessage({ result });
    } catch (/** @type {any} */ error) {
      self.postMessage({ message: error.message, isForUser: error instanceof Bitlog2Error });
    }
  };
}

/** A worker that answers one call at a time. */
class Thread {
  /** @type {string} of the program */ #address;
  /** @type {Worker} */ #worker;
  /** @type {?{resolve: (result: any) => void, reject: (error: Error) => void}} of the call */ #promise = null;

  /** @param {(message: string) => void} fail is told why the worker cannot go on */
  constructor(fail) {
    const text = `"use strict"; const Bitlog2Error = ${Bitlog2Error}; const Network = ${Network}; (${serve})();`;
    this.#address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    try {
      this.#worker = new Worker(this.#address);
    } catch (error) {
      URL.revokeObjectURL(this.#address);
      throw error;
    }
    this.#worker.onmessage = ({ data: { result, message, isForUser } }) => {
      if (message === undefined) this.#promise?.resolve(result);
      else this.#promise?.reject(isForUser ? new Bitlog2Error(message) : new Error(message));
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      fail(`a worker failed: ${event.message ?? "this browser does not start it"}`);
    };
    this.#worker.onmessageerror = () => fail("a worker's answer cannot be read");
  }

  /**
   * @param {string} method of Network, or "open"
   * @param {...any} values its parameters
   * @returns {Promise<any>} what it returns
   */
  call(method, ...values) {
    return new Promise((resolve, reject) => {
      this.#promise = { resolve, reject };
      this.#worker.postMessage({ method, values });
    });
  }

  /** @param {string} message why a call gets no answer any more */
  end(message) {
    this.#worker.terminate();
    URL.revokeObjectURL(this.#address);
    this.#promise?.reject(new Bitlog2Error(message));
  }
}

/** Several workers, each with the network: it runs as many images at a time. */
export class Pool {
  /** @type {Thread[]} */ #threads = [];
  /** @type {Thread[]} */ #idle = [];
  /** @type {((thread?: Thread) => void)[]} functions that take an idle thread */ #waiting = [];
  /** @type {?string} why there are no workers any more */ #end = null;
  /** As of Network. */ imageSize = 0;
  /** As of Network. */ classCount = 0;
  /** As of Network. */ kernels = "";
  /** The bytes of all workers' networks. */ memoryBytes = 0;

  /**
   * Opens a network in every worker.
   * @param {import("./bitlog2.mjs").Source} source
   * @param {WebAssembly.Module} runtime from loadRuntime
   * @param {{workers?: number, names?: string[]}} options how many workers, by default one for each logical
   *   processor; names of the classes, used if the file has none
   * @returns {Promise<Pool>}
   */
  static async open(source, runtime, { workers = navigator.hardwareConcurrency || 1, names } = {}) {
    if (!(Number.isInteger(workers) && workers >= 1)) {
      throw new Bitlog2Error(`a pool has at least 1 worker, not ${workers}`);
    }
    const file = await bytesOf(source);
    const pool = new Pool();
    try {
      for (let i = 0; i < workers; ++i) pool.#threads.push(new Thread((message) => pool.#stop(message)));
      const opened = await Promise.all(
        pool.#threads.map((thread) => thread.call("open", file, runtime, names)));
      const { imageSize, classCount, kernels } = opened[0];
      const memoryBytes = opened.reduce((sum, each) => sum + each.memoryBytes, 0);
      Object.assign(pool, { imageSize, classCount, kernels, memoryBytes });
    } catch (error) {
      pool.terminate();
      throw error;
    }
    pool.#idle = [...pool.#threads];
    return pool;
  }

  /** @returns {number} of workers */
  get workers() {
    return this.#threads.length;
  }

  /**
   * What Network.classify returns, as soon as a worker has it. The image is copied.
   * @param {ImageData} image
   * @param {{top?: number}} options how many classes to return
   * @returns {Promise<ReturnType<Network["classify"]>>}
   */
  classify(image, options = {}) {
    return this.#ask("classify", image, options);
  }

  /**
   * What Network.embed returns, as soon as a worker has it. The image is copied.
   * @param {ImageData} image
   * @returns {Promise<Float32Array>}
   */
  embed(image) {
    return this.#ask("embed", image);
  }

  /** Ends all workers. Calls that have no answer yet are rejected. */
  terminate() {
    this.#stop("the pool was terminated");
  }

  /** @param {string} message why */
  #stop(message) {
    const end = this.#end ??= message;
    for (const thread of this.#threads.splice(0)) thread.end(end);
    for (const take of this.#waiting.splice(0)) take();
  }

  /**
   * @param {"classify" | "embed"} method of Network
   * @param {...any} values its parameters
   */
  async #ask(method, ...values) {
    let thread;
    if (!this.#end) thread = this.#idle.pop() ?? await new Promise((take) => { this.#waiting.push(take); });
    if (this.#end) throw new Bitlog2Error(this.#end);
    try {
      return await thread.call(method, ...values);
    } finally {
      const next = this.#waiting.shift();
      if (next) next(thread);
      else this.#idle.push(thread);
    }
  }
}
