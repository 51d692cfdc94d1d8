#include "vaultmeta/keys/key_expiry.h"

#include <array>
#include <ctime>

namespace vaultfs {
namespace {

std::string day_text(std::int64_t unix_seconds) {
  const auto seconds = static_cast<std::time_t>(unix_seconds);
  std::tm parts{};
  std::array<char, 32> text{};
  if (::gmtime_r(&seconds, &parts) == nullptr) return "an unknown day";
  if (std::strftime(text.data(), text.size(), "%Y-%m-%d", &parts) == 0) return "an unknown day";
  return text.data();
}

}  // namespace

std::string KeyExpiry::message() const {
  const std::string reference = name.key_vault + "/" + name.key;
  const std::string remedy = "rotate the key (vaultctl key rotate " + reference +
                             "), and where the vault is pinned to this version, name another one (vaultctl encryption "
                             "set VAULT --key KEYREF)";
  if (expired) {
    return "the Active key version " + reference + "/" + name.version + " has expired on " + day_text(expires) +
           ": it opens the vault and wraps nothing more, so that superseded versions can't retire; " + remedy;
  }
  return "the Active key version " + reference + "/" + name.version + " expires on " + day_text(expires) +
         " and wraps nothing more from then on; " + remedy;
}

std::optional<KeyExpiry> expiry_to_tell(const VersionName& name, const std::optional<std::int64_t>& expires,
                                        std::int64_t now_unix_seconds) {
  if (!expires || *expires - kExpiryNoticeSeconds > now_unix_seconds) return std::nullopt;
  return KeyExpiry{name, *expires, *expires <= now_unix_seconds};
}

}  // namespace vaultfs
