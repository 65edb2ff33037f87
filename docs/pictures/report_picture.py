"""Makes report.png, the picture of docs/report.md: the report of a small fleet as a browser shows it. Needs chromium.

Usage: python docs/pictures/report_picture.py
"""

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 1000, 1100


def main() -> None:
    """Write the report and photograph it."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        demand = HERE.parents[1] / "examples" / "procure_startup.yaml"
        command = [sys.executable, "-m", "vllm_opt", "procure", str(demand), "--format", "html", "--output", str(page)]
        subprocess.run(command, check=True)
        browser = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        shot = [f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={HERE / 'report.png'}", page.as_uri()]
        subprocess.run([*browser, *shot], check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
