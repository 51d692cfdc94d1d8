#pragma once

#include <exception>
#include <string>
#include <utility>

namespace vaultfs::sim {

// A promise that did not hold. Thrown within the simulation only, never through the engine.
class Finding final : public std::exception {
 public:
  // `promise` names the check (docs/testing.md has the list), `what` says what was seen.
  Finding(std::string promise, std::string what)
      : promise_(std::move(promise)), text_(promise_ + ": " + std::move(what)) {}
  [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }
  [[nodiscard]] const std::string& promise() const noexcept { return promise_; }

 private:
  std::string promise_;
  std::string text_;
};

}  // namespace vaultfs::sim
