#include "vaultmeta/machine/kept_attempts.h"

#include <nlohmann/json.hpp>

#include "crypto/files/json_members.h"

namespace vaultfs {

std::string encode_attempts(const std::vector<KeptAttempt>& attempts) {
  nlohmann::json list = nlohmann::json::array();
  for (const KeptAttempt& one : attempts) {
    list.push_back({{"time", one.time.value},
                    {"uid", one.uid},
                    {"operation", one.operation},
                    {"outcome", one.outcome},
                    {"job", one.job},
                    {"sealed", one.sealed}});
  }
  return list.dump(1, ' ', true, nlohmann::json::error_handler_t::replace) + "\n";
}

Result<std::vector<KeptAttempt>> decode_attempts(ByteView file, const std::string& where) {
  const auto list = nlohmann::json::parse(text_of(file), nullptr, false);
  if (!list.is_array()) return Error{ErrorCode::DamagedMachineState, where + " is damaged: it is no list"};
  std::vector<KeptAttempt> attempts;
  for (const auto& entry : list) {
    JsonMembers members(entry, where);
    KeptAttempt one;
    one.time = UnixNanos{members.integer("time")};
    one.uid = static_cast<std::uint32_t>(members.integer("uid"));
    one.operation = members.text("operation");
    one.outcome = members.text("outcome");
    one.job = static_cast<std::uint64_t>(members.integer("job"));
    one.sealed = members.text("sealed");
    VAULTFS_RETURN_IF_ERROR(members.finish());
    attempts.push_back(std::move(one));
  }
  return attempts;
}

}  // namespace vaultfs
