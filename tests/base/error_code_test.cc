#include "base/error_code.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <map>
#include <string>
#include <string_view>

namespace vaultfs {
namespace {

struct Promised {
  std::string_view name;
  int exit_code;
  int errno_value;
};

// What scripts and callers of the mount rely on, written down a second time on purpose. New errors are added here; a
// line that is here is never changed or removed, also when the program has no more use for the error.
constexpr Promised kPromised[] = {
    {"Internal", 1, EIO},
    {"Usage", 2, EINVAL},
    {"InvalidArgument", 2, EINVAL},
    {"InvalidName", 2, EINVAL},
    {"NameTooLong", 2, ENAMETOOLONG},
    {"InvalidKeyRef", 2, EINVAL},
    {"NotFound", 3, ENOENT},
    {"VaultNotFound", 3, ENOENT},
    {"ItemNotFound", 3, ENOENT},
    {"DiskNotFound", 3, ENOENT},
    {"RecoveryPointNotFound", 3, ENOENT},
    {"JobNotFound", 3, ENOENT},
    {"KeyVaultNotFound", 3, ENOENT},
    {"KeyNotFound", 3, ENOENT},
    {"KeyVersionNotFound", 3, ENOENT},
    {"RecoveryFileNotFound", 3, ENOENT},
    {"AlreadyExists", 4, EEXIST},
    {"VaultExists", 4, EEXIST},
    {"KeyVaultExists", 4, EEXIST},
    {"KeyExists", 4, EEXIST},
    {"PermissionDenied", 5, EACCES},
    {"NotPermitted", 5, EPERM},
    {"VaultBusy", 6, EBUSY},
    {"ItemBusy", 6, EBUSY},
    {"MountPointBusy", 6, EBUSY},
    {"TryAgain", 6, EAGAIN},
    {"OverlapsVault", 2, EINVAL},
    {"MountPointInvalid", 2, ENOTDIR},
    {"NotAVault", 7, EINVAL},
    {"UnsupportedFormat", 7, EINVAL},
    {"NotSupported", 8, EOPNOTSUPP},
    {"NotSupportedByProvider", 8, EOPNOTSUPP},
    {"NotADirectory", 2, ENOTDIR},
    {"IsADirectory", 2, EISDIR},
    {"DirectoryNotEmpty", 2, ENOTEMPTY},
    {"CrossItem", 2, EXDEV},
    {"TooManyLinks", 2, EMLINK},
    {"FileTooLarge", 2, EFBIG},
    {"NoData", 3, ENODATA},
    {"OutOfRange", 2, ENXIO},
    {"BadHandle", 1, EBADF},
    {"EncryptionAlreadySet", 8, EPERM},
    {"EncryptionNotChangeable", 8, EPERM},
    {"KeyVersionInUse", 8, EPERM},
    {"KeyVaultInUse", 8, EPERM},
    {"IdentityInUse", 8, EPERM},
    {"IdentityAndKeyChange", 8, EINVAL},
    {"SoftDeleteRequired", 8, EPERM},
    {"PurgeProtectionRequired", 8, EPERM},
    {"PurgeProtected", 8, EPERM},
    {"RegionMismatch", 8, EINVAL},
    {"KeyNotRsa", 8, EINVAL},
    {"KeyOfCertificate", 8, EINVAL},
    {"KeySizeUnsupported", 8, EINVAL},
    {"KeyVersionExpired", 8, EPERM},
    {"KeyVersionNotYetValid", 8, EPERM},
    {"RecoveryChoiceRequired", 2, EINVAL},
    {"RefusedOverwrite", 8, EEXIST},
    {"DamagedRecord", 10, EIO},
    {"DamagedHeader", 10, EIO},
    {"DamagedKeyring", 10, EIO},
    {"KeyringMissing", 10, EIO},
    {"DamagedSegment", 10, EIO},
    {"SegmentMissing", 10, EIO},
    {"ChunkMissing", 10, EIO},
    {"ChunkMismatch", 10, EIO},
    {"AuthenticationFailed", 10, EIO},
    {"KeyCommitmentMismatch", 10, EIO},
    {"DamagedManifest", 10, EIO},
    {"ManifestMissing", 10, EIO},
    {"DamagedCheckpoint", 10, EIO},
    {"CheckpointMissing", 10, EIO},
    {"JournalDamaged", 10, EIO},
    {"DamagedHead", 10, EIO},
    {"DamagedActivityLog", 10, EIO},
    {"DamagedMachineState", 10, EIO},
    {"EpochClosed", 10, EIO},
    {"ForeignFile", 10, EIO},
    {"RollbackDetected", 11, EIO},
    {"ForeignRootKey", 11, EIO},
    {"AnotherVault", 11, EIO},
    {"VaultUnverified", 12, EROFS},
    {"FingerprintMismatch", 12, EACCES},
    {"PinOutdated", 12, EROFS},
    {"KeyVaultUnavailable", 20, EIO},
    {"KeyVaultDenied", 21, EKEYREVOKED},
    {"KeyVersionDisabled", 21, EKEYREVOKED},
    {"KeyVersionDisabledTooEarly", 21, EKEYREVOKED},
    {"IdentityNotFound", 21, EKEYREVOKED},
    {"IdentityDisabled", 21, EKEYREVOKED},
    {"KeyRevoked", 21, EKEYREVOKED},
    {"WrongKey", 22, EKEYREJECTED},
    {"WrongPassphrase", 22, EKEYREJECTED},
    {"PassphraseRequired", 22, ENOKEY},
    {"PlatformKeyMissing", 22, ENOKEY},
    {"MemoryLockFailed", 1, ENOMEM},
    {"OutOfMemory", 1, ENOMEM},
    {"NoSpace", 30, ENOSPC},
    {"IoError", 31, EIO},
    {"ShortDevice", 31, EIO},
    {"RestoreMismatch", 31, EIO},
    {"ReadOnly", 32, EROFS},
    {"JobFailed", 31, EIO},
    {"DamageFound", 40, EIO},
    {"Interrupted", 1, EINTR},
};

TEST(ErrorTable, IsWhatWasPromised) {
  std::map<std::string_view, ErrorCode> codes;
#define VAULTFS_V(name, exit_code, errno_value) codes[#name] = ErrorCode::name;
  VAULTFS_ERROR_CODES(VAULTFS_V)
#undef VAULTFS_V
  for (const Promised& promised : kPromised) {
    const auto found = codes.find(promised.name);
    ASSERT_NE(found, codes.end()) << promised.name << " was renamed or removed";
    EXPECT_EQ(error_name(found->second), promised.name);
    EXPECT_EQ(error_exit_code(found->second), promised.exit_code) << promised.name;
    EXPECT_EQ(error_errno(found->second), promised.errno_value) << promised.name;
    codes.erase(found);
  }
  for (const auto& [name, code] : codes) ADD_FAILURE() << name << " is new: add it to the list of this test";
}

}  // namespace
}  // namespace vaultfs
