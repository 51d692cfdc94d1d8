#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "crypto/keyvault/key_ref.h"
#include "crypto/keyvault/kmip/messages.h"
#include "crypto/keyvault/kmip/version.h"
#include "crypto/keyvault/kmip/wrap_format.h"
#include "tests/crypto/keyvault/kmip/kmip_golden.h"
#include "tests/crypto/keyvault/outcome.h"

namespace vaultfs {
namespace {

Bytes bytes_from(std::string_view hex) {
  Bytes bytes;
  EXPECT_TRUE(from_hex(hex, bytes));
  return bytes;
}

std::string hex_of(const Result<TtlvWriter>& request) {
  succeed(request.ok() ? ok_status() : Status(request.error()));
  return to_hex(request->view());
}

// An answer and the bytes that it points into.
struct Decoded {
  Bytes message;
  KmipAnswer answer;
};

Result<Decoded> decode(Bytes message, KmipOperation operation) {
  Decoded decoded{std::move(message), {}};
  VAULTFS_ASSIGN_OR_RETURN(decoded.answer, decode_kmip_answer(decoded.message, operation));
  return decoded;
}

Decoded decode_golden(std::string_view hex, KmipOperation operation) {
  return value_of(decode(bytes_from(hex), operation));
}

KmipSealed golden_sealed() {
  KmipSealed sealed;
  for (unsigned i = 0; i < kKmipIvBytes; ++i) sealed.iv.at(i) = static_cast<std::byte>(i);
  const Bytes tag = bytes_from("40d809f2bf68de673e6bdd46b83f7db2");
  std::ranges::copy(tag, sealed.tag.begin());
  sealed.ciphertext = bytes_from("176e7affe97b35bbc824e8bd56e0637b85fbdda400d84437e5ff87d3fde6e56b");
  return sealed;
}

const Bytes kPlaintext(32, std::byte{0x44});

TEST(KmipRequests, AreThoseOfPykmipsClient) {
  EXPECT_EQ(hex_of(kmip_create_request("kek")), kmip_golden::kCreateRequest);
  EXPECT_EQ(hex_of(kmip_activate_request("9")), kmip_golden::kActivateRequest);
  EXPECT_EQ(hex_of(kmip_destroy_request("9")), kmip_golden::kDestroyRequest);
  EXPECT_EQ(hex_of(kmip_encrypt_request("9", golden_sealed().iv, bytes_of("hdr"), kPlaintext)),
            kmip_golden::kEncryptRequest);
  EXPECT_EQ(hex_of(kmip_decrypt_request("9", golden_sealed(), bytes_of("hdr"))), kmip_golden::kDecryptRequest);
  EXPECT_EQ(hex_of(kmip_decrypt_request("9", golden_sealed(), bytes_of("hdX"))), kmip_golden::kDecryptWrongRequest);
}

// These two ask for more than PyKMIP's client did: the object type and further attributes.
TEST(KmipRequests, HoldWhatPykmipsClientAskedFor) {
  const std::string_view name_attribute = kmip_golden::kLocateRequest.substr(kmip_golden::kLocateRequest.size() - 128);
  EXPECT_TRUE(hex_of(kmip_locate_request("kek")).ends_with(name_attribute));
  EXPECT_EQ(hex_of(kmip_locate_request(std::nullopt)).find("42000a07000000044e616d65"), std::string::npos);
  const std::string_view state = kmip_golden::kGetStateRequest.substr(kmip_golden::kGetStateRequest.size() - 32);
  EXPECT_NE(hex_of(kmip_get_attributes_request("9")).find(state), std::string::npos);
}

TEST(KmipRequests, StayWithinTheirBoundAtTheLongest) {
  const std::string id(kKmipIdLimit, 'i');
  KmipSealed sealed = golden_sealed();
  sealed.ciphertext.resize(kWrapLimitBytes);
  EXPECT_LT(value_of(kmip_decrypt_request(id, sealed, bytes_of("vaultfs/1 kek wrap"))).view().size(),
            TtlvWriter::kLimitBytes);
  EXPECT_LT(value_of(kmip_create_request(std::string(127, 'n'))).view().size(), TtlvWriter::kLimitBytes);
}

TEST(KmipAnswers, OfPykmipAreRead) {
  const Decoded created = decode_golden(kmip_golden::kCreateAnswer, KmipOperation::create);
  EXPECT_EQ(value_of(decode_kmip_created(created.answer.payload)), "9");
  const Decoded activated = decode_golden(kmip_golden::kActivateAnswer, KmipOperation::activate);
  succeed(decode_kmip_done(activated.answer.payload, "9"));
  EXPECT_TRUE(fails(decode_kmip_done(activated.answer.payload, "8"), ErrorCode::KeyVaultUnavailable, "another object"));
  const Decoded located = decode_golden(kmip_golden::kLocateAnswer, KmipOperation::locate);
  EXPECT_EQ(value_of(decode_kmip_located(located.answer.payload)), std::vector<std::string>{"9"});
  const Decoded encrypted = decode_golden(kmip_golden::kEncryptAnswer, KmipOperation::encrypt);
  const KmipSealed expected = golden_sealed();
  const KmipSealed sealed = value_of(decode_kmip_encrypted(encrypted.answer.payload, "9", expected.iv, 32));
  EXPECT_EQ(sealed.tag, expected.tag);
  EXPECT_EQ(sealed.ciphertext, expected.ciphertext);
  const Decoded decrypted = decode_golden(kmip_golden::kDecryptAnswer, KmipOperation::decrypt);
  EXPECT_TRUE(bytes_equal(value_of(decode_kmip_decrypted(decrypted.answer.payload, "9", 32)).view(), kPlaintext));
}

TEST(KmipAnswers, RefusalsOfPykmipAreRead) {
  const auto refusal = [](std::string_view hex, KmipOperation operation) {
    return decode_golden(hex, operation).answer.refusal.value();
  };
  EXPECT_EQ(refusal(kmip_golden::kDecryptWrongAnswer, KmipOperation::decrypt).reason, KmipReason::general_failure);
  const KmipRefusal revoked = refusal(kmip_golden::kDecryptRevokedAnswer, KmipOperation::decrypt);
  EXPECT_EQ(revoked.reason, KmipReason::permission_denied);
  EXPECT_EQ(revoked.message, "The decryption key must be in the Active state to be used for decryption.");
  EXPECT_EQ(refusal(kmip_golden::kGetDestroyedAnswer, KmipOperation::get_attributes).reason,
            KmipReason::item_not_found);
}

TEST(KmipAnswers, ToAnotherOperationAreNone) {
  EXPECT_TRUE(fails(decode(bytes_from(kmip_golden::kActivateAnswer), KmipOperation::destroy),
                    ErrorCode::KeyVaultUnavailable, "another operation than Destroy"));
}

TEST(KmipAnswers, InAnotherVersionAreRefused) {
  for (const std::string_view version : {"02", "03", "05"}) {
    std::string hex(kmip_golden::kDecryptAnswer);
    const std::string minor = "42006b0200000004000000";
    hex.replace(hex.find(minor) + minor.size(), 2, version);
    EXPECT_TRUE(fails(decode(bytes_from(hex), KmipOperation::decrypt), ErrorCode::NotSupportedByProvider,
                      "KMIP 1." + std::string(version.substr(1))));
  }
}

// Every prefix, and every byte changed: never a crash, and never an answer of another meaning by accident of a length.
TEST(KmipAnswers, CutOnesAreMalformed) {
  const Bytes whole = bytes_from(kmip_golden::kEncryptAnswer);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_TRUE(
        fails(decode(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)), KmipOperation::encrypt),
              ErrorCode::KeyVaultUnavailable))
        << size;
  }
  Bytes longer = whole;
  longer.resize(whole.size() + 8);
  EXPECT_TRUE(fails(decode(longer, KmipOperation::encrypt), ErrorCode::KeyVaultUnavailable, "something follows"));
}

TEST(KmipAnswers, PaddingAndLengthsAreChecked) {
  const auto changed = [](std::string_view from, std::string_view to) {
    std::string hex(kmip_golden::kActivateAnswer);
    const std::size_t at = hex.find(from);
    EXPECT_NE(at, std::string::npos);
    return decode(bytes_from(hex.replace(at, from.size(), to)), KmipOperation::activate);
  };
  // The identifier "9" and its seven bytes of padding.
  EXPECT_TRUE(
      fails(changed("4200940700000001390000", "4200940700000001390001"), ErrorCode::KeyVaultUnavailable, "padding"));
  EXPECT_TRUE(fails(changed("4200940700000001", "4200940700000009"), ErrorCode::KeyVaultUnavailable, "longer"));
  EXPECT_TRUE(fails(changed("4200940700000001", "42009407ffffffff"), ErrorCode::KeyVaultUnavailable, "longer"));
  EXPECT_TRUE(fails(changed("42007f0500000004", "42007f0500000003"), ErrorCode::KeyVaultUnavailable, "length"));
  EXPECT_TRUE(fails(changed("42007f0500000004", "42007f0b00000004"), ErrorCode::KeyVaultUnavailable, "type"));
  EXPECT_TRUE(fails(changed("42007f0500000004", "42007f0200000004"), ErrorCode::KeyVaultUnavailable, "type"));
  EXPECT_TRUE(fails(changed("42007b01", "42007801"), ErrorCode::KeyVaultUnavailable, "begins with 0x420078"));
  // A second result status, in the place of the operation.
  EXPECT_TRUE(fails(changed("42005c05", "42007f05"), ErrorCode::KeyVaultUnavailable, "more than once"));
}

TEST(KmipMessageSize, IsBounded) {
  EXPECT_EQ(value_of(kmip_message_size(bytes_from("42007b0100000010"), 24)), 24U);
  EXPECT_TRUE(fails(kmip_message_size(bytes_from("42007b0100000018"), 24), ErrorCode::KeyVaultUnavailable, "24"));
  EXPECT_TRUE(fails(kmip_message_size(bytes_from("42007b01ffffffff"), 24), ErrorCode::KeyVaultUnavailable));
  EXPECT_TRUE(fails(kmip_message_size(bytes_from("42007b01fffffff8"), 24), ErrorCode::KeyVaultUnavailable));
  EXPECT_TRUE(fails(kmip_message_size(bytes_from("42007b0100000011"), 99), ErrorCode::KeyVaultUnavailable));
  EXPECT_TRUE(fails(kmip_message_size(bytes_from("485454502f312e31"), 99), ErrorCode::KeyVaultUnavailable, "no KMIP"));
}

TEST(KmipIdentifiers, AreWhatAMessageAndAReferenceMayHold) {
  for (const char* id : {"9", "1a2b-3c", "urn:uuid:0.1_2"}) EXPECT_TRUE(is_kmip_identifier(id)) << id;
  for (const char* id : {"", "a b", "a/b", "\x1b[2J", "ä"}) EXPECT_FALSE(is_kmip_identifier(id)) << id;
  EXPECT_TRUE(is_kmip_identifier(std::string(128, 'x')));
  EXPECT_FALSE(is_kmip_identifier(std::string(129, 'x')));
}

TEST(KmipIdentifiers, ThatNoReferenceCanNameAreListedAsNoKek) {
  KmipVersion version{"1a2b-3c", {}};
  version.attributes.algorithm = kKmipAes;
  version.attributes.bits = 256;
  EXPECT_EQ(kmip_version_info(version).key_type, "AES");
  for (const std::string& id : {std::string("urn:uuid:0.1_2"), std::string("-1"), std::string(128, 'x')}) {
    version.id = id;
    ASSERT_TRUE(is_kmip_identifier(id));
    EXPECT_EQ(kmip_version_info(version).key_type, "AES (no KEYREF can name its identifier)") << id;
    EXPECT_EQ(KeyRef::parse("kv/key/" + id).code(), ErrorCode::InvalidKeyRef) << id;
  }
}

TEST(KmipWrapFormat, IsVersionIvTagCiphertext) {
  const KmipSealed sealed = golden_sealed();
  const Bytes wrapped = encode_kmip_wrap(sealed);
  EXPECT_EQ(to_hex(wrapped),
            "01"
            "000102030405060708090a0b"
            "40d809f2bf68de673e6bdd46b83f7db2"
            "176e7affe97b35bbc824e8bd56e0637b85fbdda400d84437e5ff87d3fde6e56b");
  const KmipSealed again = value_of(decode_kmip_wrap(wrapped));
  EXPECT_EQ(again.iv, sealed.iv);
  EXPECT_EQ(again.tag, sealed.tag);
  EXPECT_EQ(again.ciphertext, sealed.ciphertext);
}

TEST(KmipWrapFormat, OtherBytesAreNone) {
  const Bytes wrapped = encode_kmip_wrap(golden_sealed());
  EXPECT_TRUE(fails(decode_kmip_wrap({}), ErrorCode::AuthenticationFailed));
  EXPECT_TRUE(fails(decode_kmip_wrap(ByteView(wrapped).first(28)), ErrorCode::AuthenticationFailed));
  succeed(decode_kmip_wrap(ByteView(wrapped).first(29)).ok() ? ok_status() : Error{});
  Bytes newer = wrapped;
  newer[0] = std::byte{2};
  EXPECT_TRUE(fails(decode_kmip_wrap(newer), ErrorCode::AuthenticationFailed));
  Bytes longest = wrapped;
  longest.resize(29 + kWrapLimitBytes);
  succeed(decode_kmip_wrap(longest).ok() ? ok_status() : Error{});
  longest.push_back(std::byte{0});
  EXPECT_TRUE(fails(decode_kmip_wrap(longest), ErrorCode::AuthenticationFailed));
}

}  // namespace
}  // namespace vaultfs
