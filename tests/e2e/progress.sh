# The progress line: totals that are right, in terminals of any width, and nothing of it where there is none.
. "$(dirname "$0")/lib.sh"
need python3
new_vault
random_file "$scratch/disk" 500M
random_file "$scratch/second" 100M
truncate -s 900M "$scratch/second" # its rest is a hole
cat >"$scratch/in_terminal.py" <<'PYTHON'
# in_terminal.py COLUMNS-OF-TERMINAL WIDTH TOTAL COMMAND…: runs it in a terminal; every line is shorter than WIDTH, TOTAL (if any)
# is what it says of all, shares do not fall.
import fcntl, os, pty, re, struct, sys, termios
columns, width, total, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.execv(command[0], command)
seen = b""
while True:
    try:
        piece = os.read(terminal, 65536)
    except OSError:
        break
    if not piece: break
    seen += piece
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, seen
assert b"\x1b" not in seen, seen
drawn = [line.strip(" \b") for line in seen.decode().split("\r") if "%" in line]
for line in drawn:
    assert len(line) < width, f"{line!r} wraps at {width}"
    if width >= 80 and total: assert f" of {total} (" in line, f"{line!r} does not say {total}"
shares = [int(re.search(r"(\d+) %", line)[1]) for line in drawn]
assert shares == sorted(shares) and (not shares or shares[-1] <= 100), shares
print(len(drawn))
PYTHON
in_terminal() { python3 "$scratch/in_terminal.py" "$@"; }

say "a backup of two disks, one with a hole; restores into terminals of several widths"
lines=$(in_terminal 80 80 "1.4 GiB" "$vaultctl" backup run "$vault" vm --disk "a=$scratch/disk" --disk "b=$scratch/second")
for width in 20 40 80; do
  lines=$((lines + $(in_terminal "$width" "$width" "1.4 GiB" "$vaultctl" restore "$vault" vm --to "$scratch/restored.$width/")))
  COLUMNS=$width in_terminal 0 "$width" "" "$vaultctl" verify "$vault" >/dev/null
  rm -r "$scratch/restored.$width"
done
[[ $lines -gt 0 ]] || say "(this machine is too fast for any progress to show)"
in_terminal 0 80 "1.4 GiB" "$vaultctl" restore "$vault" vm --to "$scratch/restored/" >/dev/null

say "no terminal: no line, no control character"
ctl restore "$vault" vm --to "$scratch/again/" >"$scratch/out" 2>"$scratch/err"
if LC_ALL=C grep -q '[^[:print:][:space:]]' "$scratch/out" "$scratch/err" || grep -q $'\r' "$scratch/out" "$scratch/err"; then
  fail "it printed: $(cat "$scratch/out" "$scratch/err")"
fi
