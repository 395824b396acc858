# Prints the classes of a picture, in Python with the C library:
#   python3 runtime.py libbitlog2_runtime.so QUANTIZED.safetensors PICTURE.ppm
import ctypes, re, sys

library, size = ctypes.CDLL(sys.argv[1]), ctypes.c_size_t
for name in ("num_classes", "arena_size", "crop_memory", "top_k"):
    getattr(library, "bitlog2_" + name).restype = size
library.bitlog2_status_text.restype = ctypes.c_char_p

def check(status):
    if status:
        sys.exit("runtime.py: " + library.bitlog2_status_text(status).decode())

content, picture = open(sys.argv[2], "rb").read(), open(sys.argv[3], "rb").read()
file = (ctypes.c_uint64 * (len(content) // 8 + 1))()  # aligned as bitlog2_open requires
ctypes.memmove(file, content, len(content))
network = (ctypes.c_uint64 * 32)()  # a bitlog2_network
check(library.bitlog2_open(network, file, size(len(content))))
head, width, height = re.match(rb"(P6\s(\d+)\s(\d+)\s255\s)", picture).groups()
shape = size(int(width)), size(int(height))
how = (ctypes.c_uint32 * 11)()  # a bitlog2_preprocessing: resize, crop, ...
check(library.bitlog2_get_preprocessing(network, how))
memory = ctypes.create_string_buffer(library.bitlog2_crop_memory(how, *shape))
crop = ctypes.create_string_buffer(3 * how[1] ** 2)
check(library.bitlog2_resize_and_crop(
    how, picture[len(head):], *shape, size(3 * int(width)), memory, size(len(memory)), crop))
arena = ctypes.create_string_buffer(library.bitlog2_arena_size(network, size(1)))
logits = (ctypes.c_int32 * library.bitlog2_num_classes(network))()
check(library.bitlog2_run(network, crop, arena, size(len(arena)), logits))
classes, name = (size * 5)(), ctypes.create_string_buffer(80)
for best in classes[:library.bitlog2_top_k(logits, size(len(logits)), size(5), classes)]:
    library.bitlog2_class_name(network, size(best), name, size(80))
    print(f"  {logits[best] / 65536:.3f}  class {best} {name.value.decode()}")
