// Makes a contact sheet of what verify.mjs has left in a folder: index.html, a page
// without a script, whose policy lets in nothing but the pictures and films beside it.
//   node sheet.mjs FOLDER ROWS [LEDGER]
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { count, dollars } from './ledger.mjs';

const [folder, rowsFile, ledgerFile] = process.argv.slice(2);
const rows = JSON.parse(readFileSync(rowsFile, 'utf8'));
const ledger = ledgerFile && JSON.parse(readFileSync(ledgerFile, 'utf8'));
const style = readFileSync(new URL('sheet.css', import.meta.url), 'utf8');

const ESCAPES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const escape = (text) => String(text).replace(/[&<>"]/g, (c) => ESCAPES[c]);
const hash = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/** Who paid: as the ledger has it, where there is one. */
function payment({ author, price, status, request_id: id }) {
  const paid = ledger ? ledger.jobs.filter((job) => job.request_id === id && job.billed).length : Number(status === 'completed');
  if (paid > 0) return `${author} paid ${dollars(paid * price)}`;
  return `Nobody paid: not ${status === 'refused' ? 'sent' : 'rendered'}`;
}

function picture({ day, name, status, error }) {
  if (status !== 'completed') return `<p class="frame why">${escape(error)}</p>`;
  return `<video class="frame" controls playsinline preload="metadata" poster="${day}.jpg" src="${day}.mp4" aria-label="${escape(name)}'s film"></video>`;
}

function card(row) {
  return `<li class="card">
${picture(row)}
<h2><time datetime="${row.day}">${escape(row.name)}</time> <span class="by">${escape(row.author)}</span> <span class="status ${escape(row.status)}">${escape(row.status)}</span></h2>
<p class="prompt">${escape(row.prompt)}</p>
<p class="paid">${escape(payment(row))}</p>
</li>`;
}

function bill() {
  if (!ledger) return '';
  const { asked, rendered, paid, lost, broken } = count(ledger);
  const price = rows.find((row) => row.price)?.price;
  const careless = paid + lost + broken;
  const usd = (jobs) => `<small>${dollars(jobs * price)}</small>`;
  const figure = (value, label) => `<div><dt>${label}</dt><dd>${value}</dd></div>`;
  return `<dl class="bill">${figure(asked, 'requested')}${figure(rendered, 'rendered')}${figure(`${paid} ${usd(paid)}`, 'paid')}${
    figure(`${careless} ${usd(careless)}`, 'without vibevideo’s care')}</dl>
<p class="note">${careless} = ${paid} + ${lost} sent again for want of an answer + ${broken} rendered anew after a crash,
from what the stand-in for fal.ai has noted: <a href="ledger.json">ledger.json</a>.</p>`;
}

writeFileSync(join(folder, 'index.html'), `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src 'self'; media-src 'self'; style-src ${hash(style)}; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>A week of a diary, as films</title>
<style>${style}</style>
</head>
<body>
<main>
<h1>A week of a diary, as films</h1>
<p class="note">Each entry was a row of a table. vibevideo had it rendered, and wrote the film’s address into the row.</p>
${bill()}
<ul class="sheet">
${rows.map(card).join('\n')}
</ul>
</main>
</body>
</html>
`);
