"""Makes the images in this folder and the seeds in fuzz/corpus/image.

Needs Pillow and NumPy. For each image, <image>.ppm holds the result of Pillow's convert("RGB");
resized/ holds Pillow's bicubic resizes of source.ppm. Everything is synthetic.
The files in the tree came from Pillow 9.4.0 with libjpeg-turbo 2.1.5.
"""

import io
import pathlib
import struct
import warnings
import zlib

import numpy as np
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent
CORPUS = HERE.parents[2] / "fuzz" / "corpus" / "image"
ADAM7 = [  # x and y of each pass's first pixel, and its steps
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
]
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG colour type

rng = np.random.default_rng(22)


def smooth(width, height, mode):
    """Noise that suits JPEG: colours that change slowly and reach both ends of their range."""
    bands = len(mode)
    coarse = rng.integers(0, 2, (height // 6 + 2, width // 6 + 2, bands), np.uint8) * 255
    planes = [Image.fromarray(coarse[..., band]) for band in range(bands)]
    return Image.merge(mode, [plane.resize((width, height), Image.BICUBIC) for plane in planes])


def jpeg(image, **settings):
    file = io.BytesIO()
    image.save(file, "JPEG", optimize=True, **{"quality": 80, **settings})
    return file.getvalue()


def without_segment(data, marker):
    start = data.index(marker)
    return data[:start] + data[start + 2 + struct.unpack_from(">H", data, start + 2)[0] :]


def as_ycck(data):
    """A CMYK JPEG whose Adobe marker says YCCK: a valid file with other colours."""
    transform = data.index(b"Adobe") + 11
    return data[:transform] + b"\x02" + data[transform + 1 :]


def as_adobe_rgb(data):
    """A YCbCr JPEG whose marker says RGB."""
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
    data = without_segment(data, b"\xff\xe0")
    return data[:2] + adobe + data[2:]


def with_early_end(data):
    """A JPEG with an end-of-image marker inside the scan: libjpeg warns, Pillow does not."""
    middle = (data.index(b"\xff\xda") + len(data)) // 2
    return data[:middle] + b"\xff\xd9"


def with_size(data, width, height):
    """A JPEG that claims another size."""
    frame = data.index(b"\xff\xc0")
    return data[: frame + 5] + struct.pack(">HH", height, width) + data[frame + 9 :]


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def scanlines(samples, depth):
    """Packed rows of samples; the rows use all filter types in turn."""
    step = max(1, samples.shape[2] * depth // 8)
    lines = []
    previous = None
    for index, row in enumerate(samples):
        flat = row.reshape(-1)
        if depth == 16:
            line = np.frombuffer(flat.astype(">u2").tobytes(), np.uint8)
        elif depth == 8:
            line = flat.astype(np.uint8)
        else:
            bits = (flat[:, None] >> np.arange(depth - 1, -1, -1)) & 1
            line = np.packbits(bits.astype(np.uint8).reshape(-1))
        line = line.astype(int)
        above = np.zeros_like(line) if previous is None else previous
        left = np.concatenate([np.zeros(step, int), line])[: line.size]
        corner = np.concatenate([np.zeros(step, int), above])[: line.size]
        near = np.abs([above - corner, left - corner, left + above - 2 * corner])
        nearer = np.where(near[1] <= near[2], above, corner)
        paeth = np.where((near[0] <= near[1]) & (near[0] <= near[2]), left, nearer)
        kind = index % 5
        predicted = [np.zeros_like(line), left, above, (left + above) // 2, paeth][kind]
        lines.append(bytes([kind]) + ((line - predicted) & 255).astype(np.uint8).tobytes())
        previous = line
    return b"".join(lines)


def png_header(width, height, depth, colour, interlaced=False):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)


def png(depth, colour, interlaced=False, palette=b"", transparency=b"", samples=None):
    if samples is None:
        levels = len(palette) // 3 if palette else 1 << depth
        samples = rng.integers(0, levels, (9, 13, SAMPLES[colour]))
    height, width, _ = samples.shape
    passes = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlaced else [samples]
    data = png_header(width, height, depth, colour, interlaced)
    data += chunk(b"PLTE", palette) if palette else b""
    data += chunk(b"tRNS", transparency) if transparency else b""
    rows = b"".join(scanlines(part, depth) for part in passes if part.size)
    return data + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def images():
    small = smooth(21, 17, "RGB")
    clipped = rng.integers(0, 400, (9, 13, 1))
    row = rng.integers(0, 256, (1, 7, 3))
    colours = rng.bytes(3 * 16)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    return {
        "gray.jpg": jpeg(smooth(21, 17, "L")),
        "colour_420.jpg": jpeg(small, subsampling=2),
        "colour_422.jpg": jpeg(small, subsampling=1),
        "colour_444.jpg": jpeg(small, subsampling=0),
        "progressive.jpg": jpeg(small, progressive=True),
        "gray_progressive.jpg": jpeg(smooth(21, 17, "L"), progressive=True),
        "adobe_rgb.jpg": as_adobe_rgb(jpeg(small, subsampling=0)),
        "cmyk.jpg": jpeg(smooth(21, 17, "CMYK")),
        "ycck.jpg": as_ycck(jpeg(smooth(21, 17, "CMYK"))),
        "cmyk_unmarked.jpg": without_segment(jpeg(smooth(21, 17, "CMYK")), b"\xff\xee"),
        "exif_rotated.jpg": jpeg(small, exif=exif),
        "early_end.jpg": with_early_end(jpeg(small)),
        "gray_1.png": png(1, 0),
        "gray_2.png": png(2, 0),
        "gray_4.png": png(4, 0),
        "gray_8.png": png(8, 0),
        "gray_16.png": png(16, 0, samples=clipped),
        "gray_alpha_8.png": png(8, 4),
        "gray_alpha_16.png": png(16, 4),
        "rgb_8.png": png(8, 2),
        "rgb_16.png": png(16, 2),
        "rgb_8_transparent.png": png(8, 2, transparency=bytes(6)),
        "rgba_8.png": png(8, 6),
        "rgba_16.png": png(16, 6),
        "palette_1.png": png(1, 3, palette=colours[:6]),
        "palette_2.png": png(2, 3, palette=colours[:12]),
        "palette_4.png": png(4, 3, palette=colours),
        "palette_8.png": png(8, 3, palette=colours, transparency=bytes(range(16))),
        "gray_1_interlaced.png": png(1, 0, interlaced=True),
        "gray_16_interlaced.png": png(16, 0, interlaced=True, samples=clipped),
        "rgb_8_interlaced.png": png(8, 2, interlaced=True),
        "palette_4_interlaced.png": png(4, 3, interlaced=True, palette=colours),
        "one_row_interlaced.png": png(8, 2, interlaced=True, samples=row),
        "one_pixel.png": png(8, 2, samples=np.array([[[10, 20, 30]]])),
    }


def damaged(good):
    """Files that must be refused."""
    claims = chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    photo = jpeg(Image.new("RGB", (16, 16)))
    rgb = good["rgb_8.png"]
    return {
        "empty": b"",
        "text": b"not an image\n",
        "over_limit.jpg": with_size(photo, 65500, 65500),
        "over_limit.png": png_header(1 << 20, 1 << 20, 8, 2) + claims,
        "false_size.jpg": with_size(photo, 16000, 16000),
        "false_size.png": png_header(16000, 16000, 8, 2) + claims,
        "missing_rows.png": png_header(20, 20, 8, 2) + claims,
        "bad_checksum.png": rgb[:50] + bytes([rgb[50] ^ 1]) + rgb[51:],
        "no_palette.png": png_header(2, 2, 8, 3) + claims,
        "truncated.jpg": good["colour_420.jpg"][:-20],
        "truncated_progressive.jpg": good["progressive.jpg"][:-60],
        "truncated.png": rgb[:-40],
    }


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def ppm(image):
    file = io.BytesIO()
    image.save(file, "PPM")
    return file.getvalue()


def main():
    warnings.simplefilter("ignore")  # about palettes with transparency
    good = images()
    bad = damaged(good)
    decoded = {name: Image.open(io.BytesIO(data)).convert("RGB") for name, data in good.items()}
    write(HERE, good)
    write(HERE, {f"{name}.ppm": ppm(image) for name, image in decoded.items()})
    write(HERE / "damaged", bad)
    write(CORPUS, {**good, **bad})

    source = Image.fromarray(rng.integers(0, 2, (17, 21, 3), np.uint8) * 255)
    sizes = [(21, 5), (7, 17), (8, 8), (1, 1), (30, 3), (2, 29), (40, 33)]
    resized = {f"{w}x{h}.ppm": ppm(source.resize((w, h), Image.BICUBIC)) for w, h in sizes}
    write(HERE / "resized", {"source.ppm": ppm(source), **resized})


if __name__ == "__main__":
    main()
