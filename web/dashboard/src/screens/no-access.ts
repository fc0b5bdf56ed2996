// Signed in, but neither a viewer nor an operator: what the owner has to do.

import { html, type TemplateResult } from 'lit'
import type { Me } from '../api/types'
import { signOut } from '../app/session'
import '../parts/copy'

const literal = (text: string) => `'${text.replaceAll("'", "''")}'`

export function noAccess(me: Me, email: string | null): TemplateResult {
  const statement = `INSERT INTO vibevideo.operator (user_id, level, note) VALUES (${literal(me.user_id ?? '')}, 'viewer', ${literal(email ?? '')});`
  return html`<main class="login">
    <h1>You have no access</h1>
    <p>You are signed in${email ? html` as <strong class="break">${email}</strong>` : ''}, but may not look at jobs. The owner of the extension can give you access:</p>
    <div class="json"><vv-copy .text=${statement} what="statement"></vv-copy><pre tabindex="0" aria-label="Statement">${statement}</pre></div>
    <p class="quiet">With level operator you may act as well.</p>
    <div class="buttons">
      <button type="button" class="primary" @click=${() => location.reload()}>Try again</button>
      <button type="button" @click=${() => signOut()}>Sign out</button>
    </div>
  </main>`
}
