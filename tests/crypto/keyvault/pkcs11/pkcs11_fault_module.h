#pragma once

// The controls of pkcs11_fault_module.cc, found in the loaded library by dlsym("vaultfs_fault_control").
struct Pkcs11FaultControl {
  // The next calls of this function answer with `answer` instead of being made.
  void (*fail)(const char* function, unsigned long answer, int times);
  // The next call of this function waits until release().
  void (*hang)(const char* function);
  void (*release)();
  // What the token has beyond SoftHSM, or lacks.
  void (*set_oaep_sha256)(bool present);
  void (*set_gcm)(bool present);
  void (*set_token_flags)(unsigned long flags);  // added to CK_TOKEN_INFO.flags
  // Private keys tell the modulus of a public key of their CKA_ID, a stranger's rather than their own: as modules do
  // whose cards keep no public numbers with a private key.
  void (*set_foreign_modulus)(bool told);
  void (*set_copies)(int copies);  // of each object that is found
  // The module tells of so many slots with a token, its true ones last; the others' tokens are gone when they are
  // asked.
  void (*set_slots)(unsigned long slots);
  void (*log_out)();                   // as another part of the process could; REQUIRES: a session is open
  int (*calls)(const char* function);  // how often it was called since reset()
  int (*repeated_nonces)();            // encryptions by AES-GCM since reset() whose nonce another one had
  void (*reset)();
};
