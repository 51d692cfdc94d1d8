#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "tests/support/sim_env.h"

namespace vaultfs {

// Stops whoever makes a step of a simulated disk that a test waits for, until the test lets everybody go on. `match` is
// called from the thread that makes the step, without a lock held, and may do something itself. The disk has one
// observer: this one, until the end.
class StepStop {
 public:
  using Match = std::function<bool(SimStep step, const Env::Path& path)>;
  StepStop(SimEnv& env, Match match) : env_(env) {
    env.set_observer([state = state_, wanted = std::move(match)](SimStep step, const Env::Path& path) {
      if (!wanted(step, path)) return;
      std::unique_lock lock(state->mutex);
      state->reached = true;
      state->changed.notify_all();
      state->changed.wait(lock, [&state] { return state->going; });
    });
  }
  StepStop(const StepStop&) = delete;
  StepStop& operator=(const StepStop&) = delete;
  ~StepStop() {
    go_on();
    env_.set_observer({});
  }

  // Returns when somebody stands at such a step.
  void wait() {
    std::unique_lock lock(state_->mutex);
    state_->changed.wait(lock, [this] { return state_->reached; });
  }
  void go_on() {
    const std::lock_guard lock(state_->mutex);
    state_->going = true;
    state_->changed.notify_all();
  }

 private:
  struct State {
    std::mutex mutex;  // guards all below
    std::condition_variable changed;
    bool reached = false;
    bool going = false;
  };
  SimEnv& env_;
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

// A write to a file of the vault's `folder`.
[[nodiscard]] inline bool is_write_in(const char* folder, SimStep step, const Env::Path& path) {
  return step == SimStep::write && path.parent_path().filename() == folder;
}

}  // namespace vaultfs
