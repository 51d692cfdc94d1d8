#include "crypto/keyvault/kmip/client.h"

#include <algorithm>
#include <utility>

#include "base/thread/mutex.h"
#include "base/thread/thread.h"

namespace vaultfs {
namespace {

// A refresh needs one connection; a second is for whoever asks at the same time.
constexpr std::size_t kIdleLimit = 2;
// Of an answer: a Locate may name kKmipObjectLimit objects with identifiers of kKmipIdLimit bytes, the others are
// small.
constexpr std::size_t kLocateLimitBytes = std::size_t{256} * 1024;
constexpr std::size_t kAnswerLimitBytes = std::size_t{16} * 1024;

static_assert(kKmipObjectLimit * (kTtlvHeaderBytes + kKmipIdLimit) < kLocateLimitBytes);

std::string reason_text(KmipReason reason) {
  const auto value = static_cast<std::uint32_t>(reason);
  const std::array<std::byte, 2> low{static_cast<std::byte>(value >> 8U & 0xffU),
                                     static_cast<std::byte>(value & 0xffU)};
  return "reason 0x" + to_hex(low);
}

ErrorCode refusal_code(KmipReason reason) {
  switch (reason) {
    case KmipReason::item_not_found:
      return ErrorCode::KeyVersionNotFound;
    case KmipReason::authentication_not_successful:
    case KmipReason::permission_denied:
    case KmipReason::attestation_required:
    case KmipReason::attestation_failed:
      return ErrorCode::KeyVaultDenied;
    case KmipReason::object_archived:
      return ErrorCode::KeyVersionDisabled;
    case KmipReason::invalid_message:
    case KmipReason::operation_not_supported:
    case KmipReason::invalid_field:
    case KmipReason::feature_not_supported:
    case KmipReason::object_already_exists:
      return ErrorCode::NotSupportedByProvider;
    default:
      return ErrorCode::KeyVaultUnavailable;
  }
}

// What the caller of a provider sees of an error of the connection.
Error outage(Error error) {
  if (error.code == ErrorCode::TryAgain) error.code = ErrorCode::KeyVaultUnavailable;
  return error;
}

}  // namespace

KmipClient::KmipClient(Env& env, KmipSettings settings, KmipRetryPlan retry)
    : env_(env), settings_(std::move(settings)), retry_(retry) {}

Error KmipClient::refusal_error(KmipOperation operation, const KmipRefusal& refusal) {
  return {refusal_code(refusal.reason), "the KMIP server refuses " + std::string(kmip_operation_name(operation)) +
                                            " (" + reason_text(refusal.reason) +
                                            "): " + (refusal.message.empty() ? "it gives no reason" : refusal.message)};
}

// --- connections ---

std::unique_ptr<KmipConnection> KmipClient::take_idle() {
  while (true) {
    std::unique_ptr<KmipConnection> taken;
    {
      const MutexLock lock(mutex_);
      if (idle_.empty()) return nullptr;
      taken = std::move(idle_.back());
      idle_.pop_back();
    }
    if (taken->is_usable()) return taken;
  }
}

void KmipClient::keep(std::unique_ptr<KmipConnection> connection) {
  const MutexLock lock(mutex_);
  if (idle_.size() < kIdleLimit) idle_.push_back(std::move(connection));
}

Status KmipClient::pause(const Error& error, const KmipDeadline& deadline, unsigned& retries_left) const {
  if (error.code != ErrorCode::TryAgain || retries_left == 0) return outage(error);
  const unsigned before = retry_.retries - retries_left--;
  const std::chrono::milliseconds length = retry_.first_pause * (std::int64_t{1} << before);
  if (length >= deadline.remaining()) return outage(error);
  sleep_for(length);
  return ok_status();
}

Result<std::unique_ptr<KmipConnection>> KmipClient::connect(const KmipDeadline& deadline, unsigned& retries_left) {
  while (true) {
    auto connection = KmipConnection::open(env_, settings_, deadline);
    if (connection.ok()) return connection;
    VAULTFS_RETURN_IF_ERROR(pause(connection.error(), deadline, retries_left));
  }
}

Result<SecretBuffer> KmipClient::exchange(ByteView request, std::size_t limit, Repeat repeat,
                                          const KmipDeadline& deadline) {
  unsigned retries_left = retry_.retries;
  std::unique_ptr<KmipConnection> connection = take_idle();
  bool kept = connection != nullptr;
  while (true) {
    if (!connection) {
      VAULTFS_ASSIGN_OR_RETURN(connection, connect(deadline, retries_left));
    }
    auto answer = connection->exchange(request, limit, deadline);
    if (answer.ok()) {
      keep(std::move(connection));
      return answer;
    }
    connection.reset();
    if (repeat == Repeat::never) return outage(answer.error());
    // A connection that was kept from an earlier request may have broken since: that is no failure of the server yet.
    if (kept && answer.code() == ErrorCode::TryAgain) {
      kept = false;
      continue;
    }
    VAULTFS_RETURN_IF_ERROR(pause(answer.error(), deadline, retries_left));
  }
}

Result<KmipClient::Reply> KmipClient::ask(KmipOperation operation, const Result<TtlvWriter>& request,
                                          const KmipDeadline& deadline) {
  if (!request.ok()) return request.error();
  const std::size_t limit = operation == KmipOperation::locate ? kLocateLimitBytes : kAnswerLimitBytes;
  const Repeat repeat = operation == KmipOperation::create ? Repeat::never : Repeat::if_unanswered;
  Reply reply;
  VAULTFS_ASSIGN_OR_RETURN(reply.message, exchange(request->view(), limit, repeat, deadline));
  VAULTFS_ASSIGN_OR_RETURN(reply.answer, decode_kmip_answer(reply.message.view(), operation));
  return reply;
}

Result<KmipClient::Reply> KmipClient::demand(KmipOperation operation, const Result<TtlvWriter>& request,
                                             const KmipDeadline& deadline) {
  VAULTFS_ASSIGN_OR_RETURN(Reply reply, ask(operation, request, deadline));
  if (reply.answer.refusal) return refusal_error(operation, *reply.answer.refusal);
  return reply;
}

// --- operations ---

Result<std::vector<std::string>> KmipClient::locate(const std::optional<std::string>& name,
                                                    const KmipDeadline& deadline) {
  auto reply = ask(KmipOperation::locate, kmip_locate_request(name), deadline);
  if (!reply.ok()) return reply.error();
  if (reply->answer.refusal) {
    // Some servers answer so instead of with an empty list.
    if (reply->answer.refusal->reason == KmipReason::item_not_found) return std::vector<std::string>{};
    return refusal_error(KmipOperation::locate, *reply->answer.refusal);
  }
  return decode_kmip_located(reply->answer.payload);
}

Result<KmipAttributes> KmipClient::attributes(const std::string& id, const KmipDeadline& deadline) {
  VAULTFS_ASSIGN_OR_RETURN(const Reply reply,
                           demand(KmipOperation::get_attributes, kmip_get_attributes_request(id), deadline));
  return decode_kmip_attributes(reply.answer.payload, id);
}

Result<std::string> KmipClient::create(const std::string& name, const KmipDeadline& deadline) {
  VAULTFS_ASSIGN_OR_RETURN(const Reply reply, demand(KmipOperation::create, kmip_create_request(name), deadline));
  return decode_kmip_created(reply.answer.payload);
}

Status KmipClient::activate(const std::string& id, const KmipDeadline& deadline) {
  VAULTFS_ASSIGN_OR_RETURN(const Reply reply, demand(KmipOperation::activate, kmip_activate_request(id), deadline));
  return decode_kmip_done(reply.answer.payload, id);
}

Status KmipClient::destroy(const std::string& id, const KmipDeadline& deadline) {
  VAULTFS_ASSIGN_OR_RETURN(const Reply reply, demand(KmipOperation::destroy, kmip_destroy_request(id), deadline));
  return decode_kmip_done(reply.answer.payload, id);
}

Result<KmipSealed> KmipClient::encrypt(const std::string& id, ByteView additional_data, ByteView plaintext,
                                       const KmipDeadline& deadline) {
  KmipIv iv{};
  env_.fill_random(iv);
  VAULTFS_ASSIGN_OR_RETURN(
      const Reply reply,
      demand(KmipOperation::encrypt, kmip_encrypt_request(id, iv, additional_data, plaintext), deadline));
  return decode_kmip_encrypted(reply.answer.payload, id, iv, plaintext.size());
}

Result<KmipDecrypted> KmipClient::decrypt(const std::string& id, ByteView additional_data, const KmipSealed& sealed,
                                          const KmipDeadline& deadline) {
  VAULTFS_ASSIGN_OR_RETURN(Reply reply,
                           ask(KmipOperation::decrypt, kmip_decrypt_request(id, sealed, additional_data), deadline));
  KmipDecrypted decrypted;
  if (reply.answer.refusal) {
    decrypted.refusal = std::move(reply.answer.refusal);
    return decrypted;
  }
  VAULTFS_ASSIGN_OR_RETURN(decrypted.plaintext,
                           decode_kmip_decrypted(reply.answer.payload, id, sealed.ciphertext.size()));
  return decrypted;
}

}  // namespace vaultfs
