#include "store/blobs/stored_file.h"

namespace vaultfs {

Result<Bytes> read_stored_file(Env& env, const Env::Path& path, std::uint64_t limit) {
  auto bytes = read_file(env, path, limit);
  if (bytes.ok() || bytes.code() != ErrorCode::InvalidArgument) return bytes;
  return Error{ErrorCode::ForeignFile, bytes.error().message + "; put back a copy of it"};
}

}  // namespace vaultfs
