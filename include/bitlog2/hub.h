// Where Hugging Face's tools put a model's weights on this machine.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#pragma GCC visibility push(default)
namespace bitlog2 {

/// The newest snapshot's model.safetensors of `repository` ("timm/deit_tiny_...") in the
/// Hugging Face cache: HF_HUB_CACHE, else HF_HOME/hub, else XDG_CACHE_HOME/huggingface/hub,
/// else ~/.cache/huggingface/hub. The snapshot of refs/main is preferred. Reads only.
std::optional<std::filesystem::path> find_in_hub_cache(const std::string& repository);

/// The folder of that snapshot, or of the newest, with whatever it holds.
std::optional<std::filesystem::path> find_snapshot_in_hub_cache(const std::string& repository);

/// The one command that downloads it.
std::string hub_download_command(const std::string& repository);

}  // namespace bitlog2
#pragma GCC visibility pop
