"""An encoder such as DINOv2 in 8 bits: classes by nearest neighbours, in float32 and quantized.

    python dinov2_knn.py facebook/dinov2-small data/train data/val

Both folders have a folder for each class.
"""

import argparse
from pathlib import Path

import numpy as np

import bitlog2


def labelled(folder: str) -> tuple[list[Path], list[str]]:
    paths = sorted(path for path in Path(folder).glob("*/*") if path.is_file())
    return paths, [path.parent.name for path in paths]


def accuracy(encoder, train: tuple, val: tuple, neighbours: int) -> float:
    """Percent of the images in `val` whose class most of their neighbours in `train` have."""
    labels, names = np.array(train[1]), np.unique(train[1])
    similar = encoder.embed(val[0], normalize=True) @ encoder.embed(train[0], normalize=True).T
    nearest = np.argsort(-similar, axis=1, kind="stable")[:, :neighbours]
    votes = np.stack([(labels[nearest] == name).sum(axis=1) for name in names], axis=1)
    return 100 * float((names[votes.argmax(axis=1)] == np.array(val[1])).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a folder, a checkpoint, or a repository in the hub's cache")
    parser.add_argument("train", help="images to compare with")
    parser.add_argument("val", help="images to name")
    parser.add_argument("--image-size", type=int, default=0)
    parser.add_argument("--neighbours", type=int, default=10)
    arguments = parser.parse_args()

    train, val = labelled(arguments.train), labelled(arguments.val)
    model = bitlog2.Model.from_pretrained(arguments.model, image_size=arguments.image_size)
    encoder = model.encoder()
    q = bitlog2.quantize(encoder, train[0][:32], w_bits=8, a_bits=8, recipe="best", progress=True)
    for name, each in (("float32", encoder), (q.settings, q)):
        print(f"{name}: {accuracy(each, train, val, arguments.neighbours):.2f}% right")


if __name__ == "__main__":
    main()
