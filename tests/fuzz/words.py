"""What the grammars of the targets are made of; those of text stand between bars."""

from __future__ import annotations

SMTP = (
    b"EHLO |HELO x|LHLO |MAIL FROM:<|RCPT TO:<|>|@|a@b.example|postmaster|[IPv6:::1]|[192.0.2.1]|"
    b'@a,@b:|\\|"a b"| SIZE=| BODY=8BITMIME| BODY=BINARYMIME| SMTPUTF8| RET=HDRS| ENVID=+2B|'
    b" NOTIFY=NEVER| NOTIFY=SUCCESS,DELAY| ORCPT=rfc822;| ORCPT=utf-8;\xc3\xa9| AUTH=<>| REQUIRETLS|"
    b" XWAYPOST-ID=1| XWAYPOST-KEY=| XWAYPOST-PREFIX=9| XWAYPOST-SHA256=| XWAYPOST-HELD| XWAYPOST-RID=|"
    b" XWAYPOST-GROUP=|BDAT | LAST|DATA|AUTH PLAIN AGEAYg==|AUTH LOGIN|*|=|\r\n|\r\n.\r\n|\n.\n|"
    b"\r.\r|\r\n.|.|..|\r|\n|\x00|\xff|250-|250 2.1.0 |554 "
).split(b"|")

IMAP = (
    b"a |a UID |LOGIN |AUTHENTICATE PLAIN |APPEND INBOX |UTF8 (~|SELECT |FETCH 1:* |STORE 1 |SEARCH |"
    b'COPY 1,3 |MOVE $ |LIST |LSUB |STATUS |ID |ENABLE |IDLE|RENAME |CREATE |EXPUNGE 1:*|NIL|"|""|'
    b'"a b"|(|)|[|]|<0.5>|BODY.PEEK[|1.2.HEADER.FIELDS (a b)|BINARY[1]|ENVELOPE|RFC822.SIZE|FLAGS|'
    b"+FLAGS.SILENT |(\\Seen x)|\\|(UNCHANGEDSINCE 5)|(CHANGEDSINCE 5 VANISHED)|CHARSET utf-8|OR |"
    b"NOT |RETURN (MIN MAX)|RETURN (SAVE)|ALL|HEADER a b|SINCE 1-Jan-2020|SENTON 32-Feb-0000|"
    b'LARGER 9|UID 1:*|MODSEQ 5|YOUNGER 9|KEYWORD x|FROM |"17-Jul-1996 02:44:25 -0700"|{3}\r\nabc|'
    b"{3+}\r\nabc|{0+}\r\n|{4294967295+}\r\n|{99999999999}\r\n|~{3+}\r\n|&AOk-|&|%|*|$|\r\n|\r|\n|"
    b"\x00|\xc3\xa9|\xff|4294967296|(STATUS (MESSAGES SIZE))|(SUBSCRIBED RECURSIVEMATCH)"
).split(b"|")

ADDRESS = (
    b'a@b.example|@|<|>|,|;|:|(|)|"|\\|\\"|[|]|[IPv6:|::1|192.0.2.1|.|..|-|xn--|+2B|+|=| |\t|\r\n |'
    b"\r\n\r\n|\r\n|\n|From: |To: |Subject: |Message-ID: <|Received: |Date: |Bcc: |X-Waypost-|"
    b"Return-Path:|undisclosed:;|=?utf-8?q?|=?utf-8?b?w6k=?=|?=|\xc3\xa9|\xe2\x80\x8d|\xef\xbc\x8e|"
    b"\xe3\x80\x82|\xc3\x9f|\xcf\x82|\xcc\x81|\xed\xa0\x80|\xff|\x00"
).split(b"|")

MIME = (
    b"Content-Type: |multipart/mixed|multipart/digest|; boundary=|; boundary*0=a; boundary*1=b|"
    b'text/plain|b|"b"|text/html|message/rfc822|; charset=|utf-8|utf-7|utf-16|iso-2022-jp|hz|big5|'
    b"koi8-r|zlib|idna|punycode|rot13|Content-Transfer-Encoding: |base64|quoted-printable|"
    b"Content-Disposition: attachment; filename*=utf-8''%C3|Content-Language: en|Content-ID: <|--b|"
    b"--b--|--|\r\n|\r\n\r\n|\n|\r|\n\n|From: a <a@b>|Date: 1 Jan 2020 00:00:00 +9999|"
    b"Subject: Re: [x] Fwd: |References: <a@b> |In-Reply-To: <|=?utf-8?q?=C3?=|=?x?b?====?=|=|=3D|"
    b"w6k=|(|)|<|>|\x00|\xff"
).split(b"|")

RPC = (
    *(
        b"\xabA@b.example",
        b"\xa0",
        b"\xc4\x00",
        b"\xcf\x80\0\0\0\0\0\0\0",
        b"\x90",
        b"\x80",
        b"\xc0",
        b"\xc3",
    ),
    *(
        b"\x91\x09",
        b"\x92\x07\x01",
        b"\x95\x02\x01",
        b"\x93\x03",
        b"\x96\x02",
        b"\0\0\0",
        b"\xa1\xff",
        b"\xc1",
    ),
    *(b"\xdd\xff\xff\xff\xff", b"\xdf\x7f\xff\xff\xff", b"\xc7\x0c\xff", b"\xd6\xff", b"\xcf", b"\xcb"),
    b"\x91" * 50,
)
"""Of msgpack: values, beginnings of frames, sizes that are not there, deep nesting."""
