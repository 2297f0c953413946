"""Programs that send: swaks, msmtp, s-nail, neomutt and curl."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from tests.harness.mail import compose
from tests.harness.organisation import Organisation
from tests.programs.conftest import Pair, Place, Program
from tests.programs.letters import ATTACHMENT, ATTACHMENT_NAME, TEXT, arrived, letter, whole
from tests.programs.programs import run

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]


@pytest.fixture
def attachment(tmp_path: Path) -> Path:
    file = tmp_path / ATTACHMENT_NAME
    file.write_bytes(ATTACHMENT)
    return file


@pytest.mark.program("swaks")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_swaks_by_starttls(place: Place, pair: Pair, program: Program, mechanism: str) -> None:
    """sends by STARTTLS and verifies the certificate; logs on with PLAIN and LOGIN"""
    await run(
        program("swaks"),
        *("--server", "localhost", "--port", str(place.submission.port), "--tls"),
        *("--tls-verify", "--tls-ca-path", place.ca_file),
        *("--auth", mechanism, "--auth-user", pair.sender.address, "--auth-password", pair.sender.password),
        *("--from", pair.sender.address, "--to", pair.reader.address, "--data", "-"),
        stdin=letter(pair.sender.address, pair.reader.address, subject="swaks").as_bytes(),
    )
    assert await arrived(pair.reader, "swaks") == whole("swaks")


@pytest.mark.program("swaks")
async def test_swaks_by_tls(place: Place, pair: Pair, program: Program) -> None:
    """sends by TLS from the first byte"""
    await run(
        program("swaks"),
        *("--server", "localhost", "--port", str(place.submissions.port), "--tls-on-connect"),
        *("--auth", "PLAIN", "--auth-user", pair.sender.address, "--auth-password", pair.sender.password),
        *("--from", pair.sender.address, "--to", pair.reader.address, "--header", "Subject: swaks tls"),
        *("--attach", "@/dev/null"),
    )
    assert (await arrived(pair.reader, "swaks tls")).text.startswith("This is a test mailing")


@pytest.mark.program("swaks")
async def test_swaks_from_outside_with_pipelining(
    organisation: Organisation, pair: Pair, program: Program
) -> None:
    """as a stranger, sends to the hub with PIPELINING"""
    endpoint = organisation.endpoint("hub-a", "smtp")
    await run(
        program("swaks"),
        *("--server", endpoint.host, "--port", str(endpoint.port), "--pipeline"),
        *("--from", "stranger@example.net", "--to", pair.reader.address, "--header", "Subject: pipeline"),
    )
    await arrived(pair.reader, "pipeline")


def msmtp_settings(folder: Path, place: Place, pair: Pair, port: int, starttls: bool) -> Path:
    settings = folder / "msmtprc"
    settings.write_text(
        f"account default\nhost localhost\nport {port}\ntls on\ntls_starttls {'on' if starttls else 'off'}\n"
        f"tls_trust_file {place.ca_file}\nauth plain\nuser {pair.sender.address}\n"
        f"password {pair.sender.password}\nfrom {pair.sender.address}\n"
    )
    settings.chmod(0o600)
    return settings


@pytest.mark.program("msmtp")
@pytest.mark.parametrize("starttls", [True, False], ids=["starttls", "tls"])
async def test_msmtp(place: Place, pair: Pair, program: Program, tmp_path: Path, starttls: bool) -> None:
    """sends 8-bit text and an attachment, by STARTTLS and by TLS from the first byte"""
    port = place.submission.port if starttls else place.submissions.port
    settings = msmtp_settings(tmp_path, place, pair, port, starttls)
    message = letter(pair.sender.address, pair.reader.address, subject="msmtp")
    await run(program("msmtp"), "-C", settings, pair.reader.address, stdin=message.as_bytes())
    assert await arrived(pair.reader, "msmtp") == whole("msmtp")


@pytest.mark.program("msmtp")
async def test_msmtp_learns_which_recipient_is_unknown(
    place: Place, pair: Pair, program: Program, tmp_path: Path
) -> None:
    """is told of an unknown recipient with the server's sentence"""
    settings = msmtp_settings(tmp_path, place, pair, place.submissions.port, False)
    message = compose(pair.sender.address, "nobody@example.test")
    with pytest.raises(AssertionError, match=r"5\.1\.1"):
        await run(program("msmtp"), "-C", settings, "nobody@example.test", stdin=message.as_bytes())


@pytest.mark.program("s-nail")
async def test_s_nail_sends(
    place: Place, pair: Pair, program: Program, tmp_path: Path, attachment: Path
) -> None:
    """composes and sends a text beyond ASCII with an attachment, by TLS"""
    user, password = quote(pair.sender.address), quote(pair.sender.password)
    await run(
        *(program("s-nail"), "-:/", "-S", "v15-compat", "-S", "ttycharset=utf-8"),
        *("-S", f"mta=smtps://{user}:{password}@localhost:{place.submissions.port}"),
        *("-S", f"tls-ca-file={place.ca_file}", "-S", "tls-ca-no-defaults", "-S", "tls-verify=strict"),
        *("-S", f"from={pair.sender.address}", "-S", "mime-encoding=8bit"),
        *("-s", "Über s-nail", "-a", attachment, pair.reader.address),
        stdin=TEXT.encode(),
        home=tmp_path,
    )
    assert await arrived(pair.reader, "Über s-nail") == whole("Über s-nail")


@pytest.mark.program("neomutt")
async def test_neomutt_sends(
    place: Place, pair: Pair, program: Program, tmp_path: Path, attachment: Path
) -> None:
    """composes and sends a text beyond ASCII with an attachment, by STARTTLS, in batch mode"""
    settings = tmp_path / "neomuttrc"
    settings.write_text(
        f'set smtp_url="smtp://{quote(pair.sender.address)}@localhost:{place.submission.port}"\n'
        f'set smtp_pass="{pair.sender.password}" ssl_starttls=yes ssl_force_tls=yes\n'
        f'set ssl_ca_certificates_file="{place.ca_file}" certificate_file=""\n'
        f'set from="{pair.sender.address}" charset=utf-8 send_charset=utf-8 allow_8bit=yes copy=no\n'
    )
    await run(
        *(program("neomutt"), "-n", "-F", settings, "-s", "Über neomutt", "-a", attachment, "--"),
        pair.reader.address,
        stdin=TEXT.encode(),
        home=tmp_path,
    )
    assert await arrived(pair.reader, "Über neomutt") == whole("Über neomutt")


@pytest.mark.program("curl")
async def test_curl_sends(place: Place, pair: Pair, program: Program, organisation: Organisation) -> None:
    """sends by TLS and by STARTTLS, to an address beyond ASCII, too"""
    renée = organisation.add_user("renée.curl@example.test", store="store-a")
    sender = pair.sender
    for url in (f"smtps://localhost:{place.submissions.port}", f"smtp://localhost:{place.submission.port}"):
        subject = url.partition(":")[0]
        message = letter(sender.address, pair.reader.address, renée.address, subject=subject, utf8=True)
        await run(
            *(program("curl"), "-sS", "--ssl-reqd", "--cacert", place.ca_file, url),
            *("--user", f"{sender.address}:{sender.password}", "--mail-from", sender.address),
            *("--mail-rcpt", pair.reader.address, "--mail-rcpt", renée.address, "--upload-file", "-"),
            stdin=message.as_bytes(),
        )
        for reader in (pair.reader, renée):
            assert await arrived(reader, subject) == whole(subject)
