# Files that people name may be symbolic links, as Kubernetes and NixOS mount them (file -> ..data/file, ..data -> ..2026/):
# each option that takes one follows them, and holds what it has opened to the same rules as any file.
. "$(dirname "$0")/lib.sh"
need openssl
new_vault
random_file "$scratch/disk" 1M
mounted=$scratch/secrets
mkdir -p "$mounted/..2026_01"
ln -s ..2026_01 "$mounted/..data"
# put NAME: what stdin has, as such a mount shows it. Its path.
put() {
  (umask 077 && cat >"$mounted/..2026_01/$1")
  ln -s "..data/$1" "$mounted/$1"
  echo "$mounted/$1"
}
passphrase=$(echo 'a passphrase' | put passphrase)
openssl genrsa -out "$scratch/escrow.pem" 2048 2>/dev/null
private=$(put private <"$scratch/escrow.pem")
public=$(openssl rsa -in "$scratch/escrow.pem" -pubout 2>/dev/null | put public)

say "passphrases, escrow keys, recovery files, exports, disks"
ctl keyvault create safe --new-passphrase-file "$passphrase" >/dev/null
ctl --passphrase-file "$passphrase" key create safe/k --bits 2048 >/dev/null
ctl --passphrase-file "$passphrase" key export safe/k --to "$scratch/k.pem" --file-passphrase-file "$passphrase" >/dev/null
exported=$(put exported <"$scratch/k.pem")
ctl --passphrase-file "$passphrase" key import safe/again --from "$exported" --file-passphrase-file "$passphrase" >/dev/null
ctl vault create "$scratch/v2" --recovery-file "$scratch/recovery" --recovery-passphrase-file "$passphrase" --escrow-key "$public" >/dev/null 2>&1
recovery=$(put recovery <"$scratch/recovery")
ctl vault recover "$scratch/v2" --recovery-file "$recovery" --passphrase-file "$passphrase" >/dev/null
ctl encryption set "$vault" --escrow-key "$public" >/dev/null
ctl key drill "$vault" --escrow-key-file "$private" >/dev/null
ln -s "$scratch/disk" "$scratch/disk.link"
ctl backup run "$vault" vm --disk "d=$scratch/disk.link" >/dev/null
if [[ -c /dev/fuse ]]; then
  ctl --passphrase-file "$passphrase" vault create "$scratch/v3" --key safe/k >/dev/null 2>&1
  "$vaultfs" "$scratch/v3" "$mnt" -o "log=$log,passphrase-file=$passphrase" </dev/null
  unmount_vault
fi

say "files of key services: what is wrong is the service, which nobody serves here, not the link"
certificate=$(openssl req -x509 -key "$scratch/escrow.pem" -subj /CN=here -days 2 2>/dev/null | put certificate)
token=$(echo 's.token' | put token)
add() { # NAME PROVIDER OPTION…
  local name=$1 provider=$2 words=() option
  shift 2
  for option; do words+=(--option "$option"); done
  ctl keyvault add "$name" --provider "$provider" "${words[@]}" >/dev/null
}
add t1 transit address=https://127.0.0.1:9 "token-file=$token" "ca-file=$certificate"
add t2 transit address=https://127.0.0.1:9 role-id=r "secret-id-file=$token" "client-cert-file=$certificate" "client-key-file=$private"
add k1 kmip address=127.0.0.1:9 "ca-file=$certificate" "client-cert-file=$certificate" "client-key-file=$private"
for name in t1 t2 k1; do
  expect_error KeyVaultUnavailable 20 "$vaultctl" keyvault show "$name"
  grep -Eq "$mounted|symbolic" "$scratch/err" && fail "$name: $(cat "$scratch/err")"
done

say "what a link leads to is held to the rules of its kind"
chmod 644 "$mounted/..2026_01/token"
expect_error PermissionDenied 5 "$vaultctl" keyvault show t1
grep -qF "$token" "$scratch/err" || fail "it does not name the file: $(cat "$scratch/err")"
chmod 666 "$mounted/..2026_01/passphrase"
expect_error PermissionDenied 5 "$vaultctl" --passphrase-file "$passphrase" key create safe/l --bits 2048
chmod 600 "$mounted/..2026_01/passphrase"
ln -sfn ..2027 "$mounted/..data"
expect_error NotFound 3 "$vaultctl" --passphrase-file "$passphrase" key create safe/l --bits 2048
grep -qF "$passphrase" "$scratch/err" || fail "it does not name the file: $(cat "$scratch/err")"
