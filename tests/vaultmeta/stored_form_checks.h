#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <optional>

#include "base/bytes.h"

namespace vaultfs {

// Decodes stored bytes and encodes the outcome again; nothing if the decoder refused them.
using Recode = std::function<std::optional<Bytes>(ByteView)>;

// A decoder must give back what was encoded, refuse every shorter input and every input with something behind it, and
// of input with one bit changed either refuse it or take it for exactly what it says (there is one form for each
// value).
inline void check_stored_form(const Bytes& stored, const Recode& recode) {
  const std::optional<Bytes> same = recode(stored);
  ASSERT_TRUE(same.has_value());
  EXPECT_EQ(*same, stored);
  for (std::size_t size = 0; size < stored.size(); ++size) {
    EXPECT_FALSE(recode(ByteView(stored).first(size)).has_value()) << "cut to " << size;
  }
  Bytes longer = stored;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(recode(longer).has_value());
  for (std::size_t bit = 0; bit < stored.size() * 8; ++bit) {
    Bytes flipped = stored;
    flipped[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const std::optional<Bytes> taken = recode(flipped);
    if (taken.has_value()) {
      EXPECT_EQ(*taken, flipped) << "bit " << bit;
    }
  }
}

}  // namespace vaultfs
