# Runs one test script for at most SECONDS, then asks it to end (its trap unmounts) before it is killed. The long forms get
# an hour and more. Where that is allowed, each test has a mount namespace of its own: some tests start a process in another
# namespace, and a copy of a neighbour's mount there would keep its disk alive when the neighbour has it cut off or unmounts it.
#   run.sh SECONDS SCRIPT [ARGUMENT…]
set -euo pipefail
seconds=$1
shift
[[ ${VAULTFS_TEST_LONG:-} == 1 ]] && seconds=$((seconds + 5400))
alone=()
unshare -m --propagation slave true 2>/dev/null && alone=(unshare -m --propagation slave)
exec timeout --signal=TERM --kill-after=45 "$seconds" "${alone[@]}" bash "$@"
