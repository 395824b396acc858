#!/usr/bin/env python3
"""Train the demo model: a small ViT on Fashion-MNIST, and pack the demo's images.

Needs Debian's packages dataset-fashion-mnist, python3-torch and
libopenblas0-pthread (or torch from PyPI, which is faster); nobody needs this script
to run the demo. On two cores that multiply bfloat16 (avx512_bf16) an epoch takes 80
to 160 seconds; elsewhere --precision float32 is slower. The model that comes with the
project has 90.81% on the 10,000 test images. It was trained in two runs:

  tools/train_demo.py --optimizer adamw --epochs 18 --batch 64 --drop-path 0.05
  tools/train_demo.py --init models/demo/fashion_vit.safetensors

It writes, into --output (models/demo):

  fashion_vit.safetensors    F16 weights with timm's names; config, preprocessing
                             and class names in the metadata
  fashion_mnist.safetensors  val.images [2048,28,28] and val.labels, the first test
                             images; train.images [32,28,28], for calibration
  images/*.png               three test images, to predict

and prints the accuracy of those F16 weights on all 10,000 test images.
"""
import argparse
import gzip
import json
import math
import pathlib
import struct
import time
import zlib

import torch
import torch.nn.functional as F
from torch import nn

CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
           "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
MEAN, STD = 0.286, 0.353
CONFIG = {
    "family": "vit", "img_size": 28, "patch_size": 4, "embed_dim": 128, "depth": 6,
    "num_heads": 4, "num_classes": 10, "layer_norm_eps": 1e-6,
    "mean": [MEAN] * 3, "std": [STD] * 3, "crop_pct": 1.0,
}


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)
        return self.proj((attention @ v).transpose(1, 2).reshape(b, n, c))


class Mlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, dim, heads, drop_path):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim, eps=1e-6), Attention(dim, heads)
        self.norm2, self.mlp = nn.LayerNorm(dim, eps=1e-6), Mlp(dim, 4 * dim)
        self.drop_path = drop_path

    def residual(self, x, branch):
        if not self.training or self.drop_path == 0:
            return x + branch
        keep = (torch.rand(x.shape[0], 1, 1) >= self.drop_path).to(x.dtype) / (1 - self.drop_path)
        return x + branch * keep

    def forward(self, x):
        x = self.residual(x, self.attn(self.norm1(x)))
        return self.residual(x, self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    def __init__(self, dim, patch):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """timm's VisionTransformer in as few lines as its parameter names allow."""

    def __init__(self, config, drop_path):
        super().__init__()
        dim, depth = config["embed_dim"], config["depth"]
        tokens = (config["img_size"] // config["patch_size"]) ** 2 + 1
        self.patch_embed = PatchEmbed(dim, config["patch_size"])
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, dim))
        self.blocks = nn.ModuleList(
            Block(dim, config["num_heads"], drop_path * i / (depth - 1)) for i in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, config["num_classes"])
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, x):
        x = self.patch_embed(x)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix-valued step is made orthogonal (Jordan et al. 2024), scaled to the
    size of AdamW's steps (Liu et al. 2025) so that both take the same learning rate."""

    def __init__(self, parameters, lr, weight_decay, momentum=0.95):
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @staticmethod
    def orthogonalised(matrix):
        """Five Newton-Schulz iterations towards U V^T of matrix = U S V^T."""
        x = matrix.bfloat16()
        x = x / (x.norm() + 1e-7)
        tall = x.shape[0] > x.shape[1]
        x = x.T if tall else x
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        return (x.T if tall else x).float()

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                momentum = self.state[parameter].setdefault(
                    "momentum", torch.zeros_like(parameter))
                momentum.lerp_(parameter.grad, 1 - group["momentum"])
                update = self.orthogonalised(parameter.grad.lerp(momentum, group["momentum"]))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-0.2 * group["lr"] * max(parameter.shape) ** 0.5)


def read_idx(path):
    """An IDX file (Fashion-MNIST's format) as a uint8 tensor."""
    with gzip.open(path, "rb") as file:
        data = file.read()
    rank = data[3]
    shape = struct.unpack(f">{rank}I", data[4:4 + 4 * rank])
    return torch.frombuffer(bytearray(data[4 + 4 * rank:]), dtype=torch.uint8).reshape(shape)


def normalise(images):
    """uint8 [N,28,28] to float32 [N,3,28,28]."""
    return ((images.float() / 255 - MEAN) / STD).unsqueeze(1).expand(-1, 3, -1, -1)


def augment(images, generator):
    """Horizontal flip and a shift of up to one pixel, per image."""
    n = images.shape[0]
    flip = torch.rand(n, generator=generator) < 0.5
    images = torch.where(flip[:, None, None], images.flip(-1), images)
    padded = F.pad(images, (1, 1, 1, 1))
    dy, dx = torch.randint(0, 3, (2, n), generator=generator)
    rows = (dy[:, None] + torch.arange(28))[:, :, None]
    columns = (dx[:, None] + torch.arange(28))[:, None, :]
    return padded[torch.arange(n)[:, None, None], rows, columns]


@torch.no_grad()
def accuracy(model, images, labels):
    model.eval()
    correct = sum((model(normalise(x)).argmax(1) == y).sum().item()
                  for x, y in zip(images.split(500), labels.split(500)))
    model.train()
    return 100 * correct / len(labels)


def write_safetensors(path, tensors, metadata):
    names = {torch.float16: "F16", torch.uint8: "U8"}
    header, blobs, offset = {"__metadata__": metadata}, [], 0
    for name, tensor in sorted(tensors.items()):
        blob = tensor.contiguous().numpy().tobytes()
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def read_safetensors(path):
    """What write_safetensors wrote, as float32."""
    blob = path.read_bytes()
    size = struct.unpack("<Q", blob[:8])[0]
    header = json.loads(blob[8:8 + size])
    return {name: torch.frombuffer(bytearray(blob[8 + size + entry["data_offsets"][0]:
                                                  8 + size + entry["data_offsets"][1]]),
                                   dtype=torch.float16).float().reshape(entry["shape"])
            for name, entry in header.items() if name != "__metadata__"}


def write_png(path, image):
    """A uint8 [H,W] image as an 8-bit grey PNG."""
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    height, width = image.shape
    rows = b"".join(b"\0" + bytes(row.tolist()) for row in image)
    path.write_bytes(b"\x89PNG\r\n\x1a\n"
                     + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
                     + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path,
                        default=pathlib.Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("models/demo"))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--optimizer", choices=["muon", "adamw"], default="muon",
                        help="of the blocks' matrices; everything else has AdamW")
    parser.add_argument("--drop-path", type=float, default=0.0)
    parser.add_argument("--precision", choices=["bfloat16", "float32"], default="bfloat16",
                        help="of the matrix products while training; weights stay float32")
    parser.add_argument("--init", type=pathlib.Path, help="start from these weights")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, default=None, help="train on the first images only")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    train_x = read_idx(args.data / "train-images-idx3-ubyte.gz")[:args.limit]
    train_y = read_idx(args.data / "train-labels-idx1-ubyte.gz").long()[:args.limit]
    test_x = read_idx(args.data / "t10k-images-idx3-ubyte.gz")
    test_y = read_idx(args.data / "t10k-labels-idx1-ubyte.gz").long()

    model = VisionTransformer(CONFIG, drop_path=args.drop_path)
    if args.init:
        model.load_state_dict(read_safetensors(args.init))
    matrices = [p for p in model.blocks.parameters() if p.dim() == 2]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    matrix_optimizer = Muon if args.optimizer == "muon" else torch.optim.AdamW
    optimizers = [matrix_optimizer(matrices, args.lr, weight_decay=0.05),
                  torch.optim.AdamW(rest, args.lr, weight_decay=0.0)]
    steps_per_epoch = len(train_x) // args.batch
    total = args.epochs * steps_per_epoch
    warmup = min(steps_per_epoch, total // 10 + 1)
    step, start = 0, time.time()
    for epoch in range(args.epochs):
        order = torch.randperm(len(train_x), generator=generator)
        running = 0.0
        for batch in order[:steps_per_epoch * args.batch].split(args.batch):
            scale = (step + 1) / warmup if step < warmup else (
                0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))))
            for group in (group for each in optimizers for group in each.param_groups):
                group["lr"] = args.lr * scale
            with torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bfloat16"):
                images = augment(train_x[batch], generator)
                logits = model(normalise(images))
            loss = F.cross_entropy(logits.float(), train_y[batch], label_smoothing=0.05)
            model.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
            running += loss.item()
            step += 1
        print(f"epoch {epoch + 1:2d}  loss {running / steps_per_epoch:.4f}  "
              f"first 2,000 test images {accuracy(model, test_x[:2000], test_y[:2000]):.2f}%  "
              f"{time.time() - start:.0f} s", flush=True)

    for parameter in model.parameters():
        parameter.data = parameter.data.half().float()
    print(f"F16 weights, 10,000 test images: {accuracy(model, test_x, test_y):.2f}%")
    args.output.mkdir(parents=True, exist_ok=True)
    write_safetensors(args.output / "fashion_vit.safetensors",
                      {name: tensor.half() for name, tensor in model.state_dict().items()},
                      {"format": "pt", "config": json.dumps(CONFIG),
                       "class_names": json.dumps(CLASSES)})
    write_safetensors(args.output / "fashion_mnist.safetensors",
                      {"val.images": test_x[:2048], "val.labels": test_y[:2048].to(torch.uint8),
                       "train.images": train_x[:32], "train.labels": train_y[:32].to(torch.uint8)},
                      {"source": "Fashion-MNIST, (c) 2017 Zalando SE, MIT licence",
                       "class_names": json.dumps(CLASSES)})
    (args.output / "images").mkdir(exist_ok=True)
    for index, name in ((0, "ankle_boot"), (1, "pullover"), (2, "trouser")):
        write_png(args.output / "images" / f"{name}.png", test_x[index])


if __name__ == "__main__":
    main()
