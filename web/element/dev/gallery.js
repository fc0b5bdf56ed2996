// Every state of the element, side by side, with what is long or unusual.
import '../dist/index.js'
import { cancelled, completed, copying, failed, fakeClient, generating, noAnswer, queued, refusal, video, waiting } from './fake.js'

const LONG = 'Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz'
const WORDS = {
  video: 'فيديو', submit: 'أنشئ الفيديو', price: (price) => `التكلفة ${price}`, message: () => 'الفيديو في قائمة الانتظار، أمامك 3', estimate: () => 'نحو 3 دقائق',
  cancel: 'إلغاء', failed: 'فشل الفيديو', reason: () => 'رفض المزود هذا المحتوى', retry: 'حاول مرة أخرى',
}
const FILM = `data:image/svg+xml,${encodeURIComponent('<svg xmlns="http://www.w3.org/2000/svg" width="640" height="360"><rect width="640" height="360" fill="#274060"/><circle cx="470" cy="110" r="46" fill="#ffd479"/><path d="M0 360 190 150 330 300 420 220 640 360z" fill="#1b2a41"/></svg>')}`

/** name: the row, what is done to the element before it is looked at, and its attributes */
const states = {
  loading: { row: null },
  idle: { row: video() },
  'idle with a price': { row: video(), price: '$0.50' },
  'over a limit': { row: video(), price: '$0.50', next: { vibevideo_submit: () => refusal(429, 'PT429', 'too many videos are active', 'Come back when one of them is done, in about 45 seconds.') }, act: (it) => it.submit() },
  'no answer': { row: video(), next: { vibevideo_submit: noAnswer }, act: (it) => it.submit() },
  requesting: { row: video(), next: { vibevideo_submit: () => new Promise(() => {}) }, act: (it) => { it.submit() } },
  'waiting to be sent': { row: waiting() },
  'in the queue': { row: queued() },
  'waiting, nobody can tell how long': { row: waiting({ message: 'Waiting to be sent again (try 2): the provider is busy', estimate_seconds: null }) },
  'cancel?': { row: queued(), act: (it) => it.shadowRoot.querySelector('button').click() },
  cancelling: { row: queued({ message: 'Cancelling', waits_for: 'cancel' }) },
  generating: { row: generating() },
  'takes long': { row: generating({ message: 'AI is generating, which takes longer than usual', estimate_seconds: null }) },
  copying: { row: copying() },
  'copying, size not known': { row: copying({ message: 'Copying, 12 MB so far', progress: null }) },
  ready: { row: completed({ video_url: 'film.mp4' }), poster: FILM },
  'ready, no poster': { row: completed({ video_url: 'film.mp4' }) },
  'too late': { row: generating(), poster: FILM, next: { vibevideo_cancel: { data: completed({ video_url: 'film.mp4' }), error: null, status: 200 } }, act: (it) => it.cancel() },
  failed: { row: failed('The provider could not make the video') },
  'failed, with a price': { row: failed('The provider could not make the video'), price: '$0.50' },
  rejected: { row: failed('The provider rejects this content: prompt: it shows a brand', { error_code: 'content_policy_violation' }), price: '$0.50' },
  'not stored': { row: failed('The video was made, but could not be saved', { error_code: 'upload_failed' }), price: '$0.50' },
  'never sent': { row: failed('The video took too long', { error_code: 'job_timeout', request_id: null, submitted_at: null, attempt: 1 }) },
  cancelled: { row: cancelled(), price: '$0.50' },
  'cancelled at the provider': { row: cancelled({ request_id: 'x', submitted_at: '2026-11-29T14:05:11+00:00' }) },
  'connection lost': { row: generating(), next: { vibevideo_status: noAnswer }, act: (it) => it.refresh() },
  'not yours': { row: undefined },
  'long words': { row: failed(`The provider cannot use this input: prompt: ${LONG.repeat(3)}`, { error_code: 'validation_error' }), labels: { submitChanged: `${LONG} ${LONG}`, failed: LONG } },
  'markup is text': { row: failed('The provider cannot use this input: <img src=x onerror=alert(1)>', { error_code: 'validation_error' }) },
  'other words': { row: queued(), labels: WORDS, dir: 'rtl' },
}

const parameters = new URLSearchParams(location.search)
document.documentElement.dataset.theme = parameters.get('theme') ?? 'light'
document.documentElement.dir = parameters.get('dir') ?? 'ltr'
if (parameters.get('size')) document.documentElement.style.fontSize = parameters.get('size')

const gallery = document.querySelector('#gallery')
const only = parameters.get('only')

async function show(name, { row, next = {}, act, price, poster, labels, dir }) {
  const section = document.createElement('section')
  section.id = name.replaceAll(/\W+/g, '-')
  const title = document.createElement('h2')
  title.textContent = name
  const element = document.createElement('vibe-video')
  // a row of its own: elements of one row tell each other
  const client = fakeClient(row ? { [section.id]: row } : {})
  if (row === null) client.next.vibevideo_status = () => new Promise(() => {})
  Object.assign(element, { vibelogId: section.id, client, labels: labels ?? null })
  if (price) element.price = price
  if (poster) element.poster = poster
  if (dir) element.dir = dir
  section.append(title, element)
  gallery.append(section)
  if (!act) return
  await new Promise((resolve) => element.addEventListener('vibe-status', resolve, { once: true }))
  Object.assign(client.next, next)
  await act(element)
}

await Promise.all(Object.entries(states).filter(([name]) => !only || name === only).map(([name, state]) => show(name, state)))
document.documentElement.dataset.shown = 'yes'
