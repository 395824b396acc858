// The C interface: thin wrappers of the runtime.
#include "bitlog2_runtime.h"

#include <new>

#include "kernel_list.h"
#include "metadata.h"
#include "network.h"
#include "resize.h"

namespace {

namespace runtime = bitlog2::runtime;
using runtime::Kernels;
using runtime::Status;

constexpr std::size_t kMostThreads = 1 << 16;

/// The content of a bitlog2_network.
struct OpenedNetwork {
  runtime::Network network;
  std::span<const std::byte> json;
  const Kernels* kernels = nullptr;
  std::byte* packed = nullptr;  // weights, or none
};

static_assert(sizeof(OpenedNetwork) <= sizeof(bitlog2_network));
static_assert(alignof(OpenedNetwork) <= alignof(bitlog2_network));
static_assert(static_cast<int>(Status::wrong_size) == BITLOG2_WRONG_SIZE);
static_assert(static_cast<int>(Status::stopped) == BITLOG2_STOPPED);
static_assert(static_cast<int>(runtime::Filter::lanczos) == BITLOG2_LANCZOS);
static_assert(static_cast<int>(runtime::Filter::box) == BITLOG2_BOX);
static_assert(static_cast<int>(runtime::ResizeMode::squash) == BITLOG2_SQUASH);
static_assert(static_cast<int>(runtime::CropRounding::transformers) == BITLOG2_TRANSFORMERS_CROP);
static_assert(BITLOG2_NO_NAME == runtime::kNoName);

const OpenedNetwork& unwrap(const bitlog2_network* network) {
  return *std::launder(reinterpret_cast<const OpenedNetwork*>(network));
}

OpenedNetwork& unwrap(bitlog2_network* network) {
  return *std::launder(reinterpret_cast<OpenedNetwork*>(network));
}

bitlog2_status to_c(Status status) {
  return static_cast<bitlog2_status>(status);
}

bool same_text(const char* a, const char* b) {
  while (*a != '\0' && *a == *b) {
    ++a;
    ++b;
  }
  return *a == *b;
}

runtime::ImageCrop image_crop(const bitlog2_preprocessing* preprocessing) {
  return {preprocessing->resize, preprocessing->crop,
          static_cast<runtime::Filter>(preprocessing->filter),
          static_cast<runtime::ResizeMode>(preprocessing->resize_mode),
          static_cast<runtime::CropRounding>(preprocessing->crop_rounding)};
}

/// Runs an opened network; its kernels and packed weights are added to `options`.
Status run_opened(const OpenedNetwork& opened, const uint8_t* rgb, void* arena, size_t arena_size,
                  int32_t* logits, runtime::RunOptions options) {
  options.kernels = opened.kernels;
  options.packed = opened.packed;
  return runtime::run(opened.network, {rgb, opened.network.input_bytes()},
                      {static_cast<std::byte*>(arena), arena_size},
                      {logits, opened.network.header.num_classes}, options);
}

}  // namespace

uint32_t bitlog2_runtime_version(void) {
  return BITLOG2_RUNTIME_VERSION;
}

const char* bitlog2_status_text(bitlog2_status status) {
  switch (status) {
    case BITLOG2_NO_SUCH_KERNELS:
      return "this build, or this machine, has no kernels of that name";
    case BITLOG2_BAD_METADATA:
      return "the file's metadata does not say it";
    default:
      return runtime::status_text(static_cast<Status>(status));
  }
}

bitlog2_status bitlog2_open(bitlog2_network* network, const void* file, size_t file_size) {
  auto& opened = *new (network) OpenedNetwork();
  const std::span bytes(static_cast<const std::byte*>(file), file_size);
  const Status status = runtime::open(bytes, opened.network);
  if (status == Status::ok) {
    opened.json = runtime::json_of(bytes);
    opened.kernels = runtime::kernels_at(0);
  }
  return to_c(status);
}

size_t bitlog2_image_size(const bitlog2_network* network) {
  return unwrap(network).network.header.image_size;
}

size_t bitlog2_num_classes(const bitlog2_network* network) {
  return unwrap(network).network.header.num_classes;
}

const char* bitlog2_kernels_name(size_t index) {
  const Kernels* kernels = runtime::kernels_at(index);
  return kernels == nullptr ? nullptr : kernels->name;
}

bitlog2_status bitlog2_choose_kernels(bitlog2_network* network, const char* name) {
  for (size_t i = 0; const Kernels* kernels = runtime::kernels_at(i); ++i) {
    if (name == nullptr || same_text(name, kernels->name)) {
      unwrap(network).kernels = kernels;
      return BITLOG2_OK;
    }
  }
  return BITLOG2_NO_SUCH_KERNELS;
}

const char* bitlog2_kernels(const bitlog2_network* network) {
  return unwrap(network).kernels->name;
}

size_t bitlog2_packed_size(const bitlog2_network* network) {
  return runtime::packed_size(unwrap(network).network);
}

bitlog2_status bitlog2_pack_weights(bitlog2_network* network, void* memory, size_t memory_size) {
  OpenedNetwork& opened = unwrap(network);
  if (memory_size < runtime::packed_size(opened.network)) {
    return BITLOG2_SMALL_ARENA;
  }
  auto* bytes = static_cast<std::byte*>(memory);
  runtime::pack_weights(opened.network, *opened.kernels, {bytes, memory_size});
  opened.packed = bytes;
  return BITLOG2_OK;
}

size_t bitlog2_arena_size(const bitlog2_network* network, size_t threads) {
  return threads >= 1 && threads <= kMostThreads
             ? runtime::arena_size(unwrap(network).network, threads)
             : 0;
}

bitlog2_status bitlog2_run(const bitlog2_network* network, const uint8_t* rgb, void* arena,
                           size_t arena_size, int32_t* logits) {
  return to_c(run_opened(unwrap(network), rgb, arena, arena_size, logits, {}));
}

bitlog2_status bitlog2_run_with_progress(const bitlog2_network* network, const uint8_t* rgb,
                                         void* arena, size_t arena_size, int32_t* logits,
                                         const bitlog2_progress* progress) {
  const runtime::Progress each = {progress->after_operation, progress->context};
  runtime::RunOptions options;
  options.progress = &each;
  return to_c(run_opened(unwrap(network), rgb, arena, arena_size, logits, options));
}

size_t bitlog2_num_attentions(const bitlog2_network* network) {
  const runtime::Network& opened = unwrap(network).network;
  size_t count = 0;
  for (size_t i = 0; i < opened.header.op_count; ++i) {
    count += attends_everywhere(runtime::operation(opened, i)) ? 1 : 0;
  }
  return count;
}

bitlog2_status bitlog2_run_and_look(const bitlog2_network* network, const uint8_t* rgb, void* arena,
                                    size_t arena_size, int32_t* logits, size_t index,
                                    bitlog2_attention_row* row) {
  const OpenedNetwork& opened = unwrap(network);
  for (size_t i = 0; i < opened.network.header.op_count; ++i) {
    const runtime::Op op = runtime::operation(opened.network, i);
    if (!attends_everywhere(op) || index-- != 0) {
      continue;
    }
    row->heads = op.heads;
    row->tokens = runtime::attended_tokens(op);
    if (row->capacity / row->heads < row->tokens) {
      return BITLOG2_SMALL_ARENA;
    }
    const runtime::AttentionView view = {i, row->exact, row->quantized};
    runtime::RunOptions options;
    options.view = &view;
    return to_c(run_opened(opened, rgb, arena, arena_size, logits, options));
  }
  return BITLOG2_WRONG_SIZE;
}

bitlog2_status bitlog2_run_in_group(const bitlog2_network* network, const uint8_t* rgb, void* arena,
                                    size_t arena_size, int32_t* logits,
                                    const bitlog2_thread_group* group, size_t rank,
                                    uint64_t* saturations) {
  if (group->size < 1 || group->size > kMostThreads || rank >= group->size) {
    return BITLOG2_WRONG_SIZE;
  }
  runtime::RunStatistics statistics;
  runtime::RunOptions options;
  options.statistics = &statistics;
  options.group = {group->size, group->wait, group->context};
  options.rank = rank;
  const Status status = run_opened(unwrap(network), rgb, arena, arena_size, logits, options);
  if (saturations != nullptr) {
    *saturations += statistics.saturations;
  }
  return to_c(status);
}

size_t bitlog2_top_k(const int32_t* logits, size_t count, size_t k, size_t* classes) {
  size_t found = 0;
  for (size_t i = 0; i < count; ++i) {
    // Where logit i belongs among those found so far.
    size_t place = found;
    while (place > 0 && logits[classes[place - 1]] < logits[i]) {
      --place;
    }
    if (place == k) {
      continue;
    }
    found += found < k ? 1 : 0;
    for (size_t j = found - 1; j > place; --j) {
      classes[j] = classes[j - 1];
    }
    classes[place] = i;
  }
  return found;
}

size_t bitlog2_class_name(const bitlog2_network* network, size_t index, char* name,
                          size_t capacity) {
  return runtime::read_class_name(unwrap(network).json, index, name, capacity);
}

bitlog2_status bitlog2_get_preprocessing(const bitlog2_network* network,
                                         bitlog2_preprocessing* preprocessing) {
  const OpenedNetwork& opened = unwrap(network);
  runtime::ImagePreparation found = {};
  if (!runtime::read_preparation(opened.json, opened.network.header.image_size, found)) {
    return BITLOG2_BAD_METADATA;
  }
  preprocessing->resize = found.crop.resize;
  preprocessing->crop = found.crop.crop;
  preprocessing->filter = static_cast<uint32_t>(found.crop.filter);
  preprocessing->resize_mode = static_cast<uint32_t>(found.crop.mode);
  preprocessing->crop_rounding = static_cast<uint32_t>(found.crop.rounding);
  for (size_t i = 0; i < 3; ++i) {
    preprocessing->mean[i] = found.mean_millionths[i];
    preprocessing->std[i] = found.std_millionths[i];
  }
  return BITLOG2_OK;
}

size_t bitlog2_crop_memory(const bitlog2_preprocessing* preprocessing, size_t width,
                           size_t height) {
  return runtime::crop_memory(image_crop(preprocessing), width, height);
}

bitlog2_status bitlog2_resize_and_crop(const bitlog2_preprocessing* preprocessing,
                                       const uint8_t* rgb, size_t width, size_t height,
                                       size_t stride, void* memory, size_t memory_size,
                                       uint8_t* crop) {
  return to_c(runtime::resize_and_crop(image_crop(preprocessing), rgb, width, height, stride,
                                       {static_cast<std::byte*>(memory), memory_size}, crop));
}
