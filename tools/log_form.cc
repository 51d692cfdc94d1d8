#include "tools/log_form.h"

#include <spdlog/pattern_formatter.h>

#include <ctime>
#include <string>
#include <string_view>

#include "base/visible_text.h"

namespace vaultfs {
namespace {

class VisibleMessage final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm& /*time*/, spdlog::memory_buf_t& out) override {
    const std::string text = visible_text({message.payload.data(), message.payload.size()});
    out.append(text.data(), text.data() + text.size());
  }
  [[nodiscard]] std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<VisibleMessage>();
  }
};

}  // namespace

std::unique_ptr<spdlog::formatter> make_log_form() {
  auto form = std::make_unique<spdlog::pattern_formatter>();
  // As spdlog writes by itself, but for the message.
  form->add_flag<VisibleMessage>('*').set_pattern("[%Y-%m-%d %H:%M:%S.%e] [%n] [%^%l%$] %*");
  return form;
}

}  // namespace vaultfs
