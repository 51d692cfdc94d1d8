# Names that a guest or a stranger chose never reach a terminal or a log as they are: nothing that a program of ours writes has a
# control character in it but its newlines, nor one that changes the order of others, nor bytes that are no UTF-8.
. "$(dirname "$0")/lib.sh"
need_fuse
new_vault
say "there is one place where vaultctl prints (text_output.h: say, tell, print_json)"
printing=$(cd "$source_dir/tools/vaultctl" && grep -rlE '\b(printf|fprintf|puts|fputs)\(|std::c(out|err)\b' --include='*.cc' --include='*.h' . | sed 's#^./##' | sort | tr '\n' ' ')
assert_eq "$printing" "text_output.cc text_output.h " "another file prints by itself"
outputs=$scratch/outputs
: >"$outputs"
# Runs a command, whatever comes of it, and keeps all that it writes.
keep() { "$@" >>"$outputs" 2>&1 </dev/null || true; }

escape=$'\e[2J\e]0;owned\a' c1=$'\xc2\x9b2J\xc2\x9d' bidi=$'gpj.\u202eexe\u2066' broken=$'\xff\x9b' lines=$'two\nlines'
mount_vault settle=1
expect_errno EINVAL mkdir "$mnt/${escape//\//}"
items=("c1 $c1" "bidi $bidi" "broken $broken")
files=("esc $escape" "c1 $c1" "bidi $bidi" "broken $broken" "lines $lines")
for item in "${items[@]}"; do
  mkdir "$mnt/$item"
  for file in "${files[@]}"; do random_file "$mnt/$item/$file" 20K; done
  mkdir "$mnt/$item/sub $escape"
  keep "$vaultctl" backup commit "$vault" "$item"
done
for form in "" --json; do
  keep "$vaultctl" $form recovery-point list "$vault"
  keep "$vaultctl" $form job list "$vault"
  keep "$vaultctl" $form activity "$vault"
  keep "$vaultctl" $form vault show "$vault"
  for item in "${items[@]}" "none $escape"; do
    keep "$vaultctl" $form recovery-point list "$vault" "$item"
    keep "$vaultctl" $form restore "$vault" "$item" --disk "none $escape$bidi" --to "$scratch/never"
    keep "$vaultctl" $form restore "$vault" "$item@$escape" --to "$scratch/never"
    keep "$vaultctl" $form restore "$vault" "$item" --to "$scratch/back $escape$c1$broken$lines$form"
    keep "$vaultctl" $form backup commit "$vault" "$item$escape"
    keep "$vaultctl" $form backup run "$vault" "$item" --disk "x$escape=$scratch/none $bidi"
  done
  keep "$vaultctl" $form key list "office/$escape"
  keep "$vaultctl" $form key disable "office/backup/$bidi$escape"
  keep "$vaultctl" $form keyvault show "$c1$escape"
  keep "$vaultctl" $form vault show "$scratch/none $escape$c1$bidi$lines"
  keep "$vaultctl" $form --passphrase-file "$scratch/$escape" key rotate office/backup
  keep "$vaultctl" $form "no command $escape"
done
keep "$vaultfs" "$vault" "$scratch/no mount point $escape" -o "log=$log"
keep "$vaultfs" "$scratch/none $escape" "$mnt" -o "log=$log"
unmount_vault

say "damage names files of the guest's in verify and in the log"
python3 - "$vault/segments" <<'PYTHON'
import pathlib, sys
for path in pathlib.Path(sys.argv[1]).iterdir():
    content = bytearray(path.read_bytes())
    for at in range(5000, len(content) - 500, 7000):
        content[at] ^= 1
    path.write_bytes(content)
PYTHON
mount_vault
for item in "${items[@]}"; do
  for file in "${files[@]}"; do cat "$mnt/$item/$file" >/dev/null 2>&1 || true; done
  keep "$vaultctl" verify "$vault"
  keep "$vaultctl" --json verify "$vault"
  keep "$vaultctl" restore "$vault" "$item" --to "$scratch/damaged $form"
done
unmount_vault

say "all of it is harmless, and JSON reads as the names are"
[[ $(wc -l <"$outputs") -gt 100 ]] || fail "too little was written: the test looks at nothing"
python3 - "$outputs" "$log" "$VAULTFS_HOME" <<'PYTHON'
import pathlib, re, sys

harmful = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
paths = [pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])]
paths += [path for path in pathlib.Path(sys.argv[3]).rglob("audit*") if path.is_file()]
for path in paths:
    text = path.read_bytes().decode("utf-8")  # strictly
    for line in text.split("\n"):
        found = harmful.search(line)
        assert found is None, f"{path}: {line!r}"
shown = paths[0].read_text()
assert "\\x1b[2J" in shown and "\\xe2\\x80\\xae" in shown, "no hostile name was written at all"
PYTHON
names=$(ctl --json recovery-point list "$vault" | jq -r '[.recovery_points[].item] | unique | .[]')
grep -Fqx "c1 $c1" <<<"$names" || fail "JSON changes a name: $names"
grep -Fqx "bidi $bidi" <<<"$names" || fail "JSON changes a name: $names"
