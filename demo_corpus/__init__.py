"""The demo corpus: recorded speech from Debian packages, thirteen attacks made from it, and a trial table.

`build` builds the corpus. `audit` checks that trivial features do not separate the classes.
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
