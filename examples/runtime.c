/* Prints the classes of a picture, in C: runtime QUANTIZED.safetensors PICTURE.ppm */
#include <bitlog2_runtime.h>
#include <stdio.h>
#include <stdlib.h>

static void check(int holds, const char* message) {
  if (!holds) {
    fprintf(stderr, "runtime: %s\n", message);
    exit(1);
  }
}

static void check_ok(bitlog2_status status) {
  check(!status, bitlog2_status_text(status));
}

static void* allocate(size_t size) {
  void* memory = malloc(size); /* aligned as bitlog2_open requires */
  check(memory != NULL, "out of memory");
  return memory;
}

int main(int argc, char** argv) {
  check(argc == 3, "usage: runtime QUANTIZED.safetensors PICTURE.ppm");
  FILE* file = fopen(argv[1], "rb");
  check(file != NULL && fseek(file, 0, SEEK_END) == 0, "the network cannot be opened");
  const size_t file_size = (size_t)ftell(file);
  void* content = allocate(file_size);
  rewind(file);
  check(fread(content, 1, file_size, file) == file_size, "the network cannot be read");
  bitlog2_network network;
  check_ok(bitlog2_open(&network, content, file_size));

  FILE* picture = fopen(argv[2], "rb");
  size_t width = 0, height = 0;
  check(picture != NULL && fscanf(picture, "P6 %5zu %5zu 255", &width, &height) == 2 &&
            fgetc(picture) != EOF,
        "the picture is not a binary PPM file");
  unsigned char* rgb = allocate(width * height * 3);
  check(fread(rgb, 3, width * height, picture) == width * height, "the picture is cut short");

  bitlog2_preprocessing how;
  check_ok(bitlog2_get_preprocessing(&network, &how));
  const size_t scratch_size = bitlog2_crop_memory(&how, width, height);
  unsigned char* crop = allocate((size_t)how.crop * how.crop * 3);
  check_ok(bitlog2_resize_and_crop(&how, rgb, width, height, 3 * width, allocate(scratch_size),
                                   scratch_size, crop));

  const size_t arena_size = bitlog2_arena_size(&network, 1);
  int32_t* logits = allocate(bitlog2_num_classes(&network) * sizeof(*logits));
  check_ok(bitlog2_run(&network, crop, allocate(arena_size), arena_size, logits));
  size_t classes[5];
  const size_t count = bitlog2_top_k(logits, bitlog2_num_classes(&network), 5, classes);
  for (size_t i = 0; i < count; ++i) {
    char name[80];
    bitlog2_class_name(&network, classes[i], name, sizeof(name));
    printf("  %.3f  class %zu %s\n", logits[classes[i]] / 65536.0, classes[i], name);
  }
}
