#include "tools/stop_signals.h"

#include <atomic>
#include <csignal>

#include "base/stop_request.h"
#include "tools/inheritance.h"

namespace vaultfs {
namespace {

std::atomic<int> first_signal{0};

void note_signal(int signal) {
  int none = 0;
  first_signal.compare_exchange_strong(none, signal);
  request_stop();
}

}  // namespace

void hear_stop_signals() noexcept {
  struct sigaction action {};
  action.sa_handler = note_signal;
  action.sa_flags = SA_RESETHAND;  // without SA_RESTART: what waits for a terminal or a pipe is to look up
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGTERM, &action, nullptr);
  // Also where it was ignored, as in a script's background process: who sends it means it.
  ::sigaction(SIGINT, &action, nullptr);
  if (!inherited().ignores_hang_up) ::sigaction(SIGHUP, &action, nullptr);
}

int stop_signal() noexcept { return first_signal.load(); }

std::string stop_signal_name() {
  switch (stop_signal()) {
    case SIGINT:
      return "SIGINT";
    case SIGHUP:
      return "SIGHUP";
    default:
      return "SIGTERM";
  }
}

}  // namespace vaultfs
