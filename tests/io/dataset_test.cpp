// Every layout that dataset.h lists, and mistakes in each. Most of these tests decode nothing, so
// their images are empty files.
#include "bitlog2/dataset.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "error_of.h"
#include "io/dataset_classes.h"
#include "io/imagenet_devkit.h"
#include "reference.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::error_of;
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

/// `lines` lines, of which the first are given.
std::string ground_truth(const std::vector<int>& first, std::size_t lines = 50'000) {
  std::string text;
  for (std::size_t i = 0; i < lines; ++i) {
    text += fmt::format("{}\n", i < first.size() ? first[i] : 1);
  }
  return text;
}

DatasetRequest request(const fs::path& path, int num_classes = 1000,
                       std::size_t calibration_images = 0) {
  return {.path = path, .num_classes = num_classes, .calibration_images = calibration_images};
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
  for (const char* name : {"._x.jpeg", "x.txt", "jpeg", "x.jpeg.bak"}) {
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
  write_text(folder.path() / "val/cat/2.png");  // before cat-b, although "cat/" sorts after "cat-"
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
  fs::create_directory_symlink("..", folder.path() / "store/a/round");  // a circle of links
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

TEST(DatasetFolders, ImagesBesideThemArePassedOverAndNamed) {
  const TemporaryFolder folder;
  for (const char* class_folder : {"n01443537", "n01440764"}) {
    write_text(folder.path() / "val" / class_folder / "x.jpg");
  }
  write_text(folder.path() / "val/stray.jpg");
  for (const int num_classes : {1000, 2}) {
    const auto splits = open_dataset(request(folder.path(), num_classes));
    EXPECT_EQ(splits.validation.size(), 2U);
    EXPECT_THAT(splits.notes,
                ElementsAre(HasSubstr("1 image beside the class folders passed over: stray.jpg")));
  }
  EXPECT_THAT(open_error(request(folder.path(), 3)),
              HasSubstr("(beside 1 images): 2 class folders, this model has 3 classes"));
}

TEST(DatasetFolders, WithoutImagesAreRefused) {
  const TemporaryFolder folder;
  write_text(folder.path() / "val/n01443537/n01443537.tar");
  EXPECT_THAT(open_error(request(folder.path())),
              HasSubstr("val: 1 class folders without an image"));
}

TEST(DatasetFolders, MissingValIsNamed) {
  const TemporaryFolder folder;
  write_text(folder.path() / "train/n01443537/x.jpg");
  EXPECT_THAT(open_error(request(folder.path())),
              AllOf(HasSubstr(folder.path().string() + " (it has no val/): 1 class folders"),
                    HasSubstr("folder 'train' is not the wnid")));
}

TEST(DatasetPath, AbsentEmptyOrOtherIsRefused) {
  const TemporaryFolder folder;
  const fs::path absent = folder.path() / "absent";
  EXPECT_THAT(open_error(request(absent)),
              HasSubstr(absent.string() + ": there is no such file or folder; give the folder"));
  EXPECT_THAT(open_error(request(folder.path())),
              HasSubstr("no images (.jpg, .png and the like) and no class folders"));
  write_text(folder.path() / "val/notes.txt");
  EXPECT_THAT(open_error(request(folder.path())),
              HasSubstr("val: no images (.jpg, .png and the like) and no class folders"));
  write_text(folder.path() / "val.tar", "x");
  EXPECT_THAT(open_error(request(folder.path() / "val.tar")),
              HasSubstr("neither a folder nor a .safetensors file"));
  write_text(folder.path() / "x.safetensors", "x");
  EXPECT_THAT(open_error(request(folder.path() / "x.safetensors")), HasSubstr("x.safetensors"));
}

// ---- The order of class folders --------------------------------------------------------

/// The classes of folders with these names, in this order; each folder holds an image.
std::vector<int> classes_of(const std::vector<std::string>& names, const ModelClasses& model) {
  std::vector<ClassFolder> folders;
  for (const std::string& name : names) {
    folders.push_back({name});
  }
  return number_class_folders(folders, model, "val").classes;
}

std::vector<std::string> notes_of(const std::vector<ClassFolder>& folders,
                                  const ModelClasses& model) {
  return number_class_folders(folders, model, "val").notes;
}

std::string numbering_error(const std::vector<std::string>& names, const ModelClasses& model) {
  return error_of([&] { classes_of(names, model); });
}

TEST(ClassOrder, ThatTimmHasOtherwiseIsTold) {
  const auto notes = [](const std::vector<std::string>& names) {
    std::vector<ClassFolder> folders;
    for (const std::string& name : names) {
      folders.push_back({name});
    }
    return notes_of(folders, {.count = static_cast<int>(names.size())});
  };
  EXPECT_THAT(notes({"0", "1", "10", "11", "2"}),
              ElementsAre(AllOf(HasSubstr("byte order"), HasSubstr("'10' is class 2"),
                                HasSubstr("timm sorts naturally, so that '2' is"),
                                HasSubstr("--class-map"))));
  EXPECT_THAT(notes({"Bee", "ant", "cow"}), ElementsAre(HasSubstr("'Bee' is class 0")));
  EXPECT_THAT(notes({"00", "01", "02", "10", "11"}), ElementsAre());
  EXPECT_THAT(notes({"Ant", "Bee", "Cow"}), ElementsAre());
}

TEST(ClassOrder, EmptyFoldersAreCountedAndTold) {
  EXPECT_EQ(classes_of({"a", "b", "c"}, {.count = 3}), (std::vector<int>{0, 1, 2}));
  EXPECT_THAT(notes_of({{"a"}, {"b", false}, {"c"}}, {.count = 3}),
              ElementsAre(AllOf(HasSubstr("'b' is class 1"),
                                HasSubstr("leaves out folders without images (b)"))));
  EXPECT_THAT(notes_of({{"a"}, {"b"}, {"c", false}}, {.count = 3}), ElementsAre());
}

TEST(ClassOrder, IsTheDatasetsToTell) {
  const TemporaryFolder folder;
  for (const char* name : {"Bee", "ant", "cow"}) {
    write_text(folder.path() / "val" / name / "x.jpg");
  }
  const auto splits = open_dataset(request(folder.path(), 3));
  EXPECT_THAT(listing(splits.validation, folder.path() / "val"),
              ElementsAre("Bee/x.jpg 0", "ant/x.jpg 1", "cow/x.jpg 2"));
  EXPECT_THAT(splits.notes, ElementsAre(HasSubstr("--class-map")));
}

/// timm's sort key: text and numbers take turns.
std::vector<std::pair<std::string, int>> natural_key(const std::string& name) {
  std::vector<std::pair<std::string, int>> key = {{"", 0}};
  bool digits = false;
  for (const char letter : name) {
    const bool is_digit = std::isdigit(static_cast<unsigned char>(letter)) != 0;
    if (is_digit != digits) {
      key.emplace_back("", 0);
      digits = is_digit;
    }
    if (is_digit) {
      key.back().second = key.back().second * 10 + (letter - '0');
    } else {
      key.back().first += static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    }
  }
  return key;
}

RC_GTEST_PROP(ClassOrderProperty, NaturalOrderIsThatOfTextsAndNumbersInTurn, ()) {
  const auto name = rc::gen::resize(
      8, rc::gen::container<std::string>(rc::gen::element('a', 'B', 'b', '_', '0', '1', '9')));
  const std::string a = *name;
  const std::string b = *name;
  RC_ASSERT(naturally_before(a, b) == (natural_key(a) < natural_key(b)));
  RC_ASSERT(!(naturally_before(a, b) && naturally_before(b, a)));
}

TEST(ClassOrder, NaturalOrderTakesNumbersOfAnyLength) {
  const std::string nines(100, '9');
  EXPECT_TRUE(naturally_before("x" + nines, "x1" + nines));
  EXPECT_FALSE(naturally_before("x1" + nines, "x" + nines));
  EXPECT_FALSE(naturally_before("x007", "x7"));
  EXPECT_TRUE(naturally_before("x7a", "x007b"));
  EXPECT_TRUE(naturally_before("", "a"));
  EXPECT_TRUE(naturally_before("z", "\xC3\xA4"));
}

TEST(ClassFolderNames, NumberFolders) {
  const ModelClasses model = {.count = 3, .names = {"Ankle boot", "T-shirt/top", "Bag"}};
  EXPECT_EQ(classes_of({"Bag", "T-shirt_top", "ankle_boot"}, model), (std::vector<int>{2, 1, 0}));
  EXPECT_EQ(classes_of({"ANKLE-BOOT", "bag", "t shirt top"}, model), (std::vector<int>{0, 2, 1}));
  EXPECT_THAT(notes_of({{"ankle boot"}, {"bag"}, {"t-shirt top"}}, model), ElementsAre());
}

TEST(ClassFolderNames, NumberSomeFolders) {
  const ModelClasses model = {.count = 3, .names = {"ant", "bee", "cow"}};
  EXPECT_EQ(classes_of({"Cow"}, model), (std::vector<int>{2}));
  EXPECT_THAT(notes_of({{"Cow"}, {"bee"}}, model),
              ElementsAre(HasSubstr("for 2 of the model's 3 classes")));
}

TEST(ClassFolderNames, RefuseFoldersThatTheyDoNotNumber) {
  const ModelClasses model = {.count = 3, .names = {"ant", "Bee", "cow"}};
  EXPECT_THAT(numbering_error({"ant", "bees", "cows"}, model),
              AllOf(HasSubstr("no class of the checkpoint is called like the folders bees, cows"),
                    HasSubstr("--class-map")));
  EXPECT_THAT(
      numbering_error({"BEE", "bee"}, model),
      HasSubstr("folders 'BEE' and 'bee' are both called like the checkpoint's class 'Bee'"));
  const ModelClasses twice = {.count = 3, .names = {"crane", "Crane", "crane"}};
  EXPECT_EQ(classes_of({"Crane"}, twice), (std::vector<int>{1}));
  EXPECT_THAT(numbering_error({"crane"}, twice),
              HasSubstr("several classes of the checkpoint are called like the folder 'crane'"));
}

TEST(ClassFolderNames, OfOtherFoldersLeaveTheByteOrder) {
  const ModelClasses model = {.count = 2, .names = {"ant", "bee"}};
  EXPECT_EQ(classes_of({"0", "1"}, model), (std::vector<int>{0, 1}));
  EXPECT_THAT(notes_of({{"0"}, {"1"}}, model),
              ElementsAre(HasSubstr("no folder is called like a class of the checkpoint, such as "
                                    "'ant'")));
}

TEST(ClassFolderNames, ThatAreWnidsGoBeforeImageNetsOrder) {
  ModelClasses model = {.count = 1000, .names = {}};
  EXPECT_EQ(classes_of({"n01440764", "n01443537"}, model), (std::vector<int>{0, 1}));
  model.names.assign(1000, "other");
  EXPECT_EQ(classes_of({"n01440764", "n01443537"}, model), (std::vector<int>{0, 1}));
  model.names[0] = "n01443537";
  model.names[5] = "n01440764";
  EXPECT_EQ(classes_of({"n01440764", "n01443537"}, model), (std::vector<int>{5, 0}));
}

TEST(ClassFolderNames, ReachTheDatasetByTheRequest) {
  const TemporaryFolder folder;
  for (const char* name : {"cow", "bee"}) {
    write_text(folder.path() / "val" / name / "x.jpg");
  }
  DatasetRequest wanted = request(folder.path(), 3);
  wanted.class_names = {"Cow", "Ant", "Bee"};
  const auto splits = open_dataset(wanted);
  EXPECT_THAT(listing(splits.validation, folder.path() / "val"),
              ElementsAre("bee/x.jpg 2", "cow/x.jpg 0"));
  EXPECT_THAT(splits.notes, ElementsAre(HasSubstr("2 of the model's 3 classes")));
}

TEST(DatasetFolders, OfAModelOfAThousandOtherClassesAreNumberedBytewise) {
  const TemporaryFolder folder;
  for (int i = 0; i < 1000; ++i) {
    fs::create_directories(folder.path() / fmt::format("val/c{:03}", i));
  }
  write_text(folder.path() / "val/c007/x.jpg");
  EXPECT_THAT(listing(open_dataset(request(folder.path())).validation, folder.path() / "val"),
              ElementsAre("c007/x.jpg 7"));
}

class ClassMap : public ::testing::Test {
 protected:
  ClassMap() {
    for (const char* name : {"ant", "Bee", "cow"}) {
      write_text(folder_.path() / "val" / name / "x.jpg");
    }
  }

  DatasetRequest with_map(const std::string& text, int num_classes = 3) {
    write_text(map(), text);
    DatasetRequest wanted = request(folder_.path(), num_classes);
    wanted.class_names.assign(static_cast<std::size_t>(num_classes), "ant");
    wanted.class_map = map();
    return wanted;
  }

  std::string error(const std::string& text) { return open_error(with_map(text)); }

  fs::path map() const { return folder_.path() / "classes.txt"; }

  TemporaryFolder folder_;
};

TEST_F(ClassMap, NumbersFoldersBeforeAllElse) {
  for (const char* text : {"cow\nant\nBee", "cow\r\nant\r\nBee\r\n\r\n \n",
                           "\xEF\xBB\xBF"
                           "cow\nant\nBee\n\n"}) {
    const auto splits = open_dataset(with_map(text));
    EXPECT_THAT(listing(splits.validation, folder_.path() / "val"),
                ElementsAre("Bee/x.jpg 2", "ant/x.jpg 1", "cow/x.jpg 0"));
    EXPECT_THAT(splits.notes, ElementsAre());
  }
}

TEST_F(ClassMap, IsRefusedIfItDoesNotNameTheFoldersOnce) {
  EXPECT_THAT(error("ant\ncow\nant\n"),
              HasSubstr("classes.txt line 3: 'ant' stands in line 1, too"));
  EXPECT_THAT(error("ant\n\nBee\ncow\n"), HasSubstr("classes.txt line 2: the line is blank"));
  EXPECT_THAT(error("ant\ncow\n"), HasSubstr("classes.txt: 2 names, this model has 3 classes"));
  EXPECT_THAT(error(""), HasSubstr("classes.txt: 0 names"));
  EXPECT_THAT(error("ant\nbee\ncow\n"), HasSubstr("classes.txt does not name the folder 'Bee'"));
  EXPECT_THAT(open_error(with_map("ant\nBee\ncow\ndog\n", 4)),
              HasSubstr("classes.txt names folders that are not there: dog"));
  EXPECT_THAT(error(std::string("\xFF\xFE"
                                "a\0",
                                4)),
              HasSubstr("classes.txt: the text is UTF-16"));
  EXPECT_THAT(error(std::string("a\0b", 3)), HasSubstr("classes.txt: this is no text"));
}

TEST_F(ClassMap, IsRefusedWhereItIsNoFileOrNumbersNothing) {
  DatasetRequest wanted = with_map("ant\nBee\ncow\n");
  fs::remove(map());
  EXPECT_THAT(open_error(wanted), HasSubstr("classes.txt"));
  fs::create_directory(map());
  EXPECT_THAT(open_error(wanted), HasSubstr("classes.txt: a folder"));
  fs::remove(map());
  wanted = with_map("ant\nBee\ncow\n");
  fs::remove_all(folder_.path() / "val");
  write_text(folder_.path() / "val/a.jpg");
  write_text(folder_.path() / "val.txt", "a.jpg 1\n");
  EXPECT_THAT(open_error(wanted), AllOf(HasSubstr("there are no class folders for"),
                                        HasSubstr("leave out --class-map")));
}

// ---- What is listed --------------------------------------------------------------------

TEST(DatasetListing, TakesImagesOfEveryFormat) {
  const TemporaryFolder folder;
  const std::vector<std::string> images = {"a.jpeg", "b.JPG", "c.jpe", "d.jfif", "e.PNG", "f.webp",
                                           "g.bmp",  "h.dib", "i.GIF", "j.tif",  "k.tiff"};
  for (const std::string& name : images) {
    write_text(folder.path() / "val/n01443537" / name);
  }
  const auto splits = open_dataset(request(folder.path()));
  EXPECT_EQ(splits.validation.size(), images.size());
  EXPECT_THAT(splits.notes, ElementsAre());
}

TEST(DatasetListing, CountsOtherFilesByExtensionOnce) {
  const TemporaryFolder folder;
  write_text(folder.path() / "train/x.jpg");
  write_text(folder.path() / "train/a.txt");
  for (const char* name :
       {"x.jpg", "a.TXT", "b.txt", "c.csv", "LICENSE", ".DS_Store", "Thumbs.db", "desktop.ini"}) {
    write_text(folder.path() / "val/n01443537" / name);
  }
  write_text(folder.path() / "val/val.txt", "x.jpg 1\n");
  const auto splits = open_dataset(request(folder.path(), 1000, 1));
  EXPECT_EQ(splits.validation.size(), 1U);
  EXPECT_THAT(splits.notes,
              ElementsAre(HasSubstr("passed over: 3 .txt, 1 of other names, 1 .csv")));
}

TEST(DatasetListing, PassesOverWhatIsNoRegularFile) {
  const TemporaryFolder folder;
  const fs::path inside = folder.path() / "val/n01443537";
  write_text(inside / "x.jpg");
  ASSERT_EQ(mkfifo((inside / "fifo.jpg").c_str(), 0600), 0);
  fs::create_symlink("fifo.jpg", inside / "link.png");
  fs::create_symlink("/dev/zero", inside / "zero.png");
  fs::create_symlink("x.jpg", inside / "y.jpg");
  fs::create_symlink("absent", inside / "z.jpg");  // the error comes when it is read
  const auto splits = open_dataset(request(folder.path()));
  EXPECT_THAT(listing(splits.validation, inside), ElementsAre("x.jpg 1", "y.jpg 1", "z.jpg 1"));
  EXPECT_THAT(splits.notes, ElementsAre(AllOf(HasSubstr("3 passed over that are no regular files"),
                                              HasSubstr("n01443537/"))));
  std::vector<std::string> notes;
  EXPECT_EQ(list_images(folder.path(), &notes).size(), 3U);
  EXPECT_EQ(notes, splits.notes);
}

TEST(DatasetListing, LeavesOutForeignFolders) {
  const TemporaryFolder folder;
  for (const char* name : {"__MACOSX/a", "a", "b", "b/@eaDir", "lost+found"}) {
    write_text(folder.path() / "val" / name / "x.jpg");
  }
  const auto splits = open_dataset(request(folder.path(), 2));
  EXPECT_THAT(listing(splits.validation, folder.path() / "val"),
              ElementsAre("a/x.jpg 0", "b/x.jpg 1"));
  EXPECT_THAT(splits.notes, ElementsAre(HasSubstr("3 folders left out")));
}

TEST(DatasetListing, NamesEmptyFoldersWhereTheNumberDoesNotFit) {
  const TemporaryFolder folder;
  write_text(folder.path() / "val/a/x.jpg");
  write_text(folder.path() / "val/b/x.jpg");
  fs::create_directories(folder.path() / "val/cache");
  EXPECT_THAT(
      open_error(request(folder.path(), 2)),
      AllOf(HasSubstr("3 class folders, this model has 2 classes"),
            HasSubstr("folders without images: cache"), HasSubstr("docs/datasets-and-configs.md")));
}

TEST(DatasetListing, NotesNameFilesAsTheyAre) {
  const TemporaryFolder folder;
  write_text(folder.path() / "val/n01443537/x.jpg");
  write_text(folder.path() / "val/bad\x1B[31m.jpg");
  write_text(folder.path() / "val/x.a\nb");
  EXPECT_THAT(open_dataset(request(folder.path())).notes,
              ElementsAre(HasSubstr("bad\x1B[31m.jpg"), HasSubstr("1 .a\nb")));
}

// ---- Names of splits -------------------------------------------------------------------

TEST(DatasetSplitNames, OfOtherCustomsAreTaken) {
  for (const char* name : {"validation", "valid", "test"}) {
    const TemporaryFolder folder;
    write_text(folder.path() / name / "a.jpg");
    write_text(folder.path() / "val.txt", fmt::format("{}/a.jpg 3\n", name));
    write_text(folder.path() / "training/t.jpg");
    const auto splits = open_dataset(request(folder.path(), 4, 1));
    EXPECT_EQ(splits.validation.label(0), 3);
    EXPECT_EQ(splits.calibration_source,
              fmt::format("1 images of {}", (folder.path() / "training").string()));
    EXPECT_THAT(splits.notes, ElementsAre());
    EXPECT_EQ(open_dataset(request(folder.path() / name, 4)).validation.size(), 1U);
  }
}

TEST(DatasetSplitNames, OfWhichTheFirstIsTakenAreTold) {
  const TemporaryFolder folder;
  write_text(folder.path() / "test/n01443537/a.jpg");
  write_text(folder.path() / "valid/n01443537/b.jpg");
  const auto splits = open_dataset(request(folder.path()));
  EXPECT_THAT(listing(splits.validation, folder.path()), ElementsAre("valid/n01443537/b.jpg 1"));
  EXPECT_THAT(splits.notes, ElementsAre(HasSubstr("of valid/, test/ the images of valid/")));
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

TEST_F(DatasetList, MayBeginWithUtf8sByteOrderMark) {
  write_text(folder_.path() / "val/a.jpg");
  write_text(folder_.path() / "val.txt",
             "\xEF\xBB\xBF"
             "a.jpg 2\r\n");
  EXPECT_EQ(open_dataset(request(folder_.path())).validation.label(0), 2);
}

TEST_F(DatasetList, InUtf16IsRefused) {
  write_text(folder_.path() / "val/a.jpg");
  for (const std::string& text : {std::string("\xFF\xFE"
                                              "a\0 \0"
                                              "1\0",
                                              8),
                                  std::string("\xFE\xFF\0a\0 \0"
                                              "1",
                                              8)}) {
    write_text(folder_.path() / "val.txt", text);
    EXPECT_THAT(open_error(request(folder_.path())),
                HasSubstr("val.txt: the text is UTF-16; save it as UTF-8 text"));
  }
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
              HasSubstr("line 1: '" + std::string(80, '\x1B') + "' is not"));
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

/// The first ten lines of the devkit's file, and the classes of those photographs.
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
    return open_dataset({.path = folder_.path(), .calibration_images = images, .seed = seed});
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
  EXPECT_EQ(error_of([&] { open(21); }),
            path("val") +
                " holds 20 images, 21 were asked for; lower --calibration-images or add images");
  write_images(folder_.path() / "train", 4);
  EXPECT_EQ(error_of([&] { open(5); }),
            path("train") +
                " holds 4 images, 5 were asked for; lower --calibration-images or add images");
}

TEST_F(DatasetCalibration, ReserveGoesOnWhereTheSampleEnds) {
  const auto reserve = names(open(5).calibration_reserve);
  EXPECT_EQ(reserve.size(), 15U);
  auto larger = names(open(6).calibration);
  std::erase_if(larger, [&](const std::string& name) { return name != reserve[0]; });
  EXPECT_EQ(larger.size(), 1U);
  EXPECT_EQ(names(open(6).calibration_reserve)[0], reserve[1]);
  write_images(folder_.path() / "train", 20);
  EXPECT_THAT(names(open(5).calibration_reserve), Each(HasSubstr("/train/")));
}

/// Six images, which a test can damage.
class ReadCalibration : public ::testing::Test {
 protected:
  static constexpr int kImages = 6;

  ReadCalibration() {
    for (int i = 0; i < kImages; ++i) {
      fs::create_directories(path(i).parent_path());
      fs::copy_file(testing::fixtures() / "images/rgb_8.png", path(i));
    }
  }

  fs::path path(int i) const { return folder_.path() / fmt::format("val/n01443537/{}.png", i); }

  DatasetSplits open(std::size_t images) const {
    return open_dataset({.path = folder_.path(), .calibration_images = images});
  }

  void damage(const std::string& name) const { write_text(name, "no image"); }

  static CalibrationImages read(const DatasetSplits& splits, std::size_t threads = 1,
                                bool strict = false) {
    ThreadPool pool(threads);
    Preprocessing preprocessing;
    preprocessing.resize = 8;
    preprocessing.crop = 8;
    return read_calibration(splits, preprocessing, pool, strict);
  }

  TemporaryFolder folder_;
};

TEST_F(ReadCalibration, ReplacesNothingThatIsSound) {
  const CalibrationImages images = read(open(3));
  EXPECT_EQ(images.crops.size(), 3U);
  EXPECT_THAT(images.replaced, ElementsAre());
}

TEST_F(ReadCalibration, ReplacesDamagedImagesInTheReservesOrder) {
  const DatasetSplits splits = open(3);
  const std::vector<std::string> chosen = names(splits.calibration);
  const std::vector<std::string> reserve = names(splits.calibration_reserve);
  damage(chosen[0]);
  damage(chosen[2]);
  damage(reserve[0]);
  fs::copy_file(testing::fixtures() / "images/one_pixel.png", reserve[1],
                fs::copy_options::overwrite_existing);
  for (const std::size_t threads : {1U, 3U}) {
    const CalibrationImages images = read(splits, threads);
    EXPECT_THAT(
        images.replaced,
        ElementsAre(AllOf(HasSubstr(chosen[0]), HasSubstr("; " + reserve[0] + " calibrates")),
                    AllOf(HasSubstr(chosen[2]), HasSubstr("; " + reserve[1] + " calibrates")),
                    AllOf(HasSubstr(reserve[0]), HasSubstr("; " + reserve[2] + " cal"))));
    ASSERT_EQ(images.crops.size(), 3U);
    EXPECT_EQ(images.crops[0].pixels, images.crops[1].pixels);
    EXPECT_THAT(std::vector(images.crops[2].pixels.begin(), images.crops[2].pixels.begin() + 3),
                ElementsAre(10, 20, 30));
  }
}

TEST_F(ReadCalibration, StopsIfStrict) {
  const DatasetSplits splits = open(3);
  damage(splits.calibration.name(1));
  EXPECT_THAT(error_of([&] { read(splits, 2, true); }), HasSubstr(splits.calibration.name(1)));
}

TEST_F(ReadCalibration, StopsWhereTooFewImagesCanBeRead) {
  const DatasetSplits splits = open(5);
  damage(splits.calibration.name(1));
  EXPECT_EQ(read(splits).crops.size(), 5U);
  damage(splits.calibration.name(4));
  EXPECT_THAT(error_of([&] { read(splits); }),
              AllOf(HasSubstr("5 calibration images are wanted, and 2 of 6 candidates cannot be "
                              "read"),
                    HasSubstr("--calibration-images")));
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
  /// Adds a tensor whose bytes count up from `first`.
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

  /// Writes a file of the tensors that were added since the last call.
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
  add("val.images", {3, 1, 1});  // three bytes, so that the labels are not aligned
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
    EXPECT_THAT(images_error(shape), AllOf(HasSubstr("images must be U8 [N,H,W] or [N,H,W,3]"),
                                           HasSubstr("docs/datasets-and-configs.md")));
  }
  EXPECT_THAT(images_error({1, 2, 2}, DType::i8), HasSubstr("val.images is I8 [1,2,2]; images"));
  add("val.labels", {1});
  EXPECT_THAT(open_error(request(write())), HasSubstr("there is no tensor val.images"));
}

TEST_F(DatasetTensors, WithBadLabelsAreRefused) {
  const auto labels_error = [&](std::vector<std::uint64_t> shape, std::uint8_t first,
                                DType dtype = DType::u8) {
    add("val.images", {2, 1, 1});
    add("val.labels", std::move(shape), first, dtype);
    return open_error(request(write(), 10));
  };
  EXPECT_THAT(labels_error({3}, 0), AllOf(HasSubstr("val.labels is U8 [3]; the labels of 2 images"),
                                          HasSubstr("docs/datasets-and-configs.md")));
  EXPECT_THAT(labels_error({2, 1}, 0), HasSubstr("val.labels is U8 [2,1]"));
  EXPECT_THAT(labels_error({2}, 0, DType::i8), HasSubstr("val.labels is I8 [2]"));
  EXPECT_THAT(labels_error({2}, 9),
              HasSubstr("val.labels: label 1 is 10, this model has classes 0 to 9"));
  add("val.images", {2, 1, 1});
  add("val.labels", {2}, 0, DType::i64);
  tensors_.back().bytes[15] = std::byte{0x80};
  EXPECT_THAT(open_error(request(write())), HasSubstr("val.labels: label 1 is -9223372036854775"));
  add("val.images", {2, 1, 1});
  EXPECT_THAT(open_error(request(write())), AllOf(HasSubstr("val.labels: there are no labels"),
                                                  HasSubstr("docs/datasets-and-configs.md")));
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

TEST(SampleByClass, IsTheSameOnEveryMachine) {
  std::vector<Dataset::File> files;
  for (int i = 0; i < 12; ++i) {
    files.push_back({std::string(1, static_cast<char>('a' + i)), i / 4});
  }
  const Dataset images(std::move(files));
  EXPECT_THAT(names(images.sample_by_class(5, 0)), ElementsAre("c", "d", "e", "h", "k"));
  EXPECT_NE(names(images.sample_by_class(5, 0)), names(images.sample_by_class(5, 1)));
  EXPECT_EQ(names(images.sample_by_class(99, 0)), names(images));
  EXPECT_EQ(images.sample_by_class(0, 0).size(), 0U);
  EXPECT_EQ(Dataset().sample_by_class(3, 0).size(), 0U);
}

RC_GTEST_PROP(SampleByClassProperty, IsSpreadOverTheClasses, (std::uint64_t seed)) {
  const auto labels = *rc::gen::container<std::vector<int>>(rc::gen::inRange(-1, 6));
  const auto count = *rc::gen::inRange<std::size_t>(0, 40);
  std::vector<Dataset::File> files;
  std::map<int, std::size_t> there;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    files.push_back({fmt::format("{:03}", i), labels[i]});
    ++there[labels[i]];
  }
  const Dataset sample = Dataset(std::move(files)).sample_by_class(count, seed);
  RC_ASSERT(sample.size() == std::min(count, labels.size()));
  const std::vector<std::string> paths = names(sample);
  RC_ASSERT(std::ranges::is_sorted(paths));
  RC_ASSERT(std::set(paths.begin(), paths.end()).size() == paths.size());
  std::map<int, std::size_t> taken;
  for (std::size_t i = 0; i < sample.size(); ++i) {
    ++taken[sample.label(i)];
  }
  std::size_t most = 0;
  for (const auto& [label, number] : taken) {
    most = std::max(most, number);
  }
  for (const auto& [label, number] : there) {
    RC_ASSERT(taken[label] + 1 >= most || taken[label] == number);
  }
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
  EXPECT_THAT(error_of([&] { list_images(folder.path()); }),
              HasSubstr("no images (.jpg, .png and the like)"));
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
