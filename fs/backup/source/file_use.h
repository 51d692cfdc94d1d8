#pragma once

#include <string>

namespace vaultfs {

// Who else uses a file or block device that is open in this process, as far as the kernel tells: "" for nobody, else
// for people, to be put behind "is ". What can't be asked (a file of somebody else's, a file system without locks)
// counts as unused: these are warnings and second looks, no locks.

// Who may be changing it: another process has the file open for writing, a virtual machine runs from it, the device is
// mounted. Nobody for a device that is read-only.
[[nodiscard]] std::string other_writer(int descriptor);

// Who would go on with what is there now if another file got its name: a writer, or anybody who holds a lock on it, as
// each virtual machine does.
[[nodiscard]] std::string other_holder(int descriptor);

// Who holds a lock on it; for a device that this process has for itself.
[[nodiscard]] std::string other_lock(int descriptor);

}  // namespace vaultfs
