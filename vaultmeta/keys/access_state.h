#pragma once

#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "base/result.h"
#include "vaultmeta/keys/kek_access.h"
#include "vaultmeta/keys/key_custody.h"

namespace vaultfs {

// Rule 7 without its consequences: since when the Active version is refused or out of reach, and whether the time is
// over for which the keys are kept nevertheless. Times are monotonic nanoseconds. Not thread-safe; no I/O.
class AccessState {
 public:
  [[nodiscard]] KeyAccess access() const noexcept { return access_; }
  [[nodiscard]] bool is_sealed() const noexcept { return access_ == KeyAccess::sealed; }
  [[nodiscard]] const std::optional<Error>& problem() const noexcept { return problem_; }

  void trouble(const Error& error, std::int64_t now) {
    std::int64_t& since = is_revocation(error.code) ? denied_since_ : unreachable_since_;
    if (since == 0) since = now;
    // An outage does not make a refusal that came before it undone: its grace runs on.
    if (access_ != KeyAccess::sealed) access_ = denied_since_ != 0 ? KeyAccess::denied : KeyAccess::unreachable;
    problem_ = error;
  }

  // True if that heals a sealed vault.
  [[nodiscard]] bool available() {
    const bool healed = is_sealed();
    *this = AccessState();
    return healed;
  }

  // Whether the grace of a refusal or the time to live in an outage is over.
  [[nodiscard]] bool deadline_passed(const EncryptionSettings& settings, std::int64_t now) const noexcept {
    const auto passed = [now](std::int64_t since, std::uint32_t seconds) {
      return since != 0 && now - since >= std::int64_t{seconds} * kNanosPerSecond;
    };
    return passed(denied_since_, settings.revocation_grace_seconds) ||
           passed(unreachable_since_, settings.outage_ttl_seconds);
  }

  // The keys were wiped. Why.
  const Error& sealed() {
    access_ = KeyAccess::sealed;
    if (!problem_) problem_ = Error{ErrorCode::KeyRevoked, "the vault was sealed"};
    return *problem_;
  }

 private:
  KeyAccess access_ = KeyAccess::available;
  std::optional<Error> problem_;        // of the last refresh
  std::int64_t denied_since_ = 0;       // 0 = not
  std::int64_t unreachable_since_ = 0;  // likewise
};

}  // namespace vaultfs
