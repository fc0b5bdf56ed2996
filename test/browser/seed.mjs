// Jobs of all kinds, so that every screen has something to show, and texts that want
// to do harm. What can be had from a real job is one; the rest is put into the table
// by its owner, in a state that nobody will act on during a test.

import { appendFileSync, readFileSync } from 'node:fs'
import { makeFilm } from './lib/film.mjs'
import { literal, raw } from './lib/sql.mjs'
import { until } from './lib/wait.mjs'
import { CONTROL, EMOJI, LONG, LONG_WORD, MARKUP, OVERRIDE, RTL } from './lib/texts.mjs'
import { addHistory } from './lib/history.mjs'

const VIDEO_01 = 'fal-ai/minimax/video-01'
const VEO = 'fal-ai/veo3'
const KLING = 'fal-ai/kling-video/v2/master/text-to-video'
const UNPRICED = `acme/${LONG_WORD.toLowerCase().slice(0, 90)}`
const ago = (text) => raw(`now() - interval '${text}'`)
const inFuture = (text) => raw(`now() + interval '${text}'`)

/** A row of the app, and its id. */
export function addRow(world, { owner = world.people.customer.id, content }) {
  return world.db.value(`INSERT INTO public.vibelogs (owner, content) VALUES (${literal(owner)}, ${literal(content)}) RETURNING id`)
}

/** Asks for videos of rows, as the app does; their jobs' numbers, in the same order. */
async function submit(world, rows) {
  const ids = rows.map(literal).join(', ')
  await world.db.run(`SELECT public.vibevideo_submit_batch(ARRAY[${ids}]::uuid[])`)
  return (await world.db.run(`SELECT job_id FROM vibevideo.job WHERE vibelog_id IN (${ids}) ORDER BY array_position(ARRAY[${ids}], vibelog_id)`)).map(([id]) => Number(id))
}

/**
 * A job with a row of its own, which comes into its state in the transaction that
 * makes it: nobody else sees it before. Other columns: as in vibevideo.job.
 */
export async function addJob(world, { owner, prompt = 'a film', state, model = VIDEO_01, input, relation = raw("'public.vibelogs'::regclass"), row,
  ...columns }) {
  const id = row ?? await addRow(world, { owner, content: prompt })
  const ended = ['completed', 'failed', 'cancelled'].includes(state)
  const { orphan = false, created_at: createdAt = raw('now()'), ...later } = columns
  const all = { ...(ended ? { next_at: null, completed_at: raw('now()') } : { next_at: inFuture('1 day') }), ...later }
  const ofRow = { row_dirty: false, row_next_at: raw("'infinity'"), ...Object.fromEntries(Object.entries(later).filter(([name]) => name.startsWith('row_'))) }
  const set = (values) => Object.entries(values).map(([name, value]) => `${name} = ${literal(value)}`).join(', ')
  const made = all.media_url && ended
    ? [`UPDATE vibevideo.job SET state = 'processing', media_url = ${literal(all.media_url)}, generated_at = now() WHERE job_id = currval('vibevideo.job_id_seq')`] : []
  const rows = await world.db.run([
    `INSERT INTO vibevideo.job (relation, vibelog_id, requested_by, model, input, state, orphan, created_at, row_dirty)
     VALUES (${[relation, id, owner ?? world.people.customer.id, model, input ?? { prompt }, 'pending', orphan, createdAt, false].map(literal).join(', ')})`,
    ...made,
    `UPDATE vibevideo.job SET ${set({ state, ...all })} WHERE job_id = currval('vibevideo.job_id_seq')`,
    // a change of the job has marked its row
    `UPDATE vibevideo.job SET ${set(ofRow)} WHERE job_id = currval('vibevideo.job_id_seq')`,
    "SELECT currval('vibevideo.job_id_seq')",
  ].join(';\n'))
  return { job: Number(rows.at(-1)[0]), row: id }
}

// ------------------------------------------------------------------ real jobs

/** A film so large that its copy can be watched: an empty box behind it plays no part. */
function makeLargeFilm(world) {
  const file = makeFilm(`${world.folder}/large.mp4`, 2)
  const free = Buffer.alloc(24 * 1024 * 1024)
  free.writeUInt32BE(free.length, 0)
  free.write('free', 4, 'latin1')
  appendFileSync(file, free)
  return file
}

/** One film for all jobs that are only put into the table; its address. */
async function storeFilm(world) {
  const name = 'history/film.mp4'
  const answer = await fetch(`${world.storage.gateway_url}/object/videos/${name}`, { method: 'POST',
    body: readFileSync(makeFilm(`${world.folder}/film.mp4`, 2)),
    headers: { authorization: `Bearer ${world.storage.service_jwt}`, 'content-type': 'video/mp4' } })
  if (!answer.ok) throw new Error(`the film was not stored: ${await answer.text()}`)
  return `${world.url}/storage/v1/object/public/videos/${name}`
}

const FILMS = [
  'Swam in the lake before sunrise. Fog on the water, one heron, and nobody to tell that I was afraid of the deep end.',
  'Grandma taught me her plum dumplings over the phone.', EMOJI, RTL, `${MARKUP} at night`,
]

const LOST = 'Its answer was lost on the way, and nobody knows whether fal.ai has it'

/** A request of the same account that is not ours: what a lost submit may be taken for. */
async function addStranger(world, prompt) {
  const answer = await fetch(`${world.fal.url}/${VIDEO_01}`, { method: 'POST', body: JSON.stringify({ prompt }),
    headers: { authorization: `Key ${world.falKey}`, 'content-type': 'application/json' } })
  return (await answer.json()).request_id
}

async function addFilms(world, seeded) {
  const { customer, other } = world.people
  const owners = [customer.id, customer.id, other.id, RTL, MARKUP]
  const rows = await Promise.all(FILMS.map((content, n) => addRow(world, { owner: owners[n], content })))
  seeded.films = await submit(world, rows)
  seeded.policy = (await submit(world, [await addRow(world, { content: 'A forbidden-policy-word in the rain' })]))[0]
}

/** Rules for jobs that stay where they are. */
async function addStanding(world, seeded) {
  const rule = (prompt, behaviour) => world.fal.control('POST', 'rule', { prompt, behaviour })
  await rule('^Held in the queue', { hold: 'queue', queue_position: 17 })
  await rule('^Held while it renders', { hold: 'run' })
  await rule('^A slow copy', { media: { file: makeLargeFilm(world) } })
  await world.fal.control('POST', 'fault', { on: 'media', prompt: '^A slow copy', times: -1, fault: { kind: 'slow', bytes_per_s: 40000 } })
  const contents = ['Held in the queue: a tram in the rain', 'Held in the queue, too: its window', `Held while it renders: ${LONG}`,
    'A slow copy of a long film']
  const rows = await Promise.all(contents.map((content) => addRow(world, { content })))
  seeded.standing = await submit(world, rows)
}

/**
 * Its answer is lost. That of a stranger may be it, but fal.ai had that one before: by
 * its clock, which shows seconds. Of its list no more than two minutes before are read.
 */
async function addLost(world, seeded) {
  await world.fal.control('POST', 'rule', { prompt: `^${LOST}$`, times: 1, behaviour: { media: { file: `${world.folder}/film.mp4` } } })
  seeded.strangers = [await addStranger(world, LOST), await addStranger(world, MARKUP)]
  const at = await world.db.value('SELECT clock_timestamp()')
  await until('the first has finished', async () => (await world.fal.control('GET', `job/${seeded.strangers[0]}?sha=0`)).finished_at)
  await world.db.until(`SELECT clock_timestamp() > '${at}'::timestamptz + interval '3.5 s'`)
  await world.fal.control('POST', 'fault', { on: 'submit', prompt: `^${LOST}$`, times: -1, fault: { kind: 'drop_after' } })
  await world.fal.control('POST', 'rule', { prompt: `^${LOST}$`, behaviour: { hold: 'queue' } })
  const row = await addRow(world, { content: LOST })
  await world.db.run(`SELECT public.vibevideo_submit(${literal(row)})`)
  seeded.lostAtFal = Number(await world.db.value(`SELECT job_id FROM vibevideo.job WHERE vibelog_id = ${literal(row)}`))
}

const quotedIds = (ids) => ids.join(', ')

async function waitForReal(world, seeded) {
  await world.db.until(`SELECT bool_and(state = 'completed' AND NOT row_dirty) FROM vibevideo.job WHERE job_id IN (${quotedIds(seeded.films)})`, 60000)
  await world.db.until(`SELECT state = 'failed' FROM vibevideo.job WHERE job_id = ${seeded.policy}`)
  await world.db.until(`SELECT array_agg(state ORDER BY array_position(ARRAY[${quotedIds(seeded.standing)}]::bigint[], job_id)) = '{queued,queued,generating,processing}' FROM vibevideo.job WHERE job_id IN (${quotedIds(seeded.standing)})`)
  await world.db.until(`SELECT bytes_done > 0 FROM vibevideo.job WHERE job_id = ${seeded.standing[3]}`)
  await world.db.until(`SELECT state = 'submit_unknown' FROM vibevideo.job WHERE job_id = ${seeded.lostAtFal}`)
  await world.db.until(`SELECT l.candidates::text LIKE '%${seeded.strangers[0]}%' FROM vibevideo.lost() l WHERE (l.job).job_id = ${seeded.lostAtFal}`)
}

// --------------------------------------------------------- put into the table

const REQUEST = () => crypto.randomUUID()

async function addWaiting(world, seeded) {
  const add = async (name, job) => { seeded[name] = await addJob(world, job) }
  await add('backoff', { owner: RTL, prompt: 'Waits for another try', state: 'pending', tries: 3, error_code: 'http_503',
    error: `upstream said ${MARKUP}`, next_at: inFuture('3 hours') })
  await add('sending', { prompt: 'Is being sent', state: 'submitting', sent_at: ago('4 s') })
  await add('quarantined', { owner: EMOJI, prompt: CONTROL, state: 'pending', crashes: 2, next_at: inFuture('5 hours') })
  await add('lost', { owner: MARKUP, prompt: `Nobody knows: ${MARKUP}`, state: 'submit_unknown', sent_at: ago('12 minutes'), tries: 4,
    error: `fal.ai lists no such request yet; ${MARKUP}`, next_at: inFuture('90 minutes') })
  await add('lostLate', { prompt: 'Lost an hour ago', model: KLING, state: 'submit_unknown', created_at: ago('70 minutes'), sent_at: ago('65 minutes'),
    tries: 20,
    error: 'fal.ai cannot be asked: it answers 500', next_at: inFuture('90 minutes') })
  await add('queuedMoving', { prompt: LONG_WORD, owner: LONG_WORD, model: VEO, state: 'queued', request_id: REQUEST(), sent_at: ago('9 minutes'),
    submitted_at: ago('9 minutes'),
    queue_position: 1240, earlier_position: 1410, earlier_at: ago('8 minutes'), created_at: ago('10 minutes') })
  await add('renderingLong', { prompt: OVERRIDE, model: KLING, state: 'generating', request_id: REQUEST(), created_at: ago('3 hours'),
    sent_at: ago('3 hours'), submitted_at: ago('3 hours') })
  await add('cancelling', { prompt: 'Its cancel is on the way', state: 'queued', request_id: REQUEST(), submitted_at: ago('5 minutes'),
    cancel_requested_at: ago('3 minutes'),
    tries: 2, error_code: 'connection_lost', error: 'the connection was lost' })
  await add('copyAgain', { prompt: 'Its copy is tried again', state: 'processing', request_id: REQUEST(), media_url: `${world.fal.url}/files/b/none.mp4`,
    generated_at: ago('8 minutes'),
    submitted_at: ago('15 minutes'), created_at: ago('16 minutes'), tries: 5, error_code: 'upload_failed', error: `Storage: ${MARKUP}` })
  await add('withoutRow', { prompt: 'A request whose row is gone', relation: null, row: crypto.randomUUID(), state: 'queued', request_id: REQUEST(),
    submitted_at: ago('20 minutes') })
  await world.db.run('CREATE TABLE "older table, its name is <b>long</b>" (LIKE public.vibelogs INCLUDING ALL)')
  await add('otherTable', { prompt: 'Of a table that is not attached', relation: raw(`'"older table, its name is <b>long</b>"'::regclass`),
    row: crypto.randomUUID(), state: 'pending' })
}

const FAILURES = [
  ['input', 'value_error', `The prompt: ${MARKUP}`], ['input', 'image_load_error', 'Could not load the image'],
  ['balance', 'http_402', 'User is locked. Reason: Exhausted balance.'], ['provider', 'runner_disconnected', 'Runner disconnected'],
  ['provider', 'internal_server_error', LONG], ['storage', 'AccessDenied', 'new row violates row-level security policy'],
  ['time', 'job_timeout', 'not finished within 2 hours'], ['limit', 'limit', 'over the limit of the user'], ['other', MARKUP,
    `somebody made this code up: ${RTL}`],
]

async function addEnded(world, seeded) {
  const add = async (name, job) => { seeded[name] = await addJob(world, job) }
  seeded.failures = []
  for (const [n, [, code, error]] of FAILURES.entries()) {
    const job = { owner: n % 2 ? world.people.customer.id : `user-${n}`, prompt: `Fails with ${code}`, state: 'failed', error_code: code, error,
      model: [VIDEO_01, VEO, KLING, UNPRICED][n % 4], request_id: REQUEST(), submitted_at: ago('4 minutes'), sent_at: ago('4 minutes') }
    seeded.failures.push(await addJob(world, job))
  }
  const film = await world.db.value(`SELECT media_url FROM vibevideo.job WHERE job_id = ${seeded.films[0]}`)
  await add('notStored', { prompt: 'Paid for, and not stored', state: 'failed', error_code: 'EntityTooLarge',
    error: 'The object exceeded the maximum allowed size', media_url: film,
    request_id: REQUEST(), submitted_at: ago('30 minutes'), sent_at: ago('31 minutes') })
  await add('notStoredToo', { owner: MARKUP, prompt: MARKUP, state: 'failed', error_code: 'EntityTooLarge', error: MARKUP, media_url: film,
    request_id: REQUEST() })
  await add('orphan', { prompt: 'Its transaction was rolled back', orphan: true, state: 'failed', error_code: 'rolled_back',
    error: 'the video was made nevertheless', media_url: film, request_id: REQUEST() })
  await add('givenUp', { prompt: 'Given up as lost', state: 'failed', error_code: 'submit_lost', error: 'no trace of it after 30 minutes',
    sent_at: ago('31 minutes') })
  await add('crashed', { prompt: 'The worker crashed with it', state: 'failed', error_code: 'quarantined', error: 'two workers crashed while they had it' })
  await add('unwritten', { prompt: 'Its row cannot be written', state: 'completed', media_url: film, video_url: seeded.filmUrl, row_dirty: true,
    row_error: `trigger "no" says ${MARKUP}`, row_tries: 7, row_next_at: inFuture('1 day'), request_id: REQUEST() })
  await add('cancelled', { owner: EMOJI, prompt: 'Nobody wanted it any more', state: 'cancelled' })
  const attempts = await addJob(world, { prompt: 'Three attempts', state: 'failed', error_code: 'runner_disconnected', error: 'Runner disconnected',
    created_at: ago('50 minutes'), request_id: REQUEST(), attempt: 1 })
  await addJob(world, { row: attempts.row, prompt: 'Three attempts', state: 'failed', error_code: 'http_500', error: 'Internal Server Error',
    created_at: ago('40 minutes'), request_id: REQUEST(), attempt: 2 })
  seeded.attempts = await addJob(world, { row: attempts.row, prompt: 'Three attempts', state: 'failed', error_code: 'downstream_service_error',
    error: 'the third time', created_at: ago('20 minutes'), request_id: REQUEST(), attempt: 3 })
}

/** So many wait for one of the places at fal.ai that are all taken. */
async function addBacklog(world, seeded) {
  const taken = await world.db.value(`SELECT count(*) FROM vibevideo.job WHERE state IN ('submitting', 'queued', 'generating')`)
  await world.configure({ max_active: Number(taken) })
  const contents = ['The next one in line', MARKUP, RTL, EMOJI, LONG, LONG_WORD, 'A cat that runs after the sun']
  const rows = await Promise.all(contents.map((content, n) => addRow(world, { owner: n % 3 ? `user-${n}` : world.people.customer.id, content })))
  seeded.pending = await submit(world, rows)
}

/** Before the jobs: each notes the price of its model. One model has none, and of one it is said to be unknown. */
async function addPrices({ db }) {
  await db.run(`INSERT INTO vibevideo.model (endpoint, max_prompt, usual_seconds) VALUES ('${VEO}', 4000, 95), ('${KLING}', 2500, 240)`)
  await db.run(`INSERT INTO vibevideo.price_rule (endpoint, valid_from, unit, unit_price_usd, quantity, quantity_default, applies) VALUES
    ('${VEO}', '2001-01-01', 'video', 0.75, null, null, '{}'), ('${KLING}', '2001-01-01', 'second', 0.28, '$.duration', 5, '{}'),
    ('${KLING}', '2001-01-01', 'second', 0.5, '$.duration', 5, ${literal(JSON.stringify({ [MARKUP]: MARKUP, size: '4k' }))}),
    (${literal(UNPRICED.replace(/[^a-z/]/g, 'x'))}, '2001-01-01', 'video', null, null, null, '{}')`)
}

async function addLimits(world) {
  const { db } = world
  await db.run(`INSERT INTO vibevideo.limit (scope, user_id, max_active, submits_per_day, spend_per_day_usd) VALUES
    ('default', null, 5, 40, 10), ('user', ${literal(world.people.customer.id)}, 20, 200, 50), ('user', ${literal(MARKUP)}, 0, 0, 0), ('user',
      'nobody-limits-me', -1, -1, -1)`)
  const used = Number(await db.value('SELECT coalesce(sum(settled_usd + reserved_usd), 0) FROM vibevideo.costs_by_day WHERE day = vibevideo_internal.today()'))
  await db.run(`INSERT INTO vibevideo.limit (scope, spend_per_day_usd) VALUES ('global', ${(Math.max(used, 1) / 0.93).toFixed(2)})`)
  await db.run(`SELECT vibevideo.pause('sending', ${literal(`a look at the bill ${MARKUP}`)}); SELECT vibevideo.resume()`)
}

/** What is seeded, by name: { job, row } or a job's number. history: so many ended jobs. */
export async function seed(world, { history = Number(process.env.BROWSER_HISTORY || 12000) } = {}) {
  const seeded = {}
  await addPrices(world)
  seeded.filmUrl = await storeFilm(world)
  await addFilms(world, seeded)
  await addStanding(world, seeded)
  await addHistory(world, history, seeded.filmUrl)
  await addLost(world, seeded)
  await waitForReal(world, seeded)
  await addWaiting(world, seeded)
  await addEnded(world, seeded)
  await addBacklog(world, seeded)
  await addLimits(world)
  await world.db.run('VACUUM ANALYZE')
  return seeded
}
