"""scripts/check-docs finds each kind of flaw in a markdown page and lets everything else pass."""
import pathlib
import subprocess
import sys
import tempfile

CHECK = pathlib.Path(__file__).parent.parent.parent / "scripts" / "check-docs"
OTHER = "# Other page\n\n## The `second` heading\n\n## Twice\n\n## Twice\n\n    ## In code\n"
# what a page says, the complaint that it must bring (None: none)
CASES = [
    ("a [link](other.md) and [one](other.md#the-second-heading)\n", None),
    ("[the second of two](other.md#twice-1), [a source](../store/a.cc), [a folder](../store)\n", None),
    ("[elsewhere](https://example.org/nothing#here), [by mail](mailto:a@example.org)\n", None),
    ("## Here\n\n[here](#here)\n", None),
    ("[gone](gone.md)\n", "leads nowhere"),
    ("[no heading](other.md#third)\n", "no such heading"),
    ("[a third](other.md#twice-2)\n", "no such heading"),
    ("[code](other.md#in-code)\n", "no such heading"),
    ("[here](#there)\n", "no such heading"),
    ("[out](../../../etc/passwd)\n", "out of the repository"),
    ("`[no link](gone.md)`\n", None),
    ("```\n[no link](gone.md)\n" + "x" * 300 + "\n```\n", None),
    ("text\n\n    " + "x" * 300 + "\n", None),
    ("- item\n\n    " + "x" * 300 + "\n", "a line of 304"),
    ("x" * 160 + "\n", None),
    ("x" * 161 + "\n", "a line of 161"),
    ("ä" * 160 + "\n", None),
    ("| a | b |\n| --- | --- |\n| " + "x" * 200 + " | " + "y" * 200 + " |\n", None),
    ("| a | b |\n| --- | --- |\n| x | " + "y" * 201 + " |\n", "a cell of 201"),
    ("| a |\n| --- |\n| " + "x" * 150 + r" \| " + "y" * 150 + " |\n", "a cell of 304"),
    ("[x](other.md)\n[" + "x" * 170 + "](other.md)\n", None),
]


def run(directory):
    return subprocess.run([sys.executable, CHECK, directory], capture_output=True, text=True)


wrong = []
for page, complaint in CASES:
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        for name, content in {"docs/page.md": page, "docs/other.md": OTHER, "store/a.cc": "\n"}.items():
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text(content)
        result = run(directory)
        fits = result.returncode == 0 if complaint is None else result.returncode != 0 and complaint in result.stdout
        if not fits or (complaint and "docs/page.md:" not in result.stdout):
            wrong.append(f"{page[:60]!r}: exit code {result.returncode}: {result.stdout}{result.stderr}")
with tempfile.TemporaryDirectory() as directory:
    if run(directory).returncode == 0:
        wrong.append("an empty directory passes")
    (pathlib.Path(directory) / "CHANGELOG.md").write_text("short\n")
    if "needs no exception" not in run(directory).stdout:
        wrong.append("an exception that nothing needs passes")
    (pathlib.Path(directory) / "CHANGELOG.md").write_text("x" * 200 + "\n")
    if run(directory).returncode != 0:
        wrong.append("an exception has no effect")
    (pathlib.Path(directory) / "CHANGELOG.md").write_text("x" * 1000 + "\n")
    if run(directory).returncode == 0:
        wrong.append("an exception has no bound")
if wrong:
    sys.exit("\n".join(wrong))
