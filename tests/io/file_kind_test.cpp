// The kinds of files that are no safetensors files, recognized by headers as other programs write
// them.
#include "io/file_kind.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "bitlog2/error.h"
#include "bitlog2/safetensors.h"
#include "reference.h"
#include "tensors.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

FileKind kind_of(const std::string& bytes) {
  return file_kind(std::as_bytes(std::span(bytes)));
}

std::string description_of(const std::string& bytes) {
  std::string text = describe_foreign_file(std::as_bytes(std::span(bytes)));
  EXPECT_THAT(text, Not(HasSubstr("\n")));
  return text;
}

std::string little_endian(std::size_t value, std::size_t bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes; ++i) {
    text += static_cast<char>(value >> (8 * i) & 0xFF);
  }
  return text;
}

/// A zip archive of empty entries.
std::string zip_of(const std::vector<std::string>& names) {
  std::string archive;
  std::string directory;
  for (const std::string& name : names) {
    const std::size_t offset = archive.size();
    archive += "PK\3\4"s + std::string(22, '\0') + little_endian(name.size(), 2) +
               little_endian(0, 2) + name;
    directory += "PK\1\2"s + std::string(24, '\0') + little_endian(name.size(), 2) +
                 std::string(12, '\0') + little_endian(offset, 4) + name;
  }
  const std::size_t offset = archive.size();
  return archive + directory + "PK\5\6"s + std::string(4, '\0') + little_endian(names.size(), 2) +
         little_endian(names.size(), 2) + little_endian(directory.size(), 4) +
         little_endian(offset, 4) + little_endian(0, 2);
}

const std::string kOldTorch = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M"s;

struct Sample {
  const char* name;
  std::string bytes;
  FileKind kind;
  const char* says;
};

std::vector<Sample> samples() {
  return {
      {"torch.save", zip_of({"archive/data.pkl", "archive/byteorder", "archive/data/0"}),
       FileKind::pytorch_zip, "a PyTorch checkpoint"},
      {"torch.save, cut off", zip_of({"archive/data.pkl", "archive/data/0"}).substr(0, 60),
       FileKind::pytorch_truncated, "whose end is missing"},
      {"old torch.save", kOldTorch, FileKind::pytorch_legacy, "a PyTorch checkpoint"},
      {"torch.save of protocol 4", "\x80\x04\x95\x0d\0\0\0\0\0\0\0"s + kOldTorch.substr(2),
       FileKind::pytorch_legacy, "a PyTorch checkpoint"},
      {"torch.save of protocol 1", "L119547037146038801333356L\n.", FileKind::pytorch_legacy,
       "a PyTorch checkpoint"},
      {"oldest torch.save", "sys_info"s + std::string(249, '\0') + "ustar", FileKind::pytorch_tar,
       "before torch 0.1.10"},
      {"torch.jit.save",
       zip_of({"net/data.pkl", "net/code/__torch__/Net.py", "net/constants.pkl", "net/version"}),
       FileKind::torchscript, "torch.jit.load"},
      {"pickle 4", "\x80\x04\x95\x10\0\0\0\0\0\0\0}\x94."s, FileKind::pickle, "a Python pickle"},
      {"pickle 2", "\x80\x02}q\0X\1\0\0\0aq\1K\1s."s, FileKind::pickle, "a Python pickle"},
      {"ONNX of PyTorch", "\x08\x07\x12\x07pytorch\x1a\x05\x31.13.1:\x90\x01"s, FileKind::onnx,
       "an ONNX model"},
      {"ONNX without a producer", "\x08\x08:\xf2\x02\x0a\x0b\x0a\x01X"s, FileKind::onnx,
       "an ONNX model"},
      {"GGUF", "GGUF\3\0\0\0\x23\1\0\0\0\0\0\0"s, FileKind::gguf, "a GGUF file"},
      {"HDF5", "\x89HDF\r\n\x1a\n\0\0\0\0"s, FileKind::hdf5, "an HDF5 file"},
      {"Keras", zip_of({"metadata.json", "config.json", "model.weights.h5"}), FileKind::keras,
       "a Keras model"},
      {"TFLite", "\x1c\0\0\0TFL3\x14\0\x20\0"s, FileKind::tflite, "TensorFlow Lite"},
      {"SavedModel", "\x08\x01\x12\xf3\xc2\x04\x0a\x80\x01"s, FileKind::saved_model,
       "a TensorFlow SavedModel"},
      {"TensorFlow's index", std::string(40, 'x') + "\x57\xfb\x80\x8b\x24\x75\x47\xdb",
       FileKind::tensorflow_checkpoint, "a TensorFlow checkpoint"},
      {"npy", "\x93NUMPY\1\0v\0{'descr': '<f4'"s, FileKind::npy, "a NumPy array"},
      {"npz", zip_of({"embedding/kernel.npy", "cls.npy"}), FileKind::npz, "(.npz)"},
      {"Git LFS", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 22883412\n",
       FileKind::lfs_pointer, "git lfs pull"},
      {"web page", "\n <!DOCTYPE HTML>\n<html lang=\"en\">", FileKind::web_page, "/resolve/"},
      {"web page without a type", "\xef\xbb\xbf<html><head>", FileKind::web_page, "a web page"},
      {"XHTML", "<?xml version=\"1.0\"?><html>", FileKind::web_page, "a web page"},
      {"server's error", "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
       FileKind::xml, "an XML text"},
      {"transformers' config", R"({"architectures": ["ViTForImageClassification"]})",
       FileKind::model_config, "not its weights"},
      {"timm's config", R"({"architecture": "vit_tiny_patch16_224"})", FileKind::model_config,
       "not its weights"},
      {"own config", R"({"family": "vit", "embed_dim": 192})", FileKind::bitlog2_config,
       "give it as --config"},
      {"other JSON", "\xef\xbb\xbf[1, 2]", FileKind::json, "a JSON text"},
      {"text", "epoch,top1\n1,70.2\n", FileKind::text, "a text"},
      {"broken JSON", "{\"weight_map\": {", FileKind::text, "a text"},
      {"gzip", "\x1f\x8b\x08\0\0\0\0\0\0\3"s, FileKind::gzip, "a gzip archive"},
      {"bzip2", "BZh91AY&SY", FileKind::bzip2, "a bzip2 archive"},
      {"xz", "\xfd"s + "7zXZ\0\0\4"s, FileKind::xz, "an xz archive"},
      {"zstd", "\x28\xb5\x2f\xfd\x04\x58"s, FileKind::zstd, "a zstd archive"},
      {"7z", "7z\xbc\xaf\x27\x1c\0\4"s, FileKind::seven_zip, "a 7z archive"},
      {"RAR", "Rar!\x1a\x07\x01\0"s, FileKind::rar, "a RAR archive"},
      {"tar", "model.safetensors" + std::string(240, '\0') + "ustar\00000"s, FileKind::tar,
       "a tar archive"},
      {"zip", zip_of({"model.safetensors"}), FileKind::zip, "a zip archive"},
      {"PNG", "\x89PNG\r\n\x1a\n\0\0\0\rIHDR"s, FileKind::png, "a PNG picture"},
      {"JPEG", "\xff\xd8\xff\xe0\0\x10JFIF"s, FileKind::jpeg, "a JPEG picture"},
      {"nothing", "", FileKind::empty, "download it again"},
      {"zeros", std::string(5000, '\0'), FileKind::zeros, "filled with zeros"},
  };
}

TEST(FileKind, IsToldByTheFirstBytes) {
  for (const Sample& sample : samples()) {
    EXPECT_EQ(kind_of(sample.bytes), sample.kind) << sample.name;
    EXPECT_THAT(description_of(sample.bytes), HasSubstr(sample.says)) << sample.name;
  }
}

/// The error of opening such a file has the same description.
TEST(FileKind, IsInTheErrorOfOpening) {
  const testing::TemporaryFolder folder;
  for (const Sample& sample : samples()) {
    const fs::path path = folder.path() / "weights";
    std::ofstream(path, std::ios::binary) << sample.bytes;
    try {
      Safetensors::open(path);
      ADD_FAILURE() << sample.name;
    } catch (const Error& error) {
      EXPECT_EQ(error.what(), path.string() + ": is " + description_of(sample.bytes))
          << sample.name;
    }
  }
}

TEST(FileKind, IsUnknownForBytesThatAreNothing) {
  for (const std::string& bytes :
       {"\1"s, "\x80\2"s, "\x80\2\0\0\0\0\0\0{"s, "\x08\x01\x12\0\0\0\0\0{"s,
        "\xe8\3\0\0\0\0\0\0{"s, "\x08\x07\x12\x7fpytorch"s, "\x08\0:\1\1\1\1\1"s,
        std::string(8, '\0'), "caf\xe9"s, testing::safetensors_bytes("{\"t\":1}", "")}) {
    EXPECT_EQ(kind_of(bytes), FileKind::unknown) << bytes;
    EXPECT_EQ(description_of(bytes), "");
  }
}

/// The length at the beginning of a safetensors file may look like another format's first bytes.
TEST(FileKind, IsNotAskedOfAWholeSafetensorsFile) {
  std::string header = "{}";
  header.resize(0x8b1f, ' ');  // gzip's magic number, little-endian
  const std::string bytes = testing::safetensors_bytes(header, "");
  ASSERT_EQ(kind_of(bytes), FileKind::gzip);
  EXPECT_TRUE(Safetensors::parse(std::as_bytes(std::span(bytes)), "x").tensors().empty());
}

TEST(FileKind, SurvivesEveryTruncation) {
  for (const Sample& sample : samples()) {
    for (std::size_t length = 0; length < std::min<std::size_t>(sample.bytes.size(), 400);
         ++length) {
      description_of(sample.bytes.substr(0, length));
    }
  }
}

TEST(FileKind, ZipDirectoriesThatLieAreNotFollowed) {
  std::string archive = zip_of({"a/data.pkl", "b"});
  for (const std::size_t offset : {std::size_t{0}, archive.size() - 1, std::size_t{0xFFFFFFFF}}) {
    archive.replace(archive.size() - 6, 4, little_endian(offset, 4));
    EXPECT_EQ(kind_of(archive), FileKind::pytorch_zip);  // recognized by its first entry
  }
}

TEST(FileKind, WhatHoldsWeightsOnlyIsSaid) {
  for (const std::string& bytes : {kOldTorch, zip_of({"archive/data.pkl", "archive/data/0"}),
                                   R"({"weight_map": {"a": "1.bin", "b": "2.bin"}})"s}) {
    EXPECT_THAT(description_of(bytes), EndsWith("; it can be given as weights only"));
  }
  for (const char* odd : {R"({"weight_map": 1})", R"({"weight_map": {"a": [1]}})"}) {
    EXPECT_THAT(description_of(odd), HasSubstr("a list of shards"));
  }
}

// ---- Folders ---------------------------------------------------------------------------

class Folder : public ::testing::Test {
 protected:
  void put(const std::string& name) const {
    fs::create_directories((path() / name).parent_path());
    std::ofstream(path() / name) << "x";
  }
  std::string description() const { return describe_folder(path()); }
  std::string here(const std::string& name) const { return (path() / name).string(); }
  fs::path path() const { return folder_.path(); }

 private:
  testing::TemporaryFolder folder_;
};

TEST_F(Folder, WithModelSafetensorsNamesIt) {
  put("config.json");
  put("model.safetensors");
  put("other.safetensors");
  EXPECT_EQ(description(), "a folder; give " + here("model.safetensors"));
  EXPECT_THAT([&] { Safetensors::open(path()); },
              ::testing::ThrowsMessage<Error>(path().string() + ": is a folder; give " +
                                              here("model.safetensors")));
}

TEST_F(Folder, WithOtherFilesNamesThem) {
  put("b.safetensors");
  EXPECT_EQ(description(), "a folder; give " + here("b.safetensors"));
  put("a.safetensors");
  EXPECT_EQ(description(), "a folder; give one of its files: a.safetensors, b.safetensors");
  put("model.safetensors.index.json");
  EXPECT_EQ(description(), "a folder; give " + here("model.safetensors.index.json"));
}

TEST_F(Folder, OfTheHuggingFaceCacheNamesItsSnapshot) {
  put("blobs/0123");
  put("snapshots/4567/model.safetensors");
  EXPECT_EQ(description(), "a folder; give " + here("snapshots/4567/model.safetensors"));
}

TEST_F(Folder, WithPyTorchsFileNamesIt) {
  put("config.json");
  put("pytorch_model.bin");
  EXPECT_EQ(description(), "a folder; give " + here("pytorch_model.bin"));
  put("pytorch_model-00001-of-00002.bin");
  put("pytorch_model.bin.index.json");
  EXPECT_EQ(description(), "a folder; give " + here("pytorch_model.bin.index.json"));
}

TEST_F(Folder, WithoutWeightsSaysWhatItHolds) {
  EXPECT_EQ(description(), "an empty folder; give a .safetensors file");
  for (const char* name : {"train/a.jpg", "val/b.jpg", "c", "d", "e", "f"}) {
    put(name);
  }
  EXPECT_EQ(description(), "a folder without a .safetensors file (it holds c, d, e, f and 2 more)");
}

}  // namespace
}  // namespace bitlog2
