#pragma once

#include <cstdint>
#include <string_view>

namespace vaultfs {

// The one table of errors: stable name, process exit code, errno answered through the mount.
//
// Names are part of the command line's contract: scripts match on them. A name or an exit code that is retired stays
// reserved and is never reused for something else.
//
// Exit codes: 1 internal, 2 usage, 3 not found, 4 exists, 5 permission, 6 busy, 7 not a vault or unsupported format,
// 8 refused by a rule of the product, 10 integrity, 11 rollback, 12 unverified machine, 20 key vault outage,
// 21 revoked or denied, 22 wrong key or passphrase, 30 no space, 31 I/O, 32 read-only, 40 verification found damage.
#define VAULTFS_ERROR_CODES(V)                   \
  V(Internal, 1, EIO)                            \
  V(Usage, 2, EINVAL)                            \
  V(InvalidArgument, 2, EINVAL)                  \
  V(InvalidName, 2, EINVAL)                      \
  V(NameTooLong, 2, ENAMETOOLONG)                \
  V(InvalidKeyRef, 2, EINVAL)                    \
  V(NotFound, 3, ENOENT)                         \
  V(VaultNotFound, 3, ENOENT)                    \
  V(ItemNotFound, 3, ENOENT)                     \
  V(DiskNotFound, 3, ENOENT)                     \
  V(RecoveryPointNotFound, 3, ENOENT)            \
  V(JobNotFound, 3, ENOENT)                      \
  V(KeyVaultNotFound, 3, ENOENT)                 \
  V(KeyNotFound, 3, ENOENT)                      \
  V(KeyVersionNotFound, 3, ENOENT)               \
  V(RecoveryFileNotFound, 3, ENOENT)             \
  V(AlreadyExists, 4, EEXIST)                    \
  V(VaultExists, 4, EEXIST)                      \
  V(KeyVaultExists, 4, EEXIST)                   \
  V(KeyExists, 4, EEXIST)                        \
  V(PermissionDenied, 5, EACCES)                 \
  V(NotPermitted, 5, EPERM)                      \
  V(VaultBusy, 6, EBUSY)                         \
  V(ItemBusy, 6, EBUSY)                          \
  V(MountPointBusy, 6, EBUSY)                    \
  V(TryAgain, 6, EAGAIN)                         \
  V(OverlapsVault, 2, EINVAL)                    \
  V(MountPointInvalid, 2, ENOTDIR)               \
  V(NotAVault, 7, EINVAL)                        \
  V(UnsupportedFormat, 7, EINVAL)                \
  V(NotSupported, 8, EOPNOTSUPP)                 \
  V(NotSupportedByProvider, 8, EOPNOTSUPP)       \
  V(NotADirectory, 2, ENOTDIR)                   \
  V(IsADirectory, 2, EISDIR)                     \
  V(DirectoryNotEmpty, 2, ENOTEMPTY)             \
  V(CrossItem, 2, EXDEV)                         \
  V(TooManyLinks, 2, EMLINK)                     \
  V(FileTooLarge, 2, EFBIG)                      \
  V(NoData, 3, ENODATA)                          \
  V(OutOfRange, 2, ENXIO)                        \
  V(BadHandle, 1, EBADF)                         \
  V(EncryptionAlreadySet, 8, EPERM)              \
  V(EncryptionNotChangeable, 8, EPERM)           \
  V(KeyVersionInUse, 8, EPERM)                   \
  V(KeyVaultInUse, 8, EPERM)                     \
  V(IdentityInUse, 8, EPERM)                     \
  V(IdentityAndKeyChange, 8, EINVAL)             \
  V(SoftDeleteRequired, 8, EPERM)                \
  V(PurgeProtectionRequired, 8, EPERM)           \
  V(PurgeProtected, 8, EPERM)                    \
  V(RegionMismatch, 8, EINVAL)                   \
  V(KeyNotRsa, 8, EINVAL)                        \
  V(KeyOfCertificate, 8, EINVAL)                 \
  V(KeySizeUnsupported, 8, EINVAL)               \
  V(KeyVersionExpired, 8, EPERM)                 \
  V(KeyVersionNotYetValid, 8, EPERM)             \
  V(RecoveryChoiceRequired, 2, EINVAL)           \
  V(RefusedOverwrite, 8, EEXIST)                 \
  V(DamagedRecord, 10, EIO)                      \
  V(DamagedHeader, 10, EIO)                      \
  V(DamagedKeyring, 10, EIO)                     \
  V(KeyringMissing, 10, EIO)                     \
  V(DamagedSegment, 10, EIO)                     \
  V(SegmentMissing, 10, EIO)                     \
  V(ChunkMissing, 10, EIO)                       \
  V(ChunkMismatch, 10, EIO)                      \
  V(AuthenticationFailed, 10, EIO)               \
  V(KeyCommitmentMismatch, 10, EIO)              \
  V(DamagedManifest, 10, EIO)                    \
  V(ManifestMissing, 10, EIO)                    \
  V(DamagedCheckpoint, 10, EIO)                  \
  V(CheckpointMissing, 10, EIO)                  \
  V(JournalDamaged, 10, EIO)                     \
  V(DamagedHead, 10, EIO)                        \
  V(DamagedActivityLog, 10, EIO)                 \
  V(DamagedMachineState, 10, EIO)                \
  V(EpochClosed, 10, EIO)                        \
  V(ForeignFile, 10, EIO)                        \
  V(RollbackDetected, 11, EIO)                   \
  V(ForeignRootKey, 11, EIO)                     \
  V(AnotherVault, 11, EIO)                       \
  V(VaultUnverified, 12, EROFS)                  \
  V(FingerprintMismatch, 12, EACCES)             \
  V(PinOutdated, 12, EROFS)                      \
  V(KeyVaultUnavailable, 20, EIO)                \
  V(KeyVaultDenied, 21, EKEYREVOKED)             \
  V(KeyVersionDisabled, 21, EKEYREVOKED)         \
  V(KeyVersionDisabledTooEarly, 21, EKEYREVOKED) \
  V(IdentityNotFound, 21, EKEYREVOKED)           \
  V(IdentityDisabled, 21, EKEYREVOKED)           \
  V(KeyRevoked, 21, EKEYREVOKED)                 \
  V(WrongKey, 22, EKEYREJECTED)                  \
  V(WrongPassphrase, 22, EKEYREJECTED)           \
  V(PassphraseRequired, 22, ENOKEY)              \
  V(PlatformKeyMissing, 22, ENOKEY)              \
  V(MemoryLockFailed, 1, ENOMEM)                 \
  V(OutOfMemory, 1, ENOMEM)                      \
  V(NoSpace, 30, ENOSPC)                         \
  V(IoError, 31, EIO)                            \
  V(ShortDevice, 31, EIO)                        \
  V(RestoreMismatch, 31, EIO)                    \
  V(ReadOnly, 32, EROFS)                         \
  V(JobFailed, 31, EIO)                          \
  V(DamageFound, 40, EIO)                        \
  V(Interrupted, 1, EINTR)

// What went wrong, by its stable name.
enum class ErrorCode : std::uint16_t {
#define VAULTFS_V(name, exit_code, errno_value) name,
  VAULTFS_ERROR_CODES(VAULTFS_V)
#undef VAULTFS_V
};

// The stable name, as printed in `vaultctl: NAME: …`.
[[nodiscard]] std::string_view error_name(ErrorCode code) noexcept;

// The process exit code of a command that ends with this error.
[[nodiscard]] int error_exit_code(ErrorCode code) noexcept;

// The errno (positive) that a caller of the mounted filesystem sees.
[[nodiscard]] int error_errno(ErrorCode code) noexcept;

// True for every error that means stored bytes are not what was written (exit code 10 or 11).
[[nodiscard]] bool is_integrity_error(ErrorCode code) noexcept;

// The error for an errno that a system call left. Unknown values become IoError.
[[nodiscard]] ErrorCode error_from_errno(int errno_value) noexcept;

}  // namespace vaultfs
