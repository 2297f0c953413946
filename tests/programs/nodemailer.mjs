// Sends what standard input describes: a message of its own by STARTTLS, then several over one kept connection by
// TLS. Prints what the server answered.
import { readFileSync } from "node:fs";
import nodemailer from "nodemailer";

const place = JSON.parse(readFileSync(0, "utf-8"));
const settings = {
  host: "localhost",
  auth: { user: place.user, pass: place.password },
  tls: { ca: [readFileSync(place.ca_file)] },
};
const message = {
  from: { name: "Jürgen", address: place.user },
  to: place.to,
  text: place.text,
  textEncoding: "base64",
  attachments: [{ filename: place.attachment_name, content: Buffer.from(place.attachment, "base64") }],
};

const starttls = nodemailer.createTransport({ ...settings, port: place.submission, requireTLS: true });
await starttls.verify();
const dsn = { id: "envelope-1", return: "headers", notify: ["failure", "delay"], recipient: place.user };
const first = await starttls.sendMail({ ...message, subject: place.subjects[0], dsn });
starttls.close();

const pool = nodemailer.createTransport({
  ...settings, port: place.submissions, secure: true, pool: true, maxConnections: 1,
});
const further = await Promise.all(
  place.subjects.slice(1).map((subject) => pool.sendMail({ ...message, subject })),
);
pool.close();
console.log(JSON.stringify([first, ...further].map(({ accepted, rejected, response }) => ({ accepted, rejected, response }))));
