// The JSON that a job shows to clients: submit, status and result bodies.
import { STATUS_CODES } from 'node:http';
import { mediaSize, mediaUrl, patternBytes } from './fal-media.mjs';
import { asText } from './fal-money.mjs';

const LOG_WINDOW = 50; // logs are a moving window, not a growing prefix

export function urlsOf(job, origin) {
  const base = `${job.behaviour.urls_origin ?? origin}/${job.base}/requests/${job.id}`;
  return {
    request_id: job.id,
    response_url: job.behaviour.response_suffix ? `${base}/response` : base,
    status_url: `${base}/status`,
    cancel_url: `${base}/cancel`,
  };
}

export function queuedBody(job, origin, position) {
  return { status: 'IN_QUEUE', ...urlsOf(job, origin), logs: null, metrics: {}, queue_position: position };
}

/** 202 while it is not done, 200 after: fal's own SDK decides by the code. */
export function statusReply(jobs, job, origin, withLogs) {
  if (job.state === 'IN_QUEUE') return { status: 202, body: queuedBody(job, origin, jobs.position(job)) };
  const logs = withLogs ? logsOf(job) : null;
  if (job.state === 'IN_PROGRESS') {
    return { status: 202, body: { status: 'IN_PROGRESS', ...urlsOf(job, origin), logs, metrics: {} } };
  }
  return { status: 200, body: completedBody(job, origin, logs) };
}

function completedBody(job, origin, logs) {
  const seconds = job.attemptStartedAt === null ? 0 : (job.finishedAt - job.attemptStartedAt) / 1000;
  const body = { status: 'COMPLETED', ...urlsOf(job, origin), logs, metrics: { inference_time: seconds } };
  return { ...body, ...statusError(job) };
}

function statusError({ outcome, behaviour }) {
  if (outcome.kind === 'ok') return null;
  if (outcome.errorType) return { error: outcome.body.detail, error_type: outcome.errorType };
  if (!behaviour.status_error) return null;
  const type = outcome.kind === 'policy' ? 'content_policy_violation' : `${outcome.kind}_error`;
  return { error: `Invalid status code: ${outcome.http} ${STATUS_CODES[outcome.http]}`, error_type: type };
}

export function logsOf(job) {
  if (job.logs) return job.logs.slice(-LOG_WINDOW);
  if (job.attemptStartedAt === null) return [];
  const until = job.finishedAt ?? Date.now();
  const step = Math.max(1, job.behaviour.run_ms / 4);
  const lines = [];
  for (let quarter = 0; quarter <= 4; quarter += 1) {
    const at = Math.round(job.attemptStartedAt + quarter * step);
    if (at <= until) lines.push(logLine(`Rendering ${quarter * 25}%`, at));
  }
  return lines;
}

export function logLine(message, at = Date.now()) {
  return { message, timestamp: new Date(at).toISOString(), level: 'INFO', source: 'USER', labels: { level: 'INFO' } };
}

/** The stored answer of the model, replayed; also the payload of a webhook. */
export function resultReply(job, origin) {
  if (job.state !== 'COMPLETED') {
    return { status: 400, body: { detail: 'Request is still in progress', ...urlsOf(job, origin) } };
  }
  const { outcome } = job;
  if (outcome.kind === 'ok') {
    return { status: 200, headers: unitsHeader(job), body: outputOf(job, origin) };
  }
  return { status: outcome.http, headers: failureHeaders(job), body: outcome.body };
}

/** How much is billed, in the model's unit: a decimal (fal.ai/docs …/model-apis/common-parameters). */
function unitsHeader({ bill, behaviour: { billing: { header } } }) {
  if (header === false) return {};
  return { 'x-fal-billable-units': header === true ? asText(bill?.units ?? 0n) : String(header) };
}

function failureHeaders(job) {
  const { outcome } = job;
  const headers = {};
  if (outcome.errorType) headers['x-fal-error-type'] = outcome.errorType;
  else Object.assign(headers, unitsHeader(job));
  if (outcome.kind === 'validation' || outcome.kind === 'policy') headers['x-fal-needs-retry'] = '0';
  if (outcome.kind === 'policy') headers['x-fal-retryable'] = 'false';
  if (outcome.timeoutType) headers['x-fal-request-timeout-type'] = outcome.timeoutType;
  return headers;
}

/** Where the published schemas put the file; `video` in about 97 % of them. */
function outputOf(job, origin) {
  const file = fileOf(job, origin);
  switch (job.behaviour.output) {
    case 'video': return { video: file };
    case 'video_array': return { video: [file] };
    case 'video_url': return { video_url: file.url };
    case 'video_url_object': return { video_url: file };
    case 'videos': return { videos: [file] };
    case 'preview_video': return { preview_video: file };
    case 'data_uri': return { video: { ...file, url: dataUri(job) } };
    case 'none': return { seed: 42 };
    case 'custom': return fillIn(job.behaviour.result, file.url);
    default: return { video: file };
  }
}

function fileOf(job, origin) {
  const { media } = job.behaviour;
  const file = {
    url: mediaUrl(job, origin),
    content_type: media.content_type,
    file_name: 'output.mp4',
    file_size: media.file_size === true ? mediaSize(job) : media.file_size,
  };
  if (media.file_size === false) delete file.file_size;
  if (media.file_size === 'null') file.file_size = null;
  return file;
}

function dataUri(job) {
  return `data:${job.behaviour.media.content_type};base64,${patternBytes(job).toString('base64')}`;
}

/** A scripted result may point at the job's own file as {{media_url}}. */
function fillIn(result, url) {
  return JSON.parse(JSON.stringify(result).replaceAll('{{media_url}}', url));
}
