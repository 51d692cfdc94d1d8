#pragma once

#include <p11-kit/pkcs11.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/result.h"
#include "base/thread/mutex.h"
#include "crypto/keyvault/pkcs11/worker.h"

namespace vaultfs {

// A module's shared library, loaded and initialised when it is first needed. Used on its worker's thread only.
//
// Loaded by dlopen rather than through p11-kit: p11-kit holds a lock of its own around C_Initialize, so that one
// hanging module would stop all others, and wraps functions by code made at run time, which a hardened service forbids.
// What p11-kit would add, counting initialisations and noticing forks, is in Pkcs11Module.
class Pkcs11Library {
 public:
  // `forked`: this process inherited the module's memory from a parent that may have initialised it.
  Pkcs11Library(std::filesystem::path path, bool forked) : path_(std::move(path)), forked_(forked) {}

  // Loads and initialises unless that is done. KeyVaultUnavailable if the library is missing or does not start;
  // PermissionDenied if others than root and this user could change it (resolve_trusted_path).
  [[nodiscard]] Status start();
  // C_Finalize, if start() was what initialised it. All sessions are gone.
  void stop() noexcept;

  // start() was called by this job and not before: what the module knows of its tokens is new.
  [[nodiscard]] bool started_now() const noexcept { return started_now_; }
  void begin_job() noexcept { started_now_ = false; }

  [[nodiscard]] bool started() const noexcept { return started_; }
  // REQUIRES: start() succeeded and stop() was not called since.
  [[nodiscard]] const CK_FUNCTION_LIST& functions() const noexcept { return *functions_; }
  // Changes with every C_Initialize: sessions of another generation are gone.
  [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  [[nodiscard]] Status load();

  const std::filesystem::path path_;
  bool forked_;
  CK_FUNCTION_LIST* functions_ = nullptr;
  bool started_ = false;
  bool started_now_ = false;
  bool ours_ = false;  // we initialised it, so we finalise it
  std::uint64_t generation_ = 0;
};

// Guards which modules there are, and what each of them says. A leaf: held for a few instructions only, and across a
// fork, so that a child never inherits it locked.
inline constinit Mutex pkcs11_modules_mutex;

// A module of this process: one for each path, however many key vaults use it, because a module is initialised once for
// a process. Thread-safe.
//
// The last user that goes finalises it, and so does the end of the process (an exit handler): SoftHSM crashes in its
// own exit handler otherwise, when OpenSSL 3 has cleaned up before it.
class Pkcs11Module {
 public:
  // Registers a user of the module; loads nothing.
  [[nodiscard]] static Pkcs11Module& acquire(const std::filesystem::path& path);
  // Ends the use of the module: runs `close` on its thread if it has been started in this process, and finalises it
  // after its last user. Waits up to 5 s for both; if it hangs, they are done when it comes back.
  void close_and_release(std::function<void(Pkcs11Library&)> close);

  // Runs `job` on the module's thread, with the module started. KeyVaultUnavailable if it can't be started, if
  // `timeout` passes, or at once while an earlier call is still hanging. After a time-out the job may go on: it must
  // own all that it touches.
  template <typename T>
  [[nodiscard]] Result<T> run(std::chrono::nanoseconds timeout, std::function<Result<T>(Pkcs11Library&)> job) {
    const auto answer = std::make_shared<std::optional<Result<T>>>();
    const Status ran = run_job(timeout, [answer, job = std::move(job)](Pkcs11Library& library) {
      library.begin_job();
      const Status started = library.start();
      answer->emplace(started.ok() ? job(library) : Result<T>(started.error()));
    });
    if (!ran.ok()) return ran.error();
    return std::move(**answer);
  }

  Pkcs11Module(const Pkcs11Module&) = delete;
  Pkcs11Module& operator=(const Pkcs11Module&) = delete;

 private:
  friend struct Pkcs11Registry;
  // What a fork leaves behind as a whole.
  struct Running {
    Running(const std::filesystem::path& path, bool forked) : library(path, forked) {}
    Pkcs11Worker worker;
    Pkcs11Library library;  // used on the worker's thread only
  };

  explicit Pkcs11Module(std::filesystem::path path) : path_(std::move(path)) {}
  [[nodiscard]] std::shared_ptr<Running> running();
  [[nodiscard]] Status run_job(std::chrono::nanoseconds timeout, std::function<void(Pkcs11Library&)> job);

  const std::filesystem::path path_;
  std::shared_ptr<Running> running_ GUARDED_BY(pkcs11_modules_mutex);
  int process_ GUARDED_BY(pkcs11_modules_mutex) = 0;  // whose thread running_ has
  unsigned users_ GUARDED_BY(pkcs11_modules_mutex) = 0;
};

}  // namespace vaultfs
