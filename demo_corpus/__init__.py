"""The demo corpus: recorded speech from Debian packages, ten attacks on it, one trial table.

`build` makes it, `audit` checks that trivial features do not give the answer away.
"""

from demo_corpus.attacks import ATTACKS, KNOWN_ATTACKS, TTS_ATTACKS, UNSEEN_ATTACKS
from demo_corpus.builder import BuildReport, build
from demo_corpus.leaks import LeakError, audit
from demo_corpus.packages import SourceError

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
