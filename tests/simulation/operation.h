#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vaultfs::sim {

// What can be done in a history; the words are those of its text. `a` to `e` are the arguments, in that order.
#define VAULTFS_SIM_OPERATIONS(V)                                                                      \
  /* Files: item, file, then what it is about. */                                                      \
  V(write)    /* item file offset length seed; seed 0: zeros */                                        \
  V(append)   /* item file length seed */                                                              \
  V(truncate) /* item file size */                                                                     \
  V(punch)    /* item file offset length */                                                            \
  V(zero)     /* item file offset length: grows the file */                                            \
  V(rename)   /* item file other mode: 0 replaces, 1 exchanges */                                      \
  V(unlink)   /* item file */                                                                          \
  V(link)     /* item file other: a second name of the file, where there is none */                    \
  V(copy)     /* item file other offset length: by copy_range, to the same offset of the other */      \
  V(read)     /* item file */                                                                          \
  V(fsync)    /* item file */                                                                          \
  V(sync_all)                                                                                          \
  /* Points. */                                                                                        \
  V(commit)  /* item */                                                                                \
  V(backup)  /* item file size seed: of an image with two runs of data */                              \
  V(restore) /* which: a point, counted from the newest */                                             \
  V(checkpoint)                                                                                        \
  V(reencrypt) /* 1: without grace */                                                                  \
  V(verify)                                                                                            \
  V(beside) /* what item operations: while so many operations more are done, in another thread */      \
  /* Sessions. */                                                                                      \
  V(close)                                                                                             \
  V(kill)       /* kill -9 */                                                                          \
  V(power_loss) /* mode seed: 0 drops what was not synced, 1 keeps it, 2 as the seed says */           \
  V(reader)     /* machine: opens beside the owner, reads all, leaves */                               \
  V(second_owner)                                                                                      \
  V(machine) /* number: the one that opens the vault from now on */                                    \
  /* Keys. */                                                                                          \
  V(rotate) /* the key gets a version */                                                               \
  V(refresh)                                                                                           \
  V(new_epoch)                                                                                         \
  V(rewrap)          /* 1: drops the Retiring ones */                                                  \
  V(disable_retired) /* the key vault's owner believes what the vault says */                          \
  V(disable_early)   /* a Retiring one */                                                              \
  V(revoke)          /* the Active one */                                                              \
  V(allow)           /* every version that was disabled early or revoked, and the key vault answers */ \
  V(outage)                                                                                            \
  V(deny)                                                                                              \
  V(late) /* calls: so many succeed, then an outage */                                                 \
  /* Faults. */                                                                                        \
  V(break_after) /* steps mode seed: the power goes after so many more steps of the disk */            \
  V(fail_sync)   /* count */                                                                           \
  V(fail_write)  /* count */                                                                           \
  V(full_disk)   /* bytes that are left */                                                             \
  V(free_disk)                                                                                         \
  V(clock)      /* seconds on */                                                                       \
  V(clock_back) /* seconds: the wall clock alone */                                                    \
  /* Attacks, on the vault at rest; everything is put back afterwards. */                              \
  V(keep_copy) /* the attacker keeps the vault as it is */                                             \
  V(old_copy)  /* which: puts a kept copy in the vault's place */                                      \
  V(old_file)  /* which file: of a kept copy, one file */                                              \
  V(branch)    /* which seed: goes on from a kept copy on another machine, puts that in its place */   \
  V(exchange)  /* seed: two files of one folder */                                                     \
  V(rot)       /* seed count: bits of stored files */                                                  \
  V(lose)      /* seed: a file */                                                                      \
  V(cut)       /* seed: a file is cut short */                                                         \
  V(plant)     /* seed: a file under another number */

enum class Kind : std::uint8_t {
#define VAULTFS_SIM_V(name) name,
  VAULTFS_SIM_OPERATIONS(VAULTFS_SIM_V)
#undef VAULTFS_SIM_V
};

[[nodiscard]] std::string_view name_of(Kind kind) noexcept;

// One step of a history, as data: all that chance decides was decided when it was made, so that taking other steps away
// does not change it.
struct Operation {
  Kind kind = Kind::read;
  std::uint64_t a = 0, b = 0, c = 0, d = 0, e = 0;
  bool operator==(const Operation&) const = default;

  // "write 0 1 4096 300 17"
  [[nodiscard]] std::string text() const;
  [[nodiscard]] static std::optional<Operation> parse(std::string_view line);
};

}  // namespace vaultfs::sim
