#pragma once

#include "base/result.h"

namespace vaultfs {

// What several operations of the working tree answer alike.
[[nodiscard]] inline Error no_such_file() { return {ErrorCode::NotFound, "there is no such file"}; }
[[nodiscard]] inline Error file_removed() { return {ErrorCode::NotFound, "the file was removed"}; }
[[nodiscard]] inline Error file_too_large() { return {ErrorCode::FileTooLarge, "a file has at most 1 PiB"}; }

}  // namespace vaultfs
