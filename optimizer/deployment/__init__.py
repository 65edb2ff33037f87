"""From a plan to the files that start it: who runs where with which devices and ports, and the folder that says so.

`assembled` turns placed servers into a Deployment (`place` and `procure` call it), `deployment_of` for a plan;
`write_folder` writes or checks the folder. The nouns are in `deployment.py`.

May import: constraints, profiles, contract.
"""
