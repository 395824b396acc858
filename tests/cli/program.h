// Runs one of the built programs as a user would: with arguments, environment, limits, both
// outputs, the exit code, and Ctrl-C.
#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <map>
#include <optional>
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

/// The result of a program.
struct Outcome {
  int exit_code = 0;  ///< as a shell counts it: 128 + n for signal n
  std::string out;
  std::string err;
};

/// The surroundings in which a program runs.
struct Surroundings {
  std::map<std::string, std::string> environment;  ///< variables to change
  std::optional<rlim_t> address_space;             ///< RLIMIT_AS, bytes
  std::optional<rlim_t> processes;                 ///< RLIMIT_NPROC; root becomes a user who has it
  std::string out;                                 ///< where stdout goes instead of a file
  std::string err;                                 ///< where stderr goes instead of a file
  std::string in = "/dev/null";                    ///< where stdin comes from
  bool closed_out = false;
  bool closed_err = false;
};

class Program {
 public:
  /// Starts `name` of the build folder.
  Program(const std::string& name, const std::vector<std::string>& arguments,
          const Surroundings& surroundings = {}) {
    std::vector<std::string> words = {(programs() / name).string()};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<std::string> variables = changed_environment(surroundings.environment);
    const std::string out_path = surroundings.out.empty() ? out().string() : surroundings.out;
    const std::string err_path = surroundings.err.empty() ? err().string() : surroundings.err;
    const std::vector<char*> argv = pointers(words);
    const std::vector<char*> envp = pointers(variables);
    process_ = fork();
    if (process_ == 0) {
      // Nothing may allocate memory between fork and exec.
      redirect(STDIN_FILENO, surroundings.in.c_str(), O_RDONLY);
      redirect(STDOUT_FILENO, out_path.c_str(), kCreate);
      redirect(STDERR_FILENO, err_path.c_str(), kCreate);
      if (surroundings.closed_out) {
        close(STDOUT_FILENO);
      }
      if (surroundings.closed_err) {
        close(STDERR_FILENO);
      }
      // A shell that runs the tests in the background may have set SIGINT to be ignored.
      std::signal(SIGINT, SIG_DFL);
      std::signal(SIGTERM, SIG_DFL);
      limit(RLIMIT_AS, surroundings.address_space);
      if (surroundings.processes) {
        limit(RLIMIT_NPROC, surroundings.processes);
        if (geteuid() == 0 && setuid(kNobody) != 0) {
          _exit(kNotStarted);
        }
      }
      execve(argv[0], argv.data(), envp.data());
      _exit(kNotStarted);
    }
    if (process_ < 0) {
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

  /// Waits until the program has written a text; false if it ended before.
  bool wait_for_output(const std::string& text) { return wait_for(out(), text); }
  bool wait_for_error_output(const std::string& text) { return wait_for(err(), text); }

  /// Sends the signal of Ctrl-C, or another one.
  void interrupt(int signal = SIGINT) const { kill(process_, signal); }

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
  static constexpr int kNotStarted = 127;
  static constexpr uid_t kNobody = 65534;

  static void redirect(int descriptor, const char* path, int flags) {
    const int file = open(path, flags, kMode);
    if (file < 0 || dup2(file, descriptor) < 0) {
      _exit(kNotStarted);
    }
    close(file);
  }

  static void limit(__rlimit_resource resource, const std::optional<rlim_t>& value) {
    if (value) {
      const rlimit both = {*value, *value};
      if (setrlimit(resource, &both) != 0) {
        _exit(kNotStarted);
      }
    }
  }

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
                           const Surroundings& surroundings = {}) {
  return Program(name, arguments, surroundings).finish();
}

}  // namespace bitlog2::testing
