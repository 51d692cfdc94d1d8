#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/memory/secret_buffer.h"
#include "crypto/rsa_key.h"

namespace vaultfs {

// PEM files that the command line names. NotFound, PermissionDenied, IoError.

// A file whose text may be a private key in the clear, into locked memory. InvalidArgument if it is empty or above
// 1 MiB, which holds some 300 keys.
[[nodiscard]] Result<SecretBuffer> read_private_pem_file(const std::string& path);
[[nodiscard]] bool pem_is_encrypted(ByteView pem) noexcept;

// The blocks of a PEM file, each from its BEGIN to its END line, in their order; the whole text if it has none, for
// whoever parses it to say what is wrong. They point into `pem`.
[[nodiscard]] std::vector<ByteView> pem_blocks(ByteView pem);

// The private key of an escrow recipient. Its passphrase, if it has one, is read from `passphrase_file` or descriptor,
// or from the terminal. The errors of RsaKey::from_pem and obtain_passphrase.
[[nodiscard]] Result<std::unique_ptr<RsaKey>> read_escrow_private_key(const std::string& path,
                                                                      const std::string& passphrase_file,
                                                                      int passphrase_fd);
// The public key of one, as DER SubjectPublicKeyInfo. The errors of RsaKey::from_public_pem.
[[nodiscard]] Result<Bytes> read_escrow_public_key(const std::string& path);

}  // namespace vaultfs
