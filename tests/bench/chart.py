"""An SVG bar chart of the ratios: one bar a row, vaultfs's distance from 1, and its target as a line."""
import html
import math

WIDTH, LABEL, BAR, STEP = 1100, 560, 420, 22


def svg(rows):
    """The rows that have a ratio, on a logarithmic axis, because twice as fast and half as fast are equally far from equal."""
    rows = [row for row in rows if row.ratio]
    widest = max([2.0] + [value for row in rows for value in (row.ratio, 1 / row.ratio, row.target or 1)])
    scale = BAR / 2 / math.log(widest)

    def place(value):
        return LABEL + BAR / 2 + scale * math.log(value)

    height = 50 + STEP * len(rows)
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
             '<text x="10" y="20" font-size="14">How often vaultfs is as fast (or as small) as its peer; the mark is the target</text>']
    for number, row in enumerate(rows):
        top = 34 + STEP * number
        start, end = sorted((place(1), place(row.ratio)))
        colour = "#c0392b" if row.verdict == "MISSED" else "#2e86c1" if row.ratio >= 1 else "#7f8c8d"
        lines.append(f'<text x="{LABEL - 8}" y="{top + 13}" text-anchor="end">{html.escape(f"{row.what}: {row.peer}")}</text>')
        lines.append(f'<rect x="{start:.1f}" y="{top + 3}" width="{max(1, end - start):.1f}" height="{STEP - 8}" fill="{colour}"/>')
        lines.append(f'<text x="{LABEL + BAR + 12}" y="{top + 13}">{row.ratio:.2f}</text>')
        if row.target:
            lines.append(f'<path d="M{place(row.target):.1f} {top} v{STEP - 2}" stroke="black" stroke-width="2"/>')
    lines.append(f'<path d="M{place(1):.1f} 30 V{height - 12}" stroke="#333" stroke-dasharray="3 3"/></svg>')
    return "\n".join(lines) + "\n"
