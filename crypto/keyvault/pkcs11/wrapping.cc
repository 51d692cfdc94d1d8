#include "crypto/keyvault/pkcs11/wrapping.h"

#include <algorithm>
#include <array>
#include <utility>

#include "crypto/keyvault/pkcs11/error.h"
#include "crypto/keyvault/pkcs11/mechanisms.h"

namespace vaultfs {
namespace {

constexpr std::string_view kAssociated = "vaultfs/1 kek wrap";
constexpr unsigned kAesBits = 256;
constexpr std::size_t kKwpHeadBytes = Pkcs11Nonces::kBytes + kAssociated.size() + 2;
constexpr std::size_t kKwpBlockBytes = 8;

Error does_not_open(const Pkcs11KeyObject& key) {
  return {ErrorCode::AuthenticationFailed, "the wrapped bytes do not open under key version " + key.id};
}

Status check_kek(const Pkcs11KeyObject& key) {
  if (key.is_rsa()) {
    // oaep_encrypt checks the size.
    if (!key.modulus.empty() && !key.exponent.empty()) return ok_status();
    return Error{ErrorCode::NotSupportedByProvider,
                 "the token does not tell modulus and exponent of its private key " + key.id};
  }
  if (!key.is_aes()) {
    return Error{ErrorCode::KeyNotRsa, "key version " + key.id + " is neither an RSA pair nor an AES key"};
  }
  if (key.bits == kAesBits) return ok_status();
  return Error{ErrorCode::KeySizeUnsupported,
               "key version " + key.id + " is an AES key of " + std::to_string(key.bits) + " bits; 256 are needed"};
}

// What an error of a trial with an RSA key says, where the key itself may be the reason.
Error public_half_in_doubt(const Pkcs11KeyObject& key, Error tried, CK_RV answer) {
  const std::string look =
      "see which public keys and certificates have its CKA_ID with: pkcs11-tool --module MODULE "
      "--list-objects --id " +
      key.id + "; delete those that are not of this pair, or rotate the key";
  if (answer == CKR_OK || pkcs11_data_refused(answer)) {
    return {ErrorCode::NotSupportedByProvider,
            "key version " + key.id +
                " wraps nothing: its private key does not open what is encrypted under the public key that the token "
                "tells of it, which somebody else may have put there; " +
                look};
  }
  if (pkcs11_ambiguous(answer)) {
    tried.message += "; if it stays so, the token may tell another public key of key version " + key.id +
                     " than its private key's: " + look;
  }
  return tried;
}

Result<SecretBuffer> kwp_message(ByteView nonce, ByteView content) {
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer message, SecretBuffer::allocate(kKwpHeadBytes + content.size()));
  auto at = std::ranges::copy(nonce, message.mutable_view().begin()).out;
  at = std::ranges::copy(bytes_of(kAssociated), at).out;
  *at++ = static_cast<std::byte>(content.size() & 0xffU);
  *at++ = static_cast<std::byte>(content.size() >> 8U);
  std::ranges::copy(content, at);
  return message;
}

Result<SecretBuffer> kwp_content(const Pkcs11KeyObject& key, ByteView message) {
  if (message.size() < kKwpHeadBytes) return does_not_open(key);
  const ByteView label = message.subspan(Pkcs11Nonces::kBytes, kAssociated.size());
  if (!constant_time_equal(label, bytes_of(kAssociated))) return does_not_open(key);
  const std::size_t size = std::to_integer<std::size_t>(message[kKwpHeadBytes - 2]) |
                           std::to_integer<std::size_t>(message[kKwpHeadBytes - 1]) << 8U;
  const ByteView rest = message.subspan(kKwpHeadBytes);
  if (size > rest.size() || rest.size() - size >= kKwpBlockBytes || !is_all_zero(rest.subspan(size))) {
    return does_not_open(key);
  }
  return SecretBuffer::copy_of(rest.first(size));
}

}  // namespace

std::string_view Pkcs11Wrapping::name_of(Scheme scheme) noexcept {
  switch (scheme) {
    case Scheme::oaep_sha256:
      return oaep_algorithm(OaepHash::sha256);
    case Scheme::oaep_sha1:
      return oaep_algorithm(OaepHash::sha1);
    case Scheme::gcm:
      return "A256GCM";
    case Scheme::kwp:
      return "A256KWP";
  }
  return {};
}

std::optional<CK_KEY_TYPE> pkcs11_algorithm_key_type(std::string_view algorithm) noexcept {
  if (algorithm == oaep_algorithm(OaepHash::sha256) || algorithm == oaep_algorithm(OaepHash::sha1)) return CKK_RSA;
  if (algorithm == "A256GCM" || algorithm == "A256KWP") return CKK_AES;
  return std::nullopt;
}

Result<Bytes> Pkcs11Wrapping::wrap_by(Scheme scheme, Pkcs11Session& session, const Pkcs11KeyObject& key,
                                      ByteView plaintext, ByteView nonce, CK_RV& answer) {
  answer = CKR_OK;
  switch (scheme) {
    case Scheme::oaep_sha256:
      return oaep_encrypt(key.modulus, key.exponent, OaepHash::sha256, plaintext);
    case Scheme::oaep_sha1:
      return oaep_encrypt(key.modulus, key.exponent, OaepHash::sha1, plaintext);
    case Scheme::gcm: {
      const ByteView iv = nonce.first(kPkcs11GcmNonceBytes);
      VAULTFS_ASSIGN_OR_RETURN(const Bytes sealed,
                               pkcs11_gcm_encrypt(session, key.handle, iv, bytes_of(kAssociated), plaintext, answer));
      Bytes wrapped = to_bytes(iv);
      wrapped.insert(wrapped.end(), sealed.begin(), sealed.end());
      return wrapped;
    }
    case Scheme::kwp: {
      VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer message, kwp_message(nonce, plaintext));
      return pkcs11_kwp_wrap(session, key.handle, message.view(), answer);
    }
  }
  return Error{ErrorCode::Internal, "unknown scheme"};
}

Result<SecretBuffer> Pkcs11Wrapping::unwrap_by(Scheme scheme, Pkcs11Session& session, const Pkcs11KeyObject& key,
                                               ByteView wrapped, CK_RV& answer) {
  answer = CKR_OK;
  switch (scheme) {
    case Scheme::oaep_sha256:
    case Scheme::oaep_sha1: {
      // RFC 8017 section 7.1.2, step 1b: some modules take other lengths.
      if (wrapped.size() * 8 != key.bits) return does_not_open(key);
      const OaepHash hash = scheme == Scheme::oaep_sha256 ? OaepHash::sha256 : OaepHash::sha1;
      return pkcs11_oaep_decrypt(session, key.handle, hash, wrapped, answer);
    }
    case Scheme::gcm: {
      constexpr std::size_t kOverhead = kPkcs11GcmNonceBytes + kPkcs11GcmTagBytes;
      if (wrapped.size() < kOverhead || wrapped.size() > kOverhead + kWrapLimitBytes) return does_not_open(key);
      return pkcs11_gcm_decrypt(session, key.handle, wrapped.first(kPkcs11GcmNonceBytes), bytes_of(kAssociated),
                                wrapped.subspan(kPkcs11GcmNonceBytes), answer);
    }
    case Scheme::kwp: {
      constexpr std::size_t kLongest = kKwpHeadBytes + kWrapLimitBytes + 2 * kKwpBlockBytes;
      if (wrapped.size() % kKwpBlockBytes != 0 || wrapped.size() < kKwpHeadBytes || wrapped.size() > kLongest) {
        return does_not_open(key);
      }
      VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer message, pkcs11_kwp_unwrap(session, key.handle, wrapped, answer));
      return kwp_content(key, message.view());
    }
  }
  return Error{ErrorCode::Internal, "unknown scheme"};
}

Status Pkcs11Wrapping::try_out(Scheme scheme, Pkcs11Session& session, const Pkcs11KeyObject& key,
                               const Pkcs11Nonces& nonces, CK_RV& answer) {
  const ByteView content = nonces.trial;  // any bytes will do
  VAULTFS_ASSIGN_OR_RETURN(const Bytes wrapped, wrap_by(scheme, session, key, content, nonces.trial, answer));
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer back, unwrap_by(scheme, session, key, wrapped, answer));
  if (constant_time_equal(back.view(), content)) return ok_status();
  return Error{ErrorCode::NotSupportedByProvider, "the token does not unwrap what it wrapped"};
}

Result<Pkcs11Wrapping::Scheme> Pkcs11Wrapping::scheme_for(Pkcs11Session& session, const Pkcs11KeyObject& key,
                                                          const Pkcs11Nonces& nonces) {
  VAULTFS_RETURN_IF_ERROR(check_kek(key));
  VAULTFS_RETURN_IF_ERROR(pkcs11_check_flawless(key));
  std::optional<Scheme>& known = key.is_rsa() ? for_rsa_ : for_aes_;
  if (known) return *known;
  const auto candidates =
      key.is_rsa() ? std::array{Scheme::oaep_sha256, Scheme::oaep_sha1} : std::array{Scheme::gcm, Scheme::kwp};
  for (const Scheme candidate : candidates) {
    CK_RV answer = CKR_OK;
    Status tried = try_out(candidate, session, key, nonces, answer);
    // What may have been a fault is asked a second time: a fault must not choose the weaker algorithm.
    if (!tried.ok() && !session.lost() && pkcs11_ambiguous(answer) && !pkcs11_unsupported(answer)) {
      tried = try_out(candidate, session, key, nonces, answer);
    }
    if (tried.ok()) {
      known = candidate;
      if (key.is_rsa()) remember_public_half(key);
      return candidate;
    }
    const bool without =
        tried.code() == ErrorCode::NotSupportedByProvider || pkcs11_unsupported(answer) || pkcs11_ambiguous(answer);
    const auto error = [&] {
      const bool about_key = key.is_rsa() && !session.lost() && answer != CKR_OK;
      return about_key ? public_half_in_doubt(key, tried.error(), answer) : tried.error();
    };
    if (session.lost() || !without) return error();
    // Both refused in the same doubtful way is a fault of the token, not a lack.
    if (candidate == candidates.back() && !pkcs11_unsupported(answer) && answer != CKR_OK) return error();
  }
  return Error{ErrorCode::NotSupportedByProvider, key.is_rsa()
                                                      ? "the token has RSA-OAEP neither with SHA-256 nor with SHA-1"
                                                      : "the token has neither AES-GCM nor AES key wrap with padding"};
}

void Pkcs11Wrapping::remember_public_half(const Pkcs11KeyObject& key) {
  shown_[key.id] = {key.handle, key.modulus, key.exponent};
}

Status Pkcs11Wrapping::check_public_half(Scheme scheme, Pkcs11Session& session, const Pkcs11KeyObject& key,
                                         const Pkcs11Nonces& nonces) {
  if (!key.is_rsa()) return ok_status();  // an AES key wraps by itself
  const auto shown = shown_.find(key.id);
  if (shown != shown_.end() && shown->second == PublicHalf{key.handle, key.modulus, key.exponent}) return ok_status();
  CK_RV answer = CKR_OK;
  Status tried = try_out(scheme, session, key, nonces, answer);
  if (!tried.ok() && !session.lost() && pkcs11_ambiguous(answer)) {
    tried = try_out(scheme, session, key, nonces, answer);
  }
  if (tried.ok()) {
    remember_public_half(key);
    return ok_status();
  }
  // Without an answer of the token it is our own side that refuses the numbers, unless it opened to something else.
  const bool opened = tried.code() == ErrorCode::NotSupportedByProvider;
  if (session.lost() || (answer == CKR_OK && !opened)) return tried;
  return public_half_in_doubt(key, tried.error(), answer);
}

Result<std::string> Pkcs11Wrapping::algorithm(Pkcs11Session& session, const Pkcs11KeyObject& key,
                                              const Pkcs11Nonces& nonces) {
  VAULTFS_ASSIGN_OR_RETURN(const Scheme scheme, scheme_for(session, key, nonces));
  return std::string(name_of(scheme));
}

Result<Bytes> Pkcs11Wrapping::wrap(Pkcs11Session& session, const Pkcs11KeyObject& key, ByteView plaintext,
                                   const Pkcs11Nonces& nonces) {
  VAULTFS_ASSIGN_OR_RETURN(const Scheme scheme, scheme_for(session, key, nonces));
  VAULTFS_RETURN_IF_ERROR(check_public_half(scheme, session, key, nonces));
  CK_RV answer = CKR_OK;
  return wrap_by(scheme, session, key, plaintext, nonces.wrap, answer);
}

Result<SecretBuffer> Pkcs11Wrapping::unwrap(Pkcs11Session& session, const Pkcs11KeyObject& key,
                                            std::string_view algorithm, ByteView wrapped, const Pkcs11Nonces& nonces) {
  VAULTFS_RETURN_IF_ERROR(check_kek(key));
  if (pkcs11_algorithm_key_type(algorithm) != key.type) {
    return Error{ErrorCode::NotSupportedByProvider,
                 "key version " + key.id + " is of another type than what was wrapped needs"};
  }
  const auto schemes = {Scheme::oaep_sha256, Scheme::oaep_sha1, Scheme::gcm, Scheme::kwp};
  const Scheme scheme = *std::ranges::find(schemes, algorithm, name_of);
  CK_RV answer = CKR_OK;
  auto content = unwrap_by(scheme, session, key, wrapped, answer);
  if (content.ok()) {
    if (content->size() <= kWrapLimitBytes) return content;
    return does_not_open(key);
  }
  if (session.lost()) return content;
  if (pkcs11_data_refused(answer)) return does_not_open(key);
  if (!pkcs11_ambiguous(answer)) return content;
  CK_RV trial_answer = CKR_OK;
  const Status trial = try_out(scheme, session, key, nonces, trial_answer);
  if (session.lost()) return content;
  if (!trial.ok()) return session.lose("C_Decrypt", answer);
  // The token works. What it refuses a second time, it refuses for what it is.
  content = unwrap_by(scheme, session, key, wrapped, answer);
  if (session.lost() || (content.ok() && content->size() <= kWrapLimitBytes)) return content;
  return does_not_open(key);
}

}  // namespace vaultfs
