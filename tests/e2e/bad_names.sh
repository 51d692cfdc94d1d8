# Names with slashes, newlines, 300 characters, leading dots and dashes: refused by name, and nothing is made.
. "$(dirname "$0")/lib.sh"
new_vault
random_file "$scratch/disk" 64K
long=$(printf 'n%.0s' {1..300})
newline=$'two\nlines'
# What a name could have made: everything but the files that opening a vault writes anyway.
made() { (cd "$scratch" && find home vault | grep -Ev 'vault/(activity|heads|keyrings|journal|checkpoints|index|segments)/|vault/reserve-|/pins/|home/attempts' | sort); }
made >"$scratch/before"

say "key vaults and keys"
for name in "a/b" "$newline" "$long" "" "." ".." "-x" "with blank" $'tab\t' "ünïcode" "../../etc"; do
  expect_error 'InvalidName|NameTooLong|Usage' 2 "$vaultctl" keyvault create -- "$name"
  expect_error 'InvalidKeyRef|InvalidName|NameTooLong|Usage' 2 "$vaultctl" key create -- "office/$name"
  expect_error 'InvalidKeyRef|InvalidName|NameTooLong|Usage' 2 "$vaultctl" key rotate -- "$name/backup"
done
expect_error InvalidKeyRef 2 "$vaultctl" key list office/backup/1/2
expect_error InvalidKeyRef 2 "$vaultctl" key disable 'office/backup/no version'
expect_error KeyVersionNotFound '' "$vaultctl" key disable office/backup/not-a-version

say "items"
for name in "a/b" "$newline" "$long" "." ".." ".hidden" "-dash" "with@at" $'bell\a'; do
  expect_error 'InvalidName|NameTooLong|Usage' 2 "$vaultctl" backup run --disk "d=$scratch/disk" -- "$vault" "$name"
  expect_error 'InvalidName|NameTooLong|ItemNotFound|Usage' '' "$vaultctl" backup commit -- "$vault" "$name"
  expect_error 'InvalidName|NameTooLong|ItemNotFound|RecoveryPointNotFound|Usage' '' \
    "$vaultctl" restore --to "$scratch/never" -- "$vault" "$name"
done

say "disks"
for name in "a/b" "." ".." "$long"; do
  expect_error 'InvalidName|NameTooLong' 2 "$vaultctl" backup run "$vault" vm --disk "$name=$scratch/disk"
done

say "nothing was made by any of it"
made | diff "$scratch/before" - || fail "refused names left something"
assert_eq "$(point_count)" 0
[[ ! -e $scratch/never ]] || fail "a refused restore made a file"

say "odd names that are allowed work everywhere"
# shellcheck disable=SC2016 # a dollar sign in a name
for name in "ein Fünfer" "it's" '$HOME' 'a*b' "$(printf 'i%.0s' {1..128})" $'\xff\xfe'; do
  ctl backup run "$vault" "$name" --disk "d=$scratch/disk" >/dev/null
  rm -f "$scratch/back"
  ctl restore "$vault" "$name" --to "$scratch/back" >/dev/null
  assert_same "$scratch/disk" "$scratch/back"
done
ctl recovery-point list "$vault" >/dev/null
assert_eq "$(point_count)" 6
cp "$scratch/disk" "$scratch/disk with = sign.img"
ctl backup run "$vault" signs --disk "d=$scratch/disk with = sign.img" >/dev/null

say "a path with blanks, commas and newlines for vault and mount point"
odd=$scratch/$'o,d d\nvault'
new_vault "$odd"
ctl backup run "$odd" vm --disk "d=$scratch/disk" >/dev/null
if [[ -c /dev/fuse ]]; then
  odd_mount=$scratch/$'m,o u\nnt'
  mkdir "$odd_mount"
  "$vaultfs" "$odd" "$odd_mount" -o "log=$log"
  assert_same "$scratch/disk" "$odd_mount/vm/d"
  timeout 60 "$umounter" "$odd_mount"
  if mountpoint -q "$odd_mount"; then fail "it is still mounted"; fi
fi

say "names that are no UTF-8: as they are in a mounted vault too, and in JSON by their bytes"
if [[ -c /dev/fuse ]]; then
  mount_vault commit=manual
  ctl backup run "$vault" bytes --disk $'caf\xe9'="$scratch/disk" >/dev/null
  assert_same "$scratch/disk" "$mnt/bytes/"$'caf\xe9'
  many=()
  for i in {1..70}; do many+=(--disk "d$i=$scratch/disk"); done
  ctl backup run "$vault" many "${many[@]}" >/dev/null
  assert_eq "$(ls "$mnt/many" | wc -l)" 70
  unmount_vault
fi
