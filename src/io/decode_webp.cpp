// WebP through libwebp: the first frame on its canvas.
#include <fmt/format.h>
#include <webp/decode.h>
#include <webp/demux.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "io/image_formats.h"

namespace bitlog2 {
namespace {

std::string_view describe(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY:
      return "no memory to decode it";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return "unsupported feature";
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA:
      return "its data end early";
    default:
      return "its data are invalid";
  }
}

/// Draws the frame into the image. Alpha is dropped; Pillow does not blend the first frame
/// with anything.
void draw(const WebPIterator& frame, const ImageFile& file, RgbImage& image) {
  const auto left = static_cast<std::size_t>(frame.x_offset);
  const auto top = static_cast<std::size_t>(frame.y_offset);
  const std::size_t stride = static_cast<std::size_t>(image.width) * 3;
  const std::size_t begin = top * stride + left * 3;

  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0) {
    throw Error(
        fmt::format("{}: libwebp is not the one that this program was built with", file.name));
  }
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = image.pixels.data() + begin;
  config.output.u.RGBA.stride = static_cast<int>(stride);
  config.output.u.RGBA.size = image.pixels.size() - begin;
  const VP8StatusCode status = WebPDecode(frame.fragment.bytes, frame.fragment.size, &config);
  if (status != VP8_STATUS_OK) {
    throw damaged(file, "WebP", describe(status));
  }
}

}  // namespace

RgbImage decode_webp(const ImageFile& file) {
  const WebPData data{reinterpret_cast<const std::uint8_t*>(file.bytes.data()), file.bytes.size()};
  const std::unique_ptr<WebPDemuxer, decltype(&WebPDemuxDelete)> demuxer(WebPDemux(&data),
                                                                         &WebPDemuxDelete);
  WebPIterator frame{};
  const std::unique_ptr<WebPIterator, decltype(&WebPDemuxReleaseIterator)> release(
      &frame, &WebPDemuxReleaseIterator);
  if (demuxer == nullptr || WebPDemuxGetFrame(demuxer.get(), 1, &frame) == 0) {
    throw damaged(file, "WebP", "its chunks do not fit together");
  }
  const std::uint64_t width = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH);
  const std::uint64_t height = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT);
  check_size(file, "WebP", width, height);
  if (!may_hold_blank(file, width * height)) {
    throw cannot_hold(file, "WebP", width, height);
  }
  // libwebp has checked that the frame lies inside the canvas and is of the size it says.
  RgbImage image = start_image(width, height);
  image.pixels.resize(width * height * 3);
  draw(frame, file, image);
  return image;
}

}  // namespace bitlog2
