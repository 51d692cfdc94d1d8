#include "crypto/keyvault/pkcs11/mechanisms.h"

#include <algorithm>
#include <array>

namespace vaultfs {
namespace {

constexpr std::size_t kMessageLimitBytes = 1024;  // more than any of these messages has

Status note(Pkcs11Session& session, const char* call, CK_RV& answer, CK_RV given) {
  answer = given;
  return session.check(call, given);
}

Result<SecretBuffer> shortened(const SecretBuffer& buffer, CK_ULONG size) {
  if (size > buffer.size()) return Error{ErrorCode::KeyVaultUnavailable, "the token gives a length beyond its buffer"};
  return SecretBuffer::copy_of(buffer.view().first(size));
}

Result<SecretBuffer> decrypt(Pkcs11Session& session, CK_MECHANISM mechanism, CK_OBJECT_HANDLE key, ByteView ciphertext,
                             CK_RV& answer) {
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer plain, SecretBuffer::allocate(kMessageLimitBytes));
  const CK_FUNCTION_LIST& functions = session.functions();
  VAULTFS_RETURN_IF_ERROR(
      note(session, "C_DecryptInit", answer, functions.C_DecryptInit(session.handle(), &mechanism, key)));
  CK_ULONG size = plain.size();
  VAULTFS_RETURN_IF_ERROR(note(session, "C_Decrypt", answer,
                               functions.C_Decrypt(session.handle(), pkcs11_bytes(ciphertext), ciphertext.size(),
                                                   pkcs11_bytes(plain.mutable_view()), &size)));
  return shortened(plain, size);
}

CK_GCM_PARAMS gcm_parameters(ByteView nonce, ByteView associated) {
  CK_GCM_PARAMS parameters{};
  parameters.pIv = pkcs11_bytes(nonce);
  parameters.ulIvLen = nonce.size();
  parameters.ulIvBits = nonce.size() * kBitsPerByte;
  parameters.pAAD = pkcs11_bytes(associated);
  parameters.ulAADLen = associated.size();
  parameters.ulTagBits = kPkcs11GcmTagBytes * kBitsPerByte;
  return parameters;
}

// A session object, destroyed at the end of the scope.
class SessionObject {
 public:
  explicit SessionObject(Pkcs11Session& session) : session_(session) {}
  SessionObject(const SessionObject&) = delete;
  SessionObject& operator=(const SessionObject&) = delete;
  ~SessionObject() {
    if (handle != CK_INVALID_HANDLE) (void)session_.functions().C_DestroyObject(session_.handle(), handle);
  }
  CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;

 private:
  Pkcs11Session& session_;
};

// A generic secret that lives in the session and may be read: it carries a message, and is no key.
struct CarrierTemplate {
  CK_OBJECT_CLASS object_class = CKO_SECRET_KEY;
  CK_KEY_TYPE type = CKK_GENERIC_SECRET;
  CK_BBOOL yes = CK_TRUE;
  CK_BBOOL no = CK_FALSE;

  std::vector<CK_ATTRIBUTE> attributes() {
    return {pkcs11_attribute(CKA_CLASS, object_class), pkcs11_attribute(CKA_KEY_TYPE, type),
            pkcs11_attribute(CKA_TOKEN, no), pkcs11_attribute(CKA_SENSITIVE, no),
            pkcs11_attribute(CKA_EXTRACTABLE, yes)};
  }
};

}  // namespace

Result<SecretBuffer> pkcs11_oaep_decrypt(Pkcs11Session& session, CK_OBJECT_HANDLE key, OaepHash hash, ByteView wrapped,
                                         CK_RV& answer) {
  const bool sha256 = hash == OaepHash::sha256;
  CK_RSA_PKCS_OAEP_PARAMS parameters{};
  parameters.hashAlg = sha256 ? CKM_SHA256 : CKM_SHA_1;
  parameters.mgf = sha256 ? CKG_MGF1_SHA256 : CKG_MGF1_SHA1;
  parameters.source = CKZ_DATA_SPECIFIED;
  return decrypt(session, {CKM_RSA_PKCS_OAEP, &parameters, sizeof(parameters)}, key, wrapped, answer);
}

Result<Bytes> pkcs11_gcm_encrypt(Pkcs11Session& session, CK_OBJECT_HANDLE key, ByteView nonce, ByteView associated,
                                 ByteView plaintext, CK_RV& answer) {
  CK_GCM_PARAMS parameters = gcm_parameters(nonce, associated);
  CK_MECHANISM mechanism{CKM_AES_GCM, &parameters, sizeof(parameters)};
  const CK_FUNCTION_LIST& functions = session.functions();
  VAULTFS_RETURN_IF_ERROR(
      note(session, "C_EncryptInit", answer, functions.C_EncryptInit(session.handle(), &mechanism, key)));
  Bytes sealed(kMessageLimitBytes);
  CK_ULONG size = sealed.size();
  VAULTFS_RETURN_IF_ERROR(note(session, "C_Encrypt", answer,
                               functions.C_Encrypt(session.handle(), pkcs11_bytes(plaintext), plaintext.size(),
                                                   pkcs11_bytes(MutableByteView(sealed)), &size)));
  // A token that leaves the tag away, or makes a nonce of its own, is not one to use GCM on.
  if (size != plaintext.size() + kPkcs11GcmTagBytes) {
    answer = CKR_MECHANISM_PARAM_INVALID;
    return Error{ErrorCode::NotSupportedByProvider, "the token's AES-GCM does not give a tag of 16 bytes"};
  }
  sealed.resize(size);
  return sealed;
}

Result<SecretBuffer> pkcs11_gcm_decrypt(Pkcs11Session& session, CK_OBJECT_HANDLE key, ByteView nonce,
                                        ByteView associated, ByteView ciphertext, CK_RV& answer) {
  CK_GCM_PARAMS parameters = gcm_parameters(nonce, associated);
  return decrypt(session, {CKM_AES_GCM, &parameters, sizeof(parameters)}, key, ciphertext, answer);
}

Result<Bytes> pkcs11_kwp_wrap(Pkcs11Session& session, CK_OBJECT_HANDLE key, ByteView message, CK_RV& answer) {
  const CK_FUNCTION_LIST& functions = session.functions();
  CarrierTemplate carrier;
  std::vector<CK_ATTRIBUTE> attributes = carrier.attributes();
  attributes.push_back(pkcs11_attribute(CKA_VALUE, message));
  SessionObject object(session);
  VAULTFS_RETURN_IF_ERROR(
      note(session, "C_CreateObject", answer,
           functions.C_CreateObject(session.handle(), attributes.data(), attributes.size(), &object.handle)));
  CK_MECHANISM mechanism{CKM_AES_KEY_WRAP_PAD, nullptr, 0};
  Bytes wrapped(kMessageLimitBytes);
  CK_ULONG size = wrapped.size();
  VAULTFS_RETURN_IF_ERROR(note(session, "C_WrapKey", answer,
                               functions.C_WrapKey(session.handle(), &mechanism, key, object.handle,
                                                   pkcs11_bytes(MutableByteView(wrapped)), &size)));
  wrapped.resize(std::min<std::size_t>(size, wrapped.size()));
  return wrapped;
}

Result<SecretBuffer> pkcs11_kwp_unwrap(Pkcs11Session& session, CK_OBJECT_HANDLE key, ByteView wrapped, CK_RV& answer) {
  const CK_FUNCTION_LIST& functions = session.functions();
  CarrierTemplate carrier;
  std::vector<CK_ATTRIBUTE> attributes = carrier.attributes();
  CK_MECHANISM mechanism{CKM_AES_KEY_WRAP_PAD, nullptr, 0};
  SessionObject object(session);
  VAULTFS_RETURN_IF_ERROR(
      note(session, "C_UnwrapKey", answer,
           functions.C_UnwrapKey(session.handle(), &mechanism, key, pkcs11_bytes(wrapped), wrapped.size(),
                                 attributes.data(), attributes.size(), &object.handle)));
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer message, SecretBuffer::allocate(kMessageLimitBytes));
  CK_ATTRIBUTE value{CKA_VALUE, message.mutable_view().data(), message.size()};
  VAULTFS_RETURN_IF_ERROR(note(session, "C_GetAttributeValue", answer,
                               functions.C_GetAttributeValue(session.handle(), object.handle, &value, 1)));
  return shortened(message, value.ulValueLen);
}

}  // namespace vaultfs
