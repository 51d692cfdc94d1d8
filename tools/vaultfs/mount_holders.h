#pragma once

#include <string>

namespace vaultfs {

// What keeps a file system alive that is not mounted in this namespace any more, as words behind "still": "mounted on
// /there", "mounted in another mount namespace, that of process 12 (sh)", "in use by process 12 (sh), which has a file
// in it open". Empty: nothing that may be looked at from here. `device` is the file system's, MAJOR:MINOR. Asks /proc,
// never the file system itself. Starts short-lived children: for programs with one thread.
[[nodiscard]] std::string holder_of_file_system(const std::string& device);

}  // namespace vaultfs
