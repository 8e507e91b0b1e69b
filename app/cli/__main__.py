"""``python -m app.cli``: how Idlewatt starts its own child processes, whatever the PATH says."""

from app.cli import main

if __name__ == "__main__":
    main()
