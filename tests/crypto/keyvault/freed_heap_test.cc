#include "tests/crypto/keyvault/freed_heap.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

namespace {

std::atomic<const std::string*> watched{nullptr};
std::atomic<int> seen{0};

void look_and_free(void* block) noexcept {
  const std::string* const text = watched.load();
  if (text != nullptr && block != nullptr &&
      ::memmem(block, ::malloc_usable_size(block), text->data(), text->size()) != nullptr) {
    ++seen;
  }
  std::free(block);
}

}  // namespace

// Replaced for the whole test program ([new.delete.single]); the forms for arrays and with sizes come here too.
// Zeroed to the end of the block, so that what an earlier owner left there is not taken for the later one's.
void* operator new(std::size_t size) {
  void* const block = std::malloc(size == 0 ? 1 : size);
  if (block == nullptr) throw std::bad_alloc();
  return std::memset(block, 0, ::malloc_usable_size(block));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  void* const block = std::malloc(size == 0 ? 1 : size);
  return block == nullptr ? nullptr : std::memset(block, 0, ::malloc_usable_size(block));
}
void operator delete(void* block) noexcept { look_and_free(block); }
void operator delete(void* block, const std::nothrow_t&) noexcept { look_and_free(block); }
void operator delete(void* block, std::size_t) noexcept { look_and_free(block); }

namespace vaultfs {

FreedHeapWatch::FreedHeapWatch(std::string text) : text_(std::move(text)) {
  seen = 0;
  watched = &text_;
}
FreedHeapWatch::~FreedHeapWatch() { watched = nullptr; }
int FreedHeapWatch::sightings() noexcept { return seen; }

namespace {

TEST(FreedHeapWatchTest, SeesWhatIsFreedUnwiped) {
  const std::string text = "a text that is longer than a string object";
  const FreedHeapWatch watch(text.substr(2, 30));
  { const std::string copy = text; }
  EXPECT_EQ(FreedHeapWatch::sightings(), 1);
  {
    std::vector<char> grown;
    for (const char c : text) grown.push_back(c);
  }
  EXPECT_GE(FreedHeapWatch::sightings(), 2);
  const int before = FreedHeapWatch::sightings();
  {
    std::string wiped = text;
    for (char& c : wiped) *static_cast<volatile char*>(&c) = '\0';  // not to be left out as the last use
  }
  EXPECT_EQ(FreedHeapWatch::sightings(), before);
}

}  // namespace

}  // namespace vaultfs
