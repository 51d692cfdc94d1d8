#include "tests/crypto/keyvault/pkcs11/pkcs11_fault_module.h"

// RSA_padding_check_PKCS1_OAEP_mgf1 has no successor: providers unpad inside a decryption only.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <dlfcn.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <p11-kit/pkcs11.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <numeric>
#include <set>
#include <string>
#include <vector>

// A PKCS#11 module for tests: SoftHSM with faults that a test asks for, and with what SoftHSM lacks. OAEP with SHA-256
// is a raw RSA decryption by SoftHSM, whose padding is then taken off here.
namespace {

constexpr const char* kSoftHsm = "/usr/lib/softhsm/libsofthsm2.so";

struct Fault {
  CK_RV answer = CKR_OK;
  int times = 0;
};

struct State {
  std::mutex mutex;  // guards all below
  std::condition_variable changed;
  std::map<std::string, Fault> faults;
  std::map<std::string, int> calls;
  std::string hanging;
  bool released = false;
  bool oaep_sha256 = false;
  bool gcm = true;
  CK_FLAGS token_flags = 0;
  bool foreign_modulus = false;
  int copies = 1;
  CK_ULONG slots = 0;                 // as many as are there, if that is more
  std::deque<CK_OBJECT_HANDLE> left;  // of the objects found, still to be told
  CK_SESSION_HANDLE session = 0;      // the newest
  bool unpad = false;                 // the decryption that has begun is OAEP with SHA-256
  std::set<std::string> nonces;       // of encryptions by AES-GCM
  int repeated_nonces = 0;
};

State& state() {
  static State* const instance = new State;
  return *instance;
}

CK_FUNCTION_LIST* real() {
  static CK_FUNCTION_LIST* const functions = [] {
    void* const library = ::dlopen(kSoftHsm, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library == nullptr) std::abort();
    CK_FUNCTION_LIST* found = nullptr;
    reinterpret_cast<CK_C_GetFunctionList>(::dlsym(library, "C_GetFunctionList"))(&found);
    return found;
  }();
  return functions;
}

// Counts a call and plays what was asked for. True if `answer` is the answer.
bool intercept(const char* function, CK_RV& answer) {
  State& s = state();
  std::unique_lock lock(s.mutex);
  ++s.calls[function];
  if (s.hanging == function) {
    s.hanging.clear();
    s.changed.wait(lock, [&] { return s.released; });
    s.released = false;
  }
  const auto fault = s.faults.find(function);
  if (fault == s.faults.end() || fault->second.times == 0) return false;
  --fault->second.times;
  answer = fault->second.answer;
  return true;
}

CK_RV initialize(void* arguments) {
  CK_RV answer = CKR_OK;
  return intercept("C_Initialize", answer) ? answer : real()->C_Initialize(arguments);
}
CK_RV finalize(void* reserved) {
  CK_RV answer = CKR_OK;
  return intercept("C_Finalize", answer) ? answer : real()->C_Finalize(reserved);
}
CK_RV get_slot_list(CK_BBOOL with_token, CK_SLOT_ID* slots, CK_ULONG* count) {
  CK_RV answer = CKR_OK;
  if (intercept("C_GetSlotList", answer)) return answer;
  CK_ULONG there = 0;
  answer = real()->C_GetSlotList(with_token, nullptr, &there);
  if (answer != CKR_OK) return answer;
  const CK_ULONG room = *count;
  {
    const std::lock_guard lock(state().mutex);
    *count = std::max(there, state().slots);
  }
  if (slots == nullptr) return CKR_OK;
  if (room < *count) return CKR_BUFFER_TOO_SMALL;
  constexpr CK_SLOT_ID kNobodys = CK_SLOT_ID{1} << 40;
  std::iota(slots, slots + *count - there, kNobodys);
  return real()->C_GetSlotList(with_token, slots + *count - there, &there);
}
CK_RV get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO* info) {
  CK_RV answer = CKR_OK;
  if (intercept("C_GetTokenInfo", answer)) return answer;
  answer = real()->C_GetTokenInfo(slot, info);
  const std::lock_guard lock(state().mutex);
  if (answer == CKR_OK) info->flags |= state().token_flags;
  return answer;
}
CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, void* application, CK_NOTIFY notify, CK_SESSION_HANDLE* session) {
  CK_RV answer = CKR_OK;
  if (intercept("C_OpenSession", answer)) return answer;
  answer = real()->C_OpenSession(slot, flags, application, notify, session);
  const std::lock_guard lock(state().mutex);
  if (answer == CKR_OK) state().session = *session;
  return answer;
}
CK_RV login(CK_SESSION_HANDLE session, CK_USER_TYPE user, unsigned char* pin, CK_ULONG size) {
  CK_RV answer = CKR_OK;
  return intercept("C_Login", answer) ? answer : real()->C_Login(session, user, pin, size);
}
CK_RV find_objects_init(CK_SESSION_HANDLE session, CK_ATTRIBUTE* wanted, CK_ULONG count) {
  CK_RV answer = CKR_OK;
  return intercept("C_FindObjectsInit", answer) ? answer : real()->C_FindObjectsInit(session, wanted, count);
}
// A fault with CKR_OK is a module that claims to have found more than there was room for.
CK_RV find_objects(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE* found, CK_ULONG room, CK_ULONG* count) {
  CK_RV answer = CKR_OK;
  if (intercept("C_FindObjects", answer)) {
    *count = room + 1;
    return answer;
  }
  const std::lock_guard lock(state().mutex);
  std::deque<CK_OBJECT_HANDLE>& left = state().left;
  if (left.empty()) {
    answer = real()->C_FindObjects(session, found, room, count);
    if (answer != CKR_OK) return answer;
    for (CK_ULONG i = 0; i < *count; ++i) {
      left.insert(left.end(), static_cast<std::size_t>(state().copies), found[i]);
    }
  }
  *count = std::min<CK_ULONG>(room, left.size());
  std::copy_n(left.begin(), *count, found);
  left.erase(left.begin(), left.begin() + static_cast<std::ptrdiff_t>(*count));
  return CKR_OK;
}
CK_RV find_objects_final(CK_SESSION_HANDLE session) {
  {
    const std::lock_guard lock(state().mutex);
    state().left.clear();
  }
  return real()->C_FindObjectsFinal(session);
}

std::string value_of_attribute(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type) {
  std::string value(1024, '\0');
  CK_ATTRIBUTE attribute{type, value.data(), value.size()};
  if (real()->C_GetAttributeValue(session, object, &attribute, 1) != CKR_OK) return {};
  value.resize(attribute.ulValueLen);
  return value;
}

// The modulus of a public key with the CKA_ID of a private one; another than its own if there is one.
std::string modulus_of_a_stranger(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE private_key) {
  const std::string own = value_of_attribute(session, private_key, CKA_MODULUS);
  std::string id = value_of_attribute(session, private_key, CKA_ID);
  CK_OBJECT_CLASS object_class = CKO_PUBLIC_KEY;
  std::vector<CK_ATTRIBUTE> wanted{{CKA_CLASS, &object_class, sizeof(object_class)}, {CKA_ID, id.data(), id.size()}};
  std::vector<CK_OBJECT_HANDLE> found(16);
  CK_ULONG count = 0;
  if (real()->C_FindObjectsInit(session, wanted.data(), wanted.size()) != CKR_OK) std::abort();
  if (real()->C_FindObjects(session, found.data(), found.size(), &count) != CKR_OK) std::abort();
  if (real()->C_FindObjectsFinal(session) != CKR_OK) std::abort();
  for (CK_ULONG i = 0; i < count; ++i) {
    std::string modulus = value_of_attribute(session, found[i], CKA_MODULUS);
    if (modulus != own) return modulus;
  }
  return own;
}

CK_RV get_attribute_value(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE* values, CK_ULONG count) {
  bool foreign = false;
  {
    const std::lock_guard lock(state().mutex);
    foreign = state().foreign_modulus && count == 1 && values[0].type == CKA_MODULUS;
  }
  CK_OBJECT_CLASS object_class = 0;
  CK_ATTRIBUTE asked{CKA_CLASS, &object_class, sizeof(object_class)};
  if (foreign) foreign = real()->C_GetAttributeValue(session, object, &asked, 1) == CKR_OK;
  if (!foreign || object_class != CKO_PRIVATE_KEY) return real()->C_GetAttributeValue(session, object, values, count);
  const std::string modulus = modulus_of_a_stranger(session, object);
  const bool fits = values[0].pValue == nullptr || values[0].ulValueLen >= modulus.size();
  if (values[0].pValue != nullptr && fits) std::memcpy(values[0].pValue, modulus.data(), modulus.size());
  values[0].ulValueLen = modulus.size();
  return fits ? CKR_OK : CKR_BUFFER_TOO_SMALL;
}
CK_RV encrypt_init(CK_SESSION_HANDLE session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE key) {
  CK_RV answer = CKR_OK;
  if (intercept("C_EncryptInit", answer)) return answer;
  {
    const std::lock_guard lock(state().mutex);
    if (mechanism->mechanism == CKM_AES_GCM && !state().gcm) return CKR_MECHANISM_INVALID;
    if (mechanism->mechanism == CKM_AES_GCM) {
      CK_GCM_PARAMS parameters{};
      std::memcpy(&parameters, mechanism->pParameter, sizeof(parameters));
      const std::string nonce(reinterpret_cast<const char*>(parameters.pIv), parameters.ulIvLen);
      if (!state().nonces.insert(nonce).second) ++state().repeated_nonces;
    }
  }
  return real()->C_EncryptInit(session, mechanism, key);
}
CK_RV decrypt_init(CK_SESSION_HANDLE session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE key) {
  CK_RV answer = CKR_OK;
  if (intercept("C_DecryptInit", answer)) return answer;
  CK_RSA_PKCS_OAEP_PARAMS parameters{};
  if (mechanism->mechanism == CKM_RSA_PKCS_OAEP) std::memcpy(&parameters, mechanism->pParameter, sizeof(parameters));
  {
    const std::lock_guard lock(state().mutex);
    state().unpad = state().oaep_sha256 && parameters.hashAlg == CKM_SHA256;
    if (!state().unpad) return real()->C_DecryptInit(session, mechanism, key);
  }
  CK_MECHANISM raw{CKM_RSA_X_509, nullptr, 0};
  return real()->C_DecryptInit(session, &raw, key);
}
CK_RV decrypt(CK_SESSION_HANDLE session, unsigned char* in, CK_ULONG in_size, unsigned char* out, CK_ULONG* out_size) {
  CK_RV answer = CKR_OK;
  if (intercept("C_Decrypt", answer)) return answer;
  const CK_ULONG room = *out_size;
  answer = real()->C_Decrypt(session, in, in_size, out, out_size);
  const std::lock_guard lock(state().mutex);
  if (answer != CKR_OK || !state().unpad) return answer;
  std::vector<unsigned char> padded(out, out + *out_size);
  const int size =
      RSA_padding_check_PKCS1_OAEP_mgf1(out, static_cast<int>(room), padded.data(), static_cast<int>(padded.size()),
                                        static_cast<int>(in_size), nullptr, 0, EVP_sha256(), EVP_sha256());
  if (size < 0) return CKR_ENCRYPTED_DATA_INVALID;
  *out_size = static_cast<CK_ULONG>(size);
  return CKR_OK;
}
CK_RV set_attribute_value(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE* values, CK_ULONG count) {
  CK_RV answer = CKR_OK;
  {
    const std::lock_guard lock(state().mutex);
    for (CK_ULONG i = 0; i < count; ++i) {
      if (values[i].type == CKA_UNWRAP) ++state().calls["C_SetAttributeValue of CKA_UNWRAP"];
    }
  }
  return intercept("C_SetAttributeValue", answer) ? answer
                                                  : real()->C_SetAttributeValue(session, object, values, count);
}

void control_fail(const char* function, unsigned long answer, int times) {
  const std::lock_guard lock(state().mutex);
  state().faults[function] = {answer, times};
}
void control_hang(const char* function) {
  const std::lock_guard lock(state().mutex);
  state().hanging = function;
  state().released = false;
}
void control_release() {
  const std::lock_guard lock(state().mutex);
  state().released = true;
  state().changed.notify_all();
}
void control_oaep_sha256(bool present) {
  const std::lock_guard lock(state().mutex);
  state().oaep_sha256 = present;
}
void control_gcm(bool present) {
  const std::lock_guard lock(state().mutex);
  state().gcm = present;
}
void control_token_flags(unsigned long flags) {
  const std::lock_guard lock(state().mutex);
  state().token_flags = flags;
}
void control_foreign_modulus(bool told) {
  const std::lock_guard lock(state().mutex);
  state().foreign_modulus = told;
}
void control_copies(int copies) {
  const std::lock_guard lock(state().mutex);
  state().copies = copies;
}
void control_slots(unsigned long slots) {
  const std::lock_guard lock(state().mutex);
  state().slots = slots;
}
void control_log_out() {
  const std::lock_guard lock(state().mutex);
  if (real()->C_Logout(state().session) != CKR_OK) std::abort();
}
int control_calls(const char* function) {
  const std::lock_guard lock(state().mutex);
  return state().calls[function];
}
int control_repeated_nonces() {
  const std::lock_guard lock(state().mutex);
  return state().repeated_nonces;
}
void control_reset() {
  const std::lock_guard lock(state().mutex);
  state().nonces.clear();
  state().repeated_nonces = 0;
  state().faults.clear();
  state().calls.clear();
  state().hanging.clear();
  state().oaep_sha256 = false;
  state().gcm = true;
  state().token_flags = 0;
  state().foreign_modulus = false;
  state().copies = 1;
  state().slots = 0;
}

}  // namespace

extern "C" {

extern const Pkcs11FaultControl vaultfs_fault_control;
const Pkcs11FaultControl vaultfs_fault_control{
    control_fail,  control_hang,        control_release,         control_oaep_sha256,
    control_gcm,   control_token_flags, control_foreign_modulus, control_copies,
    control_slots, control_log_out,     control_calls,           control_repeated_nonces,
    control_reset};

CK_RV C_GetFunctionList(CK_FUNCTION_LIST** list) {
  static CK_FUNCTION_LIST functions = [] {
    CK_FUNCTION_LIST copy = *real();
    copy.C_Initialize = initialize;
    copy.C_Finalize = finalize;
    copy.C_GetSlotList = get_slot_list;
    copy.C_GetTokenInfo = get_token_info;
    copy.C_OpenSession = open_session;
    copy.C_Login = login;
    copy.C_FindObjectsInit = find_objects_init;
    copy.C_FindObjects = find_objects;
    copy.C_FindObjectsFinal = find_objects_final;
    copy.C_GetAttributeValue = get_attribute_value;
    copy.C_EncryptInit = encrypt_init;
    copy.C_DecryptInit = decrypt_init;
    copy.C_Decrypt = decrypt;
    copy.C_SetAttributeValue = set_attribute_value;
    return copy;
  }();
  *list = &functions;
  return CKR_OK;
}
}
