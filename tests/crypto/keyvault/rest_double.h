#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "crypto/keyvault/http/client.h"
#include "crypto/keyvault/http/curl.h"
#include "tests/crypto/keyvault/outcome.h"
#include "tests/support/scratch_directory.h"
#include "tests/support/sim_env.h"

namespace vaultfs {

// A strict double of a key service (tests/doubles/NAME_double.py), started on loopback and gone with this object; also
// with the test's process, whose end closes its input. Not thread-safe.
class RestDouble {
 public:
  explicit RestDouble(const std::string& name, const std::vector<std::string>& arguments = {}) {
    start(name, arguments);
    greeting_ = read_line();
    address_ = "https://localhost:" + std::to_string(greeting_.at("port").get<int>());
  }
  RestDouble(const RestDouble&) = delete;
  RestDouble& operator=(const RestDouble&) = delete;
  ~RestDouble() {
    if (input_ != nullptr) std::fclose(input_);  // the double ends when its input does
    if (output_ != nullptr) std::fclose(output_);
    if (process_ > 0) ::waitpid(process_, nullptr, 0);
  }

  // Sends a command of the double's control channel; its reply. Throws if the double refuses it.
  nlohmann::json ask(const nlohmann::json& command) {
    const std::string line = command.dump() + "\n";
    if (std::fputs(line.c_str(), input_) < 0 || std::fflush(input_) != 0)
      throw std::runtime_error("the double is gone");
    nlohmann::json reply = read_line();
    if (reply.contains("error")) throw std::runtime_error("the double refuses: " + reply["error"].get<std::string>());
    return reply;
  }
  void fault(nlohmann::json fault) {
    fault["do"] = "fault";
    ask(fault);
  }
  void heal() { ask({{"do", "heal"}}); }
  // The requests since the last report, METHOD TARGET. Throws if one of them was a violation.
  std::vector<std::string> requests() {
    const nlohmann::json report = ask({{"do", "report"}});
    if (!report["violations"].empty()) throw std::runtime_error("violations: " + report["violations"].dump());
    return report["requests"].get<std::vector<std::string>>();
  }

  // https://localhost:PORT
  [[nodiscard]] const std::string& address() const { return address_; }
  [[nodiscard]] const nlohmann::json& greeting() const { return greeting_; }
  // Where the double wrote its certificates: ca.pem, client.pem, client.key.
  [[nodiscard]] std::filesystem::path file(const std::string& file_name) const { return directory_ / file_name; }

 private:
  void start(const std::string& name, const std::vector<std::string>& arguments) {
    std::array<int, 2> in{};
    std::array<int, 2> out{};
    // Not inherited by the doubles that start later: one that held this one's input open would keep it alive.
    if (::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    std::vector<std::string> words{"/usr/bin/python3", VAULTFS_SOURCE_DIR "/tests/doubles/" + name + "_double.py",
                                   directory_.path().string()};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    process_ = ::fork();
    if (process_ < 0) throw std::runtime_error("fork");
    if (process_ == 0) {
      ::dup2(in[0], STDIN_FILENO);
      ::dup2(out[1], STDOUT_FILENO);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    input_ = ::fdopen(in[1], "w");
    output_ = ::fdopen(out[0], "r");
  }

  nlohmann::json read_line() {
    std::string line;
    for (int c = std::fgetc(output_); c != '\n'; c = std::fgetc(output_)) {
      if (c == EOF) throw std::runtime_error("the double has ended");
      line += static_cast<char>(c);
    }
    return nlohmann::json::parse(line);
  }

  ScratchDirectory directory_;
  int process_ = -1;
  std::FILE* input_ = nullptr;
  std::FILE* output_ = nullptr;
  nlohmann::json greeting_;
  std::string address_;
};

// A simulated machine. What pauses on it takes no time, but moves its clock on.
class RestMachine {
 public:
  SimEnv& env() { return env_; }
  HttpMeans means(std::shared_ptr<HttpTransport> transport) {
    return {std::move(transport), [this](std::chrono::milliseconds pause) {
              pauses_.push_back(pause);
              env_.sim_clock().advance_nanos(std::chrono::nanoseconds(pause).count());
            }};
  }
  // curl, with the files of this machine.
  HttpMeans means(HttpTlsFiles files) { return means(make_curl_transport(env_, std::move(files))); }
  // Copies a file of the real machine.
  void copy_file(const std::filesystem::path& from, const std::string& to) {
    env_.write(to, value_of(read_file(posix_env(), from, 1 << 20)));
  }
  void write_secret(const std::string& path, std::string_view text) { env_.write(path, bytes_of(text)); }
  std::vector<std::chrono::milliseconds>& pauses() { return pauses_; }

 private:
  SimEnv env_;
  std::vector<std::chrono::milliseconds> pauses_;
};

}  // namespace vaultfs
