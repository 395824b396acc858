// Translates the names of a vision transformer's tensors in each library to this project's names:
// timm's, and a few more for tensors that only other libraries have.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitlog2/tensors.h"

namespace bitlog2 {

enum class Library { timm, transformers, torchvision };

/// "timm", for example.
std::string library_name(Library library);

/// A checkpoint's tensors by this project's names. Prefixes of wrappers ("module.") are removed, in
/// any nesting.
class CheckpointNames {
 public:
  /// Takes the library whose names fit most tensors.
  explicit CheckpointNames(const TensorFile& file);

  Library library() const { return library_; }

  bool contains(const std::string& name) const { return in_file_.contains(name); }
  bool contains_prefix(const std::string& prefix) const;
  /// Whether a name in the file holds `part`.
  bool contains_part(std::string_view part) const;

  /// The tensor's name in the file; if it is missing, the name that it would have in timm.
  std::string in_file(const std::string& name) const;

  /// The tensor called `name`, or nullptr.
  const TensorView* find(const std::string& name) const;

  /// Names here to names in the file, of tensors that a model may need.
  const std::map<std::string, std::string>& all() const { return in_file_; }

  /// Names in the file of tensors that no library's rule knows.
  const std::vector<std::string>& strangers() const { return strangers_; }

  /// Parts of the file that the image model does not need: "text_model".
  const std::set<std::string>& unused_parts() const { return unused_parts_; }

  /// Prefixes of wrappers that were left out.
  const std::set<std::string>& prefixes() const { return prefixes_; }

  /// Two prefixes with the same name behind them, if there are any.
  const std::optional<std::pair<std::string, std::string>>& twice() const { return twice_; }

 private:
  void move_downsample();

  const TensorFile& file_;
  Library library_ = Library::timm;
  bool downsample_moved_ = false;
  std::map<std::string, std::string> in_file_;
  std::vector<std::string> strangers_;
  std::set<std::string> unused_parts_;
  std::set<std::string> prefixes_;
  std::optional<std::pair<std::string, std::string>> twice_;
};

/// Whether a tensor is a counter that training and profiling leave in a checkpoint: a single
/// number that no forward pass reads.
bool is_counter(const std::string& name, const TensorView& tensor);

/// The last part of a name with dots.
std::string last_part(const std::string& name);

}  // namespace bitlog2
