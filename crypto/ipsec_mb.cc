#include "crypto/ipsec_mb.h"

#ifdef VAULTFS_IPSEC_MB

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "crypto/aes_gcm.h"
#include "crypto/ipsec_mb_manager.h"
#include "crypto/leaf_hash.h"

namespace vaultfs {
namespace {

constexpr std::uint64_t kNeeded = IMB_FEATURE_AVX512_SKX | IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ |
                                  IMB_FEATURE_VAES | IMB_FEATURE_VPCLMULQDQ | IMB_FEATURE_SAFE_DATA;

bool self_test_passed(const IMB_MGR& manager) {
  return (manager.features & IMB_FEATURE_SELF_TEST) == 0 || (manager.features & IMB_FEATURE_SELF_TEST_PASS) != 0;
}

IMB_MGR* find_manager() noexcept {
  const char* const wish = std::getenv("VAULTFS_IPSEC_MB");
  if (wish != nullptr && std::string_view(wish) == "off") return nullptr;
  static const IpsecMbManager manager = make_ipsec_mb_manager();
  if (manager == nullptr || (manager->features & kNeeded) != kNeeded || !self_test_passed(*manager)) return nullptr;
  return manager.get();
}

IMB_MGR* manager() noexcept {
  static IMB_MGR* const found = find_manager();
  return found;
}

// Both libraries over the same bytes, of lengths that end inside a block, at its end and in a second leaf.
bool agrees_with_openssl() noexcept {
  Bytes key(kAeadKeyBytes), content(2 * kLeafBytes + 77);
  for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::byte>(i * 7 + 1);
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<std::byte>(i * i + i / 251);
  auto secret = SecretBuffer::copy_of(key);
  if (!secret.ok()) return false;
  const auto fast = make_ipsec_mb_aes_256_gcm(*secret);
  const auto reference = make_openssl_aes_256_gcm(*secret);
  if (!fast.ok() || !reference.ok()) return false;
  const Bytes nonce((*fast)->nonce_bytes(), std::byte{0x5a});
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{16}, std::size_t{4095}, content.size()}) {
    const ByteView text = ByteView(content).first(size);
    const ByteView aad = ByteView(content).first(size % 61);
    Bytes ours(size + kAeadTagBytes), theirs(size + kAeadTagBytes), opened(size);
    if (!(*fast)->seal(nonce, aad, text, ours).ok() || !(*reference)->seal(nonce, aad, text, theirs).ok()) return false;
    if (ours != theirs || !(*fast)->open(nonce, aad, theirs, opened).ok()) return false;
    if (!std::equal(opened.begin(), opened.end(), text.begin())) return false;
    Bytes hashed(leaf_digests_bytes(size)), expected(leaf_digests_bytes(size));
    ipsec_mb_hash_leaves(text, hashed);
    openssl_hash_leaves(text, expected);
    if (hashed != expected) return false;
  }
  return true;
}

}  // namespace

IpsecMbManager make_ipsec_mb_manager() noexcept {
  IpsecMbManager manager(alloc_mb_mgr(0));
  if (manager != nullptr) init_mb_mgr_auto(manager.get(), nullptr);
  return manager;
}

IMB_MGR& shared_ipsec_mb_manager() noexcept { return *manager(); }

bool ipsec_mb_usable() noexcept {
  static const bool usable = manager() != nullptr && agrees_with_openssl();
  return usable;
}

}  // namespace vaultfs

#else

namespace vaultfs {

bool ipsec_mb_usable() noexcept { return false; }

}  // namespace vaultfs

#endif
