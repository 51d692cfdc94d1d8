#include "base/files/env.h"

namespace vaultfs {

Result<Bytes> read_file(Env& env, const Env::Path& path, std::uint64_t limit) {
  VAULTFS_ASSIGN_OR_RETURN(const auto file, env.open(path, OpenMode::read_only));
  return read_file(*file, path, limit);
}

Result<Bytes> read_file(File& file, const Env::Path& path, std::uint64_t limit) {
  VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t size, file.size());
  if (size > limit) {
    return Error{ErrorCode::InvalidArgument,
                 path.string() + " is larger than the " + std::to_string(limit) + " bytes it may have"};
  }
  Bytes bytes(size);
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, file.read_at(0, bytes));
  bytes.resize(read);
  return bytes;
}

namespace {

// PATH.tmp, whole and synced, then under its name.
Status write_and_rename(Env& env, const Env::Path& temporary, const Env::Path& path, ByteView bytes) {
  VAULTFS_ASSIGN_OR_RETURN(auto file, env.open(temporary, OpenMode::create_exclusive));
  Status written = file->write_at(0, bytes);
  if (written.ok()) written = file->sync();
  file.reset();
  if (written.ok()) written = env.rename(temporary, path);
  // The temporary file is this call's own. The failure that led here is the one to report.
  if (!written.ok()) static_cast<void>(env.remove_file(temporary));
  return written;
}

}  // namespace

static Status put_file(Env& env, const Env::Path& path, ByteView bytes);

Status write_file_durably(Env& env, const Env::Path& path, ByteView bytes) {
  Status written = put_file(env, path, bytes);
  // A file server may tell of its quota at the sync only, by which what was written is lost.
  while (!written.ok() && written.code() == ErrorCode::NoSpace && env.make_room(path))
    written = put_file(env, path, bytes);
  return written;
}

static Status put_file(Env& env, const Env::Path& path, ByteView bytes) {
  Env::Path temporary = path;
  temporary += ".tmp";
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo left_over, env.info(temporary));
  if (left_over.kind == FileKind::file) VAULTFS_RETURN_IF_ERROR(env.remove_file(temporary));
  VAULTFS_RETURN_IF_ERROR(write_and_rename(env, temporary, path, bytes));
  // A bare name is in the current directory.
  return env.sync_directory(path.has_parent_path() ? path.parent_path() : Env::Path("."));
}

}  // namespace vaultfs
