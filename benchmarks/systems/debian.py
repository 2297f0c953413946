"""Postfix and Dovecot as Debian has them, in instances of their own. Of the machine's nothing is touched but
the limit of inotify instances, which is put back.

Durability is their default: Postfix syncs its queue files, Dovecot syncs what LMTP delivers (`mail_fsync` is
`optimized`). Limits that the load would meet are raised, nothing else is tuned. Passwords are in plain
text, the cheapest for them.
"""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.systems.system import DOMAIN, Door, User, client_tls, free_ports, users
from foundation.certificates import ensure_certificate, make_authority
from waypost.world import real_world

READY_SECONDS = 30
_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_INSTANCES = 8192
"""Dovecot needs one for each client in IDLE: without one it looks every 30 seconds only."""
MAIL_OWNER = "mail"


class PostfixDovecot:
    name = "Postfix + Dovecot"

    def __init__(
        self, folder: Path, mailboxes: int, relayed: Mapping[str, int], *, two_sites: bool = False
    ) -> None:
        """`relayed`: domains, and the port of the next hop of each."""
        self._folder = folder
        self._relayed = relayed
        self.users: Sequence[User] = users(mailboxes)
        self.two_sites = two_sites
        self._processes: list[asyncio.subprocess.Process] = []
        self._inotify_before = ""

    @property
    def version(self) -> str:
        postfix = subprocess.run(
            ["postconf", "-dh", "mail_version"], capture_output=True, text=True, check=True
        )
        dovecot = subprocess.run(["dovecot", "--version"], capture_output=True, text=True, check=True)
        return f"Postfix {postfix.stdout.strip()}, Dovecot {dovecot.stdout.split()[0]}"

    async def start(self) -> None:
        if not self._folder.exists():
            self._make()
        self._raise_limit()
        names = ("first", "second") if self.two_sites else ("first",)
        commands = [("dovecot", "-F", "-c", str(self._folder / "dovecot.conf"))]
        commands += [("/usr/lib/postfix/sbin/master", "-d", "-c", str(self._folder / name)) for name in names]
        with (self._folder / "output.log").open("ab") as log:
            for command in commands:
                self._processes.append(await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log))
        await asyncio.wait_for(self._wait_until_ready(), READY_SECONDS)

    async def _wait_until_ready(self) -> None:
        for door in (self.smtp, self.submissions, self.imap, self.imaps, self.lmtp):
            while True:
                try:
                    _, writer = await asyncio.open_connection(door.host, door.port)
                except OSError:
                    if any(process.returncode is not None for process in self._processes):
                        raise RuntimeError(f"it did not start, see {self._folder}") from None
                    await asyncio.sleep(0.1)
                    continue
                writer.close()
                break

    async def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            await process.wait()
        self._processes = []
        self._put_limit_back()

    def _put_limit_back(self) -> None:
        if self._inotify_before:
            _INOTIFY.write_text(self._inotify_before)
            self._inotify_before = ""

    def _raise_limit(self) -> None:
        """Of the machine, until this stops."""
        before = _INOTIFY.read_text()
        if int(before) >= INOTIFY_INSTANCES:
            return
        try:
            _INOTIFY.write_text(str(INOTIFY_INSTANCES))
        except OSError as error:
            print(
                f"Dovecot is told late of mail by more than {before.strip()} IDLE: {error}", file=sys.stderr
            )
            return
        self._inotify_before = before

    def sibling(self, mailboxes: int) -> PostfixDovecot:
        folder = self._folder.with_name(f"{self._folder.name}-{mailboxes}")
        return PostfixDovecot(folder, mailboxes, self._relayed, two_sites=self.two_sites)

    async def waiting(self) -> int:
        return sum(len(files) for _, _, files in os.walk(self._folder / "first-queue" / "deferred"))

    async def try_now(self) -> None:
        process = await asyncio.create_subprocess_exec("postqueue", "-c", str(self._folder / "first"), "-f")
        if await process.wait() != 0:
            raise RuntimeError("postqueue failed")

    def roots(self) -> Sequence[int]:
        return [process.pid for process in self._processes]

    def forget_caches(self, user: User) -> None:
        """Dovecot's cache of the mailbox, which is empty after delivery."""
        (self._folder / "mail" / user.address / "dovecot.index.cache").unlink(missing_ok=True)

    # --- set up ---

    def _make(self) -> None:
        self._folder.mkdir(parents=True)
        self._folder.chmod(0o755)
        ports = free_ports(7)
        self._submissions, self._smtp, self._imap, self._imaps, self._lmtp, self._next, self._spare = ports
        self._make_certificates()
        self._make_dovecot()
        self._make_postfix("first", last=not self.two_sites)
        if self.two_sites:
            self._make_postfix("second", last=True)
        tls = client_tls(self._folder / "certificates" / "ca.pem")
        self.submissions, self.smtp = Door(self._submissions, tls), Door(self._smtp)
        self.imaps, self.imap = Door(self._imaps, tls), Door(self._imap)
        self.lmtp = Door(self._lmtp)

    def _make_certificates(self) -> None:
        """Of the same kind as Waypost's."""
        world = real_world()
        folder, disk, now_ms = self._folder / "certificates", world.disk, world.clock.now_ms()
        folder.mkdir()
        make_authority(folder, "Benchmark", now_ms=now_ms, disk=disk)
        ensure_certificate(folder, "mail", ["127.0.0.1"], now_ms=now_ms, disk=disk)

    def _make_dovecot(self) -> None:
        mail = self._folder / "mail"
        mail.mkdir()
        owner, group = pwd.getpwnam(MAIL_OWNER), grp.getgrnam(MAIL_OWNER)
        os.chown(mail, owner.pw_uid, group.gr_gid)
        passwords = self._folder / "users"
        passwords.write_text(
            "".join(f"{user.address}:{{PLAIN}}{user.password}::::::\n" for user in self.users)
        )
        (self._folder / "dovecot.conf").write_text(f"""
protocols = imap lmtp
listen = 127.0.0.1
base_dir = {self._folder}/run
state_dir = {self._folder}/state
log_path = {self._folder}/dovecot.log
instance_name = waypost-benchmark
ssl = yes
ssl_cert = <{self._folder}/certificates/mail.pem
ssl_key = <{self._folder}/certificates/mail.key
disable_plaintext_auth = no
auth_mechanisms = plain login
mail_location = maildir:{mail}/%u
mail_uid = {owner.pw_uid}
mail_gid = {group.gr_gid}
first_valid_uid = {owner.pw_uid}
mail_max_userip_connections = 5000
default_process_limit = 5000
default_client_limit = 20000
passdb {{
  driver = passwd-file
  args = {passwords}
}}
userdb {{
  driver = static
  args = home={mail}/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {self._imap}
  }}
  inet_listener imaps {{
    port = {self._imaps}
    ssl = yes
  }}
}}
service imap {{
  process_limit = 5000
}}
service lmtp {{
  unix_listener {self._folder}/lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    port = {self._lmtp}
  }}
}}
service auth {{
  unix_listener {self._folder}/auth {{
    mode = 0666
  }}
}}
service stats {{
  client_limit = 20000
}}
""")

    def _make_postfix(self, name: str, *, last: bool) -> None:
        folder = self._folder / name
        folder.mkdir()
        queue, data = self._folder / f"{name}-queue", self._folder / f"{name}-data"
        for each in (queue, data):
            each.mkdir()
        shutil.chown(data, "postfix")
        smtp = self._smtp if name == "first" else self._next
        table = folder / "mailboxes"
        table.write_text("".join(f"{user.address} x\n" for user in self.users))
        transports = ", ".join(f"{name}=smtp:[127.0.0.1]:{port}" for name, port in self._relayed.items())
        onward = f"lmtp:unix:{self._folder}/lmtp" if last else f"smtp:[127.0.0.1]:{self._next}"
        (folder / "main.cf").write_text(f"""
compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.{DOMAIN}
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
virtual_mailbox_domains = {DOMAIN}
virtual_mailbox_maps = hash:{table}
virtual_transport = {onward}
relay_domains = {", ".join(self._relayed)}
transport_maps = inline:{{ {transports} }}
smtpd_recipient_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_sasl_type = dovecot
smtpd_sasl_path = {self._folder}/auth
smtpd_tls_cert_file = {self._folder}/certificates/mail.pem
smtpd_tls_key_file = {self._folder}/certificates/mail.key
smtpd_tls_loglevel = 0
message_size_limit = 37748736
default_process_limit = 200
minimal_backoff_time = 300s
""")
        submissions = (
            f"127.0.0.1:{self._submissions} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes"
            " -o smtpd_sasl_auth_enable=yes -o smtpd_tls_auth_only=yes\n"
            if name == "first"
            else ""
        )
        (folder / "master.cf").write_text(f"""127.0.0.1:{smtp} inet n - n - - smtpd
{submissions}pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
""")
        subprocess.run(["postmap", "-c", str(folder), f"hash:{table}"], check=True)
        subprocess.run(["postfix", "-c", str(folder), "check"], check=True, capture_output=True)
