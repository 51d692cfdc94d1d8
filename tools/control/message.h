#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "base/files/file_descriptor.h"
#include "base/result.h"

namespace vaultfs {

inline constexpr std::size_t kMaxMessageBytes = 64U << 20;
inline constexpr std::size_t kMaxDescriptors = 256;  // a disk of a backup is one

// One message of the control socket: a u32 length and that much JSON; descriptors travel with the length and with the
// first bytes of the JSON, some with each (SCM_RIGHTS has a bound). File names are bytes, JSON is UTF-8: a value that
// is none, or begins with U+0001, goes as U+0001 and then a character for each of its bytes, U+0000 to U+00FF.
struct Message {
  nlohmann::json body;
  std::vector<FileDescriptor> descriptors;
};

// Blocks until all is sent. IoError when the peer is gone.
[[nodiscard]] Status send_message(int socket, const nlohmann::json& body, const std::vector<int>& descriptors = {});
// Blocks for one message. NotFound at an orderly end of the stream, InvalidArgument for anything malformed or too
// large.
[[nodiscard]] Result<Message> receive_message(int socket);

// Whether the peer has gone, or sends no more. Does not wait.
[[nodiscard]] bool has_hung_up(int socket);

// An Error as JSON {"error":{"name","message"}}, and back (an unknown name becomes Internal).
[[nodiscard]] nlohmann::json error_to_json(const Error& error);
[[nodiscard]] Error error_from_json(const nlohmann::json& body);

}  // namespace vaultfs
