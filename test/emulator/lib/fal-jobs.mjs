// The life of a job: IN_QUEUE -> IN_PROGRESS -> COMPLETED, back to IN_QUEUE on
// a requeue, with holds, start deadlines, cancellation and account concurrency.
// There is no FAILED or CANCELED state (fal.ai/docs …/queue).
import { randomUUID } from 'node:crypto';
import { cancelled, infra, planOutcome, startTimeout } from './fal-behaviour.mjs';
import { givenFile } from './fal-render.mjs';

// fal.ai/docs …/serverless/reliability/retries: up to ten attempts.
const MAX_ATTEMPTS = 10;

/** Time-ordered like the ids of recent captures (UUID version 7). */
export function createRequestId() {
  const time = Date.now().toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-7${randomUUID().slice(15)}`;
}

export class Jobs {
  /** render(job) is a promise of a finished render, or null for a timed one; bill(job) what fal charges for it, or null. */
  constructor({ rules, render, bill, onComplete }) {
    this.rules = rules;
    this.render = render;
    this.bill = bill;
    this.onComplete = onComplete;
    this.byId = new Map();
    this.waiting = new Map(); // every IN_QUEUE job, oldest first
    this.ready = new Map(); // those whose queue time is over
    this.running = 0;
    this.accepted = 0;
  }

  clear() {
    for (const job of this.byId.values()) {
      stopTimers(job);
      job.abandoned = true;
      job.render?.stop();
    }
    this.byId.clear();
    this.waiting.clear();
    this.ready.clear();
    this.running = 0;
    this.accepted = 0;
  }

  accept({ request, behaviour, startTimeoutMs, noRetry, parseError }) {
    const id = createRequestId();
    const job = {
      id,
      gatewayId: id,
      ...request,
      behaviour,
      noRetry,
      hold: behaviour.hold,
      state: 'IN_QUEUE',
      attempt: 1,
      acceptedAt: Date.now(),
      queuedAt: Date.now(),
      startedAt: null,
      attemptStartedAt: null,
      finishedAt: null,
      outcome: null,
      bill: null,
      cancelRequestedAt: null,
      cancelled: null,
      counts: { status: 0, result: 0, cancel: 0, cancel_refused: 0, media: 0, media_ranges: 0, stream: 0 },
      rangeStarts: [],
      logs: null,
      watchers: null,
    };
    job.plan = planOutcome(job, parseError);
    job.firstPosition = behaviour.queue_position ?? this.waiting.size;
    this.byId.set(id, job);
    this.accepted += 1;
    if (startTimeoutMs !== null) {
      job.deadlineTimer = setTimeout(() => this.#missDeadline(job), startTimeoutMs);
    }
    this.#enqueue(job);
    return job;
  }

  /** Requests ahead: scripted countdown, or the real number waiting ahead of it. */
  position(job) {
    const { queue_position: scripted, queue_ms: queueMs } = job.behaviour;
    if (scripted !== null) {
      const share = queueMs > 0 ? Math.min(1, (Date.now() - job.queuedAt) / queueMs) : 1;
      return Math.max(0, Math.floor(scripted * (1 - share)));
    }
    let ahead = 0;
    for (const id of this.waiting.keys()) {
      if (id === job.id) break;
      ahead += 1;
    }
    return ahead;
  }

  isGone(job) {
    if (job.gone) return true;
    const { retention_ms: retention } = job.behaviour;
    return retention !== null && job.finishedAt !== null && Date.now() > job.finishedAt + retention;
  }

  isMediaGone(job) {
    if (job.mediaGone || job.outcome?.kind !== 'ok') return true;
    const { media_retention_ms: retention } = job.behaviour;
    return retention !== null && Date.now() > job.finishedAt + retention;
  }

  /** PUT …/cancel on a job that exists; the caller checked that it does. */
  cancel(job) {
    if (job.state === 'COMPLETED') return 'completed';
    job.cancelRequestedAt ??= Date.now();
    if (job.state === 'IN_QUEUE') {
      job.cancelled = 'queued';
      if (job.behaviour.after_cancel === '404') job.gone = true;
      this.complete(job, cancelled());
    } else if (!job.behaviour.cancel_mode.includes('ignore')) {
      this.#stopRunning(job);
    }
    return 'accepted';
  }

  #stopRunning(job) {
    const stop = () => {
      if (job.state !== 'IN_PROGRESS' || job.abandoned) return;
      job.cancelled = 'running';
      this.complete(job, cancelled());
    };
    if (job.behaviour.cancel_stop_ms > 0) setTimeout(stop, job.behaviour.cancel_stop_ms);
    else stop();
  }

  /** Control action from outside; each works in whatever state makes sense. */
  command(job, { action, error_type: type, http }) {
    switch (action) {
      case 'start':
        this.#release(job);
        break;
      case 'finish':
        this.#forceRunning(job);
        // A real render ends on its own; before that there is no file.
        if (job.state === 'IN_PROGRESS' && !job.render) this.complete(job, job.plan);
        break;
      case 'fail':
        this.#forceRunning(job);
        if (job.state === 'IN_PROGRESS') this.complete(job, infra(type, http));
        break;
      case 'requeue':
        if (job.state === 'IN_PROGRESS') this.#requeue(job);
        break;
      case 'expire':
        job.gone = true;
        break;
      case 'expire_media':
        job.mediaGone = true;
        break;
      default:
        throw new Error(`unknown action ${action}`);
    }
  }

  /** Lets a held job continue from where it is. */
  #release(job) {
    const { hold } = job;
    job.hold = null;
    if (job.state === 'IN_QUEUE') this.#start(job);
    else if (job.state === 'IN_PROGRESS' && hold === 'run') this.#run(job);
  }

  #forceRunning(job) {
    if (job.state === 'IN_QUEUE' || job.hold === 'run') this.#release(job);
  }

  #enqueue(job) {
    job.state = 'IN_QUEUE';
    job.queuedAt = Date.now();
    this.waiting.set(job.id, job);
    notify(job);
    if (job.hold === 'queue') return;
    const { queue_ms: queueMs } = job.behaviour;
    job.timer = setTimeout(() => {
      this.ready.set(job.id, job);
      this.pump();
    }, queueMs);
  }

  /** Starts ready jobs while the account may run more; never rejects one. */
  pump() {
    const limit = this.rules.default.account_concurrency;
    for (const job of this.ready.values()) {
      if (limit > 0 && this.running >= limit) return;
      this.#start(job);
    }
  }

  #start(job) {
    clearTimeout(job.timer);
    clearTimeout(job.deadlineTimer);
    this.waiting.delete(job.id);
    this.ready.delete(job.id);
    this.running += 1;
    job.state = 'IN_PROGRESS';
    job.attemptStartedAt = Date.now();
    job.startedAt ??= job.attemptStartedAt;
    notify(job);
    if (job.hold !== 'run') this.#run(job);
  }

  #run(job) {
    const { attempt } = job;
    const ended = () => {
      if (!job.abandoned && job.state === 'IN_PROGRESS' && job.attempt === attempt) this.#endAttempt(job);
    };
    job.render = job.plan.kind === 'ok' ? givenFile(job) ?? this.render(job) : null;
    if (!job.render) {
      job.timer = setTimeout(ended, job.behaviour.run_ms);
      return;
    }
    job.render.done.then(ended, (error) => {
      if (job.abandoned || job.state !== 'IN_PROGRESS') return;
      this.complete(job, infra('runner_server_error', 500, `render failed: ${error.message}`));
    });
  }

  #endAttempt(job) {
    if (job.attempt > job.behaviour.requeue) this.complete(job, job.plan);
    else if (job.noRetry || job.attempt >= MAX_ATTEMPTS) this.complete(job, infra(job.behaviour.error_type));
    else this.#requeue(job);
  }

  /** Same request id, other gateway id: webhooks show both. */
  #requeue(job) {
    clearTimeout(job.timer);
    job.render?.stop();
    this.running -= 1;
    job.attempt += 1;
    job.gatewayId = createRequestId();
    this.#enqueue(job);
    this.pump();
  }

  #missDeadline(job) {
    if (job.state === 'IN_QUEUE') this.complete(job, startTimeout());
  }

  complete(job, outcome) {
    if (job.state === 'COMPLETED') return;
    stopTimers(job);
    if (job.state === 'IN_PROGRESS') this.running -= 1;
    this.waiting.delete(job.id);
    this.ready.delete(job.id);
    job.state = 'COMPLETED';
    job.finishedAt = Date.now();
    job.outcome = outcome;
    job.bill = this.bill(job);
    if (outcome.kind !== 'ok') job.render?.stop();
    notify(job);
    this.onComplete(job);
    this.pump();
  }
}

/** Work that has started counts as billed until it has ended in a failure that fal does not charge for. */
export function isBilled(job) {
  return job.state === 'COMPLETED' ? job.bill !== null : job.startedAt !== null;
}

function stopTimers(job) {
  clearTimeout(job.timer);
  clearTimeout(job.deadlineTimer);
}

function notify(job) {
  if (job.watchers) for (const watch of [...job.watchers]) watch();
}
