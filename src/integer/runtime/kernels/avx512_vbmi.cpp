// AVX-512 with VNNI and VBMI (Ice Lake, Zen 4 and later), which looks bytes up in tables of 128
// entries: tables of codes, of weights and of pixels. All other kernels are those of
// avx512_vnni.cpp. Compiled into any x86-64 build; select.cpp asks the CPU before it hands this
// table out.
#if defined(__x86_64__)

#if !defined(__clang__)
// GCC 12 warns of its own header's "undefined" registers (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include "code_runs.h"
#include "target_region.h"

BITLOG2_BEGIN_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx512vnni,avx512vbmi")

#include "simd/avx512.h"
//
#include "generic/codes.h"
#include "generic/softmax.h"

namespace bitlog2::runtime {

const Kernels& avx512_vnni_kernels();

namespace {

/// 256 bytes in registers.
class ByteTable {
 public:
  explicit ByteTable(const std::uint8_t* bytes) {
    for (std::size_t i = 0; i < 4; ++i) {
      quarters_[i] = _mm512_loadu_si512(bytes + i * kBytes);
    }
  }

  U8 operator()(U8 index) const {
    const __m512i low = _mm512_permutex2var_epi8(quarters_[0], index.v, quarters_[1]);
    const __m512i high = _mm512_permutex2var_epi8(quarters_[2], index.v, quarters_[3]);
    return {_mm512_mask_blend_epi8(_mm512_movepi8_mask(index.v), low, high)};
  }

 private:
  __m512i quarters_[4];
};

/// The runs of 64 values, and their places in them.
class RunPlaces {
 public:
  explicit RunPlaces(const CodeRuns& runs)
      : base_(_mm512_set1_epi16(static_cast<std::int16_t>(runs.base))),
        multiplier_(_mm512_set1_epi16(static_cast<std::int16_t>(runs.multiplier))) {}

  U8 runs(U16 values) const {
    return U16{_mm512_mulhi_epi16(from_base(values.first), multiplier_),
               _mm512_mulhi_epi16(from_base(values.second), multiplier_)}
        .packed();
  }

  U8 places(U16 values) const { return U16{place(values.first), place(values.second)}.packed(); }

 private:
  __m512i from_base(__m512i values) const { return _mm512_subs_epu16(values, base_); }
  __m512i place(__m512i values) const {
    return _mm512_srli_epi16(_mm512_mullo_epi16(from_base(values), multiplier_), 9);
  }

  __m512i base_;
  __m512i multiplier_;
};

/// The codes of runs in which these change once.
class ChangeOnce {
 public:
  explicit ChangeOnce(const CodeRuns& runs)
      : places_(runs), first_(runs.first), change_(runs.change), second_(runs.second) {}

  U8 operator()(U16 values) const {
    const U8 run = places_.runs(values);
    const __mmask64 changed = _mm512_cmpge_epu8_mask(places_.places(values).v, change_(run).v);
    return {_mm512_mask_blend_epi8(changed, first_(run).v, second_(run).v)};
  }

 private:
  RunPlaces places_;
  ByteTable first_;
  ByteTable change_;
  ByteTable second_;
};

/// The codes of runs in which these change up to twice by one.
class ChangeByOne {
 public:
  explicit ChangeByOne(const CodeRuns& runs)
      : places_(runs),
        first_(runs.first),
        change_(runs.change),
        second_change_(runs.second),
        falling_(U8::all(runs.falling)) {}

  U8 operator()(U16 values) const {
    const U8 run = places_.runs(values);
    const U8 place = places_.places(values);
    const __mmask64 changed = _mm512_cmpge_epu8_mask(place.v, change_(run).v);
    const __mmask64 again = _mm512_cmpge_epu8_mask(place.v, second_change_(run).v);
    // 255 = -1 where codes fall, otherwise 1.
    const __m512i by = _mm512_mask_blend_epi8(_mm512_cmplt_epu8_mask(run.v, falling_.v),
                                              _mm512_set1_epi8(1), _mm512_set1_epi8(-1));
    const __m512i once = _mm512_mask_add_epi8(first_(run).v, changed, first_(run).v, by);
    return {_mm512_mask_add_epi8(once, again, once, by)};
  }

 private:
  RunPlaces places_;
  ByteTable first_;
  ByteTable change_;
  ByteTable second_change_;
  U8 falling_;
};

void rescale_to_codes_by_tables(const Rescale& how, const Sums& sums, const CodeTable& table,
                                std::uint8_t* codes, std::size_t stride) {
  if (table.entries != nullptr && table.size <= CodeLookup::kMost) {
    std::uint8_t entries[CodeLookup::kMost] = {};
    __builtin_memcpy(entries, table.entries, table.size);
    const ByteTable entry_of(entries);
    rescale_to_codes_by([&](U16 values) { return entry_of(values.packed()); }, how, sums, codes,
                        stride);
  } else if (table.runs != nullptr && table.runs->by_one) {
    rescale_to_codes_by(ChangeByOne(*table.runs), how, sums, codes, stride);
  } else if (table.runs != nullptr) {
    rescale_to_codes_by(ChangeOnce(*table.runs), how, sums, codes, stride);
  } else {
    avx512_vnni_kernels().rescale_to_codes(how, sums, table, codes, stride);
  }
}

/// Where the first channel of each pixel is.
struct ThirdPlaces {
  constexpr ThirdPlaces() {
    for (std::size_t i = 0; i < kBytes; ++i) {
      places[i] = static_cast<std::uint8_t>(3 * i);
    }
  }

  std::uint8_t places[kBytes] = {};
};

/// Rows of at most 21 pixels, which one register holds.
void split_row(const std::uint8_t* rgb, std::size_t count, const std::uint8_t (*tables)[256],
               std::uint8_t* planes, std::size_t stride) {
  const U8 pixels = FirstBytes(3 * count).load_from(rgb);
  const FirstBytes which(count);
  static constexpr ThirdPlaces kThirds;
  U8 places = U8::load(kThirds.places);
  for (std::size_t channel = 0; channel < 3; ++channel) {
    const U8 values = {_mm512_permutexvar_epi8(places.v, pixels.v)};
    which.store_to(planes + channel * stride, ByteTable(tables[channel])(values));
    places = places + U8::all(1);
  }
}

void split_channels(const std::uint8_t* rgb, std::size_t count, const std::uint8_t (*tables)[256],
                    std::uint8_t* planes, std::size_t stride) {
  3 * count <= kBytes ? split_row(rgb, count, tables, planes, stride)
                      : portable::split_channels(rgb, count, tables, planes, stride);
}

/// RoundByteWeights as a table.
class LookUpByteWeights {
 public:
  explicit LookUpByteWeights(const portable::Rounding& rounding)
      : weights_(Entries(RoundByteWeights(rounding)).bytes) {}

  U8 operator()(U8 m) const { return weights_(m); }

 private:
  struct Entries {
    explicit Entries(const RoundByteWeights& round) {
      for (std::size_t m = 0; m < sizeof(bytes); ++m) {
        bytes[m] = static_cast<std::uint8_t>(m);
      }
      for (std::size_t m = 0; m < sizeof(bytes); m += kBytes) {
        round(U8::load(bytes + m)).store(bytes + m);
      }
    }

    std::uint8_t bytes[256];
  };

  ByteTable weights_;
};

}  // namespace
}  // namespace bitlog2::runtime

BITLOG2_END_TARGET

namespace bitlog2::runtime {

const Kernels& avx512_vbmi_kernels();

const Kernels& avx512_vbmi_kernels() {
  static const Kernels kernels = [] {
    Kernels own = avx512_vnni_kernels();
    own.name = "avx512_vbmi";
    own.make_code_runs = make_code_runs;
    own.rescale_to_codes = rescale_to_codes_by_tables;
    own.split_channels = split_channels;
    own.softmax_codes = softmax_codes_by<LookUpByteWeights>;
    return own;
  }();
  return kernels;
}

}  // namespace bitlog2::runtime

#endif
