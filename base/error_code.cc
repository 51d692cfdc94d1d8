#include "base/error_code.h"

#include <cerrno>

namespace vaultfs {

std::string_view error_name(ErrorCode code) noexcept {
  switch (code) {
#define VAULTFS_V(name, exit_code, errno_value) \
  case ErrorCode::name:                         \
    return #name;
    VAULTFS_ERROR_CODES(VAULTFS_V)
#undef VAULTFS_V
  }
  return "Internal";
}

int error_exit_code(ErrorCode code) noexcept {
  switch (code) {
#define VAULTFS_V(name, exit_code, errno_value) \
  case ErrorCode::name:                         \
    return exit_code;
    VAULTFS_ERROR_CODES(VAULTFS_V)
#undef VAULTFS_V
  }
  return 1;
}

int error_errno(ErrorCode code) noexcept {
  switch (code) {
#define VAULTFS_V(name, exit_code, errno_value) \
  case ErrorCode::name:                         \
    return errno_value;
    VAULTFS_ERROR_CODES(VAULTFS_V)
#undef VAULTFS_V
  }
  return EIO;
}

bool is_integrity_error(ErrorCode code) noexcept {
  const int exit_code = error_exit_code(code);
  return exit_code == 10 || exit_code == 11;
}

ErrorCode error_from_errno(int errno_value) noexcept {
  switch (errno_value) {
    case ENOENT:
      return ErrorCode::NotFound;
    case EEXIST:
      return ErrorCode::AlreadyExists;
    case EACCES:
      return ErrorCode::PermissionDenied;
    case EPERM:
      return ErrorCode::NotPermitted;
    case ENOTDIR:
      return ErrorCode::NotADirectory;
    case EISDIR:
      return ErrorCode::IsADirectory;
    case ENOTEMPTY:
      return ErrorCode::DirectoryNotEmpty;
    case ENOSPC:
    case EDQUOT:
      return ErrorCode::NoSpace;
    case ENOMEM:
      return ErrorCode::OutOfMemory;
    case EROFS:
      return ErrorCode::ReadOnly;
    case EFBIG:
      return ErrorCode::FileTooLarge;
    case ENAMETOOLONG:
      return ErrorCode::NameTooLong;
    case EINVAL:
      return ErrorCode::InvalidArgument;
    case EAGAIN:
    case EBUSY:
    case ETXTBSY:
      return ErrorCode::TryAgain;
    case EINTR:
      return ErrorCode::Interrupted;
    case EOPNOTSUPP:
      return ErrorCode::NotSupported;
    case EXDEV:
      return ErrorCode::CrossItem;
    default:
      return ErrorCode::IoError;
  }
}

}  // namespace vaultfs
