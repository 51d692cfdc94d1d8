# verify: finds a flipped byte, a missing and a truncated file, with and without keys; repairs nothing; the undamaged stays
# readable and the damaged is never other bytes.
. "$(dirname "$0")/lib.sh"
new_vault
random_file "$scratch/one" 3M
random_file "$scratch/two" 3M
ctl backup run "$vault" one --disk "d=$scratch/one" >/dev/null
ctl backup run "$vault" two --disk "d=$scratch/two" >/dev/null

say "a sound vault"
ctl verify "$vault" | grep -q 'No damage found'
ctl verify "$vault" --keyless | grep -q 'not authenticated'
assert_eq "$(jctl '.authenticated' verify "$vault")" true
assert_eq "$(ctl --json verify "$vault" --keyless | jq .authenticated)" false
assert_eq "$(jctl '.recovery_points' verify "$vault")" 2
fingerprint=$(jctl .fingerprint vault show "$vault")
(cd "$vault" && find . -type f ! -name vault.lock -print0 | sort -z | xargs -0 sha256sum) >"$scratch/sums"
cp -a "$vault" "$scratch/sound"
cp -a "$VAULTFS_HOME" "$scratch/sound-home"
put_back_vault() { rm -rf "$vault"; cp -a "$scratch/sound" "$vault"; }
# With the pin: a verify that finds damaged content has it remembered, and that moves the head.
restore_sound() { put_back_vault; rm -rf "$VAULTFS_HOME"; cp -a "$scratch/sound-home" "$VAULTFS_HOME"; }

flip() { # FILE OFFSET: changes one bit
  python3 - "$1" "$2" <<'PY'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2])); byte = f.read(1)[0]
    f.seek(int(sys.argv[2])); f.write(bytes([byte ^ 1]))
PY
}
# Restores give what was backed up, or fail; they never give other bytes.
check_restores() {
  local item good=0 code
  for item in one two; do
    rm -f "$scratch/back"
    code=0
    "$vaultctl" restore "$vault" "$item" --to "$scratch/back" </dev/null >/dev/null 2>"$scratch/err" || code=$?
    if [[ $code == 0 ]]; then
      assert_same "$scratch/$item" "$scratch/back"
      good=$((good + 1))
    else
      grep -Eq '^vaultctl: [A-Za-z]+: ' "$scratch/err" || fail "no named error: $(cat "$scratch/err")"
      [[ $code == 10 || $code == 11 || $code == 31 ]] || fail "exit code $code: $(cat "$scratch/err")"
    fi
  done
  echo "$good"
}

say "a flipped bit in a segment: DamageFound with and without keys, the other item stays readable"
segment=$(find "$vault/segments" -name '*.seg' -size +2M | sort | head -n 1)
flip "$segment" 1000000
expect_error DamageFound 40 "$vaultctl" verify "$vault"
expect_error DamageFound 40 "$vaultctl" verify "$vault" --keyless
expect_error DamageFound 40 "$vaultctl" --json verify "$vault"
assert_eq "$(jq -s length "$scratch/out")" 1 "objects on stdout"
jq -es --arg f "segments/$(basename "$segment")" '.[0].damage | any(.file == $f)' "$scratch/out" >/dev/null ||
  fail "the damaged segment is not named: $(cat "$scratch/out")"
assert_eq "$(check_restores)" 1 "items that can still be restored"
restore_sound
(cd "$vault" && sha256sum --quiet -c "$scratch/sums")

say "one bit in each kind of file; verify changes nothing"
for kind in vault.header keyrings heads segments journal checkpoints points activity; do
  file=$(find "$vault/$kind" -type f -size +0 | sort | tail -n 1)
  [[ -n $file ]] || continue
  for place in 20 50; do
    size=$(stat -c %s "$file")
    flip "$file" $((size * place / 100))
    sha256sum "$file" >"$scratch/flipped"
    code=0
    "$vaultctl" verify "$vault" </dev/null >"$scratch/out" 2>"$scratch/err" || code=$?
    [[ $code != 0 ]] || fail "a flipped bit at $place % of $file was not found"
    grep -Eq '^vaultctl: [A-Za-z]+: ' "$scratch/err" || fail "no named error: $(cat "$scratch/err")"
    sha256sum --quiet -c "$scratch/flipped" || fail "verify changed $file"
    check_restores >/dev/null
    restore_sound
  done
done

say "a missing segment, a truncated one, one that was swapped for another, an unknown file"
mapfile -t segments < <(find "$vault/segments" -name '*.seg' | sort)
rm "${segments[0]}"
expect_error DamageFound 40 "$vaultctl" verify "$vault" --keyless
check_restores >/dev/null
restore_sound
truncate -s -4096 "${segments[0]}"
expect_error DamageFound 40 "$vaultctl" verify "$vault" --keyless
check_restores >/dev/null
restore_sound
if [[ ${#segments[@]} -ge 2 ]]; then
  mv "${segments[0]}" "$scratch/x"
  mv "${segments[1]}" "${segments[0]}"
  mv "$scratch/x" "${segments[1]}"
  expect_error DamageFound 40 "$vaultctl" verify "$vault" --keyless
  check_restores >/dev/null
  restore_sound
fi
: >"$vault/segments/notes.txt"
expect_error DamageFound 40 "$vaultctl" verify "$vault"
restore_sound

say "an older state of the vault put back is a rollback"
head -c 1M /dev/urandom >"$scratch/three"
ctl backup run "$vault" three --disk "d=$scratch/three" >/dev/null
put_back_vault
expect_error RollbackDetected 11 "$vaultctl" vault show "$vault"
expect_error RollbackDetected 11 "$vaultctl" restore "$vault" one --to "$scratch/never"
expect_error RollbackDetected 11 "$vaultctl" backup run "$vault" one --disk "d=$scratch/one"
say "accepted by name, it works on"
expect_error RollbackDetected 11 "$vaultctl" vault trust "$vault" --fingerprint "$fingerprint"
ctl vault trust "$vault" --fingerprint "$fingerprint" --accept-older >/dev/null
ctl backup run "$vault" three --disk "d=$scratch/three" >/dev/null
assert_eq "$(check_restores)" 2
ctl verify "$vault" >/dev/null

say "the index is derived: without it, or with a damaged one, everything is there"
find "$vault/index" -type f -delete
assert_eq "$(check_restores)" 2
ctl backup run "$vault" one --disk "d=$scratch/one" >/dev/null
index=$(find "$vault/index" -type f | head -n 1)
if [[ -n $index ]]; then
  flip "$index" $(($(stat -c %s "$index") / 2))
  expect_error DamageFound 40 "$vaultctl" verify "$vault"
  assert_eq "$(check_restores)" 2
fi

say "files that are there by their names alone are told of, and keep nobody from working"
rm -f "$vault"/index/*
planted=(points/fffffffffffffffe.point segments/00000000ffffffff.open activity/ffffffffffffffff.activity
  checkpoints/fffffffffffffffe.checkpoint keyrings/fffffffffffffffe.keyring heads/fffffffffffffffe.head
  index/fffffffffffffffe.index)
for file in "${planted[@]}"; do : >"$vault/$file"; done
random_file "$scratch/four" 1M
ctl backup run "$vault" four --disk "d=$scratch/four" >/dev/null
ctl key rewrap "$vault" >/dev/null
ctl restore "$vault" four --to "$scratch/back-four" >/dev/null
assert_same "$scratch/four" "$scratch/back-four"
assert_eq "$(check_restores)" 2
before=$(jctl '.entries' activity "$vault" --verify)
ctl backup run "$vault" five --disk "d=$scratch/four" >/dev/null
(($(jctl '.entries' activity "$vault" --verify) > before)) || fail "the activity log has fallen silent"
expect_error DamageFound 40 "$vaultctl" verify "$vault"
"$vaultctl" verify "$vault" </dev/null >"$scratch/found" 2>&1 || true
for file in "${planted[@]}"; do
  [[ $file == activity/* || $file == *.open ]] || grep -qF "$file" "$scratch/found" || fail "$file is not told of"
  rm "$vault/$file"
done
ctl verify "$vault" >/dev/null

say "an index of another branch of the vault keeps no content from being stored"
random_file "$scratch/six" 1M
cp -a "$vault" "$scratch/before" && cp -a "$VAULTFS_HOME" "$scratch/home-before"
ctl backup run "$vault" six --disk "d=$scratch/six" >/dev/null
mv "$vault" "$scratch/branch"
rm -rf "$VAULTFS_HOME"
mv "$scratch/before" "$vault" && mv "$scratch/home-before" "$VAULTFS_HOME"
random_file "$scratch/seven" 1M # makes a segment of the number and length of the branch's
ctl backup run "$vault" seven --disk "d=$scratch/seven" >/dev/null
rm "$vault"/index/*
cp "$scratch"/branch/index/* "$vault/index/"
assert_eq "$(jctl '.new_chunks' backup run "$vault" six --disk "d=$scratch/six")" 1
rm -f "$scratch/back-six"
ctl restore "$vault" six --to "$scratch/back-six" >/dev/null
assert_same "$scratch/six" "$scratch/back-six"
