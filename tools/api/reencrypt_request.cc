#include "tools/api/answer_json.h"
#include "tools/api/json_forms.h"
#include "tools/api/key_requests.h"

namespace vaultfs {
namespace {

using nlohmann::json;

Result<std::uint64_t> rate_argument(const json& arguments) {
  const auto found = arguments.find("bytes_per_second");
  if (found == arguments.end()) return std::uint64_t{0};
  if (!found->is_number_unsigned()) return Error{ErrorCode::Usage, "\"bytes_per_second\" must be a whole number"};
  return found->get<std::uint64_t>();
}

}  // namespace

Result<json> reencrypt(const RequestContext& context, const json& arguments, std::vector<FileDescriptor>& /*files*/) {
  ReencryptRequest request;
  VAULTFS_ASSIGN_OR_RETURN(request.bytes_per_second, rate_argument(arguments));
  VAULTFS_ASSIGN_OR_RETURN(request.without_grace, flag_argument(arguments, "without_grace"));
  VAULTFS_ASSIGN_OR_RETURN(const bool new_epoch, flag_argument(arguments, "new_epoch"));
  if (new_epoch) VAULTFS_RETURN_IF_ERROR(context.engine.vault().custody().new_epoch());
  VAULTFS_ASSIGN_OR_RETURN(const ReencryptOutcome outcome, context.engine.reencrypt(request, context.progress));
  return to_json(outcome);
}

Result<json> encryption_show(const RequestContext& context, const json& /*arguments*/,
                             std::vector<FileDescriptor>& /*files*/) {
  return to_json(encryption_overview(context.engine.vault()));
}

}  // namespace vaultfs
