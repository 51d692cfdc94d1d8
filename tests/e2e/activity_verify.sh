# activity --verify: the log checked by itself. Removed, changed and cut off records are found and named, with keys; and
# without keys what checksums and numbers tell.
. "$(dirname "$0")/lib.sh"
new_vault
random_file "$scratch/disk" 1M
for _ in 1 2 3; do # each command opens the vault, so that each entry of it starts a file
  ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
  head -c 1K /dev/urandom >>"$scratch/disk"
  ctl key rewrap "$vault" >/dev/null
done
cp -a "$vault" "$scratch/whole"
whole_again() {
  rm -rf "$vault"
  cp -a "$scratch/whole" "$vault"
}
mapfile -t files < <(cd "$vault" && printf '%s\n' activity/*.activity)
entries=$(jctl '.activities | length' activity "$vault")
[[ ${#files[@]} -ge 4 && $entries -ge 6 ]] || fail "too small a log: ${#files[@]} files, $entries entries"

# damaged [--keyless]: DamageFound, and the JSON form in $scratch/report.
damaged() {
  expect_error DamageFound 40 "$vaultctl" activity "$vault" --verify "$@"
  "$vaultctl" --json activity "$vault" --verify "$@" </dev/null >"$scratch/json" 2>/dev/null || true
  jq -se '.[0]' "$scratch/json" >"$scratch/report"
}
first_damage() { jq -r '.damage[0] | "\(.file) \(.entry)"' "$scratch/report"; }
flip() { # FILE OFFSET: another byte than was there
  local byte
  byte=$(od -An -tu1 -j "$2" -N 1 "$vault/$1")
  printf "\\x$(printf %02x $((byte ^ 255)))" | dd of="$vault/$1" bs=1 seek="$2" conv=notrunc status=none
}
# The number of the first entry of FILE (the sequence field of its first record, docs/format.md 2.2).
first_entry() { od -An -tu8 -j $((160 + 16)) -N 8 "$vault/$1" | tr -d ' '; }

say "nothing is damaged, mounted or not, with keys or without"
assert_eq "$(jctl '"\(.authenticated) \(.entries) \(.damage | length)"' activity "$vault" --verify)" "true $entries 0"
assert_eq "$(jctl '"\(.authenticated) \(.entries) \(.damage | length)"' activity "$vault" --verify --keyless)" "false $entries 0"
ctl activity "$vault" --verify | grep -q 'No damage' || fail "not said in words"
ctl activity "$vault" --verify --keyless | grep -q 'not authenticated' || fail "not said in words"
expect_error Usage 2 "$vaultctl" activity "$vault" --keyless
if [[ -c /dev/fuse && $EUID == 0 ]]; then
  mount_vault
  jctl '.authenticated and (.damage | length == 0)' activity "$vault" --verify >/dev/null
  unmount_vault
  rm -rf "$scratch/whole"
  cp -a "$vault" "$scratch/whole"
fi
mapfile -t files < <(cd "$vault" && printf '%s\n' activity/*.activity)
middle=${files[${#files[@]} / 2]}
middle_entry=$(first_entry "$middle")

say "a file that is removed"
rm "$vault/$middle"
damaged
assert_eq "$(first_damage)" "$middle $middle_entry"
damaged --keyless
assert_eq "$(first_damage)" "$middle $middle_entry"

say "a changed byte in a record"
whole_again
flip "$middle" $((160 + 100))
damaged
assert_eq "$(jq -r '.damage[0].entry' "$scratch/report")" "$middle_entry"
damaged --keyless
assert_eq "$(jq -r '.damage[0].entry' "$scratch/report")" "$middle_entry"

say "a file that is cut off, the last one too"
whole_again
truncate -s 160 "$vault/$middle"
damaged
assert_eq "$(jq -r '.damage[0].entry' "$scratch/report")" "$middle_entry"
whole_again
last=${files[-1]}
truncate -s $(($(stat -c %s "$vault/$last") - 8)) "$vault/$last"
damaged
assert_eq "$(jq -r '.damage[0].file' "$scratch/report")" "$last"
damaged --keyless
whole_again
rm "$vault/$last"
damaged
damaged --keyless

say "the first file"
whole_again
rm "$vault/${files[0]}"
damaged
assert_eq "$(first_damage)" "${files[0]} 1"

say "a file that somebody put in another's place: found with keys"
whole_again
cp "$vault/${files[0]}" "$vault/$middle"
damaged
[[ $(jq -r '.damage[0].file' "$scratch/report") == "$middle" ]] || fail "$(cat "$scratch/report")"

say "two places are both told"
whole_again
rm "$vault/${files[1]}"
flip "$last" $((160 + 100))
damaged
[[ $(jq '.damage | length' "$scratch/report") -ge 2 ]] || fail "$(cat "$scratch/report")"

say "whole again, nothing is found; and no check changed anything"
whole_again
ctl activity "$vault" --verify >/dev/null
ctl activity "$vault" --verify --keyless >/dev/null
