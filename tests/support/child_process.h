#pragma once

#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace vaultfs {

// A test that needs a second process begins with `if (const auto given = child_arguments(); !given.empty())`, where it
// does the child's part and ends by ::_exit(). A child of fork() alone could do nothing: key memory is not inherited.

inline constexpr const char* kChildArguments = "VAULTFS_TEST_CHILD_ARGUMENTS";

// What start_child() was given, in the child; empty in any other process.
inline std::vector<std::string> child_arguments() {
  const char* const given = std::getenv(kChildArguments);  // NOLINT(concurrency-mt-unsafe): no thread sets any
  std::vector<std::string> arguments;
  if (given == nullptr) return arguments;
  std::istringstream lines(given);
  for (std::string line; std::getline(lines, line);) arguments.push_back(line);
  return arguments;
}

// Runs the test that calls it once more, in a process of its own. REQUIRES: one argument at least, none with a newline.
inline pid_t start_child(const std::vector<std::string>& arguments) {
  std::string joined;
  for (const std::string& argument : arguments) joined += argument + "\n";
  const testing::TestInfo& test = *testing::UnitTest::GetInstance()->current_test_info();
  std::string self = "/proc/self/exe";
  std::string filter = std::string("--gtest_filter=") + test.test_suite_name() + "." + test.name();
  std::string variable = std::string(kChildArguments) + "=" + joined;
  std::vector<char*> environment{variable.data()};
  for (char** entry = environ; *entry != nullptr; ++entry) environment.push_back(*entry);
  environment.push_back(nullptr);
  std::array<char*, 3> words{self.data(), filter.data(), nullptr};
  pid_t child = 0;
  if (::posix_spawn(&child, self.c_str(), nullptr, nullptr, words.data(), environment.data()) != 0) {
    throw std::runtime_error("posix_spawn");
  }
  return child;
}

// Its exit code; a signal's number, negative, if one ended it.
inline int wait_for_child(pid_t child) {
  int status = 0;
  if (::waitpid(child, &status, 0) != child) throw std::runtime_error("waitpid");
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace vaultfs
