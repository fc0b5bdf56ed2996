// What the stand-in for fal.ai has noted: its ledger, and which faults it has made.
//   node ledger.mjs FAL_EMULATOR >ledger.json
// Imported, it counts what is in there.
import { pathToFileURL } from 'node:url';

async function read(url, path) {
  const answer = await fetch(`${url}/_ctl/${path}`);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

/**
 * asked, rendered, paid: jobs. lost: submits whose answer was dropped after the
 * job was taken. broken: downloads of a file that had to be begun again, or
 * continued.
 */
export function count({ accepted, jobs, faults }) {
  const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
  return {
    asked: accepted,
    rendered: jobs.filter((job) => job.outcome === 'ok').length,
    paid: jobs.filter((job) => job.billed).length,
    lost: sum(faults.filter((f) => f.on === 'submit' && f.fault.kind === 'reset_after').map((f) => f.hits)),
    broken: sum(jobs.map((job) => Math.max(0, job.counts.media - 1))),
  };
}

export const dollars = (amount) => `$${amount.toFixed(2)}`;

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [ledger, faults] = await Promise.all([read(process.argv[2], 'ledger'), read(process.argv[2], 'fault')]);
  console.log(JSON.stringify({ ...ledger, faults }, null, 1));
}
