"""``python -m benchmarks``, in the root of the repository."""

from lineament.cli.main import run_module

if __name__ == "__main__":
    raise SystemExit(run_module("benchmarks.run", "BenchConfig", "python -m benchmarks"))
