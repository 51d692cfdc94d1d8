#include "crypto/keyvault/wrap_times.h"

namespace vaultfs {

Status check_wrap_times(const std::string& key, const KeyVersionInfo& version, std::int64_t now) {
  if (version.may_wrap(now)) return ok_status();
  const std::string what = "key version " + version.id + " of " + key;
  if (version.expires && *version.expires <= now) {
    return Error{ErrorCode::KeyVersionExpired,
                 what + " has expired: it unwraps, but wraps no more; make a new one with: vaultctl key rotate " + key};
  }
  return Error{
      ErrorCode::KeyVersionNotYetValid,
      what + " is not yet valid: it wraps nothing before its nbf; wait, check the clock, or use another version"};
}

}  // namespace vaultfs
