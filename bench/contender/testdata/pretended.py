"""A fake contender without kernels, for the tests of package contender."""
import os

import lines


class Session:
    def run(self, code):
        if code == "raise":
            raise ValueError("as asked")
        if code == "die":
            os._exit(3)
        print("output of a library, which is not an answer")
        return code.upper(), b"\x89PNG" if code == "plot" else None

    def close(self):
        pass


lines.serve(Session)
