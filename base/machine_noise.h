#pragma once

#include "base/bytes.h"

namespace vaultfs {

// Takes the exclusive-or of the first bytes of `out`, up to 16, with numbers of the processor's own generator, where it
// has one, and with the time. It makes random bytes no less random, and different where the kernel's generator is not:
// a virtual machine that goes on twice from one snapshot has that generator twice, until it is seeded anew (at once
// where the hypervisor gives a generation id, else within a minute). By itself it is not secret. Never fails;
// thread-safe.
void mix_in_machine_noise(MutableByteView out) noexcept;

}  // namespace vaultfs
