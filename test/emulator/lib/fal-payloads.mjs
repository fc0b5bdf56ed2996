// Deleting what fal.ai keeps of a request: DELETE /v1/models/requests/{id}/payloads
// (fal.ai/docs …/platform-apis/v1/models/requests/payloads). Input, output and the
// output's files go; of the latter it tells one by one. An answer is kept for ten
// minutes under the Idempotency-Key that it was asked with.
import { servePlatform } from './fal-platform.mjs';
import { PlatformError } from './fal-platform-query.mjs';
import { ADMIN, checkScope } from './fal-platform-scope.mjs';
import { resultReply } from './fal-views.mjs';

const PATH = /^\/v1\/models\/requests\/([^/]+)\/payloads$/;
const KEPT_MS = 600000;

export const isPayloads = (path) => PATH.test(path);

export async function servePayloads(context, exchange) {
  const id = decodeURIComponent(PATH.exec(exchange.path)[1]);
  const { headers } = exchange.req;
  await servePlatform(context, exchange, 'erase', () => {
    try {
      checkScope(context, headers.authorization, ADMIN);
      return once(context.erasures, headers['idempotency-key'], () => erase(context, id, exchange.origin));
    } catch (error) {
      if (error instanceof PlatformError) return error.reply;
      throw error;
    }
  }, { method: 'DELETE', about: { requestId: id } });
}

function once(erasures, key, act) {
  const before = erasures.get(key);
  if (before && Date.now() < before.at + KEPT_MS) return before.reply;
  const reply = act();
  if (key !== undefined) erasures.set(key, { at: Date.now(), reply });
  return reply;
}

function erase({ jobs }, id, origin) {
  const job = jobs.byId.get(id);
  if (!job || job.erasedAt || jobs.isGone(job)) throw new PlatformError(404, 'not_found', `Request ${id} not found`);
  const links = job.state === 'COMPLETED' && !jobs.isMediaGone(job) ? [resultReply(job, origin).body?.video?.url].filter(Boolean) : [];
  job.erasedAt = Date.now();
  job.mediaGone = true;
  return { status: 200, body: { cdn_delete_results: links.map((link) => ({ link, exception: null })) } };
}
