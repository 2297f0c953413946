// A day of a mail program: waits in IDLE for a message (the line "waiting" on standard output asks for it), reads,
// flags, copies, moves, removes it, and keeps drafts in a folder beyond ASCII. Prints what it saw.
import { readFileSync } from "node:fs";
import { ImapFlow } from "imapflow";

const place = JSON.parse(readFileSync(0, "utf-8"));
const seen = {};
const settings = {
  host: "localhost",
  auth: { user: place.user, pass: place.password },
  tls: { ca: [readFileSync(place.ca_file)] },
  logger: false,
};

const starttls = new ImapFlow({ ...settings, port: place.imap, doSTARTTLS: true });
await starttls.connect();
seen.starttls = starttls.secureConnection;
await starttls.logout();

const client = new ImapFlow({ ...settings, port: place.imaps, secure: true });
await client.connect();
seen.special = (await client.list()).filter((folder) => folder.specialUse).map((folder) => folder.specialUse).sort();

const lock = await client.getMailboxLock("INBOX");
const arrived = new Promise((resolve) => client.once("exists", resolve));
const idling = client.idle();
console.log("waiting");
seen.exists = (await arrived).count;
const message = await client.fetchOne("*", {
  uid: true, flags: true, envelope: true, bodyStructure: true, internalDate: true, size: true, source: true,
});
await idling;
seen.subject = message.envelope.subject;
seen.source = message.source.toString("base64");
seen.parts = message.bodyStructure.childNodes.map((part) => part.type);
const { meta, content } = await client.download(message.uid, "2", { uid: true });
const chunks = [];
for await (const chunk of content) chunks.push(chunk);
seen.attachment = { name: meta.filename, content: Buffer.concat(chunks).toString("base64") };
await client.messageFlagsAdd({ uid: message.uid }, ["\\Seen", "$Gelesen"], { uid: true });
seen.flags = [...(await client.fetchOne(message.uid, { flags: true }, { uid: true })).flags].sort();
seen.found = await client.search({ subject: "Grüße", keyword: "$Gelesen", seen: true }, { uid: true });
const copied = await client.messageCopy(message.uid, "Archive", { uid: true });
seen.copied = [...copied.uidMap];
lock.release();

const folder = ["Entwürfe", "日本語"];
seen.created = (await client.mailboxCreate(folder)).path;
const appended = await client.append(folder.join("/"), message.source, ["\\Draft"], new Date(place.date));
seen.appended = { destination: appended.destination, uid: appended.uid };
seen.status = await client.status(folder.join("/"), { messages: true, uidNext: true, unseen: true });
await client.mailboxOpen("INBOX");
const moved = await client.messageMove(String(message.uid), folder.join("/"), { uid: true });
seen.moved = [...moved.uidMap];
await client.mailboxOpen(folder.join("/"));
seen.dates = [];
for await (const each of client.fetch("1:*", { internalDate: true })) seen.dates.push(each.internalDate);
await client.messageDelete("1", { uid: true });
seen.left = await client.search({ all: true }, { uid: true });
await client.mailboxRename(folder, ["Entwürfe", "neu"]);
await client.mailboxClose();
await client.mailboxDelete(["Entwürfe", "neu"]);
seen.folders = (await client.list()).map((each) => each.path).filter((path) => path.startsWith("Entw"));
await client.logout();
console.log(JSON.stringify(seen));
