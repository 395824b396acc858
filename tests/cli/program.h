// One of the built programs, run as a user would: arguments, environment, both outputs, the
// exit code, and Ctrl-C.
#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "reference.h"

namespace bitlog2::testing {

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// What a program left behind.
struct Outcome {
  int exit_code = 0;  ///< as a shell counts it: 128 + n for signal n
  std::string out;
  std::string err;
};

class Program {
 public:
  /// Starts `name` of the build folder. `environment` holds the variables to change.
  Program(const std::string& name, const std::vector<std::string>& arguments,
          const std::map<std::string, std::string>& environment = {}) {
    std::vector<std::string> words = {(programs() / name).string()};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<std::string> variables = changed_environment(environment);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, out().c_str(), kCreate, kMode);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, err().c_str(), kCreate, kMode);
    // Whoever runs the tests in the background may have SIGINT ignored.
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    posix_spawnattr_setsigdefault(&attributes, &signals);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    const int error = posix_spawn(&process_, words[0].c_str(), &files, &attributes,
                                  pointers(words).data(), pointers(variables).data());
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    if (error != 0) {
      throw std::runtime_error("cannot run " + words[0]);
    }
  }

  ~Program() {
    if (running_) {
      kill(process_, SIGKILL);
      wait(0);
    }
  }

  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  /// Waits until a text stands in what the program wrote so far; false if it ended before.
  bool wait_for_output(const std::string& text) { return wait_for(out(), text); }
  bool wait_for_error_output(const std::string& text) { return wait_for(err(), text); }

  /// Ctrl-C.
  void interrupt() const { kill(process_, SIGINT); }

  /// Waits for the end.
  Outcome finish() {
    if (running_) {
      wait(0);
    }
    const int code = WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
    return {code, read_text(out()), read_text(err())};
  }

 private:
  static constexpr int kCreate = O_WRONLY | O_CREAT | O_TRUNC;
  static constexpr mode_t kMode = 0600;

  std::filesystem::path out() const { return folder_.path() / "stdout"; }
  std::filesystem::path err() const { return folder_.path() / "stderr"; }

  static std::vector<std::string> changed_environment(
      const std::map<std::string, std::string>& changes) {
    std::vector<std::string> variables;
    for (char** variable = environ; *variable != nullptr; ++variable) {
      const std::string text = *variable;
      if (!changes.contains(text.substr(0, text.find('=')))) {
        variables.push_back(text);
      }
    }
    for (const auto& [name, value] : changes) {
      variables.push_back(name + "=" + value);
    }
    return variables;
  }

  static std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> result;
    for (std::string& text : texts) {
      result.push_back(text.data());
    }
    result.push_back(nullptr);
    return result;
  }

  void wait(int flags) { running_ = waitpid(process_, &status_, flags) == 0; }

  bool wait_for(const std::filesystem::path& file, const std::string& text) {
    while (read_text(file).find(text) == std::string::npos) {
      wait(WNOHANG);
      if (!running_) {
        return read_text(file).find(text) != std::string::npos;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }

  TemporaryFolder folder_;
  pid_t process_ = 0;
  int status_ = 0;
  bool running_ = true;
};

inline Outcome run_program(const std::string& name, const std::vector<std::string>& arguments,
                           const std::map<std::string, std::string>& environment = {}) {
  return Program(name, arguments, environment).finish();
}

}  // namespace bitlog2::testing
