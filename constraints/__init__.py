"""What must hold: the physics of a vLLM deployment and one rule per file."""
