#include "crypto/memory/secret_buffer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <vector>

#include "crypto/memory/locked_pool.h"
#include "tests/crypto/test_bytes.h"

namespace vaultfs {
namespace {

using testing_crypto::counting;
using testing_crypto::kSanitized;

constexpr const char* kUnhardened = "VAULTFS_TEST_UNHARDENED";

// The whole test program runs hardened, as the tools do, but for the child of RefusesAfterOpensslWasUsed.
class Hardened : public testing::Environment {
 public:
  void SetUp() override {
    if (std::getenv(kUnhardened) != nullptr) return;
    ASSERT_TRUE(harden_process().ok());
  }
};
const testing::Environment* const kHardened = testing::AddGlobalTestEnvironment(new Hardened);

std::size_t locked_kib() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    std::size_t kib = 0;
    if (word == "VmLck:" && status >> kib) return kib;
  }
  return 0;
}

// Runs `body` in a child and gives what it returns, as an exit code.
int in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// Takes away the right to lock memory: root's capability goes with the user id.
bool forbid_locking() {
  const struct rlimit none { 0, 0 };
  if (::setrlimit(RLIMIT_MEMLOCK, &none) != 0) return false;
  return ::geteuid() != 0 || ::setresuid(65534, 65534, 65534) == 0;
}

TEST(SecretBuffer, IsZeroedLockedAndCounted) {
  const std::size_t before = locked_kib();
  {
    auto buffer = SecretBuffer::allocate(100'000);
    ASSERT_TRUE(buffer.ok());
    EXPECT_EQ(buffer->size(), 100'000U);
    EXPECT_TRUE(is_all_zero(buffer->view()));
    EXPECT_TRUE(kSanitized || locked_kib() >= before + 97);
  }
  EXPECT_EQ(locked_kib(), before);
}

TEST(SecretBuffer, MovesAndClones) {
  const Bytes content = counting(33);
  auto buffer = SecretBuffer::copy_of(content);
  ASSERT_TRUE(buffer.ok());
  const std::byte* const where = buffer->view().data();
  SecretBuffer moved = std::move(*buffer);
  EXPECT_EQ(moved.view().data(), where);
  EXPECT_TRUE(buffer->empty());
  auto clone = moved.clone();
  ASSERT_TRUE(clone.ok());
  EXPECT_NE(clone->view().data(), where);
  moved = std::move(*clone);
  EXPECT_TRUE(bytes_equal(moved.view(), content));
  moved.reset();
  EXPECT_TRUE(moved.empty());
  moved.reset();
}

TEST(SecretBuffer, EmptyTakesNoMemory) {
  const std::size_t before = locked_kib();
  auto empty = SecretBuffer::allocate(0);
  ASSERT_TRUE(empty.ok());
  EXPECT_TRUE(empty->empty());
  EXPECT_EQ(locked_kib(), before);
  EXPECT_TRUE(SecretBuffer::copy_of({}).ok());
}

TEST(SecretBuffer, RandomDiffers) {
  auto a = SecretBuffer::random(32), b = SecretBuffer::random(32);
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_FALSE(constant_time_equal(a->view(), b->view()));
  EXPECT_FALSE(is_all_zero(a->view()));
}

TEST(SecretBuffer, WritingPastTheEndKills) {
  EXPECT_LT(in_child([] {
              auto buffer = SecretBuffer::allocate(64);
              if (!buffer.ok()) return 1;
              *const_cast<volatile std::byte*>(buffer->mutable_view().data() + 64) = std::byte{1};
              return 0;
            }),
            0);
}

TEST(ConstantTimeEqual, ComparesSizeAndEveryByte) {
  const Bytes a = counting(32);
  EXPECT_TRUE(constant_time_equal(a, counting(32)));
  EXPECT_TRUE(constant_time_equal({}, {}));
  EXPECT_FALSE(constant_time_equal(a, ByteView(a).first(31)));
  for (std::size_t i = 0; i < a.size(); ++i) {
    Bytes b = a;
    b[i] ^= std::byte{0x80};
    EXPECT_FALSE(constant_time_equal(a, b)) << i;
  }
}

TEST(LockFailure, IsReportedNotIgnored) {
  if (kSanitized) GTEST_SKIP() << "the sanitizers make mlock do nothing";
  EXPECT_EQ(in_child([] {
              if (!forbid_locking()) return 1;
              if (auto buffer = SecretBuffer::allocate(32); buffer.ok())
                return 2;
              else if (buffer.code() != ErrorCode::MemoryLockFailed)
                return 3;
              if (auto buffer = SecretBuffer::random(32); buffer.ok()) return 4;
              LockedPool pool;
              if (pool.allocate(32) != nullptr || pool.allocate(100'000) != nullptr) return 5;
              if (pool.locked_bytes() != 0) return 6;
              return 0;
            }),
            0);
}

// Whether the kernel finds memory there, asked by a system call: EFAULT rather than a signal.
bool is_mapped(const std::byte* at) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
  const bool mapped = ::write(ends[1], at, 1) == 1;
  ::close(ends[0]);
  ::close(ends[1]);
  return mapped;
}

// Key memory is not in the pages that a child of fork() shares, so nothing that is started can keep or lose it.
TEST(KeyMemory, IsNotInherited) {
  auto small = SecretBuffer::copy_of(counting(32));
  auto large = SecretBuffer::copy_of(counting(100'000));
  ASSERT_TRUE(small.ok() && large.ok());
  PooledSecret pooled(32);
  ASSERT_TRUE(pooled.ok());
  void* const openssl = OPENSSL_malloc(100);
  void* const openssl_large = OPENSSL_malloc(1 << 20);
  ASSERT_TRUE(openssl != nullptr && openssl_large != nullptr);
  const std::vector<const std::byte*> secret{small->view().data(),
                                             large->view().data(),
                                             large->view().data() + 50'000,
                                             large->view().data() + 99'999,
                                             pooled.view().data(),
                                             static_cast<const std::byte*>(openssl),
                                             static_cast<const std::byte*>(openssl_large) + (1 << 20) - 1};
  const Bytes common = counting(1);
  for (const std::byte* at : secret) ASSERT_TRUE(is_mapped(at));
  EXPECT_EQ(in_child([&] {
              if (!is_mapped(common.data())) return 100;
              for (std::size_t i = 0; i < secret.size(); ++i) {
                if (is_mapped(secret[i])) return static_cast<int>(i) + 1;
              }
              return 0;
            }),
            0);
  EXPECT_TRUE(bytes_equal(large->view(), counting(100'000))) << "the parent keeps it";
  OPENSSL_free(openssl);
  OPENSSL_free(openssl_large);
}

TEST(HardenProcess, TurnsDumpsAndTracingOffAndMovesOpenssl) {
  ASSERT_TRUE(harden_process().ok()) << "a second call is fine";
  struct rlimit core {};
  ASSERT_EQ(::getrlimit(RLIMIT_CORE, &core), 0);
  EXPECT_EQ(core.rlim_cur, 0U);
  EXPECT_EQ(core.rlim_max, 0U);
  EXPECT_TRUE(kSanitized || ::prctl(PR_GET_DUMPABLE) == 0);
  // What OpenSSL allocates is taken from the pool.
  const std::size_t before = LockedPool::instance().locked_bytes();
  void* const large = OPENSSL_malloc(1 << 20);
  ASSERT_NE(large, nullptr);
  EXPECT_GE(LockedPool::instance().locked_bytes(), before + (1U << 20U));
  OPENSSL_free(large);
  EXPECT_EQ(LockedPool::instance().locked_bytes(), before);
}

TEST(HardenProcess, RefusesAfterOpensslWasUsed) {
  if (std::getenv(kUnhardened) != nullptr) {
    const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> used(EVP_MD_CTX_new(), EVP_MD_CTX_free);
    ASSERT_NE(used, nullptr);
    const Status status = harden_process();
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.code(), ErrorCode::MemoryLockFailed);
    return;
  }
  EXPECT_EQ(in_child([] {
              ::setenv(kUnhardened, "1", 1);
              ::execl("/proc/self/exe", "test_crypto", "--gtest_filter=HardenProcess.RefusesAfterOpensslWasUsed",
                      "--gtest_brief=1", nullptr);
              return 99;
            }),
            0);
}

}  // namespace
}  // namespace vaultfs
