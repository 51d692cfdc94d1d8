#include "base/env.h"

namespace vaultfs {

Result<Bytes> read_file(Env& env, const Env::Path& path, std::uint64_t limit) {
  VAULTFS_ASSIGN_OR_RETURN(auto file, env.open(path, OpenMode::read_only));
  VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t size, file->size());
  if (size > limit) {
    return Error{ErrorCode::InvalidArgument,
                 path.string() + " is larger than the " + std::to_string(limit) + " bytes it may have"};
  }
  Bytes bytes(size);
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, file->read_at(0, bytes));
  bytes.resize(read);
  return bytes;
}

Status write_file_durably(Env& env, const Env::Path& path, ByteView bytes) {
  Env::Path temporary = path;
  temporary += ".tmp";
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo left_over, env.info(temporary));
  if (left_over.kind == FileKind::file) VAULTFS_RETURN_IF_ERROR(env.remove_file(temporary));
  VAULTFS_ASSIGN_OR_RETURN(auto file, env.open(temporary, OpenMode::create_exclusive));
  VAULTFS_RETURN_IF_ERROR(file->write_at(0, bytes));
  VAULTFS_RETURN_IF_ERROR(file->sync());
  file.reset();
  VAULTFS_RETURN_IF_ERROR(env.rename(temporary, path));
  // A bare name is in the current directory.
  return env.sync_directory(path.has_parent_path() ? path.parent_path() : Env::Path("."));
}

}  // namespace vaultfs
