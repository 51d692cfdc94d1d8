#include "tools/api/key_requests.h"

#include <limits>
#include <optional>

#include "tools/api/json_forms.h"
#include "vaultmeta/vault/encryption_status.h"

namespace vaultfs {
namespace {

using nlohmann::json;

Result<std::optional<std::uint32_t>> number_argument(const json& arguments, const std::string& name) {
  const auto found = arguments.find(name);
  if (found == arguments.end()) return std::optional<std::uint32_t>();
  if (!found->is_number_unsigned() || found->get<std::uint64_t>() > std::numeric_limits<std::uint32_t>::max()) {
    return Error{ErrorCode::Usage, "\"" + name + "\" must be a whole number"};
  }
  return std::optional<std::uint32_t>(found->get<std::uint32_t>());
}

}  // namespace

Result<json> key_rewrap(const RequestContext& context, const json& arguments, std::vector<FileDescriptor>& /*files*/) {
  VAULTFS_ASSIGN_OR_RETURN(const bool drop_retiring, flag_argument(arguments, "drop_retiring"));
  VAULTFS_RETURN_IF_ERROR(context.engine.vault().custody().rewrap(drop_retiring));
  return to_json(encryption_status(context.engine.vault()));
}

Result<json> key_new_epoch(const RequestContext& context, const json& /*arguments*/,
                           std::vector<FileDescriptor>& /*files*/) {
  VAULTFS_RETURN_IF_ERROR(context.engine.vault().custody().new_epoch());
  return to_json(encryption_status(context.engine.vault()));
}

Result<json> key_drill(const RequestContext& context, const json& /*arguments*/,
                       std::vector<FileDescriptor>& /*files*/) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<KeyDrill> drills, context.engine.vault().custody().drill());
  return to_json(drills);
}

Result<json> encryption_set_limits(const RequestContext& context, const json& arguments,
                                   std::vector<FileDescriptor>& /*files*/) {
  AccessLimits limits;
  VAULTFS_ASSIGN_OR_RETURN(limits.refresh_minutes, number_argument(arguments, "refresh_minutes"));
  VAULTFS_ASSIGN_OR_RETURN(limits.revocation_grace_seconds, number_argument(arguments, "revocation_grace_seconds"));
  VAULTFS_ASSIGN_OR_RETURN(limits.outage_ttl_seconds, number_argument(arguments, "outage_ttl_seconds"));
  VAULTFS_RETURN_IF_ERROR(context.engine.vault().custody().set_limits(limits));
  return to_json(encryption_status(context.engine.vault()));
}

Result<json> encryption_set_escrow(const RequestContext& context, const json& arguments,
                                   std::vector<FileDescriptor>& /*files*/) {
  const auto found = arguments.find("public_key");
  if (found == arguments.end()) return Error{ErrorCode::Usage, "give \"public_key\", or null for no escrow key"};
  std::optional<Bytes> public_key;
  if (!found->is_null()) {
    VAULTFS_ASSIGN_OR_RETURN(const std::string digits, text_argument(arguments, "public_key"));
    if (!from_hex(digits, public_key.emplace())) {
      return Error{ErrorCode::Usage, "\"public_key\" must be the key's DER form in hexadecimal digits"};
    }
    // What is not the one form of this key would have another fingerprint than everybody else sees.
    VAULTFS_ASSIGN_OR_RETURN(const auto key, RsaKey::from_public_der(*public_key));
    VAULTFS_ASSIGN_OR_RETURN(public_key, key->public_der());
  }
  VAULTFS_RETURN_IF_ERROR(context.engine.vault().custody().set_escrow(public_key));
  return to_json(encryption_status(context.engine.vault()));
}

}  // namespace vaultfs
