from benchmarks.reliability.harness import main

if __name__ == "__main__":  # spawned worker processes import this file too
    main()
