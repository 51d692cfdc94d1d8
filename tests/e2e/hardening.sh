# The built programs are hardened (docs/decisions/0016-hardened-builds.md): what the linker and the compiler were asked for is in them.
. "$(dirname "$0")/lib.sh"
need readelf
need python3

for program in "$vaultfs" "$vaultctl" "$umounter"; do
  name=${program##*/}
  say "$name: position-independent, bound at its start, its tables read-only, no executable stack"
  assert_match "$(readelf -h "$program")" 'Type: +DYN' "$name is no PIE"
  assert_match "$(readelf -dW "$program")" 'FLAGS_1\).*NOW.*PIE' "$name is bound lazily, or no PIE"
  segments=$(readelf -lW "$program")
  assert_match "$segments" GNU_RELRO "$name keeps its tables writable"
  assert_match "$(grep GNU_STACK <<<"$segments")" ' RW +0' "$name has an executable stack"
  if grep -Eq 'LOAD .* (RWE|WE)' <<<"$segments"; then fail "$name has memory that is writable and executable"; fi
  assert_match "$(readelf -sW --dyn-syms "$program")" '__stack_chk_fail|asan|tsan' "$name has no stack protector"

  say "$name: checks of the standard library, zeroed automatics, stack clash protection, control flow protection"
  python3 - "$program" <<'PYTHON'
import platform, re, subprocess, sys

path = sys.argv[1]
content = open(path, "rb").read()
# With assertions every operator[] of the library calls this when it goes wrong.
assert b"__glibcxx_assert_fail" in content, "built without _GLIBCXX_ASSERTIONS"
# g++ notes with each unit how it was compiled. Each of ours must have been compiled so, not one of them.
producers = set(re.findall(rb"GNU C\+\+\d\d [^\0]*", content))
wanted = [b"-ftrivial-auto-var-init=zero", b"-fstack-clash-protection"]
if platform.machine() == "x86_64":
    wanted.append(b"-fcf-protection=full")
for producer in producers:
    for flag in wanted:
        assert flag in producer, f"a unit was built without {flag.decode()}: {producer.decode()}"
if b"GCC: (" in content:
    assert producers, "no notes of the compiler to look at"
if platform.machine() == "x86_64":
    # ENDBR64 at whatever may be the target of an indirect jump.
    marks = content.count(b"\xf3\x0f\x1e\xfa")
    assert marks > 50, f"only {marks} landing places of control flow protection"
PYTHON
done
