#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vaultfs {

// The candidate that `word` was probably meant to be: one that differs in few letters, counted as missing, added, wrong
// or exchanged with their neighbours. Empty if none is near, or two are equally near.
[[nodiscard]] std::string closest_word(std::string_view word, const std::vector<std::string>& candidates);

// "; did you mean X?", or nothing.
[[nodiscard]] std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace vaultfs
