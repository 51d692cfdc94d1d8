# A directory of many files: making, listing and removing them, and a commit of it all while a program writes 4 KiB at a time
# with fsync. 100,000 files in the long form.
. "$(dirname "$0")/lib.sh"
need_fuse
need python3
count=10000
[[ ${VAULTFS_TEST_LONG:-} == 1 ]] && count=100000
new_vault
mount_vault commit=manual
mkdir "$mnt/vm"
many=$mnt/vm/many

timed() { # NAME COMMAND…
  local name=$1 begin=$EPOCHREALTIME
  shift
  "$@" >"$scratch/timed"
  say "$name of $count files: $(((${EPOCHREALTIME/./} - ${begin/./}) / 1000)) ms"
}
make_files() {
  python3 - "$many" "$count" <<'PYTHON'
import os, sys
os.mkdir(sys.argv[1]), os.chdir(sys.argv[1])
for n in range(int(sys.argv[2])):
    with open(f"file-{n:06}", "wb", buffering=0) as file:
        if n % 10 == 0:
            file.write(b"%d" % n)
PYTHON
}
timed making make_files
timed "ls -f" ls -f "$many"
assert_eq "$(wc -l <"$scratch/timed")" $((count + 2))
timed "ls -l" ls -l "$many"
assert_eq "$(grep -c '^-' "$scratch/timed")" "$count"
timed "du" du -s "$many"
assert_eq "$(cat "$many/file-000010")" 10

say "commits while a program writes and syncs"
cat >"$scratch/writer.py" <<'PYTHON'
import os, sys, time
target, stop = sys.argv[1:]
file = os.open(target, os.O_CREAT | os.O_RDWR)
longest, longest_sync, writes, block = 0.0, 0.0, 0, os.urandom(4096)
while not os.path.exists(stop):
    begin = time.monotonic()
    os.pwrite(file, block, (writes * 7919 % 4096) * 4096)
    written = time.monotonic()
    os.fsync(file)
    longest, longest_sync, writes = max(longest, written - begin), max(longest_sync, time.monotonic() - written), writes + 1
print(f"{longest * 1000:.0f} {longest_sync * 1000:.0f} {writes}")
PYTHON
pauses() { # COMMAND…: leaves in $scratch/pauses what the writer saw while it ran
  python3 "$scratch/writer.py" "$mnt/vm/written" "$scratch/stop" >"$scratch/pauses" &
  local writer=$!
  sleep 1
  "$@"
  sleep 0.5
  touch "$scratch/stop"
  wait "$writer"
  rm "$scratch/stop"
}
three_commits() { for _ in 1 2 3; do ctl backup commit "$vault" vm >/dev/null; done; }
# The promise is 100 ms on a machine that is not busy otherwise; one that is may be so just then, but not each time.
for attempt in 1 2 3 4 5; do
  pauses sleep 2
  read -r quiet quiet_sync writes <"$scratch/pauses"
  say "without a commit: longest write $quiet ms, longest fsync $quiet_sync ms, $writes in all"
  pauses three_commits
  read -r longest longest_sync writes <"$scratch/pauses"
  say "with three commits: longest write $longest ms, longest fsync $longest_sync ms, $writes in all"
  [[ $longest -ge $(((quiet + 200) * time_factor)) ]] || break
  [[ $attempt -lt 5 ]] || fail "a write waited for $longest ms during a commit"
done

say "removing"
point=$mnt/.recovery-points/vm/$(newest_point vm)/many
assert_eq "$(ls -f "$point" | wc -l)" $((count + 2))
timed removing rm -rf "$many"
[[ ! -e $many ]] || fail "the directory is still there"
unmount_vault
