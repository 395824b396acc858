/* The integer runtime for C and for everything that calls C. It opens a quantized network that
 * lies in memory (mapped, or in flash) and runs it. It needs no heap, no floating point, and no
 * library but the functions that a C compiler itself may call (memcpy, memset): the caller gives
 * all memory.
 *
 *   bitlog2_network network;
 *   if (bitlog2_open(&network, file, file_size) != BITLOG2_OK) ...
 *   size_t arena_size = bitlog2_arena_size(&network, 1);
 *   ... arena of that size, logits of bitlog2_num_classes(&network) values ...
 *   bitlog2_run(&network, rgb, arena, arena_size, logits);
 *
 * A network is only read while it runs: it may run in several threads at the same time, each
 * with an arena of its own. All kernels and any number of threads give the same logits, to the
 * bit. Pointers must not be NULL unless a function says so.
 *
 * Files come from outside: bitlog2_open checks everything that running relies on, and nothing
 * in a file can make these functions read or write outside the memory that they are given. */
/* NOLINTBEGIN(modernize-deprecated-headers,modernize-use-using,readability-identifier-naming) */
/* NOLINTBEGIN(cppcoreguidelines-macro-usage): C has nothing better */
#ifndef BITLOG2_RUNTIME_H
#define BITLOG2_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default) /* what a shared library exports */
#endif

/* The version of this header. */
#define BITLOG2_RUNTIME_VERSION_MAJOR 0
#define BITLOG2_RUNTIME_VERSION_MINOR 1
#define BITLOG2_RUNTIME_VERSION_PATCH 0
#define BITLOG2_RUNTIME_VERSION                                                     \
  (BITLOG2_RUNTIME_VERSION_MAJOR * 1000000 + BITLOG2_RUNTIME_VERSION_MINOR * 1000 + \
   BITLOG2_RUNTIME_VERSION_PATCH)

/* The version of the library that is linked, as BITLOG2_RUNTIME_VERSION counts. */
uint32_t bitlog2_runtime_version(void);

/* What a function that can fail returns; 0 is success. */
typedef enum bitlog2_status {
  BITLOG2_OK = 0,
  BITLOG2_TRUNCATED,       /* the file is shorter or longer than its header says */
  BITLOG2_MISALIGNED,      /* the file's address is not a multiple of 4 */
  BITLOG2_NOT_A_NETWORK,   /* another kind of file */
  BITLOG2_WRONG_VERSION,   /* a quantized network of another format version */
  BITLOG2_DAMAGED,         /* the checksum differs */
  BITLOG2_BAD_PROGRAM,     /* operations contradict each other or the file's size */
  BITLOG2_BAD_NUMBER,      /* a multiplier, shift, table or zero point is out of range */
  BITLOG2_TOO_LARGE,       /* sizes above the runtime's limits */
  BITLOG2_SMALL_ARENA,     /* less memory than the function needs */
  BITLOG2_WRONG_SIZE,      /* an image, a group or a rank of the wrong size */
  BITLOG2_NO_SUCH_KERNELS, /* no kernels of that name in this build, on this machine */
  BITLOG2_BAD_METADATA,    /* the metadata lacks it, or has it in a form that cannot be read */
  BITLOG2_STOPPED          /* the caller's progress function stopped the run */
} bitlog2_status;

/* What a status means, in words; never NULL. */
const char* bitlog2_status_text(bitlog2_status status);

/* --- opening ----------------------------------------------------------------------------- */

/* An opened network. Its content is private to the runtime. It refers to the file, and to the
 * packed weights if there are any, and owns neither. It may be copied. */
typedef struct bitlog2_network {
  uint64_t storage[32];
} bitlog2_network;

/* Checks the file of `file_size` bytes at `file`, an address that is a multiple of 4, and opens
 * it in place. The file must stay there, unchanged, as long as `network` is used. The network
 * starts with the fastest kernels of this build that the machine can run, and without packed
 * weights. On failure `network` may not be used, except to be opened again. */
bitlog2_status bitlog2_open(bitlog2_network* network, const void* file, size_t file_size);

/* Side of the square input image, in pixels: 1 to 16384. */
size_t bitlog2_image_size(const bitlog2_network* network);

/* Number of classes, which is the number of logits: 1 to 524288. Of an encoder, which has no
 * classes, it is the width of the embedding; "logits" below then means the embedding. */
size_t bitlog2_num_classes(const bitlog2_network* network);

/* --- speed ------------------------------------------------------------------------------- */

/* The names of the kernels that this build has and this machine can run: the fastest at index
 * 0, "portable" the last; NULL for a larger index. A freestanding build (microcontroller,
 * WebAssembly) has the kernels of the processor that it is compiled for, if there are any, and
 * "portable". */
const char* bitlog2_kernels_name(size_t index);

/* Chooses kernels by name; the fastest if `name` is NULL. Packed weights stay valid. Returns
 * BITLOG2_NO_SUCH_KERNELS, and changes nothing, if there are none of that name. */
bitlog2_status bitlog2_choose_kernels(bitlog2_network* network, const char* name);

/* The name of the network's kernels. */
const char* bitlog2_kernels(const bitlog2_network* network);

/* Bytes that bitlog2_pack_weights needs, at any address: for a usual network about two to four
 * times the file's size. A hostile file may ask for far more; set a limit before allocating. */
size_t bitlog2_packed_size(const bitlog2_network* network);

/* Writes all weights to `memory`, of `memory_size` bytes, in the order in which kernels read
 * them, and makes the network use them. A run is then faster; without it, every run does this
 * work again in its arena. The memory must stay, unchanged, as long as `network` is used.
 * Returns BITLOG2_SMALL_ARENA, and changes nothing, if the memory is too small. */
bitlog2_status bitlog2_pack_weights(bitlog2_network* network, void* memory, size_t memory_size);

/* --- running ----------------------------------------------------------------------------- */

/* Bytes of working memory for one image that `threads` threads run together (1 or more), at
 * any address. 0 if `threads` is 0 or more than 65536. */
size_t bitlog2_arena_size(const bitlog2_network* network, size_t threads);

/* Runs one image on the calling thread. Returns BITLOG2_OK, or BITLOG2_SMALL_ARENA.
 *   rgb     [side, side, 3], 8 bits each, rows from the top; side is bitlog2_image_size
 *   arena   working memory of `arena_size` bytes, at least bitlog2_arena_size(network, 1)
 *   logits  gets bitlog2_num_classes values, each 2^16 times the logit */
bitlog2_status bitlog2_run(const bitlog2_network* network, const uint8_t* rgb, void* arena,
                           size_t arena_size, int32_t* logits);

/* A function that is called after each operation, of which a network has a few dozen: to serve a
 * watchdog, or to stop the run. `done` operations of `total` have run, 1 to total. A result other
 * than 0 stops the run. */
typedef struct bitlog2_progress {
  int (*after_operation)(void* context, size_t done, size_t total);
  void* context;
} bitlog2_progress;

/* Like bitlog2_run, and calls `progress` after every operation. Returns BITLOG2_STOPPED as soon as
 * `progress` stops the run; the logits are then undefined, and the network may be run again. */
bitlog2_status bitlog2_run_with_progress(const bitlog2_network* network, const uint8_t* rgb,
                                         void* arena, size_t arena_size, int32_t* logits,
                                         const bitlog2_progress* progress);

/* Threads that run one image together. The caller brings the threads and their barrier. */
typedef struct bitlog2_thread_group {
  size_t size;                 /* threads, 1 to 65536 */
  void (*wait)(void* context); /* a barrier: returns when all threads of the group have called it
                                  equally often; may be NULL in a group of one */
  void* context;
} bitlog2_thread_group;

/* Runs one thread's share of an image. Every thread of the group calls this at the same time
 * with the same network, rgb, arena and logits, and a rank of its own, from 0 to size - 1; the
 * logits are complete when all have returned. The arena has bitlog2_arena_size(network, size)
 * bytes. Adds to `saturations`, each thread's own or NULL, how many values of the residual
 * stream and of the logits were cut off at the ends of 32 bits: 0 for a network that fits its
 * images. Returns BITLOG2_WRONG_SIZE for a size or rank out of range. If all ranks are in range, an
 * error is returned on every thread, before any of them waits. */
bitlog2_status bitlog2_run_in_group(const bitlog2_network* network, const uint8_t* rgb, void* arena,
                                    size_t arena_size, int32_t* logits,
                                    const bitlog2_thread_group* group, size_t rank,
                                    uint64_t* saturations);

/* --- looking inside ---------------------------------------------------------------------- */

/* The number of attention operations in which all tokens attend to each other: one for each block
 * of a ViT. 0 for Swin, whose tokens attend within windows. */
size_t bitlog2_num_attentions(const bitlog2_network* network);

/* The first token's row of an attention map, for every head: how much the class token, where there
 * is one, attends to every token. The patches are the last tokens. Values are in units of 2^-16. */
typedef struct bitlog2_attention_row {
  int32_t* exact; /* gets [heads, tokens]: softmax's probabilities */
  int32_t*
      quantized; /* gets [heads, tokens]: what their codes stand for; of Sqrt2, divided by delta */
  size_t capacity; /* how many values each of them holds */
  size_t heads;    /* is set */
  size_t tokens;   /* is set */
} bitlog2_attention_row;

/* Like bitlog2_run, and writes the row of the attention map at `index`, from 0 to
 * bitlog2_num_attentions - 1. Always sets heads and tokens: a first call with capacity 0 returns
 * BITLOG2_SMALL_ARENA, runs nothing, and tells the sizes. Returns BITLOG2_WRONG_SIZE if there is no
 * such attention map. */
bitlog2_status bitlog2_run_and_look(const bitlog2_network* network, const uint8_t* rgb, void* arena,
                                    size_t arena_size, int32_t* logits, size_t index,
                                    bitlog2_attention_row* row);

/* --- results ----------------------------------------------------------------------------- */

/* The `k` largest of `count` logits: writes their indices to `classes`, the largest first, of
 * equal ones the lower index first. Returns how many: the smaller of k and count. */
size_t bitlog2_top_k(const int32_t* logits, size_t count, size_t k, size_t* classes);

#define BITLOG2_NO_NAME ((size_t)-1)

/* The name of a class, in UTF-8, from the file's metadata. Writes at most `capacity` bytes to
 * `name`, the terminating 0 included, which is always there unless capacity is 0; `name` may
 * then be NULL. Returns the whole name's length in bytes without the 0: a name of that length
 * or more than `capacity` was cut short. Returns BITLOG2_NO_NAME, and writes "", if the file
 * does not have it. Files of ImageNet's 1000 classes usually leave the names out. */
size_t bitlog2_class_name(const bitlog2_network* network, size_t index, char* name,
                          size_t capacity);

/* --- images ------------------------------------------------------------------------------ */

/* The filters of Pillow's resize. */
typedef enum bitlog2_filter {
  BITLOG2_BICUBIC = 0,
  BITLOG2_NEAREST,
  BITLOG2_BOX,
  BITLOG2_BILINEAR,
  BITLOG2_HAMMING,
  BITLOG2_LANCZOS
} bitlog2_filter;

/* Which sides become `resize` pixels. */
typedef enum bitlog2_resize_mode {
  BITLOG2_SHORTER_SIDE = 0, /* the shorter one; the image keeps its proportions */
  BITLOG2_SQUASH            /* both */
} bitlog2_resize_mode;

/* The library whose centre crop is computed. They differ by a pixel where half a pixel is left
 * over. */
typedef enum bitlog2_crop_rounding {
  BITLOG2_TORCHVISION_CROP = 0,
  BITLOG2_TRANSFORMERS_CROP
} bitlog2_crop_rounding;

/* How a network's images are prepared. */
typedef struct bitlog2_preprocessing {
  uint32_t resize;        /* pixels of the shorter side, or of both, after resizing */
  uint32_t crop;          /* side of the square cut from its centre: bitlog2_image_size */
  uint32_t filter;        /* a bitlog2_filter */
  uint32_t resize_mode;   /* a bitlog2_resize_mode */
  uint32_t crop_rounding; /* a bitlog2_crop_rounding */
  /* Mean and standard deviation of red, green and blue in [0, 1], in millionths. For information:
   * the network reads 8-bit pixels and normalises them itself. 0 and 1000000 where calibration has
   * moved normalisation into the weights. */
  int32_t mean[3];
  int32_t std[3];
} bitlog2_preprocessing;

/* Reads the preprocessing from the file's metadata. Returns BITLOG2_BAD_METADATA, and writes
 * nothing, if the file does not have it. */
bitlog2_status bitlog2_get_preprocessing(const bitlog2_network* network,
                                         bitlog2_preprocessing* preprocessing);

/* Bytes of working memory that bitlog2_resize_and_crop needs for an image of width x height
 * pixels, at any address. 0 if a side, resize or crop is not from 1 to 65536, or if a choice is not
 * one of its enumeration. */
size_t bitlog2_crop_memory(const bitlog2_preprocessing* preprocessing, size_t width, size_t height);

/* Resizes an image so that its shorter side, or both, have `resize` pixels, and cuts the centre;
 * where the resized image is smaller than the crop, black surrounds it. The bytes are those of
 * Pillow's resize and of torchvision's or transformers' centre crop, and of the bitlog2 program.
 *   rgb     [height, width, 3], 8 bits each, rows from the top, `stride` bytes apart
 *   memory  bitlog2_crop_memory bytes, any content; BITLOG2_SMALL_ARENA if too small
 *   crop    gets [crop, crop, 3], which bitlog2_run takes
 * Returns BITLOG2_WRONG_SIZE where bitlog2_crop_memory returns 0, and for a stride of less than a
 * row. mean and std of `preprocessing` do not matter. */
bitlog2_status bitlog2_resize_and_crop(const bitlog2_preprocessing* preprocessing,
                                       const uint8_t* rgb, size_t width, size_t height,
                                       size_t stride, void* memory, size_t memory_size,
                                       uint8_t* crop);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif

#endif
/* NOLINTEND(cppcoreguidelines-macro-usage) */
/* NOLINTEND(modernize-deprecated-headers,modernize-use-using,readability-identifier-naming) */
