"""Shows images, HTML and JavaScript of Bash cells, with the functions `display`, `displayHTML` and `displayJS` of
bash_kernel.

Each function saves its standard input to a file and writes a line that names the file. Programs can write such a line
too.
"""

import base64
import os
import re

CAPABILITIES = "NOTEBOOK_BASH_KERNEL_CAPABILITIES"
LINE = "bash_kernel: saved "
_LINE = re.compile(LINE + r"(image|html|javascript) data to: (?:\(([^)]*)\) ?)?(.*?)\r?\n?")
_LARGEST = 16 << 20  # bytes of a file that is shown
_IMAGES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}

FUNCTIONS = "".join(f"""
{name} () {{
    local file
    file=$(mktemp "${{TMPDIR-/tmp}}/bash_kernel.XXXXXXXXXX") && cat > "$file" || return
    echo "{LINE}{kind} data to: ${{1:+($1) }}$file" >&2
}}""" for name, kind in (("display", "image"), ("displayHTML", "html"), ("displayJS", "javascript"))
) + f"\nexport {CAPABILITIES}=image,html,javascript\n"


class Lines:
    """Finds the lines that name files in the text of a stream."""

    def __init__(self):
        self._held = ""

    def split(self, text, last=False):
        """Returns the text without the lines (str), and the lines (list of matches). The beginning of such a line is
        held back until the rest comes, unless this text is the last one."""
        text = self._held + text
        self._held, plain, found = "", [], []
        end = text[text.rfind("\n") + 1 :]
        if LINE not in text and (last or not end or not LINE.startswith(end)):
            return text, found
        for line in text.splitlines(True):
            if match := _LINE.fullmatch(line):
                if last or line.endswith("\n"):
                    found.append(match)
                    continue
            if not last and not line.endswith("\n") and (line.startswith(LINE) or LINE.startswith(line)):
                self._held = line
            else:
                plain.append(line)
        return "".join(plain), found


def content(match):
    """Reads the file that a line names, and returns the content of a display message (dict). It removes a file in the
    folder for temporary files. Raises OSError and ValueError."""
    kind, display_id, path = match.groups()
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # does not wait for the writer of a pipe
        data = file.read(_LARGEST + 1)
    if path.startswith(os.environ.get("TMPDIR", "/tmp")):
        os.unlink(path)
    if len(data) > _LARGEST:
        raise ValueError(f"{path} has more than {_LARGEST} bytes")
    if kind == "image":
        shown = {_image_type(path, data): base64.b64encode(data).decode()}
    else:
        shown = {"text/" + kind: data.decode("utf-8", "replace")}
    message = {"data": shown, "metadata": {}}
    if display_id:
        message["transient"] = {"display_id": display_id}
    return message


def _image_type(path, data):
    for start, name in _IMAGES.items():
        if data.startswith(start):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    raise ValueError(f"{path} is no PNG, JPEG, GIF or WebP image")
