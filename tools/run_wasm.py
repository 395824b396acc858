#!/usr/bin/env python3
"""Run quantized networks on a WebAssembly module of the runtime.

    run_wasm.py [--deterministic] MODULE FOLDER...
                                       logits of each FOLDER's crops must be its host_logits.txt
    run_wasm.py --time MODULE NETWORK  milliseconds of one image, the best of several

A module runs in an engine that has no other vectors than the module's name says. --deterministic:
relaxed products are the specification's deterministic ones, not this processor's. Needs wasmtime from
PyPI. The module has the functions of include/bitlog2_runtime.h, and this lays out its memory: the
network, its file, its weights unpacked, the arena, a crop and the logits.
"""
import pathlib
import sys
import time

import wasmtime

NETWORK_BYTES = 4096  # more than sizeof(bitlog2_network)


def engine_for(module, deterministic):
    config = wasmtime.Config()
    config.wasm_relaxed_simd = module.endswith("_relaxed.wasm")
    config.wasm_simd = module.endswith(("_relaxed.wasm", "_simd128.wasm"))
    config.wasm_relaxed_simd_deterministic = deterministic
    return wasmtime.Engine(config)


class Runtime:
    """A module with one network opened."""

    def __init__(self, module, file, deterministic=False):
        engine = engine_for(module, deterministic)
        self.store = wasmtime.Store(engine)
        instance = wasmtime.Instance(self.store, wasmtime.Module.from_file(engine, module), [])
        self.exports = instance.exports(self.store)
        self.memory = self.exports["memory"]
        self.end = self.exports["__heap_base"].value(self.store)
        self.network = self.allocate(NETWORK_BYTES)
        at = self.allocate(len(file))
        self.memory.write(self.store, file, at)
        self.check(self.call("bitlog2_open", self.network, at, len(file)))
        packed_bytes = self.call("bitlog2_packed_size", self.network)
        packed = self.allocate(packed_bytes)
        self.check(self.call("bitlog2_pack_weights", self.network, packed, packed_bytes))
        self.side = self.call("bitlog2_image_size", self.network)
        self.classes = self.call("bitlog2_num_classes", self.network)
        self.arena_bytes = self.call("bitlog2_arena_size", self.network, 1)
        self.arena = self.allocate(self.arena_bytes)
        self.crop = self.allocate(self.crop_bytes)
        self.logits = self.allocate(4 * self.classes)

    @property
    def crop_bytes(self):
        return 3 * self.side * self.side

    def allocate(self, size):
        start = (self.end + 63) // 64 * 64
        self.end = start + size
        missing = self.end - self.memory.data_len(self.store)
        if missing > 0:
            self.memory.grow(self.store, (missing + 65535) // 65536)
        return start

    def call(self, name, *arguments):
        return self.exports[name](self.store, *arguments)

    @property
    def kernels(self):
        at = self.call("bitlog2_kernels", self.network)
        return self.memory.read(self.store, at, at + 32).split(b"\0")[0].decode()

    def check(self, status):
        if status != 0:
            sys.exit(f"run_wasm: status {status}")

    def run(self):
        self.check(self.call("bitlog2_run", self.network, self.crop, self.arena, self.arena_bytes,
                             self.logits))
        values = self.memory.read(self.store, self.logits, self.logits + 4 * self.classes)
        return memoryview(values).cast("i").tolist()


KERNELS = {"bitlog2.wasm": "portable", "bitlog2_simd128.wasm": "wasm_simd128",
           "bitlog2_relaxed.wasm": "wasm_relaxed"}


def compare(module, folder, deterministic):
    runtime = Runtime(module, (folder / "network.safetensors").read_bytes(), deterministic)
    wanted = KERNELS[pathlib.Path(module).name]
    if runtime.kernels != wanted:
        sys.exit(f"run_wasm: {module} runs the kernels {runtime.kernels}, not {wanted}")
    crops = (folder / "crops.bin").read_bytes()
    found = []
    for start in range(0, len(crops), runtime.crop_bytes):
        runtime.memory.write(runtime.store, crops[start:start + runtime.crop_bytes], runtime.crop)
        found += runtime.run()
    wanted = [int(line) for line in (folder / "host_logits.txt").read_text().split()]
    if not wanted or found != wanted:
        sys.exit(f"run_wasm: {folder.name}: {module} gives other logits than this machine")
    return len(found)


def main():
    arguments = sys.argv[1:]
    if arguments[:1] == ["--time"] and len(arguments) == 3:
        runtime = Runtime(arguments[1], pathlib.Path(arguments[2]).read_bytes())
        best = float("inf")
        for _ in range(10):
            start = time.perf_counter()
            runtime.run()
            best = min(best, time.perf_counter() - start)
        print(f"{1e3 * best:.1f}")
        return
    deterministic = arguments[:1] == ["--deterministic"]
    arguments = arguments[deterministic:]
    if len(arguments) >= 2:
        logits = sum(compare(arguments[0], pathlib.Path(folder), deterministic)
                     for folder in arguments[1:])
        name = pathlib.Path(arguments[0]).name + (", deterministic" if deterministic else "")
        print(f"{name}: {logits} logits of {len(arguments) - 1} networks")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
