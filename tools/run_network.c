/* For scripts/test_kernels: the logits of a network by kernels of other machines, one a line.
 *
 *   run_network NETWORK CROPS KERNELS
 *
 * CROPS has crops of the network's size, [S, S, 3] bytes each. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bitlog2_runtime.h"

static void check(int holds, const char* message) {
  if (!holds) {
    fprintf(stderr, "run_network: %s\n", message);
    exit(1);
  }
}

static void* allocate(size_t size) {
  void* memory = malloc(size);
  check(memory != NULL, "out of memory");
  return memory;
}

/* A whole file; its size goes to `size`. */
static void* read_file(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  check(file != NULL && fseek(file, 0, SEEK_END) == 0, path);
  *size = (size_t)ftell(file);
  void* content = allocate(*size);
  rewind(file);
  check(fread(content, 1, *size, file) == *size, path);
  fclose(file);
  return content;
}

int main(int argc, char** argv) {
  check(argc == 4, "usage: run_network NETWORK CROPS KERNELS");
  size_t file_size;
  size_t crops_size;
  const void* file = read_file(argv[1], &file_size);
  const uint8_t* crops = read_file(argv[2], &crops_size);
  bitlog2_network network;
  bitlog2_status status = bitlog2_open(&network, file, file_size);
  check(!status, bitlog2_status_text(status));
  status = bitlog2_choose_kernels(&network, argv[3]);
  check(!status, bitlog2_status_text(status));
  const size_t side = bitlog2_image_size(&network);
  const size_t classes = bitlog2_num_classes(&network);
  const size_t arena_size = bitlog2_arena_size(&network, 1);
  void* arena = allocate(arena_size);
  int32_t* logits = allocate(classes * sizeof(*logits));
  for (size_t at = 0; at < crops_size; at += 3 * side * side) {
    status = bitlog2_run(&network, crops + at, arena, arena_size, logits);
    check(!status, bitlog2_status_text(status));
    for (size_t i = 0; i < classes; ++i) {
      printf("%" PRId32 "\n", logits[i]);
    }
  }
  return 0;
}
