"""The demo corpus: recorded speech from Debian packages, ten attacks on it, one trial table.

`build` makes it, `audit` checks that trivial features do not give the answer away.
"""

from aasist_lib.corpora.demo.attacks import ATTACKS, KNOWN_ATTACKS, TTS_ATTACKS, UNSEEN_ATTACKS
from aasist_lib.corpora.demo.builder import BuildReport, build
from aasist_lib.corpora.demo.leaks import LeakError, audit
from aasist_lib.corpora.demo.packages import SourceError

__all__ = [
    "ATTACKS",
    "KNOWN_ATTACKS",
    "TTS_ATTACKS",
    "UNSEEN_ATTACKS",
    "BuildReport",
    "LeakError",
    "SourceError",
    "audit",
    "build",
]
