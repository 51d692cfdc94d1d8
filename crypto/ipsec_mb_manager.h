#pragma once

#include <intel-ipsec-mb.h>

#include <memory>

namespace vaultfs {

// Inside crypto/ only: the library's state. Its one-call functions (AES-GCM) change nothing in it and may be called by
// many threads; its job queue (SHA-256 of many messages) belongs to one thread at a time.
struct IpsecMbDeleter {
  void operator()(IMB_MGR* manager) const noexcept { free_mb_mgr(manager); }
};
using IpsecMbManager = std::unique_ptr<IMB_MGR, IpsecMbDeleter>;

// A manager set up for this processor; null if there is no memory.
[[nodiscard]] IpsecMbManager make_ipsec_mb_manager() noexcept;

// The one for one-call functions. REQUIRES: ipsec_mb_usable().
[[nodiscard]] IMB_MGR& shared_ipsec_mb_manager() noexcept;

}  // namespace vaultfs
