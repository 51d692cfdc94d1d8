#include <gtest/gtest.h>

#include "crypto/secret_buffer.h"
#include "tests/keyvault/outcome.h"

namespace vaultfs {
namespace {

// Every test of this program runs as the tools do: with OpenSSL's memory locked.
class HardenedProcess : public ::testing::Environment {
 public:
  void SetUp() override { succeed(harden_process()); }
};

const ::testing::Environment* const kHardened = ::testing::AddGlobalTestEnvironment(new HardenedProcess);

}  // namespace
}  // namespace vaultfs
