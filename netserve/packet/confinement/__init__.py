"""Gives up everything that a process does not need; for the processes that handle packets.

`confine` is called once, when all modules are loaded. After it the process is not root, has the
capabilities that it was left and no way to others, reads and writes no file by name, starts no
program, opens no socket but those of its work, and has bounded memory and descriptors. Where the
kernel lacks one of the means the rest holds, and the report says which; without a way out of root
there is no helper at all.

What stands in the table is done in this order:

====================  ==============================================================
means                 takes away
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
