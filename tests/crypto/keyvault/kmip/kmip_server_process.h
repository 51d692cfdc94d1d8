#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "crypto/keyvault/kmip/kmip_key_vault.h"
#include "tests/crypto/keyvault/outcome.h"
#include "tests/support/scratch_directory.h"

extern char** environ;

namespace vaultfs {

// A Python program of tests/doubles that serves KMIP on loopback in a directory of its own, where its certificates are
// too. It takes commands, one a line, and is gone when its standard input ends: with this object, or with the test's
// process, whatever becomes of that.
class KmipServerProcess {
 public:
  explicit KmipServerProcess(std::string program) : program_(std::move(program)) {}
  KmipServerProcess(const KmipServerProcess&) = delete;
  KmipServerProcess& operator=(const KmipServerProcess&) = delete;
  ~KmipServerProcess() { kill(); }

  // On the port that it had before, if it had one.
  void start() {
    std::array<int, 2> in{};
    std::array<int, 2> out{};
    if (::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    std::string python = "/usr/bin/python3";
    std::string script = VAULTFS_SOURCE_DIR "/tests/doubles/" + program_;
    std::string directory = scratch_.path().string();
    std::string port = std::to_string(port_);
    std::array<char*, 5> arguments{python.data(), script.data(), directory.data(), port.data(), nullptr};
    const int error = ::posix_spawn(&process_, python.c_str(), &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    ::close(in[0]);
    ::close(out[1]);
    commands_ = ::fdopen(in[1], "w");
    answers_ = ::fdopen(out[0], "r");
    if (error != 0) throw std::runtime_error("posix_spawn");
    const std::string ready = line();
    if (!ready.starts_with("ready ")) throw std::runtime_error(program_ + " did not start: " + ready);
    port_ = std::stoi(ready.substr(6));
  }

  // At once, as if its machine had lost power.
  void kill() {
    if (commands_ == nullptr) return;
    std::fclose(std::exchange(commands_, nullptr));
    ::waitpid(process_, nullptr, 0);
    std::fclose(std::exchange(answers_, nullptr));
  }

  // What the command gives; a failed test if it fails.
  std::string command(const std::string& text) {
    std::fputs((text + "\n").c_str(), commands_);
    std::fflush(commands_);
    const std::string answer = line();
    if (!answer.starts_with("ok")) throw std::runtime_error(text + ": " + answer);
    return answer.size() > 3 ? answer.substr(3) : std::string();
  }

  [[nodiscard]] std::filesystem::path file(const std::string& name) const { return scratch_ / name; }
  [[nodiscard]] int port() const { return port_; }
  // Of a key vault for the client of that name.
  [[nodiscard]] ProviderOptions options(const std::string& client) const {
    return {{"address", "127.0.0.1:" + std::to_string(port_)},
            {"ca-file", file("ca.pem").string()},
            {"client-cert-file", file(client + ".pem").string()},
            {"client-key-file", file(client + ".key").string()}};
  }

 private:
  std::string line() {
    std::string text;
    for (int c = std::fgetc(answers_); c != EOF && c != '\n'; c = std::fgetc(answers_)) {
      text.push_back(static_cast<char>(c));
    }
    return text;
  }

  const std::string program_;
  ScratchDirectory scratch_;
  int port_ = 0;
  pid_t process_ = -1;
  std::FILE* commands_ = nullptr;
  std::FILE* answers_ = nullptr;
};

// Pauses between attempts that a test can afford.
inline constexpr KmipRetryPlan kQuickRetries{.retries = 3, .first_pause = std::chrono::milliseconds(5)};

inline std::unique_ptr<AdministeredKeyVault> open_kmip(const ProviderOptions& options,
                                                       const KmipRetryPlan& retry = kQuickRetries) {
  return value_of(open_kmip_key_vault({posix_env(), "/nowhere", "hsm", options, {}}, retry));
}

// PyKMIP's server, shared by the tests of this program because it takes a second to start. Each test is a client of its
// own name there, so that none sees the keys of another; the server is up, and everybody is known, between tests.
inline KmipServerProcess& pykmip() {
  static KmipServerProcess server("kmip_pykmip_server.py");
  static const bool started = (server.start(), true);
  (void)started;
  return server;
}

inline std::string new_pykmip_user() {
  static int next = 0;
  return "user" + std::to_string(next++);
}

}  // namespace vaultfs
