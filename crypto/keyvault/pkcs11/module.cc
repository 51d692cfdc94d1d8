#include "crypto/keyvault/pkcs11/module.h"

#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <map>
#include <vector>

#include "base/thread/mutex.h"
#include "crypto/files/trusted_path.h"
#include "crypto/keyvault/pkcs11/error.h"

namespace vaultfs {

using std::chrono_literals::operator""s;

namespace {

constexpr auto kFinalizePatience = 5s;
constexpr auto kExitPatience = 2s;

std::atomic<std::uint64_t> last_generation{0};
std::atomic<bool> process_ends{false};

}  // namespace

// The modules of this process. Never destroyed: threads may use it until the very end.
struct Pkcs11Registry {
  std::map<std::string, std::unique_ptr<Pkcs11Module>> modules GUARDED_BY(pkcs11_modules_mutex);
  // What forks left behind: parts of another process, whose threads don't exist here. Kept, because nothing of it can
  // be taken down safely.
  std::vector<std::shared_ptr<Pkcs11Module::Running>> abandoned GUARDED_BY(pkcs11_modules_mutex);

  static Pkcs11Registry& instance() {
    static Pkcs11Registry* const registry = [] {
      auto* made = new Pkcs11Registry;
      pthread_atfork(lock_for_fork, unlock_after_fork, unlock_after_fork);
      return made;
    }();
    return *registry;
  }

  // From before a fork to after it, where the analysis can't follow.
  static void lock_for_fork() NO_THREAD_SAFETY_ANALYSIS { pkcs11_modules_mutex.lock(); }
  static void unlock_after_fork() NO_THREAD_SAFETY_ANALYSIS { pkcs11_modules_mutex.unlock(); }

  // The exit handler. Registered after the first C_Initialize, so that it runs before the handlers of what the module
  // itself has loaded and started.
  static void finalize_all() {
    process_ends = true;
    std::vector<std::shared_ptr<Pkcs11Module::Running>> all;
    {
      const MutexLock lock(pkcs11_modules_mutex);
      for (const auto& [path, module] : instance().modules) {
        if (module->running_ != nullptr && module->process_ == ::getpid()) all.push_back(module->running_);
      }
    }
    for (const auto& running : all) {
      // A module that hangs is left alone.
      (void)running->worker.run([running] { running->library.stop(); }, kExitPatience);
    }
  }
};

Status Pkcs11Library::load() {
  if (functions_ != nullptr) return ok_status();
  const auto unusable = [&](const std::string& why) {
    return Error{ErrorCode::KeyVaultUnavailable, "the PKCS#11 module " + path_.string() + " can't be used: " + why};
  };
  // Its code runs with all rights of this process, and gets the PIN.
  const auto trusted = resolve_trusted_path(path_, "run their own code in vaultfs");
  if (!trusted.ok()) {
    if (trusted.code() != ErrorCode::PermissionDenied) return unusable(trusted.error().message);
    return Error{ErrorCode::PermissionDenied, "the PKCS#11 module is not loaded: " + trusted.error().message};
  }
  // Never unloaded: modules start threads and register exit handlers.
  void* const library = ::dlopen(trusted->c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    const char* const why = ::dlerror();  // NOLINT(concurrency-mt-unsafe): thread-local in glibc
    return unusable(why == nullptr ? "it does not load" : why);
  }
  const auto get_functions = reinterpret_cast<CK_C_GetFunctionList>(::dlsym(library, "C_GetFunctionList"));
  if (get_functions == nullptr) return unusable("it has no C_GetFunctionList");
  CK_FUNCTION_LIST* functions = nullptr;
  if (const CK_RV answer = get_functions(&functions); answer != CKR_OK || functions == nullptr) {
    return unusable(pkcs11_answer_text("C_GetFunctionList", answer));
  }
  functions_ = functions;
  return ok_status();
}

Status Pkcs11Library::start() {
  if (started_) return ok_status();
  // A module that starts while the process ends would never be finalised.
  if (process_ends) return Error{ErrorCode::KeyVaultUnavailable, "the process is ending"};
  VAULTFS_RETURN_IF_ERROR(load());
  CK_C_INITIALIZE_ARGS arguments{};
  arguments.flags = CKF_OS_LOCKING_OK;
  CK_RV answer = functions_->C_Initialize(&arguments);
  if (answer == CKR_CRYPTOKI_ALREADY_INITIALIZED && forked_) {
    // PKCS#11 v2.40 section 2.5.2: a child has to call C_Initialize. This module did not notice the fork, so what it
    // holds are the parent's sessions and login.
    (void)functions_->C_Finalize(nullptr);
    answer = functions_->C_Initialize(&arguments);
  }
  if (answer != CKR_OK && answer != CKR_CRYPTOKI_ALREADY_INITIALIZED) {
    return Error{ErrorCode::KeyVaultUnavailable, "the PKCS#11 module " + path_.string() +
                                                     " does not start: " + pkcs11_answer_text("C_Initialize", answer)};
  }
  ours_ = answer == CKR_OK;
  forked_ = false;
  started_ = true;
  started_now_ = true;
  generation_ = ++last_generation;
  [[maybe_unused]] static const int registered = std::atexit(Pkcs11Registry::finalize_all);
  return ok_status();
}

void Pkcs11Library::stop() noexcept {
  if (started_ && ours_) (void)functions_->C_Finalize(nullptr);
  started_ = false;
}

Pkcs11Module& Pkcs11Module::acquire(const std::filesystem::path& path) {
  Pkcs11Registry& registry = Pkcs11Registry::instance();
  const MutexLock lock(pkcs11_modules_mutex);
  std::unique_ptr<Pkcs11Module>& module = registry.modules[path.string()];
  if (module == nullptr) module.reset(new Pkcs11Module(path));
  ++module->users_;
  return *module;
}

void Pkcs11Module::close_and_release(std::function<void(Pkcs11Library&)> close) {
  std::shared_ptr<Running> target;
  {
    const MutexLock lock(pkcs11_modules_mutex);
    --users_;
    // A child does not take down what it has only inherited.
    if (running_ == nullptr || process_ != ::getpid()) return;
    target = running_;
  }
  const auto end_use = [this, target, close = std::move(close)] {
    if (target->library.started()) close(target->library);
    {
      const MutexLock lock(pkcs11_modules_mutex);
      if (users_ > 0) return;  // others use it, or somebody came back in between
    }
    target->library.stop();
  };
  if (target->worker.run(end_use, kFinalizePatience) == Pkcs11Worker::Outcome::done) return;
  target->worker.post(end_use);
}

std::shared_ptr<Pkcs11Module::Running> Pkcs11Module::running() {
  Pkcs11Registry& registry = Pkcs11Registry::instance();
  const MutexLock lock(pkcs11_modules_mutex);
  const int process = ::getpid();
  if (running_ != nullptr && process_ == process) return running_;
  const bool forked = running_ != nullptr;
  if (forked) registry.abandoned.push_back(std::move(running_));
  running_ = std::make_shared<Running>(path_, forked);
  process_ = process;
  return running_;
}

Status Pkcs11Module::run_job(std::chrono::nanoseconds timeout, std::function<void(Pkcs11Library&)> job) {
  const std::shared_ptr<Running> target = running();
  const auto outcome = target->worker.run([target, job = std::move(job)] { job(target->library); }, timeout);
  if (outcome == Pkcs11Worker::Outcome::done) return ok_status();
  const bool stuck = outcome == Pkcs11Worker::Outcome::stuck;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(timeout).count();
  return Error{ErrorCode::KeyVaultUnavailable,
               "the PKCS#11 module " + path_.string() +
                   (stuck ? " still hangs in an earlier call; check the device, or start vaultfs anew"
                          : " has not answered within " + std::to_string(seconds) + " s")};
}

}  // namespace vaultfs
