#include "crypto/files/private_file.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "base/byte_codec.h"
#include "base/thread/thread.h"
#include "crypto/files/trusted_file.h"
#include "crypto/hash.h"

namespace vaultfs {
namespace {

constexpr std::uint16_t kKeyFileVersion = 1;
constexpr std::size_t kChecksummedBytes = kKeyFileBytes - Digest::kSize;
constexpr std::uint32_t kGroupAndWorld = 077;
constexpr int kLockAttempts = 3000;
constexpr std::chrono::milliseconds kLockPause{10};

Error damaged(const Env::Path& path, const char* why) {
  return Error{ErrorCode::DamagedMachineState, path.string() + " " + why + "; put back a copy of it"};
}

Result<std::unique_ptr<File>> open_private(Env& env, const Env::Path& path) {
  return open_demanding(env, path, {kGroupAndWorld, "holds a secret and others than its owner may use it"});
}

}  // namespace

Result<SecretBuffer> encode_key_file(const KeyFileMagic& magic, ByteView id, const SecretBuffer& key) {
  if (id.size() != kKeyFileIdBytes || key.size() != kKeyFileKeyBytes) std::abort();
  // The key is copied from locked memory to locked memory: a ByteWriter's buffer would leave it on the heap.
  ByteWriter head;
  head.raw(bytes_of({magic.data(), magic.size()}));
  head.u16(kKeyFileVersion);
  head.raw(id);
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer file, SecretBuffer::allocate(kKeyFileBytes));
  const MutableByteView out = file.mutable_view();
  std::ranges::copy(head.view(), out.begin());
  std::ranges::copy(key.view(), out.subspan(head.size()).begin());
  const Digest checksum = sha256(file.view().first(kChecksummedBytes));
  std::ranges::copy(checksum.view(), out.subspan(kChecksummedBytes).begin());
  return file;
}

Result<SecretBuffer> read_key_file(Env& env, const Env::Path& path, const KeyFileMagic& magic,
                                   std::optional<ByteView> id) {
  VAULTFS_ASSIGN_OR_RETURN(const auto file, open_private(env, path));
  VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t size, file->size());
  if (size != kKeyFileBytes) return damaged(path, "has not the length of a key file");
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer content, SecretBuffer::allocate(kKeyFileBytes));
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, file->read_at(0, content.mutable_view()));
  if (read != kKeyFileBytes) return damaged(path, "is cut short");

  const ByteView bytes = content.view();
  ByteReader reader(bytes);
  if (!bytes_equal(reader.raw(magic.size()), bytes_of({magic.data(), magic.size()}))) {
    return damaged(path, "is not a key file of its kind");
  }
  if (!bytes_equal(sha256(bytes.first(kChecksummedBytes)).view(), bytes.subspan(kChecksummedBytes))) {
    return damaged(path, "does not match its checksum");
  }
  if (reader.u16() != kKeyFileVersion) {
    return Error{ErrorCode::UnsupportedFormat, path.string() + " was written by a newer vaultfs; use that one"};
  }
  const ByteView stored_id = reader.raw(kKeyFileIdBytes);
  if (id && !bytes_equal(stored_id, *id)) return damaged(path, "holds another key than its name says");
  return SecretBuffer::copy_of(reader.raw(kKeyFileKeyBytes));
}

Result<SecretBuffer> read_private_file(Env& env, const Env::Path& path, std::size_t limit_bytes) {
  VAULTFS_ASSIGN_OR_RETURN(const auto file, open_private(env, path));
  VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t size, file->size());
  if (size == 0 || size > limit_bytes) {
    return Error{ErrorCode::InvalidArgument, path.string() + " is to hold a secret of 1 to " +
                                                 std::to_string(limit_bytes) + " bytes, not " + std::to_string(size)};
  }
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer content, SecretBuffer::allocate(size));
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, file->read_at(0, content.mutable_view()));
  if (read != size) return Error{ErrorCode::TryAgain, path.string() + " changed while it was read; try again"};
  return content;
}

Status ensure_private_directory(Env& env, const Env::Path& directory) {
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env.info(directory));
  if (info.kind == FileKind::directory) return ok_status();
  if (info.kind != FileKind::missing) {
    return Error{ErrorCode::NotADirectory, directory.string() + " is in the way: it is not a directory"};
  }
  const Env::Path parent = directory.parent_path();
  if (!parent.empty() && parent != directory) VAULTFS_RETURN_IF_ERROR(ensure_private_directory(env, parent));
  Status made = env.make_directory(directory);
  // Another process may have been first.
  if (!made.ok() && made.code() != ErrorCode::AlreadyExists) return made;
  return env.sync_directory(parent.empty() ? Env::Path(".") : parent);
}

Result<std::unique_ptr<FileLock>> wait_for_lock(Env& env, const Env::Path& path) {
  // Counted in attempts, not by a clock: a simulated clock may stand still.
  for (int attempt = 0;; ++attempt) {
    auto lock = env.lock(path);
    if (lock.ok() || lock.code() != ErrorCode::VaultBusy || attempt == kLockAttempts) return lock;
    sleep_for(kLockPause);
  }
}

}  // namespace vaultfs
