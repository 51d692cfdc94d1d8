#include "store/blobs/write_again.h"

#include <algorithm>

#include "base/bytes.h"

namespace vaultfs {

Status write_again(File& file, std::uint64_t from, std::uint64_t to) {
  constexpr std::uint64_t kPieceBytes = std::uint64_t{1} << 20;
  Bytes piece(static_cast<std::size_t>(std::min(to - std::min(from, to), kPieceBytes)));
  for (std::uint64_t at = from; at < to; at += piece.size()) {
    const MutableByteView wanted = MutableByteView(piece).first(std::min<std::uint64_t>(piece.size(), to - at));
    VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, file.read_at(at, wanted));
    if (read != wanted.size()) return Error{ErrorCode::IoError, "the file became shorter while it was read"};
    VAULTFS_RETURN_IF_ERROR(file.write_at(at, wanted));
  }
  return file.sync();
}

}  // namespace vaultfs
