#include "crypto/hash.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "crypto/hkdf_into.h"
#include "crypto/memory/locked_pool.h"
#include "crypto/openssl_handle.h"

namespace vaultfs {
namespace {

constexpr std::size_t kBlockBytes = 64;  // SHA-256's, which HMAC pads its key to

[[noreturn]] void hash_unavailable(const char* what) {
  // A digest can't answer an error; without locked memory for a context, nothing can be computed safely.
  static_cast<void>(std::fprintf(stderr, "vaultfs: %s\n", what));
  std::abort();
}

const EVP_MD* sha256_algorithm() {
  static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  if (algorithm == nullptr) hash_unavailable("OpenSSL has no SHA-256");
  return algorithm;
}

// One a thread, kept: making a context costs as much as hashing 1 KiB. Between uses it holds no more than the digest it
// gave out last, so nothing of a key stays behind.
class ThreadHasher {
 public:
  ThreadHasher() : context_(EVP_MD_CTX_new()), pad_(kBlockBytes) {
    if (context_ == nullptr || !pad_.ok()) throw std::bad_alloc();  // the next use of this thread tries again
  }
  void begin() { require(EVP_DigestInit_ex2(context_.get(), sha256_algorithm(), nullptr)); }
  void add(ByteView bytes) {
    if (!bytes.empty()) require(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()));
  }
  void finish(MutableByteView out) {
    require(EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(out.data()), nullptr));
  }
  // begin(), then HMAC's block: the key filled up with zeros, each byte xor `mask`.
  void begin_padded(ByteView key, std::byte mask) {
    const MutableByteView pad = pad_.mutable_view();
    std::fill(pad.begin(), pad.end(), mask);
    for (std::size_t i = 0; i < key.size(); ++i) pad[i] ^= key[i];
    begin();
    add(pad);
    wipe(pad);
  }

 private:
  static void require(int result) {
    if (result != 1) hash_unavailable("SHA-256 failed inside OpenSSL");
  }
  OpensslHandle<EVP_MD_CTX, EVP_MD_CTX_free> context_;
  PooledSecret pad_;
};

ThreadHasher& hasher() {
  static thread_local ThreadHasher instance;
  return instance;
}

void require_hash(int result) {
  if (result != 1) hash_unavailable("SHA-256 failed inside OpenSSL");
}

constexpr std::byte kInnerMask{0x36};
constexpr std::byte kOuterMask{0x5c};

// HMAC of the parts of all lists, into 32 bytes, which may be a key: it is nowhere else then.
void hmac_into(MutableByteView out, ByteView key, std::initializer_list<std::initializer_list<ByteView>> lists) {
  ThreadHasher& h = hasher();
  Digest short_key;
  if (key.size() > kBlockBytes) {
    short_key = sha256(key);
    key = short_key.view();
  }
  h.begin_padded(key, kInnerMask);
  for (const auto& parts : lists) {
    for (const ByteView part : parts) h.add(part);
  }
  Digest inner;
  h.finish(inner.mutable_view());
  h.begin_padded(key, kOuterMask);
  h.add(inner.view());
  h.finish(out);
  h.begin();  // forgets what it gave out
  wipe(short_key.mutable_view());
}

}  // namespace

Digest sha256(std::initializer_list<ByteView> parts) {
  Digest digest;
  ThreadHasher& h = hasher();
  h.begin();
  for (const ByteView part : parts) h.add(part);
  h.finish(digest.mutable_view());
  return digest;
}

struct Sha256Stream::State {
  OpensslHandle<EVP_MD_CTX, EVP_MD_CTX_free> running{EVP_MD_CTX_new()};
  OpensslHandle<EVP_MD_CTX, EVP_MD_CTX_free> copy{EVP_MD_CTX_new()};  // kept: making one costs more than a copy
};

Sha256Stream::Sha256Stream() : state_(std::make_unique<State>()) {
  if (state_->running == nullptr || state_->copy == nullptr) hash_unavailable("no memory for a SHA-256 context");
  require_hash(EVP_DigestInit_ex2(state_->running.get(), sha256_algorithm(), nullptr));
}

Sha256Stream::~Sha256Stream() = default;

void Sha256Stream::add(ByteView bytes) {
  if (!bytes.empty()) require_hash(EVP_DigestUpdate(state_->running.get(), bytes.data(), bytes.size()));
}

Digest Sha256Stream::digest() const {
  Digest digest;
  require_hash(EVP_MD_CTX_copy_ex(state_->copy.get(), state_->running.get()));
  require_hash(
      EVP_DigestFinal_ex(state_->copy.get(), reinterpret_cast<unsigned char*>(digest.mutable_view().data()), nullptr));
  return digest;
}

Digest hmac_sha256(ByteView key, std::initializer_list<ByteView> parts) {
  Digest digest;
  hmac_into(digest.mutable_view(), key, {parts});
  return digest;
}

void hkdf_expand_sha256(ByteView pseudorandom_key, std::initializer_list<ByteView> info, MutableByteView out) {
  if (pseudorandom_key.size() < Digest::kSize || out.size() != Digest::kSize) {
    hash_unavailable("HKDF was asked to expand what it cannot");
  }
  static constexpr std::byte kFirstBlock{1};
  const ByteView counter(&kFirstBlock, 1);
  hmac_into(out, pseudorandom_key, {info, {counter}});
}

Status hkdf_sha256_into(ByteView input_key, ByteView salt, ByteView info, MutableByteView out) {
  const std::size_t size = out.size();
  if (size == 0 || size > 255 * Digest::kSize) {
    return Error{ErrorCode::InvalidArgument, "HKDF gives 1 to 8160 bytes, not " + std::to_string(size)};
  }
  // The pseudorandom key and the blocks stay in locked memory; HMAC's key block and SHA-256's state are there too.
  PooledSecret work(2 * Digest::kSize);
  if (!work.ok()) return Error{ErrorCode::MemoryLockFailed, "no locked memory to derive a key"};
  const MutableByteView extracted = work.mutable_view().first(Digest::kSize);
  const MutableByteView block = work.mutable_view().last(Digest::kSize);
  // An absent salt is HashLen zeros, which HMAC's padding of an empty key amounts to.
  hmac_into(extracted, salt, {{input_key}});
  std::byte counter{0};
  for (std::size_t done = 0; done < size; done += Digest::kSize) {
    counter = static_cast<std::byte>(std::to_integer<unsigned>(counter) + 1);
    const ByteView previous = done == 0 ? ByteView{} : ByteView{block};
    hmac_into(block, extracted, {{previous, info, ByteView(&counter, 1)}});
    std::memcpy(out.data() + done, block.data(), std::min(Digest::kSize, size - done));
  }
  return ok_status();
}

Result<SecretBuffer> hkdf_sha256(ByteView input_key, ByteView salt, ByteView info, std::size_t size) {
  if (size > 255 * Digest::kSize) {
    return Error{ErrorCode::InvalidArgument, "HKDF gives 1 to 8160 bytes, not " + std::to_string(size)};
  }
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer output, SecretBuffer::allocate(size));
  VAULTFS_RETURN_IF_ERROR(hkdf_sha256_into(input_key, salt, info, output.mutable_view()));
  return output;
}

}  // namespace vaultfs
