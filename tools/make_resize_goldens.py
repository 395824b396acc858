"""Makes tests/data/images/resized/filters.safetensors: images, and what Pillow, with the centre crops
of torchvision and of transformers, makes of them.

  source/NAME                                      [height, width, 3]
  resized/FILTER/NAME/WIDTHxHEIGHT                 Image.resize
  crop/FILTER/NAME/MODE/ROUNDING/RESIZE/CROP       resized by the shorter side, or squashed, and cropped

Needs Pillow 12.3.0, NumPy 2.4.6 and transformers 5.24.0 (pip install pillow==12.3.0 numpy==2.4.6
transformers==5.24.0). All Pillows from 3.3 on to that one resize first the rows, then the columns;
Pillow 13 turns that round for images that lose far more height than width, which changes a few
pixels of them by 1 or so.
"""

import json
import pathlib
import struct

import numpy as np
import PIL
from PIL import Image
from transformers.image_transforms import center_crop, get_resize_output_image_size

PILLOW = "12.3.0"
OUT = pathlib.Path(__file__).resolve().parents[1] / "tests/data/images/resized/filters.safetensors"
FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
SOURCES = {"wide": (37, 23), "tall": (19, 43)}
SIZES = {
    "wide": [(37, 23), (37, 11), (12, 23), (8, 8), (50, 41), (1, 1), (3, 40), (13, 9)],
    "tall": [(9, 50), (24, 16), (5, 5)],
}
CROPS = [(15, 12), (11, 14)]  # resize and crop: odd numbers of pixels left over and missing


def torchvision_crop(image, side):
    """transforms.CenterCrop of an array [height, width, 3]."""
    before = [max(side - length, 0) // 2 for length in image.shape[:2]]
    after = [(max(side - length, 0) + 1) // 2 for length in image.shape[:2]]
    image = np.pad(image, [*zip(before, after), (0, 0)])
    top, left = (int(round((length - side) / 2.0)) for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def transformers_crop(image, side):
    return center_crop(image, (side, side), input_data_format="channels_last")


def crops(image, filter_name):
    resample = Image.Resampling[filter_name.upper()]
    for resize, crop in CROPS:
        height, width = get_resize_output_image_size(np.asarray(image), resize,
                                                     default_to_square=False,
                                                     input_data_format="channels_last")
        for mode, size in (("shorter", (width, height)), ("squash", (resize, resize))):
            resized = np.asarray(image.resize(size, resample))
            yield f"{mode}/torchvision/{resize}/{crop}", torchvision_crop(resized, crop)
            yield f"{mode}/transformers/{resize}/{crop}", transformers_crop(resized, crop)


def tensors():
    rng = np.random.default_rng(23)
    result = {}
    for name, (width, height) in SOURCES.items():
        # Black and white beside any colour, so that sums are cut at both ends.
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        extreme = rng.integers(0, 2, (height, width, 3), np.uint8) * np.uint8(255)
        pixels = np.where(rng.integers(0, 2, (height, width, 1)) == 0, pixels, extreme)
        image = Image.fromarray(pixels)
        result[f"source/{name}"] = pixels
        for filter_name in FILTERS:
            for size in SIZES[name]:
                resized = image.resize(size, Image.Resampling[filter_name.upper()])
                result[f"resized/{filter_name}/{name}/{size[0]}x{size[1]}"] = np.asarray(resized)
            for key, crop in crops(image, filter_name):
                result[f"crop/{filter_name}/{name}/{key}"] = crop
    return result


def main():
    if PIL.__version__ != PILLOW:
        raise SystemExit(f"Pillow is {PIL.__version__}, not {PILLOW}")
    header = {}
    data = b""
    for name, values in tensors().items():
        piece = np.ascontiguousarray(values, np.uint8).tobytes()
        header[name] = {"dtype": "U8", "shape": list(values.shape),
                        "data_offsets": [len(data), len(data) + len(piece)]}
        data += piece
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    OUT.write_bytes(struct.pack("<Q", len(text)) + text + data)


if __name__ == "__main__":
    main()
