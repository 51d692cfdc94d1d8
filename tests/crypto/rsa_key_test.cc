#include "crypto/rsa_key.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "tests/crypto/test_bytes.h"

namespace vaultfs {
namespace {

using testing_crypto::counting;
using testing_crypto::hex;
using testing_crypto::secret;

constexpr std::string_view kPemPassphrase = "correct-horse";

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Keys made by `openssl genpkey` for these tests alone.
std::string key_file(const std::string& name) {
  const std::string text = read_text(std::filesystem::path(VAULTFS_SOURCE_DIR) / "tests/crypto/data" / name);
  EXPECT_FALSE(text.empty()) << name;
  return text;
}

Result<std::unique_ptr<RsaKey>> load(const std::string& name, const char* passphrase = nullptr) {
  const std::string pem = key_file(name);
  if (passphrase == nullptr) return RsaKey::from_pem(bytes_of(pem), nullptr);
  const SecretBuffer words = secret(std::string_view(passphrase));
  return RsaKey::from_pem(bytes_of(pem), &words);
}

const RsaKey& fixed_key() {
  static const std::unique_ptr<RsaKey> key = load("rsa2048.pem").value();
  return *key;
}

// A directory for the openssl command, gone with the test.
class Workbench {
 public:
  Workbench() {
    std::string name = (std::filesystem::temp_directory_path() / "vaultfs-rsa-XXXXXX").string();
    directory_ = ::mkdtemp(name.data());
  }
  Workbench(const Workbench&) = delete;
  Workbench& operator=(const Workbench&) = delete;
  ~Workbench() { std::filesystem::remove_all(directory_); }

  void write(const std::string& name, ByteView bytes) const {
    std::ofstream(directory_ / name, std::ios::binary) << text_of(bytes);
  }
  [[nodiscard]] std::string read(const std::string& name) const { return read_text(directory_ / name); }
  [[nodiscard]] bool run(const std::string& command) const {
    return std::system(("cd '" + directory_.string() + "' && " + command + " 2>/dev/null").c_str()) == 0;
  }

 private:
  std::filesystem::path directory_;
};

constexpr const char* kOaepOptions =
    " -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256 ";

TEST(RsaKey, OpensslEncryptsAndWeDecrypt) {
  const Workbench bench;
  bench.write("key.pem", bytes_of(key_file("rsa2048.pem")));
  bench.write("plain", counting(65));
  ASSERT_TRUE(bench.run(std::string("openssl pkeyutl -encrypt -inkey key.pem -in plain -out sealed") + kOaepOptions));
  auto opened = fixed_key().decrypt(bytes_of(bench.read("sealed")));
  ASSERT_TRUE(opened.ok());
  EXPECT_TRUE(bytes_equal(opened->view(), counting(65)));
}

TEST(RsaKey, WeEncryptAndOpensslDecrypts) {
  const Workbench bench;
  bench.write("key.pem", bytes_of(key_file("rsa2048.pem")));
  auto sealed = fixed_key().encrypt(counting(65));
  ASSERT_TRUE(sealed.ok());
  bench.write("sealed", *sealed);
  ASSERT_TRUE(bench.run(std::string("openssl pkeyutl -decrypt -inkey key.pem -in sealed -out plain") + kOaepOptions));
  EXPECT_TRUE(bytes_equal(bytes_of(bench.read("plain")), counting(65)));
}

TEST(RsaKey, OpensslReadsOurEncryptedPem) {
  const Workbench bench;
  auto pem = fixed_key().encrypted_pem(secret(kPemPassphrase));
  ASSERT_TRUE(pem.ok());
  EXPECT_TRUE(pem->starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
  bench.write("ours.pem", bytes_of(*pem));
  bench.write("key.pem", bytes_of(key_file("rsa2048.pem")));
  ASSERT_TRUE(bench.run("openssl pkey -in ours.pem -passin pass:correct-horse -outform DER -out ours.der"));
  ASSERT_TRUE(bench.run("openssl pkey -in key.pem -outform DER -out key.der"));
  EXPECT_EQ(bench.read("ours.der"), bench.read("key.der"));
  EXPECT_FALSE(bench.run("openssl pkey -in ours.pem -passin pass:wrong -out none.pem"));
  // The parameters are those that the contract names.
  ASSERT_TRUE(bench.run("openssl asn1parse -in ours.pem > parsed"));
  const std::string parsed = bench.read("parsed");
  for (const char* part : {":PBES2", ":PBKDF2", ":0927C0", ":hmacWithSHA256", ":aes-256-cbc"}) {
    EXPECT_NE(parsed.find(part), std::string::npos) << part;
  }
}

TEST(RsaKey, PublicDerIsWhatOpensslWrites) {
  const Workbench bench;
  bench.write("key.pem", bytes_of(key_file("rsa2048.pem")));
  ASSERT_TRUE(bench.run("openssl pkey -in key.pem -pubout -outform DER -out public.der"));
  auto ours = fixed_key().public_der();
  ASSERT_TRUE(ours.ok());
  EXPECT_TRUE(bytes_equal(*ours, bytes_of(bench.read("public.der"))));
}

// Encrypted to rsa2048.pem by Python's `cryptography` package; the second one with MGF1 of SHA-1.
constexpr const char* kSealed =
    "bafbf3df01bb616ada053b06573e01f3dadb355fc3f874165c4bf93070cbb6a0365ef6a0c70d5e791ab93eb82fe9d0775e98e50455dacade69"
    "13"
    "199faf0f75ebd6e0f6beacf2b4819118bdbf62bac2be529d63f3a527fcb2b02856bb86581e30826176149fb01bddb63fa1d007798339483fbf"
    "49"
    "5a877ae017bc07cf60829571eef23e28cdd067a34481eb8519acb5a53830eb4030b3380b04085e4d8e859353c7d4519f6836a72baca7b24f69"
    "30"
    "09dca5993890d95504ed854246cfdedced253319e949bdfaaa5a7ee1659eef67b14171cbb8f124fcb1bc78b8f64eb85499cda2f18bc56bbb0e"
    "e9"
    "3acc15e82406437a53659a192c35d497b82b92443e6110bb";
constexpr const char* kSealedUnderSha1 =
    "31a2f89bd284051de64b3618428e0a660d0253ec088152dd74de7ed5d6e772d1fd084e52ae88d0783144db2e8d9b26d1497bb438aef04a5b52"
    "0a"
    "a51af4000838cec7afcf04b248a179743d7ad7bb7f1eb8b057040f2fe16caf3e056285eb1de8db854ceb7bc638dfe9ce9b8d9083798bc6ebaa"
    "95"
    "5f38367b8daea213525127b53b84fd526875f88649d640807c36c330406b557a8fc467bb9d674b3cdd539ea76433f4e6962851dc80e8e4aedf"
    "b3"
    "c78e70cbe967b1db4d6340b6cf962928445643a55ffc1dae2a34a05e37a9f8c2f71afc8814840135182b0c3d1c7a5d84002de3b327fb7b72de"
    "7c"
    "7681416bbc90e1db432ae6c4c4e8143dbb28d42c5a2e2c72";

TEST(RsaKey, DecryptsAnotherLibrarysMessage) {
  auto opened = fixed_key().decrypt(hex(kSealed));
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ(text_of(opened->view()), "wrapped by another library");
  EXPECT_EQ(fixed_key().decrypt(hex(kSealedUnderSha1)).code(), ErrorCode::AuthenticationFailed);
}

TEST(RsaKey, EveryFlippedBitAndOtherSizeIsRefusedAlike) {
  Bytes sealed = hex(kSealed);
  for (std::size_t bit = 0; bit < sealed.size() * 8; bit += 5) {
    sealed[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const auto opened = fixed_key().decrypt(sealed);
    ASSERT_FALSE(opened.ok()) << bit;
    ASSERT_EQ(opened.code(), ErrorCode::AuthenticationFailed) << bit;
    sealed[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
  }
  for (std::size_t size = 0; size < sealed.size(); ++size) {
    ASSERT_EQ(fixed_key().decrypt(ByteView(sealed).first(size)).code(), ErrorCode::AuthenticationFailed) << size;
  }
  sealed.push_back(std::byte{0});
  EXPECT_EQ(fixed_key().decrypt(sealed).code(), ErrorCode::AuthenticationFailed);
}

TEST(RsaKey, HoldsUpTo190BytesAt2048Bits) {
  for (const std::size_t size : {0U, 1U, 190U}) {
    auto sealed = fixed_key().encrypt(counting(size));
    ASSERT_TRUE(sealed.ok()) << size;
    EXPECT_EQ(sealed->size(), 256U);
    auto opened = fixed_key().decrypt(*sealed);
    ASSERT_TRUE(opened.ok()) << size;
    EXPECT_TRUE(bytes_equal(opened->view(), counting(size)));
  }
  EXPECT_EQ(fixed_key().encrypt(counting(191)).code(), ErrorCode::InvalidArgument);
}

TEST(RsaKey, GeneratesAndRoundTripsThroughEveryForm) {
  auto key = RsaKey::generate(2048);
  ASSERT_TRUE(key.ok());
  EXPECT_EQ((*key)->bits(), 2048U);
  EXPECT_TRUE((*key)->has_private());
  auto sealed = (*key)->encrypt(counting(65));
  auto der = (*key)->private_der();
  auto spki = (*key)->public_der();
  auto pem = (*key)->encrypted_pem(secret(kPemPassphrase));
  ASSERT_TRUE(sealed.ok() && der.ok() && spki.ok() && pem.ok());

  auto from_der = RsaKey::from_private_der(der->view());
  ASSERT_TRUE(from_der.ok());
  auto opened = (*from_der)->decrypt(*sealed);
  ASSERT_TRUE(opened.ok());
  EXPECT_TRUE(bytes_equal(opened->view(), counting(65)));

  const SecretBuffer words = secret(kPemPassphrase);
  auto from_pem = RsaKey::from_pem(bytes_of(*pem), &words);
  ASSERT_TRUE(from_pem.ok());
  auto same_der = (*from_pem)->private_der();
  ASSERT_TRUE(same_der.ok());
  EXPECT_TRUE(bytes_equal(same_der->view(), der->view()));

  auto from_public = RsaKey::from_public_der(*spki);
  ASSERT_TRUE(from_public.ok());
  EXPECT_FALSE((*from_public)->has_private());
  auto wrapped = (*from_public)->encrypt(counting(65));
  ASSERT_TRUE(wrapped.ok());
  EXPECT_TRUE((*key)->decrypt(*wrapped).ok());
  EXPECT_EQ((*from_public)->decrypt(*wrapped).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ((*from_public)->private_der().code(), ErrorCode::InvalidArgument);
  EXPECT_EQ((*from_public)->encrypted_pem(words).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(fixed_key().decrypt(*wrapped).code(), ErrorCode::AuthenticationFailed);
}

TEST(RsaKey, SupportsThreeSizesOnly) {
  auto key = RsaKey::generate(3072);
  ASSERT_TRUE(key.ok());
  EXPECT_EQ((*key)->bits(), 3072U);
  auto sealed = (*key)->encrypt(counting(65));
  ASSERT_TRUE(sealed.ok());
  EXPECT_EQ(sealed->size(), 384U);
  for (const unsigned bits : {0U, 512U, 1024U, 2047U, 2049U, 8192U}) {
    EXPECT_EQ(RsaKey::generate(bits).code(), ErrorCode::KeySizeUnsupported) << bits;
  }
  EXPECT_EQ(load("rsa1024.pem").code(), ErrorCode::KeySizeUnsupported);
}

TEST(RsaKey, OtherAlgorithmsAreNamed) {
  EXPECT_EQ(load("ec-p256.pem").code(), ErrorCode::KeyNotRsa);
  EXPECT_EQ(load("rsa-pss2048.pem").code(), ErrorCode::KeyNotRsa);
  const Workbench bench;
  bench.write("key.pem", bytes_of(key_file("ec-p256.pem")));
  ASSERT_TRUE(bench.run("openssl pkey -in key.pem -pubout -outform DER -out public.der"));
  ASSERT_TRUE(bench.run("openssl pkcs8 -topk8 -nocrypt -in key.pem -outform DER -out private.der"));
  EXPECT_EQ(RsaKey::from_public_der(bytes_of(bench.read("public.der"))).code(), ErrorCode::KeyNotRsa);
  EXPECT_EQ(RsaKey::from_private_der(bytes_of(bench.read("private.der"))).code(), ErrorCode::KeyNotRsa);
}

TEST(RsaPem, ReadsWhatOpensslEncrypts) {
  auto expected = fixed_key().private_der();
  ASSERT_TRUE(expected.ok());
  for (const char* name : {"rsa2048-pbes2.pem", "rsa2048-scrypt.pem"}) {
    auto key = load(name, "correct-horse");
    // scrypt's 16 MiB are more than an ordinary user may lock; ScryptWithoutLockedMemoryIsNamed has that case.
    if (!key.ok() && key.code() == ErrorCode::MemoryLockFailed && ::geteuid() != 0) continue;
    ASSERT_TRUE(key.ok()) << name << ": " << key.error().message;
    auto der = (*key)->private_der();
    ASSERT_TRUE(der.ok());
    EXPECT_TRUE(bytes_equal(der->view(), expected->view())) << name;
    EXPECT_EQ(load(name, "wrong").code(), ErrorCode::WrongPassphrase) << name;
    EXPECT_EQ(load(name, "").code(), ErrorCode::PassphraseRequired) << name;
    EXPECT_EQ(load(name).code(), ErrorCode::PassphraseRequired) << name;
  }
}

constexpr const char* kLittleMemory = "VAULTFS_TEST_LITTLE_MEMORY";

TEST(RsaPem, ScryptWithoutLockedMemoryIsNamed) {
  if (testing_crypto::kSanitized) GTEST_SKIP() << "the sanitizers make mlock do nothing";
  if (std::getenv(kLittleMemory) != nullptr) {
    const std::string pem = key_file("rsa2048-scrypt.pem");
    constexpr rlim_t kUsualLimit = rlim_t{8} << 20U;
    const struct rlimit usual { kUsualLimit, kUsualLimit };
    if (::setrlimit(RLIMIT_MEMLOCK, &usual) != 0) ::_exit(1);
    if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) ::_exit(2);
    const SecretBuffer words = secret(kPemPassphrase);
    const auto key = RsaKey::from_pem(bytes_of(pem), &words);
    ::_exit(key.ok() ? 3 : key.code() == ErrorCode::MemoryLockFailed ? 0 : 4);
  }
  // A child that goes on as it is has no memory of OpenSSL's.
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv(kLittleMemory, "1", 1);
    ::execl("/proc/self/exe", "test_crypto", "--gtest_filter=RsaPem.ScryptWithoutLockedMemoryIsNamed", nullptr);
    ::_exit(99);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0) << "a lack of memory must not look like a wrong passphrase";
}

TEST(RsaPem, RefusesWeakCostlyAndOldForms) {
  EXPECT_EQ(load("rsa2048-pbes1.pem", "correct-horse").code(), ErrorCode::NotSupported);
  EXPECT_EQ(load("rsa2048-30m-iterations.pem", "correct-horse").code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(load("rsa2048-pkcs1.pem").code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(RsaKey::from_pem({}, nullptr).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(RsaKey::from_pem(bytes_of("no key here\n"), nullptr).code(), ErrorCode::InvalidArgument);
  const std::string pem = key_file("rsa2048.pem");
  const std::string padded = std::string(64 * 1024, '\n') + pem;
  EXPECT_EQ(RsaKey::from_pem(bytes_of(padded), nullptr).code(), ErrorCode::InvalidArgument);
  const std::string with_text = "Bag Attributes\n    friendlyName: kek\n" + pem;
  EXPECT_TRUE(RsaKey::from_pem(bytes_of(with_text), nullptr).ok());
  EXPECT_EQ(fixed_key().encrypted_pem(SecretBuffer()).code(), ErrorCode::PassphraseRequired);
}

TEST(RsaPem, TruncatedAndDamagedTextNeverCrashes) {
  const SecretBuffer words = secret(kPemPassphrase);
  for (const char* name : {"rsa2048.pem", "rsa2048-pbes2.pem"}) {
    const std::string pem = key_file(name);
    for (std::size_t size = 0; size + 1 < pem.size(); size += 7) {
      EXPECT_FALSE(RsaKey::from_pem(bytes_of(pem).first(size), &words).ok() && size < pem.size() - 2) << size;
    }
    // Any character of the base64 text: a damaged CRT value too, which OpenSSL alone would quietly make up for.
    for (std::size_t at = 40; at + 40 < pem.size(); at += 61) {
      std::string damaged = pem;
      damaged[at] = damaged[at] == 'A' ? 'B' : 'A';
      EXPECT_FALSE(RsaKey::from_pem(bytes_of(damaged), &words).ok()) << name << " at " << at;
    }
  }
}

TEST(RsaDer, EveryTruncationAndAnExtensionIsRefused) {
  auto der = fixed_key().private_der();
  auto spki = fixed_key().public_der();
  ASSERT_TRUE(der.ok() && spki.ok());
  for (std::size_t size = 0; size < der->size(); ++size) {
    ASSERT_EQ(RsaKey::from_private_der(der->view().first(size)).code(), ErrorCode::InvalidArgument) << size;
  }
  for (std::size_t size = 0; size < spki->size(); ++size) {
    ASSERT_EQ(RsaKey::from_public_der(ByteView(*spki).first(size)).code(), ErrorCode::InvalidArgument) << size;
  }
  Bytes longer = to_bytes(der->view());
  longer.push_back(std::byte{0});
  EXPECT_EQ(RsaKey::from_private_der(longer).code(), ErrorCode::InvalidArgument);
  spki->push_back(std::byte{0});
  EXPECT_EQ(RsaKey::from_public_der(*spki).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(RsaKey::from_public_der(Bytes(64 * 1024 + 1)).code(), ErrorCode::InvalidArgument);
}

TEST(RsaKey, OneKeyServesManyThreads) {
  std::vector<std::thread> threads;
  std::vector<int> good(4);
  for (int& count : good) {
    threads.emplace_back([&count] {
      for (int i = 0; i < 20; ++i) {
        const auto sealed = fixed_key().encrypt(counting(65));
        if (!sealed.ok()) continue;
        const auto opened = fixed_key().decrypt(*sealed);
        if (opened.ok() && bytes_equal(opened->view(), counting(65))) ++count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int count : good) EXPECT_EQ(count, 20);
}

TEST(RsaPublicPem, ReadsWhatOpensslWrites) {
  const Workbench bench;
  bench.write("key.pem", bytes_of(key_file("rsa2048.pem")));
  ASSERT_TRUE(bench.run("openssl pkey -in key.pem -pubout -out public.pem"));
  ASSERT_TRUE(bench.run("openssl pkey -in key.pem -pubout -outform DER -out public.der"));
  const auto key = RsaKey::from_public_pem(bytes_of("some text before\n" + bench.read("public.pem")));
  ASSERT_TRUE(key.ok()) << key.error().message;
  EXPECT_FALSE((*key)->has_private());
  EXPECT_TRUE(bytes_equal((*key)->public_der().value(), bytes_of(bench.read("public.der"))));
  const auto sealed = (*key)->encrypt(counting(65));
  ASSERT_TRUE(sealed.ok());
  EXPECT_TRUE(fixed_key().decrypt(*sealed).ok());
}

TEST(RsaPublicPem, RefusesWhatIsNone) {
  const auto code = [](const std::string& pem) { return RsaKey::from_public_pem(bytes_of(pem)).code(); };
  EXPECT_EQ(code(""), ErrorCode::InvalidArgument);
  EXPECT_EQ(code("no PEM at all"), ErrorCode::InvalidArgument);
  EXPECT_EQ(code(std::string(70'000, 'x')), ErrorCode::InvalidArgument);
  const Workbench bench;
  bench.write("key.pem", bytes_of(key_file("rsa2048.pem")));
  bench.write("ec.pem", bytes_of(key_file("ec-p256.pem")));
  bench.write("small.pem", bytes_of(key_file("rsa1024.pem")));
  ASSERT_TRUE(bench.run("openssl pkey -in ec.pem -pubout -out ec.pub"));
  ASSERT_TRUE(bench.run("openssl pkey -in small.pem -pubout -out small.pub"));
  ASSERT_TRUE(bench.run("openssl rsa -in key.pem -RSAPublicKey_out -out old.pub"));
  ASSERT_TRUE(bench.run("openssl req -x509 -new -key key.pem -subj /CN=escrow -days 1 -out certificate.pem"));
  EXPECT_EQ(code(bench.read("ec.pub")), ErrorCode::KeyNotRsa);
  EXPECT_EQ(code(bench.read("small.pub")), ErrorCode::KeySizeUnsupported);
  for (const char* file : {"key.pem", "old.pub", "certificate.pem"}) {
    const auto refused = RsaKey::from_public_pem(bytes_of(bench.read(file)));
    EXPECT_EQ(refused.code(), ErrorCode::InvalidArgument) << file;
    EXPECT_NE(refused.error().message.find("`openssl"), std::string::npos) << file << ": " << refused.error().message;
  }
  // With an exponent of 1 the message is its own ciphertext.
  ASSERT_TRUE(bench.run("openssl rsa -in key.pem -noout -modulus > modulus"));
  ASSERT_TRUE(bench.run(
      "printf 'asn1=SEQUENCE:key\\n[key]\\na=SEQUENCE:algorithm\\nb=BITWRAP,SEQUENCE:rsa\\n[algorithm]\\n"
      "a=OID:rsaEncryption\\nb=NULL\\n[rsa]\\nn=INTEGER:0x%s\\ne=INTEGER:1\\n' \"$(cut -d= -f2 modulus)\" > weak.cnf"));
  ASSERT_TRUE(bench.run("openssl asn1parse -genconf weak.cnf -noout -out weak.der"));
  ASSERT_TRUE(
      bench.run("(echo '-----BEGIN PUBLIC KEY-----'; base64 -w 64 weak.der; echo '-----END PUBLIC KEY-----') > "
                "weak.pub"));
  EXPECT_EQ(code(bench.read("weak.pub")), ErrorCode::InvalidArgument);
}

}  // namespace
}  // namespace vaultfs
