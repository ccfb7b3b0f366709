"""What every program needs: whole files, processes, signals, run folders, and keys of kept results."""
