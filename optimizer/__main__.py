"""`python -m vllm_opt`: the command line, for where the script of that name is not on the path or is another's."""

import sys

from vllm_opt.optimizer.cli.entry_point import main

if __name__ == "__main__":
    sys.exit(main())
