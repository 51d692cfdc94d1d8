#include "vaultmeta/layout/fingerprint.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/byte_codec.h"
#include "base/bytes.h"
#include "base/visible_text.h"
#include "crypto/hash.h"
#include "vaultmeta/keys/key_custody.h"
#include "vaultmeta/layout/vault_header.h"

namespace vaultfs {
namespace {

constexpr std::string_view kEpochFingerprintLabel = "vaultfs/2 fingerprint";
constexpr std::size_t kDigitsInGroup = 8;

// The epoch in front of the digits; 0 if there is none, which then belong to a root fingerprint.
EpochNumber take_epoch(std::string_view& text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return {};
  std::uint64_t epoch = 0;
  const std::string_view front = text.substr(0, colon);
  const auto [end, error] = std::from_chars(front.data(), front.data() + front.size(), epoch);
  const auto is_digit = [](char c) { return c != '-' && c != ':' && c != ' '; };
  if (error != std::errc{} || end != front.data() + front.size() || epoch == 0) return {};
  // "ab:cd:…" and "12:34:…" are digits in groups: behind an epoch all 64 are left.
  if (std::ranges::count_if(text.substr(colon), is_digit) != static_cast<std::ptrdiff_t>(2 * Digest::kSize)) return {};
  text.remove_prefix(colon);
  return EpochNumber(epoch);
}

Error mismatch(const std::string& what) {
  return {ErrorCode::FingerprintMismatch,
          what +
              "; the newest fingerprint is the one that was printed last, when a key version was retired or a new "
              "epoch begun, and that 'vaultctl vault show' prints on a machine that trusts the vault"};
}

}  // namespace

Result<Digest> epoch_fingerprint(const SecretBuffer& root_key, const SecretBuffer& dek, const VaultId& vault,
                                 EpochNumber epoch) {
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer input, SecretBuffer::allocate(root_key.size() + dek.size()));
  std::memcpy(input.mutable_view().data(), root_key.view().data(), root_key.size());
  std::memcpy(input.mutable_view().data() + root_key.size(), dek.view().data(), dek.size());
  ByteWriter info;
  info.raw(bytes_of(kEpochFingerprintLabel));
  info.u64(epoch.value);
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer derived,
                           hkdf_sha256(input.view(), vault.view(), info.view(), Digest::kSize));
  Digest fingerprint;
  std::memcpy(fingerprint.data(), derived.view().data(), Digest::kSize);
  return fingerprint;
}

std::string format_fingerprint(const Digest& root_fingerprint) {
  const std::string digits = to_hex(root_fingerprint.view());
  std::string text;
  for (std::size_t at = 0; at < digits.size(); at += kDigitsInGroup) {
    if (at != 0) text += '-';
    text += digits.substr(at, kDigitsInGroup);
  }
  return text;
}

std::string format_fingerprint(const VaultFingerprint& fingerprint) {
  const std::string digits = format_fingerprint(fingerprint.digest);
  return fingerprint.epoch.value == 0 ? digits : std::to_string(fingerprint.epoch.value) + ":" + digits;
}

Result<VaultFingerprint> parse_fingerprint(std::string_view text) {
  // A whole secret may have been pasted there: only the beginning is repeated.
  constexpr std::size_t kShown = 12;
  const std::string shown = visible_text(text.substr(0, kShown)) + (text.size() > kShown ? "…" : "");
  const Error unreadable{
      ErrorCode::InvalidArgument,
      "\"" + shown +
          "\" is no fingerprint: one is a number, a colon and 64 hexadecimal digits, as `vault show` prints it"};
  VaultFingerprint fingerprint;
  std::string_view rest = text;
  while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
  fingerprint.epoch = take_epoch(rest);
  std::string digits;
  for (const char c : rest) {
    if (c != '-' && c != ':' && c != ' ') digits += c;
  }
  Bytes bytes;
  if (digits.size() != 2 * Digest::kSize || !from_hex(digits, bytes)) return unreadable;
  std::memcpy(fingerprint.digest.data(), bytes.data(), Digest::kSize);
  return fingerprint;
}

std::string genuine_up_to(EpochNumber epoch) {
  return "genuine up to epoch " + std::to_string(epoch.value) +
         "; whoever held a key version of then could have made what follows";
}

Result<KeptAs> compare_fingerprint(KeyCustody& custody, const VaultHeader& header, const VaultFingerprint& kept) {
  const VaultFingerprint newest = custody.status().fingerprint;
  if (kept.epoch.value == 0) {
    // The custody has compared the keyring's root key with the header's fingerprint.
    if (!constant_time_equal(header.root_fingerprint.view(), kept.digest.view())) {
      return mismatch("the vault's root key does not have that fingerprint");
    }
    return newest.epoch == EpochNumber(1) ? KeptAs::newest : KeptAs::root_only;
  }
  if (kept.epoch > newest.epoch) {
    return mismatch("that is the fingerprint of epoch " + std::to_string(kept.epoch.value) +
                    ", and what is here has come to epoch " + std::to_string(newest.epoch.value) +
                    " only: an older copy, or one that somebody made who held an older key version");
  }
  auto same = custody.fingerprint_of(kept.epoch);
  if (!same.ok() && same.code() != ErrorCode::NotFound) return std::move(same).error();
  if (!same.ok() || !constant_time_equal(same->view(), kept.digest.view())) {
    return mismatch("the keys of epoch " + std::to_string(kept.epoch.value) +
                    " do not have that fingerprint: this is another vault, or one that somebody made who held an "
                    "older key version");
  }
  return kept.epoch == newest.epoch ? KeptAs::newest : KeptAs::older;
}

Status require_newest_fingerprint(KeyCustody& custody, const VaultHeader& header, const VaultFingerprint& kept) {
  VAULTFS_ASSIGN_OR_RETURN(const KeptAs as, compare_fingerprint(custody, header, kept));
  const std::string newest = std::to_string(custody.status().current_epoch.value);
  switch (as) {
    case KeptAs::newest:
      return ok_status();
    case KeptAs::older:
      return mismatch("that is an older fingerprint: the vault has come to epoch " + newest + " and is " +
                      genuine_up_to(kept.epoch) +
                      ", so it may be read ('vaultctl restore --unverified --fingerprint F') and is not trusted");
    case KeptAs::root_only:
      break;
  }
  return mismatch("that is the root key's fingerprint, and the vault has come to epoch " + newest +
                  ": whoever ever held one of its key versions could have made it");
}

}  // namespace vaultfs
