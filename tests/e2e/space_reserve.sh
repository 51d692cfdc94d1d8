# Not a byte left, not an inode left, a quota that nobody tells of: what must work works out of the vault's reserve, mounted
# and not; what is refused says what is short and has given back what it took; and with room again all is as it was.
. "$(dirname "$0")/lib.sh"
need_fuse
need_loop
need mkfs.ext4 mkfs.btrfs btrfs fallocate
random_file "$scratch/base" 6M
random_file "$scratch/new" 12M
disk=$scratch/disk

disk_for() { # KIND: a disk of its own, on which that can run short
  rm -f "$scratch/disk.img"
  mkdir -p "$disk"
  case $1 in
    bytes) truncate -s 192M "$scratch/disk.img" && mkfs.ext4 -q -F -m 0 "$scratch/disk.img" && mount -o loop,noatime "$scratch/disk.img" "$disk" ;;
    inodes) truncate -s 192M "$scratch/disk.img" && mkfs.ext4 -q -F -m 0 -N 256 "$scratch/disk.img" && mount -o loop,noatime "$scratch/disk.img" "$disk" ;;
    tmpfs) mount -t tmpfs -o size=192M,nr_inodes=256 none "$disk" ;;
    quota)
      truncate -s 400M "$scratch/disk.img"
      mkfs.btrfs -q -M "$scratch/disk.img" >/dev/null
      mount -o loop,noatime "$scratch/disk.img" "$disk" 2>/dev/null || return # a kernel without it
      btrfs quota enable "$disk"
      btrfs subvolume create "$disk/of" >/dev/null
      vault=$disk/of/vault
      return
      ;;
  esac
  vault=$disk/vault
}
run_short() { # others take all that is left
  sync -f "$vault"
  case $kind in
    quota) btrfs qgroup limit "$(btrfs qgroup show -re --raw -F "$disk/of" | awk 'END {print $2}')" "$disk/of" ;;
    inodes) (i=0; while : >"$disk/foreign.$i"; do i=$((i + 1)); done) 2>/dev/null || true ;;
    *) cat /dev/zero >"$disk/foreign" 2>/dev/null || true ;;
  esac
  sync -f "$vault"
}
relieve() {
  [[ $kind != quota ]] || btrfs qgroup limit none "$disk/of"
  rm -f "$disk"/foreign*
}
# What the vault's disk has for it: room, and what its reserve keeps.
room() {
  sync -f "$vault"
  case $kind in
    quota) echo $((-$(btrfs qgroup show -re --raw -F "$disk/of" | awk 'END {print $2}') + $(reserve_bytes))) ;;
    inodes) echo $((($(stat -f -c %d "$disk") + $(ls "$vault"/reserve-* 2>/dev/null | wc -l)) << 16)) ;;
    *) echo $(($(stat -f -c '%a * %S' "$disk") + $(reserve_bytes))) ;;
  esac
}
reserve_bytes() { stat -c %b "$vault"/reserve-*.tmp 2>/dev/null | awk '{sum += $1 * 512} END {print sum + 0}'; }
works() { "$@" >"$scratch/out" 2>&1 || fail "$kind, $*: $?, $(cat "$scratch/out")"; }
# Says NoSpace, names what is short, and takes nothing but 1 MiB of the vault's own records (or 4 files).
refused() {
  local before
  before=$(room)
  expect_error NoSpace 30 "$@"
  case $kind in
    inodes) grep -Eq 'inodes|quota' "$scratch/err" ;;
    quota) grep -Eiq 'quota' "$scratch/err" ;;
    *) grep -q 'full' "$scratch/err" ;;
  esac || fail "$kind: it does not name what is short: $(cat "$scratch/err")"
  [[ $(room) -ge $((before - (1 << 20))) ]] || fail "$kind: $(($(room) - before)) after $*: $(cat "$scratch/err")"
}

spent_by=
for kind in bytes inodes tmpfs quota; do
  disk_for "$kind" || continue
  new_vault
  ctl backup run "$vault" vm --disk "d=$scratch/base" >/dev/null
  assert_eq "$(jctl .reserve.whole vault show "$vault")" true "$kind: the reserve"
  assert_eq "$(ls "$vault"/reserve-*.tmp | wc -l)" 32
  ctl verify "$vault" >/dev/null
  ctl verify "$vault" --keyless >/dev/null

  say "$kind, not mounted"
  run_short
  refused ctl backup run "$vault" other --disk "d=$scratch/new"
  works ctl key rotate office/backup
  works ctl encryption refresh "$vault"
  works ctl backup run "$vault" vm --disk "d=$scratch/base"
  works ctl verify "$vault"
  works ctl restore "$vault" vm --disk d --to "$scratch/restored" --force
  assert_same "$scratch/base" "$scratch/restored"
  relieve
  works ctl encryption refresh "$vault"
  assert_eq "$(jctl .reserve.whole vault show "$vault")" true "$kind: the reserve, with room again"

  say "$kind, mounted"
  mount_vault commit=manual write-buffer=16M
  head -c 3M "$scratch/new" >"$mnt/vm/more"
  sync "$mnt/vm/more"
  works ctl backup commit "$vault" vm
  echo "the last of it" >"$mnt/vm/small"
  run_short
  rm "$mnt/vm/more" || fail "$kind: rm was refused"
  works ctl backup commit "$vault" vm
  works ctl key rotate office/backup
  works ctl encryption refresh "$vault"
  works ctl backup commit "$vault" vm
  works ctl key new-epoch "$vault"
  refused ctl backup run "$vault" other --disk "d=$scratch/new"
  expect_errno ENOSPC dd if="$scratch/new" of="$mnt/vm/refused" bs=1M conv=fsync
  rm -f "$mnt/vm/refused"
  assert_eq "$(stat -f -c '%a %d' "$mnt")" "0 0" "$kind: what df says"
  spent=$(ctl --json vault show "$vault" | jq -r .reserve.spent)
  relieve
  wait_until 20 eval '[[ $(stat -f -c %d "$mnt") -gt 0 ]]'
  cp "$scratch/new" "$mnt/vm/accepted"
  sync "$mnt/vm/accepted"
  works ctl backup commit "$vault" vm
  if [[ $spent == true ]]; then
    wait_until 10 grep -q 'reserve is being used' "$log"
    wait_until 10 grep -q 'reserve of .* is whole again' "$log"
    spent_by+=" $kind"
  fi
  unmount_vault

  say "$kind, with room again"
  assert_eq "$(jctl .reserve.whole vault show "$vault")" true "$kind: the reserve, in the end"
  ctl verify "$vault" >/dev/null
  works ctl restore "$vault" vm --to "$scratch/all-$kind/"
  assert_same "$scratch/base" "$scratch/all-$kind/d"
  assert_same "$scratch/new" "$scratch/all-$kind/accepted"
  assert_eq "$(cat "$scratch/all-$kind/small")" "the last of it"

  if [[ $kind == bytes ]]; then
    say "a sparse copy of the reserve holds nothing, and is made again"
    cp -a --sparse=always "$vault" "$scratch/copy"
    assert_eq "$(cat "$scratch/copy"/reserve-*.tmp | tr -d '\0' | wc -c)" 0
    assert_eq "$(stat -c %b "$scratch/copy/reserve-00.tmp")" 0
    works ctl vault trust "$scratch/copy" --fingerprint "$(jctl .fingerprint vault show "$vault")"
    works ctl backup run "$scratch/copy" vm --disk "d=$scratch/base"
    [[ $(stat -c %b "$scratch/copy/reserve-00.tmp") -ge 1024 ]] || fail "the copy's reserve takes no room"
  fi
  umount "$disk"
done
[[ $spent_by == *inodes* ]] || fail "nothing was spent where it had to be:$spent_by"
