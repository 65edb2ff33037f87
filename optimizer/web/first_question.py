"""What the page asks when it is opened without a link: `START` in `data/page/configure.js`, word for word."""

FIRST: dict[str, str] = {"model": "Qwen/Qwen3-8B", "workload": "chat"}
