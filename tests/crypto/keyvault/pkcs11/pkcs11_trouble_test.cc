#include <dlfcn.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <p11-kit/pkcs11.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include "crypto/keyvault/pkcs11/pin.h"
#include "crypto/keyvault/pkcs11/wrapping.h"
#include "crypto/openssl_handle.h"
#include "crypto/unsigned_chars.h"
#include "tests/crypto/keyvault/pkcs11/pkcs11_fault_module.h"
#include "tests/crypto/keyvault/pkcs11/pkcs11_fixture.h"

namespace vaultfs {
namespace {

constexpr std::string_view kSha1 = "RSA-OAEP";
constexpr std::string_view kSha256 = "RSA-OAEP-256";

// SoftHSM behind a module that plays faults.
class Pkcs11TroubleTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    token_ = std::make_unique<SoftToken>();
    version_ = value_of(token_->open()->create_key("kek", small_pair())).id;
    void* const library = ::dlopen(VAULTFS_PKCS11_FAULT_MODULE, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    ASSERT_NE(library, nullptr);
    module_ = static_cast<const Pkcs11FaultControl*>(::dlsym(library, "vaultfs_fault_control"));
    ASSERT_NE(module_, nullptr);
  }
  static void TearDownTestSuite() { token_.reset(); }
  void SetUp() override {
    module_->reset();
    token_->write_pin(SoftToken::kPin);
    std::filesystem::remove_all(token_->path("state"));
    vault_ = open();
  }

  static std::unique_ptr<AdministeredKeyVault> open(const std::string& timeout = "30") {
    ProviderOptions options = token_->options(VAULTFS_PKCS11_FAULT_MODULE);
    options["timeout"] = timeout;
    return token_->open(std::move(options));
  }
  [[nodiscard]] Bytes wrap(std::string_view content = "content") {
    return value_of(vault_->wrap("kek", version_, bytes_of(content)));
  }
  [[nodiscard]] Result<SecretBuffer> unwrap(ByteView wrapped, std::string_view algorithm = kSha1) {
    return vault_->unwrap("kek", version_, algorithm, wrapped);
  }
  void expect_content(ByteView wrapped, std::string_view algorithm = kSha1) {
    EXPECT_EQ(text_of(value_of(unwrap(wrapped, algorithm))), "content");
  }

  static inline std::unique_ptr<SoftToken> token_;
  static inline std::string version_;
  static inline const Pkcs11FaultControl* module_ = nullptr;
  std::unique_ptr<AdministeredKeyVault> vault_;
};

TEST_F(Pkcs11TroubleTest, ALostSessionIsOpenedAnewOnce) {
  const Bytes wrapped = wrap();
  for (const CK_RV answer : {CKR_SESSION_HANDLE_INVALID, CKR_SESSION_CLOSED, CKR_DEVICE_REMOVED, CKR_TOKEN_NOT_PRESENT,
                             CKR_USER_NOT_LOGGED_IN, CKR_CRYPTOKI_NOT_INITIALIZED, CKR_KEY_HANDLE_INVALID}) {
    module_->reset();
    module_->fail("C_DecryptInit", answer, 1);
    expect_content(wrapped);
    EXPECT_EQ(module_->calls("C_OpenSession"), 1) << answer;
    module_->reset();
    module_->fail("C_DecryptInit", answer, 2);
    EXPECT_TRUE(fails(unwrap(wrapped), ErrorCode::KeyVaultUnavailable)) << answer;
    EXPECT_EQ(module_->calls("C_DecryptInit"), 2) << answer;
    expect_content(wrapped);
  }
}

TEST_F(Pkcs11TroubleTest, ALogoutHidesNoKeys) {
  const Bytes wrapped = wrap();
  module_->log_out();
  // Nobody sees private objects now, without any error: that is no missing key.
  EXPECT_EQ(version_ids(*vault_, "kek"), std::vector<std::string>{version_});
  module_->log_out();
  expect_content(wrapped);
}

TEST_F(Pkcs11TroubleTest, AModuleThatHangsIsLeftAlone) {
  const Bytes wrapped = wrap();
  vault_ = open("1");
  expect_content(wrapped);
  module_->reset();
  module_->hang("C_DecryptInit");
  EXPECT_TRUE(fails(unwrap(wrapped), ErrorCode::KeyVaultUnavailable, "within 1 s"));
  // Other calls, and other key vaults on the same module, don't wait for it at all.
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyVaultUnavailable, "still hangs"));
  EXPECT_TRUE(fails(open("300")->list_versions("kek"), ErrorCode::KeyVaultUnavailable, "still hangs"));
  EXPECT_EQ(module_->calls("C_DecryptInit"), 1);
  module_->release();
  Result<SecretBuffer> content = unwrap(wrapped);
  for (int i = 0; i < 500 && !content.ok(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    content = unwrap(wrapped);
  }
  EXPECT_EQ(text_of(value_of(std::move(content))), "content");
}

TEST_F(Pkcs11TroubleTest, AModuleThatDoesNotStartIsAnOutage) {
  module_->fail("C_Initialize", CKR_DEVICE_ERROR, 2);
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyVaultUnavailable, "C_Initialize"));
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyVaultUnavailable, "C_Initialize"));
  EXPECT_EQ(version_ids(*vault_, "kek").size(), 1U);
}

TEST_F(Pkcs11TroubleTest, AFaultIsNotTakenForBytesThatDoNotOpen) {
  const Bytes wrapped = wrap();
  for (const CK_RV answer : {CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED, CKR_DEVICE_ERROR}) {
    module_->fail("C_Decrypt", answer, 100);
    EXPECT_TRUE(fails(unwrap(wrapped), ErrorCode::KeyVaultUnavailable)) << answer;
    module_->fail("C_Decrypt", answer, 1);
    expect_content(wrapped);
  }
  module_->fail("C_Decrypt", CKR_HOST_MEMORY, 1);
  EXPECT_TRUE(fails(unwrap(wrapped), ErrorCode::KeyVaultUnavailable, "C_Decrypt"));
}

TEST_F(Pkcs11TroubleTest, TheBestAlgorithmIsUsedAndTheRecordedOneHonoured) {
  const Bytes old = wrap();
  EXPECT_EQ(value_of(vault_->wrap_algorithm("kek", version_)), kSha1);
  module_->set_oaep_sha256(true);
  // Found out once for a key vault object: the same one goes on with what it has found.
  EXPECT_EQ(value_of(vault_->wrap_algorithm("kek", version_)), kSha1);
  vault_ = open();
  EXPECT_EQ(value_of(vault_->wrap_algorithm("kek", version_)), kSha256);
  const Bytes wrapped = wrap();
  expect_content(wrapped, kSha256);
  expect_content(old, kSha1);
  EXPECT_TRUE(fails(unwrap(wrapped, kSha1), ErrorCode::AuthenticationFailed));
  EXPECT_TRUE(fails(unwrap(old, kSha256), ErrorCode::AuthenticationFailed));
  EXPECT_TRUE(fails(unwrap(old, "A256GCM"), ErrorCode::NotSupportedByProvider));
}

TEST_F(Pkcs11TroubleTest, AFaultDoesNotChooseTheWeakerAlgorithm) {
  module_->set_oaep_sha256(true);
  module_->fail("C_Decrypt", CKR_GENERAL_ERROR, 1);
  EXPECT_EQ(value_of(vault_->wrap_algorithm("kek", version_)), kSha256);
}

// Neither for an AES key, where one fault would make key wrap of GCM; and what fails in the same way by every algorithm
// lacks none.
TEST_F(Pkcs11TroubleTest, AFaultDoesNotChooseKeyWrapForGcm) {
  token_->tool({"--keygen", "--key-type", "AES:32", "--private", "--sensitive", "--label", "trouble", "--id", "0a"});
  module_->fail("C_EncryptInit", CKR_GENERAL_ERROR, 1);
  EXPECT_EQ(value_of(vault_->wrap_algorithm("trouble", "0a")), "A256GCM");
  module_->fail("C_Decrypt", CKR_GENERAL_ERROR, 100);
  EXPECT_TRUE(fails(open()->wrap_algorithm("kek", version_), ErrorCode::KeyVaultUnavailable));
}

// AES key wrap with padding (RFC 5649) by OpenSSL, as somebody else's program on the token would make it.
Bytes key_wrapped(ByteView key, ByteView message) {
  const OpensslHandle<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free> context(EVP_CIPHER_CTX_new());
  EVP_CIPHER_CTX_set_flags(context.get(), EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
  Bytes out(message.size() + 32);
  int size = 0;
  EXPECT_EQ(EVP_EncryptInit_ex(context.get(), EVP_aes_256_wrap_pad(), nullptr, unsigned_chars(key), nullptr), 1);
  EXPECT_EQ(EVP_EncryptUpdate(context.get(), unsigned_chars(MutableByteView(out)), &size, unsigned_chars(message),
                              static_cast<int>(message.size())),
            1);
  out.resize(static_cast<std::size_t>(size));
  return out;
}

// Key wrap has no associated data: the purpose stands in the message. What the same key wraps for another one, the
// content of which may be anybody's choice, is no key of a vault.
TEST_F(Pkcs11TroubleTest, AKeyWrapForAnotherPurposeDoesNotOpen) {
  const std::string key(32, 'q');
  std::ofstream(token_->path("purpose")) << key;
  token_->tool({"--write-object", token_->path("purpose"), "--type", "secrkey", "--key-type", "AES:32", "--private",
                "--sensitive", "--usage-wrap", "--label", "purpose", "--id", "0c"});
  const auto opened = [&](const std::string& purpose, std::size_t size, const std::string& more = "") {
    std::string message(Pkcs11Nonces::kBytes, 'n');
    message += purpose;
    message += static_cast<char>(size);
    message += '\0';
    message += "content" + more;
    return vault_->unwrap("purpose", "0c", "A256KWP", key_wrapped(bytes_of(key), bytes_of(message)));
  };
  EXPECT_EQ(text_of(value_of(opened("vaultfs/1 kek wrap", 7))), "content");
  EXPECT_TRUE(fails(opened("vaultfs/1 kek wraq", 7), ErrorCode::AuthenticationFailed));
  EXPECT_TRUE(fails(opened("vaultfs/1 kek wrap", 8), ErrorCode::AuthenticationFailed)) << "longer than it is";
  EXPECT_TRUE(fails(opened("vaultfs/1 kek wrap", 7, "x"), ErrorCode::AuthenticationFailed)) << "bytes behind it";
  EXPECT_TRUE(fails(opened("vaultfs/1 kek wrap", 7, std::string(8, '\0')), ErrorCode::AuthenticationFailed));
}

// GCM under one key: two messages with one nonce give its authentication key away. A trial is a message.
TEST_F(Pkcs11TroubleTest, NoTwoEncryptionsShareANonce) {
  token_->tool({"--keygen", "--key-type", "AES:32", "--private", "--sensitive", "--label", "nonces", "--id", "0b"});
  for (int process = 0; process < 3; ++process) {
    vault_ = open();
    for (int i = 0; i < 3; ++i) value_of(vault_->wrap("nonces", "0b", bytes_of("content")));
  }
  EXPECT_GE(module_->calls("C_EncryptInit"), 12) << "trials among them";
  EXPECT_EQ(module_->repeated_nonces(), 0);
}

TEST_F(Pkcs11TroubleTest, ARefusedPinIsSentOnce) {
  token_->write_pin("9999");
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyVaultDenied, token_->path("pin").string()));
  }
  EXPECT_EQ(module_->calls("C_Login"), 1);
  // Nor does another process that opens the same key vault send it.
  vault_ = open();
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyVaultDenied, "not tried again"));
  EXPECT_EQ(module_->calls("C_Login"), 1);
  token_->write_pin(SoftToken::kPin);
  EXPECT_EQ(version_ids(*vault_, "kek").size(), 1U);
  EXPECT_EQ(module_->calls("C_Login"), 2);
  EXPECT_FALSE(std::filesystem::exists(pkcs11_refused_pin_path(token_->path("state"))));
}

TEST_F(Pkcs11TroubleTest, ARefusedPinThatBecomesRightAtTheTokenIsTriedAgain) {
  token_->write_pin("8888");
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyVaultDenied));
  token_->set_pin_at_token("8888");
  EXPECT_EQ(version_ids(*vault_, "kek").size(), 1U);
  token_->set_pin_at_token(SoftToken::kPin);
}

TEST_F(Pkcs11TroubleTest, ATokenThatCountsNoFailuresWaitsForTheOwner) {
  token_->write_pin("7777");
  module_->fail("C_Login", CKR_PIN_INCORRECT, 1);  // SoftHSM itself counts nothing then
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyVaultDenied));
  token_->set_pin_at_token("7777");
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyVaultDenied, "pkcs11-refused-pin.json"));
  EXPECT_EQ(module_->calls("C_Login"), 1);
  std::filesystem::remove(pkcs11_refused_pin_path(token_->path("state")));
  EXPECT_EQ(version_ids(*vault_, "kek").size(), 1U);
  token_->set_pin_at_token(SoftToken::kPin);
}

TEST_F(Pkcs11TroubleTest, ALockedTokenIsLeftAlone) {
  module_->set_token_flags(CKF_USER_PIN_LOCKED);
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyVaultDenied, "locked"));
  // The failures may be another program's: nobody has refused this PIN.
  module_->set_token_flags(CKF_USER_PIN_FINAL_TRY);
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyVaultUnavailable, "next failure"));
  EXPECT_EQ(module_->calls("C_Login"), 0);
}

TEST_F(Pkcs11TroubleTest, APinThatMayBeRightIsKeptInNoForm) {
  for (const CK_RV answer : {CKR_PIN_LOCKED, CKR_PIN_EXPIRED, CKR_USER_PIN_NOT_INITIALIZED}) {
    module_->fail("C_Login", answer, 1);
    EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyVaultDenied)) << answer;
    EXPECT_FALSE(std::filesystem::exists(pkcs11_refused_pin_path(token_->path("state")))) << answer;
  }
  EXPECT_EQ(version_ids(*vault_, "kek").size(), 1U);
}

TEST_F(Pkcs11TroubleTest, WhatBecomesOfTheFileOfRefusalsIsNotTheTokensAnswer) {
  const std::filesystem::path file = pkcs11_refused_pin_path(token_->path("state"));
  const Bytes wrapped = wrap();
  // Not looked at where no login is due; where one is, nothing is sent that may have been refused.
  std::filesystem::create_directories(file);
  expect_content(wrapped);
  module_->reset();
  vault_ = open();
  EXPECT_FALSE(vault_->list_versions("kek").ok());
  EXPECT_EQ(module_->calls("C_Login"), 0);
  std::filesystem::remove(file);
  expect_content(wrapped);
  // A refusal stays one, also if it can't be written down.
  std::filesystem::create_directories(file.string() + ".tmp");
  token_->write_pin("6666");
  vault_ = open();
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyVaultDenied, "can't be told"));
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyVaultDenied, "not tried again"));
  EXPECT_EQ(module_->calls("C_Login"), 2);
  token_->write_pin(SoftToken::kPin);
  expect_content(wrapped);
}

TEST_F(Pkcs11TroubleTest, ASearchThatFindsTooMuchIsNoAnswer) {
  version_ids(*vault_, "kek");
  module_->fail("C_FindObjects", CKR_OK, 100);
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyVaultUnavailable, "C_FindObjects"));
  module_->fail("C_FindObjects", CKR_OK, 1);
  EXPECT_EQ(version_ids(*vault_, "kek").size(), 1U);
}

TEST_F(Pkcs11TroubleTest, ManyObjectsAreListedWholeOrNotAtAll) {
  module_->set_copies(4096);
  const auto listed = value_of(vault_->list_versions("kek"));
  ASSERT_EQ(listed.size(), 1U);
  EXPECT_EQ(listed[0].key_type, "RSA (two objects of one CKA_ID)");
  // One more might be a newer version: no list, no answer to anything that needs one.
  module_->set_copies(4097);
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::NotSupportedByProvider, "more than 4096 objects"));
  EXPECT_TRUE(fails(vault_->list_keys(), ErrorCode::NotSupportedByProvider, "delete those that nobody needs"));
  EXPECT_TRUE(fails(vault_->wrap("kek", version_, bytes_of("x")), ErrorCode::NotSupportedByProvider, "4096"));
  EXPECT_TRUE(fails(vault_->create_key("kek", small_pair()), ErrorCode::NotSupportedByProvider, "4096"));
  // The search was ended: the session goes on.
  module_->set_copies(1);
  EXPECT_EQ(version_ids(*vault_, "kek"), std::vector<std::string>{version_});
}

TEST_F(Pkcs11TroubleTest, ManySlotsAreLookedAtAllOrNotAtAll) {
  module_->set_slots(4096);
  EXPECT_EQ(version_ids(*vault_, "kek"), std::vector<std::string>{version_});
  // In one more there might be a second token of that label.
  module_->set_slots(4097);
  vault_ = open();
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::NotSupportedByProvider, "has 4097 slots"));
  EXPECT_TRUE(fails(vault_->wrap("kek", version_, bytes_of("x")), ErrorCode::NotSupportedByProvider, "4096"));
  module_->set_slots(0);
  EXPECT_EQ(version_ids(*vault_, "kek"), std::vector<std::string>{version_});
}

TEST_F(Pkcs11TroubleTest, APublicKeyThatIsNotThePrivateKeysWrapsNothing) {
  const auto make = [this](const std::string& label, const std::string& id) {
    token_->tool({"--keypairgen", "--key-type", "rsa:2048", "--label", label, "--id", id});  // without dates
    const std::string file = token_->path(label + ".der").string();
    token_->tool({"--read-object", "--type", "pubkey", "--label", label, "--output-file", file});
    return file;
  };
  const std::string first = make("first", "a1");
  const std::string second = make("second", "5a");
  // A ciphertext that is no number below the private key's modulus is a failure of another kind to some tokens: the
  // stranger has the smaller modulus, where the two files differ.
  const auto content = [](const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const bool in_order = content(second) < content(first);
  const std::string label = in_order ? "first" : "second";
  const std::string id = in_order ? "a1" : "5a";
  const Bytes before = value_of(vault_->wrap(label, id, bytes_of("content")));
  // What anybody can do who may put public objects on the token.
  const std::string file = in_order ? second : first;
  token_->plant_public_key(label, id, file);
  const auto wrap = [&] { return vault_->wrap(label, id, bytes_of("content")); };
  module_->set_foreign_modulus(true);
  for (const bool says_why : {true, false}) {
    // A token that says what is wrong with a ciphertext, and one that says to everything that it failed.
    module_->set_oaep_sha256(says_why);
    const ErrorCode wanted = says_why ? ErrorCode::NotSupportedByProvider : ErrorCode::KeyVaultUnavailable;
    vault_ = open();  // the first use of all
    EXPECT_TRUE(fails(wrap(), wanted, "--list-objects --id " + id));
    EXPECT_TRUE(fails(vault_->wrap_algorithm(label, id), wanted, "pkcs11-tool"));
    value_of(vault_->wrap("kek", version_, bytes_of("x")));  // another version is no reason to trust this one
    EXPECT_TRUE(fails(wrap(), wanted, "--list-objects --id " + id));
  }
  // The key vault that has wrapped under the true half before sees the change too.
  module_->set_foreign_modulus(false);
  vault_ = open();
  value_of(wrap());
  module_->set_foreign_modulus(true);
  EXPECT_TRUE(fails(wrap(), ErrorCode::KeyVaultUnavailable, "another public key"));
  // What was wrapped before still opens, and the true half wraps again.
  EXPECT_EQ(text_of(value_of(vault_->unwrap(label, id, kSha1, before))), "content");
  module_->set_foreign_modulus(false);
  EXPECT_EQ(text_of(value_of(vault_->unwrap(label, id, kSha1, value_of(wrap())))), "content");
}

TEST_F(Pkcs11TroubleTest, AVersionIsTriedOnceBeforeItWraps) {
  expect_content(wrap());
  const int before = module_->calls("C_Decrypt");
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(wrap().empty());
  EXPECT_EQ(module_->calls("C_Decrypt"), before);
}

TEST_F(Pkcs11TroubleTest, ALostWritingSessionIsOpenedAnewToo) {
  for (const CK_RV answer : {CKR_SESSION_HANDLE_INVALID, CKR_DEVICE_REMOVED, CKR_USER_NOT_LOGGED_IN}) {
    module_->fail("C_SetAttributeValue", answer, 1);
    succeed(vault_->set_enabled("kek", version_, false));
    succeed(vault_->set_enabled("kek", version_, true));
  }
}

TEST_F(Pkcs11TroubleTest, EnablingAllowsNoMoreThanTheOwnerDid) {
  succeed(vault_->set_enabled("kek", version_, false));
  succeed(vault_->set_enabled("kek", version_, true));
  // A pair needs it for nothing, and its owner may not have allowed it.
  EXPECT_EQ(module_->calls("C_SetAttributeValue of CKA_UNWRAP"), 0);
  token_->tool({"--keygen", "--key-type", "AES:32", "--private", "--label", "aes", "--id", "01"});
  succeed(vault_->set_enabled("aes", "01", false));
  EXPECT_EQ(module_->calls("C_SetAttributeValue of CKA_UNWRAP"), 1);
}

TEST_F(Pkcs11TroubleTest, ThePinFileIsPrivateAndNeededForALoginOnly) {
  token_->write_pin(SoftToken::kPin, 0640);
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::PermissionDenied, "chmod 600"));
  token_->write_pin("");
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::InvalidArgument, "no PIN"));
  std::filesystem::remove(token_->path("pin"));
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyVaultUnavailable, "missing"));
  token_->write_pin(SoftToken::kPin);
  EXPECT_EQ(version_ids(*vault_, "kek").size(), 1U);
  std::filesystem::remove(token_->path("pin"));
  EXPECT_EQ(version_ids(*vault_, "kek").size(), 1U);

  vault_.reset();
  ProviderOptions options = token_->options(VAULTFS_PKCS11_FAULT_MODULE);
  options.erase("pin-file");
  EXPECT_TRUE(fails(token_->open(options)->list_keys(), ErrorCode::InvalidArgument, "pin-file"));
  // An identity brings its own.
  token_->write_pin(SoftToken::kPin);
  ProviderContext context = token_->context(options);
  context.identity = {"backup", {{"pin-file", token_->path("pin").string()}}};
  EXPECT_FALSE(value_of(value_of(open_pkcs11_key_vault(context))->list_keys()).empty());
}

TEST_F(Pkcs11TroubleTest, WhatATokenDoesNotLetChangeIsNotSupported) {
  for (const CK_RV answer : {CKR_ATTRIBUTE_READ_ONLY, CKR_ACTION_PROHIBITED, CKR_TEMPLATE_INCONSISTENT}) {
    module_->fail("C_SetAttributeValue", answer, 1);
    EXPECT_TRUE(fails(vault_->set_enabled("kek", version_, false), ErrorCode::NotSupportedByProvider, version_));
  }
  EXPECT_TRUE(value_of(vault_->list_versions("kek"))[0].enabled);
}

TEST_F(Pkcs11TroubleTest, KeysOfAModuleAreThereForSeveralThreads) {
  const Bytes wrapped = wrap();
  std::vector<std::thread> threads;
  std::atomic<int> opened = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 5; ++round) {
        const auto content = unwrap(wrapped);
        if (content.ok() && text_of(*content) == "content") ++opened;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(opened, 20);
}

}  // namespace
}  // namespace vaultfs
