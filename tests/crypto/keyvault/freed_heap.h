#pragma once

#include <string>

namespace vaultfs {

// While it lives, looks for a text in every block of the ordinary heap that is freed (by operator delete, on any
// thread): what was never wiped there stays, in swap and in core dumps. One at a time.
class FreedHeapWatch {
 public:
  explicit FreedHeapWatch(std::string text);
  FreedHeapWatch(const FreedHeapWatch&) = delete;
  FreedHeapWatch& operator=(const FreedHeapWatch&) = delete;
  ~FreedHeapWatch();

  // How many blocks had it so far.
  [[nodiscard]] static int sightings() noexcept;

 private:
  const std::string text_;
};

}  // namespace vaultfs
