# A disk with 0 to 96 MiB free: each verb succeeds, or says NoSpace and has given back what it took; what makes room always
# works from the reserve on; and nothing of that harms what was there.
. "$(dirname "$0")/lib.sh"
need_fuse
need_loop
need mkfs.ext4 fallocate
steps=(0 24 72 96)
[[ ${VAULTFS_TEST_LONG:-} == 1 ]] && steps=($(seq 0 4 96))
small_disk 256M -O ^has_journal
disk=$scratch/disk
new_vault
random_file "$scratch/base" 24M
random_file "$scratch/new" 48M
random_file "$scratch/small" 2M
ctl backup run "$vault" vm --disk "d=$scratch/base" >/dev/null

available() { echo $(($(stat -f -c '%a * %S' "$disk"))); }
# What the vault's own reserve keeps is no loss.
room() { echo $(($(available) + $(allocated_by "$vault"/reserve-*.tmp))); }
allocated_by() { { stat -c %b "$@" 2>/dev/null || true; } | awk '{sum += $1 * 512} END {print sum + 0}'; }
leave_free() { # MIB: somebody else takes the rest
  rm -f "$disk/foreign"
  sync -f "$disk"
  local bytes=$(($(available) - ($1 << 20)))
  [[ $bytes -le 0 ]] || fallocate -l "$bytes" "$disk/foreign" 2>/dev/null || { fallocate -l $((bytes - (1 << 20))) "$disk/foreign" && cat /dev/zero >>"$disk/foreign" 2>/dev/null || true; }
}
outcome=
attempt() { # WHAT COMMAND…: success or NoSpace; then nearly all of the room is there that was there before
  local what=$1 before code
  shift
  before=$(room)
  "$@" >"$scratch/out" 2>&1 && code=0 || code=$?
  outcome=done
  [[ $code == 0 ]] && return
  outcome=refused
  [[ $code == 30 ]] && grep -q NoSpace "$scratch/out" || fail "$free MiB free, $what: $code, $(cat "$scratch/out")"
  sync -f "$disk"
  [[ $(room) -ge $((before - (3 << 20))) ]] ||
    fail "$free MiB free, $what: $(((before - $(room)) >> 10)) KiB were not given back: $(cat "$scratch/out")"
}
must() { # WHAT COMMAND…: works with the reserve alone
  attempt "$@"
  [[ $outcome == done ]] || fail "$free MiB free, $1 was refused: $(cat "$scratch/out")"
}

for free in "${steps[@]}"; do
  say "$free MiB free, not mounted"
  leave_free "$free"
  attempt "a backup of something new" ctl backup run "$vault" "new$free" --disk "d=$scratch/new"
  [[ $free -gt 72 || $outcome == refused ]] || fail "48 MiB went into $free, 64 of which are the reserve"
  must "a backup of something known" ctl backup run "$vault" vm --disk "d=$scratch/base"
  must "a rotation" ctl key rotate office/backup
  must "its taking up" ctl encryption refresh "$vault"
  must "a backup under it" ctl backup run "$vault" vm --disk "d=$scratch/base"
  must "verify" ctl verify "$vault"
  must "a restore" ctl restore "$vault" vm --disk d --to "$scratch/restored" --force
  assert_same "$scratch/base" "$scratch/restored"

  say "$free MiB free, mounted"
  leave_free "$((free + 8))"
  if [[ $free -lt 24 ]]; then continue; fi
  mount_vault commit=manual write-buffer=16M
  mkdir -p "$mnt/files"
  attempt "a backup of something new" ctl backup run "$vault" "mounted$free" --disk "d=$scratch/new"
  if cp "$scratch/new" "$mnt/files/big" 2>"$scratch/err" && sync "$mnt/files/big" 2>>"$scratch/err"; then
    assert_same "$scratch/new" "$mnt/files/big"
  else
    grep -q "No space left" "$scratch/err" || fail "cp said: $(cat "$scratch/err")"
  fi
  rm -f "$mnt/files/big" || fail "$free MiB free: rm was refused"
  must "a commit" ctl backup commit "$vault" vm
  must "a rotation" ctl key rotate office/backup
  must "its taking up" ctl encryption refresh "$vault"
  must "a new epoch" ctl key new-epoch "$vault"
  timeout 60 "$umounter" "$mnt" || fail "$free MiB free: umount ended with $?"
done

say "with room again, all is as it should be"
rm -f "$disk/foreign"
ctl backup run "$vault" vm --disk "d=$scratch/base" --disk "s=$scratch/small" >/dev/null
ctl verify "$vault" >/dev/null
ctl restore "$vault" vm --disk d --to "$scratch/restored" --force >/dev/null
assert_same "$scratch/base" "$scratch/restored"
