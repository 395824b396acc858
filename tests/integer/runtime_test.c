/* A C program that uses only the runtime's C interface.
 * `runtime_c_test FOLDER` checks the files that c_interface_test.cpp has written there:
 *
 *   network.safetensors  a quantized network
 *   crops.bin            crops of its size, [S, S, 3] each
 *   logits.bin           int32: the C++ engine's logits of each crop
 *   names.txt            class names, one per line
 *   images.bin           images: width, height, resize, crop, filter, resize mode and crop
 *                        rounding as uint32, then pixels, then the crop that the C++ library
 *                        makes of them
 *
 * Prints what is wrong and returns 1, or prints what it checked. */
#define _POSIX_C_SOURCE 200809L

#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bitlog2_runtime.h"

#if BITLOG2_RUNTIME_VERSION_MAJOR != PROJECT_MAJOR || \
    BITLOG2_RUNTIME_VERSION_MINOR != PROJECT_MINOR || \
    BITLOG2_RUNTIME_VERSION_PATCH != PROJECT_PATCH
#error "bitlog2_runtime.h has another version than the project"
#endif

enum { MOST_THREADS = 3 };

static _Noreturn void fail(const char* what) {
  fprintf(stderr, "runtime_c_test: %s\n", what);
  exit(1);
}

static void check(bool holds, const char* what) {
  if (!holds) {
    fail(what);
  }
}

static void* allocate(size_t size) {
  void* memory = malloc(size == 0 ? 1 : size);
  check(memory != NULL, "no memory");
  return memory;
}

typedef struct {
  uint8_t* bytes;
  size_t size;
} file_content;

static file_content read_file(const char* folder, const char* name) {
  char path[4096];
  snprintf(path, sizeof(path), "%s/%s", folder, name);
  FILE* file = fopen(path, "rb");
  check(file != NULL, path);
  check(fseek(file, 0, SEEK_END) == 0, path);
  const long size = ftell(file);
  check(size >= 0 && fseek(file, 0, SEEK_SET) == 0, path);
  file_content content = {allocate((size_t)size), (size_t)size};
  check(fread(content.bytes, 1, content.size, file) == content.size, path);
  fclose(file);
  return content;
}

/* --- threads --- */

typedef struct {
  const bitlog2_network* network;
  const uint8_t* rgb;
  void* arena;
  size_t arena_size;
  int32_t* logits;
  const bitlog2_thread_group* group;
  size_t rank;
  uint64_t saturations;
  bitlog2_status status;
} shared_run;

static void wait_at_barrier(void* barrier) {
  pthread_barrier_wait((pthread_barrier_t*)barrier);
}

static void* run_share(void* context) {
  shared_run* run = context;
  run->status = bitlog2_run_in_group(run->network, run->rgb, run->arena, run->arena_size,
                                     run->logits, run->group, run->rank, &run->saturations);
  return NULL;
}

static void run_with_threads(const bitlog2_network* network, const uint8_t* rgb, int32_t* logits,
                             size_t threads) {
  const size_t arena_size = bitlog2_arena_size(network, threads);
  check(arena_size > 0, "an arena of no size");
  void* arena = allocate(arena_size);
  if (threads == 1) {
    check(bitlog2_run(network, rgb, arena, arena_size, logits) == BITLOG2_OK, "run");
    free(arena);
    return;
  }
  pthread_barrier_t barrier;
  check(pthread_barrier_init(&barrier, NULL, (unsigned)threads) == 0, "barrier");
  const bitlog2_thread_group group = {threads, wait_at_barrier, &barrier};
  shared_run runs[MOST_THREADS];
  pthread_t handles[MOST_THREADS];
  for (size_t rank = 0; rank < threads; ++rank) {
    const shared_run run = {network, rgb, arena, arena_size, logits, &group, rank, 0, BITLOG2_OK};
    runs[rank] = run;
    check(pthread_create(&handles[rank], NULL, run_share, &runs[rank]) == 0, "thread");
  }
  for (size_t rank = 0; rank < threads; ++rank) {
    pthread_join(handles[rank], NULL);
    check(runs[rank].status == BITLOG2_OK, "run of a group");
    check(runs[rank].saturations == 0, "saturations in a network that fits its images");
  }
  pthread_barrier_destroy(&barrier);
  free(arena);
}

/* --- logits --- */

static size_t check_crops(const bitlog2_network* network, file_content crops,
                          file_content expected) {
  const size_t side = bitlog2_image_size(network);
  const size_t classes = bitlog2_num_classes(network);
  const size_t count = crops.size / (3 * side * side);
  check(count > 0 && crops.size == count * 3 * side * side, "crops.bin has another size");
  check(expected.size == count * classes * sizeof(int32_t), "logits.bin has another size");
  int32_t* logits = allocate(classes * sizeof(int32_t));
  for (size_t threads = 1; threads <= MOST_THREADS; ++threads) {
    for (size_t i = 0; i < count; ++i) {
      memset(logits, 0x55, classes * sizeof(int32_t));
      run_with_threads(network, crops.bytes + i * 3 * side * side, logits, threads);
      check(memcmp(logits, expected.bytes + i * classes * sizeof(int32_t),
                   classes * sizeof(int32_t)) == 0,
            "logits differ from the C++ engine's");
    }
  }
  free(logits);
  return count;
}

static void check_all_kernels(bitlog2_network* network, file_content crops, file_content expected) {
  check(strcmp(bitlog2_kernels(network), bitlog2_kernels_name(0)) == 0,
        "the fastest kernels are not the first choice");
  const size_t packed_size = bitlog2_packed_size(network);
  void* packed = allocate(packed_size);
  check(bitlog2_pack_weights(network, packed, packed_size - 1) == BITLOG2_SMALL_ARENA,
        "packing into too little memory is not refused");
  const bitlog2_network unpacked = *network;
  size_t index = 0;
  for (const char* name = bitlog2_kernels_name(0); name != NULL;
       name = bitlog2_kernels_name(++index)) {
    bitlog2_network other = unpacked;
    check(bitlog2_choose_kernels(&other, name) == BITLOG2_OK, name);
    check(strcmp(bitlog2_kernels(&other), name) == 0, "other kernels than chosen");
    check_crops(&other, crops, expected);
    check(bitlog2_pack_weights(&other, packed, packed_size) == BITLOG2_OK, "packing");
    const size_t count = check_crops(&other, crops, expected);
    printf("%s: %zu crops, packed or not, 1 to %d threads\n", name, count, MOST_THREADS);
  }
  check(index > 0 && strcmp(bitlog2_kernels_name(index - 1), "portable") == 0,
        "the last kernels are not the portable ones");
  check(bitlog2_choose_kernels(network, "mmx") == BITLOG2_NO_SUCH_KERNELS, "unknown kernels");
  check(bitlog2_choose_kernels(network, NULL) == BITLOG2_OK, "the fastest kernels");
  free(packed);
}

static void check_refusals(const bitlog2_network* network, file_content file, file_content crops) {
  bitlog2_network other;
  check(bitlog2_open(&other, file.bytes, file.size - 1) == BITLOG2_TRUNCATED, "truncated file");
  check(bitlog2_open(&other, file.bytes, 0) == BITLOG2_TRUNCATED, "empty file");
  check(bitlog2_arena_size(network, 0) == 0, "an arena for no threads");
  check(bitlog2_arena_size(network, 65537) == 0, "an arena for too many threads");
  const size_t arena_size = bitlog2_arena_size(network, 1);
  void* arena = allocate(arena_size);
  int32_t* logits = allocate(bitlog2_num_classes(network) * sizeof(int32_t));
  check(bitlog2_run(network, crops.bytes, arena, arena_size - 1, logits) == BITLOG2_SMALL_ARENA,
        "a small arena");
  bitlog2_thread_group group = {0, NULL, NULL};
  check(bitlog2_run_in_group(network, crops.bytes, arena, arena_size, logits, &group, 0, NULL) ==
            BITLOG2_WRONG_SIZE,
        "a group of none");
  group.size = 1;
  check(bitlog2_run_in_group(network, crops.bytes, arena, arena_size, logits, &group, 1, NULL) ==
            BITLOG2_WRONG_SIZE,
        "a rank beyond its group");
  free(logits);
  free(arena);
}

/* --- progress --- */

typedef struct {
  size_t calls;
  size_t total;
  size_t stop_at; /* calls after which the run is to stop; 0: never */
} operation_count;

static int count_operation(void* context, size_t done, size_t total) {
  operation_count* count = context;
  ++count->calls;
  check(done == count->calls && done <= total, "progress out of order");
  check(count->total == 0 || count->total == total, "another number of operations");
  count->total = total;
  return count->calls == count->stop_at;
}

static void check_progress(const bitlog2_network* network, file_content crops,
                           file_content expected) {
  const size_t classes = bitlog2_num_classes(network);
  const size_t arena_size = bitlog2_arena_size(network, 1);
  void* arena = allocate(arena_size);
  int32_t* logits = allocate(classes * sizeof(int32_t));
  operation_count count = {0, 0, 0};
  const bitlog2_progress progress = {count_operation, &count};
  check(bitlog2_run_with_progress(network, crops.bytes, arena, arena_size, logits, &progress) ==
            BITLOG2_OK,
        "a run with progress");
  check(count.calls == count.total && count.total > 3, "operations without progress");
  check(memcmp(logits, expected.bytes, classes * sizeof(int32_t)) == 0, "logits with progress");
  const size_t total = count.total;
  for (size_t stop_at = 1; stop_at <= total; ++stop_at) {
    count = (operation_count){0, 0, stop_at};
    check(bitlog2_run_with_progress(network, crops.bytes, arena, arena_size, logits, &progress) ==
              BITLOG2_STOPPED,
          "a run that is to stop");
    check(count.calls == stop_at, "a run goes on that is to stop");
  }
  check(strcmp(bitlog2_status_text(BITLOG2_STOPPED), "the run was stopped") == 0, "its text");
  free(logits);
  free(arena);
}

/* --- looking inside --- */

/* Checks that the probabilities of a row add up to 1, except for rounding, and that the codes
 * change some of them. */
static void check_row(const bitlog2_attention_row* row, size_t head) {
  const int32_t* exact = row->exact + head * row->tokens;
  const int32_t* quantized = row->quantized + head * row->tokens;
  int64_t sum = 0;
  size_t same = 0;
  for (size_t j = 0; j < row->tokens; ++j) {
    check(exact[j] >= 0 && exact[j] < 65536, "a probability's range");
    check(quantized[j] >= 0 && quantized[j] <= 2 * 65536, "a weight's range");
    sum += exact[j];
    same += quantized[j] == exact[j];
  }
  check(sum <= 65536 && sum >= 65536 - 2 * (int64_t)row->tokens, "the sum of probabilities");
  check(same < row->tokens, "codes that change nothing");
}

static void check_attention(const bitlog2_network* network, file_content crops,
                            file_content expected) {
  const size_t classes = bitlog2_num_classes(network);
  const size_t arena_size = bitlog2_arena_size(network, 1);
  void* arena = allocate(arena_size);
  int32_t* logits = allocate(classes * sizeof(int32_t));
  const size_t count = bitlog2_num_attentions(network);
  for (size_t i = 0; i < count; ++i) {
    bitlog2_attention_row row = {NULL, NULL, 0, 0, 0};
    check(bitlog2_run_and_look(network, crops.bytes, arena, arena_size, logits, i, &row) ==
              BITLOG2_SMALL_ARENA,
          "no room for a row");
    check(row.heads >= 1 && row.tokens > 1, "the size of a row");
    row.capacity = row.heads * row.tokens;
    row.exact = allocate(row.capacity * sizeof(int32_t));
    row.quantized = allocate(row.capacity * sizeof(int32_t));
    memset(row.exact, -1, row.capacity * sizeof(int32_t));
    memset(row.quantized, -1, row.capacity * sizeof(int32_t));
    check(bitlog2_run_and_look(network, crops.bytes, arena, arena_size, logits, i, &row) ==
              BITLOG2_OK,
          "a run that shows a row");
    check(memcmp(logits, expected.bytes, classes * sizeof(int32_t)) == 0, "logits beside a row");
    for (size_t head = 0; head < row.heads; ++head) {
      check_row(&row, head);
    }
    free(row.quantized);
    free(row.exact);
  }
  bitlog2_attention_row row = {NULL, NULL, 0, 0, 0};
  check(bitlog2_run_and_look(network, crops.bytes, arena, arena_size, logits, count, &row) ==
            BITLOG2_WRONG_SIZE,
        "an attention that is not there");
  free(logits);
  free(arena);
}

/* --- results --- */

static void check_top_k(void) {
  const int32_t logits[] = {3, -7, 9, 3, 9, 0};
  const size_t expected[] = {2, 4, 0, 3, 5, 1};
  for (size_t k = 0; k <= 8; ++k) {
    size_t classes[8] = {99, 99, 99, 99, 99, 99, 99, 99};
    const size_t count = k < 6 ? k : 6;
    check(bitlog2_top_k(logits, 6, k, classes) == count, "the number of top classes");
    check(memcmp(classes, expected, count * sizeof(size_t)) == 0, "the order of top classes");
    check(count == 8 || classes[count] == 99, "more top classes than asked for");
  }
}

static void check_names(const bitlog2_network* network, file_content names) {
  const size_t classes = bitlog2_num_classes(network);
  const char* line = (const char*)names.bytes;
  const char* end = line + names.size;
  for (size_t i = 0; i < classes && names.size > 0; ++i) {
    const char* line_end = memchr(line, '\n', (size_t)(end - line));
    check(line_end != NULL, "names.txt has too few lines");
    const size_t length = (size_t)(line_end - line);
    char name[256];
    check(bitlog2_class_name(network, i, name, sizeof(name)) == length, "the length of a name");
    check(memcmp(name, line, length) == 0 && name[length] == '\0', "a class name");
    char small[4] = {'x', 'x', 'x', 'x'};
    check(bitlog2_class_name(network, i, small, 3) == length, "the length of a cut name");
    const size_t kept = length < 2 ? length : 2;
    check(memcmp(small, line, kept) == 0 && small[kept] == '\0' && small[3] == 'x',
          "a name that is cut short");
    check(bitlog2_class_name(network, i, NULL, 0) == length, "the length of a name alone");
    line = line_end + 1;
  }
  char name[8] = "?";
  const size_t absent = names.size > 0 ? classes : 0;
  check(bitlog2_class_name(network, absent, name, sizeof(name)) == BITLOG2_NO_NAME,
        "a name that does not exist");
  check(name[0] == '\0', "the text of a name that does not exist");
}

/* --- images --- */

static uint32_t read_word(const file_content* content, size_t* at) {
  uint32_t word = 0;
  check(*at + sizeof(word) <= content->size, "images.bin ends early");
  memcpy(&word, content->bytes + *at, sizeof(word));
  *at += sizeof(word);
  return word;
}

static size_t check_images(file_content images) {
  size_t count = 0;
  for (size_t at = 0; at < images.size; ++count) {
    const size_t width = read_word(&images, &at);
    const size_t height = read_word(&images, &at);
    bitlog2_preprocessing preprocessing = {0};
    preprocessing.resize = read_word(&images, &at);
    preprocessing.crop = read_word(&images, &at);
    preprocessing.filter = read_word(&images, &at);
    preprocessing.resize_mode = read_word(&images, &at);
    preprocessing.crop_rounding = read_word(&images, &at);
    const uint8_t* rgb = images.bytes + at;
    at += width * height * 3;
    const size_t crop_size = (size_t)preprocessing.crop * preprocessing.crop * 3;
    const uint8_t* expected = images.bytes + at;
    at += crop_size;
    check(at <= images.size, "images.bin ends early");
    const size_t memory_size = bitlog2_crop_memory(&preprocessing, width, height);
    void* memory = allocate(memory_size);
    uint8_t* crop = allocate(crop_size);
    check(bitlog2_resize_and_crop(&preprocessing, rgb, width, height, 3 * width, memory,
                                  memory_size, crop) == BITLOG2_OK,
          "resizing");
    if (memcmp(crop, expected, crop_size) != 0) {
      fprintf(stderr,
              "%zu x %zu, resize %" PRIu32 ", crop %" PRIu32 ", filter %" PRIu32 ", mode %" PRIu32
              ", rounding %" PRIu32 ":\n",
              width, height, preprocessing.resize, preprocessing.crop, preprocessing.filter,
              preprocessing.resize_mode, preprocessing.crop_rounding);
      fail("a crop differs from the C++ library's");
    }
    check(bitlog2_resize_and_crop(&preprocessing, rgb, width, height, 3 * width, memory,
                                  memory_size - 1, crop) == BITLOG2_SMALL_ARENA,
          "resizing in too little memory");
    check(bitlog2_resize_and_crop(&preprocessing, rgb, width, height, 3 * width - 1, memory,
                                  memory_size, crop) == BITLOG2_WRONG_SIZE,
          "a stride below a row");
    check(bitlog2_resize_and_crop(&preprocessing, rgb, 0, height, 3 * width, memory, memory_size,
                                  crop) == BITLOG2_WRONG_SIZE &&
              bitlog2_crop_memory(&preprocessing, width, 65537) == 0,
          "an image without a side");
    free(crop);
    free(memory);
  }
  return count;
}

static void check_unknown_choices(void) {
  const uint8_t pixel[3] = {1, 2, 3};
  uint8_t crop[3];
  uint8_t memory[4096];
  bitlog2_preprocessing usual = {0};
  usual.resize = 1;
  usual.crop = 1;
  bitlog2_preprocessing others[3] = {usual, usual, usual};
  others[0].filter = BITLOG2_LANCZOS + 1;
  others[1].resize_mode = BITLOG2_SQUASH + 1;
  others[2].crop_rounding = BITLOG2_TRANSFORMERS_CROP + 1;
  check(bitlog2_resize_and_crop(&usual, pixel, 1, 1, 3, memory, sizeof(memory), crop) == BITLOG2_OK,
        "a pixel");
  for (size_t i = 0; i < 3; ++i) {
    check(bitlog2_crop_memory(&others[i], 1, 1) == 0, "memory for an unknown choice");
    check(bitlog2_resize_and_crop(&others[i], pixel, 1, 1, 3, memory, sizeof(memory), crop) ==
              BITLOG2_WRONG_SIZE,
          "an unknown choice");
  }
}

static void check_preprocessing(const bitlog2_network* network) {
  bitlog2_preprocessing preprocessing;
  check(bitlog2_get_preprocessing(network, &preprocessing) == BITLOG2_OK, "preprocessing");
  check(preprocessing.crop == bitlog2_image_size(network), "the crop is not the image");
  printf("resize %" PRIu32 " crop %" PRIu32 " mean %" PRId32 " %" PRId32 " %" PRId32 " std %" PRId32
         " %" PRId32 " %" PRId32 "\n",
         preprocessing.resize, preprocessing.crop, preprocessing.mean[0], preprocessing.mean[1],
         preprocessing.mean[2], preprocessing.std[0], preprocessing.std[1], preprocessing.std[2]);
}

int main(int argc, char** argv) {
  if (argc != 2) {
    fail("usage: runtime_c_test FOLDER");
  }
  check(bitlog2_runtime_version() == BITLOG2_RUNTIME_VERSION, "the library's version");
  const file_content file = read_file(argv[1], "network.safetensors");
  const file_content crops = read_file(argv[1], "crops.bin");
  const file_content logits = read_file(argv[1], "logits.bin");
  const file_content names = read_file(argv[1], "names.txt");
  const file_content images = read_file(argv[1], "images.bin");
  bitlog2_network network;
  const bitlog2_status status = bitlog2_open(&network, file.bytes, file.size);
  check(status == BITLOG2_OK, bitlog2_status_text(status));
  check_all_kernels(&network, crops, logits);
  check_refusals(&network, file, crops);
  check_progress(&network, crops, logits);
  check_attention(&network, crops, logits);
  check_top_k();
  check_names(&network, names);
  check_preprocessing(&network);
  check_unknown_choices();
  printf("%zu images\n", check_images(images));
  free(images.bytes);
  free(names.bytes);
  free(logits.bytes);
  free(crops.bytes);
  free(file.bytes);
  return 0;
}
