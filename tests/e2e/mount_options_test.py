"""docs/operations.md describes every -o option of `vaultfs --help`, and no other."""
import pathlib
import re
import sys

root = pathlib.Path(__file__).parent.parent.parent
usage = (root / "tools" / "mount_options.cc").read_text().split('R"(', 1)[1].split(')"', 1)[0]
offered = set(re.findall(r"^  -o ([\w-]+)", usage, re.M))
table = (root / "docs" / "operations.md").read_text().split("## Mount options", 1)[1].split("\n## ", 1)[0]
described = set(re.findall(r"^\| `([\w-]+)", table, re.M))
if len(offered) < 10:
    sys.exit("tools/mount_options.cc has another form than this test reads")
if offered != described:
    sys.exit(f"not described: {sorted(offered - described)}; described but not there: {sorted(described - offered)}")
print(f"{len(offered)} options are described")
