"""What all goldens share: the pictures, random weights, what a case is, and preprocessing."""

import dataclasses
import json
import math
import pathlib
import zlib
from collections.abc import Callable

import numpy as np
import safetensors.numpy
import timm
import torch
import torchvision
import transformers as hf
from PIL import Image

SIZE = 32  # of the pictures that most models see
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LIBRARIES = {library.__name__: library.__version__.split("+")[0]
             for library in (timm, hf, torchvision, torch)}

# Pictures and weights -------------------------------------------------------------------------


def pictures():
    """Two pictures, U8 [40,52,3]: colours that change slowly, and noise over them."""
    rng = np.random.default_rng(11)

    def picture():
        coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((52, 40), Image.BICUBIC), np.int16)
        noise = rng.integers(-24, 25, smooth.shape, np.int16)
        return np.clip(smooth + noise, 0, 255).astype(np.uint8)

    return np.stack([picture(), picture()])


def random_value(name, parameter, rng):
    """A random value for a parameter, at a size that makes it matter."""
    shape = tuple(parameter.shape)
    last, parent = name.split(".")[-1], name.split(".")[-2] if "." in name else ""

    def normal(size):
        return rng.normal(0, size, shape)

    if "logit_" in name:  # CLIP's and SigLIP's temperature and bias
        return parameter.detach().numpy()
    if last in ("gamma", "lambda1", "lambda_1", "lambda_2", "gamma_1", "gamma_2"):  # LayerScale
        return rng.uniform(0.3, 1, shape)
    if "relative_position_bias_table" in last:
        return normal(1)
    if any(part in name for part in ("pos_embed", "position_embedding", "token", "class_embed",
                                     "probe", "latent", "pos_embedding")):
        return normal(0.7)
    if parameter.ndim >= 2:
        return normal(1.2 / math.sqrt(math.prod(shape[1:])))
    if last == "weight":  # a LayerNorm's gain
        return rng.uniform(0.6, 1.5, shape)
    if "bias" in last:
        return normal(0.25)
    raise SystemExit(f"no rule for parameter {name} {shape} of {parent}")


def is_embedding(name):
    return any(part in name for part in ("embeddings.cls", "embeddings.class", "embeddings.patch",
                                         "embeddings.position", "patch_embed.proj", "pos_embed",
                                         "cls_token"))


def randomize(model, seed, scale=1):
    """Random weights; each depends on the seed and the parameter's name alone.

    `scale` is that of the embeddings: where it is small, the norm's epsilon matters.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            rng = np.random.default_rng(zlib.crc32(f"{seed}/{name}".encode()))
            value = np.asarray(random_value(name, parameter, rng), np.float32)
            value *= np.float32(scale if is_embedding(name) else 1)
            parameter.copy_(torch.from_numpy(value))
    return model.eval()


# What a case is -------------------------------------------------------------------------------


@dataclasses.dataclass
class Preprocessing:
    """Pixels as a library makes them, U8, and the numbers that turn them into inputs."""

    pixels: Callable[[Image.Image, int], np.ndarray]  # (picture, image size) -> [S,S,3]
    mean: list
    std: list
    says: str

    def inputs(self, pixels):
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(v, dtype=torch.float32)[:, None, None]
                     for v in (self.mean, self.std))
        return (x - mean) / std


@dataclasses.dataclass
class Case:
    library: str
    class_name: str
    container: str
    special: str
    save: Callable[[pathlib.Path], None]
    outputs: Callable[[torch.Tensor, int], dict]  # (inputs, image size) -> tensors by name
    preprocessing: Preprocessing
    sizes: tuple = (SIZE,)
    hints: dict = dataclasses.field(default_factory=dict)  # what no file says


def write_case(name, case, folder):
    folder.mkdir(parents=True)
    case.save(folder)
    tensors = {}
    for size in case.sizes:
        pixels = np.ascontiguousarray(np.stack(
            [case.preprocessing.pixels(Image.fromarray(p), size) for p in pictures()]))
        assert pixels.dtype == np.uint8 and pixels.shape[1:] == (size, size, 3), pixels.shape
        tensors[f"{size}.pixels"] = pixels
        with torch.no_grad():
            outputs = case.outputs(case.preprocessing.inputs(pixels), size)
        for key, value in outputs.items():
            value = value.detach().float().numpy()
            assert np.isfinite(value).all() and value.std() > 0.02, (name, key, value)
            assert np.abs(value[0] - value[1]).max() > 1e-3, (name, key)
            tensors[f"{size}.{key}"] = np.ascontiguousarray(value)
    metadata = {
        "case": name, "library": f"{case.library} {LIBRARIES[case.library]}",
        "class": case.class_name, "container": case.container, "special": case.special,
        "image_sizes": json.dumps(list(case.sizes)), "mean": json.dumps(case.preprocessing.mean),
        "std": json.dumps(case.preprocessing.std), "rescale": "1/255",
        "preprocessing": case.preprocessing.says,
    } | ({"hints": json.dumps(case.hints)} if case.hints else {})
    # Tensors in order of their names: the same bytes each time.
    file = folder / "expected.safetensors"
    safetensors.numpy.save_file(dict(sorted(tensors.items())), file,
                                {key: metadata[key] for key in sorted(metadata)})
    written = safetensors.numpy.load_file(file)
    assert all(np.array_equal(written[key], value) for key, value in tensors.items())


# Preprocessing --------------------------------------------------------------------------------


def timm_preprocessing(config):
    """timm's evaluation transform without its last two steps, which make a normalized tensor."""

    def pixels(picture, size):
        transform = timm.data.create_transform(
            **(config | {"input_size": (3, size, size)}), is_training=False)
        for step in transform.transforms[:-2]:
            picture = step(picture)
        assert isinstance(picture, Image.Image)
        return np.asarray(picture)

    says = f"timm: {config['crop_mode']}, crop_pct {config['crop_pct']}, {config['interpolation']}"
    return Preprocessing(pixels, list(config["mean"]), list(config["std"]), says)


def hf_preprocessing(processor, native):
    """A transformers image processor on Pillow; sizes other than its own keep the proportions."""

    def scaled(sizes, size):
        return {edge: value * size // native for edge, value in sizes.items()}

    def pixels(picture, size):
        other = {}
        if size != native:
            other["size"] = scaled(sizes_of(processor.size), size)
            if getattr(processor, "do_center_crop", False):
                other["crop_size"] = scaled(sizes_of(processor.crop_size), size)
        values = processor(picture, do_rescale=False, do_normalize=False, return_tensors="np",
                           **other)["pixel_values"][0]
        assert values.dtype == np.uint8
        whole = processor(picture, return_tensors="np", **other)["pixel_values"][0]
        ours = preprocessing.inputs(values.transpose(1, 2, 0)[None])[0].numpy()
        assert np.abs(whole - ours).max() < 1e-5
        return values.transpose(1, 2, 0)

    says = f"transformers: {type(processor).__name__}, size {sizes_of(processor.size)}"
    if getattr(processor, "do_center_crop", False):
        says += f", crop {sizes_of(processor.crop_size)}"
    says += f", resample {int(processor.resample)}"
    mean, std = list(processor.image_mean), list(processor.image_std)
    preprocessing = Preprocessing(pixels, mean, std, says)
    return preprocessing


def sizes_of(size):
    return {key: value for key, value in dict(size).items() if value is not None}


def torchvision_preprocessing(resize, interpolation):
    """torchvision's ImageClassification preset on Pillow images."""
    functional = torchvision.transforms.functional

    def pixels(picture, size):
        picture = functional.resize(picture, resize * size // SIZE, interpolation)
        return np.asarray(functional.center_crop(picture, size))

    return Preprocessing(pixels, list(IMAGENET_MEAN), list(IMAGENET_STD),
                         f"torchvision: shorter side {resize}, crop {SIZE}, {interpolation.value}")


def imagenet_default():
    """What timm does where nothing else is said: shorter side / 0.875, bicubic, crop."""
    return timm_preprocessing(dict(
        input_size=(3, SIZE, SIZE), interpolation="bicubic", crop_pct=0.875, crop_mode="center",
        mean=IMAGENET_MEAN, std=IMAGENET_STD))
