#include "tools/stop_signals.h"

#include <atomic>
#include <csignal>

#include "base/thread/stop_request.h"
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
  // What was started with one of them ignored is not meant by it: Ctrl-C at a script goes to its background jobs, too.
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  const Inherited& before = inherited();
  ::sigaction(SIGINT, before.ignores_interrupt ? &ignore : &action, nullptr);
  ::sigaction(SIGTERM, before.ignores_terminate ? &ignore : &action, nullptr);
  ::sigaction(SIGHUP, before.ignores_hang_up ? &ignore : &action, nullptr);
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
