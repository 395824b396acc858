/* For tests: "run_file NETWORK PICTURES [KERNELS]" reads a quantized file of the host into memory
 * and runs it on all pictures of another file, with the named kernels or with the fastest. Before,
 * it resizes the first picture with every filter. */
#include "bitlog2_runtime.h"
#include "board.h"

static void require(int holds, const char* message) {
  if (!holds) {
    board_print(message);
    board_print("\n");
    board_exit(1);
  }
}

static void require_ok(bitlog2_status status) {
  require(status == BITLOG2_OK, bitlog2_status_text(status));
}

static void say(const char* what, int32_t value) {
  board_print(what);
  board_print_number(value);
  board_print("\n");
}

/* Takes a part of the memory; its size is rounded up to a multiple of 8. */
static uint8_t* take(uint8_t** memory, size_t* left, size_t size) {
  const size_t whole = (size + 7) & ~(size_t)7;
  require(whole >= size && whole <= *left, "the board has too little memory");
  uint8_t* taken = *memory;
  *memory += whole;
  *left -= whole;
  return taken;
}

/* Resizes a picture to a smaller one with every filter, and prints a sum of all bytes. */
static void resize(const uint8_t* picture, size_t side, uint8_t* memory, size_t left) {
  uint32_t sum = 0;
  const uint32_t crop_side = (uint32_t)(side / 2 > 0 ? side / 2 : 1);
  uint8_t* crop = take(&memory, &left, (size_t)3 * crop_side * crop_side);
  for (uint32_t filter = BITLOG2_BICUBIC; filter <= BITLOG2_LANCZOS; ++filter) {
    const bitlog2_preprocessing how = {
        crop_side + 1, crop_side, filter, BITLOG2_SHORTER_SIDE, BITLOG2_TORCHVISION_CROP, {0}, {0}};
    require_ok(bitlog2_resize_and_crop(&how, picture, side, side, 3 * side, memory, left, crop));
    for (size_t i = 0; i < (size_t)3 * crop_side * crop_side; ++i) {
      sum = 31 * sum + crop[i];
    }
  }
  say("resized ", (int32_t)(sum >> 1));
  say("resize_stack ", (int32_t)board_stack_used());
}

int main(void) {
  const char* words[3];
  const size_t count = board_arguments(words, 3);
  require(count >= 2, "usage: run_file NETWORK PICTURES [KERNELS]");
  size_t left;
  uint8_t* memory = board_free_memory(&left);
  const size_t file_size = board_read_file(words[0], 0, memory, left);
  require(file_size > 0 && file_size < left, "the network cannot be read");
  const uint8_t* file = take(&memory, &left, file_size);

  bitlog2_network network;
  require_ok(bitlog2_open(&network, file, file_size));
  require_ok(bitlog2_choose_kernels(&network, count > 2 ? words[2] : NULL));
  const size_t side = bitlog2_image_size(&network);
  const size_t classes = bitlog2_num_classes(&network);
  const size_t arena_size = bitlog2_arena_size(&network, 1);
  const size_t picture_size = 3 * side * side;
  uint8_t* picture = take(&memory, &left, picture_size);
  uint8_t* arena = take(&memory, &left, arena_size);
  int32_t* logits = (int32_t*)(void*)take(&memory, &left, classes * sizeof(int32_t));
  require(board_read_file(words[1], 0, picture, picture_size) == picture_size,
          "the pictures cannot be read");
  resize(picture, side, memory, left);
  uint64_t ticks = 0;
  size_t pictures = 0;
  while (board_read_file(words[1], pictures * picture_size, picture, picture_size) ==
         picture_size) {
    const uint64_t start = board_ticks();
    require_ok(bitlog2_run(&network, picture, arena, arena_size, logits));
    ticks += board_ticks() - start;
    for (size_t i = 0; i < classes; ++i) {
      say("logit ", logits[i]);
    }
    ++pictures;
  }
  board_print("kernels ");
  board_print(bitlog2_kernels(&network));
  say("\narena ", (int32_t)arena_size);
  say("stack ", (int32_t)board_stack_used());
  say("thousand ticks of one ", (int32_t)(ticks / pictures / 1000));
  return 0;
}
