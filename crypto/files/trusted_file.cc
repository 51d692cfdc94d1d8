#include "crypto/files/trusted_file.h"

#include <unistd.h>

#include <utility>

namespace vaultfs {
namespace {

constexpr std::uint32_t kOthersMayWrite = 022;

}  // namespace

Status check_trusted_owner(const Env::Path& path, std::uint32_t owner) {
  const std::uint32_t user = ::geteuid();
  if (owner == user || owner == 0) return ok_status();
  return Error{ErrorCode::PermissionDenied, path.string() + " belongs to user " + std::to_string(owner) +
                                                ", who can read and replace it; it must belong to user " +
                                                std::to_string(user) + " or to root"};
}

Result<std::unique_ptr<File>> open_demanding(Env& env, const Env::Path& path, const FileDemand& demand) {
  auto file = env.open(path, OpenMode::read_only);
  if (!file.ok()) {
    switch (file.code()) {
      case ErrorCode::NotFound:
      case ErrorCode::NotADirectory:
        return Error{ErrorCode::NotFound, path.string() + " does not exist"};
      case ErrorCode::InvalidArgument:
      case ErrorCode::IsADirectory:
        return Error{ErrorCode::DamagedMachineState, path.string() + " is not a regular file; put back a copy of it"};
      default:
        return file;
    }
  }
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, (*file)->info());
  if ((info.mode & demand.forbidden_mode) != 0) {
    return Error{ErrorCode::PermissionDenied,
                 path.string() + " " + demand.complaint + "; look at it, then: chmod 600 " + path.string()};
  }
  VAULTFS_RETURN_IF_ERROR(check_trusted_owner(path, info.owner));
  return file;
}

Result<Bytes> read_trusted_file(Env& env, const Env::Path& path, std::uint64_t limit_bytes, std::string_view power) {
  const FileDemand demand{kOthersMayWrite, "can be written by others, who could " + std::string(power)};
  VAULTFS_ASSIGN_OR_RETURN(const auto file, open_demanding(env, path, demand));
  auto bytes = read_file(*file, path, limit_bytes);
  if (!bytes.ok() && bytes.code() == ErrorCode::InvalidArgument) {
    return Error{ErrorCode::DamagedMachineState, path.string() + " is damaged: " + bytes.error().message};
  }
  return bytes;
}

}  // namespace vaultfs
