"""docs/cli.md lists every error name of base/error_code.h with its exit code, and no other."""
import pathlib
import re
import sys

root = pathlib.Path(__file__).parent.parent.parent
header = (root / "base" / "error_code.h").read_text()
in_code = dict(re.findall(r"^\s*V\((\w+), (\d+), E\w+\)", header, re.M))
manual = (root / "docs" / "cli.md").read_text()
section = manual.split("## Exit codes", 1)[1].split("\n## ", 1)[0]
in_manual = {}
for code, names in re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]*) \|$", section, re.M):
    for name in re.findall(r"`(\w+)`", names):
        if name in in_manual:
            sys.exit(f"docs/cli.md lists {name} twice")
        in_manual[name] = code
if len(in_code) < 50:
    sys.exit("base/error_code.h has another form than this test reads")
wrong = [f"{name}: {in_code.get(name, 'not')} in base/error_code.h, {in_manual.get(name, 'not')} in docs/cli.md"
         for name in sorted(in_code.keys() | in_manual.keys()) if in_code.get(name) != in_manual.get(name)]
if wrong:
    sys.exit("\n".join(wrong))
print(f"{len(in_code)} errors are documented")
