/* Prints the classes of a picture with a model in flash: "classify PICTURE.rgb". The file of the
 * host has the picture's bytes, red, green and blue of each pixel, in the model's size. */
#include "bitlog2_runtime.h"
#include "board.h"
#include "model.h"

static uint8_t picture[3 * model_image_size * model_image_size];
static uint8_t arena[model_arena_size];
static int32_t logits[model_num_logits];

static int serve_watchdog(void* operations, size_t done, size_t total) {
  (void)done;
  *(size_t*)operations = total; /* a product would reset its watchdog here */
  return 0;
}

static void require(int holds, const char* message) {
  if (!holds) {
    board_print(message);
    board_print("\n");
    board_exit(1);
  }
}

static void say(const char* what, int32_t value) {
  board_print(what);
  board_print_number(value);
  board_print("\n");
}

int main(void) {
  const char* path;
  require(board_arguments(&path, 1) == 1 &&
              board_read_file(path, 0, picture, sizeof(picture)) == sizeof(picture),
          "usage: classify PICTURE.rgb, a picture of the model's size");

  bitlog2_network network;
  bitlog2_status status = bitlog2_open(&network, model, model_size);
  require(status == BITLOG2_OK, bitlog2_status_text(status));
  size_t operations = 0;
  const bitlog2_progress progress = {serve_watchdog, &operations};
  const uint64_t start = board_ticks();
  status = bitlog2_run_with_progress(&network, picture, arena, sizeof(arena), logits, &progress);
  const uint64_t ticks = board_ticks() - start;
  require(status == BITLOG2_OK, bitlog2_status_text(status));

  for (size_t i = 0; i < model_num_logits; ++i) {
    say("logit ", logits[i]);
  }
  size_t best;
  bitlog2_top_k(logits, model_num_logits, 1, &best);
  char name[40];
  bitlog2_class_name(&network, best, name, sizeof(name));
  say("class ", (int32_t)best);
  board_print("name ");
  board_print(name);
  board_print("\nkernels ");
  board_print(bitlog2_kernels(&network));
  say("\noperations ", (int32_t)operations);
  say("thousand ticks ", (int32_t)(ticks / 1000));
  say("stack ", (int32_t)board_stack_used());
  return 0;
}
