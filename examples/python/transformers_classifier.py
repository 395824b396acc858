"""Compare a classifier of transformers with itself in 4 bits: how often both give the same class.

python transformers_classifier.py google/vit-base-patch16-224 photos/
"""

import argparse

import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

import bitlog2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a folder, or a repository of the Hugging Face hub")
    parser.add_argument("images", nargs="+", help="image files")
    parser.add_argument("--a-bits", type=int, default=8)
    arguments = parser.parse_args()

    processor = AutoImageProcessor.from_pretrained(arguments.model, use_fast=False)
    module = AutoModelForImageClassification.from_pretrained(arguments.model).eval()
    pictures = [Image.open(path).convert("RGB") for path in arguments.images]
    with torch.inference_mode():
        expected = module(**processor(pictures, return_tensors="pt")).logits.numpy()

    model = bitlog2.Model.from_torch(module, processor=processor)
    q = bitlog2.quantize(model, pictures, a_bits=arguments.a_bits, recipe="best", progress=True)
    difference = np.abs(model(pictures) - expected).max()
    agreement = (q(pictures).argmax(axis=1) == expected.argmax(axis=1)).mean()
    print(f"float32 here and there: logits differ by {difference:.1e} at most")
    print(f"{q.settings}: the same class for {100 * agreement:.0f}% of {len(pictures)} images")
    for path, (best, *_) in zip(arguments.images, q.predict(pictures, top_k=1), strict=True):
        print(f"{path}: {best['label']}, {100 * best['probability']:.1f}%")


if __name__ == "__main__":
    main()
