// The Hugging Face cache, laid out by hand in a temporary folder.
#include "bitlog2/hub.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <fstream>

#include "reference.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;

/// Sets or removes an environment variable, and restores it at the end.
class Environment {
 public:
  Environment(std::string variable, const std::optional<std::string>& value)
      : variable_(std::move(variable)) {
    if (const char* before = std::getenv(variable_.c_str())) {
      before_ = before;
    }
    set(value);
  }
  ~Environment() { set(before_); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  void set(const std::optional<std::string>& value) const {
    if (value) {
      setenv(variable_.c_str(), value->c_str(), 1);
    } else {
      unsetenv(variable_.c_str());
    }
  }

 private:
  std::string variable_;
  std::optional<std::string> before_;
};

class Hub : public ::testing::Test {
 protected:
  fs::path repository() const { return folder_.path() / "models--timm--deit_tiny"; }

  fs::path add_snapshot(const std::string& commit, int hours_old) const {
    const fs::path snapshot = repository() / "snapshots" / commit;
    fs::create_directories(snapshot);
    std::ofstream(snapshot / "model.safetensors") << "x";
    fs::last_write_time(snapshot, fs::file_time_type::clock::now() - std::chrono::hours(hours_old));
    return snapshot / "model.safetensors";
  }

  void set_main(const std::string& commit) const {
    fs::create_directories(repository() / "refs");
    std::ofstream(repository() / "refs/main") << commit;
  }

  testing::TemporaryFolder folder_;
  Environment hub_cache_{"HF_HUB_CACHE", folder_.path().string()};
  Environment hf_home_{"HF_HOME", std::nullopt};
  Environment cache_home_{"XDG_CACHE_HOME", std::nullopt};
  Environment home_{"HOME", std::nullopt};
};

TEST_F(Hub, PrefersTheSnapshotOfMain) {
  const fs::path old = add_snapshot("aaa", 5);
  const fs::path recent = add_snapshot("bbb", 1);
  EXPECT_EQ(find_in_hub_cache("timm/deit_tiny"), recent);
  set_main("aaa\n");
  EXPECT_EQ(find_in_hub_cache("timm/deit_tiny"), old);
  set_main("ccc");
  EXPECT_EQ(find_in_hub_cache("timm/deit_tiny"), recent);
}

TEST_F(Hub, PassesOverSnapshotsWithoutWeights) {
  const fs::path complete = add_snapshot("aaa", 5);
  fs::create_directories(repository() / "snapshots/bbb");
  fs::create_directories(repository() / "snapshots/ccc");
  fs::create_symlink("../../blobs/gone", repository() / "snapshots/ccc/model.safetensors");
  set_main("ccc");
  EXPECT_EQ(find_in_hub_cache("timm/deit_tiny"), complete);
}

TEST_F(Hub, FollowsTheLinkToTheBlob) {
  fs::create_directories(repository() / "blobs");
  std::ofstream(repository() / "blobs/1234") << "x";
  fs::create_directories(repository() / "snapshots/aaa");
  const fs::path link = repository() / "snapshots/aaa/model.safetensors";
  fs::create_symlink("../../blobs/1234", link);
  EXPECT_EQ(find_in_hub_cache("timm/deit_tiny"), link);
}

TEST_F(Hub, FindsNothingWhereNothingIs) {
  EXPECT_EQ(find_in_hub_cache("timm/deit_tiny"), std::nullopt);
  fs::create_directories(repository() / "snapshots");
  EXPECT_EQ(find_in_hub_cache("timm/deit_tiny"), std::nullopt);
  add_snapshot("aaa", 0);
  EXPECT_EQ(find_in_hub_cache("timm/deit_small"), std::nullopt);
  hub_cache_.set(std::nullopt);
  EXPECT_EQ(find_in_hub_cache("timm/deit_tiny"), std::nullopt);
}

TEST_F(Hub, TakesTheCacheFromTheFirstVariableThatIsSet) {
  const fs::path weights = add_snapshot("aaa", 0);
  const fs::path in_repository = weights.lexically_relative(folder_.path());
  const auto move_to = [&](const char* cache) {
    const fs::path folder = folder_.path() / cache;
    fs::create_directories(folder);
    fs::copy(repository(), folder / repository().filename(), fs::copy_options::recursive);
    return folder / in_repository;
  };
  const fs::path below_home = move_to("home/.cache/huggingface/hub");
  const fs::path below_cache_home = move_to("xdg/huggingface/hub");
  const fs::path below_hf_home = move_to("hf/hub");
  hub_cache_.set("");  // the same as unset
  home_.set((folder_.path() / "home").string());
  EXPECT_EQ(find_in_hub_cache("timm/deit_tiny"), below_home);
  cache_home_.set((folder_.path() / "xdg").string());
  EXPECT_EQ(find_in_hub_cache("timm/deit_tiny"), below_cache_home);
  hf_home_.set((folder_.path() / "hf").string());
  EXPECT_EQ(find_in_hub_cache("timm/deit_tiny"), below_hf_home);
  hub_cache_.set(folder_.path().string());
  EXPECT_EQ(find_in_hub_cache("timm/deit_tiny"), weights);
}

TEST(HubDownload, IsOneCommand) {
  EXPECT_EQ(hub_download_command("timm/deit_tiny"),
            "pip install -U huggingface_hub && hf download timm/deit_tiny model.safetensors");
}

}  // namespace
}  // namespace bitlog2
