#pragma once

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"

namespace vaultfs {

// What VAULT/checkpoints/N.checkpoint holds, as the content of its stream (docs/format.md, section 9): the state that
// the journal built up to `cut`, so that older journals may go.
struct Checkpoint {
  ContainerNumber replay_from;  // first journal to replay
  Lsn cut;                      // the sections hold every entry up to it
  Generation predecessor_head;  // newest head when the checkpoint was made; 0: none yet, in a vault that is made
  Bytes catalogue;
  Bytes tree;  // of the layer above

  [[nodiscard]] Bytes encode() const;
  // DamagedCheckpoint.
  [[nodiscard]] static Result<Checkpoint> decode(ByteView content);
};

}  // namespace vaultfs
