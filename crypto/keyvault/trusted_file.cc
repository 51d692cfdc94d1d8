#include "crypto/keyvault/trusted_file.h"

#include <string>

#include "crypto/keyvault/private_file.h"

namespace vaultfs {
namespace {

constexpr std::uint32_t kOthersMayWrite = 022;

}  // namespace

Result<Bytes> read_trusted_file(Env& env, const Env::Path& path, std::uint64_t limit_bytes, std::string_view power) {
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env.info(path));
  if (info.kind == FileKind::missing) return Error{ErrorCode::NotFound, path.string() + " does not exist"};
  if ((info.mode & kOthersMayWrite) != 0) {
    return Error{ErrorCode::PermissionDenied, path.string() + " can be written by others, who could " +
                                                  std::string(power) + "; look at it, then: chmod 600 " +
                                                  path.string()};
  }
  VAULTFS_RETURN_IF_ERROR(check_trusted_owner(path, info.owner));
  auto bytes = read_file(env, path, limit_bytes);
  if (!bytes.ok() && bytes.code() == ErrorCode::InvalidArgument) {
    return Error{ErrorCode::DamagedMachineState, path.string() + " is damaged: " + bytes.error().message};
  }
  return bytes;
}

}  // namespace vaultfs
