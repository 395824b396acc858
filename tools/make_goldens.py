#!/usr/bin/env python3
"""Makes tests/data/architectures: tiny models as timm, transformers, torchvision and torch.save
leave them, and what those libraries compute with them.

  python3 -m venv venv && venv/bin/pip install -r tools/requirements-goldens.txt
  venv/bin/python tools/make_goldens.py              writes all cases
  venv/bin/python tools/make_goldens.py timm_vit     writes that one
  venv/bin/python tools/make_goldens.py --check      makes them elsewhere and compares
  venv/bin/python tools/make_goldens.py --list FILE  writes names and shapes of all tensors

Each case is a folder: the files as the library saves them, and expected.safetensors. The weights
are random and large enough for each piece to matter: a gain, a bias, a token or a position that
is left out changes the outputs. Everything is synthetic; nothing is downloaded.

tests/data/architectures/README.md is written by this script too, from the table of cases.
"""

import argparse
import copy
import dataclasses
import functools
import json
import math
import os
import pathlib
import shutil
import tempfile
import zlib
from collections.abc import Callable

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is downloaded
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import numpy as np
import PIL
import safetensors
import safetensors.numpy
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
import torchvision
import transformers as hf
from PIL import Image
from torch import nn

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUT = ROOT / "tests" / "data" / "architectures"
SIZE = 32  # of the pictures that most models see
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LIBRARIES = {"timm": timm.__version__, "transformers": hf.__version__,
             "torchvision": torchvision.__version__, "torch": torch.__version__}

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

    if "logit" in name:  # CLIP's and SigLIP's temperature and bias
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
        pixels = np.stack([case.preprocessing.pixels(Image.fromarray(p), size)
                           for p in pictures()])
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
        "image_sizes": json.dumps(list(case.sizes)), "mean": json.dumps(list(case.preprocessing.mean)),
        "std": json.dumps(list(case.preprocessing.std)), "rescale": "1/255",
        "preprocessing": case.preprocessing.says,
    } | ({"hints": json.dumps(case.hints)} if case.hints else {})
    # Tensors in order of their names: the same bytes each time.
    safetensors.numpy.save_file(dict(sorted(tensors.items())), folder / "expected.safetensors",
                                {key: metadata[key] for key in sorted(metadata)})


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
    preprocessing = Preprocessing(pixels, list(processor.image_mean), list(processor.image_std),
                                  says)
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


# timm -----------------------------------------------------------------------------------------


def patch_mean(tokens, prefix):
    return tokens[:, prefix:].mean(1)


def timm_outputs(model, x):
    """Logits, and embeddings from the tokens behind the last norm."""
    tokens = model.forward_features(x)
    outputs = {"embedding_native": model.forward_head(tokens, pre_logits=True)}
    if model.num_classes > 0:
        logits = model.forward_head(tokens)
        # A distilled DeiT's two heads are averaged.
        outputs["logits"] = logits
    if tokens.ndim == 4:  # Swin: [N,H,W,C]
        outputs["embedding_mean"] = tokens.mean((1, 2))
        return outputs
    prefix = getattr(model, "num_prefix_tokens", 0)
    outputs["embedding_mean"] = patch_mean(tokens, prefix)
    if prefix:
        outputs["embedding_class"] = tokens[:, 0]
    if getattr(model, "attn_pool", None) is not None:
        outputs["embedding_map"] = model.attn_pool(tokens)
    return outputs


NANO = dict(img_size=SIZE, patch_size=4, embed_dim=32, depth=2, num_heads=2, mlp_ratio=1.5)


def timm_folder(name, architecture, special, classes=10, sizes=(SIZE,), crop=SIZE, shape=NANO,
                scale=1, **arguments):
    """A folder as timm's push_to_hf_hub writes it, loaded again as `local-dir:`."""
    model = timm.create_model(architecture, num_classes=classes,
                              pretrained_cfg_overlay=dict(input_size=(3, crop, crop)),
                              **(shape | arguments))
    randomize(model, name, scale)

    def save(folder):
        timm.models.save_for_hf(model, folder, safe_serialization=True)

    @functools.cache
    def loaded(size):
        with tempfile.TemporaryDirectory() as folder:
            save(pathlib.Path(folder))
            other = {} if size == arguments.get("img_size", SIZE) else {"img_size": size}
            return timm.create_model(f"local-dir:{folder}", pretrained=True, **other).eval()

    config = timm.data.resolve_data_config({}, model=model)
    return Case("timm", architecture, "safetensors folder", special, save,
                lambda x, size: timm_outputs(loaded(size), x), timm_preprocessing(config), sizes)


# One head of 64, the width that published models have: a bare file does not say how many.
BARE = dict(img_size=SIZE, patch_size=4, embed_dim=64, depth=1, num_heads=1, mlp_ratio=0.5)


def as_f16(model):
    """Rounds a model to F16; it computes in F32 still. Half of the bare files are saved so."""
    return model.half().float()


def half(state):
    return {key: value.half() for key, value in state.items()}


def timm_pth(name, architecture, special, wrap=lambda state: state, file="model.pth",
             container="torch zip", rename=lambda state: state, classes=10,
             half_size=False, **arguments):
    """A bare file of torch.save with a timm model's weights, perhaps renamed and nested."""
    arguments = BARE | arguments
    model = randomize(timm.create_model(architecture, num_classes=classes, **arguments), name)
    if half_size:
        as_f16(model)
    state = rename(model.state_dict())
    state = wrap(half(state) if half_size else state)
    hints = {"num_heads": arguments["num_heads"], "patch_size": arguments["patch_size"]}
    return Case("timm", architecture, container, special,
                lambda folder: torch.save(state, folder / file),
                lambda x, size: timm_outputs(model, x), imagenet_default(), hints=hints)


def training_checkpoint(state):
    """What DeiT's training script saves: the model among an optimizer, numbers and arguments."""
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight])
    weight.sum().backward()
    optimizer.step()
    arguments = argparse.Namespace(model="deit_tiny_patch16_224", lr=5e-4, output_dir="out",
                                   device="cpu", resume=None, betas=(0.9, 0.999))
    return {"model": state, "optimizer": optimizer.state_dict(), "lr_scheduler": {"step": 1},
            "epoch": 299, "scaler": {"scale": 65536.0}, "args": arguments}


# transformers ---------------------------------------------------------------------------------

HF_NANO = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
               image_size=SIZE, patch_size=4)
HF_SHALLOW = HF_NANO | dict(num_hidden_layers=1)  # where depth adds nothing


def labels(count):
    names = ["tench", "goldfish", "great white shark", "tiger shark", "hammerhead", "stingray",
             "cock", "hen", "ostrich", "brambling", "goldfinch", "house finch"][:count]
    return dict(id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)})


def tower(model):
    """The encoder inside a model with a head, or the model itself."""
    inner = getattr(model, model.base_model_prefix, model)
    return getattr(inner, "vision_model", inner)


def hf_forward(model, x):
    """What the whole model returns, its encoder's output, and what its classifier is given."""
    seen = {}
    hooks = []
    if hasattr(model, "classifier"):
        hooks.append(tower(model).register_forward_hook(
            lambda module, given, result: seen.update(encoder=result)))
    if isinstance(getattr(model, "classifier", None), nn.Module):
        hooks.append(model.classifier.register_forward_hook(
            lambda module, given, result: seen.update(native=given[0])))
    interpolates = type(model).__name__.startswith("Dino")  # these always do
    result = model(x) if interpolates else model(x, interpolate_pos_encoding=True)
    for hook in hooks:
        hook.remove()
    return result, seen.get("encoder", result), seen.get("native")


def hf_outputs(model, x, prefix=1, pooled="native"):
    """`pooled`: the name of the encoder's pooler_output, None where it is not wanted."""
    result, encoder, native = hf_forward(model, x)
    tokens = encoder.last_hidden_state
    outputs = {"embedding_mean": patch_mean(tokens, prefix)}
    if prefix:
        outputs["embedding_class"] = tokens[:, 0]
    if native is not None:
        outputs["embedding_native"] = native
    elif pooled and getattr(encoder, "pooler_output", None) is not None:
        outputs[f"embedding_{pooled}"] = encoder.pooler_output
        outputs["embedding_native"] = encoder.pooler_output
    else:
        outputs["embedding_native"] = tokens[:, 0]
    if getattr(result, "logits", None) is not None:
        outputs["logits"] = result.logits
    return outputs


def clip_outputs(model, x):
    """CLIP's last norm is meant for the class token; here it is applied to all tokens."""
    vision = tower(model)
    result = vision(x, interpolate_pos_encoding=True)
    tokens = vision.post_layernorm(result.last_hidden_state)
    outputs = {"embedding_class": result.pooler_output, "embedding_mean": patch_mean(tokens, 1),
               "embedding_native": result.pooler_output}
    if hasattr(model, "visual_projection"):
        outputs["embedding_projection"] = model.visual_projection(result.pooler_output)
        outputs["embedding_native"] = outputs["embedding_projection"]
    return outputs


def siglip_outputs(model, x):
    result = tower(model)(x, interpolate_pos_encoding=True)
    return {"embedding_map": result.pooler_output, "embedding_native": result.pooler_output,
            "embedding_mean": result.last_hidden_state.mean(1)}


def squash(processor_class, **settings):
    return processor_class(size={"height": SIZE, "width": SIZE}, **settings)


def crop(processor_class, resize=40, size=SIZE, **settings):
    return processor_class(size={"shortest_edge": resize}, crop_size={"height": size, "width": size},
                           **settings)


def dino_crop(resize=40, size=SIZE):
    """As the published DINOv2 models have it."""
    return crop(hf.BitImageProcessorPil, resize, size, image_mean=list(IMAGENET_MEAN),
                image_std=list(IMAGENET_STD))


def hf_folder(name, model_class, config, processor, special, outputs=hf_outputs, sizes=(SIZE,),
              native=SIZE, container="safetensors folder", save=None, dtype=None):
    """A folder as save_pretrained writes it, loaded again."""
    model = randomize(model_class(config), name)
    if dtype:
        model.to(dtype)

    def save_all(folder):
        (save or (lambda m, f: m.save_pretrained(f)))(model, folder)
        processor.save_pretrained(folder)

    @functools.cache
    def loaded():
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            other = model_class.from_pretrained(folder, attn_implementation="eager")
            return other.to(torch.float32).eval()

    return Case("transformers", model_class.__name__, container, special, save_all,
                lambda x, size: outputs(loaded(), x), hf_preprocessing(processor, native), sizes)


def disk_state(model):
    """Tensors under the names that transformers writes, which are not those in memory."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        state = safetensors.torch.load_file(f"{folder}/model.safetensors")
        return {key: value.clone() for key, value in state.items()}


# torchvision ----------------------------------------------------------------------------------


def torchvision_vit(name, special, representation=None, sizes=(SIZE,), half_size=False):
    settings = dict(patch_size=4, num_layers=1, num_heads=1, hidden_dim=64, mlp_dim=32,
                    num_classes=10, representation_size=representation)

    def build(size):
        return torchvision.models.VisionTransformer(image_size=size, **settings)

    model = randomize(build(SIZE), name)
    if half_size:
        as_f16(model)
    state = half(model.state_dict()) if half_size else model.state_dict()

    def resized(size):
        if size == SIZE:
            return model
        other = build(size).eval()
        other.load_state_dict(torchvision.models.vision_transformer.interpolate_embeddings(
            size, 4, copy.deepcopy(model.state_dict())))
        return other

    def outputs(x, size):
        seen = {}
        vit = resized(size)
        hooks = [vit.encoder.register_forward_hook(lambda m, i, o: seen.update(tokens=o)),
                 vit.heads.head.register_forward_hook(lambda m, i, o: seen.update(native=i[0]))]
        logits = vit(x)
        for hook in hooks:
            hook.remove()
        return {"logits": logits, "embedding_class": seen["tokens"][:, 0],
                "embedding_mean": patch_mean(seen["tokens"], 1), "embedding_native": seen["native"]}

    return Case("torchvision", "VisionTransformer", "torch zip", special,
                lambda folder: torch.save(state, folder / "model.pth"), outputs,
                torchvision_preprocessing(36, torchvision.transforms.InterpolationMode.BILINEAR),
                sizes, {"num_heads": 1, "patch_size": 4})


def torchvision_swin(name, special):
    model = randomize(torchvision.models.SwinTransformer(
        patch_size=[4, 4], embed_dim=16, depths=[2, 1], num_heads=[1, 2], window_size=[4, 4],
        mlp_ratio=2.0, num_classes=10), name)

    def outputs(x, size):
        tokens = model.norm(model.features(x))
        mean = tokens.mean((1, 2))
        return {"logits": model(x), "embedding_mean": mean, "embedding_native": mean}

    return Case("torchvision", "SwinTransformer", "torch zip", special,
                lambda folder: torch.save(model.state_dict(), folder / "model.pth"), outputs,
                torchvision_preprocessing(33, torchvision.transforms.InterpolationMode.BICUBIC))


# Names of the first implementations ------------------------------------------------------------


class PreLogits(nn.Module):
    """timm before 0.6: a linear layer and tanh between the class token and the head."""

    def __init__(self, name, representation=24):
        super().__init__()
        self.vit = timm.create_model("vit_base_patch16_224", num_classes=0, **BARE)
        self.pre_logits = nn.Sequential()
        self.pre_logits.add_module("fc", nn.Linear(BARE["embed_dim"], representation))
        self.head = nn.Linear(representation, 10)
        as_f16(randomize(self, name))

    def outputs(self, x):
        outputs = timm_outputs(self.vit, x)
        native = torch.tanh(self.pre_logits(outputs["embedding_class"]))
        return outputs | {"embedding_native": native, "logits": self.head(native)}

    def state(self):
        return half({key.removeprefix("vit."): value for key, value in self.state_dict().items()})


def pre_logits_pth(name):
    model = PreLogits(name)
    return Case("timm", "vit_base_patch16_224, timm before 0.6", "torch zip",
                "`pre_logits.fc` and tanh before the head; F16",
                lambda folder: torch.save(model.state(), folder / "model.pth"),
                lambda x, size: model.outputs(x), imagenet_default(),
                hints={"num_heads": 1, "patch_size": 4})


def renamed(*changes):
    """Renames parts of keys."""

    def apply(state):
        result = {}
        for key, value in state.items():
            for old, new in changes:
                key = key.replace(old, new)
            result[key] = value
        return result

    return apply


def facebook_dinov2(state, depth):
    """transformers' names -> those of facebookresearch/dinov2."""
    changes = renamed(("embeddings.patch_embeddings.projection", "patch_embed.proj"),
                      ("embeddings.cls_token", "cls_token"),
                      ("embeddings.mask_token", "mask_token"),
                      ("embeddings.register_tokens", "register_tokens"),
                      ("embeddings.position_embeddings", "pos_embed"),
                      ("encoder.layer.", "blocks."), ("attention.output.dense", "attn.proj"),
                      ("layer_scale1.lambda1", "ls1.gamma"), ("layer_scale2.lambda1", "ls2.gamma"),
                      ("layernorm.", "norm."))(state)
    for block in range(depth):
        for kind in ("weight", "bias"):
            parts = [changes.pop(f"blocks.{block}.attention.attention.{part}.{kind}")
                     for part in ("query", "key", "value")]
            changes[f"blocks.{block}.attn.qkv.{kind}"] = torch.cat(parts)
    return changes


def dinov2_pth(name, registers, special, native, sizes, **arguments):
    """The file that facebookresearch/dinov2 publishes: {cls_token, blocks.0.ls1.gamma, ...}."""
    classes = ((hf.Dinov2WithRegistersModel, hf.Dinov2WithRegistersConfig) if registers
               else (hf.Dinov2Model, hf.Dinov2Config))
    config = classes[1](**(dict(hidden_size=64, num_hidden_layers=1, num_attention_heads=1,
                                mlp_ratio=1, image_size=native, patch_size=4) | arguments))
    model = as_f16(randomize(classes[0](config), name))
    state = half(facebook_dinov2(disk_state(model), config.num_hidden_layers))

    def outputs(x, size):
        other = copy.deepcopy(model)
        grid, old = size // 4, native // 4
        positions = model.embeddings.position_embeddings
        if grid != old and not registers:
            # The original adds 0.1 to the grid and scales by the quotient, without antialiasing.
            scale = (grid + 0.1) / old
            square = positions[:, 1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
            square = F.interpolate(square, scale_factor=(scale, scale), mode="bicubic")
            assert square.shape[-2:] == (grid, grid)
            positions = torch.cat([positions[:, :1], square.flatten(2).transpose(1, 2)], 1)
            other.embeddings.interpolate_pos_encoding = lambda embeddings, height, width: positions
        result = hf_outputs(other, x, 1 + (4 if registers else 0))
        result.pop("embedding_pooler", None)
        return result

    return Case("transformers", classes[0].__name__, "torch zip", special,
                lambda folder: torch.save(state, folder / "model.pth"), outputs,
                imagenet_default(), sizes, {"num_heads": 1, "patch_size": 4})


SWIN = dict(img_size=SIZE, patch_size=4, window_size=4, embed_dim=16, depths=(2, 1),
            num_heads=(1, 2), mlp_ratio=2)


def window_index(window):
    """Swin's relative_position_index, [window^2, window^2]."""
    line = torch.arange(window)
    flat = torch.stack(torch.meshgrid(line, line, indexing="ij")).flatten(1)
    apart = flat[:, :, None] - flat[:, None] + window - 1
    return apart[0] * (2 * window - 1) + apart[1]


def microsoft_swin(state):
    """timm's names -> Microsoft's: merging belongs to the stage before; buffers are saved."""
    result = renamed(("layers.1.downsample", "layers.0.downsample"),
                     ("head.fc", "head"))(state)
    for stage, depth in enumerate(SWIN["depths"]):
        for block in range(depth):
            result[f"layers.{stage}.blocks.{block}.attn.relative_position_index"] = window_index(4)
    mask = torch.zeros(1, 8, 8, 1)
    count = 0
    for rows in (slice(0, -4), slice(-4, -2), slice(-2, None)):
        for columns in (slice(0, -4), slice(-4, -2), slice(-2, None)):
            mask[:, rows, columns] = count
            count += 1
    windows = mask.view(1, 2, 4, 2, 4, 1).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16)
    differs = windows[:, None] - windows[:, :, None]
    result["layers.0.blocks.1.attn_mask"] = torch.where(differs != 0, -100.0, 0.0)
    return result


def swin_pth(name, special, wrap, rename):
    model = randomize(timm.create_model("swin_tiny_patch4_window7_224", num_classes=10, **SWIN),
                      name)
    return Case("timm", "swin_tiny_patch4_window7_224", "torch zip", special,
                lambda folder: torch.save(wrap(rename(model.state_dict())), folder / "model.pth"),
                lambda x, size: timm_outputs(model, x), imagenet_default())


# Containers -----------------------------------------------------------------------------------


def container(special, kind, save, dtype=None):
    """One small classifier in many containers; the weights are the same in all."""
    config = hf.ViTConfig(**(HF_SHALLOW | dict(intermediate_size=16)), **labels(5))
    processor = squash(hf.ViTImageProcessorPil)
    return hf_folder("container", hf.ViTForImageClassification, config, processor, special,
                     container=kind, save=save, dtype=dtype)


def save_bin(model, folder, **options):
    """As transformers 4 wrote pytorch_model.bin; q, k and v are views of one storage here."""
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    state = disk_state(model)
    names = [key for key in state if ".attention.attention." in key and key.endswith("weight")]
    whole = torch.cat([state[key] for key in names])
    views = dict(zip(names, whole.split(state[names[0]].shape[0])))
    torch.save(state | views, folder / "pytorch_model.bin", **options)


def old_folder(name, model_class, config, rename, processor_class, processor, special, outputs,
               scale=1):
    """pytorch_model.bin, config.json and preprocessor_config.json as transformers 4 left them.

    `rename`: today's names and tensors -> those of then. `processor`: the JSON of then.
    """
    model = as_f16(randomize(model_class(config), name, scale))

    def save(folder):
        torch.save(rename(half(disk_state(model))), folder / "pytorch_model.bin")
        values = model.config.to_dict() | {"architectures": [model_class.__name__],
                                           "torch_dtype": "float16",
                                           "transformers_version": "4.19.0"}
        values.pop("dtype", None)
        write_json(folder / "config.json", values)
        write_json(folder / "preprocessor_config.json", processor)

    @functools.cache
    def loaded():
        with tempfile.TemporaryDirectory() as folder:
            save(pathlib.Path(folder))
            other = model_class.from_pretrained(folder, attn_implementation="eager")
            return other.to(torch.float32).eval()

    with tempfile.TemporaryDirectory() as folder:
        write_json(pathlib.Path(folder) / "preprocessor_config.json", processor)
        today = processor_class.from_pretrained(folder)
    return Case("transformers", model_class.__name__, "torch zip, as transformers 4", special, save,
                lambda x, size: outputs(loaded(), x), hf_preprocessing(today, SIZE))


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def old_processor(kind, mean=IMAGENET_MEAN, std=IMAGENET_STD, size=SIZE, **settings):
    """preprocessor_config.json before transformers 4.25: a size is a number."""
    return dict(do_normalize=True, do_resize=True, feature_extractor_type=kind,
                image_mean=list(mean), image_std=list(std), size=size) | settings


def with_prefix(prefix):
    return lambda state: {prefix + key: value for key, value in state.items()}


def with_position_ids(state):
    state = with_prefix("vision_model.")(state)
    count = state["vision_model.embeddings.position_embedding.weight"].shape[0]
    return state | {"vision_model.embeddings.position_ids": torch.arange(count)[None]}


def with_indices(state):
    """relative_position_index beside each relative position bias table of a window of 4."""
    end = "relative_position_bias_table"
    return state | {key.replace(end, "relative_position_index"): window_index(4)
                    for key in state if key.endswith(end)}


def with_beit_indices(state):
    """BEiT's: three more distances, from and to the class token; patches of 8."""
    grid = 4
    distances = (2 * grid - 1) ** 2
    index = torch.zeros(grid * grid + 1, grid * grid + 1, dtype=torch.int64)
    index[1:, 1:] = window_index(grid)
    index[0, :], index[:, 0], index[0, 0] = distances, distances + 1, distances + 2
    end = "relative_position_bias_table"
    return state | {key.replace(end, "relative_position_index"): index
                    for key in state if key.endswith(end)}


def lightning_checkpoint(state):
    """What PyTorch Lightning saves; some tensors are transposed views."""
    state = {"model." + key: value.t().contiguous().t() if "fc1.weight" in key else value
             for key, value in state.items()}
    return {"epoch": 3, "global_step": 400, "pytorch-lightning_version": "2.5.0",
            "state_dict": state, "loops": {"fit_loop": {"state_dict": {}}},
            "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_path": "best.ckpt"}},
            "optimizer_states": [], "lr_schedulers": [],
            "hyper_parameters": {"lr": 1e-3, "name": "vit_tiny_patch16_224"}}


def dino_checkpoint(state):
    """What DINO saves: student, teacher with a projection head, and the loss's state."""
    teacher = with_prefix("backbone.")(state)
    teacher |= {"head.mlp.0.weight": torch.full((4, 64), 0.5), "head.mlp.0.bias": torch.ones(4)}
    student = with_prefix("module.")(teacher)
    student["module.backbone.cls_token"] = torch.zeros(1, 1, 64)
    return {"student": student, "teacher": teacher, "epoch": 100,
            "args": argparse.Namespace(arch="vit_small", out_dim=4),
            "dino_loss": {"center": torch.zeros(1, 4)}}


def timm_checkpoint(state):
    """What timm's train.py saves; timm loads the average (`state_dict_ema`) where there is one."""
    last = dict(state) | {"cls_token": torch.zeros(1, 1, 64)}
    return {"epoch": 9, "arch": "vit_tiny_patch16_224", "state_dict": last, "version": 2,
            "optimizer": {"state": {}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]},
            "args": argparse.Namespace(model="vit_tiny_patch16_224", opt="adamw"),
            "amp_scaler": {"scale": 65536.0, "growth_factor": 2.0}, "state_dict_ema": dict(state),
            "metric": 71.5}


# The table of cases ---------------------------------------------------------------------------


def vit(**changes):
    return hf.ViTConfig(**(HF_NANO | changes), **labels(10))


def beit(**changes):
    return hf.BeitConfig(**(HF_NANO | dict(use_relative_position_bias=True) | changes), **labels(10))


def dino(config_class, native=40, **changes):
    settings = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=1,
                    image_size=native, patch_size=4)
    return config_class(**(settings | changes), **labels(7))


def clip_vision(**changes):
    return HF_NANO | dict(projection_dim=24) | changes


TEXT = dict(vocab_size=24, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=1, max_position_embeddings=8, bos_token_id=0, eos_token_id=1,
            pad_token_id=1)


def hf_swin(**changes):
    return hf.SwinConfig(**(dict(image_size=SIZE, patch_size=4, embed_dim=16, depths=[2, 1],
                                 num_heads=[1, 2], window_size=4, mlp_ratio=2.0) | changes),
                         **labels(10))


def cases():
    """name -> function that makes the case."""
    table = {}

    def add(name, function, *arguments, **settings):
        table[name] = lambda: function(name, *arguments, **settings)

    bigger = (SIZE, 40)

    # ViT, DeiT
    add("timm_vit", timm_folder, "vit_tiny_patch16_224", "augreg: mean = std = 0.5, crop_pct 0.9",
        sizes=bigger)
    add("timm_vit_no_qkv_bias", timm_folder, "vit_tiny_patch16_224", "qkv_bias=False",
        qkv_bias=False, depth=1)
    add("timm_vit_fc_norm", timm_folder, "vit_tiny_patch16_224",
        "mean of the patches, `fc_norm` behind it, no `norm`", global_pool="avg",
        depth=1)
    add("timm_vit_no_head", timm_folder, "vit_tiny_patch16_224", "num_classes=0; small embeddings: eps 1e-6 matters",
        classes=0, depth=1, scale=1 / 128)
    add("timm_vit_pth", timm_pth, "vit_tiny_patch16_224", "a bare state_dict")
    add("timm_deit", timm_folder, "deit_tiny_patch16_224", "ImageNet mean and std, crop_pct 0.9",
        depth=1)
    add("deit_original_pth", timm_pth, "deit_tiny_patch16_224",
        "a training checkpoint: model, optimizer, argparse.Namespace", wrap=training_checkpoint,
        file="checkpoint.pth")
    table["timm_vit_pre_logits_pth"] = lambda: pre_logits_pth("timm_vit_pre_logits_pth")
    add("transformers_vit_classifier", hf_folder, hf.ViTForImageClassification, vit(),
        squash(hf.ViTImageProcessorPil), "squashed, bilinear; eps 1e-12", sizes=bigger)
    add("transformers_vit_no_qkv_bias", hf_folder, hf.ViTForImageClassification,
        vit(qkv_bias=False, layer_norm_eps=1e-6, num_hidden_layers=1), squash(hf.ViTImageProcessorPil, resample=3),
        "qkv_bias false, eps 1e-6, bicubic")
    add("transformers_vit_model", hf_folder, hf.ViTModel, vit(num_hidden_layers=1),
        squash(hf.ViTImageProcessorPil),
        "no head, no `vit.` in the names; a pooler (dense, tanh): `embedding_pooler`",
        outputs=functools.partial(hf_outputs, pooled="pooler"))
    add("transformers_deit_classifier", hf_folder, hf.DeiTForImageClassification,
        hf.DeiTConfig(**HF_SHALLOW, **labels(10)),
        hf.DeiTImageProcessorPil(size={"height": 36, "width": 36},
                                 crop_size={"height": SIZE, "width": SIZE}),
        "squashed to 36, then cropped; a distillation token that no head uses",
        outputs=functools.partial(hf_outputs, prefix=2))
    add("torchvision_vit", torchvision_vit, "class_token, conv_proj, in_proj_weight", sizes=bigger)
    add("torchvision_vit_representation", torchvision_vit, "`heads.pre_logits` and tanh; F16",
        representation=24, half_size=True)

    # distilled DeiT, DeiT-3
    add("timm_deit_distilled", timm_folder, "deit_tiny_distilled_patch16_224",
        "dist_token, head and head_dist averaged", depth=1, sizes=bigger)
    add("transformers_deit_distilled", hf_folder, hf.DeiTForImageClassificationWithTeacher,
        hf.DeiTConfig(**HF_SHALLOW, **labels(10)),
        hf.DeiTImageProcessorPil(size={"height": 36, "width": 36},
                                 crop_size={"height": SIZE, "width": SIZE}),
        "cls_classifier and distillation_classifier averaged",
        outputs=distilled_outputs)
    add("timm_deit3", timm_folder, "deit3_small_patch16_224",
        "LayerScale, positions without the class token", depth=1, init_values=0.5, sizes=bigger)
    add("deit3_original_pth", timm_pth, "deit3_small_patch16_224",
        "`blocks.0.gamma_1` for LayerScale, below `model`; F16", init_values=0.5,
        wrap=lambda state: {"model": state}, half_size=True,
        rename=renamed(("ls1.gamma", "gamma_1"), ("ls2.gamma", "gamma_2")))

    # DINOv2: positions for 40 pixels, run at 32
    add("timm_dinov2", timm_folder, "vit_small_patch14_dinov2", "LayerScale, positions for 40",
        classes=0, depth=1, img_size=40, crop=40, init_values=0.5, sizes=(SIZE, 40))
    add("timm_dinov2_reg4", timm_folder, "vit_small_patch14_reg4_dinov2",
        "4 registers, positions of patches only; a head", depth=1, img_size=40, crop=40, init_values=0.5,
        sizes=(SIZE, 40))
    add("transformers_dinov2_classifier", hf_folder, hf.Dinov2ForImageClassification,
        dino(hf.Dinov2Config), dino_crop(),
        "classifier on [class; mean of patches]; positions for 40, run at 32", sizes=(SIZE, 40))
    add("transformers_dinov2_model", hf_folder, hf.Dinov2Model,
        dino(hf.Dinov2Config, native=84, patch_size=14, num_hidden_layers=1, hidden_size=16,
             num_attention_heads=1),
        dino_crop(64, 56), "patch 14, positions for 84, run at 56",
        sizes=(56,), native=56)
    add("transformers_dinov2_reg4_classifier", hf_folder, hf.Dinov2WithRegistersForImageClassification,
        dino(hf.Dinov2WithRegistersConfig, num_hidden_layers=1), dino_crop(),
        "4 registers; positions interpolated with antialiasing", sizes=(SIZE, 40),
        outputs=functools.partial(hf_outputs, prefix=5))
    add("transformers_dinov2_reg1_model", hf_folder, hf.Dinov2WithRegistersModel,
        dino(hf.Dinov2WithRegistersConfig, num_register_tokens=1, num_hidden_layers=1), dino_crop(),
        "1 register", outputs=functools.partial(hf_outputs, prefix=2))
    add("dinov2_original_pth", dinov2_pth, False,
        "facebookresearch/dinov2's names; positions interpolated with its offset of 0.1; F16",
        native=40, sizes=(SIZE, 40))
    add("dinov2_original_reg4_pth", dinov2_pth, True,
        "`register_tokens`; positions interpolated with antialiasing; F16", native=40, sizes=(SIZE, 40))

    # CLIP
    add("transformers_clip", hf_folder, hf.CLIPModel,
        hf.CLIPConfig(text_config=TEXT, vision_config=clip_vision(num_hidden_layers=1), projection_dim=24),
        crop(hf.CLIPImageProcessorPil, SIZE), "text and vision in one file; quick GELU",
        outputs=clip_outputs)
    add("transformers_clip_vision_projection", hf_folder, hf.CLIPVisionModelWithProjection,
        hf.CLIPVisionConfig(**clip_vision(hidden_act="gelu", num_hidden_layers=1)), crop(hf.CLIPImageProcessorPil, SIZE),
        "GELU, a projection", outputs=clip_outputs, sizes=bigger)
    add("transformers_clip_vision", hf_folder, hf.CLIPVisionModel,
        hf.CLIPVisionConfig(**clip_vision(num_hidden_layers=1)), crop(hf.CLIPImageProcessorPil, SIZE),
        "quick GELU, no projection", outputs=clip_outputs)
    add("timm_clip", timm_folder, "vit_base_patch16_clip_224",
        "`norm_pre`, GELU; the head is the projection", classes=12, depth=1)
    add("timm_clip_quickgelu", timm_folder, "vit_base_patch16_clip_quickgelu_224",
        "quick GELU and eps 1e-5, which matters; only the architecture's name says so",
        classes=12, depth=1, scale=1 / 128)

    # SigLIP
    add("transformers_siglip", hf_folder, hf.SiglipModel,
        hf.SiglipConfig(text_config=TEXT | dict(projection_size=32), vision_config=HF_SHALLOW),
        squash(hf.SiglipImageProcessorPil), "text and vision in one file",
        outputs=siglip_outputs)
    add("transformers_siglip_vision", hf_folder, hf.SiglipVisionModel,
        hf.SiglipVisionConfig(**HF_NANO), squash(hf.SiglipImageProcessorPil),
        "attention pooling", outputs=siglip_outputs, sizes=bigger)
    add("timm_siglip", timm_folder, "vit_base_patch16_siglip_224",
        "global_pool map; no class token", classes=0, depth=1, sizes=bigger)
    add("timm_siglip2", timm_folder, "vit_so400m_patch16_siglip_256",
        "SigLIP 2's large one: what its name says of the activation", classes=0, depth=1)

    # BEiT
    add("timm_beit", timm_folder, "beit_base_patch16_224",
        "relative position bias, q_bias and v_bias, gamma_1, fc_norm", depth=1, sizes=bigger)
    add("timm_beitv2", timm_folder, "beitv2_base_patch16_224", "as BEiT, ImageNet mean and std",
        depth=1)
    add("transformers_beit_classifier", hf_folder, hf.BeitForImageClassification, beit(),
        squash(hf.BeitImageProcessorPil), "lambda_1, a norm in the pooler; eps 1e-12",
        sizes=bigger)
    add("transformers_beit_model", hf_folder, hf.BeitModel,
        beit(num_hidden_layers=1, use_relative_position_bias=False,
             use_shared_relative_position_bias=True, use_mask_token=True),
        squash(hf.BeitImageProcessorPil), "one relative position bias for all blocks; no head",
        outputs=functools.partial(hf_outputs, pooled="pooler"))

    # Swin
    add("timm_swin", timm_folder, "swin_tiny_patch4_window7_224",
        "downsample begins a stage; head.fc", shape=SWIN, sizes=(SIZE, 64))
    add("timm_swin_in22k", timm_folder, "swin_base_patch4_window7_224",
        "patch 2: windows are shifted in both stages; small embeddings: eps 1e-5 matters",
        shape=SWIN, patch_size=2, depths=(2, 2), scale=1 / 128)
    add("swin_original_pth", swin_pth,
        "Microsoft's names below `model`: downsample ends a stage, attn_mask and "
        "relative_position_index are saved", wrap=lambda state: {"model": state},
        rename=microsoft_swin)
    add("timm_swin_old_pth", swin_pth,
        "timm before 0.9: downsample ends a stage, `head.weight`", wrap=lambda state: state,
        rename=renamed(("layers.1.downsample", "layers.0.downsample"), ("head.fc", "head")))
    add("transformers_swin_classifier", hf_folder, hf.SwinForImageClassification, hf_swin(),
        squash(hf.ViTImageProcessorPil, resample=3, image_mean=list(IMAGENET_MEAN),
               image_std=list(IMAGENET_STD)), "query, key and value apart; eps 1e-5",
        outputs=functools.partial(hf_outputs, prefix=0))
    add("transformers_swin_model", hf_folder, hf.SwinModel, hf_swin(patch_size=2),
        squash(hf.ViTImageProcessorPil, resample=3), "no head; patch 2",
        outputs=functools.partial(hf_outputs, prefix=0))
    add("torchvision_swin", torchvision_swin, "features.1.0.attn.qkv, features.2.reduction")

    # transformers 4
    add("transformers_vit_old", old_folder, hf.ViTForImageClassification,
        vit(num_hidden_layers=1), lambda state: state, hf.ViTImageProcessorPil,
        old_processor("ViTFeatureExtractor", [0.5] * 3, [0.5] * 3),
        "`size` a number, no `resample`; small embeddings: eps 1e-12 matters; F16", hf_outputs,
        scale=1 / 128)
    add("transformers_deit_old", old_folder, hf.DeiTForImageClassification,
        hf.DeiTConfig(**HF_SHALLOW, **labels(10)), lambda state: state, hf.DeiTImageProcessorPil,
        old_processor("DeiTFeatureExtractor", size=36, do_center_crop=True, crop_size=SIZE,
                      resample=3), "`size` and `crop_size` numbers; F16",
        functools.partial(hf_outputs, prefix=2))
    add("transformers_clip_vision_old", old_folder, hf.CLIPVisionModel,
        hf.CLIPVisionConfig(**clip_vision(num_hidden_layers=1)), with_position_ids,
        hf.CLIPImageProcessorPil,
        old_processor("CLIPFeatureExtractor", timm.data.OPENAI_CLIP_MEAN,
                      timm.data.OPENAI_CLIP_STD, resample=3, do_center_crop=True, crop_size=SIZE),
        "`vision_model.` before all names, position_ids; `size` a number: the shorter side; "
        "small embeddings: eps 1e-5 matters; F16", clip_outputs, scale=1 / 128)
    add("transformers_siglip_vision_old", old_folder, hf.SiglipVisionModel,
        hf.SiglipVisionConfig(**HF_SHALLOW), with_prefix("vision_model."),
        hf.SiglipImageProcessorPil,
        dict(do_normalize=True, do_rescale=True, do_resize=True, image_mean=[0.5] * 3,
             image_processor_type="SiglipImageProcessor", image_std=[0.5] * 3,
             processor_class="SiglipProcessor", resample=3, rescale_factor=1 / 255,
             size=dict(height=SIZE, width=SIZE)),
        "`vision_model.` before all names; F16", siglip_outputs)
    add("transformers_beit_old", old_folder, hf.BeitForImageClassification,
        beit(num_hidden_layers=1, patch_size=8), with_beit_indices, hf.BeitImageProcessorPil,
        old_processor("BeitFeatureExtractor", [0.5] * 3, [0.5] * 3, resample=2,
                      do_center_crop=False, crop_size=SIZE),
        "relative_position_index is saved; F16", hf_outputs)
    add("transformers_swin_old", old_folder, hf.SwinForImageClassification, hf_swin(),
        with_indices, hf.ViTImageProcessorPil, old_processor("ViTFeatureExtractor", resample=3),
        "relative_position_index is saved; F16", functools.partial(hf_outputs, prefix=0))

    # Checkpoints of training scripts
    add("pth_lightning", timm_pth, "vit_tiny_patch16_224",
        "`state_dict` with `model.` before all names, strides; F16", wrap=lightning_checkpoint,
        half_size=True, file="last.ckpt")
    add("pth_dino_teacher", timm_pth, "vit_tiny_patch16_224",
        "`teacher` with `backbone.` before all names, beside `student`; F16", classes=0,
        wrap=dino_checkpoint, half_size=True, file="checkpoint.pth")
    add("pth_timm_ema", timm_pth, "vit_tiny_patch16_224",
        "`state_dict_ema` beside `state_dict`; F16", wrap=timm_checkpoint, half_size=True,
        file="model_best.pth.tar")

    # SwiGLU, rotary positions
    add("transformers_dinov2_swiglu", hf_folder, hf.Dinov2Model,
        dino(hf.Dinov2Config, use_swiglu_ffn=True, num_hidden_layers=1), dino_crop(),
        "SwiGLU: mlp.weights_in holds both branches")
    add("timm_dinov2_swiglu", timm_folder, "vit_giant_patch14_dinov2",
        "SwiGLUPacked", classes=0, init_values=0.5, depth=1, mlp_ratio=3)
    add("transformers_dinov3", hf_folder, hf.DINOv3ViTModel,
        hf.DINOv3ViTConfig(**HF_SHALLOW, num_register_tokens=4),
        squash(hf.DINOv3ViTImageProcessorPil) if hasattr(hf, "DINOv3ViTImageProcessorPil")
        else squash(hf.ViTImageProcessorPil, image_mean=list(IMAGENET_MEAN),
                    image_std=list(IMAGENET_STD)), "rotary positions, registers, no key bias",
        outputs=functools.partial(hf_outputs, prefix=5), sizes=bigger)
    add("timm_dinov3", timm_folder, "vit_small_patch16_dinov3",
        "rotary positions, registers, LayerScale", classes=0, depth=1, init_values=0.5)
    add("timm_eva02", timm_folder, "eva02_tiny_patch14_224",
        "rotary and absolute positions, SwiGLU", depth=1, ref_feat_shape=(8, 8))

    # Containers
    table |= {
        "container_sharded": lambda: container(
            "shards and model.safetensors.index.json", "sharded safetensors",
            lambda model, folder: model.save_pretrained(folder, max_shard_size="20KB")),
        "container_bin": lambda: container("pytorch_model.bin", "torch zip", save_bin),
        "container_bin_legacy": lambda: container(
            "pytorch_model.bin of torch before 1.6", "torch, not zip",
            functools.partial(save_bin, _use_new_zipfile_serialization=False)),
        "container_f16": lambda: container("F16", "safetensors folder", None, torch.float16),
        "container_bf16": lambda: container("BF16", "safetensors folder", None, torch.bfloat16),
        "container_f64": lambda: container("F64", "safetensors folder", None, torch.float64),
        "container_bin_bf16": lambda: container("BF16", "torch zip", save_bin, torch.bfloat16),
    }
    return table


def distilled_outputs(model, x):
    """Both heads' mean; there is no single input of a classifier."""
    seen = {}
    hook = tower(model).register_forward_hook(
        lambda module, given, result: seen.update(tokens=result.last_hidden_state))
    logits = model(x, interpolate_pos_encoding=True).logits
    hook.remove()
    tokens = seen["tokens"]
    return {"logits": logits, "embedding_class": tokens[:, 0],
            "embedding_distillation": tokens[:, 1], "embedding_mean": patch_mean(tokens, 2)}


# Output ---------------------------------------------------------------------------------------

README = """# Models of many origins

Written by `tools/make_goldens.py`, which says how to make them again. Tests read them without
Python. Each folder holds a tiny model with random weights, saved as its library saves it, and
`expected.safetensors`. `pictures.safetensors` holds `images`, U8 [2,40,52,3], which all see.

`expected.safetensors` has, for every image size S that was run:

| tensor | is |
|---|---|
| `S.pixels` | U8 [2,S,S,3]: the pictures after the library's own resize and crop (Pillow) |
| `S.logits` | F32 [2,classes] |
| `S.embedding_class` | F32: the class token behind the last norm |
| `S.embedding_mean` | F32: the mean of the patch tokens behind the last norm |
| `S.embedding_map` | F32: attention pooling (SigLIP) |
| `S.embedding_projection` | F32: CLIP's projected class token |
| `S.embedding_pooler` | F32: transformers' pooler |
| `S.embedding_distillation` | F32: DeiT's second token |
| `S.embedding_native` | F32: what the library gives as the embedding, or its classifier's input |

Its metadata has library, class, mean, std, the preprocessing in words, and `hints`: what no file
of the case says. Where `fc_norm` stands behind the pooling, there is no last norm of the tokens.
At a size other than the file's, resize and crop keep the file's proportion, and positions are
interpolated as the library does it. Files that hold F16 or BF16 are computed with in F32. Models
in bare files have one head of width 64, as nothing in the file says how many heads there are.

| case | class | container | special | sizes |
|---|---|---|---|---|
"""


def write_readme(folder, table):
    rows = [f"| `{name}` | {case.class_name} | {case.container} | {case.special} | "
            f"{', '.join(map(str, case.sizes))} |\n" for name, case in sorted(table.items())]
    versions = ", ".join(f"{name} {version}" for name, version in LIBRARIES.items())
    (folder / "README.md").write_text(README + "".join(rows) +
                                      f"\nMade with {versions}, Pillow {PIL.__version__}.\n")


def make(folder, names):
    table = cases()
    unknown = set(names) - set(table)
    if unknown:
        raise SystemExit(f"no such case: {', '.join(sorted(unknown))}")
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for name, build in table.items():
        if names and name not in names:
            continue
        made[name] = build()
        shutil.rmtree(folder / name, ignore_errors=True)
        write_case(name, made[name], folder / name)
        print(name, flush=True)
    if not names:
        safetensors.numpy.save_file({"images": pictures()}, folder / "pictures.safetensors")
        write_readme(folder, made)


def same_file(ours, theirs):
    """Outputs may differ by rounding, from processor to processor; all else is equal."""
    if ours.name != "expected.safetensors":
        return ours.read_bytes() == theirs.read_bytes()
    a, b = (safetensors.numpy.load_file(path) for path in (ours, theirs))
    return a.keys() == b.keys() and all(
        a[key].shape == b[key].shape and a[key].dtype == b[key].dtype
        and np.allclose(a[key], b[key], rtol=1e-4, atol=1e-5 if a[key].dtype.kind == "f" else 0)
        for key in a)


def files_of(folder):
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def check():
    with tempfile.TemporaryDirectory() as temporary:
        fresh = pathlib.Path(temporary)
        make(fresh, [])
        names = files_of(fresh) | files_of(OUT)
        wrong = [str(name) for name in sorted(names)
                 if not ((fresh / name).exists() and (OUT / name).exists()
                         and same_file(OUT / name, fresh / name))]
    if wrong:
        raise SystemExit("differ: " + ", ".join(wrong))
    print(f"{len(names)} files are as they were")


def tensors_of(path):
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    return dict(flattened(torch.load(path, weights_only=False)))


def flattened(value, prefix=""):
    """Tensors by their names; those inside dictionaries have [..] before."""
    for key, inner in value.items():
        if isinstance(inner, torch.Tensor):
            yield f"{prefix}{key}", inner
        elif isinstance(inner, dict):
            yield from flattened(inner, f"{prefix}[{key}] ")
        else:
            yield f"{prefix}{key} = {str(inner)[:60]}", None


def list_tensors():
    for path in sorted(OUT.rglob("*")):
        if path.suffix in (".safetensors", ".pth", ".bin", ".ckpt", ".tar"):
            print(f"== {path.relative_to(OUT)}")
            for key, value in sorted(tensors_of(path).items()):
                about = "" if value is None else f"{value.dtype} {list(value.shape)}"
                print(f"    {key} {about.removeprefix('torch.')}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="CASE")
    parser.add_argument("--check", action="store_true", help="compare with fresh ones")
    parser.add_argument("--list", action="store_true", help="print names and shapes of all tensors")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    hf.utils.logging.disable_progress_bar()
    if arguments.list:
        list_tensors()
    elif arguments.check:
        check()
    else:
        make(OUT, arguments.names)


if __name__ == "__main__":
    main()
