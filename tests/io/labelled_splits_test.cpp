// Training and validation images that both have labels, and images that need none.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "bitlog2/dataset.h"
#include "bitlog2/error.h"
#include "reference.h"
#include "tensors.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::make_tensor;

class LabelledSplitsTest : public ::testing::Test {
 protected:
  const fs::path& folder() const { return folder_.path(); }

  void write(const std::string& name, const std::string& text = "") const {
    fs::create_directories((folder() / name).parent_path());
    std::ofstream(folder() / name) << text;
  }

  /// `path label` of each image.
  std::vector<std::string> listing(const Dataset& images) const {
    std::vector<std::string> lines;
    for (std::size_t i = 0; i < images.size(); ++i) {
      lines.push_back(fmt::format("{} {}",
                                  fs::path(images.name(i)).lexically_relative(folder()).string(),
                                  images.label(i)));
    }
    return lines;
  }

  std::string refusal(const fs::path& path) const {
    try {
      open_labelled_splits(path);
    } catch (const Error& error) {
      return error.what();
    }
    return "no Error";
  }

 private:
  testing::TemporaryFolder folder_;
};

TEST_F(LabelledSplitsTest, TrainingFoldersNumberTheClasses) {
  write("train/cat/1.png");
  write("train/Dog/1.png");
  write("train/Dog/more/2.png");
  write("train/owl/1.png");
  write("val/cat/1.png");  // not all classes
  write("val/owl/1.png");
  const LabelledSplits splits = open_labelled_splits(folder());
  EXPECT_EQ(splits.classes, 3U);
  EXPECT_THAT(listing(splits.training), ElementsAre("train/Dog/1.png 0", "train/Dog/more/2.png 0",
                                                    "train/cat/1.png 1", "train/owl/1.png 2"));
  EXPECT_THAT(listing(splits.validation), ElementsAre("val/cat/1.png 1", "val/owl/1.png 2"));
  EXPECT_THAT(splits.notes, ElementsAre());
}

TEST_F(LabelledSplitsTest, WnidsNumberThemselves) {
  write("training/n01440764/1.png");
  write("training/n01443537/1.png");
  write("val/a.png");
  write("val.txt", "a.png n01443537\n");
  const LabelledSplits splits = open_labelled_splits(folder());
  EXPECT_EQ(splits.classes, 2U);
  EXPECT_THAT(listing(splits.training),
              ElementsAre("training/n01440764/1.png 0", "training/n01443537/1.png 1"));
  EXPECT_THAT(listing(splits.validation), ElementsAre("val/a.png 1"));
}

TEST_F(LabelledSplitsTest, AListMayLabelTheValidationImages) {
  write("train/a/1.png");
  write("train/b/1.png");
  write("val/x.png");
  write("val/val.txt", "x.png 1\n");
  EXPECT_THAT(listing(open_labelled_splits(folder()).validation), ElementsAre("val/x.png 1"));
}

TEST_F(LabelledSplitsTest, WhatIsMissingIsSaid) {
  write("val/a/1.png");
  EXPECT_THAT(refusal(folder()),
              AllOf(HasSubstr("there is no train/"), HasSubstr("linear probes")));
  write("train/1.png");
  EXPECT_THAT(refusal(folder()), HasSubstr("train: no class folders with images"));
  write("train/b/1.png");
  EXPECT_THAT(refusal(folder()),
              HasSubstr("val: no class folder of the training images is called 'a'"));
  fs::create_directory(folder() / "train/a");
  EXPECT_THAT(refusal(folder()), HasSubstr("val/a/1.png: its class is 0, of which there is no "
                                           "training image"));
  fs::remove_all(folder() / "val");
  EXPECT_THAT(refusal(folder()), HasSubstr("there is no val/"));
}

TEST_F(LabelledSplitsTest, AFileHasLabelsOfBoth) {
  const std::vector<std::uint8_t> pixels(12);
  const auto images = [&](const char* name) {
    return make_tensor(name, DType::u8, {3, 2, 2}, pixels);
  };
  const auto labels = [](const char* name, std::vector<std::uint8_t> values) {
    return make_tensor(name, DType::u8, {values.size()}, values);
  };
  const fs::path file = folder() / "d.safetensors";
  testing::write_tensors(file, {images("train.images"), labels("train.labels", {0, 4, 2}),
                                images("val.images"), labels("val.labels", {2, 2, 0})});
  const LabelledSplits splits = open_labelled_splits(file);
  EXPECT_EQ(splits.classes, 5U);
  EXPECT_EQ(splits.training.label(1), 4);
  EXPECT_EQ(splits.validation.label(0), 2);
  testing::write_tensors(file, {images("train.images"), labels("train.labels", {0, 4, 2}),
                                images("val.images"), labels("val.labels", {2, 1, 0})});
  EXPECT_THAT(refusal(file), HasSubstr("its class is 1, of which there is no training image"));
  testing::write_tensors(
      file, {images("train.images"), images("val.images"), labels("val.labels", {2, 1, 0})});
  EXPECT_THAT(refusal(file), HasSubstr("there is no tensor train.labels"));
}

TEST_F(LabelledSplitsTest, EncodersNeedNoLabels) {
  write("val/b.png");
  write("val/a/1.png");
  write("train/t.png");
  DatasetRequest request = {
      .path = folder(), .num_classes = 0, .calibration_images = 1, .labelled = false};
  const DatasetSplits splits = open_dataset(request);
  EXPECT_THAT(listing(splits.validation), ElementsAre("val/a/1.png -1", "val/b.png -1"));
  EXPECT_THAT(listing(splits.calibration), ElementsAre("train/t.png -1"));
  request.path = folder() / "val";  // any folder of images
  EXPECT_EQ(open_dataset(request).validation.size(), 2U);
  write("map.txt", "a\n");
  request.class_map = folder() / "map.txt";
  EXPECT_THROW(open_dataset(request), Error);
  request.class_map.clear();
  fs::create_directory(folder() / "empty");
  request.path = folder() / "empty";
  try {
    open_dataset(request);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("no images"));
  }
}

}  // namespace
}  // namespace bitlog2
