#include "cli/images.h"

#include <fmt/format.h>

#include <system_error>

#include "bitlog2/dataset.h"
#include "bitlog2/error.h"
#include "cli/console.h"
#include "cli/job.h"
#include "io/dataset_listing.h"

namespace bitlog2::cli {
namespace {

namespace fs = std::filesystem;

void add_images_of(const fs::path& folder, std::vector<std::string>& paths) {
  PassedOver passed_over;
  const std::size_t before = paths.size();
  try {
    for (const std::string& name : images_below(folder, FolderLinks::follow, passed_over)) {
      paths.push_back((folder / name).string());
    }
  } catch (const Error&) {
    paths.resize(before);
  }
  if (paths.size() == before) {
    paths.push_back(folder.string());
    return;
  }
  tell_notes(passed_over.notes(folder.string()));
}

}  // namespace

std::vector<std::string> images_named(const std::vector<std::string>& arguments) {
  std::vector<std::string> paths;
  for (const std::string& argument : arguments) {
    if (is_folder(argument)) {
      add_images_of(argument, paths);
    } else {
      paths.push_back(argument);
    }
  }
  return paths;
}

RgbImage read_crop(const std::string& path, const Preprocessing& preprocessing,
                   const std::atomic<bool>& stop) {
  if (is_folder(path)) {
    list_images(path);  // says why there is nothing in it
  }
  return resize_and_crop(read_image(path, &stop), preprocessing);
}

void tell_saturations(const std::string& name, const Engine& engine) {
  if (engine.saturations() > 0) {
    tell(fmt::format("{}: {} values of the residual stream were cut off", name,
                     engine.saturations()));
  }
}

std::vector<fs::path> files_read(const std::vector<std::string>& images,
                                 const std::string& quantized, const ModelSource& source) {
  std::vector<fs::path> files(images.begin(), images.end());
  if (!quantized.empty()) {
    files.emplace_back(quantized);
    return files;
  }
  const std::vector<fs::path> model = files_of(source);
  files.insert(files.end(), model.begin(), model.end());
  return files;
}

}  // namespace bitlog2::cli
