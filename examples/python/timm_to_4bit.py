"""Quantize a model of timm to 4 bits on a folder of images, and compare it with float32.

python timm_to_4bit.py vit_tiny_patch16_224 photos/ -o vit_tiny.w4a4.safetensors
"""

import argparse
import time

import timm

import bitlog2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a name of timm, or hf-hub: or local-dir: and a place")
    parser.add_argument("images", help="a folder of images; 32 of them calibrate")
    parser.add_argument("-o", "--output", required=True, help="the file to write, .safetensors")
    parser.add_argument("--random-weights", action="store_true", help="download nothing")
    arguments = parser.parse_args()

    module = timm.create_model(arguments.model, pretrained=not arguments.random_weights).eval()
    model = bitlog2.Model.from_torch(module)
    start = time.monotonic()
    q = bitlog2.quantize(model, arguments.images, recipe="best", progress=True)
    seconds = time.monotonic() - start
    q.save(arguments.output)

    parameters = sum(parameter.numel() for parameter in module.parameters())
    print(f"{arguments.output}: {q.settings}, quantized in {seconds:.1f} s")
    print(f"float32 {4 * parameters / 1e6:.2f} MB, now {q.file_bytes / 1e6:.2f} MB")
    *_, last = bitlog2.compare(model, q, arguments.images, limit=8)
    print(f"{last['layer']}: {last['integer_to_fp32_db']:.1f} dB")


if __name__ == "__main__":
    main()
