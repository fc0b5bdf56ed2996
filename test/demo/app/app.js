// A diary: who is signed in writes entries, and has a film made of each.
import { setClient } from './element/index.js';

const client = window.supabase.createClient(location.origin, new URLSearchParams(location.search).get('apikey'));
const [enter, write, leave, rows] = ['enter', 'write', 'leave', 'rows'].map((id) => document.getElementById(id));

/** Says what went wrong below the form, or takes that away. */
function report(form, error) {
  form.querySelector('[role=alert]').textContent = error?.message ?? '';
  return !error;
}

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function show({ id, written_on: day, content }) {
  const date = new Date(`${day}T12:00`).toLocaleDateString('en', { weekday: 'long', day: 'numeric', month: 'long' });
  rows.prepend(make('li', {}, make('time', { datetime: day }, date), make('p', { dir: 'auto' }, content),
    make('vibe-video', { 'vibelog-id': id, price: '$0.50' })));
}

async function load(session) {
  enter.hidden = Boolean(session);
  write.hidden = leave.hidden = !session;
  rows.replaceChildren();
  if (!session) return;
  setClient(client);
  const { data, error } = await client.from('vibelogs').select('id,written_on,content').order('written_on').limit(50);
  if (report(write, error)) data.forEach(show);
}

enter.addEventListener('submit', async (event) => {
  event.preventDefault();
  const { data, error } = await client.auth.signInWithPassword(Object.fromEntries(new FormData(enter)));
  if (report(enter, error)) await load(data.session);
});

write.addEventListener('submit', async (event) => {
  event.preventDefault();
  const content = new FormData(write).get('content');
  const { data: id, error } = await client.rpc('write_vibelog', { content });
  if (!report(write, error)) return;
  write.reset();
  show({ id, content, written_on: new Date().toISOString().slice(0, 10) });
});

leave.addEventListener('click', async () => {
  await client.auth.signOut();
  await load(null);
});

await load((await client.auth.getSession()).data.session);
