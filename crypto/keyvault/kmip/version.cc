#include "crypto/keyvault/kmip/version.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <system_error>

#include "crypto/keyvault/key_ref.h"

namespace vaultfs {
namespace {

// "No date is known": the end of year 9999, which every tool can print.
constexpr std::int64_t kNoDateYet = 253'402'300'799;

std::optional<std::uint64_t> as_number(const std::string& id) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), value);
  if (error != std::errc{} || end != id.data() + id.size()) return std::nullopt;
  return value;
}

std::optional<std::int64_t> earlier(const std::optional<std::int64_t>& a, const std::optional<std::int64_t>& b) {
  if (!a || !b) return a ? a : b;
  return std::min(*a, *b);
}

}  // namespace

bool is_kmip_destroyed(KmipState state) noexcept {
  return state == KmipState::destroyed || state == KmipState::destroyed_compromised;
}

bool kmip_comes_before(const KmipVersion& a, const KmipVersion& b) {
  if (a.attributes.initial_date != b.attributes.initial_date) {
    return a.attributes.initial_date < b.attributes.initial_date;
  }
  const auto number_a = as_number(a.id);
  const auto number_b = as_number(b.id);
  if (number_a && number_b && *number_a != *number_b) return *number_a < *number_b;
  if (number_a.has_value() != number_b.has_value()) return number_a.has_value();
  return a.id < b.id;
}

KeyVersionInfo kmip_version_info(const KmipVersion& version) {
  const KmipAttributes& attributes = version.attributes;
  KeyVersionInfo info;
  info.id = version.id;
  info.created_unix_seconds = attributes.initial_date;
  info.key_type = attributes.algorithm == kKmipAes ? "AES" : "a symmetric key other than AES";
  // Nobody could pin, disable or ask after it: not to be followed, though what it has wrapped still opens.
  if (!is_pinnable_version(version.id)) info.key_type += " (no KEYREF can name its identifier)";
  info.bits = static_cast<unsigned>(std::max(attributes.bits.value_or(0), 0));
  info.not_before = attributes.activation_date;
  info.expires = earlier(attributes.protect_stop_date, attributes.deactivation_date);
  if (attributes.state == KmipState::pre_active && !info.not_before) info.not_before = kNoDateYet;
  // The day when it ended is not known of every server; that it has, is.
  if (attributes.state == KmipState::deactivated && !attributes.deactivation_date)
    info.expires = attributes.initial_date;
  if (attributes.state == KmipState::compromised) info.expires = attributes.initial_date;
  return info;
}

std::string_view kmip_state_name(KmipState state) noexcept {
  switch (state) {
    case KmipState::pre_active:
      return "Pre-Active";
    case KmipState::active:
      return "Active";
    case KmipState::deactivated:
      return "Deactivated";
    case KmipState::compromised:
      return "Compromised";
    default:
      return "Destroyed";
  }
}

}  // namespace vaultfs
