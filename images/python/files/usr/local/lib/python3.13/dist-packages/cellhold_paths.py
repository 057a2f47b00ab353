"""Adds a note to errors about paths of other services: it names the folder to use here.

Models write code for the folders of the service that they know best: /mnt/data/x.csv, sandbox:/mnt/data/x.csv,
/content, /kaggle/working. Most of these folders are links in the image. If a path still fails, the exception that
ends the cell gets a note. Its type and its text stay unchanged, whichever library raised it.
"""

import errno
import os
import re

from IPython.core.interactiveshell import InteractiveShell

PREFIXES = ("/mnt/data", "/mnt/user-data", "/content", "/kaggle", "/home/sandbox")
CHAT = "sandbox:"  # the prefix of links in a chat; it is no part of the path
KEPT, WORK, DATA = "/mnt/data/output", "/workspace", "/mnt/data"
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
ABOUT_FILES = ("No such file", "not exist", "non-existent", "denied", "Read-only", "unable to open")
PATH = re.compile(r"(?:sandbox:)?(?:%s)(?![\w-])[^\s'\",;:)\]]*" % "|".join(PREFIXES))
LONGEST = 4096  # characters of an exception's text that are searched for a path
DEEPEST = 8     # exceptions of one chain that are checked


def install():
    exc_info = InteractiveShell._get_exc_info

    def exc_info_with_note(self, exc_tuple=None):
        info = exc_info(self, exc_tuple)
        try:
            advise(info[1])
        except Exception:
            pass  # the code of a user's exception can fail at every access
        return info

    InteractiveShell._get_exc_info = exc_info_with_note


def advise(raised):
    """Adds a note to an exception if it, or one of its causes, is about a path of another service."""
    cause = raised
    for _ in range(DEEPEST):
        if cause is None:
            return
        if path := failed_path(cause):
            note = advice(path, getattr(cause, "errno", None) in REFUSED)
            if note not in getattr(raised, "__notes__", ()):
                raised.add_note(note)
            return
        cause = cause.__cause__ or cause.__context__


def failed_path(error):
    """Returns the path of another service that an exception is about, or None."""
    if isinstance(error, OSError):
        for name in (error.filename, error.filename2):
            if isinstance(name, (str, bytes, os.PathLike)):
                return foreign(os.fsdecode(name))
    text = str(error)[:LONGEST]
    if isinstance(error, OSError) or any(word in text for word in ABOUT_FILES):
        if found := PATH.search(text):
            return foreign(found[0].rstrip("."))
    return None


def foreign(path):
    """Returns the path if it belongs to another service, else None."""
    plain = path.removeprefix(CHAT)
    if plain == path and (path + "/").startswith(KEPT + "/"):
        return None
    return path if any((plain + "/").startswith(prefix + "/") for prefix in PREFIXES) else None


def advice(path, refused):
    plain = path.removeprefix(CHAT)
    if refused:
        return f"Note: this folder cannot be written. Write to {KEPT}, whose files are kept, or to {WORK}."
    within = next(prefix for prefix in PREFIXES if (plain + "/").startswith(prefix + "/"))
    for name in (plain[len(within):].strip("/"), os.path.basename(plain)):
        for folder in (KEPT, WORK, DATA):
            there = os.path.join(folder, name)
            if name and there != path and os.path.isfile(there):
                return f"Note: the file is {there}."
    return f"Note: read files from {DATA}, {KEPT} or {WORK}. Write to {KEPT}, whose files are kept, or to {WORK}."
