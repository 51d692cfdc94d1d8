#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <vector>

#include "base/thread/mutex.h"
#include "crypto/leaf_hash.h"

#ifdef VAULTFS_IPSEC_MB

#include "crypto/ipsec_mb_manager.h"

namespace vaultfs {
namespace {

[[noreturn]] void leaf_hash_failed(const char* what) {
  static_cast<void>(std::fprintf(stderr, "vaultfs: hashing leaves: %s\n", what));
  std::abort();
}

// Job queues that nobody uses now: at most as many as there ever were calls at the same time.
class IdleManagers {
 public:
  [[nodiscard]] IpsecMbManager take() {
    {
      const MutexLock lock(mutex_);
      if (!idle_.empty()) {
        IpsecMbManager manager = std::move(idle_.back());
        idle_.pop_back();
        return manager;
      }
    }
    IpsecMbManager manager = make_ipsec_mb_manager();
    if (manager == nullptr) throw std::bad_alloc();
    return manager;
  }
  void give_back(IpsecMbManager manager) {
    const MutexLock lock(mutex_);
    idle_.push_back(std::move(manager));
  }

 private:
  Mutex mutex_;  // a leaf
  std::vector<IpsecMbManager> idle_ GUARDED_BY(mutex_);
};

IdleManagers& idle_managers() {
  static IdleManagers* const managers = new IdleManagers;  // outlives threads that hash while the process ends
  return *managers;
}

}  // namespace

void ipsec_mb_hash_leaves(ByteView content, MutableByteView digests) {
  if (digests.size() != leaf_digests_bytes(content.size())) std::abort();
  IpsecMbManager manager = idle_managers().take();
  std::size_t completed = 0;
  const auto count = [&](const IMB_JOB* done) {
    if (done == nullptr) return;
    if (done->status != IMB_STATUS_COMPLETED) leaf_hash_failed(imb_get_strerror(imb_get_errno(manager.get())));
    ++completed;
  };
  const auto* const bytes = reinterpret_cast<const std::uint8_t*>(content.data());
  auto* out = reinterpret_cast<std::uint8_t*>(digests.data());
  std::size_t leaves = 0;
  for (std::size_t offset = 0; offset < content.size(); offset += kLeafBytes, out += Digest::kSize, ++leaves) {
    IMB_JOB* const job = IMB_GET_NEXT_JOB(manager.get());
    *job = IMB_JOB{};
    job->cipher_mode = IMB_CIPHER_NULL;
    job->cipher_direction = IMB_DIR_ENCRYPT;
    job->chain_order = IMB_ORDER_HASH_CIPHER;
    job->hash_alg = IMB_AUTH_SHA_256;
    job->src = bytes + offset;
    job->msg_len_to_hash_in_bytes = std::min(kLeafBytes, content.size() - offset);
    job->auth_tag_output = out;
    job->auth_tag_output_len_in_bytes = Digest::kSize;
    count(IMB_SUBMIT_JOB(manager.get()));
  }
  while (IMB_JOB* const done = IMB_FLUSH_JOB(manager.get())) count(done);
  if (completed != leaves) leaf_hash_failed("a job was lost");
  idle_managers().give_back(std::move(manager));
}

}  // namespace vaultfs

#else

namespace vaultfs {

void ipsec_mb_hash_leaves(ByteView /*content*/, MutableByteView /*digests*/) { std::abort(); }

}  // namespace vaultfs

#endif
