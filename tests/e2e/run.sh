# Runs one test script for at most SECONDS, then asks it to end (its trap unmounts) before it is killed. The long forms get
# an hour and more.
#   run.sh SECONDS SCRIPT [ARGUMENT…]
set -euo pipefail
seconds=$1
shift
[[ ${VAULTFS_TEST_LONG:-} == 1 ]] && seconds=$((seconds + 5400))
exec timeout --signal=TERM --kill-after=45 "$seconds" bash "$@"
