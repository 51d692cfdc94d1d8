#include <gtest/gtest.h>

#include <cstdlib>

#include "crypto/memory/secret_buffer.h"
#include "tests/crypto/keyvault/outcome.h"

namespace vaultfs {
namespace {

// Every test of this program runs as the tools do: with OpenSSL's memory locked.
class HardenedProcess : public ::testing::Environment {
 public:
  void SetUp() override {
    ::setenv("SSLKEYLOGFILE", "/nowhere/keys", 1);
    succeed(harden_process());
  }
};

// libcurl writes the secrets of TLS connections to the file that it names.
TEST(HardenedProcessTest, LetsNoTlsSecretsBeLogged) { EXPECT_EQ(::getenv("SSLKEYLOGFILE"), nullptr); }

const ::testing::Environment* const kHardened = ::testing::AddGlobalTestEnvironment(new HardenedProcess);

}  // namespace
}  // namespace vaultfs
