"""What all tests share. The reactor is netserve's; it is installed before anything imports it.

pytest-twisted knows it as ``--reactor=asyncio``, of which it is a kind.
"""

from netserve.reactor import install

install()
