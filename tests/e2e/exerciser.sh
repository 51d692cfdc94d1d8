# Random file operations against the same on a trusted file system (file_exerciser.cc), in both cache modes, with small
# write buffers, remounts and kill-free restarts between, a commit now and then, and the last point compared at the end.
. "$(dirname "$0")/lib.sh"
need_fuse
exerciser=${1:?the file_exerciser program}
rounds=6 operations=2500
[[ ${VAULTFS_TEST_LONG:-} == 1 ]] && rounds=25 operations=20000
new_vault
mkdir "$scratch/model"
seed=${VAULTFS_TEST_SEED:-$(date +%s)}
say "seed $seed"

for round in $(seq "$rounds"); do
  options=(commit=manual)
  case $((round % 3)) in
  0) options+=(cache=writeback) ;;
  1) options+=(write-buffer=16M) ;;
  esac
  mount_vault "${options[@]}"
  mkdir -p "$mnt/vm"
  # Two files at once: the write buffer and the journal are theirs together.
  "$exerciser" "$mnt/vm/a" "$scratch/model/a" "$((seed + 2 * round))" "$operations" &
  first=$!
  "$exerciser" "$mnt/vm/b" "$scratch/model/b" "$((seed + 2 * round + 1))" "$operations" || fail "file b, round $round (${options[*]})"
  wait "$first" || fail "file a, round $round (${options[*]})"
  if [[ $((round % 2)) == 0 ]]; then ctl backup commit "$vault" vm >/dev/null; fi
  unmount_vault
done

mount_vault commit=manual
for name in a b; do assert_same "$scratch/model/$name" "$mnt/vm/$name"; done
ctl backup commit "$vault" vm >/dev/null
for name in a b; do assert_same "$scratch/model/$name" "$mnt/.recovery-points/vm/$(newest_point vm)/$name"; done
unmount_vault
ctl verify "$vault" >/dev/null
