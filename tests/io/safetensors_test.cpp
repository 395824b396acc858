// The safetensors reader, on whole and on broken files, and the writer.
#include "bitlog2/safetensors.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <bit>
#include <cmath>
#include <csignal>
#include <fstream>
#include <limits>

#include "bitlog2/error.h"
#include "error_of.h"
#include "reference.h"
#include "tensors.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::make_tensor;
using testing::OwnedTensor;
using testing::safetensors_bytes;
using ::testing::StartsWith;
using testing::TemporaryFolder;
using testing::write_tensors;

constexpr const char* kName = "folder/weights.safetensors";

/// A file in memory, opened.
class Parsed {
 public:
  explicit Parsed(std::string bytes)
      : bytes_(std::move(bytes)),
        file_(Safetensors::parse(std::as_bytes(std::span(bytes_)), kName)) {}
  ~Parsed() = default;
  Parsed(const Parsed&) = delete;
  Parsed& operator=(const Parsed&) = delete;

  const Safetensors* operator->() const { return &file_; }

 private:
  std::string bytes_;
  Safetensors file_;
};

std::string parse_error(const std::string& bytes) {
  return error_of([&] { const Parsed parsed(bytes); });
}

void write_bytes(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string read_bytes(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  return names;
}

/// A file that holds one tensor "t" with these values.
template <class T>
std::string one_tensor(const std::string& dtype, const std::vector<T>& values,
                       std::size_t values_in_an_element = 1) {
  const auto bytes = std::as_bytes(std::span(values));
  std::string data(bytes.size(), '\0');
  std::memcpy(data.data(), bytes.data(), bytes.size());
  const std::string header =
      fmt::format(R"({{"t":{{"dtype":"{}","shape":[{}],"data_offsets":[0,{}]}}}})", dtype,
                  values.size() / values_in_an_element, data.size());
  return safetensors_bytes(header, data);
}

std::vector<std::uint32_t> bits_of(const std::vector<float>& values) {
  std::vector<std::uint32_t> bits;
  bits.reserve(values.size());
  for (const float value : values) {
    bits.push_back(std::bit_cast<std::uint32_t>(value));
  }
  return bits;
}

std::string two_tensors(const std::string& first, const std::string& second,
                        const std::string& data) {
  return safetensors_bytes(fmt::format(R"({{"first":{},"second":{}}})", first, second), data);
}

std::string u8_entry(const std::string& shape, const std::string& offsets) {
  return fmt::format(R"({{"dtype":"U8","shape":[{}],"data_offsets":[{}]}})", shape, offsets);
}

std::string whole_file() {
  return two_tensors(u8_entry("2", "0,2"), u8_entry("1,2", "2,4"), "abcd");
}

// ---- Reading ---------------------------------------------------------------------------

TEST(SafetensorsReader, ReadsF32AsItIs) {
  const std::vector<float> values = {0.0F,      -0.0F,   1.5F, std::numeric_limits<float>::max(),
                                     0x1p-149F, -3e-39F, 1e-7F};
  EXPECT_EQ(bits_of(Parsed(one_tensor("F32", values))->read_floats("t")), bits_of(values));
}

TEST(SafetensorsReader, ReadsF16) {
  const std::vector<std::uint16_t> stored = {0x0000, 0x8000, 0x3c00, 0xc100, 0x7bff,
                                             0x0400, 0x03ff, 0x0001, 0x8001};
  const std::vector<float> expected = {0.0F,     -0.0F,           1.0F,     -2.5F,    65504.0F,
                                       0x1p-14F, 1023 * 0x1p-24F, 0x1p-24F, -0x1p-24F};
  EXPECT_EQ(bits_of(Parsed(one_tensor("F16", stored))->read_floats("t")), bits_of(expected));
}

TEST(SafetensorsReader, ReadsBF16) {
  const std::vector<std::uint16_t> stored = {0x0000, 0x8000, 0x3f80, 0xc049,
                                             0x7f7f, 0x0080, 0x0001, 0x807f};
  const std::vector<float> expected = {0.0F,        -0.0F,     1.0F,      -3.140625F,
                                       0x1.FEp127F, 0x1p-126F, 0x1p-133F, -127 * 0x1p-133F};
  EXPECT_EQ(bits_of(Parsed(one_tensor("BF16", stored))->read_floats("t")), bits_of(expected));
}

TEST(SafetensorsReader, ReadsTensorsAtAnyByte) {
  const std::vector<float> values = {1.25F, -7.0F};
  std::string bytes = one_tensor("F32", values);
  for (int spaces = 0; spaces < 8; ++spaces) {
    EXPECT_EQ(Parsed(bytes)->read_floats("t"), values);
    bytes.insert(bytes.begin() + 8 + static_cast<std::ptrdiff_t>(bytes[0]), ' ');
    ++bytes[0];  // the header's length
  }
}

TEST(SafetensorsReader, ListsShapesAndDtypes) {
  const Parsed file(two_tensors(R"({"dtype":"I64","shape":[],"data_offsets":[3,11]})",
                                u8_entry("1,3", "0,3"), "abcdefghijk"));
  EXPECT_EQ(file->name(), kName);
  ASSERT_EQ(file->tensors().size(), 2U);
  EXPECT_EQ(file->at("first").dtype, DType::i64);
  EXPECT_THAT(file->at("first").shape, ElementsAre());
  EXPECT_EQ(file->at("first").element_count, 1U);
  EXPECT_EQ(file->at("second").dtype_name, "U8");
  EXPECT_THAT(file->at("second").shape, ElementsAre(1, 3));
  EXPECT_EQ(file->at("second").bytes.size(), 3U);
  EXPECT_EQ(static_cast<char>(file->at("second").bytes[0]), 'a');
  EXPECT_EQ(file->find("third"), nullptr);
  EXPECT_THAT(error_of([&] { file->at("third"); }),
              AllOf(StartsWith(kName), HasSubstr("'third' is missing")));
}

TEST(SafetensorsReader, AcceptsFilesWithoutTensorsOrElements) {
  EXPECT_THAT(Parsed(safetensors_bytes("{}", ""))->tensors(), ElementsAre());
  EXPECT_THAT(Parsed(safetensors_bytes("{}      ", ""))->tensors(), ElementsAre());
  const Parsed file(two_tensors(R"({"dtype":"F32","shape":[0,5],"data_offsets":[0,0]})",
                                R"({"dtype":"F16","shape":[0],"data_offsets":[0,0]})", ""));
  EXPECT_THAT(file->read_floats("first"), ElementsAre());
  EXPECT_THAT(file->read_floats("second"), ElementsAre());
}

TEST(SafetensorsReader, ReadsMetadata) {
  const std::string header = R"({"__metadata__":{"format":"pt","config":"{\"a\": 1}"}})";
  const Parsed file(safetensors_bytes(header, ""));
  EXPECT_THAT(file->metadata(),
              ElementsAre(std::pair("config", "{\"a\": 1}"), std::pair("format", "pt")));
  EXPECT_THAT(file->tensors(), ElementsAre());
}

TEST(SafetensorsReader, ReadsMetadataThatIsNoTextAsJson) {
  const Parsed file(safetensors_bytes(R"({"__metadata__":{"epoch":3,"names":["a","b"]}})", ""));
  EXPECT_THAT(file->metadata(),
              ElementsAre(std::pair("epoch", "3"), std::pair("names", R"(["a","b"])")));
}

TEST(SafetensorsReader, ListsDtypesThatItDoesNotRead) {
  const Parsed file(one_tensor("C64", std::vector<float>{1.0F, 2.0F, 3.0F, 4.0F}, 2));
  EXPECT_EQ(file->at("t").dtype, DType::other);
  EXPECT_EQ(file->at("t").dtype_name, "C64");
  EXPECT_THAT(
      error_of([&] { file->read_floats("t"); }),
      AllOf(StartsWith(kName), HasSubstr("'t' is C64"), HasSubstr("F32, F16, BF16 or F64")));
}

TEST(SafetensorsReader, RoundsDoublesToFloats) {
  const double largest = std::numeric_limits<float>::max();
  const Parsed file(one_tensor("F64", std::vector<double>{1.0 / 3, -largest, 1e-60}));
  EXPECT_EQ(file->at("t").dtype, DType::f64);
  EXPECT_THAT(file->read_floats("t"),
              ElementsAre(1.0F / 3, -std::numeric_limits<float>::max(), 0.0F));
}

TEST(BrokenSafetensors, DoublesThatFloatsCannotHoldAreNamed) {
  for (const double value : {1e39, -1e300}) {
    const Parsed file(one_tensor("F64", std::vector<double>{1, value}));
    EXPECT_THAT(error_of([&] { file->read_floats("t"); }),
                HasSubstr(fmt::format("'t' holds {} at element 1, which float32 cannot", value)));
  }
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_THAT(
      error_of([&] { Parsed(one_tensor("F64", std::vector<double>{infinity}))->read_floats("t"); }),
      HasSubstr("'t' holds infinity at element 0; the checkpoint is damaged"));
}

TEST(SafetensorsReader, KeepsTheFileMappedForItsCopies) {
  const TemporaryFolder folder;
  const std::vector<float> values(5000, 2.5F);
  write_bytes(folder.path() / "t", one_tensor("F32", values));
  std::optional<Safetensors> original = Safetensors::open(folder.path() / "t");
  const Safetensors copy = *original;
  original.reset();
  fs::remove(folder.path() / "t");
  EXPECT_EQ(copy.read_floats("t"), values);
}

TEST(HalfToFloat, IsExactForAllValues) {
  for (std::uint32_t half = 0; half < 65536; ++half) {
    const bool negative = half >= 0x8000;
    const int exponent = static_cast<int>(half / 1024 % 32);
    const auto fraction = static_cast<int>(half % 1024);
    const float value = half_to_float(static_cast<std::uint16_t>(half));
    EXPECT_EQ(std::signbit(value), negative) << half;
    if (exponent == 31) {
      EXPECT_EQ(std::isnan(value), fraction != 0) << half;
      EXPECT_EQ(std::isinf(value), fraction == 0) << half;
    } else {
      const double magnitude =
          exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
      EXPECT_EQ(static_cast<double>(value), negative ? -magnitude : magnitude) << half;
    }
  }
}

// ---- Broken files ----------------------------------------------------------------------

TEST(BrokenSafetensors, MissingFilesAndFoldersAreNamed) {
  const TemporaryFolder folder;
  const std::string missing = (folder.path() / "missing.safetensors").string();
  EXPECT_THAT(error_of([&] { Safetensors::open(missing); }),
              AllOf(StartsWith(missing), HasSubstr("No such file")));
  const std::string name = folder.path().string();
  EXPECT_THAT(error_of([&] { Safetensors::open(name); }),
              AllOf(StartsWith(name), HasSubstr("is an empty folder")));
  EXPECT_THAT(error_of([] { Safetensors::open("/dev/null"); }), HasSubstr("not a file"));
}

TEST(BrokenSafetensors, FilesThatAreCutOffAreSaidToBe) {
  const std::string whole = one_tensor("F32", std::vector<float>(100, 1.0F));
  const std::size_t header = whole.size() - 400;
  for (const std::size_t length : {std::size_t{9}, header - 1, header, whole.size() - 1}) {
    EXPECT_THAT(parse_error(whole.substr(0, length)),
                HasSubstr("the file is cut off: copy or download it again"))
        << length;
  }
}

TEST(BrokenSafetensors, FilesOfOtherFormatsAreNamed) {
  EXPECT_THAT(
      parse_error("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
      AllOf(StartsWith(std::string(kName) + ": is a Git LFS pointer"), HasSubstr("git lfs pull")));
  EXPECT_THAT(parse_error(""), HasSubstr("an empty file"));
  EXPECT_THAT(parse_error(std::string(100, '\0')), HasSubstr("filled with zeros"));
}

TEST(BrokenSafetensors, TruncatedFilesAreNamedAtEveryLength) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "short.safetensors";
  const std::string whole = whole_file();
  for (std::size_t length = 0; length < whole.size(); ++length) {
    SCOPED_TRACE(length);
    write_bytes(path, whole.substr(0, length));
    EXPECT_THAT(error_of([&] { Safetensors::open(path); }), StartsWith(path.string()));
  }
  write_bytes(path, whole);
  EXPECT_EQ(Safetensors::open(path).tensors().size(), 2U);
}

TEST(BrokenSafetensors, ImpossibleHeaderLengthsAreRefused) {
  for (const std::uint64_t length :
       {std::uint64_t{1} << 63, ~std::uint64_t{0}, ~std::uint64_t{0} - 7, std::uint64_t{1} << 40,
        std::uint64_t{100'000'001}, std::uint64_t{200}}) {
    std::string bytes = whole_file();
    std::memcpy(bytes.data(), &length, sizeof(length));
    EXPECT_THAT(parse_error(bytes),
                AllOf(StartsWith(kName), HasSubstr(fmt::format("claims {} bytes", length))));
  }
}

TEST(BrokenSafetensors, HeadersThatAreNoObjectAreRefused) {
  for (const char* header : {"", " ", "[]", "1", "null", "\"text\"", "{", "{}}", "{\"a\":}", "\x80",
                             "{\"\xff\":1}", "{'a':1}", "{\"a\":1,}"}) {
    EXPECT_THAT(parse_error(safetensors_bytes(header, "")),
                AllOf(StartsWith(kName), HasSubstr("not a JSON object")))
        << header;
  }
}

TEST(BrokenSafetensors, DeepNestingIsRefused) {
  const std::size_t depth = 1'000'000;
  EXPECT_THAT(parse_error(safetensors_bytes("{\"a\":" + std::string(depth, '['), "")),
              StartsWith(kName));
  std::string objects;
  for (std::size_t i = 0; i < depth / 10; ++i) {
    objects += "{\"a\":";
  }
  EXPECT_THAT(parse_error(safetensors_bytes(objects, "")), StartsWith(kName));
}

TEST(BrokenSafetensors, EntriesThatLackAPartAreRefused) {
  for (const char* entry :
       {"1", "null", "[]", "{}", R"({"dtype":"U8","shape":[4]})",
        R"({"dtype":"U8","data_offsets":[0,4]})", R"({"shape":[4],"data_offsets":[0,4]})",
        R"({"dtype":1,"shape":[4],"data_offsets":[0,4]})",
        R"({"dtype":"U8","shape":4,"data_offsets":[0,4]})",
        R"({"dtype":"U8","shape":[4],"data_offsets":[4]})",
        R"({"dtype":"U8","shape":[4],"data_offsets":[0,2,4]})",
        R"({"dtype":"U8","shape":[4],"data_offsets":{"0":0,"1":4}})"}) {
    const std::string header = fmt::format(R"({{"weight":{}}})", entry);
    EXPECT_THAT(parse_error(safetensors_bytes(header, "abcd")),
                AllOf(StartsWith(kName), HasSubstr("'weight' lacks")))
        << entry;
  }
}

TEST(BrokenSafetensors, SizesThatAreNoWholeNumbersAreRefused) {
  for (const char* number : {"-4", "4.0", "4e0", "\"4\"", "null", "[4]", "true", "1e300",
                             "18446744073709551616", "-9223372036854775808"}) {
    for (const std::string& entry :
         {u8_entry(number, "0,4"), u8_entry("4", fmt::format("{},4", number)),
          u8_entry("4", fmt::format("0,{}", number))}) {
      const std::string header = fmt::format(R"({{"weight":{}}})", entry);
      EXPECT_THAT(parse_error(safetensors_bytes(header, "abcd")),
                  AllOf(StartsWith(kName), HasSubstr("'weight' has a size or offset")))
          << entry;
    }
  }
}

TEST(SafetensorsReader, OpensFilesWithUnknownDtypes) {
  for (const char* dtype : {"F33", "f32", "", "F32 ", "COMPLEX"}) {
    const Parsed file(two_tensors(
        u8_entry("2", "0,2"),
        fmt::format(R"({{"dtype":"{}","shape":[7],"data_offsets":[2,4]}})", dtype), "abcd"));
    EXPECT_EQ(file->at("second").dtype, DType::other);
    EXPECT_EQ(file->at("second").dtype_name, dtype);
    EXPECT_THAT(error_of([&] { file->read_floats("second"); }),
                AllOf(StartsWith(kName),
                      HasSubstr(fmt::format("'second' is of the unknown dtype {};", dtype)),
                      HasSubstr("F32, F16, BF16 or F64")));
  }
}

TEST(SafetensorsReader, KnowsTheSizesOfAllDtypesOfTheFormat) {
  struct Sized {
    const char* dtype;
    int bits;
  };
  for (const Sized& sized : std::initializer_list<Sized>{
           {"BOOL", 8}, {"F4", 4},      {"F6_E2M3", 6},     {"F6_E3M2", 6}, {"U8", 8},
           {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8},     {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
           {"I16", 16}, {"U16", 16},    {"F8_E5M2FNUZ", 8}, {"F16", 16},    {"BF16", 16},
           {"I32", 32}, {"U32", 32},    {"F32", 32},        {"F64", 64},    {"I64", 64},
           {"U64", 64}, {"C64", 64}}) {
    const auto file_of = [&](int elements, int bytes) {
      return safetensors_bytes(
          fmt::format(R"({{"t":{{"dtype":"{}","shape":[{}],"data_offsets":[0,{}]}}}})", sized.dtype,
                      elements, bytes),
          std::string(static_cast<std::size_t>(bytes), '\0'));
    };
    EXPECT_EQ(Parsed(file_of(8, sized.bits))->at("t").element_count, 8U) << sized.dtype;
    EXPECT_THAT(parse_error(file_of(8, sized.bits + 1)),
                HasSubstr(fmt::format("its shape needs {}", sized.bits)))
        << sized.dtype;
    if (sized.bits < 8) {
      EXPECT_THAT(parse_error(file_of(1, 1)), HasSubstr("fills no whole bytes"));
    }
  }
}

TEST(SafetensorsReader, SaysWhichDtypesAreCodes) {
  const auto message = [](const char* dtype) {
    const Parsed file(one_tensor(dtype, std::vector<std::uint8_t>{1, 2, 3, 4, 5, 6, 7, 8}));
    return error_of([&] { file->read_floats("t"); });
  };
  for (const char* dtype : {"F8_E4M3", "F8_E5M2", "F8_E8M0", "U8", "I8"}) {
    EXPECT_THAT(message(dtype), HasSubstr("quantized codes: give the float checkpoint"));
  }
  EXPECT_THAT(message("BOOL"),
              ::testing::EndsWith("'t' is BOOL; weights must be F32, F16, BF16 or F64"));
}

TEST(BrokenSafetensors, ShapesMustMatchTheBytes) {
  for (const char* shape : {"3", "5", "0", "", "2,3", "1000000000000000", "4,0", "4294967296"}) {
    const std::string header = fmt::format(R"({{"weight":{}}})", u8_entry(shape, "0,4"));
    EXPECT_THAT(parse_error(safetensors_bytes(header, "abcd")),
                AllOf(StartsWith(kName), HasSubstr("'weight' has 4 bytes, its shape needs")))
        << shape;
  }
}

TEST(BrokenSafetensors, ShapesThatOverflowAreRefused) {
  for (const char* shape :
       {"18446744073709551615", "4294967296,4294967296", "9223372036854775808,2",
        "2,2,2305843009213693953", "65536,65536,65536,65536,4", "4,4611686018427387905"}) {
    const std::string header = fmt::format(R"({{"weight":{}}})", u8_entry(shape, "0,4"));
    EXPECT_THAT(parse_error(safetensors_bytes(header, "abcd")),
                AllOf(StartsWith(kName), HasSubstr("'weight' has an impossible shape")))
        << shape;
  }
}

TEST(BrokenSafetensors, OffsetsOutsideTheFileAreRefused) {
  for (const char* offsets :
       {"0,5", "4,0", "5,5", "2,1", "0,18446744073709551615", "18446744073709551615,0",
        "18446744073709551612,18446744073709551615"}) {
    const std::string header = fmt::format(R"({{"weight":{}}})", u8_entry("4", offsets));
    EXPECT_THAT(parse_error(safetensors_bytes(header, "abcd")),
                AllOf(StartsWith(kName), HasSubstr("'weight' claims bytes")))
        << offsets;
  }
}

TEST(BrokenSafetensors, OverlappingTensorsAreNamed) {
  EXPECT_THAT(parse_error(two_tensors(u8_entry("3", "0,3"), u8_entry("2", "2,4"), "abcd")),
              AllOf(StartsWith(kName), HasSubstr("'second' overlaps")));
  EXPECT_THAT(parse_error(two_tensors(u8_entry("4", "0,4"), u8_entry("4", "0,4"), "abcd")),
              AllOf(StartsWith(kName), HasSubstr("overlaps")));
}

TEST(BrokenSafetensors, GapsAndRestsAreRefused) {
  EXPECT_THAT(parse_error(two_tensors(u8_entry("1", "0,1"), u8_entry("2", "2,4"), "abcd")),
              AllOf(StartsWith(kName), HasSubstr("'second' leaves a gap")));
  EXPECT_THAT(parse_error(two_tensors(u8_entry("1", "1,2"), u8_entry("2", "2,4"), "abcd")),
              AllOf(StartsWith(kName), HasSubstr("'first' leaves a gap")));
  EXPECT_THAT(parse_error(whole_file() + "x"),
              AllOf(StartsWith(kName), HasSubstr("5 bytes of data, the header describes 4")));
  EXPECT_THAT(parse_error(safetensors_bytes("{}", "x")), StartsWith(kName));
}

TEST(BrokenSafetensors, ATensorThatIsListedTwiceIsRefused) {
  const std::string header =
      fmt::format(R"({{"weight":{},"weight":{}}})", u8_entry("2", "0,2"), u8_entry("2", "2,4"));
  EXPECT_THAT(parse_error(safetensors_bytes(header, "abcd")),
              AllOf(StartsWith(kName), HasSubstr("'weight'")));
}

TEST(BrokenSafetensors, MetadataMustBeAnObject) {
  EXPECT_THAT(parse_error(safetensors_bytes(R"({"__metadata__":[]})", "")),
              AllOf(StartsWith(kName), HasSubstr("__metadata__")));
}

TEST(BrokenSafetensors, OtherDtypesAreNoWeights) {
  for (const char* dtype : {"U8", "I8", "BOOL", "F8_E4M3"}) {
    const Parsed file(one_tensor(dtype, std::vector<std::uint8_t>{1, 2}));
    EXPECT_THAT(error_of([&] { file->read_floats("t"); }),
                AllOf(StartsWith(kName), HasSubstr(fmt::format("'t' is {}", dtype))));
  }
}

TEST(BrokenSafetensors, ValuesThatAreNotFiniteAreNamed) {
  const auto message = [](const std::string& bytes) {
    return error_of([&] { Parsed(bytes)->read_floats("t"); });
  };
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_THAT(message(one_tensor("F32", std::vector<float>{0, NAN})),
              AllOf(StartsWith(kName), HasSubstr("'t' holds NaN at element 1")));
  EXPECT_THAT(message(one_tensor("F32", std::vector<float>{-infinity})),
              AllOf(StartsWith(kName), HasSubstr("'t' holds infinity at element 0")));
  EXPECT_THAT(message(one_tensor("F16", std::vector<std::uint16_t>{0, 0, 0x7c00})),
              AllOf(StartsWith(kName), HasSubstr("'t' holds infinity at element 2")));
  EXPECT_THAT(message(one_tensor("F16", std::vector<std::uint16_t>{0xfe00})), HasSubstr("NaN"));
  EXPECT_THAT(message(one_tensor("BF16", std::vector<std::uint16_t>{0x7fc0})), HasSubstr("NaN"));
  EXPECT_THAT(message(one_tensor("BF16", std::vector<std::uint16_t>{0xff80})),
              HasSubstr("infinity"));
}

RC_GTEST_PROP(BrokenSafetensors, WithChangedBytesGiveAnErrorOrAConsistentFile, ()) {
  std::string bytes = one_tensor("F16", std::vector<std::uint16_t>{1, 2, 3, 4});
  const auto changes = *rc::gen::inRange(1, 5);
  for (int i = 0; i < changes; ++i) {
    bytes[*rc::gen::inRange<std::size_t>(0, bytes.size())] = *rc::gen::arbitrary<char>();
  }
  try {
    const Parsed file(bytes);
    for (const auto& [name, tensor] : file->tensors()) {
      RC_ASSERT(tensor.bytes.size() <= bytes.size());
      file->read_floats(name);
    }
  } catch (const Error& error) {
    RC_ASSERT(std::string(error.what()).starts_with(kName));
  }
}

// ---- Writing ---------------------------------------------------------------------------

std::size_t element_size(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::i64:
      return 8;
    case DType::u8:
    case DType::i8:
      return 1;
    default:
      return 2;
  }
}

/// A tensor of any dtype and of up to four axes.
OwnedTensor any_tensor(std::size_t index) {
  OwnedTensor tensor;
  // The name is random, but its end makes it distinct.
  tensor.name =
      *rc::gen::container<std::string>(rc::gen::inRange('\x01', '\x7f')) + std::to_string(index);
  tensor.dtype = *rc::gen::element(DType::f32, DType::f16, DType::bf16, DType::u8, DType::i8,
                                   DType::i16, DType::i32, DType::i64);
  std::size_t bytes = element_size(tensor.dtype);
  const auto axes = *rc::gen::inRange(0, 5);
  for (int axis = 0; axis < axes; ++axis) {
    tensor.shape.push_back(*rc::gen::inRange<std::uint64_t>(0, 5));
    bytes *= tensor.shape.back();
  }
  const auto first = *rc::gen::arbitrary<std::uint8_t>();
  for (std::size_t i = 0; i < bytes; ++i) {
    tensor.bytes.push_back(static_cast<std::byte>(first + i * 7));
  }
  return tensor;
}

RC_GTEST_PROP(SafetensorsWriter, WritesWhatTheReaderReads, ()) {
  std::vector<OwnedTensor> tensors;
  const auto count = *rc::gen::inRange<std::size_t>(0, 6);
  for (std::size_t i = 0; i < count; ++i) {
    tensors.push_back(any_tensor(i));
  }
  const auto text = rc::gen::container<std::string>(rc::gen::inRange('\x01', '\x7f'));
  const auto metadata = *rc::gen::container<std::map<std::string, std::string>>(text, text);

  const TemporaryFolder folder;
  const fs::path path = folder.path() / "model.safetensors";
  write_tensors(path, tensors, metadata);
  const Safetensors file = Safetensors::open(path);
  RC_ASSERT(file.metadata() == metadata);
  RC_ASSERT(file.tensors().size() == tensors.size());
  for (const OwnedTensor& tensor : tensors) {
    const TensorView& view = file.at(tensor.name);
    RC_ASSERT(view.dtype == tensor.dtype);
    RC_ASSERT(view.shape == tensor.shape);
    RC_ASSERT(std::ranges::equal(view.bytes, tensor.bytes));
  }
  RC_ASSERT(names_in(folder.path()) == std::vector<std::string>{"model.safetensors"});
}

TEST(SafetensorsWriter, AlignsTheData) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "t";
  for (std::size_t length = 1; length < 80; ++length) {
    const std::string name(length, 'n');
    write_tensors(path, {make_tensor(name, DType::u8, {3}, std::vector<std::uint8_t>{7, 8, 9})});
    const std::string bytes = read_bytes(path);
    ASSERT_EQ(bytes.substr(bytes.size() - 3), "\7\10\11");
    ASSERT_EQ((bytes.size() - 3) % 64, 0U);
  }
}

TEST(SafetensorsWriter, WritesTensorsInTheOrderGiven) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "t";
  write_tensors(path, {make_tensor("z", DType::u8, {1}, std::vector<std::uint8_t>{'z'}),
                       make_tensor("a", DType::u8, {2}, std::vector<std::uint8_t>{'a', 'b'})});
  EXPECT_TRUE(read_bytes(path).ends_with("zab"));
  EXPECT_TRUE(read_bytes(path).substr(8).starts_with("{\"z\""));
}

/// A checkpoint of a few tens of kilobytes.
std::vector<OwnedTensor> some_tensors() {
  return {make_tensor("t", DType::f32, {4096}, std::vector<float>(4096, 1.0F))};
}

TEST(SafetensorsWriter, ReplacesAFileAndItsPermissionsAreTheUsers) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "model.safetensors";
  write_bytes(path, "old");
  const mode_t mask = umask(027);
  write_tensors(path, some_tensors());
  umask(mask);
  EXPECT_EQ(Safetensors::open(path).tensors().size(), 1U);
  EXPECT_EQ(fs::status(path).permissions(), static_cast<fs::perms>(0640));
  EXPECT_THAT(names_in(folder.path()), ElementsAre("model.safetensors"));
}

TEST(SafetensorsWriter, LeavesNothingWhereThereIsNoFolder) {
  const TemporaryFolder folder;
  const fs::path missing = folder.path() / "missing" / "model.safetensors";
  EXPECT_THAT(error_of([&] { write_tensors(missing, some_tensors()); }),
              AllOf(StartsWith(missing.string()), HasSubstr("cannot be written")));
  EXPECT_THAT(names_in(folder.path()), ElementsAre());
  write_bytes(folder.path() / "file", "x");
  const fs::path below_file = folder.path() / "file" / "model.safetensors";
  EXPECT_THAT(error_of([&] { write_tensors(below_file, some_tensors()); }),
              StartsWith(below_file.string()));
  EXPECT_THAT(names_in(folder.path()), ElementsAre("file"));
}

TEST(SafetensorsWriter, LeavesNothingInAFolderThatIsNotWritable) {
  const TemporaryFolder folder;
  const fs::path locked = folder.path() / "locked";
  fs::create_directory(locked);
  fs::permissions(locked, static_cast<fs::perms>(0555));
  if (access(locked.c_str(), W_OK) == 0) {
    GTEST_SKIP() << "this user may write anywhere";
  }
  const fs::path path = locked / "model.safetensors";
  EXPECT_THAT(error_of([&] { write_tensors(path, some_tensors()); }), StartsWith(path.string()));
  EXPECT_THAT(names_in(locked), ElementsAre());
}

TEST(SafetensorsWriter, LeavesNothingWhereAFolderHasTheName) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "model.safetensors";
  fs::create_directory(path);
  EXPECT_THAT(error_of([&] { write_tensors(path, some_tensors()); }), StartsWith(path.string()));
  EXPECT_THAT(names_in(folder.path()), ElementsAre("model.safetensors"));
  EXPECT_TRUE(fs::is_directory(path));
}

/// While it exists, no file can grow beyond `bytes`, as if the disk were full.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  void (*handler_)(int);
  rlimit before_ = {};
};

TEST(SafetensorsWriter, LeavesTheOldFileWhenTheDiskIsFull) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "model.safetensors";
  write_bytes(path, "old");
  std::string message;
  {
    const FileSizeLimit limit(4096);
    message = error_of([&] { write_tensors(path, some_tensors()); });
  }
  EXPECT_THAT(message, AllOf(StartsWith(path.string()), HasSubstr("cannot be written")));
  EXPECT_EQ(read_bytes(path), "old");
  EXPECT_THAT(names_in(folder.path()), ElementsAre("model.safetensors"));
}

}  // namespace
}  // namespace bitlog2
