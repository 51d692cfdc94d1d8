#pragma once

#include <string>
#include <string_view>

namespace vaultfs {

// Text as a terminal or a log may have it, whoever chose it: names of items, of files in them, of keys, what a key
// service answered, paths. Everything that is not to be seen as itself is written as \xNN, byte by byte: control
// characters (newlines and the C1 set too), invalid UTF-8, and what changes the order or the place of other characters
// (bidirectional embeddings, overrides, isolates and marks; line and paragraph separators; invisible ones but for the
// two joiners, which words of some languages need). What is printable stays, a backslash too, so that doing it twice
// changes nothing.
[[nodiscard]] std::string visible_text(std::string_view text);

// Whether it is UTF-8 throughout (RFC 3629), as JSON wants it.
[[nodiscard]] bool is_utf8(std::string_view text);

}  // namespace vaultfs
