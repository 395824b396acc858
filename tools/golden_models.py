"""Cases of each library: how it makes, saves and runs a model, and how older files had it."""

import argparse
import copy
import functools
import json
import pathlib
import tempfile

import safetensors.torch
import timm
import torch
import torch.nn.functional as F
import torchvision
import transformers as hf
from torch import nn

from golden_cases import (IMAGENET_MEAN, IMAGENET_STD, SIZE, Case, hf_preprocessing,
                          imagenet_default, randomize, timm_preprocessing,
                          torchvision_preprocessing)

# timm -----------------------------------------------------------------------------------------


def patch_mean(tokens, prefix):
    return tokens[:, prefix:].mean(1)


def timm_outputs(model, x):
    """Logits, and embeddings from the tokens behind the last norm."""
    tokens = model.forward_features(x)
    outputs = {"embedding_native": model.forward_head(tokens, pre_logits=True)}
    if model.num_classes > 0:
        outputs["logits"] = model.forward_head(tokens)
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


def hf_classifier_outputs(model, x):
    """Of a classifier without a class token, whose own pooling is not used."""
    result, encoder, native = hf_forward(model, x)
    return {"logits": result.logits, "embedding_mean": encoder.last_hidden_state.mean(1),
            "embedding_native": native}


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
    return processor_class(size={"shortest_edge": resize},
                           crop_size={"height": size, "width": size}, **settings)


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
