"""Drops every privilege that a process does not need; for the processes that handle packets.

A process calls `confine` once, after it has loaded all modules. From then on it is not root, keeps
only the capabilities that it asked to keep, opens no file by name, starts no program, opens only
the sockets that its work needs, and has bounded memory and descriptors. If the kernel lacks one of
the mechanisms, the others still apply, and the report lists them; a process that cannot leave root
does not go on.

`confine` applies the mechanisms in this order:

====================  ==============================================================
mechanism             takes away
====================  ==============================================================
`PR_SET_DUMPABLE`     being traced or read by other processes of the same user
chroot (root only)    every file: the root is an empty folder that no longer exists
setresuid (root only) being root
capset, bounding set  all capabilities but those that are left
securebits            getting capabilities back by becoming root
`no_new_privs`        getting any by running a program
rlimits               more memory, descriptors, files, processes
Landlock              every file, TCP, abstract sockets, signals to others
seccomp               every other system call
====================  ==============================================================
"""

from netserve.packet.confinement.confine import ConfinementError, Report, confine

__all__ = ["ConfinementError", "Report", "confine"]
