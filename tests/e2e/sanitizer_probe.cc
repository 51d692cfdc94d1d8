// Does on purpose what a sanitizer must report, in a process like the daemon: hardened, detached, its standard streams
// on /dev/null, its exit code asked for by nobody. sanitizer_reports.sh proves by it that such a report fails a test.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "crypto/memory/secret_buffer.h"

namespace {

// Keeps the compiler from seeing through a value.
volatile int opaque_one = 1;

void leak() {
  auto* volatile lost = new std::string(static_cast<std::size_t>(64 * opaque_one), 'x');
  lost = nullptr;
  static_cast<void>(lost);
}

void write_after_the_end() {
  std::vector<int> four(static_cast<std::size_t>(4 * opaque_one));
  four.data()[4 * opaque_one] = 1;
  std::printf("%d\n", four.data()[0]);
}

void overflow() {
  const int sum = std::numeric_limits<int>::max() + opaque_one;
  std::printf("%d\n", sum);
}

void race() {
  static int shared = 0;
  const auto count = [] {
    for (int i = 0; i < 1000; ++i) shared += opaque_one;
  };
  std::thread other(count);
  count();
  other.join();
  std::printf("%d\n", shared);
}

int daemon(const std::function<void()>& fault) {
  if (!vaultfs::harden_process().ok()) return 1;
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return 1;
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null, standard);
  fault();
  return 0;
}

}  // namespace

// sanitizer_probe leak|address|undefined|race|nothing: 0 whatever the detached process comes to.
int main(int argc, char** argv) {
  const std::map<std::string, std::function<void()>> faults = {
      {"leak", leak}, {"address", write_after_the_end}, {"undefined", overflow}, {"race", race}, {"nothing", [] {}}};
  const auto fault = faults.find(argc == 2 ? argv[1] : "");
  if (fault == faults.end()) return 2;
  const pid_t child = ::fork();
  if (child < 0) return 1;
  if (child == 0) return daemon(fault->second);
  ::waitpid(child, nullptr, 0);
  ::_exit(0);
}
