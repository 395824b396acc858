// Chooses the calibration images and reads them. The sample of undamaged data depends on the seed
// and the number of images alone; damaged images do not move the others.
#include "io/dataset_calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "bitlog2/error.h"
#include "io/seeded.h"

namespace bitlog2 {
namespace {

/// If so many images cannot be read, no more are tried.
constexpr std::size_t kLargestReserve = 4096;

std::string sample_phrase(std::size_t count, std::size_t wanted, const std::string& where) {
  return fmt::format("{}{} images of {}", count == wanted ? "" : "a seeded sample of ", wanted,
                     where);
}

/// An image's place in the batch, and what is tried there.
struct Attempt {
  std::size_t place;
  const Dataset* images;
  std::size_t index;
  std::string error = {};  ///< why it could not be read
};

void read_all(std::vector<Attempt>& attempts, const Preprocessing& preprocessing, ThreadPool& pool,
              std::vector<RgbImage>& crops) {
  pool.parallel_for(attempts.size(), 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      Attempt& attempt = attempts[i];
      try {
        crops[attempt.place] = resize_and_crop(attempt.images->read(attempt.index), preprocessing);
      } catch (const Error& error) {
        attempt.error = error.what();
      }
    }
  });
  std::erase_if(attempts, [](const Attempt& attempt) { return attempt.error.empty(); });
}

}  // namespace

CalibrationSample sample_calibration(std::size_t count, const DatasetRequest& request,
                                     const std::string& where) {
  const std::size_t wanted = request.calibration_images;
  if (count < wanted) {
    throw Error(
        fmt::format("{} holds {} images, {} were asked for; lower --calibration-images or "
                    "add images",
                    where, count, wanted));
  }
  std::vector<std::size_t> numbers = numbers_below(count);
  std::mt19937_64 engine(request.seed);
  const std::size_t drawn = std::min(count, wanted + kLargestReserve);
  shuffle_first(numbers, drawn, engine);
  const auto reserve = numbers.begin() + static_cast<std::ptrdiff_t>(wanted);
  CalibrationSample sample;
  sample.chosen.assign(numbers.begin(), reserve);
  sample.reserve.assign(reserve, numbers.begin() + static_cast<std::ptrdiff_t>(drawn));
  std::ranges::sort(sample.chosen);
  return sample;
}

void calibrate_with(const Dataset& images, const DatasetRequest& request, const std::string& where,
                    DatasetSplits& splits) {
  const CalibrationSample sample = sample_calibration(images.size(), request, where);
  splits.calibration = images.subset(sample.chosen);
  splits.calibration_reserve = images.subset(sample.reserve);
  splits.calibration_source = sample_phrase(images.size(), request.calibration_images, where);
}

void calibrate_with_files(const std::filesystem::path& folder,
                          const std::vector<std::string>& names, const DatasetRequest& request,
                          DatasetSplits& splits) {
  const CalibrationSample sample = sample_calibration(names.size(), request, folder.string());
  const auto files_at = [&](const std::vector<std::size_t>& numbers) {
    std::vector<Dataset::File> files;
    files.reserve(numbers.size());
    for (const std::size_t i : numbers) {
      files.push_back({folder / names[i], -1});
    }
    return Dataset(std::move(files));
  };
  splits.calibration = files_at(sample.chosen);
  splits.calibration_reserve = files_at(sample.reserve);
  splits.calibration_source =
      sample_phrase(names.size(), request.calibration_images, folder.string());
}

void calibrate_on_folder(const std::filesystem::path& folder, const DatasetRequest& request,
                         DatasetSplits& splits) {
  std::vector<Dataset::File> files;
  for (std::filesystem::path& path : list_images(folder, &splits.notes)) {
    files.push_back({std::move(path), -1});
  }
  calibrate_with(Dataset(std::move(files)), request, folder.string(), splits);
}

CalibrationImages read_calibration(const DatasetSplits& splits, const Preprocessing& preprocessing,
                                   ThreadPool& pool, bool strict) {
  const Dataset& reserve = splits.calibration_reserve;
  CalibrationImages result;
  result.crops.resize(splits.calibration.size());
  std::vector<Attempt> attempts;
  for (std::size_t place = 0; place < splits.calibration.size(); ++place) {
    attempts.push_back({place, &splits.calibration, place});
    result.names.push_back(splits.calibration.name(place));
  }
  read_all(attempts, preprocessing, pool, result.crops);
  // Each round replaces what the round before could not read, in the order of the places.
  for (std::size_t used = 0; !attempts.empty();) {
    if (strict) {
      throw Error(attempts.front().error);
    }
    for (Attempt& attempt : attempts) {
      if (used == reserve.size()) {
        throw Error(
            fmt::format("{}; {} calibration images are wanted, and {} of {} candidates cannot be "
                        "read; lower --calibration-images or add images",
                        attempt.error, splits.calibration.size(), result.replaced.size() + 1,
                        splits.calibration.size() + reserve.size()));
      }
      result.replaced.push_back(
          fmt::format("{}; {} calibrates in its place", attempt.error, reserve.name(used)));
      result.names[attempt.place] = reserve.name(used);
      attempt = {attempt.place, &reserve, used++};
    }
    read_all(attempts, preprocessing, pool, result.crops);
  }
  return result;
}

}  // namespace bitlog2
