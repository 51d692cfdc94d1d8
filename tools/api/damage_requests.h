#pragma once

#include <cstdint>
#include <optional>
#include <set>

#include "base/result.h"
#include "tools/api/request_handler.h"

namespace vaultfs {

// The answer to verify.
struct VerifyAnswer {
  VerifyReport report;
  std::optional<std::uint64_t> known_damage;  // before this; nothing: without keys nobody knows
  // What became of what was found, where there was something and an owner looked: it is remembered and healed, or not.
  std::optional<ExaminedDamage> examined;
  std::optional<Error> not_remembered;
};
// Reads everything. `keyless`: as somebody without keys can.
[[nodiscard]] Result<VerifyAnswer> verify_and_remember(const RequestContext& context, bool keyless);

// The owner looks for itself at what somebody else found damaged.
[[nodiscard]] Result<ExaminedDamage> examine_segments(Vault& vault, const std::set<ContainerNumber>& segments);

}  // namespace vaultfs
