// Checkpoints by torch.save: files that torch wrote (tools/make_torch_files.py), and pickles that
// are made by hand.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <map>
#include <optional>

#include "bitlog2/files.h"
#include "bitlog2/safetensors.h"
#include "bitlog2/tensors.h"
#include "error_of.h"
#include "io/torch/checkpoint.h"
#include "io/torch/pickle.h"
#include "reference.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using testing::TemporaryFolder;

fs::path file_of(const std::string& name) {
  return testing::fixtures() / "torch" / name;
}

std::string bytes_of(const std::string& name) {
  std::ifstream file(file_of(name), std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_bytes(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string open_error(const fs::path& path) {
  return error_of([&] { open_tensors(path); });
}

std::string open_error_of_bytes(const std::string& bytes) {
  const TemporaryFolder folder;
  write_bytes(folder.path() / "x.pth", bytes);
  return open_error(folder.path() / "x.pth");
}

std::vector<std::string> names_of(const TensorFile& file) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : file.tensors()) {
    names.push_back(name);
  }
  return names;
}

void replace_all(std::string& text, const std::string& what, const std::string& with) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at)) {
    text.replace(at, what.size(), with);
    at += with.size();
  }
}

/// A file of the legacy format, without storages, of these operations.
std::string legacy_file(const std::string& operations) {
  return "\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\2M\xe9\3.\x80\2}.\x80\2"s +
         operations + ".\x80\2]."s;
}

// ---- What torch wrote ------------------------------------------------------------------

class TorchFile : public ::testing::TestWithParam<const char*> {};

TEST_P(TorchFile, HasTheValuesThatTorchSaved) {
  const Safetensors expected = Safetensors::open(file_of("expected.safetensors"));
  const TensorFile file = open_tensors(file_of(GetParam()));
  EXPECT_EQ(file.name(), file_of(GetParam()).string());
  EXPECT_THAT(file.notes(), ElementsAre());
  EXPECT_TRUE(file.metadata().empty());
  for (const auto& [name, tensor] : expected.tensors()) {
    EXPECT_EQ(file.at(name).shape, tensor.shape) << name;
    EXPECT_EQ(file.at(name).element_count, tensor.element_count) << name;
    EXPECT_EQ(file.read_floats(name), expected.read_floats(name)) << name;
  }
}

TEST_P(TorchFile, ListsTensorsThatAreNoWeights) {
  const TensorFile file = open_tensors(file_of(GetParam()));
  for (const auto& [name, dtype] : std::map<std::string, std::string>{{"i64", "I64"},
                                                                      {"i32", "I32"},
                                                                      {"i16", "I16"},
                                                                      {"i8", "I8"},
                                                                      {"u8", "U8"},
                                                                      {"bool", "BOOL"},
                                                                      {"complex", "C64"}}) {
    EXPECT_EQ(file.at(name).dtype_name, dtype);
    const std::string& tensor = name;
    EXPECT_THAT(error_of([&] { file.read_floats(tensor); }),
                HasSubstr(fmt::format("tensor '{}' is {};", name, dtype)));
  }
  const auto integers = file.at("i64").bytes;
  std::vector<std::int64_t> values(3);
  ASSERT_EQ(integers.size(), 24U);
  std::memcpy(values.data(), integers.data(), integers.size());
  EXPECT_THAT(values, ElementsAre(0, 1, 2));
}

INSTANTIATE_TEST_SUITE_P(Containers, TorchFile,
                         ::testing::Values("zip.pth", "deflated.pth", "legacy.pth",
                                           "legacy_protocol_4.pth"));

TEST(TorchFiles, OfAllProtocolsAreRead) {
  const Safetensors expected = Safetensors::open(file_of("expected.safetensors"));
  for (const int protocol : {1, 3, 4, 5}) {
    const TensorFile file = open_tensors(file_of(fmt::format("protocol_{}.pth", protocol)));
    EXPECT_EQ(file.read_floats("f32"), expected.read_floats("f32")) << protocol;
  }
}

TEST(TorchFiles, NewerDtypesAreNamed) {
  const TensorFile file = open_tensors(file_of("zip.pth"));
  EXPECT_EQ(file.at("u16").dtype_name, "U16");
  EXPECT_EQ(file.at("u16").bytes.size(), 6U);
  EXPECT_THAT(error_of([&] { file.read_floats("f8"); }),
              HasSubstr("tensor 'f8' is F8_E4M3; weights must be F32, F16, BF16 or F64; it holds "
                        "quantized codes: give the float checkpoint"));
}

TEST(TorchFiles, TensorsInARowStayInTheFile) {
  for (const char* name : {"zip.pth", "legacy.pth"}) {
    const std::string bytes = bytes_of(name);
    const auto all = std::as_bytes(std::span(bytes));
    const TensorFileContent content =
        name == "zip.pth"s ? torch::read_zip(all, name) : torch::read_legacy(all, name);
    const auto is_in_file = [&](const char* tensor) {
      const std::byte* first = content.tensors.at(tensor).bytes.data();
      return first >= all.data() && first < all.data() + all.size();
    };
    for (const char* tensor : {"f32", "f16", "f64", "parameter", "scalar", "whole", "rows"}) {
      EXPECT_TRUE(is_in_file(tensor)) << name << " " << tensor;
    }
    for (const char* tensor : {"transposed", "permuted", "strided", "columns"}) {
      EXPECT_FALSE(is_in_file(tensor)) << name << " " << tensor;
    }
    // rows is whole[1:3]
    EXPECT_EQ(content.tensors.at("rows").bytes.data() - content.tensors.at("whole").bytes.data(),
              24);
  }
}

TEST(TorchFiles, StayMappedForTheirCopies) {
  const TemporaryFolder folder;
  const Safetensors expected = Safetensors::open(file_of("expected.safetensors"));
  for (const char* name : {"zip.pth", "deflated.pth", "legacy.pth"}) {
    fs::copy_file(file_of(name), folder.path() / name);
    std::optional<TensorFile> original = open_tensors(folder.path() / name);
    const TensorFile copy = *original;
    original.reset();
    fs::remove(folder.path() / name);
    for (const char* tensor : {"f32", "transposed"}) {
      EXPECT_EQ(copy.read_floats(tensor), expected.read_floats(tensor)) << name;
    }
  }
}

TEST(TorchFiles, TensorsWithAttributesAreTensors) {
  const Safetensors expected = Safetensors::open(file_of("expected.safetensors"));
  const TensorFile file = open_tensors(file_of("attributes.pth"));
  EXPECT_THAT(file.notes(), ElementsAre());
  for (const char* tensor : {"f32", "parameter"}) {
    EXPECT_EQ(file.read_floats(tensor), expected.read_floats(tensor));
  }
}

TEST(TorchFiles, RepeatedElementsAreCopiedWithinABound) {
  EXPECT_EQ(open_tensors(file_of("repeated.pth")).read_floats("repeated"),
            std::vector<float>(1000, 1.0F));
  EXPECT_THAT(open_error(file_of("repeated_too_often.pth")),
              HasSubstr("tensor 'repeated' repeats its storage's elements too often"));
}

// ---- Which dict --------------------------------------------------------------------------

TEST(TorchFiles, OfTrainingScriptsSayWhichWeightsWereTaken) {
  for (const char* name : {"training.pth", "training_legacy.pth"}) {
    const TensorFile file = open_tensors(file_of(name));
    EXPECT_THAT(names_of(file), ElementsAre("0.bias", "0.weight"));
    EXPECT_THAT(file.notes(),
                ElementsAre("its weights are taken from 'model_ema'; it also has 'model'",
                            AllOf(StartsWith("refused: "), HasSubstr("argparse.Namespace"),
                                  HasSubstr("pathlib"), HasSubstr("nothing was called"))));
  }
}

TEST(TorchFiles, WeightsAreFoundInDictsOfDicts) {
  const TensorFile file = open_tensors(file_of("nested.pth"));
  EXPECT_EQ(file.at("f32").dtype, DType::f32);
  EXPECT_THAT(file.notes(), ElementsAre("its weights are taken from 'state_dict.teacher'; it also "
                                        "has 'state_dict.student'"));
}

// ---- Nothing is executed -----------------------------------------------------------------

TEST(TorchFiles, CommandsAreRefusedByName) {
  const TensorFile file = open_tensors(file_of("command_inside.pth"));
  EXPECT_THAT(names_of(file), ElementsAre("f32"));
  EXPECT_THAT(file.notes(),
              ElementsAre("passed over, as they are no plain tensors: 'evil'",
                          "refused: posix.system (no tensor needs them; nothing was called)"));
  EXPECT_THAT(error_of([&] { file.at("evil"); }), HasSubstr("tensor 'evil' is missing"));
  EXPECT_THAT(open_error(file_of("command.pth")), HasSubstr("command.pth: refused: posix.system;"));
  EXPECT_FALSE(fs::exists("the_pickle_was_run"));
}

TEST(TorchFiles, CommandsThatPoseAsTensorsAreRefused) {
  std::string bytes = bytes_of("legacy.pth");
  replace_all(bytes, "ctorch._utils\n_rebuild_tensor_v2\n", "cposix\nsystem\n");
  EXPECT_THAT(open_error_of_bytes(bytes), HasSubstr("no dict of tensors; refused: posix.system"));
  // These operations would call it for a Tensor with attributes.
  EXPECT_THAT(open_error_of_bytes(legacy_file(
                  "ctorch._tensor\n_rebuild_from_type_v2\n(cposix\nsystem\nctorch\nTensor\n"
                  "X\4\0\0\0true\x85}tR"s)),
              HasSubstr("refused: posix.system"));
}

TEST(TorchFiles, NamesOfRefusedConstructorsAreCutAndPrintable) {
  const std::string message = open_error_of_bytes(
      legacy_file("\x8c\4a\nb\x1b"s + "X\xe8\3\0\0"s + std::string(1000, 'y') + "\x93)R"s));
  EXPECT_THAT(message, AllOf(HasSubstr("refused: a?b?.yyy"), Not(HasSubstr("\x1b"))));
  EXPECT_LT(message.size(), 400U);
}

TEST(TorchFiles, ModelsThatWereSavedWholeAreRefused) {
  EXPECT_THAT(open_error(file_of("whole_model.pth")),
              AllOf(HasSubstr("refused: torch.nn.modules.linear.Linear"),
                    EndsWith("save model.state_dict() in its place")));
}

TEST(TorchFiles, SourcesOfClassesInOldFilesArePassedOver) {
  const std::string source = "(X\6\0\0\0moduleca\nNet\nX\1\0\0\0fX\1\0\0\0stQ"s;
  EXPECT_THAT(open_error_of_bytes(legacy_file(source + ")\x81")), HasSubstr("refused: "));
  EXPECT_THAT(open_error_of_bytes(legacy_file("ca\nNet\n" + source + "0)\x81")),
              HasSubstr("refused: a.Net;"));
}

TEST(TorchFiles, PartsOfStoragesInOldFilesAreRead) {
  // A file as torch before 0.4 wrote it. It has a view of storage '0': 3 elements from element 1
  // on. The tensor begins at the view's element 1.
  std::string file = legacy_file(
      "}X\1\0\0\0a"
      "ctorch._utils\n_rebuild_tensor\n((X\7\0\0\0storagectorch.cuda\nFloatStorage\n"
      "X\1\0\0\0000X\6\0\0\0cuda:0K\4X\1\0\0\0001K\1K\3\x87tQK\1K\2\x85K\1\x85tRs"s);
  file.pop_back();
  file += "X\1\0\0\0000a.\4\0\0\0\0\0\0\0"s;
  for (const float value : {1.0F, 2.0F, 3.0F, 4.0F}) {
    file.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  const TensorFile read(torch::read_legacy(std::as_bytes(std::span(file)), "x"));
  EXPECT_THAT(read.read_floats("a"), ElementsAre(3.0F, 4.0F));
}

TEST(TorchFiles, OfTheOldestFormatAreNamed) {
  EXPECT_THAT(open_error(file_of("tar.pth")), HasSubstr("before torch 0.1.10; load it in Python"));
}

// ---- Damage ------------------------------------------------------------------------------

TEST(BrokenTorchFiles, EveryTruncationIsAnError) {
  for (const char* name : {"zip.pth", "deflated.pth", "legacy.pth", "training_legacy.pth"}) {
    const std::string bytes = bytes_of(name);
    // minizip does not need the last 22 bytes of an archive.
    const std::size_t needed = bytes.size() - (bytes.starts_with("PK") ? 22 : 0);
    for (std::size_t size = 0; size < needed; size += size < 200 ? 1 : 7) {
      // A copy of exactly this size, so that the sanitizers see reads beyond the end.
      const std::vector<char> cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
      const auto read = bytes.starts_with("PK") ? torch::read_zip : torch::read_legacy;
      EXPECT_THAT(error_of([&] { read(std::as_bytes(std::span(cut)), "cut.pth"); }),
                  StartsWith("cut.pth: "))
          << name << " " << size;
    }
    EXPECT_THAT(open_error_of_bytes(bytes.substr(0, bytes.size() / 2)),
                AnyOf(HasSubstr("end is missing"), HasSubstr("cut off"), HasSubstr("ends early")));
  }
}

TEST(BrokenTorchFiles, DamageIsAnErrorOrOtherValues) {
  for (const char* name : {"zip.pth", "deflated.pth", "legacy.pth"}) {
    const std::string bytes = bytes_of(name);
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << at % 8));
      const auto read = bytes.starts_with("PK") ? torch::read_zip : torch::read_legacy;
      try {
        read(std::as_bytes(std::span(damaged)), "damaged.pth");
      } catch (const Error& error) {
        EXPECT_THAT(error.what(), StartsWith("damaged.pth: "));
      }
    }
  }
}

TEST(BrokenTorchFiles, ChecksumsOfWhatIsCopiedAreCompared) {
  std::string bytes = bytes_of("zip.pth");
  replace_all(bytes, "_rebuild_tensor_v2", "_rebuild_tensor_v9");
  EXPECT_THAT(
      open_error_of_bytes(bytes),
      HasSubstr("the zip archive is damaged: 'zip/data.pkl' is not what its checksum says"));
}

TEST(BrokenTorchFiles, StoragesMustBeInTheArchive) {
  std::string bytes = bytes_of("zip.pth");
  replace_all(bytes, "zip/data/0", "zip/data/x");
  EXPECT_THAT(open_error_of_bytes(bytes), HasSubstr("'zip/data/0' is missing in the archive"));
  bytes = bytes_of("zip.pth");
  replace_all(bytes, "zip/data/1", "zip/data/0");
  EXPECT_THAT(open_error_of_bytes(bytes), HasSubstr("is there twice"));
  bytes = bytes_of("zip.pth");
  replace_all(bytes, "zip/data.pkl", "zip/data.xkl");
  EXPECT_THAT(error_of([&] { torch::read_zip(std::as_bytes(std::span(bytes)), "x"); }),
              HasSubstr("the archive holds no data.pkl"));
}

TEST(BrokenTorchFiles, ArchivesThatLieAboutSizesAreRefused) {
  const auto with_field = [](std::size_t offset, const std::string& value) {
    std::string bytes = bytes_of("deflated.pth");
    const std::size_t entry = bytes.rfind("zip/data/0") - 46;
    EXPECT_EQ(bytes.substr(entry, 4), "PK\1\2");
    return bytes.replace(entry + offset, value.size(), value);
  };
  EXPECT_THAT(open_error_of_bytes(with_field(24, "\0\0\0\x70"s)),
              HasSubstr("'zip/data/0' claims 1879048192 bytes"));
  EXPECT_THAT(open_error_of_bytes(with_field(20, "\0\0\0\x70"s)), HasSubstr("claims"));
  EXPECT_THAT(open_error_of_bytes(with_field(8, "\1"s)), HasSubstr("is encrypted"));
  EXPECT_THAT(open_error_of_bytes(with_field(42, "\xff\xff\0\0"s)), HasSubstr("cannot be found"));
}

TEST(BrokenTorchFiles, BigEndianFilesAreRefused) {
  EXPECT_THAT(open_error(file_of("big_endian.pth")), HasSubstr("saved on a big-endian machine"));
  std::string bytes = bytes_of("legacy.pth");
  const std::size_t at = bytes.find('\x88', bytes.find("little_endian"));
  bytes[at] = '\x89';
  EXPECT_THAT(open_error_of_bytes(bytes), HasSubstr("saved on a big-endian machine"));
}

TEST(BrokenTorchFiles, StoragesThatClaimMoreThanThereIsAreRefused) {
  const std::string tensor =
      "}X\1\0\0\0a"
      "ctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\nFloatStorage\n"
      "X\1\0\0\0000X\3\0\0\0cpuK\4NtQK\0K\4\x85K\1\x85\x89}tRs."s;
  const auto file_with = [&](const std::string& count) {
    std::string file = legacy_file(tensor.substr(0, tensor.size() - 1));
    file.pop_back();
    return file + "X\1\0\0\0000a."s + count + std::string(16, '\0');
  };
  EXPECT_THAT(open_error_of_bytes(file_with("\5\0\0\0\0\0\0\0"s)),
              HasSubstr("a storage claims 5 elements, the file has 16 bytes"));
  EXPECT_THAT(open_error_of_bytes(file_with("\xff\xff\xff\xff\xff\xff\xff\xff"s)),
              HasSubstr("a storage claims"));
  EXPECT_THAT(open_error_of_bytes(file_with("\3\0\0\0\0\0\0\0"s)),
              HasSubstr("tensor 'a' goes beyond the 3 elements of its storage"));
  const std::string whole = file_with("\4\0\0\0\0\0\0\0"s);
  const auto content = torch::read_legacy(std::as_bytes(std::span(whole)), "x");
  EXPECT_EQ(content.tensors.at("a").element_count, 4U);
}

TEST(BrokenTorchFiles, ShapesThatFitNoStorageAreRefused) {
  const auto with_view = [](const std::string& offset, const std::string& shape,
                            const std::string& strides) {
    std::string file = legacy_file(
        "}X\1\0\0\0a"
        "ctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\nFloatStorage\n"
        "X\1\0\0\0000X\3\0\0\0cpuK\4NtQ"s +
        offset + shape + strides + "\x89}tRs");
    file.pop_back();
    return file + "X\1\0\0\0000a.\4\0\0\0\0\0\0\0"s + std::string(16, '\0');
  };
  const std::string minus_one = "J\xff\xff\xff\xff";
  const std::string huge = "\x8a\x8\xff\xff\xff\xff\xff\xff\xff\x7f"s;
  EXPECT_THAT(open_error_of_bytes(with_view("K\1", "K\4\x85", "K\1\x85")),
              HasSubstr("beyond the 4"));
  EXPECT_THAT(open_error_of_bytes(with_view("K\0"s, "K\2\x85", "K\4\x85")), HasSubstr("beyond"));
  EXPECT_THAT(open_error_of_bytes(with_view("K\0"s, huge + huge + "\x86", huge + huge + "\x86")),
              HasSubstr("beyond"));
  EXPECT_THAT(open_error_of_bytes(with_view("K\0"s, huge + huge + "\x86", "K\0K\0\x86"s)),
              HasSubstr("repeats its storage's elements too often"));
  EXPECT_THAT(open_error_of_bytes(with_view(huge, "K\1\x85", "K\1\x85")), HasSubstr("beyond"));
  EXPECT_THAT(open_error_of_bytes(with_view(minus_one, "K\1\x85", "K\1\x85")),
              HasSubstr("no whole number"));
  EXPECT_THAT(open_error_of_bytes(with_view("K\0"s, "K\4\x85", minus_one + "\x85")),
              HasSubstr("no whole number"));
  EXPECT_THAT(open_error_of_bytes(with_view("K\0"s, "K\2K\2\x86", "K\1\x85")),
              HasSubstr("impossible shape"));
  EXPECT_THAT(open_error_of_bytes(with_view("K\0"s, "N", "N")), HasSubstr("impossible shape"));
}

// ---- Pickles -------------------------------------------------------------------------------

using torch::PickleGraph;
using torch::ValueKind;

PickleGraph graph_of(const std::string& bytes) {
  return torch::read_pickle(std::as_bytes(std::span(bytes)), "p");
}

std::string pickle_error(const std::string& bytes) {
  return error_of([&] { graph_of(bytes); });
}

TEST(Pickle, OfProtocol0IsRead) {
  const std::string bytes =
      "(lp0\nI1\naI01\naL70000000000000000000L\naF1.5\naVtext\np1\naS'old'\nag1\na(dp2\nVk\nI2\nsa."s;
  const PickleGraph graph = graph_of(bytes);
  const auto items = graph.items(graph.root());
  ASSERT_EQ(items.size(), 8U);
  EXPECT_EQ(graph[items[0]].number, 1);
  EXPECT_EQ(graph[items[1]].kind, ValueKind::boolean);
  EXPECT_EQ(graph[items[2]].kind, ValueKind::other);
  EXPECT_EQ(graph[items[4]].text, "text");
  EXPECT_EQ(graph[items[5]].text, "old");
  EXPECT_EQ(items[6], items[4]);
  EXPECT_EQ(graph[items[7]].kind, ValueKind::dict);
  EXPECT_EQ(graph.bytes_read(), bytes.size());
}

TEST(Pickle, NumbersHaveTheirSigns) {
  const std::string bytes = "(J\xfe\xff\xff\xffK\xffM\xff\xff\x8a\0\x8a\1\x80\x8a\2\xff\0t."s;
  const PickleGraph graph = graph_of(bytes);
  std::vector<std::int64_t> numbers;
  for (const torch::ValueId id : graph.items(graph.root())) {
    numbers.push_back(graph[id].number);
  }
  EXPECT_THAT(numbers, ElementsAre(-2, 255, 65535, 0, -128, 255));
}

TEST(Pickle, CallsAreKeptAsValues) {
  for (const std::string& bytes :
       {"cposix\nsystem\nX\4\0\0\0true\x85R."s, "(X\4\0\0\0trueiposix\nsystem\n."s,
        "(cposix\nsystem\nX\4\0\0\0trueo."s, "cposix\nsystem\nX\4\0\0\0true\x85\x81."s,
        "\x8c\5posix\x8c\6system\x93\x8c\4true\x85}\x92."s}) {
    const PickleGraph graph = graph_of(bytes);
    const torch::Value& root = graph[graph.root()];
    EXPECT_EQ(root.kind, ValueKind::call);
    EXPECT_EQ(graph.global_name(root.first), "posix.system");
    ASSERT_EQ(graph.items(root.second).size(), 1U);
    EXPECT_EQ(graph[graph.items(root.second).front()].text, "true");
  }
}

TEST(Pickle, DamageIsNamed) {
  EXPECT_THAT(pickle_error(""), HasSubstr("p: the pickle ends early at byte 0"));
  EXPECT_THAT(pickle_error("N"), HasSubstr("ends early"));
  EXPECT_THAT(pickle_error("."), HasSubstr("takes a value where there is none"));
  EXPECT_THAT(pickle_error("N(a."), HasSubstr("takes a value where there is none"));
  EXPECT_THAT(pickle_error("t."), HasSubstr("lacks a mark"));
  EXPECT_THAT(pickle_error("(Nd."), HasSubstr("a key without a value"));
  EXPECT_THAT(pickle_error("h\1."), HasSubstr("a value that it has not stored"));
  EXPECT_THAT(pickle_error("gx\n."), HasSubstr("a place that is no number"));
  EXPECT_THAT(pickle_error("\xff"), HasSubstr("has the unknown operation 0xff"));
  EXPECT_THAT(pickle_error("\x80\6N."), HasSubstr("protocol after 5"));
  EXPECT_THAT(pickle_error("(o."), HasSubstr("an object of no class"));
  EXPECT_THAT(pickle_error("X\xff\xff\xff\xff"), HasSubstr("ends early"));
  EXPECT_THAT(pickle_error("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"), HasSubstr("ends early"));
  EXPECT_THAT(pickle_error("Vno end"), HasSubstr("ends early"));
}

TEST(Pickle, HostileOnesStayBounded) {
  constexpr std::size_t kMany = 5'000'000;
  for (const char* operation : {"N", "(", "]", "K\1", "}"}) {
    std::string bytes;
    while (bytes.size() < kMany * std::strlen(operation)) {
      bytes += operation;
    }
    EXPECT_THAT(pickle_error(bytes), HasSubstr("holds more than 4000000 values")) << operation;
  }
  // Nested containers must not use the call stack.
  const std::string deep = std::string(1'000'000, ']') + std::string(999'999, 'a') + ".";
  EXPECT_EQ(graph_of(deep).bytes_read(), deep.size());
}

TEST(Pickle, SharedContainersAreReadOnce) {
  // Forty dicts, each of which holds the one before it twice; then a dict that holds itself.
  std::string laughs = "}q\0"s;
  for (char level = 1; level < 40; ++level) {
    laughs += "}q"s + level + "(X\5\0\0\0modelh"s + static_cast<char>(level - 1) +
              "X\x0a\0\0\0state_dicth"s + static_cast<char>(level - 1) + "u"s;
  }
  EXPECT_THAT(open_error_of_bytes(legacy_file(laughs)), HasSubstr("no dict of tensors"));
  EXPECT_THAT(open_error_of_bytes(legacy_file("}q\0X\5\0\0\0modelh\0s"s)),
              HasSubstr("no dict of tensors"));
  // Thousands of dicts that are made of one list of many pairs.
  std::string pairs = "]q\0("s;
  for (int i = 0; i < 2000; ++i) {
    pairs += "X\1\0\0\0xN\x86"s;
  }
  pairs += "e}("s;
  for (int i = 0; i < 2000; ++i) {
    pairs += fmt::format("X{}{}{}{:04}", '\4', '\0', "\0\0"s, i) +
             "ccollections\nOrderedDict\nh\0\x85R"s;
  }
  EXPECT_THAT(open_error_of_bytes(legacy_file(pairs + "u")),
              HasSubstr("its dicts hold more than 4000000 values"));
}

// ---- Shards ----------------------------------------------------------------------------

class Shards : public ::testing::Test {
 protected:
  void put(const std::string& name, const std::string& tensor, float value) const {
    const std::vector<float> values = {value};
    write_safetensors(
        path(name),
        std::vector<TensorToWrite>{{tensor, DType::f32, {1}, std::as_bytes(std::span(values))}},
        {{"format", "pt"}});
  }
  fs::path index(const std::string& weight_map) const {
    write_bytes(
        path("model.safetensors.index.json"),
        fmt::format(R"({{"metadata": {{"total_size": 8}}, "weight_map": {}}})", weight_map));
    return path("model.safetensors.index.json");
  }
  fs::path path(const std::string& name) const { return folder_.path() / name; }

 private:
  TemporaryFolder folder_;
};

TEST_F(Shards, AreOneSetOfTensors) {
  put("1.safetensors", "a", 1);
  put("2.safetensors", "b", 2);
  const fs::path list = index(R"({"a": "1.safetensors", "b": "2.safetensors"})");
  const TensorFile file = open_tensors(list);
  EXPECT_EQ(file.name(), list.string());
  EXPECT_THAT(names_of(file), ElementsAre("a", "b"));
  EXPECT_THAT(file.read_floats("b"), ElementsAre(2.0F));
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_THAT(file.notes(), ElementsAre());
}

TEST_F(Shards, OfTorchAreTakenToo) {
  const Safetensors expected = Safetensors::open(file_of("expected.safetensors"));
  const TensorFile file = open_tensors(file_of("shards/pytorch_model.bin.index.json"));
  EXPECT_THAT(names_of(file), ElementsAre("f16", "f32"));
  EXPECT_EQ(file.read_floats("f16"), expected.read_floats("f16"));
  EXPECT_THAT(file.notes(),
              ElementsAre("tensors of its shards that it does not name are left out: 'extra'"));
}

TEST_F(Shards, ThatAreMissingAreNamed) {
  put("1.safetensors", "a", 1);
  EXPECT_THAT(open_error(index(R"({"a": "1.safetensors", "b": "2.safetensors"})")),
              AllOf(HasSubstr(path("2.safetensors").string()), HasSubstr("is missing; download")));
  EXPECT_THAT(open_error(index(R"({"a": "1.safetensors", "b": "1.safetensors"})")),
              AllOf(HasSubstr(path("1.safetensors").string()), HasSubstr("lacks 'b'")));
}

TEST_F(Shards, ElsewhereAreRefused) {
  put("1.safetensors", "a", 1);
  fs::create_directory(path("sub"));
  put("sub/1.safetensors", "a", 1);
  for (const std::string& shard :
       {"../" + path("").parent_path().filename().string() + "/1.safetensors",
        path("1.safetensors").string(), "./1.safetensors"s, "sub/1.safetensors"s,
        "..\\\\1.safetensors"s, ".."s, "."s, ""s, "1.safetensors\\u0000"s}) {
    EXPECT_THAT(open_error(index(fmt::format(R"({{"a": "{}"}})", shard))),
                HasSubstr("refused: a shard that is no file beside it"))
        << shard;
  }
}

TEST_F(Shards, IndexesThatAreNoneAreRefused) {
  EXPECT_THAT(open_error(index("{}")), HasSubstr("names no shards"));
  EXPECT_THAT(open_error(index("[1]")), HasSubstr("names no shards"));
  EXPECT_THAT(open_error(index(R"({"a": 1})")), HasSubstr("names no file for 'a'"));
  EXPECT_THAT(open_error(index(R"({"a": "model.safetensors.index.json"})")),
              HasSubstr("a list of shards, not safetensors"));
}

// ---- What else can be opened ---------------------------------------------------------------

TEST(OpenTensors, TakesSafetensorsWhateverTheirName) {
  const TemporaryFolder folder;
  fs::copy_file(file_of("expected.safetensors"), folder.path() / "x.pth");
  EXPECT_EQ(open_tensors(folder.path() / "x.pth").at("f32").dtype, DType::f32);
  EXPECT_THAT(open_error(folder.path()), HasSubstr("is a folder"));
  EXPECT_THAT(open_error_of_bytes("GGUF\3"), HasSubstr("GGUF file"));
  EXPECT_THAT(open_error(folder.path() / "none"), HasSubstr("No such file"));
}

}  // namespace
}  // namespace bitlog2
