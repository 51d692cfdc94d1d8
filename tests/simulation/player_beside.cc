// Work in another thread, while the next operations are done: a commit, a re-encryption, a checkpoint.
#include <utility>

#include "tests/simulation/player.h"

namespace vaultfs::sim {

void Player::begin_beside(const Operation& operation) {
  if (!ensure_open()) return;
  const std::string item = kItems.at(operation.b);
  auto beside = std::make_unique<Beside>();
  beside->operations_left = operation.c;
  std::function<Status()> work;
  VaultEngine* const engine = world_.engine.get();
  const auto status_of = [](const auto& result) { return result.ok() ? ok_status() : Status(result.error()); };
  switch (operation.a) {
    case 0:
      beside->what = "commit";
      if (!model_.names().items.contains(item)) return;
      work = [=] { return status_of(engine->commit(item)); };
      break;
    case 1:
      beside->what = "re-encryption";
      work = [=] { return status_of(engine->reencrypt({0, true}, nullptr)); };
      break;
    case 2:
      beside->what = "checkpoint";
      work = [=] { return engine->tree().checkpoint(); };
      break;
    case 3:
      beside->what = "sync";
      work = [=] { return engine->tree().sync_all(); };
      break;
    case 4:
      beside->what = "new epoch and re-encryption";
      work = [=]() -> Status {
        VAULTFS_RETURN_IF_ERROR(engine->vault().custody().new_epoch());
        return status_of(engine->reencrypt({0, true}, nullptr));
      };
      break;
    default:
      beside->what = "refresh";
      work = [=] { return status_of(engine->refresh()); };
      break;
  }
  owing_.clear();
  note(beside->what);
  beside_ = std::move(beside);
  beside_->thread = Thread("beside", [status = &beside_->status, work = std::move(work)] { *status = work(); });
}

void Player::make_way_for(const Operation& operation) {
  if (beside_ == nullptr) return;
  switch (operation.kind) {
    case Kind::write:
    case Kind::append:
    case Kind::truncate:
    case Kind::punch:
    case Kind::zero:
    case Kind::rename:
    case Kind::unlink:
    case Kind::copy:
    case Kind::read:
    case Kind::fsync:
    case Kind::sync_all:
    case Kind::commit:
    case Kind::backup:
    case Kind::checkpoint:
    case Kind::restore:
    case Kind::reader:
    // The death of the process, and what leads to it, comes when it comes.
    case Kind::kill:
    case Kind::power_loss:
    case Kind::break_after:
    case Kind::fail_sync:
    case Kind::fail_write:
      return;
    default:
      return join_beside(true);
  }
}

void Player::join_beside(bool judged) {
  if (beside_ == nullptr) return;
  const std::unique_ptr<Beside> beside = std::move(beside_);
  beside->thread.join();
  if (judged) judge("beside: " + beside->what, beside->status);
}

}  // namespace vaultfs::sim
