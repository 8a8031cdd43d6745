"""What is typed at a keyboard: `run` the protocol, `certify` codes in files.

`parsing` is what the commands share, `tables` reads files of any program, `completion` writes
scripts for shells.
"""
