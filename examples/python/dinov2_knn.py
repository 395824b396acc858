"""Find classes by nearest neighbours, with an encoder such as DINOv2 in float32 and in 8 bits.

    python dinov2_knn.py facebook/dinov2-small data

data/train and data/val have a folder for each class.
"""

import argparse

import bitlog2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a folder, a checkpoint, or a repository in the hub's cache")
    parser.add_argument("dataset", help="images to compare with in train/, and to name in val/")
    parser.add_argument("--image-size", type=int, default=0)
    parser.add_argument("--neighbours", type=int, default=10)
    parser.add_argument("--calibration-images", type=int, default=32)
    arguments = parser.parse_args()

    model = bitlog2.Model.from_pretrained(arguments.model, image_size=arguments.image_size)
    encoder = model.encoder()
    q = bitlog2.quantize(
        encoder,
        arguments.dataset,
        w_bits=8,
        a_bits=8,
        recipe="best",
        calibration_images=arguments.calibration_images,
        progress=True,
    )
    for name, each in (("float32", encoder), (q.settings, q)):
        (row,) = bitlog2.evaluate(each, arguments.dataset, knn=arguments.neighbours, progress=True)
        print(f"{name}: {row['top1']:.2f}% right")


if __name__ == "__main__":
    main()
