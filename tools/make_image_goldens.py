"""Makes tests/data/images/formats, and seeds of those formats in fuzz/corpus/image.

BMP, GIF, TIFF and WebP in many variants; beside them, expected/<image>.png holds what Pillow's
convert("RGB") makes of each, and damaged/ what Pillow and bitlog2 refuse. Everything is
synthetic. JPEG and PNG are made by tests/data/images/make_images.py.

Needs Pillow 13.0.0 and NumPy 2.4.6 (pip install pillow==13.0.0 numpy==2.4.6).
"""

import io
import pathlib
import struct
import warnings
import zlib

import numpy as np
import PIL
from PIL import Image

PILLOW = "13.0.0"
ROOT = pathlib.Path(__file__).resolve().parents[1]
OUT = ROOT / "tests" / "data" / "images" / "formats"
CORPUS = ROOT / "fuzz" / "corpus" / "image"

WIDTH, HEIGHT = 13, 9

rng = np.random.default_rng(7)


def noise(*shape, levels=256):
    return rng.integers(0, levels, shape, np.uint8)


def smooth(width, height, mode):
    """Colours that change slowly and reach both ends."""
    coarse = noise(height // 6 + 2, width // 6 + 2, len(mode), levels=2) * 255
    planes = [Image.fromarray(coarse[..., band]) for band in range(len(mode))]
    return Image.merge(mode, [plane.resize((width, height), Image.BICUBIC) for plane in planes])


def packed(samples, bits):
    """Rows of samples below 2^bits to rows of bytes."""
    places = np.arange(bits - 1, -1, -1)
    planes = (samples.reshape(len(samples), -1)[..., None].astype(int) >> places) & 1
    return [np.packbits(row.reshape(-1).astype(np.uint8)).tobytes() for row in planes]


# BMP ------------------------------------------------------------------------------------------


def bmp(rows, bits, width=WIDTH, height=HEIGHT, *, size=40, compression=0, palette=b"", colours=0,
        masks=(), gap=0, offset=None):
    """`rows` as stored: a list of bytes, padded here, or the bytes of run lengths."""
    if isinstance(rows, list):
        data = b"".join(row + bytes(-len(row) % 4) for row in rows)
    else:
        data = rows
    if size == 12:
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data),
                             2835, 2835, colours, 0)
        header = struct.pack("<I", size) + header[4:]
        if size > 40:
            header += b"".join(struct.pack("<I", mask) for mask in masks)
            header += bytes(size - len(header))
    after = b"" if size > 40 else b"".join(struct.pack("<I", mask) for mask in masks)
    start = 14 + len(header) + len(after) + len(palette) + gap
    place = start if offset is None else offset
    head = b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, place)
    return head + header + after + palette + bytes(gap) + data


def bgrx(colours):
    return b"".join(bytes(colour[::-1]) + b"\0" for colour in colours)


def rle8(rows):
    """Every form of a run: equal pixels, pixels as they are (odd, so padded), a skip."""
    data = b""
    for y, row in enumerate(rows):
        if y == 2:
            data += b"\0\2" + bytes([5, 0])
            row = row[5:]
        for x in range(0, len(row), 5):
            part = bytes(row[x : x + 5])
            if len(part) > 2 and x % 10 == 0:
                data += bytes([0, len(part)]) + part + bytes(len(part) % 2)
            else:
                data += b"".join(bytes([1, value]) for value in part)
        data += b"\0\0"
    return data + b"\0\1"


def rle4(rows):
    data = b""
    for row in rows:
        row = list(row)
        first, rest = row[:5], row[5:]
        halves = first + [0] * (-len(first) % 4)
        data += bytes([0, 5]) + bytes(a << 4 | b for a, b in zip(halves[::2], halves[1::2]))
        for x in range(0, len(rest), 2):
            pair = (rest[x : x + 2] + [0])[:2]
            data += bytes([len(rest[x : x + 2]), pair[0] << 4 | pair[1]])
        data += b"\0\0"
    return data + b"\0\1"


def bmps():
    colours = noise(256, 3)
    indices = {bits: noise(HEIGHT, WIDTH, levels=1 << bits) for bits in (1, 4)}
    indices[8] = noise(HEIGHT, WIDTH)
    rgb = packed(noise(HEIGHT, WIDTH, 3), 8)
    rgbx = packed(noise(HEIGHT, WIDTH, 4), 8)
    words = [row.tobytes() for row in rng.integers(0, 65536, (HEIGHT, WIDTH)).astype("<u2")]
    gray = [(i, i, i) for i in range(256)]
    images = {}
    for bits in (1, 4, 8):
        palette = bgrx(colours[: 1 << bits])
        rows = packed(indices[bits], bits)
        images[f"palette_{bits}"] = bmp(rows, bits, palette=palette)
        images[f"palette_{bits}_top_down"] = bmp(rows, bits, height=-HEIGHT, palette=palette)
        images[f"os2_palette_{bits}"] = bmp(
            rows, bits, size=12, palette=b"".join(bytes(c[::-1]) for c in colours[: 1 << bits])
        )
    few = packed(noise(HEIGHT, WIDTH, levels=11), 4)
    images |= {
        "palette_short": bmp(few, 4, palette=bgrx(colours[:7]), colours=7),
        "palette_gap": bmp(few, 4, palette=bgrx(colours[:16]), gap=6),
        "palette_no_offset": bmp(few, 4, palette=bgrx(colours[:16]), offset=0),
        "palette_offset_of_palette": bmp(few, 4, palette=bgrx(colours[:16]), offset=54),
        "bilevel": bmp(packed(indices[1], 1), 1, palette=bgrx([(0, 0, 0), (255, 255, 255)])),
        "bilevel_inverted": bmp(packed(indices[1], 1), 1,
                                palette=bgrx([(255, 255, 255), (0, 0, 0)])),
        "bilevel_in_8_bits": bmp(packed(indices[1], 8), 8, colours=2,
                                 palette=bgrx([(0, 0, 0), (255, 255, 255)])),
        "gray_8": bmp(packed(indices[8], 8), 8, palette=bgrx(gray)),
        "rgb_16": bmp(words, 16),
        "rgb_24": bmp(rgb, 24),
        "rgb_24_top_down": bmp(rgb, 24, height=-HEIGHT),
        "rgb_32": bmp(rgbx, 32),
        "os2_rgb_24": bmp(rgb, 24, size=12),
        "os2_v2_rgb_24": bmp(rgb, 24, size=64),
        "v4_rgb_24": bmp(rgb, 24, size=108),
        "fields_565": bmp(words, 16, compression=3, masks=(0xF800, 0x7E0, 0x1F)),
        "fields_555": bmp(words, 16, compression=3, masks=(0x7C00, 0x3E0, 0x1F)),
        "fields_24": bmp(rgb, 24, compression=3, masks=(0xFF0000, 0xFF00, 0xFF)),
        "fields_bgrx": bmp(rgbx, 32, compression=3, masks=(0xFF0000, 0xFF00, 0xFF)),
        "fields_v2": bmp(rgbx, 32, size=52, compression=3, masks=(0xFF0000, 0xFF00, 0xFF)),
        "rle8": bmp(rle8(indices[8]), 8, compression=1, palette=bgrx(colours)),
        "rle8_top_down": bmp(rle8(indices[8]), 8, height=-HEIGHT, compression=1,
                             palette=bgrx(colours)),
        "rle8_gray": bmp(rle8(indices[8]), 8, compression=1, palette=bgrx(gray)),
        "rle8_bilevel": bmp(rle8(indices[1]), 8, compression=1, colours=2,
                            palette=bgrx([(0, 0, 0), (255, 255, 255)])),
        "rle4": bmp(rle4(indices[4]), 4, compression=2, palette=bgrx(colours[:16])),
        "rle4_runs": bmp(b"".join(bytes([WIDTH + 3, 0x2A, 0, 0]) for _ in range(HEIGHT)), 4,
                         compression=2, palette=bgrx(colours[:16])),
        "rle8_blank_lines": bmp(b"\0\0" * 3 + rle8(indices[8]), 8, compression=1,
                                palette=bgrx(colours)),
    }
    for name, masks in {
        "xbgr": (0xFF000000, 0xFF0000, 0xFF00, 0), "bgxr": (0xFF000000, 0xFF00, 0xFF, 0),
        "abgr": (0xFF000000, 0xFF0000, 0xFF00, 0xFF), "rgba": (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
        "bgra": (0xFF0000, 0xFF00, 0xFF, 0xFF000000), "bgar": (0xFF000000, 0xFF00, 0xFF, 0xFF0000),
        "none": (0, 0, 0, 0),
    }.items():  # fmt: skip
        images[f"fields_{name}"] = bmp(rgbx, 32, size=124, compression=3, masks=masks)
    return {f"{name}.bmp": data for name, data in images.items()}


# GIF ------------------------------------------------------------------------------------------


def lzw(indices, bits):
    """GIF's LZW with the codes in blocks of 255 bytes."""
    clear = 1 << bits
    stream = count = 0

    def put(code, width):
        nonlocal stream, count
        stream |= code << count
        count += width

    table, width = {(i,): i for i in range(clear)}, bits + 1
    put(clear, width)
    prefix, following = (), clear + 2
    for index in indices:
        word = prefix + (int(index),)
        if word in table:
            prefix = word
            continue
        put(table[prefix], width)
        table[word] = following
        following += 1
        if following == (1 << width) + 1 and width < 12:
            width += 1
        if following == 4095:
            put(clear, width)
            table, width, following = {(i,): i for i in range(clear)}, bits + 1, clear + 2
        prefix = (int(index),)
    put(table[prefix], width)
    put(clear + 1, width)
    data = stream.to_bytes((count + 7) // 8, "little")
    blocks = [data[i : i + 255] for i in range(0, len(data), 255)]
    return bytes([bits]) + b"".join(bytes([len(b)]) + b for b in blocks) + b"\0"


def colour_map(colours):
    return b"" if colours is None else np.asarray(colours, np.uint8).tobytes()


def map_flags(colours):
    return 0 if colours is None else 0x80 | (len(colours).bit_length() - 2)


def gif_frame(indices, bits, left=0, top=0, *, colours=None, interlaced=False):
    height, width = indices.shape
    if interlaced:
        order = [y for first, step in ((0, 8), (4, 8), (2, 4), (1, 2))
                 for y in range(first, height, step)]  # fmt: skip
        indices = indices[order]
    flags = map_flags(colours) | (0x40 if interlaced else 0)
    return (b"," + struct.pack("<HHHHB", left, top, width, height, flags) + colour_map(colours)
            + lzw(indices.reshape(-1), bits))  # fmt: skip


def control(transparent=None, disposal=0):
    flags = disposal << 2 | (transparent is not None)
    return b"!\xf9\4" + bytes([flags, 5, 0, transparent or 0, 0])


def gif(*parts, width=WIDTH, height=HEIGHT, colours=None, background=0, version=b"89a", end=b";"):
    screen = struct.pack("<HHBBB", width, height, map_flags(colours), background, 0)
    return b"GIF" + version + screen + colour_map(colours) + b"".join(parts) + end


def gifs():
    colours, local = noise(256, 3), noise(16, 3)
    gray = [(i, i, i) for i in range(256)]
    full = noise(HEIGHT, WIDTH)
    four = noise(HEIGHT, WIDTH, levels=16)
    tall = noise(21, 5, levels=16)
    part = noise(4, 6, levels=16)
    large = noise(61, 97)
    comment = b"!\xfe\5hello\0"
    loop = b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0"
    second = control(3, 2) + gif_frame(part, 4, 1, 1)
    images = {
        "plain": gif(gif_frame(full, 8), colours=colours),
        "gif87": gif(gif_frame(full, 8), colours=colours, version=b"87a"),
        "bits_1": gif(gif_frame(four % 2, 2), colours=colours[:2]),
        "bits_4": gif(gif_frame(four, 4), colours=local),
        "large": gif(gif_frame(large, 8), colours=colours, width=97, height=61),
        "flat": gif(gif_frame(large // 200, 8), colours=colours, width=97, height=61),
        "interlaced": gif(gif_frame(tall, 4, interlaced=True), colours=local, width=5, height=21),
        "interlaced_3_rows": gif(gif_frame(tall[:3], 4, interlaced=True), colours=local, width=5,
                                 height=3),
        "transparent": gif(control(3), gif_frame(four, 4), colours=local),
        "local_map": gif(gif_frame(four, 4, colours=local), colours=colours[:16]),
        "local_map_only": gif(gif_frame(four, 4, colours=local)),
        "local_grays": gif(gif_frame(four, 4, colours=gray[:16]), colours=colours[:16]),
        "no_map": gif(gif_frame(full, 8)),
        "grays": gif(gif_frame(full, 8), colours=gray),
        "short_map": gif(gif_frame(four, 4), colours=colours[:4]),
        "part": gif(gif_frame(part, 4, 3, 2), colours=local, background=5),
        "part_transparent": gif(control(7), gif_frame(part, 4, 3, 2), colours=local, background=5),
        "part_transparent_past_map": gif(control(200), gif_frame(part, 4, 3, 2), colours=local),
        "part_interlaced": gif(gif_frame(part, 4, 3, 2, interlaced=True), colours=local),
        "part_outside": gif(gif_frame(part, 4, 10, 7), colours=local),
        "no_screen": gif(gif_frame(part, 4), colours=local, width=0, height=0),
        "animated": gif(loop, comment, control(), gif_frame(four, 4), second, colours=local),
        "animated_disposed": gif(loop, control(2, 3), gif_frame(part, 4, 2, 2), second,
                                 colours=local),
        "animated_local": gif(loop, control(2, 1), gif_frame(part, 4, 2, 2, colours=local), second,
                              colours=colours[:16]),
        "two_controls": gif(control(3), control(), gif_frame(part, 4, 2, 2), colours=local),
        "no_end": gif(gif_frame(four, 4)[:-1], colours=local, end=b""),
    }
    return {f"{name}.gif": data for name, data in images.items()}


# TIFF -----------------------------------------------------------------------------------------


def pack_bits(data):
    """Runs of two, and bytes as they are."""
    out, i = b"", 0
    while i < len(data):
        run = 1
        while run < 128 and data[i : i + 1] * (run + 1) == data[i : i + run + 1]:
            run += 1
        if run > 1:
            out, i = out + bytes([257 - run, data[i]]), i + run
        else:
            out, i = out + bytes([0, data[i]]), i + 1
    return out


PACK = {1: bytes, 8: zlib.compress, 32946: zlib.compress, 32773: pack_bits}


def tiff(chunks, tags, *, order="<", big=False, tile=None, rows_per_strip=None, width=WIDTH,
         height=HEIGHT):
    """`chunks` are the strips or tiles as stored; `tags` has numbers and tuples of SHORTs."""
    word = "Q" if big else "I"
    offset_type = 16 if big else 4
    place = 16 if big else 8
    offsets = []
    body = b""
    for chunk in chunks:
        offsets.append(place + len(body))
        body += chunk + bytes(len(chunk) % 2)
    fields = {256: (3, (width,)), 257: (3, (height,))}
    fields |= {tag: (3, value if isinstance(value, tuple) else (value,))
               for tag, value in tags.items()}  # fmt: skip
    if tile:
        fields |= {322: (3, (tile[0],)), 323: (3, (tile[1],))}
    else:
        fields |= {278: (3, (rows_per_strip or height,))}
    fields |= {324 if tile else 273: (offset_type, tuple(offsets)),
               325 if tile else 279: (offset_type, tuple(map(len, chunks)))}  # fmt: skip
    start = place + len(body)
    size = 20 if big else 12
    entries, extra = b"", b""
    extra_place = start + (8 if big else 2) + size * len(fields) + struct.calcsize(word)
    for tag, (kind, values) in sorted(fields.items()):
        data = struct.pack(order + {3: "H", 4: "I", 16: "Q"}[kind] * len(values), *values)
        if len(data) > struct.calcsize(word):
            pointer = struct.pack(order + word, extra_place + len(extra))
            extra += data + bytes(len(data) % 2)
        else:
            pointer = data.ljust(struct.calcsize(word), b"\0")
        entries += struct.pack(order + "HH" + word, tag, kind, len(values)) + pointer
    mark = b"II" if order == "<" else b"MM"
    if big:
        head = mark + struct.pack(order + "HHHQ", 43, 8, 0, start)
        count = struct.pack(order + "Q", len(fields))
    else:
        head = mark + struct.pack(order + "HI", 42, start)
        count = struct.pack(order + "H", len(fields))
    return head + body + count + entries + struct.pack(order + word, 0) + extra


def stored(samples, bits, order="<"):
    """Bytes of rows [height, width, samples]."""
    if bits in (16, 32):
        return samples.astype(f"{order}u{bits // 8}").tobytes()
    return b"".join(packed(samples, bits))


def image_tags(samples, bits, photometric, **more):
    count = samples.shape[2]
    tags = {258: (bits,) * count, 262: photometric, 277: count}
    return tags | {int(tag[1:]): value for tag, value in more.items()}


def one_strip(samples, bits, photometric, *, order="<", compression=1, big=False, **more):
    data = PACK[compression](stored(samples, bits, order))
    tags = image_tags(samples, bits, photometric, t259=compression, **more)
    height, width = samples.shape[:2]
    return tiff([data], tags, order=order, big=big, width=width, height=height)


def strips(samples, rows, compression=1, separate=False, bits=8, order="<", **more):
    planes = [samples[..., [i]] for i in range(samples.shape[2])] if separate else [samples]
    chunks = [PACK[compression](stored(plane[y : y + rows], bits, order))
              for plane in planes for y in range(0, len(plane), rows)]  # fmt: skip
    tags = image_tags(samples, bits, 2, t259=compression, t284=2 if separate else 1, **more)
    height, width = samples.shape[:2]
    return tiff(chunks, tags, rows_per_strip=rows, order=order, width=width, height=height)


def tiles(samples, compression=1, separate=False, photometric=2, bits=8, order="<"):
    side = 16
    height, width, count = samples.shape
    padded = np.zeros((-(-height // side) * side, -(-width // side) * side, count), samples.dtype)
    padded[:height, :width] = samples
    planes = [padded[..., [i]] for i in range(count)] if separate else [padded]
    chunks = [PACK[compression](stored(plane[y : y + side, x : x + side], bits, order))
              for plane in planes for y in range(0, len(plane), side)
              for x in range(0, plane.shape[1], side)]  # fmt: skip
    tags = image_tags(samples, bits, photometric, t259=compression, t284=2 if separate else 1)
    return tiff(chunks, tags, tile=(side, side), width=width, height=height, order=order)


def predicted(samples):
    return np.concatenate([samples[:, :1], np.diff(samples.astype(int), axis=1) & 255], 1)


def saved(image, **settings):
    file = io.BytesIO()
    image.save(file, "TIFF", **settings)
    return file.getvalue()


def tiffs():
    def samples(count, bits=8, low=0, high=None):
        return rng.integers(low, high or 1 << bits, (HEIGHT, WIDTH, count))

    one, two, rgb, rgba = samples(1), samples(2), samples(3), samples(4)
    five, six = samples(5), samples(6)
    wide = rng.integers(0, 256, (21, 37, 3))
    colours = tuple(int(value) for value in rng.integers(0, 65536, 3 * 256))
    photo = smooth(37, 21, "RGB")
    bilevel = Image.fromarray(noise(21, 37)).convert("1")
    images = {}
    for bits in (1, 2, 4, 8):
        values = samples(1, bits)
        images[f"gray_{bits}"] = one_strip(values, bits, 1)
        images[f"gray_{bits}_inverted"] = one_strip(values, bits, 0)
        images[f"gray_{bits}_reversed"] = one_strip(values, bits, 1, t266=2)
        images[f"gray_{bits}_big_endian"] = one_strip(values, bits, 0, order=">", compression=8)
        images[f"palette_{bits}"] = one_strip(values, bits, 3, t320=colours[: 3 << bits])
    some16 = samples(1, 16, high=400)
    signed = rng.integers(-200, 400, (HEIGHT, WIDTH, 1)) & 0xFFFF
    signed32 = rng.integers(-200, 400, (HEIGHT, WIDTH, 1)) & 0xFFFFFFFF
    images |= {
        "gray_12": one_strip(samples(1, 12, high=400), 12, 1),
        "gray_16": one_strip(some16, 16, 1),
        "gray_16_inverted": one_strip(some16, 16, 0),
        "gray_16_big_endian": one_strip(some16, 16, 1, order=">"),
        "gray_16_big_endian_deflate": one_strip(some16, 16, 1, order=">", compression=8),
        "gray_16_deflate": one_strip(some16, 16, 1, compression=8),
        "gray_16_signed": one_strip(signed, 16, 1, t339=2),
        "gray_16_signed_big_endian": one_strip(signed, 16, 1, order=">", t339=2),
        "gray_32": one_strip(signed32, 32, 1),
        "gray_32_signed": one_strip(signed32, 32, 1, t339=2),
        "gray_8_signed": one_strip(one, 8, 1, t339=2),
        "gray_alpha": one_strip(two, 8, 1, t338=2),
        "gray_extra": one_strip(two, 8, 1, t338=0),
        "palette_8_reversed": one_strip(one, 8, 3, t266=2, t320=colours),
        "palette_alpha": one_strip(two, 8, 3, t338=2, t320=colours),
        "palette_extra": one_strip(two, 8, 3, t338=0, t320=colours),
        "rgb": one_strip(rgb, 8, 2),
        "rgb_big_endian": one_strip(rgb, 8, 2, order=">"),
        "rgb_big_tiff": one_strip(rgb, 8, 2, big=True),
        "rgb_reversed": one_strip(rgb, 8, 2, t266=2),
        "rgb_deflate": one_strip(rgb, 8, 2, compression=8),
        "rgb_old_deflate": one_strip(rgb, 8, 2, compression=32946),
        "rgb_pack_bits": one_strip(rgb // 100, 8, 2, compression=32773),
        "rgb_predictor": one_strip(predicted(rgb), 8, 2, compression=8, t317=2),
        "rgb_lzw": saved(photo, compression="tiff_lzw"),
        "rgb_lzw_predictor": saved(photo, compression="tiff_lzw", tiffinfo={317: 2}),
        "rgb_16": one_strip(samples(3, 16), 16, 2),
        "rgb_16_big_endian": one_strip(samples(3, 16), 16, 2, order=">"),
        "rgb_16_big_endian_deflate": one_strip(samples(3, 16), 16, 2, order=">", compression=8),
        "rgba": one_strip(rgba, 8, 2, t338=2),
        "rgba_unmarked": one_strip(rgba, 8, 2),
        "rgbx": one_strip(rgba, 8, 2, t338=0),
        "rgba_premultiplied": one_strip(rgba, 8, 2, t338=1),
        "rgba_16": one_strip(samples(4, 16), 16, 2, t338=2),
        "rgba_16_premultiplied": one_strip(samples(4, 16), 16, 2, t338=1),
        "rgbxx": one_strip(five, 8, 2, t338=(0, 0)),
        "rgbax": one_strip(five, 8, 2, t338=(2, 0)),
        "rgba_premultiplied_x": one_strip(five, 8, 2, t338=(1, 0)),
        "rgbaxx": one_strip(six, 8, 2, t338=(2, 0, 0)),
        "cmyk": one_strip(rgba, 8, 5),
        "cmyk_lzw": saved(smooth(37, 21, "CMYK"), compression="tiff_lzw"),
        "cmyk_extra": one_strip(five, 8, 5, t338=0),
        "cmyk_16": one_strip(samples(4, 16), 16, 5),
        "ycbcr": one_strip(rgb, 8, 6, t530=(1, 1)),
        "ycbcr_deflate": one_strip(rgb, 8, 6, compression=8, t530=(1, 1)),
        "strips": strips(wide, 4),
        "strips_deflate": strips(rgb, 4, 8),
        "planes": strips(rgb, 4, separate=True),
        "planes_deflate": strips(rgb, 4, 8, separate=True),
        "planes_alpha": strips(rgba, 9, 8, separate=True, t338=2),
        "planes_premultiplied": strips(rgba, 9, 8, separate=True, t338=1),
        "planes_extra": strips(rgba, 9, 8, separate=True, t338=0),
        "planes_rgba_unmarked": strips(rgba, 9, separate=True),
        "planes_16": strips(samples(3, 16), 4, 8, separate=True, bits=16),
        "planes_16_big_endian": strips(samples(3, 16), 4, 8, separate=True, bits=16, order=">"),
        "tiles": tiles(wide),
        "tiles_deflate": tiles(wide, 8),
        "tiles_planes": tiles(wide, separate=True),
        "tiles_planes_deflate": tiles(wide, 8, separate=True),
        "tiles_gray_16": tiles(rng.integers(0, 400, (21, 37, 1)), 8, photometric=1, bits=16),
        "tiles_bilevel": tiles(rng.integers(0, 2, (21, 37, 1)), photometric=1, bits=1),
        "jpeg_gray": saved(photo.convert("L"), compression="jpeg"),
        "jpeg_rgb": saved(photo, compression="jpeg"),
        "jpeg_ycbcr": saved(photo.convert("YCbCr"), compression="jpeg"),
        "jpeg_cmyk": saved(smooth(37, 21, "CMYK"), compression="jpeg"),
        "fax_1": saved(bilevel, compression="tiff_ccitt"),
        "fax_3": saved(bilevel, compression="group3"),
        "fax_4": saved(bilevel, compression="group4"),
        "pages": saved(photo, save_all=True, append_images=[bilevel]),
        "bilevel_lzw": saved(bilevel, compression="tiff_lzw"),
    }
    for orientation in range(2, 9):
        images[f"orientation_{orientation}"] = one_strip(rgb, 8, 2, t274=orientation,
                                                         compression=8)
    return {f"{name}.tif": data for name, data in images.items()}


# WebP -----------------------------------------------------------------------------------------


def webp(image, **settings):
    file = io.BytesIO()
    image.save(file, "WEBP", **settings)
    return file.getvalue()


def webps():
    photo = smooth(37, 21, "RGB")
    clear = Image.fromarray(noise(21, 37, 4))
    blocks = Image.fromarray(noise(21, 37, 4) // 128 * 255)
    part = Image.new("RGBA", (37, 21))
    part.paste(blocks.crop((0, 0, 9, 7)), (10, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    images = {
        "lossy": webp(photo, quality=60),
        "lossy_odd": webp(photo.crop((0, 0, 17, 1)), quality=60),
        "lossy_alpha": webp(clear, quality=60),
        "lossless": webp(photo, lossless=True),
        "lossless_noise": webp(Image.fromarray(noise(21, 37, 3)), lossless=True),
        "lossless_alpha": webp(clear, lossless=True, exact=True),
        "lossless_palette": webp(blocks, lossless=True, exact=True),
        "lossless_flat": webp(Image.new("RGB", (300, 200), (10, 20, 30)), lossless=True),
        "animated": webp(photo, save_all=True, append_images=[photo.rotate(180)], duration=50),
        "animated_alpha": webp(part, save_all=True, append_images=[blocks], duration=50,
                               lossless=True, background=(9, 99, 199, 255)),
        "exif_rotated": webp(photo, quality=60, exif=exif),
    }
    return {f"{name}.webp": data for name, data in images.items()}


# ----------------------------------------------------------------------------------------------


def damaged(good):
    """Files that must be refused."""
    rgb = noise(HEIGHT, WIDTH, 3).astype(int)
    row = packed(noise(1, WIDTH, 3), 8)
    palette = bgrx(noise(256, 3))
    frame = gif_frame(noise(HEIGHT, WIDTH), 8)
    blank_webp = webp(Image.new("RGB", (16383, 16383)), lossless=True, method=0)
    tags = image_tags(rgb, 8, 2)

    return {
        "false_size.bmp": bmp(row, 24, 16000, 16000),
        "over_limit.bmp": bmp(row, 24, 1 << 20, 1 << 20),
        "no_size.bmp": bmp(row, 24, 0, 1),
        "skip_bomb.bmp": bmp(b"\0\2\xff\xff" * 60, 8, 15000, 15000, compression=1,
                             palette=palette),
        "rle_end.bmp": bmp(b"\2\1\0\1", 8, compression=1, palette=palette),
        "rle_bits.bmp": bmp(b"\2\1\0\1", 24, compression=1),
        "bits.bmp": bmp(row, 2, palette=palette),
        "masks.bmp": bmp(packed(noise(HEIGHT, WIDTH, 4), 8), 32, compression=3,
                         masks=(0x3FF, 0xFFC00, 0x3FF00000)),
        "jpeg_inside.bmp": bmp(row, 24, compression=4),
        "colours.bmp": bmp(packed(noise(HEIGHT, WIDTH), 8), 8, palette=palette * 2, colours=512),
        "rows.bmp": bmp(row, 24),
        "false_size.gif": gif(b",\0\0\0\0\x80\x3e\x80\x3e\0\2\2\x4c\1\0", width=1, height=1),
        "false_screen.gif": gif(frame, width=16000, height=16000),
        "over_limit.gif": gif(frame, width=65535, height=65535),
        "no_size.gif": gif(b",\0\0\0\0\0\0\0\0\0\2\2\x4c\1\0"),
        "no_image.gif": gif(b"!\xfe\5hello\0"),
        "short_control.gif": gif(b"!\xf9\1\1\0", frame),
        "end_code.gif": gif(gif_frame(noise(HEIGHT - 1, WIDTH), 8)
                            .replace(struct.pack("<HH", WIDTH, HEIGHT - 1),
                                     struct.pack("<HH", WIDTH, HEIGHT))),
        "block.gif": good["plain.gif"][:-30],
        "false_size.webp": blank_webp,
        "chunks.webp": good["lossy.webp"][:60],
        "kind.webp": good["lossy.webp"][:12] + b"XXXX" + good["lossy.webp"][16:],
        "vp8l.webp": good["lossless_noise.webp"][:25]
        + b"\xff" * (len(good["lossless_noise.webp"]) - 25),
        "false_size.tif": tiff([bytes(300)], tags, width=16000, height=16000),
        "over_limit.tif": tiff([bytes(300)], tags, width=65535, height=65535),
        "false_size_deflate.tif": tiff([zlib.compress(bytes(300))], tags | {259: 8},
                                       width=16000, height=16000),
        "tile_bomb.tif": tiff([zlib.compress(bytes(300))], tags | {259: 8},
                              tile=(65520, 65520)),
        "fax_bomb.tif": tiff([b"\xff" * 100], image_tags(rgb[..., :1], 1, 1) | {259: 4},
                             width=16000, height=16000),
        "short_strip.tif": tiff([zlib.compress(bytes(30))], tags | {259: 8}),
        "short_raw.tif": tiff([bytes(30)], tags),
        "no_palette.tif": one_strip(rgb[..., :1], 8, 3),
        "big_endian_big.tif": one_strip(rgb, 8, 2, big=True, order=">"),
        "palette_reversed.tif": one_strip(rgb[..., :1] % 16, 4, 3, t266=2,
                                          t320=tuple(range(48))),
        "planes_extra.tif": strips(noise(HEIGHT, WIDTH, 4), 9, separate=True, t338=0),
        "float.tif": one_strip(rgb[..., :1], 32, 1, t339=3),
        "lab.tif": one_strip(rgb, 8, 8),
        "premultiplied_gray.tif": one_strip(rgb[..., :2], 8, 1, t338=1),
        "log_luv.tif": tiff([bytes(400)], tags | {262: 32845}),
        "two_samples.tif": one_strip(rgb[..., :2], 8, 2),
        "lzma.tif": tiff([bytes(300)], tags | {259: 34925}),
        "old_jpeg.tif": tiff([bytes(300)], tags | {259: 6}),
        "planes_unmarked.tif": strips(noise(HEIGHT, WIDTH, 4), 9, 8, separate=True),
        "planes_16.tif": strips(rgb, 4, separate=True, bits=16),
        "directory.tif": b"II\x2a\0\xf0\0\0\0",
        "header.tif": b"II\x2a\0",
    }


def others():
    """Files that are no image, or none that is decoded, by what is said of them."""
    return {
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "avif": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf",
        "mp4": b"\0\0\0\x18ftypisom\0\0\2\0isomiso2",
        "jp2": b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 ",
        "jxl": b"\xff\x0a\0\0",
        "svg": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        "html": b"\n<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "xml": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        "pdf": b"%PDF-1.7\n",
        "psd": b"8BPS\0\1\0\0\0\0\0\0\0\3",
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "gzip": b"\x1f\x8b\x08\0\0\0\0\0",
        "zip": b"PK\3\4\x14\0\0\0",
        "bm_text": b"BMW is not a bitmap, though it starts like one.\n",
    }


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def convert(data):
    return Image.open(io.BytesIO(data)).convert("RGB")


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def main():
    if PIL.__version__ != PILLOW:
        raise SystemExit(f"needs Pillow {PILLOW}, found {PIL.__version__}")
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = None
    good = bmps() | gifs() | tiffs() | webps()
    bad = damaged(good)
    write(OUT, good)
    write(OUT / "expected", {f"{name}.png": png(convert(data)) for name, data in good.items()})
    write(OUT / "damaged", bad)
    write(OUT / "others", others())
    seeds = good | bad | others()
    write(CORPUS, {name: data for name, data in seeds.items() if len(data) < 1200})


if __name__ == "__main__":
    main()
