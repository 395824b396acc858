// Finds a model's files in the cache of Hugging Face's tools on this machine.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#pragma GCC visibility push(default)
namespace bitlog2 {

/// The newest snapshot's model.safetensors of `repository` ("timm/deit_tiny_...") in the
/// Hugging Face cache: HF_HUB_CACHE, else HF_HOME/hub, else XDG_CACHE_HOME/huggingface/hub,
/// else ~/.cache/huggingface/hub. The snapshot of refs/main is preferred. Nothing if there is none.
/// Nothing is downloaded or written.
std::optional<std::filesystem::path> find_in_hub_cache(const std::string& repository);

/// The folder of the snapshot of refs/main, or of the newest one, whether or not it has weights.
std::optional<std::filesystem::path> find_snapshot_in_hub_cache(const std::string& repository);

/// The shell command that downloads the model.safetensors of `repository`.
std::string hub_download_command(const std::string& repository);

}  // namespace bitlog2
#pragma GCC visibility pop
