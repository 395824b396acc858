// The seeded sample of calibration images, and the reserve that replaces damaged ones.
#pragma once

#include <string>
#include <vector>

#include "bitlog2/dataset.h"

namespace bitlog2 {

/// The numbers of the images that calibrate.
struct CalibrationSample {
  std::vector<std::size_t> chosen;   ///< ascending
  std::vector<std::size_t> reserve;  ///< replace unreadable ones in this order
};

/// `request.calibration_images` different numbers below `count`. `where` is for the Error if there
/// are fewer.
CalibrationSample sample_calibration(std::size_t count, const DatasetRequest& request,
                                     const std::string& where);

/// Sets the calibration of `splits` to a sample of `images`; `where` names these in messages.
void calibrate_with(const Dataset& images, const DatasetRequest& request, const std::string& where,
                    DatasetSplits& splits);

/// The same with a sample of the files `names` in `folder`.
void calibrate_with_files(const std::filesystem::path& folder,
                          const std::vector<std::string>& names, const DatasetRequest& request,
                          DatasetSplits& splits);

}  // namespace bitlog2
