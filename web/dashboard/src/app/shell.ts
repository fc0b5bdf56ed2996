// The page: signing in, or its frame with one of the screens.

import { html, type TemplateResult } from 'lit'
import { Watch } from '../lib/store'
import { define, Part } from '../parts/base'
import '../parts/nav'
import '../parts/notices'
import '../parts/top-bar'
import '../screens/audit'
import '../screens/charts'
import '../screens/errors'
import '../screens/find'
import '../screens/health'
import '../screens/job'
import '../screens/jobs'
import '../screens/ledger'
import '../screens/limits'
import '../screens/login'
import '../screens/lost'
import { noAccess } from '../screens/no-access'
import '../screens/overview'
import '../screens/users'
import './frame'
import { session } from './session'

class Shell extends Part {
  constructor() {
    super()
    new Watch(this, session)
  }

  override updated(): void {
    if (session.value.phase === 'ready') return
    for (const dialog of document.querySelectorAll('dialog')) dialog.close()
  }

  override render(): TemplateResult {
    const now = session.value
    switch (now.phase) {
      case 'starting':
        return html`<main class="login"><p class="loading" role="status">One moment …</p></main>`
      case 'signed_out':
        return html`<vv-login .reason=${now.reason}></vv-login>`
      case 'failed':
        return html`<main class="login">
          <h1>vibevideo</h1>
          <p class="line bad" role="alert">${now.reason}</p>
          <button type="button" @click=${() => location.reload()}>Try again</button>
        </main>`
      case 'no_access':
        return noAccess(now.me, now.email)
      default:
        return html`<vv-frame></vv-frame>`
    }
  }
}

define('vv-app', Shell)
