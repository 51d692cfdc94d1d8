# A disk of 8 TiB with 3 MiB in it costs what is in it: backed up, backed up again, changed, restored.
. "$(dirname "$0")/lib.sh"
need python3
new_vault
disk=$scratch/giant
truncate -s $(((8 << 40) + 1000)) "$disk" 2>/dev/null || skip "no file of 8 TiB here"
put() { dd if=/dev/urandom of="$disk" bs=1M count=1 seek="$1" conv=notrunc status=none; }
put 0
put 5000000
put 8388607
cat >"$scratch/cost.py" <<'PYTHON'
"""Runs a command: its memory in MiB, and how long it worked, in seconds of the processor."""
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_maxrss // 1024, round(used.ru_utime + used.ru_stime, 1))
PYTHON
costs_little() {
  local memory seconds
  read -r memory seconds < <(python3 "$scratch/cost.py" "$vaultctl" "${@:2}") || fail "$1 failed"
  say "$1: $memory MiB, $seconds s of work"
  sanitized || [[ $memory -lt 120 ]] || fail "$1 took $memory MiB"
}
costs_little "a backup" backup run "$vault" vm --disk "d=$disk"
costs_little "one without a change" backup run "$vault" vm --disk "d=$disk"
[[ $(point_count vm) == 1 ]] || fail "nothing had changed"
costs_little "a restore" restore "$vault" vm --disk d --to "$scratch/restored"
put 4000000
costs_little "one after a change" backup run "$vault" vm --disk "d=$disk"
[[ $(point_count vm) == 2 ]] || fail "a change was not seen"
fallocate -p -o 0 -l 1M "$disk"
costs_little "one after a hole was punched" backup run "$vault" vm --disk "d=$disk"
[[ $(point_count vm) == 3 ]] || fail "a hole was not seen"
costs_little "another restore" restore "$vault" vm --disk d --to "$scratch/restored" --force
cat >"$scratch/same.py" <<'PYTHON'
import os, sys


def content(path):
    """Where data is, and what, hole by hole."""
    file, at, found = os.open(path, os.O_RDONLY), 0, {}
    size = os.fstat(file).st_size
    while at < size:
        try:
            at = os.lseek(file, at, os.SEEK_DATA)
        except OSError:
            break
        end = os.lseek(file, at, os.SEEK_HOLE)
        for page in range(at // 4096, (end + 4095) // 4096):
            data = os.pread(file, 4096, page * 4096)
            if data.strip(b"\0"):
                found[page] = data
        at = end
    return size, found


assert content(sys.argv[1]) == content(sys.argv[2]), "the restored disk has other bytes"
PYTHON
python3 "$scratch/same.py" "$disk" "$scratch/restored"
[[ $(($(stat -c '%b * %B' "$scratch/restored"))) -lt $((16 << 20)) ]] || fail "the restored disk is not sparse"
