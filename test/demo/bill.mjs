// What was paid, from the ledger of the stand-in for fal.ai and not from what
// vibevideo says; and, while it goes on, what came of two accidents.
//   node bill.mjs trouble ROWS LEDGER
//   node bill.mjs bill ROWS LEDGER COSTS     COSTS: vibevideo's, by author
import { readFileSync } from 'node:fs';
import { count, dollars } from './ledger.mjs';

const [what, rowsFile, ledgerFile, costs] = process.argv.slice(2);
const rows = JSON.parse(readFileSync(rowsFile, 'utf8'));
const ledger = JSON.parse(readFileSync(ledgerFile, 'utf8'));
const problems = [];

function requestsFor({ prompt }) {
  return ledger.jobs.filter((job) => job.input.prompt === prompt);
}

/** The film that was fetched twice, and where the second download began. */
function tellBroken() {
  const mb = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  for (const row of rows) {
    for (const job of requestsFor(row).filter(({ counts }) => counts.media > 1)) {
      const from = job.range_starts.at(-1) ?? 0;
      console.log(from > 0
        ? `  ${row.name}'s copy went on where it was: the new worker fetched the film from\n  byte ${from.toLocaleString('en')} on, of ${mb(job.media_bytes)}.`
        : `  ${row.name}'s film, ${mb(job.media_bytes)}, was fetched again from its beginning.`);
    }
  }
}

/** Rows whose submit got no answer: whatever fal.ai has of them. */
function tellLost() {
  for (const row of rows.filter(({ lost }) => lost)) {
    const requests = requestsFor(row);
    console.log(`  ${row.name}'s request was found in fal.ai's list. fal.ai has had it ${requests.length === 1 ? 'once' : `${requests.length} times`}.`);
    if (requests.length !== 1 || requests[0].request_id !== row.request_id) problems.push(`${row.name}'s request is not the one that fal.ai has`);
  }
}

/** author -> {asked, rendered, paid, usd}, by the requests' ids. */
function byAuthor() {
  const authors = new Map();
  for (const job of ledger.jobs) {
    const row = rows.find(({ request_id: id }) => id === job.request_id);
    if (!row) {
      problems.push(`fal.ai has request ${job.request_id}, of which no row knows`);
      continue;
    }
    const sums = authors.get(row.author) ?? { asked: 0, rendered: 0, paid: 0, usd: 0 };
    sums.asked += 1;
    sums.rendered += job.outcome === 'ok' ? 1 : 0;
    sums.paid += job.billed ? 1 : 0;
    sums.usd += job.billed ? row.price : 0;
    authors.set(row.author, sums);
  }
  return authors;
}

function tellBill() {
  const { asked, rendered, paid, lost, broken } = count(ledger);
  const price = rows.find((row) => row.price)?.price;
  const careless = paid + lost + broken;
  const authors = byAuthor();
  console.log(`  ${asked} videos requested, ${rendered} rendered, ${paid} paid: ${dollars(paid * price)}`);
  console.log(`  Without vibevideo's care ${careless} would have been paid: ${dollars(careless * price)}`);
  console.log(`  (${careless} = ${paid} + ${lost} sent again for want of an answer + ${broken} rendered anew after a crash)`);
  const own = JSON.parse(costs);
  for (const [author, { asked: n, rendered: made, usd }] of authors) {
    console.log(`  ${author}: ${n} requested, ${made} rendered, ${dollars(usd)}`);
    if (own[author] !== usd) problems.push(`vibevideo.costs says ${dollars(own[author] ?? 0)} of ${author}`);
  }
  if (problems.length === 0) console.log('  vibevideo.costs says the same.');
}

if (what === 'bill') {
  tellBill();
} else {
  tellLost();
  tellBroken();
}
for (const problem of problems) console.log(`  WRONG  ${problem}`);
process.exitCode = problems.length ? 1 : 0;
