#pragma once

#include <new>
#include <system_error>
#include <utility>

#include "base/result.h"

namespace vaultfs {

// Runs `f`, which gives a Status or Result. Where there is no memory or no thread for it, that is its error
// OutOfMemory: of this one request, and not the end of the process. For the outermost place of each piece of work.
template <typename F>
[[nodiscard]] auto or_no_memory(F&& f) -> decltype(f()) {
  try {
    return std::forward<F>(f)();
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::OutOfMemory, "no memory"};  // short: needs none itself
  } catch (const std::system_error&) {
    return Error{ErrorCode::OutOfMemory, "no thread"};
  }
}

}  // namespace vaultfs
