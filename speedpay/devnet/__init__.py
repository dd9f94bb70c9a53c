"""An embedded TRON for development and tests: real bytecode, TRON's own energy rules, loopback only.

Production code never imports it, but for the command that starts it. Read ``machine.py`` (what
executing a message means), then ``state.py`` (what it changes), then ``node.py`` (blocks and HTTP).
"""
