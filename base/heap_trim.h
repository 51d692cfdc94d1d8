#pragma once

#include <cstdint>

namespace vaultfs {

// Gives memory that was freed back to the system: glibc keeps what lies between blocks in use (malloc_trim(3)), which
// after a load can be more than all that is in use. One thread calls look() now and then; it does something only when
// the process has grown since.
class HeapTrim {
 public:
  // True if it gave memory back. Takes some milliseconds then, and a read of /proc/self/statm otherwise.
  bool look();

 private:
  std::uint64_t bytes_after_trim_ = 0;  // of resident memory after the last time
};

}  // namespace vaultfs
