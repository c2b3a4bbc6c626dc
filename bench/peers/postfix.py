"""Postfix as a relay: an instance of its own, with its own config, queue and log, as root.

Its queue lies on the same disk as netserve's. The settings are Postfix' defaults but for what ties
it to this machine and this test, and name lookups and chroot, which are off. (`in_flow_delay = 0`
was tried: it takes mail faster then, and the last one leaves later.)
"""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

from bench.processes import ALL_CORES, BenchError, Server, run

MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
shlib_directory = /usr/lib/postfix
meta_directory = /etc/postfix
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
myhostname = relay.example.org
mydestination =
local_transport = error:no local mail
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{sink}
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
smtp_tls_security_level = none
smtpd_tls_security_level = none
"""

# name, type, private, unprivileged, chroot, wake-up, limit of processes, command
MASTER = """\
{port}     inet  n  -  n  -      -  smtpd
pickup     unix  n  -  n  60     1  pickup
cleanup    unix  n  -  n  -      0  cleanup
qmgr       unix  n  -  n  300    1  qmgr
rewrite    unix  -  -  n  -      -  trivial-rewrite
bounce     unix  -  -  n  -      0  bounce
defer      unix  -  -  n  -      0  bounce
trace      unix  -  -  n  -      0  bounce
verify     unix  -  -  n  -      1  verify
flush      unix  n  -  n  1000?  0  flush
proxymap   unix  -  -  n  -      -  proxymap
proxywrite unix  -  -  n  -      1  proxymap
smtp       unix  -  -  n  -      -  smtp
relay      unix  -  -  n  -      -  smtp
showq      unix  n  -  n  -      -  showq
error      unix  -  -  n  -      -  error
retry      unix  -  -  n  -      -  error
discard    unix  -  -  n  -      -  discard
anvil      unix  -  -  n  -      1  anvil
scache     unix  -  -  n  -      1  scache
tlsmgr     unix  -  -  n  1000?  1  tlsmgr
postlog    unix-dgram n - n -    1  postlogd
"""

SBIN = "/usr/sbin:/usr/local/sbin"
DAEMONS = (Path("/usr/lib/postfix/sbin"), Path("/usr/libexec/postfix"))


def find(name: str) -> str | None:
    """The path of one of Postfix' programs, or None."""
    return shutil.which(name) or shutil.which(name, path=SBIN)


def why_not() -> str | None:
    """Why Postfix can't be measured here, or None."""
    if find("postfix") is None or not any(map(Path.is_dir, DAEMONS)):
        return "postfix is not installed"
    if os.geteuid() != 0:
        return "postfix needs root"
    try:
        pwd.getpwnam("postfix")
    except KeyError:
        return "there is no user postfix"
    return None


def relay(folder: Path, port: int, sink: int) -> Server:
    """An instance that listens on a port and hands all mail to the sink's port.

    Arguments:
        folder: made here, on a disk; every folder above it must be open to others.
        port: where it takes mail.
        sink: where it takes it to.
    """
    config, data = folder / "config", folder / "data"
    for made in (folder, config, data, folder / "queue"):
        made.mkdir()
    shutil.chown(data, "postfix")
    daemons = next(filter(Path.is_dir, DAEMONS))
    (config / "main.cf").write_text(MAIN.format(folder=folder, daemons=daemons, sink=sink))
    (config / "master.cf").write_text(MASTER.format(port=f"127.0.0.1:{port}"))
    postfix = find("postfix")
    if postfix is None:
        raise BenchError("postfix is not installed")
    # Makes the folders of the queue, and says what is wrong with the config.
    run([postfix, "-c", config, "check"], cores=ALL_CORES, timeout=30)
    # The master in the foreground, not by `start-fg`, which is a shell's child in some versions.
    master = [daemons / "master", "-c", config, "-d"]
    return Server(master, port=port, log=folder / "output.log", cores=ALL_CORES)
