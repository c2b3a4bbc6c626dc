"""Twisted drivers of stream connections that several protocols share.

============================  ====================================================================
module                        drives
============================  ====================================================================
`netserve.streams.framed`     framed requests and their replies (`netserve.wire.pipeline`)
`netserve.reactor.lingering`  the end of a connection whose client may still be sending
============================  ====================================================================
"""
