/* The integer runtime for C and everything that calls C: opens a quantized network that lies
 * in memory (mapped, or in flash), says how much working memory it needs, and runs it. No heap,
 * no floating point, no library. Everything is reentrant: one network may run in several
 * threads, each with an arena of its own. */
/* NOLINTBEGIN(modernize-deprecated-headers,modernize-use-using,readability-identifier-naming) */
#ifndef BITLOG2_RUNTIME_H
#define BITLOG2_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An opened network. Its contents are the runtime's. */
typedef struct bitlog2_network {
  uint64_t storage[16];
} bitlog2_network;

/* Every function that can fail returns one of these; 0 is success. */
typedef enum bitlog2_status {
  BITLOG2_OK = 0,
  BITLOG2_TRUNCATED,
  BITLOG2_MISALIGNED,
  BITLOG2_NOT_A_NETWORK,
  BITLOG2_WRONG_VERSION,
  BITLOG2_DAMAGED,
  BITLOG2_BAD_PROGRAM,
  BITLOG2_BAD_NUMBER,
  BITLOG2_TOO_LARGE,
  BITLOG2_SMALL_ARENA,
  BITLOG2_WRONG_SIZE
} bitlog2_status;

/* Checks the file at `file`, a multiple of 4, and opens it in place: it must stay there as long
 * as `network` is used. */
bitlog2_status bitlog2_open(bitlog2_network* network, const void* file, size_t file_size);

/* Bytes of working memory that bitlog2_run needs. */
size_t bitlog2_arena_size(const bitlog2_network* network);

/* Side of the input image in pixels, and number of logits. */
size_t bitlog2_image_size(const bitlog2_network* network);
size_t bitlog2_num_classes(const bitlog2_network* network);

/* Runs one image: `rgb` is [side, side, 3]. `logits` gets bitlog2_num_classes values, each
 * 2^16 times the logit; the largest is the prediction. */
bitlog2_status bitlog2_run(const bitlog2_network* network, const uint8_t* rgb, void* arena,
                           size_t arena_size, int32_t* logits);

/* The same, and adds to `saturations` how many values of the residual stream and of the logits
 * were cut off at the ends of 32 bits: 0 for a network that fits its images. */
bitlog2_status bitlog2_run_counting(const bitlog2_network* network, const uint8_t* rgb, void* arena,
                                    size_t arena_size, int32_t* logits, uint64_t* saturations);

/* What a status means, in words. */
const char* bitlog2_status_text(bitlog2_status status);

#ifdef __cplusplus
}
#endif

#endif
/* NOLINTEND(modernize-deprecated-headers,modernize-use-using,readability-identifier-naming) */
