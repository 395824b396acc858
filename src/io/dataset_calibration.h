// The seeded sample of images that calibrate, and those that stand in for damaged ones.
#pragma once

#include <string>
#include <vector>

#include "bitlog2/dataset.h"

namespace bitlog2 {

/// Which of a number of images calibrate.
struct CalibrationSample {
  std::vector<std::size_t> chosen;   ///< ascending
  std::vector<std::size_t> reserve;  ///< in the order of their turn
};

/// `request.calibration_images` different numbers below `count`. `where` is for the Error if
/// there are not as many.
CalibrationSample sample_calibration(std::size_t count, const DatasetRequest& request,
                                     const std::string& where);

/// Sets the calibration of `splits` to a sample of `images`; `where` is what people call these.
void calibrate_with(const Dataset& images, const DatasetRequest& request, const std::string& where,
                    DatasetSplits& splits);

/// The same with a sample of the files called `names` in `folder`.
void calibrate_with_files(const std::filesystem::path& folder,
                          const std::vector<std::string>& names, const DatasetRequest& request,
                          DatasetSplits& splits);

}  // namespace bitlog2
