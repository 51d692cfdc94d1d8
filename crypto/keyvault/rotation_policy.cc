#include "crypto/keyvault/rotation_policy.h"

#include <charconv>
#include <string>

#include "base/clock.h"

namespace vaultfs {
namespace {

constexpr std::uint32_t kMinRotationDays = 7;
constexpr std::uint32_t kMinExpiryDays = 28;
constexpr std::uint32_t kMaxDays = 36'500;

std::int64_t days(std::uint32_t count) noexcept { return kSecondsPerDay * count; }

}  // namespace

Status RotationPolicy::check() const {
  const auto refuse = [](const std::string& why) { return Error{ErrorCode::InvalidArgument, why}; };
  if (after_create_days.has_value() == before_expiry_days.has_value()) {
    return refuse("a rotation policy has one trigger: some days after creation, or some before expiry");
  }
  const std::uint32_t trigger = after_create_days ? *after_create_days : *before_expiry_days;
  if (trigger < kMinRotationDays || trigger > kMaxDays) return refuse("a rotation policy's trigger is 7 to 36500 days");
  if (!expiry_days) {
    return after_create_days ? ok_status() : refuse("a rotation before expiry needs the versions' expiry as well");
  }
  if (*expiry_days < kMinExpiryDays || *expiry_days > kMaxDays) return refuse("an expiry is 28 to 36500 days");
  if (trigger >= *expiry_days) return refuse("the new version must be made before the old one expires");
  return ok_status();
}

bool RotationPolicy::due(const KeyVersionInfo& newest, std::int64_t now_unix_seconds) const noexcept {
  if (after_create_days) return now_unix_seconds - newest.created_unix_seconds >= days(*after_create_days);
  if (!before_expiry_days || !expiry_days) return false;
  const std::int64_t expires = newest.expires ? *newest.expires : newest.created_unix_seconds + days(*expiry_days);
  return now_unix_seconds >= expires - days(*before_expiry_days);
}

std::string days_duration(std::uint32_t days) { return "P" + std::to_string(days) + "D"; }

RotationPolicyText rotation_policy_text(const RotationPolicy& policy) {
  const auto text = [](const std::optional<std::uint32_t>& days) {
    return days ? days_duration(*days) : std::string();
  };
  return {text(policy.after_create_days), text(policy.before_expiry_days), text(policy.expiry_days)};
}

Result<std::uint32_t> parse_duration_days(std::string_view text) {
  const Error wrong{ErrorCode::InvalidArgument, "a duration is given in days or weeks: P30D, 30d, P12W or 12w"};
  std::string_view rest = text;
  const bool iso = rest.starts_with('P');
  if (iso) rest.remove_prefix(1);
  if (rest.size() < 2 || rest.size() > 8) return wrong;
  const char unit = rest.back();
  rest.remove_suffix(1);
  std::uint32_t count = 0;
  const auto parsed = std::from_chars(rest.data(), rest.data() + rest.size(), count);
  if (parsed.ec != std::errc() || parsed.ptr != rest.data() + rest.size() || count > kMaxDays) return wrong;
  if (unit == (iso ? 'D' : 'd')) return count;
  if (unit == (iso ? 'W' : 'w')) return count * 7;
  return wrong;
}

}  // namespace vaultfs
