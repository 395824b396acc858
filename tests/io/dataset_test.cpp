// Every layout that dataset.h lists, and every way to get one wrong. Nothing is decoded in
// most of these, so their images are empty files.
#include "bitlog2/dataset.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <numeric>
#include <random>
#include <set>

#include "bitlog2/error.h"
#include "io/imagenet_devkit.h"
#include "reference.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

constexpr const char* kGroundTruth = "ILSVRC2012_validation_ground_truth.txt";

void write_text(const fs::path& path, const std::string& text = "") {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

void write_images(const fs::path& folder, int count) {
  for (int i = 0; i < count; ++i) {
    write_text(folder / fmt::format("{:03}.jpg", i));
  }
}

/// 50,000 lines of which the first are given.
std::string ground_truth(const std::vector<int>& first, std::size_t lines = 50'000) {
  std::string text;
  for (std::size_t i = 0; i < lines; ++i) {
    text += fmt::format("{}\n", i < first.size() ? first[i] : 1);
  }
  return text;
}

DatasetRequest request(const fs::path& path, int num_classes = 1000,
                       std::size_t calibration_images = 0) {
  return {path, num_classes, calibration_images, 0};
}

/// `path label` of each image, the path relative to `base`.
std::vector<std::string> listing(const Dataset& dataset, const fs::path& base) {
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < dataset.size(); ++i) {
    lines.push_back(fmt::format(
        "{} {}", fs::path(dataset.name(i)).lexically_relative(base).string(), dataset.label(i)));
  }
  return lines;
}

std::vector<std::string> names(const Dataset& dataset) {
  std::vector<std::string> result;
  for (std::size_t i = 0; i < dataset.size(); ++i) {
    result.push_back(dataset.name(i));
  }
  return result;
}

/// The Error's text, which must be one line; fails if there is none.
template <class Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
    return error.what();
  }
  ADD_FAILURE() << "no Error";
  return "";
}

std::string open_error(const DatasetRequest& wanted) {
  return error_of([&] { open_dataset(wanted); });
}

// ---- Class folders ---------------------------------------------------------------------

TEST(DatasetFolders, MapWnidsToTheirClassesWhateverFoldersAreMissing) {
  const TemporaryFolder folder;
  write_text(folder.path() / "val/n15075141/b.JPEG");  // toilet tissue, 999
  write_text(folder.path() / "val/n15075141/a.jpg");
  write_text(folder.path() / "val/n01443537/x.Png");  // goldfish, 1
  fs::create_directories(folder.path() / "val/n01440764");
  const auto splits = open_dataset(request(folder.path()));
  EXPECT_THAT(
      listing(splits.validation, folder.path()),
      ElementsAre("val/n01443537/x.Png 1", "val/n15075141/a.jpg 999", "val/n15075141/b.JPEG 999"));
  EXPECT_EQ(splits.calibration.size(), 0U);
  EXPECT_EQ(splits.calibration_source, "");
}

TEST(DatasetFolders, IgnoreHiddenEntriesAndFilesThatAreNoImages) {
  const TemporaryFolder folder;
  write_text(folder.path() / "val/n01443537/x.jpeg");
  for (const char* name : {"._x.jpeg", "x.txt", "x.gif", "jpeg", "x.jpeg.bak"}) {
    write_text(folder.path() / "val/n01443537" / name);
  }
  write_text(folder.path() / "val/.cache/y.jpeg");
  write_text(folder.path() / "val/.DS_Store");
  write_text(folder.path() / "val/notes.txt");
  EXPECT_THAT(listing(open_dataset(request(folder.path())).validation, folder.path()),
              ElementsAre("val/n01443537/x.jpeg 1"));
}

TEST(DatasetFolders, AreClassesInSortedOrderForOtherModels) {
  const TemporaryFolder folder;
  write_text(folder.path() / "val/cat-b/1.png");
  write_text(folder.path() / "val/cat/2.png");  // before cat-b, though "cat/" sorts after it
  write_text(folder.path() / "val/Dog/images/3.png");
  EXPECT_THAT(listing(open_dataset(request(folder.path(), 3)).validation, folder.path()),
              ElementsAre("val/Dog/images/3.png 0", "val/cat/2.png 1", "val/cat-b/1.png 2"));
}

TEST(DatasetFolders, MayBeThePathItself) {
  const TemporaryFolder folder;
  write_images(folder.path() / "n01443537", 3);
  const auto splits = open_dataset(request(folder.path() / "", 1000, 2));
  EXPECT_EQ(splits.validation.size(), 3U);
  EXPECT_EQ(splits.validation.label(0), 1);
  EXPECT_EQ(splits.calibration.size(), 2U);
  EXPECT_EQ(splits.calibration_source,
            fmt::format("a seeded sample of 2 images of {} (there is no train/)",
                        folder.path().string()));
}

TEST(DatasetFolders, MayBeLinks) {
  const TemporaryFolder folder;
  write_images(folder.path() / "store/a", 2);
  fs::create_directories(folder.path() / "val");
  fs::create_directory_symlink("../store/a", folder.path() / "val/n01443537");
  fs::create_directory_symlink("..", folder.path() / "store/a/round");  // in a circle
  EXPECT_THAT(listing(open_dataset(request(folder.path())).validation, folder.path()),
              ElementsAre("val/n01443537/000.jpg 1", "val/n01443537/001.jpg 1"));
}

TEST(DatasetFolders, ThatAreNoWnidsAreRefusedForAThousandClasses) {
  const TemporaryFolder folder;
  write_text(folder.path() / "val/n01443537/x.jpg");
  write_text(folder.path() / "val/cat/x.jpg");
  EXPECT_THAT(open_error(request(folder.path())),
              AllOf(HasSubstr((folder.path() / "val").string() + ": folder 'cat'"),
                    HasSubstr("name class folders like n01440764")));
}

TEST(DatasetFolders, ThatAreWnidsOfOtherClassesAreRefused) {
  const TemporaryFolder folder;
  write_text(folder.path() / "val/n00004475/x.jpg");
  EXPECT_THAT(open_error(request(folder.path())), HasSubstr("folder 'n00004475' is not the wnid"));
}

TEST(DatasetFolders, MustBeAsManyAsTheModelHasClasses) {
  const TemporaryFolder folder;
  write_text(folder.path() / "val/a/x.jpg");
  write_text(folder.path() / "val/b/x.jpg");
  EXPECT_EQ(open_dataset(request(folder.path(), 2)).validation.size(), 2U);
  EXPECT_THAT(open_error(request(folder.path(), 1)),
              HasSubstr("val: 2 class folders, this model has 1 classes"));
  EXPECT_THAT(open_error(request(folder.path(), 3)),
              HasSubstr("val: 2 class folders, this model has 3 classes"));
}

TEST(DatasetFolders, WithImagesBesideThemAreRefused) {
  const TemporaryFolder folder;
  write_text(folder.path() / "val/n01443537/x.jpg");
  write_text(folder.path() / "val/ILSVRC2012_val_00000001.JPEG");
  EXPECT_THAT(open_error(request(folder.path())),
              HasSubstr("1 images, such as ILSVRC2012_val_00000001.JPEG, stand beside"));
}

TEST(DatasetFolders, WithoutImagesAreRefused) {
  const TemporaryFolder folder;
  write_text(folder.path() / "val/n01443537/n01443537.tar");
  EXPECT_THAT(open_error(request(folder.path())),
              HasSubstr("val: 1 class folders without a .jpeg, .jpg or .png image"));
}

TEST(DatasetFolders, MissingValIsNamed) {
  const TemporaryFolder folder;
  write_text(folder.path() / "train/n01443537/x.jpg");
  EXPECT_THAT(open_error(request(folder.path())),
              HasSubstr(folder.path().string() + " (it has no val/): folder 'train'"));
}

TEST(DatasetPath, AbsentEmptyOrOtherIsRefused) {
  const TemporaryFolder folder;
  const fs::path absent = folder.path() / "absent";
  EXPECT_THAT(open_error(request(absent)),
              HasSubstr(absent.string() + ": there is no such file or folder; give the folder"));
  EXPECT_THAT(open_error(request(folder.path())),
              HasSubstr("no .jpeg, .jpg or .png images and no class folders"));
  write_text(folder.path() / "val/notes.txt");
  EXPECT_THAT(open_error(request(folder.path())),
              HasSubstr("val: no .jpeg, .jpg or .png images and no class folders"));
  write_text(folder.path() / "val.tar", "x");
  EXPECT_THAT(open_error(request(folder.path() / "val.tar")),
              HasSubstr("neither a folder nor a .safetensors file"));
  write_text(folder.path() / "x.safetensors", "x");
  EXPECT_THAT(open_error(request(folder.path() / "x.safetensors")), HasSubstr("x.safetensors"));
}

// ---- Lists -----------------------------------------------------------------------------

class DatasetList : public ::testing::TestWithParam<const char*> {
 protected:
  TemporaryFolder folder_;
};

TEST_P(DatasetList, LabelsFlatImages) {
  write_text(folder_.path() / "val/a.jpg");
  write_text(folder_.path() / "val/b c.jpg");
  write_text(folder_.path() / "val/d.jpg");
  write_text(folder_.path() / "val/unlisted.jpg");
  write_text(folder_.path() / GetParam(),
             fmt::format("val/d.jpg 999\r\n\n./b c.jpg\t  n01443537\n  {} 7",
                         (folder_.path() / "val/a.jpg").string()));
  EXPECT_THAT(listing(open_dataset(request(folder_.path())).validation, folder_.path()),
              ElementsAre("val/a.jpg 7", "val/b c.jpg 1", "val/d.jpg 999"));
  EXPECT_EQ(open_dataset(request(folder_.path() / "val/")).validation.size(), 3U);
}

INSTANTIATE_TEST_SUITE_P(Places, DatasetList,
                         ::testing::Values("val.txt", "val/val.txt", "val_list.txt",
                                           "val/val_list.txt"));

TEST_F(DatasetList, LabelsImagesInAnyFolders) {
  write_text(folder_.path() / "images/x/1.png");
  write_text(folder_.path() / "images/x/2.png");
  write_text(folder_.path() / "val.txt", "images/x/2.png 4\nimages/x/1.png 3\n");
  for (const int num_classes : {5, 1000}) {
    const auto splits = open_dataset(request(folder_.path(), num_classes));
    EXPECT_THAT(listing(splits.validation, folder_.path()),
                ElementsAre("images/x/1.png 3", "images/x/2.png 4"));
  }
}

TEST_F(DatasetList, IsNotNeededBesideWnids) {
  write_text(folder_.path() / "val/n01443537/1.png");
  write_text(folder_.path() / "val.txt", "1.png 1\n");
  EXPECT_EQ(open_dataset(request(folder_.path())).validation.label(0), 1);
}

TEST_F(DatasetList, NamesItsBadLine) {
  write_text(folder_.path() / "val/a.jpg");
  const auto error = [&](const std::string& text, int num_classes = 1000) {
    write_text(folder_.path() / "val.txt", text);
    return open_error(request(folder_.path(), num_classes));
  };
  EXPECT_THAT(error("a.jpg 1\n\nb.jpg 1\n"), HasSubstr("val.txt line 3: there is no file 'b.jpg'"));
  EXPECT_THAT(error("a.jpg\n"), HasSubstr("val.txt line 1: 'a.jpg' is not a path and a label"));
  EXPECT_THAT(error("a.jpg 1000\n"),
              HasSubstr("line 1: label '1000' is no class of this model; labels are 0 to 999, or"));
  EXPECT_THAT(error("a.jpg -1\n"), HasSubstr("label '-1'"));
  EXPECT_THAT(error("a.jpg 1x\n"), HasSubstr("label '1x'"));
  EXPECT_THAT(error("a.jpg n00004475\n"), HasSubstr("label 'n00004475'"));
  EXPECT_THAT(error("a.jpg 99999999999999999999\n"), HasSubstr("label '9999"));
  EXPECT_THAT(error("a.jpg 10\n", 10), HasSubstr("label '10' is no class of this model"));
  EXPECT_THAT(error("a.jpg n01440764\n", 10), HasSubstr("labels are 0 to 9"));
  EXPECT_THAT(error("a.jpg 1\na.jpg 1\n"), HasSubstr("a.jpg is listed twice"));
  EXPECT_THAT(error(std::string(1000, '\x1B')),
              HasSubstr("line 1: '" + std::string(80, '?') + "' is not"));
  EXPECT_THAT(error(""), HasSubstr("val.txt: the list is empty"));
  EXPECT_THAT(error(" \n\n"), HasSubstr("val.txt: the list is empty"));
}

RC_GTEST_PROP(DatasetListProperty, OrderOfLinesDoesNotMatter, ()) {
  const auto labels = *rc::gen::nonEmpty(rc::gen::container<std::vector<int>>(
      *rc::gen::inRange<std::size_t>(1, 20), rc::gen::inRange(0, 1000)));
  std::vector<std::size_t> order(labels.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const std::uint64_t seed = *rc::gen::arbitrary<std::uint64_t>();
  std::shuffle(order.begin(), order.end(), std::mt19937_64(seed));
  const TemporaryFolder folder;
  write_images(folder.path() / "val", static_cast<int>(labels.size()));
  std::string text;
  for (const std::size_t i : order) {
    text += fmt::format("{:03}.jpg {}\n", i, labels[i]);
  }
  write_text(folder.path() / "val.txt", text);
  const auto splits = open_dataset(request(folder.path()));
  RC_ASSERT(splits.validation.size() == labels.size());
  for (std::size_t i = 0; i < labels.size(); ++i) {
    RC_ASSERT(splits.validation.label(i) == labels[i]);
    RC_ASSERT(fs::path(splits.validation.name(i)).filename() == fmt::format("{:03}.jpg", i));
  }
}

// ---- The devkit's ground truth ---------------------------------------------------------

class DatasetGroundTruth : public ::testing::TestWithParam<const char*> {
 protected:
  TemporaryFolder folder_;
};

/// The first ten lines of the devkit's file, and what those photographs show.
const std::vector<int> kFirstIds = {490, 361, 171, 822, 297, 482, 13, 704, 599, 164};
constexpr std::array kFirstWnids = {"n01751748", "n09193705", "n02105855", "n04263257",
                                    "n03125729", "n01735189", "n02346627", "n02776631",
                                    "n03794056", "n02328150"};

TEST_P(DatasetGroundTruth, LabelsImagesByTheirNumber) {
  for (const int number : {10, 1, 3, 50'000}) {
    write_text(folder_.path() / fmt::format("val/ILSVRC2012_val_{:08}.JPEG", number));
  }
  write_text(folder_.path() / GetParam() / kGroundTruth, ground_truth(kFirstIds));
  const std::vector<std::string> expected = {
      "val/ILSVRC2012_val_00000001.JPEG 65", "val/ILSVRC2012_val_00000003.JPEG 230",
      "val/ILSVRC2012_val_00000010.JPEG 332", "val/ILSVRC2012_val_00050000.JPEG 278"};
  EXPECT_EQ(listing(open_dataset(request(folder_.path())).validation, folder_.path()), expected);
  EXPECT_EQ(listing(open_dataset(request(folder_.path() / "val")).validation, folder_.path()),
            expected);
}

INSTANTIATE_TEST_SUITE_P(Places, DatasetGroundTruth,
                         ::testing::Values("val", "", "ILSVRC2012_devkit_t12/data", "devkit/data"));

TEST_F(DatasetGroundTruth, IsRefusedIfItIsNotTheDevkits) {
  write_text(folder_.path() / "val/ILSVRC2012_val_00000002.JPEG");
  const auto error = [&](const std::string& text, int num_classes = 1000) {
    write_text(folder_.path() / kGroundTruth, text);
    return open_error(request(folder_.path(), num_classes));
  };
  EXPECT_THAT(error(ground_truth({}, 49'999)), HasSubstr("49999 lines, expected 50000"));
  EXPECT_THAT(error(ground_truth({}, 50'001)), HasSubstr("50001 lines, expected 50000"));
  EXPECT_THAT(error(""), HasSubstr("0 lines, expected 50000"));
  EXPECT_THAT(error(ground_truth({1, 0})), HasSubstr("line 2: '0' is no ILSVRC2012_ID"));
  EXPECT_THAT(error(ground_truth({1001})), HasSubstr("line 1: '1001' is no ILSVRC2012_ID"));
  EXPECT_THAT(error("n01440764\n"), HasSubstr("line 1: 'n01440764' is no ILSVRC2012_ID"));
  EXPECT_THAT(error(ground_truth({}), 10), HasSubstr("labels 1000 classes, this model has 10"));
}

TEST_F(DatasetGroundTruth, DoesNotLabelOtherNames) {
  write_text(folder_.path() / kGroundTruth, ground_truth({}));
  for (const char* name : {"cat.jpg", "ILSVRC2012_val_00050001.JPEG", "ILSVRC2012_val_.JPEG",
                           "ILSVRC2012_val_00000000.JPEG", "ILSVRC2012_val_-0000001.JPEG"}) {
    write_text(folder_.path() / "val" / name);
    EXPECT_THAT(open_error(request(folder_.path())),
                HasSubstr(fmt::format("{}: not named ILSVRC2012_val_00000001 to", name)));
    fs::remove(folder_.path() / "val" / name);
  }
}

TEST(DatasetFlat, TakesWnidsFromNames) {
  const TemporaryFolder folder;
  write_text(folder.path() / "val/ILSVRC2012_val_00000293_n01440764.JPEG");
  write_text(folder.path() / "val/n01443537_10026.JPEG");
  EXPECT_THAT(listing(open_dataset(request(folder.path())).validation, folder.path() / "val"),
              ElementsAre("ILSVRC2012_val_00000293_n01440764.JPEG 0", "n01443537_10026.JPEG 1"));
}

TEST(DatasetFlat, NeedsLabels) {
  const TemporaryFolder folder;
  write_text(folder.path() / "val/n01443537_10026.JPEG");
  write_text(folder.path() / "val/cat.JPEG");
  EXPECT_THAT(
      open_error(request(folder.path())),
      AllOf(HasSubstr("val: 2 images and no labels; put a val.txt"), HasSubstr(kGroundTruth)));
  EXPECT_THAT(open_error(request(folder.path(), 10)), HasSubstr("2 images and no labels"));
}

// ---- Calibration images ----------------------------------------------------------------

class DatasetCalibration : public ::testing::Test {
 protected:
  DatasetCalibration() { write_images(folder_.path() / "val/n01443537", 20); }

  DatasetSplits open(std::size_t images, std::uint64_t seed = 0) const {
    return open_dataset({folder_.path(), 1000, images, seed});
  }

  std::string path(const char* name) const { return (folder_.path() / name).string(); }

  TemporaryFolder folder_;
};

TEST_F(DatasetCalibration, IsAllOfTrainInSortedOrderIfThatIsWhatWasAskedFor) {
  write_images(folder_.path() / "train/no wnid", 3);
  write_images(folder_.path() / "train/also", 2);
  const auto splits = open(5);
  EXPECT_THAT(
      listing(splits.calibration, folder_.path()),
      ElementsAre("train/also/000.jpg -1", "train/also/001.jpg -1", "train/no wnid/000.jpg -1",
                  "train/no wnid/001.jpg -1", "train/no wnid/002.jpg -1"));
  EXPECT_EQ(splits.calibration_source, fmt::format("5 images of {}", path("train")));
}

TEST_F(DatasetCalibration, IsASampleOfALargerTrain) {
  write_images(folder_.path() / "train", 6);
  const auto splits = open(5);
  EXPECT_EQ(splits.calibration.size(), 5U);
  EXPECT_THAT(names(splits.calibration), Each(HasSubstr("/train/")));
  EXPECT_EQ(splits.calibration_source,
            fmt::format("a seeded sample of 5 images of {}", path("train")));
}

TEST_F(DatasetCalibration, IsASampleOfValWithoutTrain) {
  const auto splits = open(5);
  EXPECT_EQ(splits.calibration.label(0), 1);
  EXPECT_EQ(splits.calibration_source,
            fmt::format("a seeded sample of 5 images of {} (there is no train/)", path("val")));
  EXPECT_EQ(open(20).calibration_source,
            fmt::format("20 images of {} (there is no train/)", path("val")));
  fs::create_directories(folder_.path() / "train/n01443537");
  EXPECT_EQ(open(20).calibration_source,
            fmt::format("20 images of {} (train/ holds no images)", path("val")));
}

TEST_F(DatasetCalibration, SampleIsTheSameOnEveryMachine) {
  const fs::path base = folder_.path() / "val/n01443537";
  EXPECT_THAT(listing(open(5, 0).calibration, base),
              ElementsAre("000.jpg 1", "003.jpg 1", "014.jpg 1", "015.jpg 1", "016.jpg 1"));
  EXPECT_THAT(listing(open(5, 1).calibration, base),
              ElementsAre("002.jpg 1", "004.jpg 1", "008.jpg 1", "012.jpg 1", "018.jpg 1"));
}

TEST_F(DatasetCalibration, FewerImagesThanAskedForAreRefused) {
  EXPECT_EQ(
      error_of([&] { open(21); }),
      path("val") + " holds 20 images, 21 were asked for; lower --calib-batchsize or add images");
  write_images(folder_.path() / "train", 4);
  EXPECT_EQ(
      error_of([&] { open(5); }),
      path("train") + " holds 4 images, 5 were asked for; lower --calib-batchsize or add images");
}

RC_GTEST_FIXTURE_PROP(DatasetCalibration, SampleIsSortedAndWithoutRepetition,
                      (std::uint64_t seed)) {
  const auto wanted = *rc::gen::inRange<std::size_t>(1, 21);
  const std::vector<std::string> sample = names(open(wanted, seed).calibration);
  RC_ASSERT(sample.size() == wanted);
  RC_ASSERT(std::ranges::is_sorted(sample));
  RC_ASSERT(std::set(sample.begin(), sample.end()).size() == wanted);
  RC_ASSERT(sample == names(open(wanted, seed).calibration));
}

// ---- Tensors ---------------------------------------------------------------------------

class DatasetTensors : public ::testing::Test {
 protected:
  /// A tensor of bytes that count up from `first`.
  void add(const std::string& name, std::vector<std::uint64_t> shape, std::uint8_t first = 0,
           DType dtype = DType::u8) {
    std::size_t size = 1;
    for (const std::uint64_t extent : shape) {
      size *= static_cast<std::size_t>(extent);
    }
    std::vector<std::byte> bytes(dtype == DType::i64 ? size * 8 : size);
    for (std::size_t i = 0; i < size; ++i) {
      bytes[dtype == DType::i64 ? i * 8 : i] = static_cast<std::byte>(first + i);
    }
    tensors_.push_back({name, dtype, std::move(shape), std::move(bytes)});
  }

  /// The file with the tensors that were added since the last call.
  fs::path write() {
    std::vector<TensorToWrite> views;
    for (const Tensor& tensor : tensors_) {
      views.push_back({tensor.name, tensor.dtype, tensor.shape, tensor.bytes});
    }
    fs::path path = folder_.path() / "images.safetensors";
    write_safetensors(path, views, {});
    tensors_.clear();
    return path;
  }

  struct Tensor {
    std::string name;
    DType dtype;
    std::vector<std::uint64_t> shape;
    std::vector<std::byte> bytes;
  };
  std::vector<Tensor> tensors_;
  TemporaryFolder folder_;
};

TEST_F(DatasetTensors, GreyBecomesRgb) {
  add("val.images", {3, 1, 2});
  add("val.labels", {3}, 7);
  const fs::path path = write();
  const Dataset images = open_dataset(request(path, 10)).validation;
  ASSERT_EQ(images.size(), 3U);
  EXPECT_EQ(images.label(2), 9);
  EXPECT_EQ(images.name(2), path.string() + ": val image 2");
  const RgbImage image = images.read(2);
  EXPECT_EQ(image.width, 2);
  EXPECT_EQ(image.height, 1);
  EXPECT_THAT(image.pixels, ElementsAre(4, 4, 4, 5, 5, 5));
}

TEST_F(DatasetTensors, ColourIsCopied) {
  add("val.images", {2, 2, 1, 3});
  add("val.labels", {2}, 0, DType::i64);
  const Dataset images = open_dataset(request(write(), 2)).validation;
  EXPECT_EQ(images.label(1), 1);
  const RgbImage image = images.read(1);
  EXPECT_EQ(image.width, 1);
  EXPECT_EQ(image.height, 2);
  EXPECT_THAT(image.pixels, ElementsAre(6, 7, 8, 9, 10, 11));
}

TEST_F(DatasetTensors, LabelsMayStandAtAnyByte) {
  add("val.images", {3, 1, 1});  // three bytes before the labels
  add("val.labels", {3}, 5, DType::i64);
  const Dataset images = open_dataset(request(write(), 8)).validation;
  EXPECT_EQ(images.label(0), 5);
  EXPECT_EQ(images.label(2), 7);
}

TEST_F(DatasetTensors, CalibrationIsTrainElseVal) {
  add("val.images", {4, 1, 1});
  add("val.labels", {4});
  fs::path path = write();
  auto splits = open_dataset(request(path, 4, 2));
  EXPECT_EQ(splits.calibration.size(), 2U);
  EXPECT_EQ(splits.calibration_source,
            fmt::format("a seeded sample of 2 images of {}: val.images (there are no train.images)",
                        path.string()));
  add("val.images", {4, 1, 1});
  add("val.labels", {4});
  add("train.images", {2, 1, 1}, 50);
  path = write();
  splits = open_dataset(request(path, 4, 2));
  EXPECT_EQ(splits.calibration_source, fmt::format("2 images of {}: train.images", path.string()));
  EXPECT_EQ(splits.calibration.name(0), path.string() + ": train image 0");
  EXPECT_EQ(splits.calibration.label(0), -1);
  EXPECT_THAT(splits.calibration.read(1).pixels, ElementsAre(51, 51, 51));
  EXPECT_THAT(open_error(request(path, 4, 3)),
              HasSubstr("train.images holds 2 images, 3 were asked for"));
}

TEST_F(DatasetTensors, OutliveTheFileObject) {
  add("val.images", {2, 1, 1}, 8);
  Dataset images;
  {
    const Safetensors file = Safetensors::open(write());
    images = Dataset::from_tensors(file, "val").subset({1, 1, 0});
  }
  EXPECT_EQ(images.size(), 3U);
  EXPECT_THAT(images.read(1).pixels, ElementsAre(9, 9, 9));
  EXPECT_EQ(images.label(0), -1);
}

TEST_F(DatasetTensors, OfOtherKindsAreRefused) {
  const auto images_error = [&](std::vector<std::uint64_t> shape, DType dtype = DType::u8) {
    add("val.images", std::move(shape), 0, dtype);
    return open_error(request(write()));
  };
  for (const auto& shape : {std::vector<std::uint64_t>{},
                            {4},
                            {4, 2},
                            {4, 2, 2, 1},
                            {0, 2, 2},
                            {1, 0, 2},
                            {1, 1, 1, 1, 3}}) {
    EXPECT_THAT(images_error(shape), HasSubstr("images must be U8 [N,H,W] or [N,H,W,3]"));
  }
  EXPECT_THAT(images_error({1, 2, 2}, DType::i8), HasSubstr("val.images is I8 [1,2,2]; images"));
  add("val.labels", {1});
  EXPECT_THAT(open_error(request(write())), HasSubstr("tensor 'val.images' is missing"));
}

TEST_F(DatasetTensors, WithBadLabelsAreRefused) {
  const auto labels_error = [&](std::vector<std::uint64_t> shape, std::uint8_t first,
                                DType dtype = DType::u8) {
    add("val.images", {2, 1, 1});
    add("val.labels", std::move(shape), first, dtype);
    return open_error(request(write(), 10));
  };
  EXPECT_THAT(labels_error({3}, 0), HasSubstr("val.labels is U8 [3]; the labels of 2 images"));
  EXPECT_THAT(labels_error({2, 1}, 0), HasSubstr("val.labels is U8 [2,1]"));
  EXPECT_THAT(labels_error({2}, 0, DType::i8), HasSubstr("val.labels is I8 [2]"));
  EXPECT_THAT(labels_error({2}, 9),
              HasSubstr("val.labels: label 1 is 10, this model has classes 0 to 9"));
  add("val.images", {2, 1, 1});
  add("val.labels", {2}, 0, DType::i64);
  tensors_.back().bytes[15] = std::byte{0x80};
  EXPECT_THAT(open_error(request(write())), HasSubstr("val.labels: label 1 is -9223372036854775"));
  add("val.images", {2, 1, 1});
  EXPECT_THAT(open_error(request(write())), HasSubstr("val.labels: there are no labels"));
}

// ---- Reading ---------------------------------------------------------------------------

TEST(DatasetRead, DecodesWhenAskedAndNamesWhatItCannotDecode) {
  const TemporaryFolder folder;
  fs::create_directories(folder.path() / "val/n01443537");
  fs::copy_file(testing::fixtures() / "images/one_pixel.png",
                folder.path() / "val/n01443537/a.png");
  write_text(folder.path() / "val/n01443537/b.png", "no image");
  const Dataset images = open_dataset(request(folder.path())).validation;
  ASSERT_EQ(images.size(), 2U);
  EXPECT_THAT(images.read(0).pixels, ElementsAre(10, 20, 30));
  EXPECT_THAT(error_of([&] { images.read(1); }), HasSubstr(images.name(1)));
}

TEST(DatasetRead, SubsetKeepsTheGivenOrder) {
  const Dataset images({{"a", 1}, {"b", 2}, {"c", 3}});
  const Dataset subset = images.subset({2, 0}).subset({1, 0, 0});
  EXPECT_THAT(names(subset), ElementsAre("a", "c", "c"));
  EXPECT_EQ(subset.label(1), 3);
  EXPECT_EQ(Dataset().size(), 0U);
}

TEST(ListImages, GivesAllBelowAFolderInByteOrder) {
  const TemporaryFolder folder;
  for (const char* name : {"b/z.png", "b.jpg", "a/y/x.JPG", "B.Jpeg", "a/no.txt", ".a/x.png"}) {
    write_text(folder.path() / name);
  }
  std::vector<std::string> found;
  for (const fs::path& path : list_images(folder.path())) {
    found.push_back(path.lexically_relative(folder.path()).string());
  }
  EXPECT_THAT(found, ElementsAre("B.Jpeg", "a/y/x.JPG", "b.jpg", "b/z.png"));
}

TEST(ListImages, RefusesWhatIsNoFolderOfImages) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of([&] { list_images(folder.path()); }), HasSubstr("no .jpeg, .jpg or .png"));
  const fs::path absent = folder.path() / "absent";
  EXPECT_THAT(error_of([&] { list_images(absent); }),
              HasSubstr(absent.string() + ": the folder cannot be listed (No such file"));
}

// ---- The 1000 classes ------------------------------------------------------------------

TEST(ImageNetClasses, AreSortedByWnidAndFoundByIt) {
  const auto classes = imagenet_classes();
  ASSERT_EQ(classes.size(), 1000U);
  for (std::size_t i = 0; i < classes.size(); ++i) {
    EXPECT_EQ(imagenet_class_index(classes[i].wnid), static_cast<int>(i));
    EXPECT_EQ(classes[i].wnid.size(), 9U);
    EXPECT_NE(classes[i].name, "");
  }
  EXPECT_EQ(classes[0].name, "tench");
  EXPECT_EQ(classes[999].name, "toilet tissue");
  for (const char* other : {"", "n0144076", "n014407640", "n00000000", "n99999999", "tench"}) {
    EXPECT_EQ(imagenet_class_index(other), -1);
  }
}

TEST(ImageNetClasses, DevkitIdsAreAPermutation) {
  std::set<int> classes;
  for (int id = 1; id <= 1000; ++id) {
    classes.insert(class_of_devkit_id(id));
  }
  EXPECT_EQ(classes.size(), 1000U);
  EXPECT_EQ(*classes.begin(), 0);
  EXPECT_EQ(*classes.rbegin(), 999);
  EXPECT_EQ(class_of_devkit_id(0), -1);
  EXPECT_EQ(class_of_devkit_id(1001), -1);
  EXPECT_EQ(class_of_devkit_id(-5), -1);
}

TEST(ImageNetClasses, DevkitIdsAreTheDevkits) {
  for (std::size_t i = 0; i < kFirstIds.size(); ++i) {
    EXPECT_EQ(class_of_devkit_id(kFirstIds[i]), imagenet_class_index(kFirstWnids[i]));
  }
  EXPECT_EQ(class_of_devkit_id(1), imagenet_class_index("n02119789"));     // kit fox
  EXPECT_EQ(class_of_devkit_id(1000), imagenet_class_index("n03255030"));  // dumbbell
}

TEST(ImageNetClasses, AreThoseOfTheReference) {
  const auto reference = testing::reference_directory();
  if (!reference) {
    GTEST_SKIP() << "no reference data: set BITLOG2_REFERENCE_DIR";
  }
  std::ifstream table(*reference / "data/imagenet_classes.tsv");
  std::string line;
  std::getline(table, line);
  for (std::size_t i = 0; i < imagenet_classes().size(); ++i) {
    ASSERT_TRUE(std::getline(table, line));
    const ImageNetClass& entry = imagenet_classes()[i];
    EXPECT_EQ(line, fmt::format("{}\t{}\t{}", i, entry.wnid, entry.name));
  }
}

TEST(DatasetReference, HasEverySecondClass) {
  const auto reference = testing::reference_directory();
  if (!reference) {
    GTEST_SKIP() << "no reference data: set BITLOG2_REFERENCE_DIR";
  }
  const fs::path path = *reference / "data/imagenet-500";
  const auto splits = open_dataset(request(path, 1000, 32));
  ASSERT_EQ(splits.validation.size(), 500U);
  EXPECT_EQ(splits.validation.name(0), (path / "val/n01440764/n01440764_0.JPEG").string());
  for (std::size_t i = 0; i < 500; ++i) {
    EXPECT_EQ(splits.validation.label(i), static_cast<int>(2 * i));
  }
  EXPECT_EQ(splits.calibration.size(), 32U);
  EXPECT_EQ(splits.calibration.name(0), (path / "train/n01440764/n01440764_0.JPEG").string());
  EXPECT_EQ(splits.calibration_source, fmt::format("32 images of {}", (path / "train").string()));
  EXPECT_GT(splits.validation.read(0).width, 0);
}

}  // namespace
}  // namespace bitlog2
