#include "crypto/keyvault/provider_table.h"

#include <gtest/gtest.h>

namespace vaultfs {
namespace {

TEST(ProviderTable, WhatAProviderTakesFromAnIdentityAnIdentityMayHave) {
  for (const char* name : {"azure", "kmip", "pkcs11", "transit"}) {
    const Provider& provider = *find_provider(name).value();
    EXPECT_FALSE(provider.identity_options().empty()) << name;
    for (const std::string_view option : provider.identity_options()) {
      EXPECT_TRUE(check_identity_options({{std::string(option), "x"}}).ok()) << option;
    }
  }
}

TEST(ProviderTable, WhatNoneTakesIsRefusedWithAllThatSomeTake) {
  const Status refused = check_identity_options({{"pin-file", "/pin"}, {"region", "eu"}});
  ASSERT_EQ(refused.code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(refused.error().message,
            "no provider takes the option region from an identity: pin-file, auth, tenant, client-id, object-id, "
            "resource-id, secret-file, certificate-file, token-file, role-id, secret-id-file, client-cert-file, "
            "client-key-file");
}

}  // namespace
}  // namespace vaultfs
