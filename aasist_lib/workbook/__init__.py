"""The numbered notebooks: opening a run, headless execution (`runner`, `kernel`) and the report."""

from aasist_lib.workbook.exercises import check
from aasist_lib.workbook.runner import files_given, given_path, open_notebook, open_scores, run

__all__ = ["check", "files_given", "given_path", "open_notebook", "open_scores", "run"]
