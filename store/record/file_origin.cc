#include "store/record/file_origin.h"

#include <limits>
#include <utility>

namespace vaultfs {
namespace {

Result<FileOrigin> authenticate(Env& env, const Env::Path& path, const EpochKeys& keys, ContainerKind kind,
                                ContainerNumber number) {
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env.info(path));
  if (info.kind != FileKind::file) return Error{ErrorCode::DamagedHeader, "it is no regular file"};
  VAULTFS_ASSIGN_OR_RETURN(const auto file, env.open(path, OpenMode::read_only));
  VAULTFS_ASSIGN_OR_RETURN(const ContainerHeader header, ContainerHeader::read(*file));
  VAULTFS_RETURN_IF_ERROR(ContainerCipher::open(keys, header, kind, number));
  VAULTFS_ASSIGN_OR_RETURN(const EpochNumber current, keys.current());
  FileOrigin origin;
  origin.own = true;
  origin.current_epoch = header.epoch == current;
  return origin;
}

}  // namespace

Result<FileOrigin> origin_of(Env& env, const Env::Path& path, const EpochKeys& keys, ContainerKind kind,
                             ContainerNumber number) {
  auto origin = authenticate(env, path, keys, kind, number);
  if (origin.ok()) return origin;
  if (origin.code() == ErrorCode::KeyRevoked || origin.code() == ErrorCode::MemoryLockFailed) return origin;
  FileOrigin foreign;
  foreign.reason = std::move(origin).error();
  return foreign;
}

Error passed_over(const Error& reason) {
  return {reason.code,
          "passed over, because its name and place are all that makes it a file of this vault: " + reason.message};
}

std::uint64_t free_number(std::uint64_t above, const std::set<std::uint64_t>& taken) {
  constexpr std::uint64_t kLast = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t number = above == kLast ? 1 : above + 1;
  while (taken.contains(number)) number = number == kLast ? 1 : number + 1;
  return number;
}

}  // namespace vaultfs
